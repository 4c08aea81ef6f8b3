"""A whole line on a simulated belt in real time, with real peers at the end of its links."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.line.actuators.peers import PATIENCE_S

from beltsight.line.actuators import read_peer
from beltsight.line.deciding import Decided
from beltsight.line.settings import DEFAULT_LINE, LineSettings, load_line
from beltsight.line.simulate import Fault, Run, SimulatedBelt, simulate
from beltsight.line.simulate.play import Play, PlaySettings
from beltsight.line.snapshot import Snapshot, take_snapshot
from beltsight.store import (
    CommandRow,
    DecisionRow,
    EventRow,
    Row,
    Verification,
    open_log,
    parse_row,
    read_key,
    verify,
)

_FOREVER_S = 1e9
SMALL = {
    "simulation.length_m": 9, "simulation.items.rate_per_s": 10, "simulation.lead_in_mm": 800,
    "simulation.belt.loop_m": 3, "model.threads": 1, "link_times.retry_first_ms": 20,
    "link_times.retry_most_ms": 100,
}  # fmt: skip


def settings_in(folder: Path, link: dict[str, Any], **more: object) -> LineSettings:
    """The packaged line with another link, and its log in a folder."""
    key_file = folder / "key"
    if not key_file.exists():
        key_file.write_text("a key of the whole line's tests.", encoding="ascii")
        key_file.chmod(0o600)
    where = {"store.url": str(folder / "line.db"), "store.key_file": str(key_file)}
    settings = load_line(DEFAULT_LINE, {**where, **SMALL, **more})
    return settings.model_copy(update={"links": (read_peer({**link, "name": "plc"}),)})


def draw_belt(folder: Path, **more: object) -> SimulatedBelt:
    settings = settings_in(folder, {"kind": "simulated"}, **more)
    return simulate(settings.simulation, settings.view).belt


@dataclass(frozen=True)
class Log:
    """All rows of a log, and whether its chain holds."""

    rows: list[Row]
    chain: Verification

    @property
    def decisions(self) -> list[DecisionRow]:
        return [row for row in self.rows if isinstance(row, DecisionRow)]

    @property
    def command_ids(self) -> list[str]:
        commands = [row for row in self.rows if isinstance(row, CommandRow)]
        return [str(row.command_id) for row in commands]

    @property
    def events(self) -> list[str]:
        return [row.event for row in self.rows if isinstance(row, EventRow)]


def read_log(folder: Path) -> Log:
    reader = open_log(str(folder / "line.db"), "demo")
    return Log(
        [parse_row(one.body.encode()) for one in reader.rows()],
        verify(reader, read_key(folder / "key")),
    )


def _endless(faults: tuple[Fault, ...]) -> PlaySettings:
    """The belt stands where it stood when the line is started again."""
    run = Run(faults=faults)
    return PlaySettings(_FOREVER_S, real_time=True, run=run, counts_go_on=True)


class WholeLine:
    """A line whose frames are taken in a thread of their own, until it is closed."""

    def __init__(
        self,
        settings: LineSettings,
        belt: SimulatedBelt,
        *,
        faults: tuple[Fault, ...] = (),
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.decided: list[Decided] = []
        self.longest_step_s = 0.0
        self.play = Play(
            settings, _endless(faults), belt=belt, watch=self.decided.append, wall=wall,
        )  # fmt: skip
        self.opened, self.simulation = self.play.opened, self.play.simulation
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        while not self._stop.is_set():
            began_s = time.monotonic()
            self.opened.line.step()
            self.longest_step_s = max(self.longest_step_s, time.monotonic() - began_s)

    @property
    def now(self) -> Snapshot:
        return take_snapshot(self.opened)

    def is_running(self) -> bool:
        """It may fire, whether all is well or not."""
        return self.now.state.name in ("running", "degraded")

    def wait_more(self, decisions: int) -> None:
        """Until so many more items are decided."""
        wanted = len(self.decided) + decisions
        wait(lambda: len(self.decided) >= wanted)

    def close(self) -> str | None:
        self._stop.set()
        self._thread.join(PATIENCE_S)
        return self.play.close()


@contextmanager
def whole_line(settings: LineSettings, belt: SimulatedBelt, **how: Any) -> Iterator[WholeLine]:
    made = WholeLine(settings, belt, **how)
    try:
        wait(lambda: len(made.decided) >= 3)
        yield made
    except BaseException:
        made.close()
        raise
    assert made.close() is None


def wait(true: Callable[[], object]) -> float:
    """Wait until something is so; the seconds that it took."""
    began_s = time.monotonic()
    while not true():
        assert time.monotonic() < began_s + PATIENCE_S, "it did not come about"
        time.sleep(0.001)
    return time.monotonic() - began_s
