"""``beltsight calibrate``"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beltsight.cli.dataset_options import TaskOption, TaxonomyOption
from beltsight.cli.evaluate import Split
from beltsight.cli.model_argument import ModelArgument, ThreadsOption, open_model

if TYPE_CHECKING:
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
        typer.Option(help="Share of accepted answers that must be right, e.g. 0.97."),
    ] = None,
    split: Annotated[Split, typer.Option(help="Which photos; 'all' needs no splits.")] = Split.VAL,
    json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
    task: TaskOption = None,
    taxonomy: TaxonomyOption = None,
    threads: ThreadsOption = 0,
) -> None:
    """Fit a model's confidence to your own photos.

    Answers stay; how sure they are changes, and with --purity from where on they are accepted.
    Needs the extra 'train'.
    """
    from beltsight.cli.console import note, print_json, print_line, progress
    from beltsight.dataset import load_dataset
    from beltsight.taxonomy import load_taxonomy
    from beltsight.train import require_train_extra

    require_train_extra()
    from beltsight.train.recalibrate import recalibrate

    def shown(samples: Sequence[Sample]) -> Iterable[Sample]:
        return progress(samples, "measuring", len(samples))

    dataset = load_dataset(data, tasks=task or (), taxonomy=load_taxonomy(taxonomy))
    loaded = open_model(model, threads=threads)
    found = recalibrate(loaded, dataset, out, split=split.value, purity=purity, progress=shown)
    if json:
        print_json({**found.to_record(), "out": str(out)})
    else:
        for name, (before, after) in found.temperatures.items():
            print_line(f"{name}: temperature {before:.3f}, now {after:.3f} ({found.n} photos)")
        if found.purity is not None:
            print_line(found.purity.statement)
    note(f"beltsight: wrote {out}")
