from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import jsonschema
import pytest
from tests.cli.program import beltsight
from tests.tiny import CLASSES, paint, write_tiny

from beltsight.cli.overlays import overlay_name
from beltsight.config import ASSETS
from beltsight.image import decode
from beltsight.model import Model
from beltsight.records import Photo

COLOURS = {"red": (220, 30, 40), "green": (30, 210, 50), "blue": (20, 40, 230)}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "m.onnx")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    for number, (name, colour) in enumerate(COLOURS.items()):
        path = folder / f"bin {number}" / f"{name}.png"
        path.parent.mkdir(parents=True)
        cv2.imwrite(str(path), paint(colour, 48)[:, :, ::-1])
    return folder


def test_json_lines_follow_the_schema(model: Path, photos: Path) -> None:
    (photos / "bad.jpg").write_bytes(b"no photo")
    result = beltsight("predict", model, photos, "--json")
    schema = json.loads((ASSETS / "schemas" / "prediction.schema.json").read_text())
    for line in result.lines:
        jsonschema.Draft202012Validator(schema).validate(line)
    assert [Path(line["path"]).stem for line in result.lines] == ["bad", "red", "green", "blue"]
    bad, *good = result.lines
    assert bad["tasks"] == {"material": None, "contamination": None, "dirt": None}
    assert "not a photo" in bad["error"]
    assert [line["tasks"]["material"]["label"] for line in good] == list(COLOURS)
    assert list(good[0]["tasks"]["material"]["probabilities"]) == list(CLASSES)
    assert {(line["route"], line["reason"], line["abstain"]) for line in good} == {(None,) * 3}


POLICY = """
name = "site"
version = "3"
levels = ["clean", "dirty"]
without_contamination = "clean"
[streams]
warm = { name = "Warm colours" }
cold = { name = "Cold colours" }
[[rules]]
material = ["red"]
route = "warm"
[[rules]]
route = "cold"
[costs]
wrong = 4
hand_sort = 1
"""


def test_a_policy_adds_route_and_reason(model: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "bad.jpg").write_bytes(b"no photo")
    (tmp_path / "site.toml").write_text(POLICY, encoding="utf-8")
    result = beltsight("predict", model, photos, "--json", "--policy", tmp_path / "site.toml")
    schema = json.loads((ASSETS / "schemas" / "prediction.schema.json").read_text())
    for line in result.lines:
        jsonschema.Draft202012Validator(schema).validate(line)
        assert line["model"] == Model.load(model).hash
        assert line["policy"].startswith("site@3")
    assert [(line["route"], line["reason"]) for line in result.lines] == [
        ("hand-sort", "no-answer"), ("warm", "confident"), ("cold", "confident"),
        ("cold", "confident"),
    ]  # fmt: skip
    plain = beltsight("predict", model, photos, "--policy", tmp_path / "site.toml").out
    heading, bad, red, *_ = plain.splitlines()
    assert heading.index("route") == bad.index("hand-sort") == red.index("warm")
    assert heading.index("reason") == bad.index("no-answer") == red.index("confident")


def test_what_a_model_does_not_accept_is_marked() -> None:
    photos = ASSETS / "demo"
    heading, *shown = beltsight("predict", "default", photos).out.splitlines()
    said = [line[heading.index("accepted") :].split()[0] for line in shown]
    lines = beltsight("predict", "default", photos, "--json").lines
    words = {(False, False): "yes", (False, True): "unsure", (True, True): "unlike"}
    assert said == [words[line["novel"], line["abstain"]] for line in lines]
    assert {"yes", "unsure"} <= set(said)


def test_a_policy_that_the_model_cannot_serve_is_wrong_use(model: Path, photos: Path) -> None:
    result = beltsight("predict", model, photos, "--policy", "default")
    assert result.status == 2 and result.out == ""
    assert "no rule decides material blue" in result.err


def test_a_taxonomy_adds_its_tasks_to_each_line(model: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[tasks.colour]\nopen = true\n")
    result = beltsight("predict", model, photos, "--json", "--taxonomy", tmp_path / "mine.toml")
    assert (result.status, len(result.lines)) == (0, 3)
    schema = json.loads((ASSETS / "schemas" / "prediction.schema.json").read_text())
    for line in result.lines:
        jsonschema.Draft202012Validator(schema).validate(line)
        assert list(line["tasks"]) == ["material", "contamination", "dirt", "colour"]


def test_a_bad_photo_costs_the_exit_status_and_not_the_others(model: Path, photos: Path) -> None:
    assert beltsight("predict", model, photos).status == 0
    (photos / "empty.png").touch()
    result = beltsight("predict", model, photos, photos / "missing.jpg", "--json")
    assert result.status == 1
    assert [line["error"] is None for line in result.lines] == [True, True, True, False, False]
    assert result.err == "beltsight: 2 of 5 photos could not be used; see their lines\n"


def test_plain_lines_are_aligned(model: Path, photos: Path) -> None:
    (photos / "x.jpg").write_bytes(b"no photo")
    lines = beltsight("predict", model, photos).out.splitlines()
    assert lines[0].split() == ["material", "sure", "file"]
    column = lines[0].index("file")
    assert [line[:column].split()[0] for line in lines[1:]] == ["red", "green", "blue", "-"]
    assert all(line[column:].startswith(str(photos)) for line in lines[1:])


def test_files_folders_and_patterns_together(
    model: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos)
    result = beltsight("predict", model, "bin 2/blue.png", "bin 0", "bin*/g*.png", "--json")
    assert [line["path"] for line in result.lines] == [
        "bin 2/blue.png", "bin 0/red.png", "bin 1/green.png"
    ]  # fmt: skip


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_batches_do_not_change_the_lines(model: Path, photos: Path, batch_size: int) -> None:
    one = beltsight("predict", model, photos, "--json")
    other = beltsight("predict", model, photos, "--json", "--batch-size", batch_size)
    assert one.out == other.out and len(one.lines) == 3


def test_no_photos_is_a_problem_with_a_remedy(model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = beltsight("predict", model, tmp_path / "empty", "none*.jpg", "--json")
    assert result.status == 1
    assert result.out == ""
    assert "no photos found" in result.err
    assert ".jpg" in result.err


def test_explain_writes_one_overlay_per_line(model: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "bin 1" / "a.png").write_bytes(b"no photo")
    result = beltsight("predict", model, photos, "--explain", tmp_path / "heat" / "maps")
    assert result.status == 1
    written = sorted(path.name for path in (tmp_path / "heat" / "maps").iterdir())
    assert written == [
        "000001-red-material.jpg", "000003-green-material.jpg", "000004-blue-material.jpg"
    ]  # fmt: skip
    assert decode(tmp_path / "heat" / "maps" / written[0]).shape == (48, 48, 3)


@pytest.mark.parametrize(
    "path",
    [
        "../../etc/passwd",
        "a/../..",
        "..",
        "/",
        "",
        "ü\n;rm.jpg",
        "x" * 300 + ".jpg",
        "-.jpg",
        "𠀀" * 60,
    ],
)
def test_no_name_leads_out_of_the_folder(path: str) -> None:
    name = overlay_name(3, path, "../material")
    assert name.startswith("000003-")
    assert os.path.basename(name) == name
    assert len(name.encode()) < 200
    assert ".." not in name


def test_maps_are_not_written_among_the_photos(
    model: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos)
    for folder in ("maps", ".", "bin 0/deep/maps"):
        result = beltsight("predict", model, ".", "--explain", folder)
        assert result.status == 2 and result.out == ""
        assert f"--explain {folder}: lies in ., so that its maps would be taken for" in result.err
    hidden = beltsight("predict", model, ".", "--explain", ".maps", "--json")
    again = beltsight("predict", model, ".", "--explain", ".maps", "--json")
    assert (hidden.status, hidden.out) == (0, again.out)
    assert beltsight("predict", model, "bin 0", "--explain", "maps").status == 0


def test_explain_into_a_file_is_wrong_use(model: Path, photos: Path) -> None:
    result = beltsight("predict", model, photos, "--explain", model)
    assert result.status == 2
    assert "is a file" in result.err


def test_a_photo_in_the_models_place_is_explained(photos: Path) -> None:
    result = beltsight("predict", photos / "bin 0" / "red.png", photos)
    assert result.status == 1
    assert "the model comes first" in result.err


@pytest.mark.parametrize("option", [("--batch-size", "0"), ("--threads", "-1"), ("--nonsense",)])
def test_wrong_options_are_wrong_use(model: Path, photos: Path, option: tuple[str, ...]) -> None:
    assert beltsight("predict", model, photos, *option).status == 2


def test_no_path_is_wrong_use(model: Path) -> None:
    assert beltsight("predict", model).status == 2


def test_a_name_that_is_no_text_survives_in_json(model: Path, photos: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    os.rename(photos / "bin 0" / "red.png", photos / "bin 0" / name)
    run = subprocess.run(
        [sys.executable, "-m", "beltsight", "predict", model, photos / "bin 0", "--json"],
        capture_output=True, check=True,
    )  # fmt: skip
    assert json.loads(run.stdout)["path"] == str(photos / "bin 0" / name)
    plain = subprocess.run(
        [sys.executable, "-m", "beltsight", "predict", model, photos / "bin 0"],
        capture_output=True, check=True,
    )  # fmt: skip
    assert b"caf" in plain.stdout


def test_a_name_cannot_steer_the_terminal(model: Path, photos: Path) -> None:
    os.rename(photos / "bin 0" / "red.png", photos / "bin 0" / "\x1b]0;owned\x07.png")
    result = beltsight("predict", model, photos / "bin 0")
    assert result.status == 0
    assert "\x1b" not in result.out
    assert "owned" in result.out


def test_a_reader_that_leaves_is_no_problem(model: Path, photos: Path) -> None:
    for number in range(400):
        (photos / "bin 0" / f"{number}.png").symlink_to(photos / "bin 0" / "red.png")
    run = subprocess.run(
        f"'{sys.executable}' -m beltsight predict '{model}' '{photos}' --json | head -1; "
        'echo "${PIPESTATUS[0]}"',
        shell=True, executable="/bin/bash", capture_output=True, text=True, check=True,
    )  # fmt: skip
    line, status = run.stdout.splitlines()
    assert json.loads(line)["error"] is None
    assert status == "0"
    assert run.stderr == ""


def test_lines_come_as_photos_are_answered(model: Path, photos: Path) -> None:
    # The walk meets the pipe second; it is no regular file, so nothing waits for it.
    os.mkfifo(photos / "bin 0" / "z.jpg")
    result = beltsight("predict", model, photos, "--json", "--batch-size", 1)
    assert result.status == 1
    assert "is not a file" in result.lines[1]["error"]


def test_a_name_cannot_forge_a_line(model: Path, photos: Path) -> None:
    forged = "x.png\nred  100.0%  \tforged.png"
    os.rename(photos / "bin 0" / "red.png", photos / "bin 0" / forged)
    (photos / "bin 0" / "bad\nline.png").write_bytes(b"no photo")
    lines = beltsight("predict", model, photos / "bin 0").out.splitlines()
    assert len(lines) == 3
    assert "\t" not in "".join(lines)


def test_a_photo_gone_before_its_heat_map_does_not_end_the_stream(
    model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from beltsight import explain

    made = explain.decode_to_show

    def vanish(path: str) -> Photo:
        if "green" in path:
            Path(path).unlink()
        return made(path)

    monkeypatch.setattr(explain, "decode_to_show", vanish)
    result = beltsight("predict", model, photos, "--json", "--explain", tmp_path / "heat")
    assert result.status == 1
    assert [line["error"] for line in result.lines] == [None] * 3
    assert len(list((tmp_path / "heat").iterdir())) == 2
    assert "no heat map of line 2" in result.err
    assert "green.png: does not exist" in result.err
    assert "1 of 3 photos" in result.err
