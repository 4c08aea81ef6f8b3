"""ResNet-18 with the ReLUs of its additions placed by data, trained by the package.

The network is timm's with its own keys, so pretrained weights load as they are. All is measured on
TrashNet's validation photos.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from studies.relu_placement.comparison import holm, sign_flip_p
from studies.runner import write_json
from studies.study import Sweep
from studies.sweep import open_sweep
from studies.sweep import train as train_sweep
from studies.tables import difference, pooled
from studies.trained import correct_by_class, load_results
from timm.models import register_model
from timm.models.resnet import BasicBlock, ResNet, resnet18
from torch import nn

import beltsight

BLOCKS = 8
AFTER, BEFORE, NONE = "a", "b", "n"
# Against which each variant is measured: the one that is trained alike.
REFERENCES = {"whole-": "whole-published", "": "published"}
_QUICK_VARIANTS = ("published", "last-none")
_COST_PHOTOS = 8
_COST_ROUNDS = 5

Floats = NDArray[np.float64]


@register_model  # type: ignore[untyped-decorator, unused-ignore]
def resnet18_placed(
    pretrained: bool = False, additions: str = AFTER * BLOCKS, **kwargs: Any
) -> ResNet:
    """ResNet-18 whose additions have their ReLU after them, before them, or none.

    Args:
        pretrained: as timm's.
        additions: a letter per block: ``a`` after (as published), ``b`` before, on the branch
            alone, ``n`` none.
        kwargs: as timm's.

    Raises:
        ValueError: not eight of these letters.
    """
    if len(additions) != BLOCKS or set(additions) - {AFTER, BEFORE, NONE}:
        raise ValueError(f"additions: expected {BLOCKS} letters of a, b, n; got {additions!r}")
    network: ResNet = resnet18(pretrained=pretrained, **kwargs)
    blocks = [part for part in network.modules() if isinstance(part, BasicBlock)]
    for block, letter in zip(blocks, additions, strict=True):
        if letter != AFTER:
            block.act2 = nn.Identity()
        if letter == BEFORE:
            # timm runs this on the branch right before the addition; it has no weights.
            block.drop_path = nn.ReLU(inplace=True)
    return network


def open_resnet(here: Path, out: Path, *, quick: bool, seeds: tuple[int, ...] = ()) -> Sweep:
    """The sweep of study.toml, with its results in a folder of their own.

    Args:
        here: holds study.toml.
        out: the working folder.
        quick: two variants on a slice, with a tiny backbone.
        seeds: in place of the study's.
    """
    sweep = open_sweep(here, out, quick=quick)
    only = _QUICK_VARIANTS if quick else ()
    results, runs = sweep.results / "resnet", sweep.runs / "resnet"
    return replace(sweep, results=results, runs=runs, only=only, seeds=seeds or sweep.seeds)


def train_variants(sweep: Sweep, command: str) -> None:
    """Train what has no result yet, and note the answers to the validation photos."""
    train_sweep(sweep)
    for result in load_results(sweep.results):
        model = sweep.folder(result["variant"], result["seed"]) / "model.onnx"
        if "correct" in result["val"] or not model.exists():
            continue
        answers = beltsight.evaluate(model, sweep.data, "val").tasks[sweep.study.task]
        result["val"]["correct"] = correct_by_class(answers)
        result["command"] = command
        write_json(sweep.file(result["variant"], result["seed"]), result)


def measure_cost(sweep: Sweep) -> list[dict[str, Any]]:
    """Milliseconds a photo of each variant's exported file, in turn, the best of a few rounds."""
    seed = (sweep.seeds or sweep.study.seeds)[0]
    files = {v.name: sweep.folder(v.name, seed) / "model.onnx" for v in sweep.study.variants}
    models = {name: beltsight.load(file) for name, file in files.items() if file.exists()}
    samples = beltsight.load_dataset(sweep.data).select("val").samples[:_COST_PHOTOS]
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(_COST_ROUNDS + 1):  # the first warms up
        for name, model in models.items():
            photos = np.stack([model.prepare(sample.path) for sample in samples])
            start = time.perf_counter()
            model.outputs(photos, [sweep.study.task])
            times[name].append(1000 * (time.perf_counter() - start) / len(photos))
    return [
        {"variant": name, "ms_per_photo": round(min(each[1:]), 3)} for name, each in times.items()
    ]


def resnet_text(folder: Path, notes: dict[str, str], cost: Sequence[dict[str, str]]) -> str:
    """Accuracy of each variant on validation, and against the published placement.

    Args:
        folder: of the results.
        notes: by variant, in the order of the table.
        cost: rows as :func:`measure_cost` gives them, or none.
    """
    marks = {name: _marks(folder, name) for name in notes}
    marks = {name: each for name, each in marks.items() if each.size}
    if not marks:
        return "Not run yet."
    speed = {row["variant"]: float(row["ms_per_photo"]) for row in cost}
    pairs = {name: _reference(name) for name in marks if _reference(name) not in (name,)}
    pairs = {name: other for name, other in pairs.items() if other in marks}
    gaps = {name: marks[name] for name in pairs}
    p_values = [sign_flip_p((own - marks[pairs[n]]).mean(axis=0)) for n, own in gaps.items()]
    corrected = dict(zip(gaps, holm(p_values), strict=True))
    rows = [
        "| ReLUs | seeds | validation accuracy | against its published pair, in points | p | "
        "ms a photo |",
        "|---|---|---|---|---|---|",
    ]
    for name, own in marks.items():
        share, cells = pooled(own), "- | -"
        if name in pairs:
            gap = difference(own, marks[pairs[name]])
            cells = (
                f"{100 * gap.mean:+.1f} ({100 * gap.low:+.1f} to {100 * gap.high:+.1f}) | "
                f"{corrected[name]:.2g}"
            )
        took = f"{speed[name]:.1f}" if name in speed else "-"
        rows.append(
            f"| {name}: {notes[name]} | {len(own)} | {100 * share.mean:.1f} % "
            f"({100 * share.low:.1f} to {100 * share.high:.1f}) | {cells} | {took} |"
        )
    n = next(iter(marks.values())).shape[1]
    note = (
        f"{n} validation photos, which also chose the epoch; intervals and p over photos, seeds "
        f"pooled, p corrected by Holm for {len(corrected)} comparisons. Weights of shared/weights, "
        "which approximate the published ones. Time: exported file, two cores, best of "
        f"{_COST_ROUNDS} rounds in turn."
    )
    return "\n".join(rows) + f"\n\n{note}"


def _reference(name: str) -> str:
    return next(other for start, other in REFERENCES.items() if name.startswith(start))


def _marks(folder: Path, name: str) -> Floats:
    """(seeds, photos): 1 where right."""
    found = []
    for file in sorted(folder.glob(f"{name}-[0-9]*.json")):
        result = json.loads(file.read_text(encoding="utf-8"))
        if result.get("variant") == name and "correct" in result["val"]:
            correct = result["val"]["correct"]
            found.append([float(sign) for label in sorted(correct) for sign in correct[label]])
    return np.array(found)
