"""Where an actuator has to act to hit an item: which lanes, and from where to where on the belt."""

from __future__ import annotations

from dataclasses import dataclass

from beltsight.line.belt import BeltState
from beltsight.line.schedule_settings import ActuatorSettings

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Wanted:
    """An item and the route that was decided for it.

    Args:
        item_id: unique within the run.
        belt_position_mm: of its middle: the odometer when it was seen, less its distance
            downstream of the reference line.
        lateral_mm: of its middle, from the belt's left edge.
        length_mm: along the belt.
        width_mm: across the belt.
        route: where it goes.
        slip_ratio: belt per encoder, as a :class:`beltsight.line.belt.SlipMeter` has it.
        seen_mm: the odometer at the frame that its place is of; None: now.
    """

    item_id: int
    belt_position_mm: float
    lateral_mm: float
    length_mm: float
    width_mm: float
    route: str
    slip_ratio: float = 1.0
    seen_mm: float | None = None

    @property
    def along_mm(self) -> Interval:
        """From its downstream to its upstream end, as belt positions."""
        half = self.length_mm / 2
        return self.belt_position_mm - half, self.belt_position_mm + half

    @property
    def across_mm(self) -> Interval:
        """From its left to its right side."""
        return self.lateral_mm - self.width_mm / 2, self.lateral_mm + self.width_mm / 2


@dataclass(frozen=True, slots=True)
class Aim:
    """What one actuator would do to one item.

    Args:
        lanes: to open; none where the item passes beside all of them.
        meets_mm: odometer at which the item's middle is there.
        from_mm: odometer at which the effect should begin.
        to_mm: odometer at which it should end.
        lack_ms: how much of the lead is missing; 0 where it is there.
        spare_mm: belt that may still pass before the pulse cannot begin as it should; negative
            where it has passed.
    """

    actuator: ActuatorSettings
    lanes: tuple[int, ...]
    meets_mm: float
    from_mm: float
    to_mm: float
    lack_ms: float = 0.0
    spare_mm: float = 0.0

    @property
    def is_late(self) -> bool:
        """Whether the window is missed."""
        return self.lack_ms > 0

    @property
    def across_mm(self) -> Interval:
        """From the left edge of the first lane to the right edge of the last."""
        lanes = self.actuator.lanes
        return lanes[self.lanes[0]][0], lanes[self.lanes[-1]][1]


def overlap_mm(one: Interval, other: Interval) -> float:
    """Length that two intervals share; negative: the gap between them.

    Example:
        >>> overlap_mm((0, 10), (4, 30)), overlap_mm((0, 10), (12, 30))
        (6, -2)
    """
    return min(one[1], other[1]) - max(one[0], other[0])


def pulse_mm(length_mm: float, cover: float, shortest_mm: float) -> float:
    """Belt that passes during the pulse for an item: a share of its length, or the shortest pulse.

    Example:
        >>> pulse_mm(100.0, 0.5, 40.0), pulse_mm(60.0, 0.5, 40.0)
        (50.0, 40.0)
    """
    return max(cover * length_mm, shortest_mm)


def choose_lanes(lanes: tuple[Interval, ...], across_mm: Interval) -> tuple[int, ...]:
    """Lanes that hold at least half of the item or are held by it to at least half; else the best.

    Example:
        >>> choose_lanes(((0, 50), (50, 100), (100, 150)), (40, 110))
        (1,)
        >>> choose_lanes(((0, 50), (50, 100), (100, 150)), (20, 130))
        (0, 1, 2)
        >>> choose_lanes(((0, 50), (50, 100)), (140, 170))
        ()
    """
    width_mm = across_mm[1] - across_mm[0]
    shared = [overlap_mm(lane, across_mm) for lane in lanes]
    best = max(shared)
    if best < 0 or (best == 0 and width_mm > 0):
        return ()
    chosen = [
        index
        for index, (lane, common) in enumerate(zip(lanes, shared, strict=True))
        if common > 0 and common >= min(lane[1] - lane[0], width_mm) / 2
    ]
    return tuple(chosen or [shared.index(best)])


def aim_at(
    wanted: Wanted,
    actuator: ActuatorSettings,
    state: BeltState,
    *,
    all_lanes: bool,
    full_mm_s: float = 0.0,
) -> Aim:
    """What this actuator would have to do to this item, from the belt's state now.

    The item meets the actuator when the odometer has gone on, from where the item was seen, by the
    way that is left, divided by the slip ratio. The pulse lasts for ``cover`` of the item's length
    around that, at least ``pulse_ms`` at the belt's speed.

    Args:
        wanted: the item.
        actuator: of its route.
        state: of the belt.
        all_lanes: open the whole width instead of the lanes that the item is in.
        full_mm_s: speed that the belt may have by then; the present one counts where it is higher.
            What is planned while it stands is blown when it runs, and the shortest pulse of that
            speed must still lie around the middle.
    """
    lanes = (
        tuple(range(len(actuator.lanes)))
        if all_lanes
        else choose_lanes(actuator.lanes, wanted.across_mm)
    )
    speed_mm_ms = max(state.speed_mm_s, 0.0) / 1000
    seen_mm = state.position_mm if wanted.seen_mm is None else wanted.seen_mm
    left_mm = wanted.belt_position_mm + actuator.distance_mm - seen_mm
    meets_mm = seen_mm + left_mm / wanted.slip_ratio
    shortest_mm = actuator.pulse_ms * max(speed_mm_ms, full_mm_s / 1000)
    half_mm = pulse_mm(wanted.length_mm, actuator.cover, shortest_mm) / 2
    from_mm, to_mm = meets_mm - half_mm, meets_mm + half_mm
    earliest_mm = state.position_mm + speed_mm_ms * (actuator.latency_ms + actuator.lead_ms)
    spare_mm, lack_ms = from_mm - earliest_mm, 0.0
    if -actuator.window_mm <= spare_mm < 0:
        from_mm, to_mm = earliest_mm, max(to_mm, earliest_mm + shortest_mm)
    elif spare_mm < 0:
        lack_ms = -spare_mm / speed_mm_ms if speed_mm_ms else float("inf")
    return Aim(actuator, lanes, meets_mm, from_mm, to_mm, lack_ms, spare_mm)
