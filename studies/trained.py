"""One run of a study: train a variant with a seed, keep its figures, look at test once."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from studies.runner import REPOSITORY, look_at_test, write_json
from studies.study import Sweep, Variant

import beltsight
from beltsight.machine import describe_machine, usable_cores
from beltsight.train.activations import CachePlanned
from beltsight.train.loop import EpochDone, Event
from beltsight.train.package import About
from beltsight.train.plan import RunPlanned
from beltsight.train.run import Run, choose_samples, run_training
from beltsight.train.settings import TrainSettings, with_overrides

_SECONDS_BETWEEN_NOTES = 5.0
_PATHS = ("weights", "cache_folder")
_NOT_COMPARED = ("seed", "cache_folder", "threads", "workers")
NON_COMMERCIAL = (
    "Fine-tuned from approximated ImageNet weights whose licence is non-commercial: "
    "for measuring only, not to be shipped."
)


@dataclass
class Stopwatch:
    """Seconds of a run over all its resumptions, kept on disk while it runs.

    Args:
        file: where they are kept.
        before: seconds of earlier starts.
        starts: how often the run was started.
        epochs: per epoch the seconds from the start of the run to its end.
    """

    file: Path
    before: float = 0.0
    starts: int = 1
    epochs: dict[int, float] = field(default_factory=dict)
    _start: float = field(default_factory=time.monotonic)
    _noted: float = float("-inf")

    @classmethod
    def go_on(cls, file: Path) -> Stopwatch:
        """Start, or go on from what the file says."""
        if not file.exists():
            return cls(file)
        kept = json.loads(file.read_text(encoding="utf-8"))
        epochs = {int(epoch): seconds for epoch, seconds in kept["epochs"].items()}
        return cls(file, kept["seconds"], kept["starts"] + 1, epochs)

    @property
    def seconds(self) -> float:
        """Since the start of the run, pauses left out."""
        return self.before + time.monotonic() - self._start

    def note(self, event: Event) -> None:
        """Keep the time every few seconds, and at the end of each epoch."""
        if isinstance(event, EpochDone):
            self.epochs[event.epoch] = round(self.seconds, 1)
        elif time.monotonic() - self._noted < _SECONDS_BETWEEN_NOTES:
            return
        self._noted = time.monotonic()
        kept = {"seconds": self.seconds, "starts": self.starts, "epochs": self.epochs}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        draft = self.file.with_suffix(".part")
        draft.write_text(json.dumps(kept), encoding="utf-8")
        draft.replace(self.file)


def train_one(sweep: Sweep, variant: Variant, seed: int) -> None:
    """Train, or go on, to an exported file; write JSON and CSV, and remove what is large."""
    folder = sweep.folder(variant.name, seed)
    if (folder / "model.onnx").exists() and not (folder / "checkpoint.safetensors").exists():
        shutil.rmtree(folder)  # finished, and its result was deleted: it is wanted anew
    plain = sweep.settings(variant, seed)
    settings = resolved(plain)
    watch = Stopwatch.go_on(folder / "spent.json")
    busy = busy_cores()
    data = drawn_share(beltsight.load_dataset(sweep.data), settings, variant.train_share)

    def tell(event: Event) -> None:
        watch.note(event)
        if line := _line(event, settings.total_epochs):
            print(f"{variant.name} seed {seed}: {line}", flush=True)

    resume = (folder / "settings.toml").exists()
    about = About(
        name=f"{sweep.name}-{variant.name}-{seed}",
        notice=NON_COMMERCIAL if is_non_commercial(plain) else "",
    )
    run = run_training(data, folder, settings, resume=resume, watch=tell, about=about)
    result = _result(sweep, variant, plain, run, watch)
    result["busy_cores_before"] = busy
    result["command"] = (
        f"python studies/{sweep.name}/run.py train --only {variant.name} --seeds {seed}"
    )
    _write_curve(sweep.file(variant.name, seed).with_suffix(".csv"), run, watch)
    write_json(sweep.file(variant.name, seed), result)
    for name in ("checkpoint.safetensors", "best.safetensors", "spent.json"):
        (folder / name).unlink(missing_ok=True)
    val = result["val"]
    print(f"{variant.name} seed {seed}: val {val['accuracy']:.4f}, {result['seconds']:.0f} s")


def resolved(settings: TrainSettings) -> TrainSettings:
    """With paths that hold wherever the command is called from."""
    paths = {
        key: str((REPOSITORY / value).resolve())
        for key in _PATHS
        if "/" in (value := getattr(settings, key))
    }
    return with_overrides(settings, paths) if paths else settings


def busy_cores(seconds: float = 0.5) -> float | None:
    """How many cores are at work now; before a run, that is the work of others. Linux only."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return None
    idle = []
    for pause in (seconds, 0):
        ticks = [int(tick) for tick in stat.read_text(encoding="utf-8").split("\n")[0].split()[1:]]
        idle.append((ticks[3] + ticks[4], sum(ticks[:8])))
        time.sleep(pause)
    (idle_before, before), (idle_after, after) = idle
    share = 1 - (idle_after - idle_before) / max(1, after - before)
    return round(share * usable_cores(), 2)


def is_non_commercial(settings: TrainSettings) -> bool:
    """Whether the weights are among those of ``shared/weights`` that may not be shipped."""
    return Path(settings.weights).name.startswith("resnet")


def drawn_share(
    dataset: beltsight.Dataset, settings: TrainSettings, share: float
) -> beltsight.Dataset:
    """Only a share of each class's training photos; the validation photos are those of all.

    Args:
        dataset: all photos.
        settings: say which are held out, and give the seed.
        share: above 0 to 1; of each class at least one photo stays.
    """
    if share == 1:
        return dataset
    tasks, (train, val) = choose_samples(dataset, settings)
    by_class: dict[str, list[beltsight.Sample]] = defaultdict(list)
    for sample in train:
        by_class[sample.labels.get(tasks[0].name, "")].append(sample)
    kept = [*val]
    for label in sorted(by_class):
        members = by_class[label]
        # The first of one order for all shares: a smaller share is part of a larger one.
        order = np.random.default_rng(settings.seed).permutation(len(members))
        kept += [members[place] for place in order[: max(1, round(share * len(members)))]]
    return replace(dataset, samples=tuple(sorted(kept, key=lambda sample: sample.path.as_posix())))


def load_results(folder: Path) -> list[dict[str, Any]]:
    """All results of a study, by seed; the study's file says the order of variants."""
    found = [json.loads(file.read_text(encoding="utf-8")) for file in folder.glob("*.json")]
    return sorted(
        (result for result in found if "variant" in result),
        key=lambda result: (result["seed"], result["variant"]),
    )


def stale_settings(sweep: Sweep, variant: Variant, seed: int) -> list[str]:
    """Settings that a result was made with and that study.toml or the recipe now has otherwise."""
    kept = json.loads(sweep.file(variant.name, seed).read_text(encoding="utf-8"))
    now = {**changed_settings(sweep.settings(variant, seed)), "train_share": variant.train_share}
    before = {**kept["settings"], "train_share": kept["train_share"]}
    keys = sorted(now.keys() | before.keys())
    return [k for k in keys if k not in _NOT_COMPARED and now.get(k) != before.get(k)]


def changed_settings(settings: TrainSettings) -> dict[str, Any]:
    """All settings that are not the package's defaults."""
    default = TrainSettings().model_dump(mode="json")
    return {k: v for k, v in settings.model_dump(mode="json").items() if v != default[k]}


def measure_on_test(sweep: Sweep, result: dict[str, Any]) -> None:
    """Look at test, which writes the ledger, and put the figures into the result."""
    name, seed = result["variant"], result["seed"]
    model = sweep.folder(name, seed) / "model.onnx"
    if not model.exists():
        print(f"{name} seed {seed}: {model} is not here; train it again to measure it")
        return
    if hashlib.sha256(model.read_bytes()).hexdigest() != result["model_sha256"]:
        print(f"{name} seed {seed}: {model} is not the file of the result; nothing is measured")
        return
    evaluation = look_at_test(model, sweep.data, task=sweep.study.task, looks=sweep.looks)
    answers = evaluation.tasks[sweep.study.task]
    record = evaluation.to_record()
    result["test"] = figures(record["tasks"][sweep.study.task])
    result["test"]["unreadable"] = len(evaluation.unreadable)
    result["test"]["correct"] = correct_by_class(answers)
    result["test"]["photos_sha256"] = hashlib.sha256("\n".join(answers.paths).encode()).hexdigest()
    if record["twins"]:
        result["test"]["without_twins"] = record["twins"]["accuracy_without"][sweep.study.task]
    write_json(sweep.file(name, seed), result)
    test = result["test"]
    print(f"{name} seed {seed}: test {test['accuracy']:.4f} of {test['n']}", flush=True)


def figures(record: dict[str, Any]) -> dict[str, Any]:
    """Accuracy with n and interval, and recall per class with counts, of a task's record."""
    hits = [row[index] for index, row in enumerate(record["confusion"])]
    recall = {
        name: {
            "right": right,
            "n": record["per_class"][name]["support"],
            "interval": _rounded(record["per_class"][name]["recall_interval"]),
        }
        for name, right in zip(record["classes"], hits, strict=True)
    }
    return {
        "accuracy": record["accuracy"],
        "interval": _rounded(record["interval"]),
        "n": record["n"],
        "recall": recall,
    }


def correct_by_class(answers: Any) -> dict[str, str]:
    """Per class one sign for each of its photos, in the order of their paths: 1 for right.

    Args:
        answers: a task's answers in an Evaluation.
    """
    right = answers.probabilities.argmax(axis=1) == answers.labels
    return {
        label: "".join("01"[int(each)] for each in right[answers.labels == index])
        for index, label in enumerate(answers.task.classes)
    }


def _line(event: Event, epochs: int) -> str:
    if isinstance(event, RunPlanned):
        return f"about {event.seconds / 60:.1f} min without augmentation"
    if isinstance(event, CachePlanned):
        gb, minutes = event.size_bytes / 1e9, event.seconds / 60
        return f"{event.rows} activations, {gb:.2f} GB, about {minutes:.1f} min, {event.engine}"
    if isinstance(event, EpochDone):
        return (
            f"epoch {event.epoch}/{epochs}  train loss {event.train_loss:.4f}  val loss "
            f"{event.val_loss:.4f}  val accuracy {event.val_accuracy:.4f}  {event.seconds} s"
        )
    return ""


def _result(
    sweep: Sweep, variant: Variant, settings: TrainSettings, run: Run, watch: Stopwatch
) -> dict[str, Any]:
    described = json.loads((run.folder / "run.json").read_text(encoding="utf-8"))
    return {
        "variant": variant.name,
        "seed": settings.seed,
        "train_share": variant.train_share,
        "settings": changed_settings(settings),
        "n_train": described["n_train"],
        "unreadable": len(run.unreadable),
        "val": figures(run.metrics["tasks"][sweep.study.task]),
        "seconds": round(watch.seconds, 1),
        "starts": watch.starts,
        "epoch_seconds": _epoch_seconds(run.history),
        "model_sha256": hashlib.sha256(run.model.read_bytes()).hexdigest(),
        "machine": describe_machine(),
        "versions": {"beltsight": beltsight.__version__, "torch": torch.__version__},
    }


def _epoch_seconds(history: Sequence[EpochDone]) -> list[float]:
    """The median epoch of each stage."""
    stages: dict[int, list[float]] = defaultdict(list)
    for row in history:
        stages[row.stage].append(row.seconds)
    return [round(float(np.median(stages[stage])), 2) for stage in sorted(stages)]


def _write_curve(path: Path, run: Run, watch: Stopwatch) -> None:
    """The run's metrics.csv with the time at which each epoch ended."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with (run.folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*rows[0], "elapsed_s"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {**row, "elapsed_s": watch.epochs.get(int(row["epoch"]), "")} for row in rows
        )


def _rounded(interval: Sequence[float]) -> list[float]:
    return [round(end, 6) for end in interval]
