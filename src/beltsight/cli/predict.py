"""``beltsight predict``"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beltsight.cli.dataset_options import TaxonomyOption
from beltsight.cli.model_argument import BatchOption, ModelArgument, ThreadsOption, open_model

if TYPE_CHECKING:
    from beltsight.decide import Decider
    from beltsight.model import Model
    from beltsight.records import Decision, Prediction
    from beltsight.taxonomy import Taxonomy

    Writer = Callable[[Prediction, Decision | None], None]


def command(
    model: ModelArgument,
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            help="Photos, folders (with all that lies below) and quoted patterns ('in/*.jpg').",
            show_default=False,
        ),
    ],
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line; see 'beltsight schema predict'.")
    ] = False,
    explain: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            file_okay=False,
            help="Write each photo with its heat map to DIR, named by the number of its line.",
        ),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Add each item's route and the reason, by a policy in TOML or 'default'.",
        ),
    ] = None,
    taxonomy: TaxonomyOption = None,
    batch_size: BatchOption = 16,
    threads: ThreadsOption = 0,
) -> None:
    """Answer for photos, one line each, as they are found.

    A photo that cannot be used has a line with its error; the exit status is then 1, as it is
    where --explain finds that a photo has gone since.
    """
    from beltsight.cli.console import note
    from beltsight.errors import DatasetError
    from beltsight.taxonomy import load_taxonomy

    known = load_taxonomy(taxonomy)
    loaded = open_model(model, threads=threads)
    decider = _bound(policy, loaded, known) if policy is not None else None
    predictions = _predictions(loaded, paths, batch_size, explain is not None)
    write = _json_writer(known) if json else _line_writer(loaded, decider)
    total = failed = 0
    for prediction in predictions:
        total += 1
        failed += prediction.error is not None
        write(prediction, decider.decide(prediction) if decider else None)
        if explain is not None and prediction.error is None:
            failed += not _wrote_overlays(loaded, prediction, explain, total)
    if not total:
        raise DatasetError(
            f"no photos found in {', '.join(paths)}; expected files that end in .jpg, .png, .webp, "
            ".gif, .bmp, .tif or .ppm"
        )
    if failed:
        where = "see their lines" if explain is None else "see their lines and the notes"
        note(f"beltsight: {failed} of {total} photos could not be used; {where}")
        raise typer.Exit(1)


def _bound(policy: str, model: Model, taxonomy: Taxonomy) -> Decider:
    from beltsight.decide import bind
    from beltsight.policy import load_policy

    loaded = load_policy(None if policy == "default" else Path(policy))
    return bind(loaded, model.tasks, model.hash, taxonomy)


def _predictions(
    model: Model, paths: list[str], batch_size: int, explain: bool
) -> Iterator[Prediction]:
    import sys

    from beltsight.cli.console import progress
    from beltsight.photos import find_photos

    found = find_photos(paths)
    answers = model.stream(found, explain=explain, batch_size=batch_size, on_error="record")
    # On a terminal the lines themselves show how far it is.
    return answers if sys.stdout.isatty() else progress(answers, "predicting")


def _json_writer(taxonomy: Taxonomy) -> Writer:
    """Every line has the packaged tasks and those of the taxonomy, whatever the model answers."""
    from beltsight.cli.console import print_json
    from beltsight.records import prediction_record
    from beltsight.taxonomy import load_taxonomy

    tasks = tuple(dict.fromkeys((*load_taxonomy().tasks, *taxonomy.tasks)))
    return lambda prediction, decision: print_json(prediction_record(prediction, tasks, decision))


def _line_writer(model: Model, decider: Decider | None) -> Writer:
    """Answer and confidence in columns, the path last: its length is not known beforehand."""
    from beltsight.cli.console import print_line
    from beltsight.decide import Reason

    widths = [max(len(label) for label in (task.name, *task.classes)) for task in model.tasks]
    routes = ("route", *decider.routes) if decider else ()
    wide, longest = max(map(len, routes), default=0), max(map(len, Reason))

    def row(cells: list[tuple[str, str]], route: tuple[str, str], path: str) -> str:
        pairs = zip(cells, widths, strict=True)
        routed = [f"{route[0]:<{wide}} {route[1]:<{longest}}"] if routes else []
        return "  ".join([*(f"{a:<{width}} {b:>7}" for (a, b), width in pairs), *routed, path])

    def write(prediction: Prediction, decision: Decision | None) -> None:
        cells = [("-", "") for _ in model.tasks]
        if prediction.error is None:
            answers = [prediction.tasks[task.name] for task in model.tasks]
            cells = [(answer.label, f"{answer.confidence:.1%}") for answer in answers]
        # The error names the file by itself.
        route = (decision.route, decision.reason) if decision else ("", "")
        print_line(row(cells, route, prediction.error or prediction.path or ""))

    heading = [(task.name, "sure") for task in model.tasks]
    print_line(row(heading, ("route", "reason"), "file"))
    return write


def _wrote_overlays(model: Model, prediction: Prediction, folder: Path, number: int) -> bool:
    """Whether the photo was still there to lay heat over; if not, that is said."""
    from beltsight.cli.console import note
    from beltsight.errors import BeltsightError, ImageError
    from beltsight.explain import explain_file

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for task in prediction.tasks:
            jpeg = explain_file(model, prediction, task)
            (folder / overlay_name(number, prediction.path or "", task)).write_bytes(jpeg)
    except ImageError as error:  # gone or changed since it was answered
        note(f"beltsight: no heat map of line {number}: {error}")
        return False
    except OSError as error:
        raise BeltsightError(f"--explain {folder}: cannot be written: {error.strerror}") from error
    return True


def overlay_name(number: int, path: str, task: str) -> str:
    """A file name that is unique by its number, and that no photo's name can lead elsewhere.

    Example:
        >>> overlay_name(7, "in/../my photo.jpg", "material")
        '000007-my-photo-material.jpg'
    """
    stem, task = (re.sub(r"[^\w-]+", "-", text)[:60].strip("-") for text in (Path(path).stem, task))
    return f"{number:06}-{stem or 'photo'}-{task}.jpg"
