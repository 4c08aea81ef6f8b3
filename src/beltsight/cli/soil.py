"""``beltsight soil``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beltsight.cli.dataset_options import Split, SplitOption, TaskOption, TaxonomyOption

if TYPE_CHECKING:
    from beltsight.dataset.soil import SoiledDataset
    from beltsight.taxonomy import Taxonomy


def command(
    data: Annotated[Path, typer.Argument(help="Photos of clean items: a data set.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write.")],
    copies: Annotated[int, typer.Option(help="Photos made per photo, as a mean of its class.")] = 3,
    split: SplitOption = Split.ALL,
    kind: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this kind of dirt; may be given again."),
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Levels and kinds in TOML (default: the packaged ones)."),
    ] = None,
    masks: Annotated[
        bool, typer.Option("--masks", help="Write where the dirt lies, as grey PNG.")
    ] = False,
    originals: Annotated[
        bool,
        typer.Option(
            "--originals/--no-originals",
            help="Put the photos themselves beside them, with no label of dirt but their own.",
        ),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same photos.")] = 0,
    task: TaskOption = None,
    taxonomy: TaxonomyOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Make a data set with simulated dirt.

    An interrupted call goes on where it stopped when it is repeated.
    """
    from beltsight.cli.console import note, print_json
    from beltsight.cli.split import note_unread
    from beltsight.cli.stage_progress import stage_progress
    from beltsight.dataset import load_dataset
    from beltsight.dataset.soil import SoilOptions, soil_dataset
    from beltsight.scene import load_dirt_settings
    from beltsight.taxonomy import load_taxonomy

    known = load_taxonomy(taxonomy)
    _check_taxonomy(known, str(taxonomy))
    dataset = load_dataset(data, tasks=task or (), taxonomy=known).select(split.value)
    note_unread(dataset, str(out))
    options = SoilOptions(copies, originals, masks, tuple(kind or ()), seed)
    with stage_progress() as progress:
        done = soil_dataset(
            dataset, out, options, settings=load_dirt_settings(settings), progress=progress
        )
    if json:
        print_json(done.to_record())
    else:
        _print_summary(done)
    if done.unreadable:
        note(
            f"beltsight: {len(done.unreadable)} photos do not decode and were left out; see "
            f"'beltsight check {data}'"
        )
    if not originals:
        _note_left_out(done)
    note(f"beltsight: wrote {out}: simulated dirt, to be looked at before it is learned from")


def _check_taxonomy(taxonomy: Taxonomy, where: str) -> None:
    """Before anything is read: made photos have the levels of simulated dirt."""
    from beltsight.dataset.soil_checks import check_levels
    from beltsight.records import CONTAMINATION

    levels = taxonomy.tasks.get(CONTAMINATION)
    if levels and not levels.open:
        check_levels(tuple(levels.classes), where)


def _note_left_out(done: SoiledDataset) -> None:
    from beltsight.cli.console import note

    for name in (name for name, (used, _) in sorted(done.usable.items()) if not used):
        note(
            f"beltsight: {name}: no item whose outline can be trusted, so none of its photos is "
            "in the result; --originals keeps them"
        )


def _print_summary(done: SoiledDataset) -> None:
    from beltsight.cli.console import print_line, print_table

    rows = [
        (name, f"{used:,}", f"{photos:,}") for name, (used, photos) in sorted(done.usable.items())
    ]
    print_table("items", ("class", "outline trusted", "photos"), rows)
    levels = ", ".join(f"{count:,} {name}" for name, count in sorted(done.levels.items()))
    print_line(f"{done.n_photos:,} photos; of those made: {levels}.")
