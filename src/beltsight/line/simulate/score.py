"""What the line made of the belt, beside what really lay on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from beltsight.intervals import exact_interval
from beltsight.line.simulate.truth import TrueItem
from beltsight.line.simulate.valves import PASS, Shot
from beltsight.policy import HAND_SORT, Case, Policy
from beltsight.records import CONTAMINATION, DIRT, MATERIAL

_REACH_MM = 15.0
_PERCENTILES = (50, 90, 99, 100)


@dataclass(frozen=True, slots=True)
class Counted:
    """One item as the line counted it.

    Args:
        item_id: the line's own.
        belt_position_mm, lateral_mm: where the line saw it, on the belt's own odometer.
        material: the line's answer, or None.
        route: where it decided to send it, or None where it did not decide.
        on_time: whether its command came in time; True where none was needed.
    """

    item_id: int
    belt_position_mm: float
    lateral_mm: float
    material: str | None = None
    route: str | None = None
    on_time: bool = True


@dataclass(frozen=True, slots=True)
class Matched:
    """A true item and what the line counted for it; the first is the nearest."""

    item: TrueItem
    counted: tuple[Counted, ...]


@dataclass
class Tally:
    """Counts over some of the items.

    Attributes:
        items: that really were there.
        found: counted at least once.
        once: counted exactly once.
        answered: found, and with a material on both sides.
        right_material: of those.
        decided: found, with a route.
        on_time: of those.
        judged: of those, it is known where they fell.
        as_decided: of those, fell where the line decided.
        binned: items whose right bin is known, found or not.
        right_bin: of those, fell where the policy would have them.
    """

    items: int = 0
    found: int = 0
    once: int = 0
    answered: int = 0
    right_material: int = 0
    decided: int = 0
    on_time: int = 0
    judged: int = 0
    as_decided: int = 0
    binned: int = 0
    right_bin: int = 0

    def to_record(self) -> dict[str, Any]:
        """Each figure as count, of how many, share and 95 % interval."""
        parts = {
            "found": (self.found, self.items),
            "counted_once": (self.once, self.items),
            "right_material": (self.right_material, self.answered),
            "on_time": (self.on_time, self.decided),
            "as_decided": (self.as_decided, self.judged),
            "right_bin": (self.right_bin, self.binned),
        }
        return {"items": self.items} | {name: _share(*pair) for name, pair in parts.items()}


@dataclass(frozen=True, slots=True)
class Score:
    """How well the line did.

    Args:
        all, free, touching: tallies of all items, of those that touch no other, and of the rest.
        by_class: of all items, by material.
        false: counted where nothing lay.
        doubles: counted again, beyond once.
        missed: ids of the true items that were not found.
        position_error_mm: percentiles of the distance along the belt between an item and where the
            line saw it, less their median: the origin of the odometer is free.
        offset_mm: that median.
        fire_error_mm: percentiles of the distance between the middle of a shot and the middle of
            what it moved.
        shots: ``hit`` moved something, ``empty`` nothing.
    """

    all: Tally
    free: Tally
    touching: Tally
    by_class: Mapping[str, Tally]
    false: int
    doubles: int
    missed: tuple[int, ...]
    position_error_mm: Mapping[str, float] = field(default_factory=dict)
    offset_mm: float = 0.0
    fire_error_mm: Mapping[str, float] = field(default_factory=dict)
    shots: Mapping[str, int] = field(default_factory=dict)

    def to_record(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "all": self.all.to_record(),
            "free": self.free.to_record(),
            "touching": self.touching.to_record(),
            "by_class": {name: tally.to_record() for name, tally in self.by_class.items()},
            "false": self.false,
            "doubles": self.doubles,
            "missed": list(self.missed),
            "position_error_mm": dict(self.position_error_mm),
            "offset_mm": round(self.offset_mm, 3),
            "fire_error_mm": dict(self.fire_error_mm),
            "shots": dict(self.shots),
        }


def score(
    truth: Sequence[TrueItem],
    counted: Sequence[Counted],
    bins: Mapping[int, str] | None = None,
    policy: Policy | None = None,
    *,
    bin_of: Mapping[str, str] | None = None,
    shots: Sequence[Shot] = (),
    reach_mm: float = _REACH_MM,
    passed_mm: float = math.inf,
) -> Score:
    """Compare.

    Args:
        truth: the items that passed the camera wholly, of :meth:`Truth.between`.
        counted: what the line counted over the same belt.
        bins: where each true item fell, by id, of :meth:`Fallen.bin_of`; an item that is not in
            it is not judged.
        policy: what decided; gives the right route of each true item.
        bin_of: bin of each route; a route that is not in it is its own bin where that is a
            station's name, and else the item is to pass.
        shots: of the PLC, for its error in mm.
        reach_mm: what is counted this near to an item's outline, or on it, may be that item.
        passed_mm: items from there on, and what was counted there on nothing, are left out. What
            lies beyond is needed all the same: an item and its count may lie on both sides.

    Example:
        >>> item = TrueItem(0, 500.0, 100.0, 80.0, 60.0, 80.0, 60.0, {"material": "glass"})
        >>> result = score([item], [Counted(7, 503.0, 98.0, "glass")])
        >>> result.all.once, result.all.right_material, result.false
        (1, 1, 0)
    """
    matched, false = match(truth, counted, reach_mm)
    matched = [one for one in matched if one.item.s_mm < passed_mm]
    false = [one for one in false if one.belt_position_mm < passed_mm]
    known = _known_bins(bins, shots, bin_of)
    tallies = Tally(), Tally(), Tally()
    by_class: dict[str, Tally] = {}
    right = _right_route(policy)
    for one in matched:
        material = one.item.labels.get(MATERIAL, "?")
        chosen = (
            tallies[0],
            tallies[2] if one.item.touching else tallies[1],
            by_class.setdefault(material, Tally()),
        )
        fell = None if bins is None else bins.get(one.item.item_id)
        for tally in chosen:
            _tally(tally, one, fell, right, lambda route: _bin(route, known, bin_of))
    errors = [
        one.counted[0].belt_position_mm - one.item.s_mm
        for one in matched
        if one.counted and not one.item.touching
    ]
    offset = float(np.median(errors)) if errors else 0.0
    aimed = [shot.error_mm for shot in shots if shot.error_mm is not None]
    return Score(
        all=tallies[0],
        free=tallies[1],
        touching=tallies[2],
        by_class=dict(sorted(by_class.items())),
        false=len(false),
        doubles=sum(max(0, len(one.counted) - 1) for one in matched),
        missed=tuple(one.item.item_id for one in matched if not one.counted),
        position_error_mm=_percentiles([error - offset for error in errors]),
        offset_mm=offset,
        fire_error_mm=_percentiles(aimed),
        shots=_outcomes(shots),
    )


def match(
    truth: Sequence[TrueItem], counted: Sequence[Counted], reach_mm: float = _REACH_MM
) -> tuple[list[Matched], list[Counted]]:
    """Which count is which item: nearest pairs first, each item and each count once.

    Args:
        truth: in any order.
        counted: in any order.
        reach_mm: see :func:`score`.

    Returns:
        Every true item with its counts: the one that is its own, then those that lie on it and are
        no other's; and the counts that lie on nothing.
    """
    order = sorted(range(len(counted)), key=lambda index: counted[index].belt_position_mm)
    places = np.array([counted[index].belt_position_mm for index in order])
    pairs: list[tuple[float, int, int]] = []
    for number, item in enumerate(truth):
        half = item.along_mm / 2 + reach_mm
        low, high = np.searchsorted(places, [item.s_mm - half, item.s_mm + half])
        for index in order[low:high]:
            away = _distance(item, counted[index], reach_mm)
            if away <= 1:
                pairs.append((away, number, index))
    own: dict[int, int] = {}
    taken: dict[int, int] = {}
    for _, number, index in sorted(pairs):
        if number not in own and index not in taken:
            own[number], taken[index] = index, number
    again: dict[int, list[Counted]] = {}
    for _, number, index in sorted(pairs):
        if index not in taken:
            taken[index] = number
            again.setdefault(number, []).append(counted[index])
    matched = [
        Matched(
            item,
            (*((counted[own[number]],) if number in own else ()), *again.get(number, ())),
        )
        for number, item in enumerate(truth)
    ]
    return matched, [one for index, one in enumerate(counted) if index not in taken]


def _distance(item: TrueItem, counted: Counted, reach_mm: float) -> float:
    """0 on the item's middle, 1 at ``reach_mm`` beyond its outline."""
    along = abs(counted.belt_position_mm - item.s_mm) / (item.along_mm / 2 + reach_mm)
    across = abs(counted.lateral_mm - item.lateral_mm) / (item.across_mm / 2 + reach_mm)
    return max(along, across)


def _tally(
    tally: Tally,
    one: Matched,
    fell: str | None,
    right: Callable[[TrueItem], str] | None,
    bin_of: Callable[[str], str],
) -> None:
    tally.items += 1
    if fell is not None and right is not None:
        tally.binned += 1
        tally.right_bin += fell == bin_of(right(one.item))
    if not one.counted:
        return
    first = one.counted[0]
    tally.found += 1
    tally.once += len(one.counted) == 1
    if first.material is not None and MATERIAL in one.item.labels:
        tally.answered += 1
        tally.right_material += first.material == one.item.labels[MATERIAL]
    if first.route is not None:
        tally.decided += 1
        tally.on_time += first.on_time
        tally.judged += fell is not None
        tally.as_decided += fell is not None and fell == bin_of(first.route)


def _right_route(policy: Policy | None) -> Callable[[TrueItem], str] | None:
    """The route that the policy gives an item by its true classes."""
    if policy is None:
        return None
    kinds = policy.dirt_kinds

    def route(item: TrueItem) -> str:
        level = item.labels.get(CONTAMINATION, policy.levels[0])
        is_clean = level == policy.levels[0]
        dirty = item.labels.get(DIRT) or policy.without_dirt or kinds[1]
        case = Case(item.labels.get(MATERIAL, "?"), level, kinds[0] if is_clean else dirty)
        rule = policy.rule_of(case)
        return HAND_SORT if rule is None else policy.rules[rule].route

    return route


def _known_bins(
    bins: Mapping[int, str] | None, shots: Sequence[Shot], bin_of: Mapping[str, str] | None
) -> set[str]:
    return {*(bins or {}).values(), *(shot.station for shot in shots), *(bin_of or {}).values()}


def _bin(route: str, known: set[str], bin_of: Mapping[str, str] | None) -> str:
    if bin_of and route in bin_of:
        return bin_of[route]
    return route if route in known else PASS


def _percentiles(errors: Sequence[float]) -> dict[str, float]:
    """Of their sizes, whichever the side."""
    if not errors:
        return {}
    found = np.percentile(np.abs(errors), _PERCENTILES)
    return {
        "n": len(errors),
        **{
            f"p{level}": round(float(value), 3)
            for level, value in zip(_PERCENTILES, found, strict=True)
        },
    }


def _outcomes(shots: Iterable[Shot]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for shot in shots:
        name = "hit" if shot.items else "empty"
        counts[name] = counts.get(name, 0) + 1
    return counts


def _share(part: int, whole: int) -> dict[str, Any]:
    if not whole:
        return {"count": part, "of": whole, "share": None, "interval": None}
    low, high = exact_interval(part, whole)
    return {
        "count": part,
        "of": whole,
        "share": round(part / whole, 5),
        "interval": [round(low, 5), round(high, 5)],
    }
