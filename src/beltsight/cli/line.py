"""``beltsight line``"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from beltsight.cli.dataset_options import Split, SplitOption

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from beltsight.line.actuators.link_status import LinkStatus
    from beltsight.line.assemble import OpenLine
    from beltsight.line.runner import Seen
    from beltsight.line.settings import LineSettings
    from beltsight.line.simulate.play import PlaySettings

app = typer.Typer(
    name="line",
    help="The belt: from camera frames to the right bin, in time.",
    no_args_is_help=True,
)

FileArgument = Annotated[
    Path, typer.Argument(metavar="LINE.TOML", help="The line's file.", show_default=False)
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", help="No live view; a line of text when it ends.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
_VIEWS_PER_S = 4.0


@app.command("run")
def run(
    file: FileArgument,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Stop after so long; else at Ctrl-C.")
    ] = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Run a line until Ctrl-C or SIGTERM, or the end of its file.

    Every decision is in the log before its command leaves. A line that waits in its safe state for
    somebody to look is reset by SIGUSR1 (kill -USR1). See docs/line.md.
    """
    from beltsight.cli.console import note
    from beltsight.line.assemble import open_line
    from beltsight.line.cameras import EndOfFrames
    from beltsight.line.settings import load_line

    opened = open_line(load_line(file))
    unserved = opened.settings.unserved_text(opened.decider.routes)
    if unserved:
        note(f"beltsight: {unserved}")
    # As Ctrl-C: systemd and docker stop a service by it, and the PLC must be told.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, lambda number, at: opened.reset())

    def frames() -> Iterator[None]:
        end_s = None if seconds is None else time.monotonic() + seconds
        while end_s is None or time.monotonic() < end_s:
            try:
                opened.line.step()
            except EndOfFrames:
                return
            yield

    _work(opened, frames(), opened.close, quiet=quiet or json)
    _tell(opened, json, {})


@app.command("simulate")
def simulate(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[LINE.TOML]", help="A line's file (default: the packaged one)."),
    ] = None,
    photos: Annotated[
        Path | None,
        typer.Option(help="Items are cut from these, a folder or CSV (default: the demo's)."),
    ] = None,
    split: SplitOption = Split.ALL,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of belt.")] = 20.0,
    real_time: Annotated[
        bool, typer.Option("--real-time", help="Frames come when they are due.")
    ] = False,
    video: Annotated[
        Path | None, typer.Option(help="Write what is seen and decided to this .mp4 file.")
    ] = None,
    crops: Annotated[
        Path | None,
        typer.Option(help="Write what the model was shown of each item there, to learn from."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="A setting, e.g. simulation.items.rate_per_s=20."
        ),
    ] = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Run a line on a simulated belt of real photos, and tell how well it did.

    All of the line is real but camera, belt and controller. Its log is kept where the line's file
    says, by default in beltsight.db beside it; without a file, it is thrown away.
    """
    from tempfile import TemporaryDirectory

    from beltsight.config import parse_assignments
    from beltsight.line.settings import DEFAULT_LINE, load_line
    from beltsight.line.simulate.play import PlaySettings

    overrides = {"source": "simulation", **parse_assignments(set_ or [])}
    with TemporaryDirectory(prefix="beltsight-line-") as folder:
        if file is None:
            overrides.setdefault("store.url", f"{folder}/line.db")
        settings = load_line(file or DEFAULT_LINE, overrides)
        play = PlaySettings(seconds, real_time)
        _simulate(settings, photos, split.value, play, _Wanted(video, crops, json), quiet)


@app.command("check")
def check(file: FileArgument, json: JsonOption = False) -> None:
    """Look at all that can be known before the belt moves: model, policy, log, camera, links.

    The exit status is 1 where something is wrong.
    """
    from beltsight.cli.console import print_json, print_line
    from beltsight.line.checks import check_line
    from beltsight.line.settings import load_line

    found = []
    for one in check_line(load_line(file)):
        found.append(one)
        if not json:
            mark = {"good": "ok     ", "warning": "warning", "wrong": "WRONG  "}[one.result]
            print_line(f"{mark}  {one.what}: {one.text}")
    if json:
        print_json([{"what": c.what, "result": c.result, "text": c.text} for c in found])
    if any(one.result == "wrong" for one in found):
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a simulated run is to leave behind."""

    video: Path | None
    crops: Path | None
    json: bool


def _simulate(
    settings: LineSettings,
    photos: Path | None,
    split: str,
    play_settings: PlaySettings,
    wanted: _Wanted,
    quiet: bool,
) -> None:
    from beltsight.cli.console import note
    from beltsight.dataset import load_dataset
    from beltsight.line.simulate.crops import CropBook
    from beltsight.line.simulate.film import Film
    from beltsight.line.simulate.play import Play
    from beltsight.line.simulate.stock import DEMO_PHOTOS

    dataset = load_dataset(photos or DEMO_PHOTOS).select(split if photos else "all")
    book = CropBook(wanted.crops, dataset) if wanted.crops is not None else None
    with _drawing(quiet or wanted.json) as progress:
        play = Play(settings, play_settings, samples=dataset.samples, progress=progress, crops=book)
    note(f"beltsight: {play.simulation.belt.stock_told}")
    film = Film(wanted.video, play) if wanted.video is not None else None

    def frames() -> Iterator[Seen]:
        for seen in play.frames():
            if film is not None:
                film.add(seen)
            yield seen

    try:
        _work(play.opened, frames(), play.close, quiet=quiet or wanted.json)
    finally:
        if film is not None:
            film.close()
            note(f"beltsight: wrote {wanted.video} ({film.codec})")
    if book is not None:
        note(f"beltsight: wrote {book.write(play.matched()):,} crops, {book.labels_file}")
    _tell(play.opened, wanted.json, play.score().to_record())


def _work(
    opened: OpenLine, frames: Iterator[Any], close: Callable[[], str | None], *, quiet: bool
) -> None:
    """Go through the frames with a live view; whatever happens, the line is closed."""
    from rich.console import Console
    from rich.live import Live

    from beltsight.cli.console import note
    from beltsight.cli.line_view import line_view
    from beltsight.line.snapshot import take_snapshot

    console = Console(stderr=True)
    shown = not quiet and console.is_terminal
    start_s = time.monotonic()
    due_s = start_s
    try:
        with _metrics(opened), Live(console=console, auto_refresh=False, transient=True) as live:
            for _ in frames:
                now_s = time.monotonic()
                if shown and now_s >= due_s:
                    due_s = now_s + 1 / _VIEWS_PER_S
                    live.update(line_view(take_snapshot(opened), now_s - start_s), refresh=True)
    except KeyboardInterrupt:
        note("beltsight: stopping; items on their way are decided first")
    finally:
        unkept = close()
    if unkept:
        note(f"beltsight: {unkept}")


@contextmanager
def _metrics(opened: OpenLine) -> Iterator[None]:
    from beltsight.cli.console import note

    wanted = opened.settings.metrics
    if not wanted.port:
        yield
        return
    from beltsight.line.metrics import MetricsServer
    from beltsight.line.snapshot import take_snapshot

    server = MetricsServer(lambda: take_snapshot(opened), wanted.host, wanted.port)
    note(f"beltsight: metrics at http://{wanted.host}:{server.port}/metrics")
    try:
        yield
    finally:
        server.close()


@contextmanager
def _drawing(quiet: bool) -> Iterator[Callable[[str, float], None] | None]:
    """A bar while the belt is drawn."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield None
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("drawing the belt", total=1.0)

        def progress(what: str, share: float) -> None:
            bar.update(task, description=what, completed=share)

        yield progress


def _tell(opened: OpenLine, json: bool, score: dict[str, Any]) -> None:
    """What came of a run."""
    from beltsight.cli.console import print_json, print_line
    from beltsight.line.assemble import REMEMBERED_S
    from beltsight.line.snapshot import take_snapshot

    now = take_snapshot(opened)
    _tell_links(now.links)
    if json:
        withheld = {"commanded_already": opened.withheld}
        print_json({"run": opened.run_id, **now.to_record(), **withheld,
                    **({"score": score} if score else {})})  # fmt: skip
        return
    figures = now.figures
    print_line(
        f"{figures.items:,} items decided from {figures.frames:,} frames, {figures.late:,} late; "
        f"the log has {now.store.committed:,} rows"
    )
    if opened.withheld:
        print_line(
            f"{opened.withheld:,} of them got no command: by the log, a run of the last "
            f"{REMEMBERED_S / 60:.0f} minutes had commanded the same places of the belt"
        )
    if score:
        _tell_score(score["all"])


def _tell_links(links: Mapping[str, LinkStatus]) -> None:
    """Which links were not up when the line ended, as then commands did not leave."""
    from beltsight.cli.console import note, one_line
    from beltsight.line.actuators.life import CLOSED

    for link in links.values():
        if link.state in ("up", "degraded") or link.reason == CLOSED:
            continue
        reason = one_line(link.reason)
        if link.beats:
            note(f"beltsight: link {link.link} was down at the end: {reason}; "
                 "no command has left by it since then")  # fmt: skip
        else:
            note(f"beltsight: link {link.link} was never up: {reason}; no command left by it")


def _tell_score(tally: dict[str, Any]) -> None:
    """Each figure of a simulated run with its interval."""
    from beltsight.cli.console import print_line

    if not tally["items"]:
        print_line("no item had passed the last actuator at the end: run longer (--seconds)")
        return
    print_line(f"scored: the {tally['items']:,} items that had passed the last actuator at the end")
    for name, text in _SCORED.items():
        part = tally[name]
        if part["of"]:
            low, high = part["interval"]
            print_line(
                f"{text}: {part['count']:,} of {part['of']:,} = {part['share']:.1%} "
                f"({low:.1%} to {high:.1%})"
            )


_SCORED = {
    "found": "found",
    "counted_once": "counted exactly once",
    "right_material": "right material",
    "on_time": "on time",
    "as_decided": "fell where it was decided",
    "right_bin": "fell into the right bin",
}
