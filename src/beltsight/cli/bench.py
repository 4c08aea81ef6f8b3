"""``beltsight bench``"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beltsight.cli.model_argument import DEFAULT, ThreadsOption, open_model

if TYPE_CHECKING:
    from beltsight.bench.grid import Grid, GridSettings, Peer, Row


class Against(StrEnum):
    """Whom to compare with."""

    TORCH = "torch"


class Input(StrEnum):
    """What a call is given."""

    PREPARED = "prepared"
    FULL_HD = "1080p"
    HD = "720p"
    SD = "480p"


ModelsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL...",
        help="Model files (.onnx), e.g. one and its int8 form; 'default' is the packaged one.",
        show_default=False,
    ),
]
EnginesOption = Annotated[
    list[str] | None,
    typer.Option("--engine", help="Only this engine; repeatable. Default: all that there are."),
]
InputsOption = Annotated[
    list[Input] | None,
    typer.Option(
        "--input",
        help="'prepared' is the bare network; a resolution is measured from the camera's frame "
        "and from its JPEG to the answer; repeatable. Default: all.",
    ),
]
BatchesOption = Annotated[
    list[int] | None,
    typer.Option("--batch", min=1, max=1024, help="Frames per call; repeatable. Default: 1."),
]
AgainstOption = Annotated[
    Against | None,
    typer.Option(help="Also measure the eager network in PyTorch (extra 'train')."),
]
TurnOption = Annotated[
    float, typer.Option("--seconds", min=0.0, max=3600.0, help="Least length of a turn.")
]


def command(
    models: ModelsArgument,
    engines: EnginesOption = None,
    inputs: InputsOption = None,
    batches: BatchesOption = None,
    against: AgainstOption = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each.")] = 5,
    turn_s: TurnOption = 0.5,
    threads: ThreadsOption = 0,
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw an SVG (extra 'lab').")
    ] = None,
) -> None:
    """Measure how fast models are on this machine.

    Models, engines and inputs take turns, so that a machine that drifts meets all alike. Latency
    is of a call; frames per second are over wall time, one call after the other.
    """
    from beltsight.bench.contest import run_grid
    from beltsight.bench.grid import INPUTS, GridSettings
    from beltsight.cli.console import note, print_json
    from beltsight.cli.stage_progress import stage_progress
    from beltsight.report.bench import draw_grid, require_matplotlib

    settings = GridSettings(
        engines=tuple(engines or ()),
        inputs=tuple(one.value for one in inputs) if inputs else INPUTS,
        batches=tuple(batches or (1,)),
        threads=threads,
        rounds=rounds,
        turn_s=turn_s,
    )
    if plot is not None:
        require_matplotlib()
    if threads:
        import cv2

        cv2.setNumThreads(threads)  # it would prepare photos with one per core
    named = _named(models)
    peers, notes = _peers(models, settings) if against else ([], [])
    with stage_progress() as progress:
        grid = run_grid(
            named, settings, peers, lambda done, total: progress("measuring", done, total), notes
        )
    if json:
        print_json(grid.to_record())
    else:
        _print_grid(grid)
    for line in (*grid.left_out, *grid.notes):
        note(f"beltsight: {line}")
    if plot is not None:  # last: where it cannot be written, what was measured is not lost
        draw_grid(grid, plot)


def _named(models: list[str]) -> dict[str, Path | None]:
    """A short name for each model: of files with the same name, the whole path."""
    stems = [Path(model).stem for model in models]
    return {
        model if stems.count(stem) > 1 else stem: None if model == DEFAULT else Path(model)
        for model, stem in zip(models, stems, strict=True)
    }


def _peers(models: list[str], settings: GridSettings) -> tuple[list[Peer], list[str]]:
    from beltsight.train import require_train_extra

    require_train_extra()
    from beltsight.train.eager import NOTE, eager_networks

    cards = [open_model(model, verify=False).card for model in dict.fromkeys(models)]
    return [*eager_networks(cards, settings.threads)], [NOTE]


def _print_grid(grid: Grid) -> None:
    from beltsight.bench.conditions import conditions_line
    from beltsight.cli.console import print_line, print_table

    print_line(conditions_line(grid.machine))
    counted = grid.settings.threads or grid.machine["cores"]
    print_line(f"{counted} threads, {grid.settings.rounds} turns each, warm-up left out")
    columns = (
        "model", "engine", "numbers", "ms: half", "90 %", "99 %", "frames/s", "mean of 1/dt",
        "CPU", "MB", "times as fast",
    )  # fmt: skip
    for work in dict.fromkeys(row.work for row in grid.rows):
        rows = [row for row in grid.rows if row.work == work]
        print_line("")
        print_table(work.title, columns, [_cells(row) for row in rows])
        for base in dict.fromkeys(row.base for row in rows if row.ratio):
            print_line(f"  times as fast: as {base}, by median; least and most of a round")
    print_line("")
    print_line("frames/s: over wall time. Mean of 1/dt: what papers often print; it flatters,")
    print_line("since a fast call makes up for a slow one that a line would have waited for.")


def _cells(row: Row) -> tuple[str, ...]:
    found = row.summary
    return (
        row.contestant.model,
        row.contestant.engine,
        row.contestant.precision,
        f"{found.p50_ms:.2f}",
        f"{found.p90_ms:.2f}",
        f"{found.p99_ms:.2f}",
        _number(found.frames_per_s),
        _number(found.mean_inverse_per_s),
        "-" if found.cpu_share is None else f"{found.cpu_share:.0%}",
        f"{row.memory_mb:.0f}",
        str(row.ratio) if row.ratio else "1",
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
