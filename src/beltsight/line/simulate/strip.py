"""The belt with its items, drawn beforehand as one long picture: a frame is then a slice of it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from beltsight.errors import ConfigError, ImageError
from beltsight.line.simulate.layout import Place, lay_out
from beltsight.line.simulate.settings import ItemLook, SimulationSettings
from beltsight.line.simulate.stock import Stock, StockItem, fill_stock, rectangle
from beltsight.line.simulate.texture import draw_belt
from beltsight.line.simulate.truth import TrueItem, Truth
from beltsight.line.view import View
from beltsight.records import Photo, Sample
from beltsight.scene import CutOut, DirtSettings, Shadow, load_dirt_settings, paste, soil

Progress = Callable[[str, float], None]

_IN_MEMORY_BYTES = 600_000_000
_CHUNK_PX = 4096
_LENS_PX = 0.55
_UNEVEN = 0.03  # by so much pixels per mm may differ along and across: roundings of a view
_CLEAN = "clean"


@dataclass(frozen=True, slots=True)
class Scale:
    """Between the strip's pixels and the belt's mm, along and across."""

    along: float
    across: float


class Strip:
    """One turn of the belt as a picture, and the empty belt before it.

    Columns run upstream to the left: a frame of a belt that runs to the right is a slice.

    Args:
        picture: uint8 (breadth, turn, 3) RGB: the turn.
        empty: uint8 (breadth, loop, 3): the belt without items; the turn is whole loops long.
        scale: pixels per mm.
        start_mm: belt position at which the first turn begins; before it the belt is empty.
        view: what the camera sees.
    """

    def __init__(
        self, picture: Photo, empty: Photo, scale: Scale, start_mm: float, view: View
    ) -> None:
        if picture.shape[1] % empty.shape[1] or picture.shape[0] != view.breadth_px:
            raise ConfigError("the strip must be whole loops long and as broad as the view")
        self.picture = picture
        self.empty = empty
        self.scale = scale
        self.start_mm = start_mm
        self.view = view

    @property
    def turn_mm(self) -> float:
        """Length of a turn."""
        return float(self.picture.shape[1] / self.scale.along)

    def cut(self, position_mm: float) -> Photo:
        """What the camera sees when the belt has gone so far; of the view's breadth and length.

        Returns:
            uint8 (breadth_px, length_px, 3), a new array, the belt running to the right.
        """
        length = self.view.length_px
        # Pixels upstream of the start of the first turn, for the frame's downstream end.
        middle = round((position_mm - self.start_mm) * self.scale.along)
        first = middle - length // 2
        out = np.empty((self.view.breadth_px, length, 3), np.uint8)
        turn, loop = self.picture.shape[1], self.empty.shape[1]
        place = first
        while place < first + length:
            source, ring = (self.empty, loop) if place < 0 else (self.picture, turn)
            stop = min(first + length, (place // ring + 1) * ring)
            inside = place % ring
            # Upstream is to the left, in the strip as in the frame.
            left = ring - inside - (stop - place)
            out[:, first + length - stop : first + length - place] = source[
                :, left : left + stop - place
            ]
            place = stop
        return out


def render(
    settings: SimulationSettings,
    view: View,
    samples: Sequence[Sample],
    *,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> tuple[Strip, Truth, Stock]:
    """Draw a belt.

    Args:
        settings: what it is to be like.
        view: what the camera sees of it.
        samples: photos to cut items from.
        folder: where a strip that is too large for memory is kept as a file, which is removed with
            the process; the system's by default.
        progress: called with what is being done and its share, 0 to 1.

    Raises:
        ConfigError: items that are too large for the view, or a view whose pixels are not square.
        DatasetError: no photo gives an item.
    """
    scale = _scale_of(view)
    if settings.items.size_mm[1] + 2 * settings.items.margin_mm > view.breadth_mm:
        raise ConfigError(
            f"items of up to {settings.items.size_mm[1]:g} mm and margins of "
            f"{settings.items.margin_mm:g} mm do not fit a view of {view.breadth_mm:g} mm across"
        )
    told = progress or (lambda _what, _share: None)
    total = max(1, len(samples))
    stock = fill_stock(
        samples,
        settings.items.size_mm[1] * scale.along,
        lambda done: told("items", done / total),
    )
    belt_rng, place_rng, item_rng = np.random.default_rng(settings.seed).spawn(3)
    loop_px = round(settings.belt.loop_m * 1000 * scale.along)
    if loop_px < view.length_px:
        raise ConfigError(f"the belt's loop of {settings.belt.loop_m} m is shorter than the view")
    empty = draw_belt(settings.belt, loop_px, view.breadth_px, scale.along, belt_rng)
    told("belt", 1.0)
    loops = max(1, round(settings.length_m / settings.belt.loop_m))
    picture = _space((view.breadth_px, loops * loop_px, 3), folder)
    for number in range(loops):
        picture[:, number * loop_px : (number + 1) * loop_px] = empty
    places = lay_out(
        stock.items, settings.items, loops * loop_px / scale.along, view.breadth_mm,
        settings.speed_mm_s, place_rng,
    )  # fmt: skip
    painter = _Painter(picture, stock, settings, scale, view.left_edge_mm, item_rng)
    items = []
    for number, place in enumerate(places):
        items.append(painter.paint(number, place))
        told("strip", (number + 1) / len(places))
    blur_px = settings.speed_mm_s * settings.light.exposure_ms / 1000 * scale.along
    _soften(picture, blur_px)
    _soften(empty, blur_px)
    strip = Strip(picture, empty, scale, settings.lead_in_mm, view)
    return strip, Truth(items, strip.turn_mm, settings.lead_in_mm), stock


def _scale_of(view: View) -> Scale:
    """Items are turned and scaled as wholes, so that a pixel must be as long as it is broad."""
    wide, high = view.width_px / view.width_mm, view.height_px / view.height_mm
    if max(wide, high) > (1 + _UNEVEN) * min(wide, high):
        raise ConfigError(
            f"the simulated belt needs square pixels, and the view has {wide:.3g} pixels per mm of "
            f"width and {high:.3g} of height; set its height_mm to {view.height_px / wide:.4g}, or "
            "width_mm, width_px or height_px to match"
        )
    return Scale(view.length_px / view.length_mm, view.breadth_px / view.breadth_mm)


def _space(shape: tuple[int, int, int], folder: Path | None) -> Photo:
    """Room for the strip: memory, or a file where it is large or one is asked for."""
    if folder is None and np.prod(shape) <= _IN_MEMORY_BYTES:
        return np.empty(shape, np.uint8)
    try:
        # Without a name: it goes with the process, however that ends.
        with tempfile.TemporaryFile(dir=folder) as file:
            return np.memmap(file, np.uint8, "w+", shape=shape)
    except OSError as error:
        size = np.prod(shape) / 1e9
        raise ConfigError(
            f"no room for {size:.1f} GB of belt in {folder or tempfile.gettempdir()}: {error}; "
            "choose a shorter length_m or another folder"
        ) from error


class _Painter:
    """Lays items on the strip."""

    def __init__(
        self,
        picture: Photo,
        stock: Stock,
        settings: SimulationSettings,
        scale: Scale,
        left_edge_mm: float,
        rng: np.random.Generator,
    ) -> None:
        self._picture = picture
        self._stock = stock
        self._look = settings.items
        self._start_mm = settings.lead_in_mm
        self._scale = scale
        self._left_edge_mm = left_edge_mm
        self._rng = rng
        self._dirt = load_dirt_settings()

    def paint(self, number: int, place: Place) -> TrueItem:
        """Lay one item; what it has become."""
        item = self._stock.items[place.stock]
        cut, labels, dirt_share = soiled(item, self._look, self._dirt, self._rng)
        scale = place.long_mm * self._scale.along / item.long_px
        turned = cut.transformed(degrees=place.degrees, scale=scale, mirror=place.mirror)
        turn_px = self._picture.shape[1]
        centre = (turn_px - place.s_mm * self._scale.along, place.lateral_mm * self._scale.across)
        left, top = self._paste(turned, centre)
        solid = turned.alpha >= 0.5
        rows, columns = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
        x0, x1 = left + columns[0], left + columns[-1] + 1
        y0, y1 = top + rows[0], top + rows[-1] + 1
        along, across = self._scale.along, self._scale.across
        long_px, short_px = sorted(rectangle(solid.astype(np.uint8)), reverse=True)
        return TrueItem(
            item_id=number,
            s_mm=float(self._start_mm + (turn_px - (x0 + x1) / 2) / along),
            lateral_mm=float((y0 + y1) / 2 / across + self._left_edge_mm),
            along_mm=float((x1 - x0) / along),
            across_mm=float((y1 - y0) / across),
            length_mm=long_px / along,
            width_mm=short_px / along,
            labels=labels,
            contact=place.contact,
            other=place.other,
            dirt_share=dirt_share,
            source=item.source,
        )

    def _paste(self, cut: CutOut, centre: tuple[float, float]) -> tuple[int, int]:
        """Paste into the part of the strip around it; where its box begins."""
        shadow = _shadow(cut, self._look.shadow, self._rng)
        width, height = cut.size
        rim = 40
        x0 = max(0, int(centre[0] - width / 2) - rim)
        x1 = min(self._picture.shape[1], int(centre[0] + width / 2) + rim)
        near = self._picture[:, x0:x1]
        near[:] = paste(np.asarray(near), cut, (centre[0] - x0, centre[1]), shadow=shadow).photo
        left = int(np.floor(centre[0] - x0 - width / 2 + 0.5)) + x0
        return left, int(np.floor(centre[1] - height / 2 + 0.5))


def soiled(
    item: StockItem, look: ItemLook, settings: DirtSettings, rng: np.random.Generator
) -> tuple[CutOut, dict[str, str], float]:
    """The item as it comes to the belt: clean as in its photo, or with simulated dirt.

    Returns:
        Its pixels, its labels, and the covered share of it. An item that the data set calls dirty
        already keeps its label.
    """
    labels = dict(item.labels)
    level = labels.setdefault("contamination", _CLEAN)
    if level != _CLEAN or rng.random() >= look.dirty:
        return item.cut, labels, 0.0
    kinds = [kind for kind, dirt in settings.kinds.items() if dirt.weight]
    weights = np.array([settings.kinds[kind].weight for kind in kinds])
    kind = str(rng.choice(kinds, p=weights / weights.sum()))
    try:
        made = soil(
            item.cut.rgb, item.cut.alpha, kind, float(rng.uniform(*look.dirt_share)), rng,
            settings=settings,
        )  # fmt: skip
    except ImageError:  # too small for dirt
        return item.cut, labels, 0.0
    labels["contamination"] = settings.levels.name(made.share)
    if labels["contamination"] != _CLEAN:
        labels.pop("dirt", None)  # some dirt has no class, and "none" would be wrong
        if settings.kinds[kind].label:
            labels["dirt"] = str(settings.kinds[kind].label)
    return CutOut(made.photo, item.cut.alpha), labels, made.share


def _shadow(cut: CutOut, opacity: float, rng: np.random.Generator) -> Shadow | None:
    """Of a lamp above and a little upstream; a larger item stands higher."""
    if opacity == 0:
        return None
    height_px = 0.035 * float(np.sqrt(cut.alpha.sum()))
    return Shadow(
        (
            1.2 + height_px * float(rng.uniform(0.2, 0.5)),
            1.0 + height_px * float(rng.uniform(0.3, 0.8)),
        ),
        min(1.2 + 0.8 * height_px, 8.0),
        opacity,
    )


def _soften(picture: NDArray[np.uint8], blur_px: float) -> None:
    """What lens and motion do, in place: parts of the ring at a time, each with its neighbours."""
    kernel = _motion_kernel(blur_px)
    rim = len(kernel) + 4
    length = picture.shape[1]
    first = np.array(picture[:, :rim])
    before = np.array(picture[:, -rim:])
    for start in range(0, length, _CHUNK_PX):
        stop = min(length, start + _CHUNK_PX)
        after = np.array(picture[:, stop : stop + rim])
        if after.shape[1] < rim:
            after = np.concatenate([after, first[:, : rim - after.shape[1]]], axis=1)
        here = np.array(picture[:, start:stop])
        wide = np.concatenate([before, here, after], axis=1)
        wide = cv2.sepFilter2D(wide, -1, kernel, _lens_kernel())
        picture[:, start:stop] = wide[:, rim : rim + stop - start]
        before = np.concatenate([before, here], axis=1)[:, -rim:]


def _lens_kernel() -> NDArray[np.float64]:
    return np.asarray(cv2.getGaussianKernel(5, _LENS_PX), np.float64).ravel()


def _motion_kernel(blur_px: float) -> NDArray[np.float64]:
    """A box of that width, its ends in part, through the same lens."""
    half = max(0, int(np.ceil((blur_px - 1) / 2)))
    away = np.abs(np.arange(-half, half + 1))
    box = np.clip(blur_px / 2 + 0.5 - away, 0, 1) if blur_px > 1 else np.ones(1)
    whole = np.convolve(box / box.sum(), _lens_kernel())
    return np.asarray(whole / whole.sum(), np.float64)
