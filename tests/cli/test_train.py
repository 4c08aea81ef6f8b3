from __future__ import annotations

import json
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.cli.program import beltsight, spawn
from tests.train.photosets import TINY, write_photoset

from beltsight.config import ASSETS


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import tomli_w

    stages = [{"learn": "all", "epochs": 4, "learning_rate": 0.01}]
    path = tmp_path_factory.mktemp("config") / "tiny.toml"
    path.write_text(tomli_w.dumps({**TINY, "stages": stages}), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photoset(tmp_path_factory.mktemp("data"))


def test_train_then_resume_then_export(config: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "x"
    flags = ("train", data, "--out", out, "--config", config, "--name", "shapes")
    run = spawn(*flags, "--epochs", 2, "--json")
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout)
    assert result["val"]["tasks"]["material"]["n"] == 18
    assert run.stderr.count("val accuracy") == 2

    again = spawn(*flags)
    assert again.returncode == 1 and "holds a run already" in again.stderr
    resumed = spawn("train", data, "--out", out, "--resume", "--name", "shapes")
    assert resumed.returncode == 0, resumed.stderr
    assert "of 18 validation photos right" in resumed.stdout
    assert "--split test" not in resumed.stdout  # there is none
    assert beltsight("card", out / "model.onnx", "--json").json["name"] == "shapes"

    exported = spawn("export", out, data, "--out", tmp_path / "m.onnx", "--json")
    assert exported.returncode == 0, exported.stderr
    card = spawn("card", tmp_path / "m.onnx", "--json")
    assert card.returncode == 0 and json.loads(card.stdout)["name"] == "x"


def test_the_quick_recipe_keeps_activations_and_options_win_over_it(
    data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "x"
    small = [
        part for key, value in TINY.items() for part in ("--set", f"{key}={json.dumps(value)}")
    ]
    run = spawn("train", data, "--recipe", "quick", "--out", out, "--epochs", 1, *small)
    assert run.returncode == 0, run.stderr
    assert "computing the frozen layers once: 342 views" in run.stderr  # 6 * 54 + 18
    assert run.stderr.count("val accuracy") == 4 + 1
    settings = (out / "settings.toml").read_text(encoding="utf-8")
    assert "image_size = 64" in settings and 'learn = "heads"' in settings
    assert not (out / "activations").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--recipe", "quik"), 2, "no recipe 'quik'; did you mean 'quick'"),
        (("--set", 'augment_more=["glas"]'), 2, "no class 'glas'; did you mean 'glass'"),
        (("--set", "dropoot=0.1"), 2, "did you mean 'dropout'"),
        (("--set", "dropout"), 2, "KEY=VALUE"),
        (("--backbone", "resnet81"), 2, "no backbone"),
        (("--weights", "none.safetensors"), 1, "no such weights file"),
        (("--nonsense",), 2, "--nonsense"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(
    config: Path, data: Path, tmp_path: Path, arguments: tuple[str, ...], status: int, message: str
) -> None:
    run = spawn("train", data, "--out", tmp_path / "x", "--config", config, *arguments)
    assert run.returncode == status and message in run.stderr
    assert "Traceback" not in run.stderr


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What a training was asked for; none takes place."""
    from beltsight.train import run as run_module

    kept = SimpleNamespace()

    def fake(dataset: object, out: Path, settings: object, **more: object) -> SimpleNamespace:
        kept.settings, kept.about = settings, more["about"]
        card = SimpleNamespace(tasks=())
        figures: dict[str, object] = {"tasks": {}}
        return SimpleNamespace(model=out / "model.onnx", metrics=figures, card=card, unreadable=())

    monkeypatch.setattr(run_module, "run_training", fake)
    return kept


ABOUT = ("--name", "sorter", "--licence", "MIT", "--notice", "ask first")


def test_each_option_is_the_setting_of_its_name(
    data: Path, tmp_path: Path, asked: SimpleNamespace
) -> None:
    from beltsight.train.package import About

    given = {
        "backbone": "resnet50", "weights": "random", "image_size": 96, "batch_size": 5,
        "optimizer": "sgd", "augment": "plant", "seed": 7, "threads": 3,
    }  # fmt: skip
    options = [x for key, value in given.items() for x in (f"--{key.replace('_', '-')}", value)]
    command = ("train", data, "--out", tmp_path / "x", "--task", "material", "--epochs", 9)
    ended = beltsight(*command, *options, *ABOUT)
    assert ended.status == 0, ended.err
    settings = asked.settings.model_dump()
    assert {key: settings[key] for key in given} == given
    assert (settings["tasks"], settings["stages"][-1]["epochs"]) == (("material",), 9)
    assert asked.about == About(name="sorter", licence="MIT", notice="ask first")


def test_an_export_says_of_the_model_what_it_is_told(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from beltsight.train import folder, package, run

    seen: list[object] = []

    def fake(*given: object, about: object, **_: object) -> dict[str, object]:
        seen.extend((given[0], given[2], about))
        return {}

    stored = SimpleNamespace(tasks=("material",))
    monkeypatch.setattr(folder, "stored_settings", lambda folder: stored)
    monkeypatch.setattr(run, "export_run", fake)
    out = tmp_path / "m.onnx"
    ended = beltsight("export", tmp_path, data, "--out", out, *ABOUT, "--model-version", 3)
    assert ended.status == 0, ended.err
    about = package.About(name="sorter", version="3", licence="MIT", notice="ask first")
    assert seen == [tmp_path, out, about]


def test_the_next_command_names_what_was_given(tmp_path: Path, asked: SimpleNamespace) -> None:
    data = write_photoset(tmp_path / "data", 4)
    table, out = data / "images" / "my photos.csv", tmp_path / "a run"
    names = [f"{kind}/{index}.png" for kind in ("glass", "paper") for index in range(3)]
    rows = [f"{name},{name.split('/')[0]},{'test' if '2' in name else 'train'}" for name in names]
    table.write_text("\n".join(["path,material,split", *rows]) + "\n", encoding="utf-8")
    given = ("--task", "material", "--taxonomy", ASSETS / "taxonomy.toml")
    ended = beltsight("train", table, "--out", out, *given)
    assert ended.status == 0, ended.err
    command = next(x for x in ended.out.splitlines() if x.startswith("next:")).removeprefix("next:")
    words = ["beltsight", "evaluate", out / "model.onnx", table, *given, "--out", out / "test"]
    assert shlex.split(command) == [str(word) for word in words]


def test_debug_shows_the_trace(data: Path, tmp_path: Path) -> None:
    run = spawn("train", tmp_path / "none", "--out", tmp_path / "x", "--debug")
    assert run.returncode == 1 and "Traceback" in run.stderr and "no such folder" in run.stderr


def test_a_missing_extra_is_one_sentence_with_the_command(data: Path, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('blocked')\n", encoding="utf-8")
    run = spawn("train", data, "--out", tmp_path / "x", PYTHONPATH=str(tmp_path))
    assert run.returncode == 1
    assert "pip install 'beltsight[train]'" in run.stderr and "Traceback" not in run.stderr
