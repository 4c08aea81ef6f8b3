"""Is the line fit to decide? Readings of camera, window, lamp and queues against their limits.

A line that is not quite fit goes on, but abstains more: a decision then needs a higher confidence.
Each reading has a level for a warning and one for a fault, and must stay beyond it for a while
before it counts, and below it for a while before it counts no more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from beltsight.errors import ConfigError
from beltsight.line.optics import Optics
from beltsight.records import Prediction
from beltsight.strict import Strict

Level = Literal["good", "warning", "fault"]
_ORDER: tuple[Level, ...] = ("good", "warning", "fault")


class Limits(Strict):
    """From where on a reading is a warning, and from where on a fault."""

    warning: float = Field(ge=0, allow_inf_nan=False)
    fault: float = Field(ge=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _in_order(self) -> Limits:
        if self.fault < self.warning:
            raise ValueError("'fault' lies below 'warning'")
        return self


def _limits(warning: float, fault: float) -> Limits:
    return Limits(warning=warning, fault=fault)


class HealthSettings(Strict):
    """What is watched, and how closely; table ``[health]`` of ``line.toml``.

    Args:
        window: share of the picture that has become darker than the rest did: dirt on the window.
        defocus: share of its sharpness that the picture has lost.
        lamp: change of the belt's brightness, as a share.
        colour: change of the light's colour, as a share of red or blue against green.
        clipped: share of pixels at the end of the scale beyond what there was at the start.
        frame_loss: share of frames that were lost, of the last ``span_s``.
        queue: share of the waiting room for photos that is taken.
        decision_age_ms: what an item waits for answers alone, 99th percentile of the last
            ``span_s``; not the time in which a better view of it may still come.
        late: share of items whose decision or command was too late, of the last ``span_s``.
        hold_s: how long a reading must stay before its level changes.
        learn_s: how long after the start the picture is learned; for another lamp, start anew.
        span_s: what rates are counted over, and how fast the picture's slow measures follow.
        wider: while there is a warning or fault, the share that is taken from the doubt which an
            answer may have: where 0.90 is enough, 0.5 asks for 0.95, and 1 for certainty.
    """

    window: Limits = _limits(0.03, 0.12)
    defocus: Limits = _limits(0.3, 0.5)
    lamp: Limits = _limits(0.15, 0.4)
    colour: Limits = _limits(0.06, 0.15)
    clipped: Limits = _limits(0.05, 0.2)
    frame_loss: Limits = _limits(0.02, 0.2)
    queue: Limits = _limits(0.5, 0.95)
    decision_age_ms: Limits = _limits(120.0, 240.0)
    late: Limits = _limits(0.01, 0.1)
    hold_s: float = Field(1.0, gt=0, allow_inf_nan=False)
    learn_s: float = Field(10.0, gt=0, allow_inf_nan=False)
    span_s: float = Field(10.0, gt=0, allow_inf_nan=False)
    wider: float = Field(0.5, ge=0, le=1)


@dataclass(frozen=True, slots=True)
class Reading:
    """One thing that is watched.

    Args:
        name: as in :class:`HealthSettings`.
        value: now; None where it cannot be told yet.
        level: what counts, after holding.
    """

    name: str
    value: float | None
    level: Level = "good"


@dataclass(frozen=True, slots=True)
class Health:
    """The line's state.

    Args:
        level: the worst of all readings.
        readings: by name.
    """

    level: Level = "good"
    readings: Mapping[str, Reading] = field(default_factory=dict)

    @property
    def why(self) -> str:
        """Names of the readings that are not good, the worst first; empty where all are."""
        wrong = [reading for reading in self.readings.values() if reading.level != "good"]
        wrong.sort(key=lambda reading: -_ORDER.index(reading.level))
        return ", ".join(f"{reading.name} ({reading.level})" for reading in wrong)


class OpticsWatch:
    """Compares frames with those of the start: what changed slowly, and what a frame cannot tell.

    Args:
        settings: of the line.
        time_s: when the first frame was taken; until ``learn_s`` later all frames are learned.
    """

    def __init__(self, settings: HealthSettings, time_s: float) -> None:
        self._settings = settings
        self._learn_until_s = time_s + settings.learn_s
        self._then: Optics | None = None
        self._now: Optics | None = None
        self._last_s = time_s

    def update(self, optics: Optics, time_s: float) -> dict[str, float | None]:
        """Take one frame's measures in; the readings of window, defocus, lamp, colour, clipped."""
        share = min(1.0, max(0.0, time_s - self._last_s) / self._settings.span_s * 4.0)
        self._last_s = time_s
        self._now = optics if self._now is None else _mixed(self._now, optics, share)
        if self._then is None or time_s < self._learn_until_s:
            self._then = self._now
            return dict.fromkeys(("window", "defocus", "lamp", "colour", "clipped"))
        return _compare(self._then, self._now)


def _mixed(old: Optics, new: Optics, share: float) -> Optics:
    """An average that follows by a share."""

    def follow(before: float | None, now: float | None) -> float | None:
        if before is None or now is None:
            return now if before is None else before
        return before + share * (now - before)

    shade = np.where(np.isnan(old.shade), new.shade, old.shade)
    both = ~np.isnan(old.shade) & ~np.isnan(new.shade)
    shade = np.where(both, old.shade + share * (new.shade - old.shade), shade)
    return Optics(
        level=old.level + share * (new.level - old.level),
        colour=(
            old.colour[0] + share * (new.colour[0] - old.colour[0]),
            old.colour[1] + share * (new.colour[1] - old.colour[1]),
        ),
        clipped=old.clipped + share * (new.clipped - old.clipped),
        focus=follow(old.focus, new.focus),
        shade=shade.astype(np.float32),
    )


def _compare(then: Optics, now: Optics) -> dict[str, float | None]:
    defocus = None
    if then.focus and now.focus is not None:
        defocus = max(0.0, 1.0 - now.focus / then.focus)
    colours = zip(now.colour, then.colour, strict=True)
    return {
        "window": _darkened(then.shade, now.shade),
        "defocus": defocus,
        "lamp": abs(now.level / max(then.level, 1e-3) - 1.0),
        "colour": max(abs(new / max(old, 1e-3) - 1.0) for new, old in colours),
        "clipped": max(0.0, now.clipped - then.clipped),
    }


def _darkened(then: NDArray[np.float32], now: NDArray[np.float32]) -> float | None:
    """Share of cells that lost a tenth more of their light than the picture as a whole."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = now / np.maximum(then, 1e-3)
    seen = ratio[~np.isnan(ratio)]
    if not len(seen):
        return None
    # Dirt darkens cells, so the light of the rest is that of the brighter half.
    return float((seen < 0.9 * np.percentile(seen, 75)).mean())


class RecentShare:
    """A part's share of a whole lately, from counts that only rise.

    Args:
        span_s: what counts as lately.

    Example:
        >>> lost = RecentShare(span_s=10.0)
        >>> [lost.add(whole, part, now_s) for whole, part, now_s in ((0, 0, 0), (90, 9, 5))]
        [0.0, 0.1]
        >>> lost.add(190, 9, 15)
        0.0
    """

    def __init__(self, span_s: float) -> None:
        self._span_s = span_s
        self._counts: deque[tuple[float, int, int]] = deque()

    def add(self, whole: int, part: int, now_s: float) -> float:
        """Take the counts in; the share of the last ``span_s``, 0 where nothing came."""
        counts = self._counts
        counts.append((now_s, whole, part))
        while len(counts) > 2 and counts[1][0] <= now_s - self._span_s:
            counts.popleft()
        _, whole_then, part_then = counts[0]
        return (part - part_then) / (whole - whole_then) if whole > whole_then else 0.0


class HealthWatch:
    """Turns readings into levels that do not flicker.

    Args:
        settings: of the line.
    """

    def __init__(self, settings: HealthSettings) -> None:
        self._settings = settings
        self._since: dict[str, tuple[Level, float]] = {}
        self.health = Health()

    def update(self, values: Mapping[str, float | None], time_s: float) -> Health:
        """Take readings in; those that are not named keep their last value and level.

        Args:
            values: by the names of :class:`HealthSettings`; None where nothing can be told.
            time_s: monotonic.

        Raises:
            ConfigError: a reading that no limit is set for.
        """
        readings = dict(self.health.readings)
        for name, value in values.items():
            limits = getattr(self._settings, name, None)
            if not isinstance(limits, Limits):
                raise ConfigError(f"no limits are set for a reading {name!r}")
            before = readings.get(name, Reading(name, None))
            level = before.level
            if value is not None:
                level = self._held(name, before.level, _level(value, limits), time_s)
            readings[name] = Reading(name, value, level)
        levels = [reading.level for reading in readings.values()]
        worst: Level = max(levels, key=_ORDER.index, default="good")
        self.health = Health(worst, readings)
        return self.health

    def _held(self, name: str, level: Level, found: Level, time_s: float) -> Level:
        """The new level once it has been found for ``hold_s`` without a break."""
        if found == level:
            self._since.pop(name, None)
            return level
        wanted, since_s = self._since.get(name, (found, time_s))
        if wanted != found:
            since_s = time_s
        self._since[name] = (found, since_s)
        if time_s - since_s < self._settings.hold_s:
            return level
        del self._since[name]
        return found


def _level(value: float, limits: Limits) -> Level:
    if not value < limits.fault:  # a value that is no number is a fault
        return "fault"
    return "warning" if value >= limits.warning else "good"


def abstain_wider(
    prediction: Prediction, health: Health, wider: float, thresholds: Mapping[str, float]
) -> Prediction:
    """The prediction of a line that is not quite fit: it abstains more.

    Args:
        prediction: of an item.
        health: the line's state.
        wider: the share by which the doubt that each task's threshold allows becomes smaller.
        thresholds: by task, the confidence below which the model abstains; a task without one
            counts from an even guess between its classes.

    Returns:
        The same prediction where the line is fit or the answer is sure enough.
    """
    if health.level == "good" or prediction.error is not None or prediction.abstain:
        return prediction
    for name, answer in prediction.tasks.items():
        even = 1.0 / len(answer.probabilities)
        # A share, not a sum: a model that asks for 0.91 would have no answer left at 0.1 more.
        least = 1.0 - (1.0 - thresholds.get(name, even)) * (1.0 - wider)
        if answer.confidence < least:
            sure = f"{100 * answer.confidence:.1f} % is below {100 * least:.1f} %"
            why = f"{name}: {sure} while {health.why}"
            return replace(prediction, abstain=True, why=why)
    return prediction
