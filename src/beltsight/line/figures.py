"""What a line has done so far and lately, for people and for monitoring."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

_KEPT = 4096
_KEPT_LATE = 65_536
_LATE = frozenset({"late", "peer: late"})  # dropped here or by a link, dropped by the peer


@dataclass(frozen=True, slots=True)
class Figures:
    """A line's figures at one moment.

    Args:
        frames: taken in.
        items: decided.
        items_per_s: of the last ``span_s`` seconds.
        late: items that missed their actuator: decided too late, or their command was dropped as
            too late on its way, by this machine or by the peer.
        routes: items by route, since the start.
        materials: items by the label of the main task; those without an answer count under "".
        outcomes: items by what was planned for them: ``planned``, ``late``, ...
        commands: commands by what became of them: ``sent``, ``late``, ``unknown``, ``refused``.
        decision_ms: 50th, 95th and 99th percentile, and the most, of the last items: from the
            exposure of the last view that a decision rests on. Empty before there is one.
        decision_age_ms: 99th percentile, in the last ``span_s`` seconds, of the time that items
            waited for answers alone; 0 without any.
        seeing_ms: the same of the time that a frame takes to be looked at.
        overdue: items decided without waiting for all their views.
        answered_late: views answered after that.
        refused_views: views that found no room.
    """

    frames: int = 0
    items: int = 0
    items_per_s: float = 0.0
    late: int = 0
    routes: Mapping[str, int] = field(default_factory=dict)
    materials: Mapping[str, int] = field(default_factory=dict)
    outcomes: Mapping[str, int] = field(default_factory=dict)
    commands: Mapping[str, int] = field(default_factory=dict)
    decision_ms: tuple[float, ...] = ()
    decision_age_ms: float = 0.0
    seeing_ms: tuple[float, ...] = ()
    overdue: int = 0
    answered_late: int = 0
    refused_views: int = 0


class FigureBook:
    """Counts; any thread may call.

    Args:
        span_s: what ``items_per_s`` is taken over.
    """

    def __init__(self, span_s: float = 10.0) -> None:
        self._span_s = span_s
        self._lock = threading.Lock()
        self._frames = 0
        self._overdue = 0
        self._routes: Counter[str] = Counter()
        self._materials: Counter[str] = Counter()
        self._outcomes: Counter[str] = Counter()
        self._commands: Counter[str] = Counter()
        self._late = 0
        self._late_items: dict[int, None] = {}  # the last ones, in their order
        self._decided_s: deque[float] = deque(maxlen=_KEPT)
        self._decision_ms: deque[float] = deque(maxlen=_KEPT)
        self._age_ms: deque[float] = deque(maxlen=_KEPT)
        self._seeing_ms: deque[float] = deque(maxlen=_KEPT)

    def add_frame(self, seeing_ms: float) -> None:
        """A frame was looked at."""
        with self._lock:
            self._frames += 1
            self._seeing_ms.append(seeing_ms)

    def add_item(
        self, route: str, material: str, outcome: str, decision_ms: float, age_ms: float,
        now_s: float, overdue: bool, item_id: int | None = None,
    ) -> None:  # fmt: skip
        """An item was decided: ``decision_ms`` after its last view's exposure, ``age_ms`` after
        it waited for answers alone. With its id, a late command does not count it as late again.
        """
        with self._lock:
            self._routes[route] += 1
            self._materials[material] += 1
            self._outcomes[outcome] += 1
            self._overdue += overdue
            self._decided_s.append(now_s)
            self._decision_ms.append(decision_ms)
            self._age_ms.append(age_ms)
            if outcome == "late":
                self._add_late(item_id)

    def add_command(self, outcome: str, item_id: int | None = None) -> None:
        """A command has its outcome; where that is late, so is the item."""
        with self._lock:
            self._commands[outcome] += 1
            if outcome in _LATE:
                self._add_late(item_id)

    def late_items(self) -> frozenset[int]:
        """Ids of the items that count as late, of the last 65,536 such."""
        with self._lock:
            return frozenset(self._late_items)

    def _add_late(self, item_id: int | None) -> None:
        """Once per item; one without an id is another one each time."""
        if item_id in self._late_items:
            return
        self._late += 1
        if item_id is not None:
            self._late_items[item_id] = None
            if len(self._late_items) > _KEPT_LATE:
                self._late_items.pop(next(iter(self._late_items)))

    def figures(self, now_s: float, answered_late: int = 0, refused_views: int = 0) -> Figures:
        """All figures now."""
        with self._lock:
            times = zip(self._decided_s, self._age_ms, strict=True)
            lately = [age_ms for when_s, age_ms in times if when_s > now_s - self._span_s]
            return Figures(
                frames=self._frames,
                items=sum(self._routes.values()),
                items_per_s=len(lately) / self._span_s,
                late=self._late,
                routes=dict(self._routes),
                materials=dict(self._materials),
                outcomes=dict(self._outcomes),
                commands=dict(self._commands),
                decision_ms=_spread(self._decision_ms),
                decision_age_ms=float(np.percentile(lately, 99)) if lately else 0.0,
                seeing_ms=_spread(self._seeing_ms),
                overdue=self._overdue,
                answered_late=answered_late,
                refused_views=refused_views,
            )


def _spread(values: deque[float]) -> tuple[float, ...]:
    if not values:
        return ()
    found = np.percentile(np.fromiter(values, np.float64, len(values)), [50, 95, 99, 100])
    return tuple(round(float(value), 3) for value in found)
