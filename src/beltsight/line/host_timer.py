"""Pulses that this machine times itself, for outputs without a program of their own."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from beltsight.errors import LineError
from beltsight.line.actuators.protocol import Command
from beltsight.line.belt import BeltState
from beltsight.strict import Strict


class HostTimerSettings(Strict):
    """Pulses that this machine times itself: how closely it looks, and what is too late.

    Args:
        look_ms: the belt is looked at so often, and once more just before a pulse.
        late_ms: a pulse that could only be given more than this too late is not given at all.
        stale_ms: no pulse is given from a belt that was last seen so long ago.
        waiting: commands that may wait; more are refused.
        kept: pulses whose errors are kept for the report.
    """

    look_ms: float = Field(5.0, gt=0, le=1000)
    late_ms: float = Field(4.0, gt=0, le=1000)
    stale_ms: float = Field(200.0, gt=0, le=10_000)
    waiting: int = Field(1024, ge=1, le=1_000_000)
    kept: int = Field(10_000, ge=1, le=10_000_000)


@dataclass(frozen=True, slots=True)
class Jitter:
    """How late pulses were handed over, in ms; negative is early. None where there were none.

    Args:
        pulses: given.
        late: not given, since it was too late.
        p50_ms, p99_ms, worst_ms: of the last pulses.
    """

    pulses: int
    late: int
    p50_ms: float | None
    p99_ms: float | None
    worst_ms: float | None


NO_PULSES = Jitter(0, 0, None, None, None)


class HostTimer:
    """A thread that hands commands over at the moment the belt is where they say.

    What follows (the network and the output's own latency) belongs into ``latency_ms``: the
    moment is earlier by that, at the belt's present speed.

    Args:
        belt: the belt now, from the thread of the timer; reading the encoder here is best. The
            state is carried on at its speed to the present.
        mm_per_count: of the encoder.
        fire: takes a command when it is due, such as :meth:`Links.submit`; must return at once.
        late: told of a command that was too late.
        settings: of the timer.
        clock: monotonic seconds, that of the belt's states.
    """

    def __init__(
        self,
        belt: Callable[[], BeltState],
        mm_per_count: float,
        fire: Callable[[Command], object],
        late: Callable[[Command], object] = lambda command: None,
        settings: HostTimerSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings or HostTimerSettings()
        self.errors = 0
        self._belt = belt
        self._mm_per_count = mm_per_count
        self._fire = fire
        self._tell_late = late
        self._clock = clock
        self._waiting: list[Command] = []
        self._pulses = 0
        self._late = 0
        self._errors_ms: deque[float] = deque(maxlen=self.settings.kept)
        self._changed = threading.Condition()
        self._ending = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread.

        Raises:
            LineError: started before.
        """
        if self._thread is not None:
            raise LineError("this timer has been started before; make a new one to start again")
        self._thread = threading.Thread(target=self._run, name="beltsight-pulses", daemon=True)
        self._thread.start()

    def close(self) -> tuple[Command, ...]:
        """End the thread.

        Returns:
            The commands that waited, which are dropped.
        """
        with self._changed:
            self._ending = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(2.0)
        with self._changed:
            dropped, self._waiting = tuple(self._waiting), []
        return dropped

    def __enter__(self) -> HostTimer:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def add(self, command: Command) -> bool:
        """Wait for this command's count; False where too many wait already."""
        with self._changed:
            if len(self._waiting) >= self.settings.waiting or self._ending:
                return False
            self._waiting.append(command)
            self._changed.notify()
        return True

    def jitter(self) -> Jitter:
        """The errors of the last pulses."""
        with self._changed:
            errors_ms = np.array(self._errors_ms)
            pulses, late = self._pulses, self._late
        if not errors_ms.size:
            return Jitter(pulses, late, None, None, None)
        p50_ms, p99_ms = np.percentile(errors_ms, (50, 99))
        worst_ms = errors_ms[np.abs(errors_ms).argmax()]
        return Jitter(pulses, late, float(p50_ms), float(p99_ms), float(worst_ms))

    def due_in_s(self, command: Command, state: BeltState, now_s: float) -> float | None:
        """Seconds until a command is to be handed over; None while the belt does not go forward."""
        if state.moving != "forward":
            return None
        left_mm = (command.fire_count - state.count) * self._mm_per_count
        gone_s = max(now_s - state.time_s, 0.0)
        return left_mm / state.speed_mm_s - gone_s - command.latency_ms / 1000

    def _run(self) -> None:
        look_s = self.settings.look_ms / 1000
        while True:
            with self._changed:
                while not self._waiting and not self._ending:
                    self._changed.wait()
                if self._ending:
                    return
            # The belt is asked without the lock: whoever adds a command never waits for it.
            state = self._look()
            with self._changed:
                due, soonest_s = self._split(state)
                if not due:
                    self._changed.wait(look_s if soonest_s is None else min(look_s, soonest_s))
            for late_ms, command in due:
                self._give(command, late_ms)

    def _split(self, state: BeltState | None) -> tuple[list[tuple[float, Command]], float | None]:
        """Take out what is due, latest first, with its lateness in ms; and when the next is due."""
        now_s = self._clock()
        if state is None or state.doubtful or now_s - state.time_s > self.settings.stale_ms / 1000:
            return [], None  # what waits will be late
        times = [(self.due_in_s(one, state, now_s), one) for one in self._waiting]
        due = [(-in_s * 1000, one) for in_s, one in times if in_s is not None and in_s <= 0]
        self._waiting = [one for in_s, one in times if in_s is None or in_s > 0]
        soonest_s = min((in_s for in_s, _ in times if in_s is not None and in_s > 0), default=None)
        return sorted(due, key=lambda one: -one[0]), soonest_s

    def _look(self) -> BeltState | None:
        try:
            return self._belt()
        except Exception:
            self.errors += 1  # an encoder that fails once must not end the timer
            return None

    def _give(self, command: Command, late_ms: float) -> None:
        is_late = late_ms > self.settings.late_ms
        with self._changed:
            self._late += is_late
            self._pulses += not is_late
            if not is_late:
                self._errors_ms.append(late_ms)
        try:
            (self._tell_late if is_late else self._fire)(command)
        except Exception:
            self.errors += 1
