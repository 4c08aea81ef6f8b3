"""How several views of one item are best made one answer: on TrashNet's validation photos.

    python benchmarks/fuse_views.py [--out FILE] [--photos N] [--views N] [--keep FILE]

Views of an item are its photo shifted, scaled, relit, blurred along one axis and with the sensor's
noise, as a belt's camera sees it in several frames; the packaged model answers each. Compared are
the mean of probabilities, the mean of their logarithms, their product, and the product raised to
what dependent views are worth: n / (1 + (n - 1) r). The dependence r is chosen on one half of the
items and judged on the other, and the other way round.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.outcome import REPOSITORY, finish, keep_to_cores, options, print_rows

import beltsight
from beltsight.metrics import wilson_interval
from beltsight.reliability import check_calibration
from beltsight.scene import relight

Floats = NDArray[np.float64]
Rule = Callable[[Floats], Floats]  # (items, views, classes) log-probabilities -> (items, classes)
DEPENDENCES = np.linspace(0, 2, 41)


def make_view(photo: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """The item as another frame shows it."""
    height, width = photo.shape[:2]
    scale = rng.uniform(0.85, 1.1)
    matrix = np.array([[scale, 0, 0], [0, scale, 0]])
    matrix[:, 2] = (1 - scale) / 2 * np.array([width, height])
    matrix[:, 2] += rng.uniform(-0.06, 0.06, 2) * (width, height)
    moved = cv2.warpAffine(photo, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    lit = relight(
        np.asarray(moved, np.uint8),
        exposure_ev=float(rng.uniform(-0.6, 0.4)),
        gradient_ev=float(rng.uniform(0, 0.6)),
        direction_deg=float(rng.uniform(0, 360)),
        warmth_mired=float(rng.uniform(-30, 30)),
    )
    blurred = cv2.blur(lit, (int(rng.integers(1, 12)), 1))
    noisy = blurred + rng.normal(0, 3, photo.shape)
    return np.asarray(np.clip(noisy, 0, 255), np.uint8)


def answer(data: Path, count: int | None, views: int) -> tuple[Floats, NDArray[np.int64]]:
    """Log-probabilities (items, views, classes) of the packaged model, and labels (items,)."""
    model = beltsight.load(threads=1)
    task = model.tasks[0]
    samples = [s for s in beltsight.load_dataset(data).samples if s.split == "val"]
    if count is not None:
        samples = samples[:: max(1, len(samples) // count)][:count]
    rows = []
    for number, sample in enumerate(samples):
        photo = beltsight.prepare(sample.path, beltsight.Preparation(384, 512))
        rng = np.random.default_rng(number)
        batch = np.stack([model.prepare(make_view(photo, rng)) for _ in range(views)])
        logits = model.outputs(batch, [task.name])[task.name]
        rows.append(np.log(np.maximum(model.probabilities(task.name, logits), 1e-12)))
    labels = [task.classes.index(sample.labels[task.name]) for sample in samples]
    return np.stack(rows), np.array(labels)


def normalised(logs: Floats) -> Floats:
    peak = logs.max(axis=1, keepdims=True)
    return np.asarray(logs - peak - np.log(np.exp(logs - peak).sum(axis=1, keepdims=True)))


def with_dependence(r: float) -> Rule:
    """The product of views that are worth n / (1 + (n - 1) r) independent ones."""

    def rule(logs: Floats) -> Floats:
        count = logs.shape[1]
        return normalised(logs.mean(axis=1) * (count / (1 + (count - 1) * r)))

    return rule


def mean_of_probabilities(logs: Floats) -> Floats:
    return np.asarray(np.log(np.exp(logs).mean(axis=1)))


def loss(logs: Floats, labels: NDArray[np.int64]) -> float:
    """Negative log-likelihood in nats."""
    return float(-logs[np.arange(len(labels)), labels].mean())


def best_dependence(logs: Floats, labels: NDArray[np.int64]) -> float:
    return float(min(DEPENDENCES, key=lambda r: loss(with_dependence(r)(logs), labels)))


def crossed(logs: Floats, labels: NDArray[np.int64]) -> tuple[Floats, list[float]]:
    """Each half fused with the dependence that the other half chose."""
    half = np.arange(len(labels)) % 2 == 0
    fused = np.empty((len(labels), logs.shape[2]))
    chosen = []
    for judged in (half, ~half):
        chosen.append(best_dependence(logs[~judged], labels[~judged]))
        fused[judged] = with_dependence(chosen[-1])(logs[judged])
    return fused, chosen


def figures(fused: Floats, labels: NDArray[np.int64]) -> dict[str, Any]:
    correct = fused.argmax(axis=1) == labels
    confidences = np.exp(fused.max(axis=1))
    check = check_calibration(confidences, correct)
    low, high = wilson_interval(int(correct.sum()), len(labels))
    return {
        "accuracy": round(float(correct.mean()), 4),
        "interval": [round(low, 4), round(high, 4)],
        "nll": round(loss(fused, labels), 4),
        "ece": round(check.error, 4),
        "ece_by_chance": round(check.band[1], 4),
        "confidence": round(float(confidences.mean()), 4),
    }


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--photos", type=int, help="only so many")
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--keep", type=Path, help="keep the model's answers here, as .npz")
    given = parser.parse_args()
    keep_to_cores(1)
    logs, labels = kept_answers(given)
    records = {}
    for count in range(1, logs.shape[1] + 1):
        seen = logs[:, :count]
        crossing, chosen = crossed(seen, labels)
        ways = {
            "mean of probabilities": mean_of_probabilities(seen),
            "mean of logarithms (r = 1)": with_dependence(1)(seen),
            "product (r = 0)": with_dependence(0)(seen),
            f"chosen r = {chosen[0]:.2f}, {chosen[1]:.2f}": crossing,
        }
        for name, fused in ways.items() if count > 1 else [("one view", seen[:, 0])]:
            records[f"{count}: {name}"] = figures(fused, labels)
        records[f"{count}: best r of all"] = {"r": best_dependence(seen, labels)}
    rows = [[name, *(str(value) for value in record.values())]
            for name, record in records.items() if "nll" in record]  # fmt: skip
    print(f"{len(labels)} validation photos, {logs.shape[1]} views each")
    print_rows(["views: rule", "accuracy", "95 %", "nll", "ece", "by chance", "confidence"], rows)
    print({name: record["r"] for name, record in records.items() if "r" in record})
    finish({"what": "fuse views", "photos": len(labels), "rules": records}, [], given)


def kept_answers(given: argparse.Namespace) -> tuple[Floats, NDArray[np.int64]]:
    """The model's answers, computed once."""
    if given.keep and given.keep.exists():
        with np.load(given.keep, allow_pickle=False) as kept:
            return kept["logs"], kept["labels"]
    folder = os.environ.get("BELTSIGHT_DATA") or REPOSITORY.parent / "shared" / "data"
    data = Path(folder) / "trashnet"
    if not data.is_dir():
        sys.exit(f"{data} is not here; set BELTSIGHT_DATA")
    logs, labels = answer(data, given.photos, given.views)
    if given.keep:
        np.savez(given.keep, logs=logs, labels=labels)
    return logs, labels


if __name__ == "__main__":
    main()
