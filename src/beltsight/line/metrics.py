"""The line's figures for Prometheus (extra ``industrial``), read when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from beltsight.errors import LineError, MissingExtraError
from beltsight.line.actuators.protocol import LINE_STATES, LINK_STATES
from beltsight.line.snapshot import Snapshot

if TYPE_CHECKING:
    from prometheus_client import Metric

_LEVELS = ("good", "warning", "fault")


class LineCollector:
    """Turns a snapshot into metrics.

    Args:
        snapshot: gives one.
    """

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        """All metrics now; called by Prometheus' client."""
        now = self._snapshot()
        figures = now.figures
        yield _counter("frames", "Frames taken in.", {(): figures.frames})
        yield _counter("items", "Items decided, by route.", _by(figures.routes), "route")
        yield _counter("materials", "Items by material.", _by(figures.materials), "material")
        yield _counter("outcomes", "Items by what was planned.", _by(figures.outcomes), "outcome")
        yield _counter("commands", "Commands by outcome.", _by(figures.commands), "outcome")
        yield _gauge("items_per_second", "Items of the last seconds.", {(): figures.items_per_s})
        names = ("0.5", "0.95", "0.99", "1")
        for key, values, text in (
            ("decision_ms", figures.decision_ms, "From exposure to decision."),
            ("seeing_ms", figures.seeing_ms, "Looking at a frame."),
        ):
            found = {(name,): value for name, value in zip(names, values, strict=False)}
            yield _gauge(key, text, found, "quantile")
        camera = now.camera
        missed = {"dropped": camera.dropped, "lost": camera.lost, "corrupt": camera.corrupt}
        yield _counter("frames_missed", "Frames that were not taken in.", _by(missed), "kind")
        yield _gauge("camera_open", "Whether there is a camera.", {(): now.has_camera})
        speed_mm_s = now.belt.speed_mm_s if now.belt else 0.0
        yield _gauge("belt_speed_mm_s", "Speed of the belt.", {(): speed_mm_s})
        states = {(name,): name == now.state.name for name in LINE_STATES}
        yield _gauge("state", "1 for the state of the line.", states, "state")
        yield _gauge(
            "link_state",
            "1 for the state of each link.",
            {
                (name, state): state == status.state
                for name, status in now.links.items()
                for state in LINK_STATES
            },
            "link",
            "state",
        )
        qualities = {(name,): status.quality for name, status in now.links.items()}
        yield _gauge("link_quality", "Share of beats answered in time.", qualities, "link")
        readings = now.health.readings.values()
        levels = {(reading.name,): _LEVELS.index(reading.level) for reading in readings}
        yield _gauge("health_level", "0 good, 1 warning, 2 fault.", levels, "reading")
        told = {(r.name,): r.value for r in readings if r.value is not None}
        yield _gauge("health_value", "Readings of health.", told, "reading")
        yield _gauge("log_healthy", "Whether the log takes rows.", {(): now.store.healthy})
        yield _gauge("log_waiting_rows", "Rows not on disk yet.", {(): now.store.waiting_rows})
        yield _counter("log_rows", "Rows on disk.", {(): now.store.committed})
        yield _counter("frames_refused", "Frames of no use.", {(): now.refused_frames})
        yield _counter("failures", "Items that could not be decided.", {(): now.failures})
        yield _counter("unlogged", "What the log did not take.", {(): now.unlogged})


class MetricsServer:
    """Serves ``/metrics`` in a thread of its own.

    Args:
        snapshot: gives the line's figures.
        host, port: to listen on; port 0 takes a free one.

    Attributes:
        port: that it listens on.

    Raises:
        MissingExtraError: prometheus-client is not installed.
        LineError: the port is taken.
    """

    def __init__(self, snapshot: Callable[[], Snapshot], host: str, port: int) -> None:
        try:
            from prometheus_client import CollectorRegistry, start_http_server
        except ImportError as error:
            raise MissingExtraError("metrics for Prometheus", "industrial") from error
        registry = CollectorRegistry()
        registry.register(LineCollector(snapshot))
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except (OSError, UnicodeError) as error:  # the latter: what is no name of a host
            raise LineError(
                f"metrics cannot be served on {host}:{port}: {error}; choose another port"
            ) from error
        self.port: int = self._server.server_port

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5.0)


_Values = Mapping[Any, Any]  # labels -> value


def _by(counts: Mapping[str, int]) -> _Values:
    return {(name,): count for name, count in counts.items()}


def _counter(name: str, text: str, values: _Values, *labels: str) -> Metric:
    from prometheus_client.core import CounterMetricFamily

    return _filled(CounterMetricFamily(f"beltsight_{name}", text, labels=labels), values)


def _gauge(name: str, text: str, values: _Values, *labels: str) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    return _filled(GaugeMetricFamily(f"beltsight_{name}", text, labels=labels), values)


def _filled(family: Any, values: _Values) -> Metric:
    for key, value in values.items():
        family.add_metric(key, float(value))
    metric: Metric = family
    return metric
