"""``beltsight export``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from beltsight.cli.dataset_options import TaxonomyOption


def command(
    run: Annotated[Path, typer.Argument(help="Folder of a training run.")],
    data: Annotated[Path, typer.Argument(help="The data set that it was trained on.")],
    out: Annotated[Path, typer.Option(help="The model file to write.")],
    taxonomy: TaxonomyOption = None,
    name: Annotated[str, typer.Option(help="The model's name in its card.")] = "",
    model_version: Annotated[str, typer.Option(help="The model's version in its card.")] = "1",
    licence: Annotated[str, typer.Option(help="The model's licence in its card.")] = "",
    notice: Annotated[str, typer.Option(help="Notices that must go with the model.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Print the card's figures.")] = False,
) -> None:
    """Export a run's best weights again.

    'beltsight train' has exported them once already, to model.onnx in the run's folder. The
    file is compared with the network on real photos and not written where they disagree.
    """
    from beltsight.cli.console import print_json, print_line
    from beltsight.cli.stage_progress import stage_progress
    from beltsight.dataset import load_dataset
    from beltsight.taxonomy import load_taxonomy
    from beltsight.train import require_train_extra

    require_train_extra()
    from beltsight.train.folder import stored_settings
    from beltsight.train.package import About
    from beltsight.train.run import export_run

    about = About(name=name, version=model_version, licence=licence, notice=notice)
    tasks = stored_settings(run).tasks
    dataset = load_dataset(data, tasks=tasks, taxonomy=load_taxonomy(taxonomy))
    with stage_progress() as progress:
        figures = export_run(
            run,
            dataset,
            out,
            about=about,
            preparing=lambda done, total: progress("Preparing photos", done, total),
        )
    if json:
        print_json({"model": str(out), "val": figures})
    else:
        print_line(f"model: {out}")
