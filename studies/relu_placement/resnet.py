"""ResNet-18 with the ReLUs of its additions placed by data, trained by the package.

The network is timm's with its own keys, so pretrained weights load as they are. All is measured on
TrashNet's validation photos.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from studies.relu_placement.comparison import LEVEL, holm, sign_flip_p
from studies.runner import write_json
from studies.study import Sweep
from studies.sweep import open_sweep
from studies.sweep import train as train_sweep
from studies.tables import difference, pooled
from studies.trained import correct_by_class, load_results
from timm.models import register_model
from timm.models.resnet import BasicBlock, ResNet, resnet18
from torch import Tensor, nn
from torch.nn import functional

import beltsight

BLOCKS = 8
AFTER, BEFORE, NONE = "a", "b", "n"
# Against which each variant is measured: the one that is trained alike.
REFERENCES = {"whole-": "whole-published", "": "published"}
_QUICK_VARIANTS = ("published", "last-none")
_COST_PHOTOS = 8
_COST_ROUNDS = 5
# Guessed for a training of each recipe on two cores with bfloat16, until one has its result.
_EXPECTED_S = {"quick": 150.0, "full": 300.0}

Floats = NDArray[np.float64]


class _BranchReLU(nn.Module):
    """A ReLU whose result is added to in place, as timm does: its gradient needs one of its own."""

    def forward(self, branch: Tensor) -> Tensor:
        return functional.relu(branch, inplace=True).clone()


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
            block.drop_path = _BranchReLU()
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


def train_variants(sweep: Sweep, command: str, is_over: Callable[[], bool] = lambda: False) -> None:
    """Train what has no result yet, and note the answers to the validation photos.

    Args:
        sweep: of study.toml.
        command: that makes the results.
        is_over: asked before each training whether the time is spent.

    Raises:
        SystemExit: the time is over, or some trainings failed.
    """
    failed, left = [], 0
    for variant, seed in sweep.jobs():
        if not sweep.file(variant.name, seed).exists() and is_over():
            left += 1
            continue
        try:
            train_sweep(replace(sweep, only=(variant.name,), seeds=(seed,)))
            _note_answers(sweep, command)
        except SystemExit as error:
            failed.append(str(error))
    if failed:
        raise SystemExit("\n".join(failed))
    if left:
        raise SystemExit(
            f"resnet: the time is over, {left} trainings are left; the same call goes on"
        )


def seconds_left(sweep: Sweep) -> tuple[int, float]:
    """How many trainings have no result yet, and about how long they will take.

    A training takes as long as those of its recipe took here, or as they took on two cores.
    """
    took: dict[str, list[float]] = {}
    for result in load_results(sweep.results):
        recipe = sweep.study.variant(result["variant"]).recipe
        took.setdefault(recipe, []).append(float(result["seconds"]))
    left = [v.recipe for v, seed in sweep.jobs() if not sweep.file(v.name, seed).exists()]
    seconds = [np.mean(took.get(recipe) or [_EXPECTED_S[recipe]]) for recipe in left]
    return len(left), float(np.sum(seconds))


def _note_answers(sweep: Sweep, command: str) -> None:
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
    marks = {name: each for name, each in marks.items() if each}
    if not marks:
        return "Not run yet."
    speed = {row["variant"]: float(row["ms_per_photo"]) for row in cost}
    gaps = {name: gap for name in marks if (gap := _gaps(marks, name)).size}
    p_values = holm([sign_flip_p(gap.mean(axis=0)) for gap in gaps.values()])
    corrected = dict(zip(gaps, p_values, strict=True))
    rows = [
        "| ReLUs | seeds | validation accuracy | against its published pair, in points | p | "
        "ms a photo |",
        "|---|---|---|---|---|---|",
    ]
    for name, by_seed in marks.items():
        share, cells = pooled(np.array(list(by_seed.values()))), "- | -"
        if name in gaps:
            cells = f"{_points(gaps[name], '{:+.1f} ({:+.1f} to {:+.1f})')} | {corrected[name]:.2g}"
        took = f"{speed[name]:.1f}" if name in speed else "-"
        rows.append(
            f"| {name}: {notes[name]} | {len(by_seed)} | {100 * share.mean:.1f} % "
            f"({100 * share.low:.1f} to {100 * share.high:.1f}) | {cells} | {took} |"
        )
    n = len(next(iter(next(iter(marks.values())).values())))
    note = (
        f"{n} validation photos, which also chose the epoch; intervals and p over photos, seeds "
        "pooled (in pairs those that both have), p corrected by Holm for "
        f"{len(corrected)} comparisons. Weights of shared/weights, which approximate the published "
        f"ones. Time: exported file, two cores, best of {_COST_ROUNDS} rounds in turn."
    )
    open_ones = {name: gap for name, gap in gaps.items() if corrected[name] >= LEVEL}
    return "\n".join(rows) + f"\n\n{note}{_not_told_apart(open_ones)}"


def _not_told_apart(gaps: Mapping[str, Floats]) -> str:
    """That no p was found shows nothing to be equal; within what bounds, the interval says."""
    if not gaps:
        return ""
    told = [f"{name} within {_points(gap, '{1:+.1f} to {2:+.1f}')}" for name, gap in gaps.items()]
    return (
        f" Not told apart from its pair, in points of accuracy: {'; '.join(told)}. So few photos "
        "show no two to be equal."
    )


def _points(gap: Floats, form: str) -> str:
    share = difference(gap, np.zeros_like(gap))
    return form.format(100 * share.mean, 100 * share.low, 100 * share.high)


def _gaps(marks: Mapping[str, Mapping[int, Floats]], name: str) -> Floats:
    """(seeds that both have, photos): a variant's marks less its pair's; empty without any."""
    other = _reference(name)
    if other == name:
        return np.array([])
    shared = sorted(marks[name].keys() & marks.get(other, {}).keys())
    return np.array([marks[name][seed] - marks[other][seed] for seed in shared])


def _reference(name: str) -> str:
    return next(other for start, other in REFERENCES.items() if name.startswith(start))


def _marks(folder: Path, name: str) -> dict[int, Floats]:
    """By seed (photos,): 1 where right."""
    found = {}
    for file in sorted(folder.glob(f"{name}-[0-9]*.json")):
        result = json.loads(file.read_text(encoding="utf-8"))
        if result.get("variant") == name and "correct" in result["val"]:
            correct = result["val"]["correct"]
            signs = [float(sign) for label in sorted(correct) for sign in correct[label]]
            found[int(result["seed"])] = np.array(signs)
    return found
