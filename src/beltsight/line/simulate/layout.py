"""Where the items lie: arrivals, gaps, touching and overlapping neighbours; no pixel is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from beltsight.line.simulate.settings import ItemLook
from beltsight.line.simulate.stock import StockItem

CELL_MM = 2.0
_TRIES = 12
_BLOCK_CELLS = 96
_TOUCH_CELLS = 3
_OVERLAP = (0.12, 0.35)  # of the smaller item's area

Contact = Literal["touching", "overlapping"]
_Bits = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Place:
    """One item's place on the belt.

    Args:
        stock: index of the item in the stock.
        s_mm: belt position of the middle of its cut-out's box, from the start of the turn.
        lateral_mm: of the same, from the belt's left edge.
        long_mm: its long side.
        degrees: it is turned by, counterclockwise, seen with the belt running to the right.
        mirror: whether left and right are exchanged first.
        contact: how it lies with another item, or None.
        other: index of that item's place, or None.
    """

    stock: int
    s_mm: float
    lateral_mm: float
    long_mm: float
    degrees: float
    mirror: bool
    contact: Contact | None = None
    other: int | None = None


class _Spot(NamedTuple):
    """Where an item's cells begin."""

    row: int
    column: int


class _Laid(NamedTuple):
    """An item on the grid."""

    bits: _Bits
    spot: _Spot
    is_free: bool


class _Grid:
    """Which cells of the belt are item: rows from the left edge on, columns upstream.

    There is a rim of the gap's width, so that whatever is looked at lies within.
    """

    def __init__(self, across: int, along: int, gap: int, margin: int) -> None:
        self.across, self.along, self.gap, self.margin = across, along, gap, margin
        self._cells = np.zeros((across + 2 * gap, along + 2 * gap), np.uint8)
        self._element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * gap + 1, 2 * gap + 1))

    def widened(self, bits: _Bits) -> _Bits:
        """The item's cells and all that are nearer than the gap."""
        gap = self.gap
        wide = cv2.copyMakeBorder(bits, gap, gap, gap, gap, cv2.BORDER_CONSTANT, value=0)
        return np.asarray(cv2.dilate(wide, self._element), np.uint8)

    def is_within(self, bits: _Bits, spot: _Spot) -> bool:
        height, width = int(bits.shape[0]), int(bits.shape[1])
        last = self.across - self.margin - height, self.along - self.gap - width
        return self.margin <= spot.row <= last[0] and self.gap <= spot.column <= last[1]

    def is_clear(self, wide: _Bits, spot: _Spot, beside: _Laid | None = None) -> bool:
        """Whether no other item lies where ``wide`` is, but for the one that it is laid beside."""
        rows, columns = (
            slice(spot.row, spot.row + wide.shape[0]),
            slice(spot.column, spot.column + wide.shape[1]),
        )
        met = self._cells[rows, columns] & wide
        if beside is not None and met.any():
            mine = np.zeros_like(self._cells[rows, columns])
            _add(mine, beside.bits, beside.spot.row + self.gap - spot.row,
                 beside.spot.column + self.gap - spot.column)  # fmt: skip
            met &= 1 - mine
        return not bool(met.any())

    def next_clear(
        self, wide: _Bits, start: int, room: int, rng: np.random.Generator
    ) -> _Spot | None:
        """The first column from ``start`` on at which some row is clear; one such row."""
        last = self.along - self.gap - (wide.shape[1] - 2 * self.gap)
        rows = slice(self.margin, self.margin + room + wide.shape[0])
        template = wide.astype(np.float32)
        for left in range(start, last + 1, _BLOCK_CELLS):
            count = min(_BLOCK_CELLS, last + 1 - left)
            field = self._cells[rows, left : left + count - 1 + wide.shape[1]].astype(np.float32)
            # Cells that both take, for every place at once; sums by Fourier are not quite whole.
            met = cv2.matchTemplate(field, template, cv2.TM_CCORR)
            clear = met < 0.5
            columns = np.flatnonzero(clear.any(axis=0))
            if columns.size:
                row = rng.choice(np.flatnonzero(clear[:, columns[0]]))
                return _Spot(self.margin + int(row), left + int(columns[0]))
        return None

    def lay(self, bits: _Bits, spot: _Spot) -> None:
        _add(self._cells, bits, spot.row + self.gap, spot.column + self.gap)


def lay_out(
    stock: Sequence[StockItem],
    look: ItemLook,
    length_mm: float,
    breadth_mm: float,
    speed_mm_s: float,
    rng: np.random.Generator,
) -> tuple[Place, ...]:
    """Choose items and their places on one turn of the belt.

    Args:
        stock: what may be laid; each item comes once before any comes twice.
        look: rate, sizes, gaps, contacts.
        length_mm, breadth_mm: of the belt; at its ends the gap is kept, too.
        speed_mm_s: turns the rate per second into one per mm.
        rng: decides.

    Returns:
        The places, downstream first. Two items that are not in contact lie at least ``gap_mm``
        apart, outline to outline. Where there is no room the item comes a little later, so on a
        full belt the rate falls short.
    """
    gap = int(np.ceil(look.gap_mm / CELL_MM)) + 1  # a cell more, since cells are coarse
    margin = int(np.ceil(look.margin_mm / CELL_MM))
    grid = _Grid(int(breadth_mm / CELL_MM), int(length_mm / CELL_MM), gap, margin)
    places: list[Place] = []
    last: _Laid | None = None
    order: list[int] = []
    s_mm = float(rng.exponential(speed_mm_s / look.rate_per_s))
    while s_mm < length_mm:
        order = order or [int(index) for index in rng.permutation(len(stock))]
        drawn = _draw(order.pop(), look, rng)
        bits = footprint(stock[drawn.stock], drawn)
        wide = grid.widened(bits)
        contact = _contact(look, rng) if last is not None and last.is_free else None
        spot = None
        if contact and last is not None:
            spot = _beside(grid, bits, wide, last, contact, rng)
        if spot is None:
            contact = None
            spot = _free(grid, bits, wide, int(s_mm / CELL_MM), rng)
        if spot is not None:
            grid.lay(bits, spot)
            places.append(_placed(drawn, bits, spot, contact, len(places)))
            last = _Laid(bits, spot, contact is None)
        s_mm += float(rng.exponential(speed_mm_s / look.rate_per_s))
    return _in_order(_paired(places))


def footprint(item: StockItem, place: Place) -> _Bits:
    """The item's cells as it lies: rows from the left edge on, columns upstream."""
    scale = place.long_mm / item.long_px / CELL_MM
    turned = item.cut.transformed(degrees=place.degrees, scale=scale, mirror=place.mirror)
    cells = turned.alpha >= 0.25  # rather too large than too small
    return np.ascontiguousarray(cells[:, ::-1], np.uint8)


def _draw(index: int, look: ItemLook, rng: np.random.Generator) -> Place:
    """An item of some size and angle, nowhere yet."""
    long_mm, degrees = float(rng.uniform(*look.size_mm)), float(rng.uniform(0, 360))
    return Place(index, 0.0, 0.0, long_mm, degrees, bool(rng.random() < 0.5))


def _contact(look: ItemLook, rng: np.random.Generator) -> Contact | None:
    """Whether an item is laid at the one before it, which is free.

    If a share x of all items is laid so, 2 x are in contact; x = a (1 - x) where a is the chance.
    """
    share = look.touching + look.overlapping
    joins = share / 2
    if rng.random() >= joins / (1 - joins):
        return None
    return "touching" if rng.random() * share < look.touching else "overlapping"


def _free(
    grid: _Grid, bits: _Bits, wide: _Bits, column: int, rng: np.random.Generator
) -> _Spot | None:
    """A place with nothing near, at that column or as little upstream of it as can be."""
    height, width = bits.shape
    room = grid.across - 2 * grid.margin - height
    start = max(grid.gap, column - width // 2)
    if room < 0:
        return None
    for row in rng.integers(room + 1, size=_TRIES):
        spot = _Spot(grid.margin + int(row), start)
        if not grid.is_within(bits, spot):
            return None  # beyond the end
        if grid.is_clear(wide, spot):
            return spot
    return grid.next_clear(wide, start, room, rng)


def _beside(
    grid: _Grid,
    bits: _Bits,
    wide: _Bits,
    last: _Laid,
    contact: Contact,
    rng: np.random.Generator,
) -> _Spot | None:
    """A place where the item touches or overlaps the last one and is clear of all others."""
    smaller = min(int(bits.sum()), int(last.bits.sum()))
    share = float(rng.uniform(*_OVERLAP))
    for angle in rng.uniform(0, 2 * np.pi, _TRIES):
        needed = _TOUCH_CELLS if contact == "touching" else max(_TOUCH_CELLS, share * smaller)
        spot = _pushed(bits, last, float(angle), needed)
        if spot and grid.is_within(bits, spot) and grid.is_clear(wide, spot, last):
            return spot
    return None


def _pushed(bits: _Bits, last: _Laid, angle: float, needed: float) -> _Spot | None:
    """Pushed towards the last item from afar until so many cells are shared."""
    middle = (
        last.spot.row + (last.bits.shape[0] - bits.shape[0]) / 2,
        last.spot.column + (last.bits.shape[1] - bits.shape[1]) / 2,
    )
    far = int(np.hypot(*last.bits.shape) + np.hypot(*bits.shape)) // 2 + 1
    for away in range(far, -1, -1):
        spot = _Spot(
            round(middle[0] + away * np.sin(angle)), round(middle[1] + away * np.cos(angle))
        )
        under = np.zeros_like(bits)
        _add(under, last.bits, last.spot.row - spot.row, last.spot.column - spot.column)
        if int((under & bits).sum()) >= needed:
            return spot
    return None


def _add(field: _Bits, bits: _Bits, row: int, column: int) -> None:
    """Set the cells of an item, as far as they lie in the field."""
    top, left = max(0, row), max(0, column)
    bottom = min(field.shape[0], row + bits.shape[0])
    right = min(field.shape[1], column + bits.shape[1])
    if top < bottom and left < right:
        field[top:bottom, left:right] |= bits[
            top - row : bottom - row, left - column : right - column
        ]


def _placed(drawn: Place, bits: _Bits, spot: _Spot, contact: Contact | None, number: int) -> Place:
    return replace(
        drawn,
        s_mm=(spot.column + bits.shape[1] / 2) * CELL_MM,
        lateral_mm=(spot.row + bits.shape[0] / 2) * CELL_MM,
        contact=contact,
        other=number - 1 if contact else None,
    )


def _paired(places: Sequence[Place]) -> list[Place]:
    """Each item of a pair knows the other."""
    paired = list(places)
    for number, place in enumerate(places):
        if place.other is not None:
            paired[place.other] = replace(paired[place.other], contact=place.contact, other=number)
    return paired


def _in_order(places: Sequence[Place]) -> tuple[Place, ...]:
    """Downstream first; of a pair that overlaps, the one on top may come first."""
    order = sorted(range(len(places)), key=lambda number: places[number].s_mm)
    rank = {number: position for position, number in enumerate(order)}
    return tuple(
        replace(place, other=None if place.other is None else rank[place.other])
        for place in (places[number] for number in order)
    )
