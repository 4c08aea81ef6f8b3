"""``beltsight demo``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from beltsight.report.demo import DemoPhoto

_WIDE = 140  # columns of the whole table


def command(
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of the page; made where it is missing.")
    ] = Path("beltsight-demo"),
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Sort 36 packaged photos and write a page with heat maps.

    The photos are from TrashNet's test split, six per class, drawn by a fixed seed.
    """
    from beltsight.cli.console import note, print_json
    from beltsight.metrics import wilson_interval
    from beltsight.model import Model
    from beltsight.report.demo import demo_page, demo_record, run_demo, stated_test_figure
    from beltsight.report.render import write_page

    model = Model.load()
    photos = run_demo(model)
    page = out / "index.html"
    write_page(page, demo_page(photos, model))
    record = demo_record(photos, str(page))
    if json:
        print_json(record)
        return
    is_short = _print_answers(photos)
    low, high = wilson_interval(record["right"], record["n"])
    note(
        f"{record['right']} of {record['n']} right (95 % interval {low:.0%} to {high:.0%}: "
        f"{record['n']} photos are few). They are photos of TrashNet's test split."
    )
    figure = stated_test_figure(model)
    note(f"The card states {figure}." if figure else "The card states no test figure.")
    if any(photo.decision for photo in photos):
        note("Dirt is simulated: measure on your own labelled photos what that is worth.")
    if is_short:
        note(
            f"The last {sum(bool(p.simulated) for p in photos)} rows are photos with simulated "
            "dirt. Which, how sure the contamination is and the reasons are on the page, and here "
            f"from {_WIDE} columns on."
        )
    note(f"Open {page.resolve().as_uri()}")


def _print_answers(photos: Sequence[DemoPhoto]) -> bool:
    """The table; whether it is the short one, since the terminal is too narrow for all of it."""
    from rich.console import Console

    from beltsight.cli.console import print_table

    console = Console()
    has_routes = any(photo.decision for photo in photos)
    if has_routes and console.is_terminal and console.width < _WIDE:
        print_table(
            "", ("file", "truth", "answer", "sure", "", "dirty", "route"), map(_short, photos)
        )
        return True
    heading = ("file", "truth", "answer", "confidence", "")
    routed = ("dirt, simulated", "contamination", "route", "reason") if has_routes else ()
    rows = [(*_answer_cells(p), *(_route_cells(p) if has_routes else ())) for p in photos]
    print_table("", (*heading, *routed), rows)
    return False


def _short(photo: DemoPhoto) -> tuple[str, ...]:
    """Cells of 80 columns in all; the folder of a file is its truth."""
    _, truth, label, sure, wrong = _answer_cells(photo)
    route = photo.decision.route if photo.decision else ""
    name = photo.file.rpartition("/")[2]
    return name, truth, label, sure, wrong, photo.level.label if photo.level else "", route


def _answer_cells(photo: DemoPhoto) -> tuple[str, ...]:
    answer = photo.answer
    wrong = "" if photo.right else "wrong"
    return photo.file, photo.truth, answer.label, f"{answer.confidence:.1%}", wrong


def _route_cells(photo: DemoPhoto) -> tuple[str, ...]:
    level = photo.level
    level_text = f"{level.label} {level.confidence:.1%}" if level else ""
    if photo.decision is None:
        return photo.simulated, level_text, "", ""
    return photo.simulated, level_text, photo.decision.route, photo.decision.reason
