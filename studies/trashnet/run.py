"""TrashNet's official split with each backbone and recipe; see README.md.

python studies/trashnet/run.py train             # what has no result yet; goes on where it stopped
python studies/trashnet/run.py flips             # mean over photo and mirror image, on validation
python studies/trashnet/run.py measure           # one look at test for each result, and with flips
python studies/trashnet/run.py table plot
python studies/trashnet/run.py train flips measure table plot --quick   # a slice, elsewhere
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import beltsight

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))
from studies.runner import note_look, write_json  # noqa: E402
from studies.study import Sweep  # noqa: E402
from studies.tables import Result, fill_markers, percent  # noqa: E402
from studies.trained import load_results  # noqa: E402

from studies import sweep as sweeping  # noqa: E402

_BATCH = 64


def mirrored(
    model: beltsight.Model, photos: NDArray[np.uint8], task: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Answers to photos, and answers of the mean probabilities of photo and mirror image.

    Args:
        model: answers.
        photos: uint8 (N, H, W, 3), prepared.
        task: that is asked.

    Returns:
        Two int64 (N,) of class indices.
    """
    plain, flipped = (
        model.probabilities(task, model.outputs(np.ascontiguousarray(each), [task])[task])
        for each in (photos, photos[:, :, ::-1])
    )
    return plain.argmax(axis=1), (plain + flipped).argmax(axis=1)


def measure_flips(model: beltsight.Model, data: Path, split: str, task: str) -> dict[str, Any]:
    """What flips give on a split: right of n without and with, photos won and lost."""
    classes = next(spec.classes for spec in model.tasks if spec.name == task)
    samples = beltsight.load_dataset(data).select(split).samples
    rows = [sample for sample in samples if task in sample.labels]
    before: list[NDArray[np.bool_]] = []
    after: list[NDArray[np.bool_]] = []
    for start in range(0, len(rows), _BATCH):
        chunk = rows[start : start + _BATCH]
        truth = np.array([classes.index(sample.labels[task]) for sample in chunk])
        photos = np.stack([model.prepare(sample.path) for sample in chunk])
        for kept, answers in zip((before, after), mirrored(model, photos, task), strict=True):
            kept.append(answers == truth)
    plain, flipped = np.concatenate(before), np.concatenate(after)
    return {
        "n": len(rows),
        "right": int(plain.sum()),
        "right_with_flips": int(flipped.sum()),
        "won": int((flipped & ~plain).sum()),
        "lost": int((plain & ~flipped).sum()),
    }


def flips(sweep: Sweep) -> None:
    """On validation, for each result whose model file is here."""
    for result, model in _unmeasured(sweep, "val"):
        result["val"]["flips"] = measure_flips(model, sweep.data, "val", sweep.study.task)
        _keep(sweep, result, "val")


def measure(sweep: Sweep) -> None:
    """As every study does, and then with flips: another look, another line of the ledger."""
    sweeping.measure(sweep)
    for result, model in _unmeasured(sweep, "test"):
        found = measure_flips(model, sweep.data, "test", sweep.study.task)
        accuracy = found["right_with_flips"] / found["n"]
        figure = f"{sweep.study.task} accuracy {accuracy:.4f} (mean over photo and mirror image)"
        note_look(model.hash, sweep.data.name, found["n"], figure, looks=sweep.looks)
        result["test"]["flips"] = found
        _keep(sweep, result, "test")


def _unmeasured(sweep: Sweep, split: str) -> list[tuple[Result, beltsight.Model]]:
    wanted = {(variant.name, seed) for variant, seed in sweep.jobs()}
    found = []
    for result in load_results(sweep.results):
        file = sweep.folder(result["variant"], result["seed"]) / "model.onnx"
        is_wanted = (result["variant"], result["seed"]) in wanted and split in result
        if is_wanted and "flips" not in result[split] and file.exists():
            model = beltsight.load(file)
            if model.hash == result["model_sha256"]:
                found.append((result, model))
    return found


def _keep(sweep: Sweep, result: Result, split: str) -> None:
    write_json(sweep.file(result["variant"], result["seed"]), result)
    found = result[split]["flips"]
    print(
        f"{result['variant']} seed {result['seed']}: {split} {found['right']} -> "
        f"{found['right_with_flips']} of {found['n']} with flips",
        flush=True,
    )


def table(sweep: Sweep) -> None:
    """The tables of every study, and that of flips."""
    sweeping.table(sweep)
    text = flips_text(sweep, load_results(sweep.results))
    fill_markers(sweep.readme, "flips", text)
    print(text)


def flips_text(sweep: Sweep, results: list[Result]) -> str:
    """What flips add per variant, seeds pooled."""
    rows = [
        "| with flips, seeds pooled | validation | won : lost | test | won : lost |",
        "|---|---|---|---|---|",
    ]
    for variant in sweep.study.variants:
        group = [result for result in results if result["variant"] == variant.name]
        cells = [_flips_cells(group, split) for split in ("val", "test")]
        if any("%" in cell for cell in cells):
            rows.append(f"| {variant.name} | {' | '.join(cells)} |")
    return "\n".join(rows) if len(rows) > 2 else "Not measured yet."


def _flips_cells(group: list[Result], split: str) -> str:
    found = [r[split]["flips"] for r in group if "flips" in r.get(split, {})]
    if not found:
        return "- | -"
    total = {key: sum(each[key] for each in found) for key in found[0]}
    before, after = total["right"] / total["n"], total["right_with_flips"] / total["n"]
    return f"{percent(before)} to {percent(after)} | {total['won']} : {total['lost']}"


if __name__ == "__main__":
    sweeping.main(HERE, {"flips": flips, "measure": measure, "table": table})
