"""A model's answers to made photos, one row per photo, kept as CSV so that they are asked once."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from studies.contamination.photos import CLEAN, Plan, mask_of
from studies.runner import look_at_test

import beltsight
from beltsight.explain import map_of
from beltsight.scene import find_foreground

LEVELS = ("clean", "partly", "heavily")
_LEVEL, _MATERIAL, _DIRT = "contamination", "material", "dirt"
_BATCH = 32


@dataclass(frozen=True)
class Row:
    """One photo and what the model said of it.

    Args:
        set: the kind of dirt on it, or ``clean``.
        twin: the same for photos that differ in their dirt alone.
        material: its label.
        material_answer: what the model said.
        share: covered share of the item, 0 to 1.
        level: index into ``LEVELS``.
        clean, partly, heavily: calibrated probabilities.
        dirt: its label where the model knows it, else empty.
        dirt_answer: what the model said.
        peak: distance in pixels of the prepared photo from the peak of the map that is shown to the
            nearest dirt, 0 where it lies on dirt; -1 where no map was asked for.
        overlap: intersection over union of the marked part of the map with the dirt; -1 as above.
        peak_class, overlap_class: the same for the class map of the likelier dirty level.
        by_chance, near_by_chance: of the item's pixels the share that lies on dirt, and near it;
            -1 as above.
    """

    set: str
    twin: str
    material: str
    material_answer: str
    share: float
    level: int
    clean: float
    partly: float
    heavily: float
    dirt: str = ""
    dirt_answer: str = ""
    peak: float = -1.0
    overlap: float = -1.0
    peak_class: float = -1.0
    overlap_class: float = -1.0
    by_chance: float = -1.0
    near_by_chance: float = -1.0

    @property
    def item(self) -> str:
        """The photo that it was made of: several made photos may show one item."""
        return self.twin.rsplit(".", 2)[0]

    @property
    def answer(self) -> int:
        """The level that the model answers."""
        return int(np.argmax([self.clean, self.partly, self.heavily]))


def ask(model: Path, data: Path, split: str, plan: Plan, looks: Path) -> list[Row]:
    """Answers to all photos of a data set, by way of the ledger where they are test photos.

    Args:
        model: a model file that answers material and contamination.
        data: a CSV of :func:`photos_to_ask`.
        split: ``val`` or ``test``.
        plan: how maps are judged.
        looks: the ledger.
    """
    if split == "test":
        evaluation = look_at_test(model, data, task=_LEVEL, looks=looks)
    else:
        evaluation = beltsight.evaluate(model, data, split)
    with data.open(newline="", encoding="utf-8") as file:
        table = {row["path"]: row for row in csv.DictReader(file)}
    levels = evaluation.tasks[_LEVEL]
    said = {name: _answers(evaluation, name) for name in (_MATERIAL, _DIRT)}
    rows = {}
    for path, probabilities in zip(levels.paths, levels.probabilities, strict=True):
        row = table[path]
        by_class = dict(zip(levels.task.classes, probabilities.tolist(), strict=True))
        clean, partly, heavily = (round(by_class[level], 6) for level in LEVELS)
        rows[path] = Row(
            row["set"],
            path.partition("/images/")[2],
            row[_MATERIAL],
            said[_MATERIAL].get(path, ""),
            float(row["share"]),
            LEVELS.index(row[_LEVEL]),
            clean,
            partly,
            heavily,
            row[_DIRT],
            said[_DIRT].get(path, ""),
        )
    rows |= with_maps(beltsight.load(model), data.parent, rows, plan)
    return list(rows.values())


def with_maps(
    model: beltsight.Model, folder: Path, rows: dict[str, Row], plan: Plan
) -> dict[str, Row]:
    """Rows of partly dirty items, with what their maps are worth; none for a model without maps."""
    paths = [path for path, row in rows.items() if LEVELS[row.level] == "partly"]
    task = next(task for task in model.tasks if task.name == _LEVEL)
    judged: dict[str, Row] = {}
    for start in range(0, len(paths), _BATCH):
        chunk = paths[start : start + _BATCH]
        found = model.predict([folder / path for path in chunk], explain=True)
        for path, prediction in zip(chunk, found, strict=True):
            row = rows[path]
            level = LEVELS[1 if row.partly >= row.heavily else 2]
            shown = map_of(prediction, task, level)
            if shown is None:
                return judged
            class_map = prediction.maps[_LEVEL][task.classes.index(level)]
            preparation = model.card.image_preparation
            black = beltsight.Preparation(preparation.height, preparation.width, (0, 0, 0))
            grey = cv2.imread(str(mask_of(folder, path)), cv2.IMREAD_GRAYSCALE)
            mask = beltsight.prepare(np.asarray(grey, np.uint8), black)[:, :, 0] > 127
            item = item_on(folder / twin_of(path), black)
            judged[path] = judged_row(row, (shown, class_map), mask, item, plan)
    return judged


def twin_of(path: str) -> str:
    """The photo in the set ``clean`` that shows the same item in the same light."""
    name, _, photo = path.partition("/images/")
    return f"{name.rpartition('/')[0]}/{CLEAN}/images/{photo}"


def item_on(photo: Path, preparation: beltsight.Preparation) -> NDArray[np.bool_]:
    """bool (H, W): the item on the prepared photo."""
    shown = np.asarray(cv2.imread(str(photo)), np.uint8)[:, :, ::-1]
    found = find_foreground(np.ascontiguousarray(shown)).mask > 0.5
    return beltsight.prepare(np.asarray(found * 255, np.uint8), preparation)[:, :, 0] > 127


def judged_row(
    row: Row,
    maps: tuple[NDArray[np.float32], NDArray[np.float32]],
    mask: NDArray[np.bool_],
    item: NDArray[np.bool_],
    plan: Plan,
) -> Row:
    """The row with what its maps are worth.

    Args:
        row: of the photo.
        maps: float32 (h, w), over the prepared photo: the one that is shown, and the class map.
        mask: bool (H, W): the dirt on the prepared photo.
        item: bool (H, W): the item, of which chance draws a point.
        plan: how maps are judged.
    """
    peak, overlap = judge_map(maps[0], mask, plan.map_threshold)
    peak_class, overlap_class = judge_map(maps[1], mask, plan.map_threshold)
    away = _away(mask)[item | mask]
    more = {
        "peak": peak, "overlap": overlap, "peak_class": peak_class, "overlap_class": overlap_class,
        "by_chance": round(float((away == 0).mean()), 4) if mask.any() else 0.0,
        "near_by_chance": round(float((away <= plan.near_px).mean()), 4) if mask.any() else 0.0,
    }  # fmt: skip
    return Row(**{**asdict(row), **more})


def judge_map(
    heat: NDArray[np.float32], mask: NDArray[np.bool_], threshold: float
) -> tuple[float, float]:
    """How far a map's peak is from the mask, in pixels, and its overlap with it.

    Args:
        heat: float32 (h, w), enlarged to the mask's size as heat maps are.
        mask: bool (H, W); one without any dirt is as far as the photo's diagonal.
        threshold: part of the strongest place from which on a place is marked.

    Returns:
        0 where the peak lies on dirt; intersection over union of the marked part, 0 to 1.
    """
    wide = cv2.resize(np.array(heat), mask.shape[::-1], interpolation=cv2.INTER_CUBIC)
    if not mask.any():
        return float(np.hypot(*mask.shape)), 0.0
    row, column = np.unravel_index(int(wide.argmax()), wide.shape)
    away = _away(mask)
    marked = wide >= threshold * max(float(wide.max()), 1e-9)
    overlap = float((marked & mask).sum() / (marked | mask).sum())
    return round(float(away[row, column]), 2), round(overlap, 4)


def _away(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(H, W) pixels to the nearest dirt."""
    away = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    return np.asarray(away, np.float32)


def kept(file: Path, make: Callable[[], list[Row]]) -> list[Row]:
    """Rows out of a CSV, or made and written there."""
    if not file.exists():
        write_rows(file, make())
    return read_rows(file)


def write_rows(file: Path, rows: Sequence[Row]) -> None:
    """Rows as CSV, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(".part")
    with draft.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, [each.name for each in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    draft.replace(file)


def read_rows(file: Path) -> list[Row]:
    """What :func:`write_rows` wrote."""
    kinds = {
        each.name: {"int": int, "float": float}.get(str(each.type), str) for each in fields(Row)
    }
    with file.open(newline="", encoding="utf-8") as text:
        return [
            Row(**{name: kinds[name](value) for name, value in row.items()})
            for row in csv.DictReader(text)
        ]


def digest(model: Path, data: Path, plan: Plan) -> str:
    """What kept answers depend on, in twelve digits."""
    parts = [model.read_bytes(), data.read_bytes(), str(plan.map_threshold).encode()]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()[
        :12
    ]


def _answers(evaluation: beltsight.Evaluation, name: str) -> dict[str, str]:
    """Answer by path of one task."""
    if name not in evaluation.tasks:
        return {}
    task = evaluation.tasks[name]
    chosen = task.probabilities.argmax(axis=1)
    return {path: task.task.classes[each] for path, each in zip(task.paths, chosen, strict=True)}
