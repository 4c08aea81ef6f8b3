"""``beltsight demo``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from beltsight.report.demo import DemoPhoto


def command(
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of the page; made where it is missing.")
    ] = Path("beltsight-demo"),
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Sort 36 packaged photos and write a page with heat maps.

    The photos are from TrashNet's test split, six per class, drawn by a fixed seed.
    """
    from beltsight.cli.console import note, print_json, print_table
    from beltsight.errors import BeltsightError
    from beltsight.metrics import wilson_interval
    from beltsight.model import Model
    from beltsight.report.demo import demo_page, demo_record, run_demo, stated_test_figure

    model = Model.load()
    photos = run_demo(model)
    page = out / "index.html"
    try:
        out.mkdir(parents=True, exist_ok=True)
        page.write_text(demo_page(photos, model), encoding="utf-8")
    except OSError as error:
        raise BeltsightError(f"--out {out}: cannot be written: {error.strerror}") from error
    record = demo_record(photos, str(page))
    if json:
        print_json(record)
        return
    has_routes = any(photo.decision for photo in photos)
    heading = ("file", "truth", "answer", "confidence", "")
    routed = ("dirt, simulated", "contamination", "route", "reason") if has_routes else ()
    rows = [(*_answer_cells(p), *(_route_cells(p) if has_routes else ())) for p in photos]
    print_table("", (*heading, *routed), rows)
    low, high = wilson_interval(record["right"], record["n"])
    note(
        f"{record['right']} of {record['n']} right (95 % interval {low:.0%} to {high:.0%}: "
        f"{record['n']} photos are few). They are photos of TrashNet's test split."
    )
    figure = stated_test_figure(model)
    note(f"The card states {figure}." if figure else "The card states no test figure.")
    if has_routes:
        note("Dirt is simulated: measure on your own labelled photos what that is worth.")
    note(f"Open {page.resolve().as_uri()}")


def _answer_cells(photo: DemoPhoto) -> tuple[str, ...]:
    answer = photo.answer
    wrong = "" if photo.right else "wrong"
    return photo.file, photo.truth, answer.label, f"{answer.confidence:.1%}", wrong


def _route_cells(photo: DemoPhoto) -> tuple[str, ...]:
    level = photo.prediction.tasks.get("contamination")
    level_text = f"{level.label} {level.confidence:.1%}" if level else ""
    if photo.decision is None:
        return photo.simulated, level_text, "", ""
    return photo.simulated, level_text, photo.decision.route, photo.decision.reason
