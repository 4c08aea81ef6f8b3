from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.program import beltsight
from tests.tiny import write_tiny

from beltsight.card import content_hash
from beltsight.config import ASSETS
from beltsight.engines import available_engines, onnx_runtime
from beltsight.machine import usable_cores
from beltsight.tuned import Choice, Tuning, machine_key, save_tuning


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BELTSIGHT_CACHE", str(tmp_path / "cache"))
    return write_tiny(tmp_path / "m.onnx")


def test_the_choice_is_printed_stored_and_forgotten(model: Path, tmp_path: Path) -> None:
    result = beltsight("tune", model, "--seconds", "0.01", "--threads", "1", "--json")
    (found,) = result.lines
    assert found["threads"] == 1
    assert found["latency"]["engine"] in {"onnxruntime-cpu", "openvino-cpu"}
    (stored,) = (tmp_path / "cache" / "tuned").iterdir()
    assert stored.name in result.err
    gone = beltsight("tune", model, "--forget")
    assert "removed: 1" in gone.err and not gone.out
    assert not list((tmp_path / "cache" / "tuned").iterdir())
    assert beltsight("tune", model, "--forget", "--json").json == {"removed": 0}


@pytest.mark.parametrize("json", [True, False])
def test_a_choice_that_cannot_be_stored_is_printed(
    model: Path, json: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BELTSIGHT_CACHE", str(model))  # a file, and no folder
    more = ["--json"] if json else []
    result = beltsight("tune", model, "--seconds", "0.01", "--threads", "1", *more)
    assert result.status == 1
    assert "the choice cannot be stored" in result.err
    assert ('"latency"' if json else "one photo:") in result.out


def test_a_line_for_each_trial(model: Path) -> None:
    result = beltsight("tune", model, "--seconds", "0.01", "--threads", "1")
    assert "photos/s" in result.out
    assert "one photo:" in result.out


def test_an_engine_that_rounds_is_allowed_by_its_option(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beltsight.tune.available_engines", lambda: ("onnxruntime-cpu",))
    monkeypatch.setitem(onnx_runtime._ROUNDINGS, "onnxruntime-cpu", 2.0**-8)
    command = ("tune", model, "--seconds", "0.01", "--threads", "1")
    refused = beltsight(*command)
    assert (refused.status, "--bfloat16 allows it" in refused.err) == (1, True)
    assert beltsight(*command, "--bfloat16").status == 0


@pytest.mark.skipif("onnxruntime-cuda" in available_engines(), reason="it would work here")
@pytest.mark.parametrize("more", [("--forget",), ("--seconds", "0.01")])
def test_a_choice_that_no_longer_works_says_so_and_is_mended(
    model: Path, more: tuple[str, ...]
) -> None:
    """As where a driver has gone."""
    gone = Choice(engine="onnxruntime-cuda", batch_size=1, photos_per_s=10)
    digest = content_hash(model.read_bytes())
    save_tuning(
        Tuning(
            model_sha256=digest, threads=usable_cores(), machine=machine_key(), latency=gone,
            throughput=gone,
        )
    )  # fmt: skip
    photo = ASSETS / "demo" / "glass" / "glass155.jpg"
    refused = beltsight("predict", model, photo)
    assert refused.status == 1
    assert "'beltsight tune' chose onnxruntime-cuda for this file: run it again" in refused.err
    assert beltsight("tune", model, *more).status == 0
    assert beltsight("predict", model, photo).status == 0


def test_an_engine_by_name_that_is_not_there(model: Path, tmp_path: Path) -> None:
    result = beltsight("tune", tmp_path / "none.onnx")
    assert result.status == 1
    assert "no such model file" in result.err
