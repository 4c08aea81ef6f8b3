"""Shifts of a plant, in its own time; when clocks change, a night is an hour longer or shorter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, model_validator

from beltsight.config import load_config
from beltsight.errors import ConfigError
from beltsight.strict import Strict

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MAX_DAYS = 3_700


def _check_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            "no such time zone; expected a name such as Europe/Berlin (where the system knows "
            "none: pip install tzdata)"
        ) from error
    return name


def _check_plain(value: time) -> time:
    if value.tzinfo is not None:
        raise ValueError('expected a time of day such as "06:00", without an offset')
    return value


_TimeOfDay = Annotated[time, AfterValidator(_check_plain)]


class Shift(Strict):
    """One shift; it ends on the next day where ``end`` is not after ``start``.

    Args:
        name: shown in reports.
        start, end: time of day in the plant's zone, such as ``"06:00"``.
        days: on which it starts; every day by default.
    """

    name: str = Field(min_length=1, max_length=100)
    start: _TimeOfDay
    end: _TimeOfDay
    days: tuple[Day, ...] = Field(_DAYS, min_length=1)


class Shifts(Strict):
    """All shifts of a line.

    Args:
        time_zone: of the plant, by its IANA name.
        ideal_items_s: what the line sorts per second at its best; without it there is no
            performance and no OEE.
        shifts: at least one.
    """

    time_zone: Annotated[str, AfterValidator(_check_zone)]
    ideal_items_s: float | None = Field(None, gt=0, allow_inf_nan=False)
    shifts: tuple[Shift, ...] = Field(min_length=1, max_length=100)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [shift.name for shift in self.shifts]
        if len(set(names)) != len(names):
            raise ValueError("two shifts have the same name")
        return self


@dataclass(frozen=True, slots=True)
class ShiftTime:
    """One shift of one day.

    Args:
        name: of the shift.
        day: on which it starts, in the plant's zone.
        start_s, end_s: seconds since 1970.
    """

    name: str
    day: date
    start_s: float
    end_s: float


def load_shifts(path: Path) -> Shifts:
    """Read shifts from TOML.

    Raises:
        ConfigError: unreadable, an unknown key, or a wrong value.
    """
    return load_config(Shifts, path)


def shift_times(shifts: Shifts, start_s: float, end_s: float) -> Iterator[ShiftTime]:
    """The shifts that a time touches, by their start.

    A time of day that a change of the clock skips is taken for the moment of the change's other
    side; one that comes twice, for the first.

    Args:
        shifts: the plant's.
        start_s, end_s: seconds since 1970.

    Raises:
        ConfigError: more than ten years.

    Example:
        >>> shifts = Shifts.model_validate({"time_zone": "Europe/Berlin", "shifts": [
        ...     {"name": "night", "start": "22:00", "end": "06:00"}]})
        >>> change = datetime(2026, 10, 24, 20, tzinfo=UTC).timestamp()  # back at 3:00
        >>> [(t.end_s - t.start_s) / 3600 for t in shift_times(shifts, change, change + 60)]
        [9.0]
    """
    zone = ZoneInfo(shifts.time_zone)
    if end_s - start_s > _MAX_DAYS * 86_400:
        raise ConfigError(f"shifts of more than {_MAX_DAYS:,} days; ask for a shorter time")
    day = datetime.fromtimestamp(start_s, UTC).astimezone(zone).date() - timedelta(days=1)
    last = datetime.fromtimestamp(end_s, UTC).astimezone(zone).date()
    while day <= last:
        found = [
            _time_of(shift, day, zone)
            for shift in shifts.shifts
            if _DAYS[day.weekday()] in shift.days
        ]
        for one in sorted(found, key=lambda each: each.start_s):
            if one.end_s > start_s and one.start_s < end_s and one.end_s > one.start_s:
                yield one
        day += timedelta(days=1)


def _time_of(shift: Shift, day: date, zone: ZoneInfo) -> ShiftTime:
    end_day = day if shift.end > shift.start else day + timedelta(days=1)
    start = datetime.combine(day, shift.start, zone).timestamp()
    return ShiftTime(shift.name, day, start, datetime.combine(end_day, shift.end, zone).timestamp())
