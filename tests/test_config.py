"""Settings: later sources win, and every mistake is one sentence that says where it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator

from beltsight.config import NAME_PATTERN, load_config, nearest, parse_assignments, parse_value
from beltsight.errors import ConfigError, PolicyError
from beltsight.policy import load_policy


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Optimizer(Part):
    name: str = "sgd"
    rate: float = Field(0.1, gt=0)


class Stage(Part):
    epochs: int = 1
    learns: str = "head"


class Settings(Part):
    backbone: str = "resnet18"
    seed: int = 0
    optimizer: Optimizer = Optimizer()
    warm_up: Optimizer | None = None
    stages: tuple[Stage, ...] = ()
    named: dict[str, Annotated[Stage, Field(description="by name")]] = Field(default_factory=dict)


class Peer(Part):
    url: str
    user: str = ""
    password: str = ""

    @field_validator("url")
    @classmethod
    def _known(cls, url: str) -> str:
        if url != "b":
            raise ValueError("not b")
        return url


class Peers(Part):
    name: str = Field("x", pattern=NAME_PATTERN)
    peers: list[Peer] = Field([Peer(url="b")], min_length=1)


def write(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text(text, encoding="utf-8")
    return path


def load(path: Path | None = None, **sources: Any) -> Settings:
    return load_config(Settings, path, env_prefix="BELT", env=sources.pop("env", {}), **sources)


def test_file_then_environment_then_flags(tmp_path: Path) -> None:
    path = write(tmp_path, "seed = 1\nbackbone = 'a'\n[optimizer]\nname = 'adam'\nrate = 0.2\n")
    env = {"BELT_BACKBONE": "b", "BELT_OPTIMIZER__RATE": "0.3", "OTHER": "x", "BELTED_SEED": "9"}
    flags = {"optimizer.rate": 0.4, "seed": None}
    assert load() == Settings()
    assert load(path).optimizer == Optimizer(name="adam", rate=0.2)
    assert load(path, env=env).optimizer.rate == 0.3
    settings = load(path, env=env, overrides=flags)
    assert settings == Settings(backbone="b", seed=1, optimizer=Optimizer(name="adam", rate=0.4))


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BELT_SEED", "42")
    assert load_config(Settings, env_prefix="BELT").seed == 42
    assert load_config(Settings).seed == 0


@pytest.mark.parametrize(
    ("text", "key", "near"),
    [
        ("bakbone = 'x'", "bakbone", "backbone"),
        ("[optimizer]\nraet = 1", "optimizer.raet", "rate"),
        ("[warm_up]\nraet = 1", "warm_up.raet", "rate"),
        ("[[stages]]\nepohcs = 1", "stages #1.epohcs", "epochs"),
        ("[named.first]\nleanrs = 'x'", "named.first.leanrs", "learns"),
    ],
)
def test_an_unknown_key_names_the_nearest(tmp_path: Path, text: str, key: str, near: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value) == f"{path}: unknown key {key!r}; did you mean {near!r}?"


def test_a_key_that_resembles_nothing_lists_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'optimizer\.zzz'; known: name, rate$"):
        load(write(tmp_path, "[optimizer]\nzzz = 1"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed = 'three'", r"seed: .*integer.*\(got 'three'\)"),
        ("[optimizer]\nrate = -1", r"optimizer\.rate: .*greater than 0 \(got -1\)"),
        ("optimizer = 5", r"optimizer: .*\(got 5\)"),
        ("stages = 'all'", r"stages: .*\(got 'all'\)"),
    ],
)
def test_a_wrong_value_is_shown_with_its_key(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=said) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name = 'a b'", "name: expected letters, digits, '_', '.' and '-' alone (got 'a b')"),
        ("peers = 3", "peers: Input should be a valid list (got 3)"),
        ("peers = ['x']", "peers #1: expected a table (got 'x')"),
        ("[[peers]]\nuser = 'u'\npassword = 'GEHEIM'", "peers #1.url: Field required"),
        (
            "[[peers]]\nurl = 'b'\npassword = ['GEHEIM']",
            "peers #1.password: Input should be a valid string",
        ),
        ("[[peers]]\nurl = 'x://me:GEHEIM@host'", "peers #1.url: not b (got 'x://***@host')"),
    ],
)
def test_a_message_is_short_and_holds_no_secret(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(Peers, path)
    assert str(caught.value) == f"{path}: {said}"


def test_a_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    path = tmp_path / "windows.toml"
    path.write_bytes(b"\xef\xbb\xbfseed = 3\r\n")
    assert load(path).seed == 3


def test_each_problem_says_where_the_value_was_set(tmp_path: Path) -> None:
    path = write(tmp_path, "seed = 'x'\n[optimizer]\nname = 3\n")
    with pytest.raises(ConfigError) as caught:
        load(path, env={"BELT_OPTIMIZER__RATE": "-1"}, overrides={"backbnoe": "r"})
    message = str(caught.value)
    assert f"{path}: seed:" in message
    assert "environment variable BELT_OPTIMIZER__RATE: optimizer.rate:" in message
    assert "option: unknown key 'backbnoe'; did you mean 'backbone'?" in message


def test_a_long_wrong_value_is_cut(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, f"seed = '{'x' * 5000}'"))
    assert len(str(caught.value)) < 400


def test_a_value_where_a_table_is_needed() -> None:
    with pytest.raises(ConfigError, match="'seed' is a value, not a table"):
        load(overrides={"seed": 1, "seed.deep": 2})


@pytest.mark.parametrize(
    "content",
    [b"seed = ", b"\xff\xfe\x00", b"a = 1\na = 2", b"x = " + b"[" * 20_000, b"x = " + b"9" * 5000],
    ids=["half", "not text", "twice", "deep", "long"],
)
def test_a_file_that_is_no_toml_is_one_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"bad\.toml: not readable as TOML"):
        load(path)


def test_a_file_that_is_missing_or_a_folder_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: no such file"):
        load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="not readable as TOML"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1), ("1.5", 1.5), ("true", True), ("'a'", "a"), ("[1, 2]", [1, 2]),
        ("{a = 1}", {"a": 1}), ("same", "same"), ("", ""), ("C:\\x", "C:\\x"),
        ("1\nb = 2", "1\nb = 2"), ('"2026"', "2026"), ("[" * 20_000, "[" * 20_000),
        ("9" * 5000, "9" * 5000),
    ],
)  # fmt: skip
def test_a_value_is_read_as_toml_or_stands_for_itself(text: str, value: Any) -> None:
    parsed = parse_value(text)
    assert parsed == value
    assert type(parsed) is type(value)


def test_assignments() -> None:
    got = parse_assignments(["epochs=3", "a.b = same", "path=x=y"])
    assert got == {"epochs": 3, "a.b": "same", "path": "x=y"}
    for wrong in ("epochs", "=3", " = 3"):
        with pytest.raises(ConfigError, match="expected KEY=VALUE"):
            parse_assignments([wrong])


def test_nearest_says_something_even_of_nothing() -> None:
    assert nearest("x", []) == "none is known"


def test_a_number_too_long_to_be_printed_is_refused_all_the_same(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(f"name = 0x{'f' * 4000}\n", encoding="utf-8")
    with pytest.raises(PolicyError, match="a number of thousands of digits"):
        load_policy(file)
