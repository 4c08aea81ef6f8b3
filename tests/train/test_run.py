from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.train.photosets import TINY, write_photoset
from tests.train.tiny_settings import tiny

import beltsight
from beltsight.errors import DatasetError, DivergedError, ResumeError, TrainError
from beltsight.model import Model
from beltsight.train import loop
from beltsight.train.folder import stored_settings
from beltsight.train.loop import BatchDone, EpochDone, Event
from beltsight.train.run import Run, choose_samples, export_run, run_training


def losses(run: Run) -> list[tuple[float, float]]:
    return [(row.train_loss, row.val_loss) for row in run.history]


def test_a_run_learns_and_leaves_everything_behind(finished_run: Run, photoset: Path) -> None:
    folder = finished_run.folder
    assert finished_run.metrics["tasks"]["material"]["accuracy"] >= 0.9
    assert finished_run.metrics["split"] == "val" and finished_run.metrics["n"] == 18
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4]
    described = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert described["n_train"] == 54 and len(described["fingerprint"]) == 64
    assert stored_settings(folder) == tiny()
    left = {path.name for path in folder.iterdir()}
    assert left == {
        "settings.toml", "run.json", "metrics.csv", "checkpoint.safetensors",
        "best.safetensors", "model.onnx", ".lock",
    }  # fmt: skip


def test_the_model_file_gives_the_answers_of_the_run(finished_run: Run, photoset: Path) -> None:
    evaluation = beltsight.evaluate(Model.load(finished_run.model), photoset, "val")
    assert (
        evaluation.to_record()["tasks"]["material"]["confusion"]
        == (finished_run.metrics["tasks"]["material"]["confusion"])
    )


def test_the_public_function_trains(photoset: Path, tmp_path: Path) -> None:
    stages = [{"learn": "heads", "epochs": 1, "learning_rate": 0.01}]
    run = beltsight.train(photoset, tmp_path / "x", **{**TINY, "stages": stages})
    assert len(run.history) == 1 and run.model.exists()


def test_same_seed_same_run_whatever_the_workers(photoset: Path, tmp_path: Path) -> None:
    stages = ({"learn": "all", "epochs": 2, "learning_rate": 0.01},)
    runs = [
        run_training(photoset, tmp_path / f"{n}{seed}", tiny(stages=stages, workers=n, seed=seed))
        for n, seed in ((0, 1), (1, 1), (0, 2))
    ]
    assert losses(runs[0]) == losses(runs[1])
    assert losses(runs[0]) != losses(runs[2])


def test_an_interrupted_run_goes_on_to_the_same_end(photoset: Path, tmp_path: Path) -> None:
    settings = tiny(
        stages=(
            {"learn": "heads", "epochs": 1, "learning_rate": 0.01},
            {"learn": "all", "epochs": 3, "learning_rate": 0.01},
        ),
        dropout=0.3,
    )
    whole = run_training(photoset, tmp_path / "whole", settings)

    def stop(event: Event) -> None:
        if isinstance(event, BatchDone) and (event.epoch, event.batch) == (3, 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_training(photoset, tmp_path / "cut", settings, watch=stop)
    kept = (tmp_path / "cut" / "metrics.csv").read_text(encoding="utf-8").splitlines()
    assert len(kept) == 1 + 2
    assert not list((tmp_path / "cut").glob("prepared-*"))
    resumed = run_training(photoset, tmp_path / "cut", settings, resume=True)
    assert losses(resumed) == losses(whole)
    ends = [load_file(tmp_path / name / "checkpoint.safetensors") for name in ("whole", "cut")]
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])


@pytest.mark.slow
def test_a_killed_process_loses_no_complete_epoch(photoset: Path, tmp_path: Path) -> None:
    out = tmp_path / "x"
    flags = [f"{key}={json.dumps(value)}" for key, value in TINY.items()]
    flags.append('stages=[{learn="all", epochs=200, learning_rate=0.01}]')
    command = [sys.executable, "-m", "beltsight", "train", str(photoset), "--out", str(out)]
    for flag in flags:
        command += ["--set", flag]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (out / "checkpoint.safetensors").exists() and time.monotonic() < deadline:
        assert process.poll() is None, "training ended before its first checkpoint"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    shortened = stored_settings(out)
    seen: list[int] = []

    def stop(event: Event) -> None:
        if isinstance(event, BatchDone):
            seen.append(event.epoch)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_training(photoset, out, shortened, resume=True, watch=stop)
    assert seen[0] > 1


def test_a_run_is_not_overwritten(finished_run: Run, photoset: Path) -> None:
    with pytest.raises(ResumeError, match="holds a run already"):
        run_training(photoset, finished_run.folder, tiny())


def test_resume_needs_a_run(photoset: Path, tmp_path: Path) -> None:
    with pytest.raises(ResumeError, match="holds no run"):
        run_training(photoset, tmp_path / "nothing", tiny(), resume=True)


def test_resume_with_other_settings_names_them(finished_run: Run, photoset: Path) -> None:
    with pytest.raises(ResumeError, match=r"dropout was 0\.2, is 0\.5"):
        run_training(photoset, finished_run.folder, tiny(dropout=0.5), resume=True)


def test_resume_with_other_data_is_refused(finished_run: Run, tmp_path: Path) -> None:
    shutil.copytree(finished_run.folder, tmp_path / "x")
    other = write_photoset(tmp_path / "other", seed=9)
    with pytest.raises(ResumeError, match="other settings or other data"):
        run_training(other, tmp_path / "x", tiny(), resume=True)


def test_a_damaged_checkpoint_is_said_to_be_one(
    finished_run: Run, photoset: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished_run.folder, tmp_path / "x")
    file = tmp_path / "x" / "checkpoint.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ResumeError, match="not a usable checkpoint"):
        run_training(photoset, tmp_path / "x", tiny(), resume=True)


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_epoch(
    photoset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from beltsight.train.loss import masked_loss as honest

    calls = 0

    def broken(*args: object, **kwargs: object) -> torch.Tensor:
        nonlocal calls
        calls += 1
        loss = honest(*args, **kwargs)  # type: ignore[arg-type]
        return loss * float("nan") if calls > 4 else loss

    monkeypatch.setattr(loop, "masked_loss", broken)
    with pytest.raises(DivergedError, match=r"became nan in epoch 2.*learning_rate"):
        run_training(photoset, tmp_path / "x", tiny())
    monkeypatch.undo()
    assert len(run_training(photoset, tmp_path / "x", tiny(), resume=True).history) == 4


def test_a_full_disk_is_said_and_the_last_checkpoint_stays(
    photoset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    def fill(event: Event) -> None:
        if isinstance(event, EpochDone) and event.epoch == 1:
            monkeypatch.setattr(os, "fsync", full)  # After the whole draft is written.

    with pytest.raises(TrainError, match=r"No space left on device.*--resume"):
        run_training(photoset, tmp_path / "x", tiny(), watch=fill)
    monkeypatch.undo()
    seen: list[int] = []

    def note(event: Event) -> None:
        if isinstance(event, EpochDone):
            seen.append(event.epoch)

    run_training(photoset, tmp_path / "x", tiny(), resume=True, watch=note)
    assert seen[0] == 2


def test_patience_ends_a_stage_early(photoset: Path, tmp_path: Path) -> None:
    # The rate is far too small to improve on the first epoch's accuracy by much.
    stages = ({"learn": "heads", "epochs": 30, "learning_rate": 1e-9},)
    run = run_training(photoset, tmp_path / "x", tiny(stages=stages, patience=2, ema_decay=0.0))
    assert len(run.history) < 30


def test_the_best_epoch_is_exported_not_the_last(
    photoset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accuracies = iter([0.5, 0.9, 0.9, 0.7])
    losses = iter([1.0, 0.5, 0.6, 0.1])
    monkeypatch.setattr(loop.Fit, "_validate", lambda *_: (next(losses), next(accuracies)))
    averages = []

    def keep(event: Event) -> None:
        if isinstance(event, EpochDone):
            tensors = load_file(tmp_path / "x" / "checkpoint.safetensors")
            averages.append({k[8:]: v for k, v in tensors.items() if k.startswith("average/")})

    run_training(photoset, tmp_path / "x", tiny(), watch=keep)
    best = load_file(tmp_path / "x" / "best.safetensors")
    assert all(torch.equal(best[name], averages[1][name]) for name in averages[1])
    assert not all(torch.equal(best[name], averages[3][name]) for name in averages[3])


def test_two_tasks_with_missing_labels(tmp_path: Path) -> None:
    data = write_photoset(tmp_path / "data", contamination=True)
    run = run_training(data, tmp_path / "x", tiny())
    model = Model.load(run.model)
    assert [task.name for task in model.tasks] == ["material", "contamination"]
    assert model.tasks[1].classes == ("clean", "partly", "heavily")
    figures = run.metrics["tasks"]
    assert figures["material"]["n"] == 18 and 0 < figures["contamination"]["n"] < 18
    answer = model.predict(data / "images" / "glass" / "0.png", explain=True)[0]
    assert answer.tasks["contamination"].label in ("clean", "partly", "heavily")
    assert answer.maps["contamination"].shape[0] == 3


def test_without_a_val_split_part_of_train_is_held_out(photoset: Path, tmp_path: Path) -> None:
    dataset = beltsight.load_dataset(photoset / "images")
    _, (train, val) = choose_samples(dataset, tiny(val_fraction=0.25))
    assert len(train) + len(val) == 72 and 12 <= len(val) <= 24
    assert not {s.path for s in train} & {s.path for s in val}


def test_photos_of_the_test_split_are_never_touched(photoset: Path) -> None:
    dataset = beltsight.load_dataset(photoset)
    marked = tuple(
        replace(sample, split="test") if index % 5 == 0 else sample
        for index, sample in enumerate(dataset.samples)
    )
    _, (train, val) = choose_samples(replace(dataset, samples=marked), tiny())
    assert {s.split for s in train} == {"train"} and {s.split for s in val} == {"val"}


def test_tensorboard_events_are_written_where_asked_for(photoset: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    stages = ({"learn": "heads", "epochs": 2, "learning_rate": 0.01},)
    run = run_training(photoset, tmp_path / "x", tiny(stages=stages, tensorboard=True))
    events = EventAccumulator(str(run.folder / "tensorboard")).Reload()
    written = [(event.step, event.value) for event in events.Scalars("val_loss")]
    assert [step for step, _ in written] == [1, 2]
    assert written[1][1] == pytest.approx(run.history[1].val_loss)


def test_a_class_without_training_photos_is_named(photoset: Path) -> None:
    dataset = beltsight.load_dataset(photoset)
    kept = tuple(s for s in dataset.samples if s.split == "val" or s.labels["material"] != "metal")
    with pytest.raises(DatasetError, match="no training photo of material metal"):
        choose_samples(replace(dataset, samples=kept), tiny())


def test_a_class_without_validation_photos_is_said_before_training(
    photoset: Path, tmp_path: Path
) -> None:
    dataset = beltsight.load_dataset(photoset)
    kept = tuple(
        s for s in dataset.samples if s.split == "train" or s.labels["material"] != "metal"
    )
    said: list[str] = []

    def stop(event: Event) -> None:
        assert said == ["no validation photo of material metal: nothing is known of it"]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_training(
            replace(dataset, samples=kept), tmp_path / "x", tiny(), doubting=said.append, watch=stop
        )


def test_an_empty_validation_split_is_said(photoset: Path) -> None:
    dataset = beltsight.load_dataset(photoset)
    kept = tuple(replace(s, labels={}) if s.split == "val" else s for s in dataset.samples)
    with pytest.raises(DatasetError, match="no validation photo has a label of material"):
        choose_samples(replace(dataset, samples=kept), tiny())


def test_unreadable_photos_stop_the_run_unless_told_to_leave_them_out(tmp_path: Path) -> None:
    data = write_photoset(tmp_path / "data")
    (data / "images" / "glass" / "0.png").write_bytes(b"not a photo")
    with pytest.raises(DatasetError, match=r"1 of 54 photos.*0\.png.*skip_unreadable"):
        run_training(data, tmp_path / "x", tiny())
    settings = tiny(
        skip_unreadable=True, stages=({"learn": "heads", "epochs": 1, "learning_rate": 0.01},)
    )
    run = run_training(data, tmp_path / "x", settings)  # the failed start is no run
    assert len(run.unreadable) == 1 and "0.png" in run.unreadable[0]


def test_a_run_can_be_exported_again_under_another_name(
    finished_run: Run, photoset: Path, tmp_path: Path
) -> None:
    from beltsight.train.package import About

    file = tmp_path / "again.onnx"
    export_run(finished_run.folder, photoset, file, about=About(name="again", licence="MIT"))
    first, again = Model.load(finished_run.model), Model.load(file)
    assert again.card.name == "again" and again.card.licence == "MIT"
    photo = photoset / "images" / "glass" / "0.png"
    embeddings = [model.predict(photo)[0].embedding for model in (first, again)]
    assert embeddings[0] is not None and embeddings[1] is not None
    np.testing.assert_allclose(embeddings[1], embeddings[0], rtol=1e-5)


def test_export_beside_a_live_run_leaves_its_photos_alone(photoset: Path, tmp_path: Path) -> None:
    out = tmp_path / "x"

    def export(event: Event) -> None:
        if isinstance(event, EpochDone) and event.epoch == 2:
            export_run(out, photoset, out / "early.onnx")
            with pytest.raises(TrainError, match="another process trains"):
                run_training(photoset, out, tiny(), resume=True)

    run = run_training(photoset, out, tiny(), watch=export)
    assert len(run.history) == 4 and Model.load(out / "early.onnx")


def test_a_resumed_run_needs_its_starting_weights_no_more(photoset: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from beltsight.train.network import build_network

    data = beltsight.load_dataset(photoset)
    weights = tmp_path / "w.safetensors"
    save_file(dict(build_network(tiny(), data.tasks).backbone.state_dict()), weights)
    settings = tiny(weights=str(weights))

    def stop(event: Event) -> None:
        if isinstance(event, BatchDone) and event.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_training(data, tmp_path / "x", settings, watch=stop)
    weights.unlink()
    assert len(run_training(data, tmp_path / "x", settings, resume=True).history) == 4


def test_a_model_file_that_cannot_be_written_is_said(
    finished_run: Run, photoset: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(TrainError, match="cannot be made"):
        export_run(finished_run.folder, photoset, tmp_path / "file" / "m.onnx")
    export_run(finished_run.folder, photoset, tmp_path / "new" / "m.onnx")
    assert Model.load(tmp_path / "new" / "m.onnx")


def test_export_of_a_run_refuses_other_data(finished_run: Run, tmp_path: Path) -> None:
    other = write_photoset(tmp_path / "other", seed=9)
    with pytest.raises(ResumeError, match="not the data that"):
        export_run(finished_run.folder, other, tmp_path / "m.onnx")
