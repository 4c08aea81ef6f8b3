"""Settings of the schedule: the actuators along the belt, the fail-safe, the rule of conflicts."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from beltsight.config import NAME_PATTERN, nearest
from beltsight.line.actuators.protocol import Timing
from beltsight.strict import Name, Names, Strict

_Length = Annotated[float, Field(allow_inf_nan=False)]


class ActuatorSettings(Strict):
    """A bank of jets or flaps across the belt that sends items to one place.

    Args:
        name: as the peer knows it.
        routes: of the policy that it serves; one may stand alone.
        link: name of the link that carries its commands.
        distance_mm: downstream of the camera's reference line.
        latency_ms: from switching the output to the effect on the belt.
        compensates: who switches earlier by the latency. ``plc``: the peer, by its speed at that
            moment. ``host``: the counts are earlier by the speed at the time of the command, which
            errs by the change of speed from then until the pulse: for peers that cannot.
        timing: ``plc``: the peer fires on its own counter. ``host``: this machine times the pulse.
        pulse_ms: the shortest pulse.
        cover: share of an item's length that the pulse lasts, around its middle.
        lanes: from and to in mm across the belt, from its left edge; they may not overlap.
        lead_ms: a command leaves at least so long before the output must switch.
        window_mm: a pulse may start so much later than it should where the lead is not there.
    """

    name: str = Field(pattern=NAME_PATTERN, max_length=64)
    routes: Names
    link: str = Field("plc", pattern=NAME_PATTERN, max_length=64)
    distance_mm: float = Field(gt=0, allow_inf_nan=False)
    latency_ms: float = Field(0.0, ge=0, le=2000, allow_inf_nan=False)
    compensates: Literal["plc", "host"] = "plc"
    timing: Timing = "plc"
    pulse_ms: float = Field(20.0, gt=0, le=5000, allow_inf_nan=False)
    cover: float = Field(0.5, gt=0, le=1)
    lanes: tuple[tuple[_Length, _Length], ...] = Field(min_length=1, max_length=1024)
    lead_ms: float = Field(100.0, ge=0, le=10_000)
    window_mm: float = Field(0.0, ge=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _lanes_follow_each_other(self) -> Self:
        ends = [edge for lane in self.lanes for edge in lane]
        rises = all(low < high for low, high in self.lanes) and ends == sorted(ends)
        if not rises:
            raise ValueError(
                f"the lanes of {self.name!r} must be (from, to) in mm from the belt's left edge, "
                "rising, without overlap"
            )
        return self


class FailSafe(Strict):
    """What happens to an item whose route cannot be served.

    Args:
        action: ``pass``: nothing fires, it goes to the end of the belt. ``reject``: it is sent to
            ``route`` like any item of that route. ``divert``: all lanes of that route's actuator
            open while it passes, for a flap or a stream that people look at.
        route: of an actuator; needed by ``reject`` and ``divert``.
    """

    action: Literal["pass", "reject", "divert"] = "pass"
    route: str | None = None

    @model_validator(mode="after")
    def _route_where_needed(self) -> Self:
        if (self.action == "pass") != (self.route is None):
            raise ValueError(
                "the fail-safe needs a route where it is 'reject' or 'divert', and none where it "
                f"is 'pass'; got {self.action!r} with route {self.route!r}"
            )
        return self


class ScheduleSettings(Strict):
    """The actuators along the belt and the rules between items.

    Args:
        actuators: in any order; of several for one route, the first downstream that is in time
            serves.
        end_routes: routes that need no actuator: what stays on the belt goes there.
        fail_safe: of late decisions, conflicts and a belt whose position is doubtful.
        conflict: which of two neighbours with different routes is served where the pulse for one
            would hit the other. ``first``: the one planned first. ``fail-safe``: neither; a command
            that has left is not called back.
        guard_mm: a pulse hits what lies up to so far before and behind it.
    """

    actuators: tuple[ActuatorSettings, ...] = Field(min_length=1)
    end_routes: tuple[Name, ...] = ()
    fail_safe: FailSafe = Field(default_factory=FailSafe)
    conflict: Literal["first", "fail-safe"] = "first"
    guard_mm: float = Field(0.0, ge=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _routes_are_clear(self) -> Self:
        names = [actuator.name for actuator in self.actuators]
        if len(set(names)) < len(names):
            raise ValueError(f"each actuator needs a name of its own, got {names}")
        served = {route for actuator in self.actuators for route in actuator.routes}
        both = served & set(self.end_routes)
        if both:
            raise ValueError(f"routes with an actuator cannot be end routes: {sorted(both)}")
        route = self.fail_safe.route
        if route is not None and route not in served:
            raise ValueError(f"no actuator serves the fail-safe's route {route!r}; "
                             f"{nearest(route, sorted(served))}")  # fmt: skip
        return self

    def serving(self, route: str) -> tuple[ActuatorSettings, ...]:
        """The actuators of a route, the most upstream first."""
        own = [actuator for actuator in self.actuators if route in actuator.routes]
        return tuple(sorted(own, key=lambda actuator: actuator.distance_mm))
