"""Where the model looked: heat maps in the photo's own coordinates.

A class map holds, for each place of the last feature map, the part of the class's logit that
comes from there: the head applied at that place, without its bias. The mean over all places is
the logit less the bias, so the map is the decision itself and no afterthought; it equals Grad-CAM
on the last stage up to the ReLU and a positive factor. What it does not show is what the class
was preferred to. It is as coarse as the feature map: a cell of a 7 x 7 map covers a seventh of
the photo's side, and it sees well beyond its cell.

A model that learned from masks where dirt lies answers that, too: how much of each place is
covered. It is learned beside the level and is not the level's evidence, but it is right about
where dirt lies far more often, so it is what is shown for an item that is called dirty.

A model without class maps is asked by occlusion: a patch of the fill colour slides over the
photo, and the drop of the class's logit is the weight of the place that it hides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from beltsight.config import nearest
from beltsight.errors import ConfigError
from beltsight.image import Preparation, Source, letterbox, letterbox_box
from beltsight.image_small import decode_at_most
from beltsight.jpeg import encode_jpeg
from beltsight.records import Floats, Photo, Prediction, TaskSpec

if TYPE_CHECKING:
    from beltsight.model import Model

# Below a twentieth of the strongest place nothing is tinted: noise would veil the whole photo.
_FAINT = 0.05
_STRONGEST_TINT = 0.72
_SHOWN_PX = 1024
_SURE = 60  # a logit; farther ones give the same share, and their exponentials overflow float32


def heatmap(class_map: Floats, preparation: Preparation, photo_size: tuple[int, int]) -> Floats:
    """A class's map as heat over the photo.

    Args:
        class_map: float32 (h, w) of one photo, in logits per place, over the prepared photo.
        preparation: how the photo was prepared; its letterbox is undone.
        photo_size: (height, width) of the photo in pixels.

    Returns:
        float32 (height, width), 0 to 1: the positive part, divided by its maximum over the photo.
        1 is the strongest place of this photo, not a certainty; all 0 where nothing speaks for
        the class.

    Example:
        >>> heatmap(np.eye(4, dtype=np.float32), Preparation(64, 64), (30, 40)).shape
        (30, 40)
    """
    wide = (preparation.width, preparation.height)
    whole = cv2.resize(np.array(class_map), wide, interpolation=cv2.INTER_CUBIC)
    x0, y0, x1, y1 = letterbox_box(*photo_size, preparation)
    inside = np.maximum(whole[y0:y1, x0:x1], 0)
    shown = cv2.resize(inside, photo_size[::-1], interpolation=cv2.INTER_LINEAR)
    peak = float(shown.max())
    return np.asarray(shown / peak if peak > 0 else np.zeros_like(shown), np.float32)


def overlay(photo: Photo, heat: Floats) -> Photo:
    """Lay heat over its photo.

    Args:
        photo: uint8 (H, W, 3) RGB.
        heat: float32 (H, W), 0 to 1.

    Returns:
        uint8 (H, W, 3) RGB. Lightness and opacity both grow with heat, in the colours of
        matplotlib's *inferno*, so that the order can be read without telling hues apart; where
        there is no heat the photo is untouched.
    """
    levels = np.asarray(np.clip(heat, 0, 1) * 255, np.uint8)
    # The dark third of the scale would hide the photo instead of marking it.
    scale = cv2.applyColorMap(
        np.linspace(96, 250, 256).astype(np.uint8)[:, None], cv2.COLORMAP_INFERNO
    )
    colours = scale[:, 0, ::-1][levels].astype(np.float32)
    strength = np.clip((heat - _FAINT) / (1 - _FAINT), 0, 1) ** 0.8 * _STRONGEST_TINT
    mixed = photo + (colours - photo) * strength[:, :, None].astype(np.float32)
    return np.asarray(np.clip(np.rint(mixed), 0, 255), np.uint8)


def occlusion_map(
    model: Model, photo: Photo, task: str, *, cells: int = 8, batch_size: int = 16
) -> Floats:
    """What each place is worth to each class, by hiding it.

    Args:
        model: any model; one answer is computed per cell.
        photo: uint8 (H, W, 3) RGB, as decoded.
        task: the task to explain.
        cells: places along each side. The patch has twice a cell's side, so that neighbours
            overlap and an item on the border of two cells is hidden whole.
        batch_size: photos per call of the engine.

    Returns:
        float32 (C, cells, cells): the drop of each class's logit, positive where the place speaks
        for the class; it goes where a class map goes. Source: Zeiler and Fergus 2014, section 3.2.

    Raises:
        ConfigError: fewer than one cell.
    """
    if cells < 1:
        raise ConfigError(f"an occlusion map needs at least one cell a side, got {cells}")
    preparation = model.card.image_preparation
    prepared = letterbox(photo, preparation)
    whole = model.outputs(prepared[None], [task])[task][0]
    drops = []
    for start in range(0, cells * cells, batch_size):
        places = range(start, min(start + batch_size, cells * cells))
        hidden = np.stack([_hide(prepared, place, cells, preparation) for place in places])
        drops.append(whole - model.outputs(hidden, [task], batch_size)[task])
    table = np.concatenate(drops)
    return np.ascontiguousarray(table.T.reshape(-1, cells, cells).astype(np.float32))


def explain(
    model: Model, photo: Photo, prediction: Prediction, task: str, label: str | None = None
) -> Floats:
    """Heat for one answer, by class map where the prediction holds one, else by occlusion.

    Args:
        model: gave the prediction.
        photo: uint8 (H, W, 3) RGB: the decoded photo, at any scale.
        prediction: of that photo, best made with ``explain=True``.
        task: which answer.
        label: which class; the answer itself by default.

    Returns:
        float32 (H, W), 0 to 1; see :func:`heatmap`.

    Raises:
        ConfigError: the model has no such task or class.
    """
    spec = next((spec for spec in model.tasks if spec.name == task), None)
    if spec is None:
        raise ConfigError(f"no task {task!r}; {nearest(task, [s.name for s in model.tasks])}")
    chosen = label or prediction.tasks[task].label
    if chosen not in spec.classes:
        raise ConfigError(f"{task} has no class {chosen!r}; {nearest(chosen, spec.classes)}")
    shown = map_of(prediction, spec, chosen)
    if shown is None:
        shown = occlusion_map(model, photo, task)[spec.classes.index(chosen)]
    height, width = photo.shape[:2]
    return heatmap(shown, model.card.image_preparation, (height, width))


def map_of(prediction: Prediction, task: TaskSpec, label: str) -> Floats | None:
    """The map that is shown for a class: float32 (h, w), or None where the prediction has none.

    Where the task learned from masks it is the share of each place that is covered, 0 to 1, for
    every class but the first, which is the one without; else the class map.
    """
    places = prediction.places.get(task.name)
    if places is not None and label != task.classes[0]:
        within = np.clip(places, -_SURE, _SURE)
        return np.asarray(1 / (1 + np.exp(-within)), np.float32)
    maps = prediction.maps.get(task.name)
    return None if maps is None else np.asarray(maps[task.classes.index(label)])


def explain_jpeg(model: Model, photo: Photo, prediction: Prediction, task: str) -> bytes:
    """A photo with the heat of its answer, as a JPEG file's content.

    Args:
        model: gave the prediction.
        photo: uint8 (H, W, 3) RGB: the decoded photo, at any scale.
        prediction: of that photo, without an error.
        task: which answer.
    """
    return encode_jpeg(overlay(photo, explain(model, photo, prediction, task)))


def decode_to_show(source: Source) -> Photo:
    """A photo as large as heat is worth laying over: uint8 (H, W, 3) RGB, 1024 pixels at most.

    Raises:
        ImageError: as for :func:`beltsight.image.decode`.
    """
    return decode_at_most(source, _SHOWN_PX)


def _hide(prepared: Photo, place: int, cells: int, preparation: Preparation) -> NDArray[np.uint8]:
    row, column = divmod(place, cells)
    high, wide = preparation.height / cells, preparation.width / cells
    top, left = round((row - 0.5) * high), round((column - 0.5) * wide)
    bottom, right = round((row + 1.5) * high), round((column + 1.5) * wide)
    hidden = prepared.copy()
    hidden[max(0, top) : bottom, max(0, left) : right] = preparation.fill
    return hidden
