"""``beltsight calibrate``"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beltsight.cli.dataset_options import Split, TaskOption, TaxonomyOption
from beltsight.cli.model_argument import ModelArgument, ThreadsOption, open_model

if TYPE_CHECKING:
    from beltsight.recalibrate import Recalibration
    from beltsight.records import Sample


def command(
    model: ModelArgument,
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Labelled photos that the model has not learned.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The model file to write.")],
    purity: Annotated[
        float | None,
        typer.Option(
            help="Share of accepted answers that must be right, e.g. 0.97 (default: as the card "
            "of the model names it)."
        ),
    ] = None,
    purity_task: Annotated[
        str | None,
        typer.Option(metavar="TASK", help="Whose answers (default: material, or the first task)."),
    ] = None,
    split: Annotated[
        Split, typer.Option(help="Which photos, but not 'test'; 'all' needs no splits.")
    ] = Split.VAL,
    json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
    task: TaskOption = None,
    taxonomy: TaxonomyOption = None,
    threads: ThreadsOption = 0,
) -> None:
    """Fit a model's confidence to your own photos.

    Answers stay. How sure they are changes, what is called unlike anything seen, and, where a
    purity is wanted, from where on answers are accepted. The new model remembers the photos and
    refuses to be tested on them. Needs the extra 'lab'.
    """
    from beltsight.cli.console import note, print_json, print_line, progress
    from beltsight.dataset import load_dataset
    from beltsight.engines import DEFAULT_ENGINE
    from beltsight.recalibrate import recalibrate
    from beltsight.taxonomy import load_taxonomy

    def shown(samples: Sequence[Sample]) -> Iterable[Sample]:
        return progress(samples, "measuring", len(samples))

    dataset = load_dataset(data, tasks=task or (), taxonomy=load_taxonomy(taxonomy))
    # Not what 'tune' chose for this file: nothing is known of the one to be written.
    loaded = open_model(model, threads=threads, engine=DEFAULT_ENGINE)
    found = recalibrate(
        loaded,
        dataset,
        out,
        split=split.value,
        purity=purity,
        task=purity_task,
        progress=shown,
    )
    for doubt in found.doubts:
        note(f"beltsight: {doubt}")
    if json:
        print_json({**found.to_record(), "out": str(out)})
    else:
        for line in _lines(found):
            print_line(line)
    note(f"beltsight: wrote {out}")


def _lines(found: Recalibration) -> Iterator[str]:
    for name, one in found.temperatures.items():
        yield f"{name}: temperature {one.before:.3f}, now {one.after:.3f} ({one.n} photos)"
    if (strange := found.novelty) is not None:
        yield (
            f"unlike anything seen: from {strange.before:.3g}, now from {strange.after:.3g}: "
            f"{strange.called_before} of {strange.n} photos before, now {strange.called}"
        )
    for name, choices in found.purities.items():
        asked = ", the purity in the model's card" if name in found.by_card else ""
        yield f"{name}{asked}: {choices.overall.statement}"
