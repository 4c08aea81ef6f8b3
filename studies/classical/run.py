"""Classical features with support vector machines on two data sets; see README.md.

python studies/classical/run.py            # everything; goes on where it stopped
python studies/classical/run.py --no-test  # up to the choices on validation
python studies/classical/run.py --quick    # a slice, in seconds; some of val stand for test
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when numpy is loaded

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))
from studies.classical.bench import Bench, open_bench, say  # noqa: E402
from studies.classical.chart import draw_chart  # noqa: E402
from studies.classical.classifiers import Setting, answers, grid, join_sets, try_all  # noqa: E402
from studies.classical.controls import assign_folds, fold_accuracy, frame_accuracy  # noqa: E402
from studies.classical.table import fill_readme  # noqa: E402
from studies.runner import REPOSITORY, arguments, data_folder, note_look, write_json  # noqa: E402

from beltsight.machine import describe_machine  # noqa: E402

FOLDS = 5
Labels = NDArray[np.int64]
Sets = tuple[tuple[str, dict[str, Any], bool], ...]


@dataclass(frozen=True)
class Choice:
    """What validation chose for one row of the table.

    Args:
        sets: (kind of feature, its settings, whether each dimension is standardised).
        setting: the classifier.
        mirrored: whether mirrored copies of the training photos are learned, too.
        val_accuracy: 0 to 1.
        tried: how many settings were compared.
    """

    sets: Sets
    setting: Setting
    mirrored: bool = False
    val_accuracy: float = -1.0
    tried: int = 0

    def to_record(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Choice:
        """Back from JSON."""
        sets = tuple((kind, variant, own) for kind, variant, own in record["sets"])
        return cls(**{**record, "sets": sets, "setting": Setting(**record["setting"])})


def matrices(bench: Bench, sets: Sets, mirrored: bool, split: str) -> tuple[Any, Labels, Any]:
    """Training rows, their labels, and the rows of a split, joined and scaled."""
    own = [standardised for _, _, standardised in sets]

    def blocks(part: str) -> list[Any]:
        return [bench.describe(kind, variant, part).rows for kind, variant, _ in sets]

    known = blocks("train")
    train, labels = join_sets(known, known, own), bench.labels("train")
    if mirrored:
        train = np.concatenate([train, join_sets(blocks("train-mirrored"), known, own)])
        labels = np.concatenate([labels, labels])
    return train, labels, join_sets(blocks(split), known, own)


def choose(bench: Bench, options: Sequence[Sets], classifier: str) -> Choice:
    """The best on validation: features and classifier first, then whether mirroring helps.

    The first of equals wins; options and settings come the simplest first. Kept on disk.
    """
    settings = grid(classifier, bench.study)
    key = bench.digest(options, [asdict(s) for s in settings], bench.study["forest_trees"])
    kept = bench.folder / f"choice-{key[:16]}.json"
    if kept.exists():
        return Choice.from_record(json.loads(kept.read_text(encoding="utf-8")))
    best = Choice(options[0], settings[0])
    for sets in options:
        best = _better(bench, best, sets, False, settings)
    best = _better(bench, best, best.sets, True, [best.setting])
    best = replace(best, tried=len(options) * len(settings) + 1)
    write_json(kept, best.to_record())
    return best


def _better(
    bench: Bench, best: Choice, sets: Sets, mirrored: bool, settings: Sequence[Setting]
) -> Choice:
    train, labels, asked = matrices(bench, sets, mirrored, "val")
    truth, most = bench.labels("val"), 0.0
    options = {"seed": bench.study["seed"], "trees": bench.study["forest_trees"]}
    for setting, answered in try_all(settings, train, labels, asked, **options):
        accuracy = float((answered == truth).mean())
        most = max(most, accuracy)
        if accuracy > best.val_accuracy:
            best = Choice(sets, setting, mirrored, accuracy)
    shown = [(kind, variant, "standardised" if own else "as it is") for kind, variant, own in sets]
    mark = ", mirrored" if mirrored else ""
    say(f"{bench.name}: val {most:.3f} with {settings[0].classifier}{mark} on {shown}")
    return best


def choose_rows(bench: Bench) -> dict[str, Choice]:
    """The rows of the table: each feature set alone, then all with three classifiers."""
    rows = {}
    for kind, variants in bench.study["sets"].items():
        options = [((kind, variant, own),) for variant in variants for own in (True, False)]
        rows[kind] = choose(bench, options, "rbf")
    together = tuple(part for choice in rows.values() for part in choice.sets)
    for classifier in ("rbf", "linear", "forest"):
        rows[f"all-{classifier}"] = choose(bench, [together], classifier)
    return rows


def measure(bench: Bench, choice: Choice) -> dict[str, Any]:
    """Fit as chosen and answer for the test photos: the figures of one row."""
    start = time.process_time()
    train, labels, asked = matrices(bench, choice.sets, choice.mirrored, "test")
    options = {"seed": bench.study["seed"], "trees": bench.study["forest_trees"]}
    answered = answers(choice.setting, train, labels, asked, **options)
    fit_s = time.process_time() - start
    truth = bench.labels("test")
    n_photos = len(bench.labels("train")) + len(truth)
    feature_s = sum(
        bench.describe(kind, variant, part).cpu_s
        for kind, variant, _ in choice.sets
        for part in ("train", "test")
    )
    return {
        **figures(truth, answered, bench.classes),
        "feature_ms_a_photo": round(1000 * feature_s / n_photos, 2),
        "fit_and_answer_cpu_s": round(fit_s, 2),
    }


def figures(truth: Labels, answered: Labels, classes: Sequence[str]) -> dict[str, Any]:
    """Accuracy with its Wilson interval, and the recall of each class with counts."""
    hits, n = int((truth == answered).sum()), len(truth)
    interval = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    recalls = {}
    for index, name in enumerate(classes):
        own = truth == index
        right = int((answered[own] == index).sum())
        recalls[name] = {
            "correct": right,
            "n": int(own.sum()),
            "recall": right / int(own.sum()) if own.any() else None,
        }
    return {
        "n": n,
        "correct": hits,
        "accuracy": hits / n,
        "interval": [float(interval.low), float(interval.high)],
        "per_class": recalls,
    }


def controls(bench: Bench, choices: dict[str, Choice]) -> dict[str, Any]:
    """What the colours of the outer frame tell, and folds of neighbouring numbers; kept on disk."""
    rows = ("colour", "all-rbf")
    frame = bench.study["frame"]
    key = bench.digest([choices[row].to_record() for row in rows], frame)
    kept = bench.folder / f"controls-{key[:16]}.json"
    if kept.exists():
        return dict(json.loads(kept.read_text(encoding="utf-8")))
    say(f"{bench.name}: controls")
    setting = choices["colour"].setting
    truth = np.concatenate([bench.labels("train"), bench.labels("val")])
    names = [*bench.names("train"), *bench.names("val")]
    found: dict[str, Any] = {
        "frame": {**frame, "val_accuracy": frame_accuracy(bench, **frame, setting=setting)},
        "folds": {"n": len(truth), "folds": FOLDS},
    }
    for row in rows:
        choice = choices[row]
        drawn = assign_folds(names, truth, FOLDS, np.random.default_rng(bench.study["seed"]))
        runs = assign_folds(names, truth, FOLDS, None)
        found["folds"][row] = {
            "random": fold_accuracy(bench, choice.sets, choice.setting, drawn),
            "neighbouring_numbers": fold_accuracy(bench, choice.sets, choice.setting, runs),
        }
    write_json(kept, found)
    return found


def study_one(bench: Bench, results: Path, *, look: bool, in_ledger: bool) -> None:
    """Choose, and look at the test photos once for each row; rows that stand are kept."""
    file = results / f"{bench.name}.json"
    before = json.loads(file.read_text(encoding="utf-8"))["rows"] if file.exists() else {}
    rows: dict[str, Any] = {}
    choices = choose_rows(bench)
    for name, choice in choices.items():
        key = bench.digest(choice.sets, asdict(choice.setting), choice.mirrored)
        chosen = choice.to_record()
        rows[name] = {"settings_sha256": key, "validation": chosen}
        old = before.get(name, {})
        if old.get("settings_sha256") == key and "test" in old:
            rows[name]["test"] = old["test"]
        elif look:
            test = rows[name]["test"] = measure(bench, choice)
            figure = f"material accuracy {test['accuracy']:.4f} (studies/classical, {name})"
            if in_ledger:
                note_look(key, bench.name, test["n"], figure)
            say(f"{bench.name}: {name}: {figure}")
    write_json(file, {**_record(bench, rows), "controls": controls(bench, choices)})


def _record(bench: Bench, rows: dict[str, Any]) -> dict[str, Any]:
    return {
        "data": bench.name,
        "command": "python studies/classical/run.py",
        "seed": bench.study["seed"],
        "n": {split: len(bench.labels(split)) for split in bench.samples},
        "left_out": bench.left_out,
        "machine": {
            **describe_machine(),
            "threads": 1,
            "note": "busy with other work; processor seconds",
        },
        "rows": rows,
    }


def main(arguments_given: Sequence[str] | None = None) -> None:
    parser = arguments((__doc__ or "").splitlines()[0])
    parser.add_argument("--data", action="append", help="one data set (default: both)")
    parser.add_argument("--no-test", action="store_true", help="stop after validation")
    parser.add_argument("--quick", action="store_true", help="a slice; its results stay in --out")
    given: argparse.Namespace = parser.parse_args(arguments_given)
    study = tomllib.loads((HERE / "study.toml").read_text(encoding="utf-8"))
    name = "classical-quick" if given.quick else "classical"
    out = given.out or REPOSITORY / "runs" / name
    if given.quick:
        study["sets"] = {kind: variants[-1:] for kind, variants in study["sets"].items()}
        study["sets"]["sift"] = [{"words": 16, "grid": 2}]
        study |= {"forest_trees": 20, "penalties": [10.0], "widths": [0.5]}
    results = out / "results" if given.quick else HERE / "results"
    for data in given.data or study["data"]:
        bench = open_bench(data_folder(data), study, out, is_quick=given.quick)
        study_one(bench, results, look=not given.no_test, in_ledger=not given.quick)
    if not given.no_test:
        draw_chart(results, REPOSITORY / "studies" / "default_model" / "results" / "test.json")
        if not given.quick:
            fill_readme(results, HERE / "README.md")


if __name__ == "__main__":
    cv2.setNumThreads(1)
    main()
