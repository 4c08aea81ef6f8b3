"""``beltsight train``"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beltsight.cli.dataset_options import TaskOption, TaxonomyOption, open_dataset

if TYPE_CHECKING:
    from beltsight.dataset import Dataset
    from beltsight.train.run import Run
    from beltsight.train.settings import TrainSettings


def command(
    data: Annotated[Path, typer.Argument(help="Data set: folder or CSV.")],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    config: Annotated[Path | None, typer.Option(help="Settings in TOML.")] = None,
    recipe: Annotated[
        str | None, typer.Option(help="quick (minutes) or full (the best answer).")
    ] = None,
    task: TaskOption = None,
    taxonomy: TaxonomyOption = None,
    backbone: Annotated[str | None, typer.Option(help="A timm model, e.g. resnet50.")] = None,
    weights: Annotated[
        str | None, typer.Option(help="'timm' downloads, 'random', or a .safetensors[.xz] file.")
    ] = None,
    image_size: Annotated[int | None, typer.Option(help="Side of the input in pixels.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs of the last stage.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Photos per step.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="adamw, sgd or adam_l2.")] = None,
    augment: Annotated[
        str | None, typer.Option(help="none, light, gentle, plant or strong.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same run.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; 0 for one per core.")] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other setting: KEY=VALUE as in TOML; repeatable."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    name: Annotated[str, typer.Option(help="The model's name in its card.")] = "",
    licence: Annotated[str, typer.Option(help="The model's licence in its card.")] = "",
    notice: Annotated[str, typer.Option(help="Notices that must go with the model.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train a model and export it with its card.

    What is trained and how are settings that --config may hold, under the same names; options win
    over BELTSIGHT_TRAIN_* variables, these over the file, and the file over the recipe. Needs the
    'train' extra.
    """
    from beltsight.config import parse_assignments
    from beltsight.taxonomy import load_taxonomy
    from beltsight.train import require_train_extra
    from beltsight.train.settings import load_settings

    named = {
        "tasks": task,
        "backbone": backbone,
        "weights": weights,
        "image_size": image_size,
        "epochs": epochs,
        "batch_size": batch_size,
        "optimizer": optimizer,
        "augment": augment,
        "seed": seed,
        "threads": threads,
    }
    # An option that was not given must not take the place of --set.
    given = {key: value for key, value in named.items() if value is not None}
    overrides = {**parse_assignments(assignments or ()), **given}
    file = out / "settings.toml" if resume and config is None else config
    settings = load_settings(file, overrides, recipe)
    require_train_extra()
    dataset = open_dataset(data, settings.tasks, load_taxonomy(taxonomy))
    about = {"name": name, "licence": licence, "notice": notice}
    evaluation = _evaluation(out, data, settings.tasks, taxonomy)
    _train(dataset, out, settings, resume, about, evaluation, json)


def _train(
    dataset: Dataset,
    out: Path,
    settings: TrainSettings,
    resume: bool,
    card: dict[str, str],
    evaluation: str,
    json: bool,
) -> None:
    from beltsight.cli.console import note, print_json, print_line
    from beltsight.cli.training_progress import TrainingProgress
    from beltsight.train.package import About
    from beltsight.train.run import run_training

    with TrainingProgress() as shown:
        run = run_training(
            dataset,
            out,
            settings,
            resume=resume,
            watch=shown.watch,
            preparing=shown.preparing,
            doubting=shown.doubt,
            about=About(**card),
        )
    for message in run.unreadable:
        note(f"left out: {message}")
    if json:
        print_json({"model": str(run.model), "folder": str(run.folder), "val": run.metrics})
        return
    _print_figures(run)
    if "test" in dataset.splits:
        print_line(f"next:  {evaluation}")


def _print_figures(run: Run) -> None:
    from beltsight.cli.console import print_line
    from beltsight.report.about import threshold_fact

    for task, figures in run.metrics["tasks"].items():
        low, high = figures["interval"]
        print_line(
            f"{task}: {figures['accuracy']:.1%} of {figures['n']} validation photos right "
            f"(95% interval {low:.1%} to {high:.1%})"
        )
    for one in run.card.tasks:
        if one.threshold is not None:
            print_line(f"{one.name}: abstains {threshold_fact(one)}")
    print_line(f"model: {run.model}")


def _evaluation(out: Path, data: Path, tasks: Sequence[str], taxonomy: Path | None) -> str:
    """The command, for a shell, that measures a run's model on the test split of its data."""
    words = ["beltsight", "evaluate", str(out / "model.onnx"), str(data)]
    for task in tasks:
        words += ["--task", task]
    if taxonomy is not None:
        words += ["--taxonomy", str(taxonomy)]
    return shlex.join([*words, "--out", str(out / "test")])
