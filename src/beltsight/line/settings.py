"""A line in one file: ``line.toml``, checked whole before anything is opened."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from beltsight.config import ASSETS, NAME_PATTERN, load_config, nearest
from beltsight.engines import ENGINES
from beltsight.errors import ConfigError
from beltsight.line.actuators import LinkTable
from beltsight.line.actuators.link_settings import LinksSettings
from beltsight.line.actuators.opcua_space import MOST_LANES
from beltsight.line.background import FindSettings
from beltsight.line.belt import BeltSettings
from beltsight.line.cameras import CameraSettings
from beltsight.line.health import HealthSettings
from beltsight.line.host_timer import HostTimerSettings
from beltsight.line.runner import RunSettings
from beltsight.line.schedule_settings import ActuatorSettings, ScheduleSettings
from beltsight.line.simulate.settings import SimulationSettings
from beltsight.line.supply import SupplySettings
from beltsight.line.track import TrackSettings
from beltsight.line.view import View
from beltsight.line.views import ViewSettings
from beltsight.store.settings import StoreSettings
from beltsight.strict import Strict

_MOST_LANES = {
    "modbus": 32,
    "mqtt-sparkplug": 64,
    "opcua-client": MOST_LANES,
    "opcua-server": MOST_LANES,
}
DEFAULT_LINE = ASSETS / "line" / "line.toml"


class ModelSettings(Strict):
    """What answers.

    Args:
        file: a model file; the packaged model where left out.
        engine: one of ``beltsight.engines.ENGINES``; empty takes what ``beltsight tune`` found.
        threads: computing threads in all; 0: one per core.
        streams: answers computed at once, each with ``threads`` / ``streams`` threads.
        at_once: most crops of one call.
        room: crops that may wait.
    """

    file: Path | None = None
    engine: str = ""
    threads: int = Field(0, ge=0, le=256)
    streams: int = Field(1, ge=1, le=64)
    at_once: int = Field(4, ge=1, le=256)
    room: int = Field(32, ge=1, le=4096)

    @model_validator(mode="after")
    def _engine_is_known(self) -> Self:
        if self.engine and self.engine not in ENGINES:
            raise ValueError(f"no engine {self.engine!r}; {nearest(self.engine, ENGINES)}")
        return self


class MetricsSettings(Strict):
    """Figures for Prometheus.

    Args:
        port: serves ``/metrics`` there; 0 serves none.
        host: loopback unless told otherwise.
    """

    port: int = Field(0, ge=0, le=65_535)
    host: str = "127.0.0.1"


class LineSettings(Strict):
    """A line.

    Args:
        name: of the line; its log goes by it.
        source: ``camera``, or ``simulation`` for the belt of table ``simulation``.
        camera: where frames come from; needed where the source is ``camera``.
        simulation: a belt that is made up of photos.
        view: what the camera sees of the belt.
        belt: the belt and its encoder.
        find, track, views: how items are found, followed, and which of their views are asked.
        model: what answers.
        policy: a policy file; the packaged one where left out.
        taxonomy: materials that its rules may name beside the model's; the packaged ones where left
            out.
        schedule: actuators and rules.
        links: what carries commands: one table each, with ``kind`` and ``name``.
        link_times: beats and bounds of all links.
        host_timer: pulses of actuators with ``timing = "host"``.
        store: where the log lies and how it is written.
        keep_crops: keep a JPEG of each item in the log.
        health: what is watched.
        supply: waiting for frames.
        run: how the line works through them.
        metrics: figures for Prometheus.
    """

    name: str = Field(pattern=NAME_PATTERN, max_length=64)
    source: Literal["camera", "simulation"] = "camera"
    camera: CameraSettings | None = None
    simulation: SimulationSettings = SimulationSettings()
    view: View
    belt: BeltSettings
    find: FindSettings = FindSettings()
    track: TrackSettings = TrackSettings()
    views: ViewSettings = ViewSettings()
    model: ModelSettings = ModelSettings()
    policy: Path | None = None
    taxonomy: Path | None = None
    schedule: ScheduleSettings
    links: tuple[LinkTable, ...] = Field(min_length=1)
    link_times: LinksSettings = LinksSettings()
    host_timer: HostTimerSettings = HostTimerSettings()
    store: StoreSettings = StoreSettings()
    keep_crops: bool = False
    health: HealthSettings = HealthSettings()
    supply: SupplySettings = SupplySettings()
    run: RunSettings = RunSettings()
    metrics: MetricsSettings = MetricsSettings()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        names = [link.name for link in self.links]
        if len(set(names)) < len(names):
            raise ValueError(f"each link needs a name of its own, got {names}")
        for link in self.links:
            # Every beat carries the count, whoever times the pulses.
            if link.kind == "modbus" and not 1 <= self.belt.counter_bits <= 32:
                raise ValueError(
                    f"link {link.name!r} (modbus): its registers hold counters of 1 to 32 bits, "
                    f"belt.counter_bits is {self.belt.counter_bits}"
                )
        for actuator in self.schedule.actuators:
            if actuator.link not in names:
                raise ValueError(
                    f"actuator {actuator.name!r} names a link {actuator.link!r} that is not there; "
                    f"{nearest(actuator.link, names)}"
                )
            self._check_carried(actuator)
        if self.source == "camera" and self.camera is None:
            raise ValueError('a line with source = "camera" needs a table [camera]')
        return self

    def _check_carried(self, actuator: ActuatorSettings) -> None:
        """What a link cannot carry would bring the line down with the first command."""
        link = next(one for one in self.links if one.name == actuator.link)
        where = f"actuator {actuator.name!r} over link {link.name!r} ({link.kind})"
        lanes = _MOST_LANES.get(link.kind)
        if lanes is not None and len(actuator.lanes) > lanes:
            raise ValueError(
                f"{where}: it has {len(actuator.lanes)} lanes, the link carries {lanes}"
            )
        numbers = getattr(link, "actuators", None)
        if numbers is not None and actuator.name not in numbers:
            raise ValueError(f"{where}: the link's table 'actuators' has no number for it")
        bits = self.belt.counter_bits
        half_mm = self.belt.mm_per_count * 2 ** (bits - 1) if bits else math.inf
        if actuator.distance_mm + 1000.0 > half_mm:
            raise ValueError(
                f"{where}: a counter of {bits} bits comes round every {2 * half_mm:,.0f} mm, too "
                f"soon for {actuator.distance_mm:,.0f} mm: count in larger steps"
            )

    def unserved_text(self, routes: Iterable[str]) -> str:
        """What becomes of routes for which nothing is said; empty where there are none.

        ``hand-sort``, which every policy has, needs a place like any other.
        """
        served = {route for one in self.schedule.actuators for route in one.routes}
        missing = [route for route in routes if route not in served | {*self.schedule.end_routes}]
        if not missing:
            return ""
        rule = self.schedule.fail_safe
        fail_safe = rule.action if rule.route is None else f"{rule.action}, {rule.route}"
        return (
            f"no actuator serves {', '.join(missing)}, and they are no end_routes: their items "
            f"take the fail-safe ({fail_safe}); what is to stay on the belt, add to "
            "schedule.end_routes"
        )

    def unknown_routes(self, routes: Iterable[str]) -> tuple[str, ...]:
        """Routes of actuators and of the belt's end that the policy does not have."""
        known = set(routes)
        named = [route for one in self.schedule.actuators for route in one.routes]
        return tuple(route for route in (*named, *self.schedule.end_routes) if route not in known)


def load_line(path: Path, overrides: dict[str, Any] | None = None) -> LineSettings:
    """Read a line's file. Paths in it are relative to it.

    Args:
        path: a TOML file.
        overrides: dotted keys to values that win over the file's.

    Raises:
        ConfigError: unreadable, an unknown key (the nearest is named), or values that do not fit
            together.
    """
    settings = load_config(LineSettings, path, overrides=overrides, env_prefix="BELTSIGHT_LINE")
    folder = path.resolve().parent
    model = settings.model.model_copy(update={"file": _beside(folder, settings.model.file)})
    store = settings.store.model_copy(
        update={
            "url": _url_beside(folder, settings.store.url),
            "key_file": _beside(folder, settings.store.key_file),
            "heads_file": _beside(folder, settings.store.heads_file),
        }
    )
    policy, taxonomy = _beside(folder, settings.policy), _beside(folder, settings.taxonomy)
    for file, what in ((model.file, "model file"), (policy, "policy"), (taxonomy, "taxonomy")):
        if file is not None and not file.is_file():
            raise ConfigError(f"{path}: the {what} {file} is not there")
    return settings.model_copy(
        update={"model": model, "store": store, "policy": policy, "taxonomy": taxonomy}
    )


def _beside(folder: Path, path: Path | None) -> Path | None:
    return None if path is None else folder / path


def _url_beside(folder: Path, url: str) -> str:
    """A bare path, which may be relative; addresses stay as they are."""
    return url if "://" in url else str(folder / url)
