"""``beltsight evaluate``"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from beltsight.cli.dataset_options import (
    Split,
    SplitOption,
    TaskOption,
    TaxonomyOption,
    open_dataset,
)
from beltsight.cli.model_argument import BatchOption, ModelArgument, ThreadsOption, open_model

if TYPE_CHECKING:
    from beltsight.dataset import Dataset
    from beltsight.evaluation import Evaluation, TaskResult
    from beltsight.model import Model
    from beltsight.records import Sample


def command(
    model: ModelArgument,
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA", help="A folder of class folders, or a CSV.", show_default=False
        ),
    ],
    split: SplitOption = Split.TEST,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Write metrics.json, predictions.csv and index.html to DIR."
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print metrics.json; see 'beltsight schema evaluate'.")
    ] = False,
    no_duplicates: Annotated[
        bool,
        typer.Option("--no-duplicates", help="Do not look for twins in other splits."),
    ] = False,
    robustness: Annotated[
        bool,
        typer.Option(
            "--robustness",
            help="Also measure how it holds in worse light, blur, dirt and seven more; takes long.",
        ),
    ] = False,
    task: TaskOption = None,
    taxonomy: TaxonomyOption = None,
    batch_size: BatchOption = None,
    threads: ThreadsOption = 0,
) -> None:
    """Measure a model on labelled photos.

    Every figure comes with its interval and the number of photos behind it. Before them stands
    what speaks against them: photos are compared byte for byte with the marks of training and
    validation photos in the model's card (more than 5 % of a split called "test": refused; fewer:
    listed), and with the other splits of the data set for exact and near duplicates.
    """
    from beltsight.cli.console import note, print_json
    from beltsight.report.evaluation import write_evaluation
    from beltsight.report.render import require_folder
    from beltsight.taxonomy import load_taxonomy

    known = load_taxonomy(taxonomy)
    dataset = open_dataset(data, task or (), known)
    loaded = open_model(model, threads=threads, purpose="throughput")
    if out is not None:
        require_folder(out)
    evaluation = _measured(loaded, dataset, split, batch_size, twins=not no_duplicates)
    if robustness:
        if out is not None:  # what comes now takes long, and may fail
            write_evaluation(evaluation, loaded, out, taxonomy=known)
        evaluation = _with_robustness(evaluation, loaded, dataset, batch_size, out)
    page = None
    if out is not None:
        page = write_evaluation(evaluation, loaded, out, taxonomy=known)
    for doubt in doubts(evaluation):
        note(f"beltsight: {doubt}")
    if json:
        print_json(evaluation.to_record())
    else:
        _print_summary(evaluation)
    if page is not None:
        note(f"beltsight: the report is {page}")


def _measured(
    model: Model, dataset: Dataset, split: Split, batch_size: int | None, *, twins: bool
) -> Evaluation:
    from beltsight.cli.console import progress
    from beltsight.cli.stage_progress import stage_progress
    from beltsight.dataset.twins import find_twins
    from beltsight.evaluation import evaluate, with_twins

    def shown(samples: Sequence[Sample]) -> Iterable[Sample]:
        return progress(samples, "measuring", len(samples))

    evaluation = evaluate(model, dataset, split.value, batch_size=batch_size, progress=shown)
    if not twins:
        return evaluation
    with stage_progress() as stage:
        return with_twins(evaluation, find_twins(dataset, split.value, progress=stage))


def _with_robustness(
    evaluation: Evaluation,
    model: Model,
    dataset: Dataset,
    batch_size: int | None,
    out: Path | None,
) -> Evaluation:
    """The answers are kept beside the report, so that an interrupted call goes on."""
    from dataclasses import replace

    from beltsight.cli.stage_progress import stage_progress
    from beltsight.robustness import measure_robustness

    keep = out / "robustness" if out is not None else None
    with stage_progress() as stage:
        found = measure_robustness(
            model, dataset, evaluation.split, batch_size=batch_size, keep=keep, progress=stage
        )
    return replace(evaluation, robustness=found)


def doubts(evaluation: Evaluation) -> list[str]:
    """What a reader must know before believing the figures, in plain sentences."""
    leak, known = evaluation.leak, len(evaluation.leak.paths)
    said = []
    if evaluation.split == "val":
        said.append("this is the validation split, by which models are chosen: no test figure")
    elif evaluation.split == "train":
        said.append("this is the training split, which models learn: no test figure")
    if not leak.checked:
        said.append("the model's card does not record its photos; it may know some of these")
    elif evaluation.split in ("test", "all") and known:
        said.append(
            f"the model knows {known} of these photos ({len(leak.learned)} from training, "
            f"{len(leak.chosen_by)} from validation), e.g. {leak.paths[0]}"
        )
    elif evaluation.split == "val" and leak.learned:
        said.append(
            f"the model has learned {len(leak.learned)} of these photos, e.g. {leak.learned[0]}"
        )
    if evaluation.twins:
        path, other = next(iter(evaluation.twins.items()))
        said.append(
            f"{len(evaluation.twins)} of these photos have a twin in another split, "
            f"e.g. {path} and {other}; see 'beltsight check'"
        )
    if evaluation.unreadable:
        path, _ = evaluation.unreadable[0]
        many = len(evaluation.unreadable)
        said.append(f"{many} photos could not be read and are not counted, e.g. {path}")
    if evaluation.unlabelled:
        said.append(f"{evaluation.unlabelled} photos have no label for this model's tasks")
    for name, result in evaluation.tasks.items():
        if result.absent:
            said.append(f"no photo of {name} {', '.join(result.absent)}: nothing is known of it")
    return said


def _print_summary(evaluation: Evaluation) -> None:
    from beltsight.cli.console import print_line, print_table
    from beltsight.report.about import SPLIT_WORDS

    if evaluation.twins is not None:
        print_line(_twins_line(evaluation, evaluation.twins))
    for name, result in evaluation.tasks.items():
        figures = result.metrics
        print_table(
            f"{name}, {SPLIT_WORDS[evaluation.split]}: {_accuracy(figures)}, "
            f"macro F1 {figures['macro_f1']:.3f}{_calibration(result)}",
            ("class", "recall", "95 %", "precision", "F1", "photos", "often taken for"),
            _class_rows(result),
        )
        if accepted := result.confidence["accepted"]:
            print_line(_accepted_line(accepted))
    if evaluation.robustness is not None:
        from beltsight.robustness import WHY_LEFT_OUT

        for name in evaluation.tasks:
            rows = _change_rows(evaluation.robustness["changes"], name)
            print_table(f"{name}, photos changed", ("change", "unit", "accuracy at amounts"), rows)
        if missing := evaluation.robustness["left_out"]:
            print_line(f"not measured: {', '.join(missing)}, since {WHY_LEFT_OUT}")


def _calibration(result: TaskResult) -> str:
    from beltsight.report.render import percent

    found = result.confidence["calibration"]
    if found is None:  # of one photo
        return ""
    return (
        f", calibration error {percent(found['error'])} debiased (chance alone gives up to "
        f"{percent(found['band'][1])})"
    )


def _accepted_line(accepted: Mapping[str, Any]) -> str:
    """What the model accepts after its threshold and its look for the strange."""
    from beltsight.report.render import percent

    limits = []
    if accepted["threshold"] is not None:
        limits.append(f"confidence from {accepted['threshold']:.3f}")
    if accepted["novel"] is not None:
        limits.append(f"{accepted['novel']} unlike anything seen left out")
    low, high = accepted["interval"]
    right = (
        f", {percent(accepted['purity'])} of them right "
        f"(95 % interval {percent(low)} to {percent(high)})"
        if accepted["n"]
        else ""
    )
    return (
        f"accepted ({'; '.join(limits)}): {accepted['n']} photos, coverage "
        f"{percent(accepted['coverage'])}{right}"
    )


def _change_rows(changes: Mapping[str, Any], task: str) -> list[list[str]]:
    from beltsight.report.render import percent

    rows = []
    for change in changes.values():
        if task in change["tasks"]:
            severities = change["tasks"][task]["severities"]
            pairs = zip(change["amounts"], severities, strict=True)
            shown = [f"{amount:g}: {percent(row['accuracy'])}" for amount, row in pairs]
            rows.append([change["title"], change["unit"], "  ".join(shown)])
    return rows


def _twins_line(evaluation: Evaluation, twins: Mapping[str, str]) -> str:
    if not twins:
        return "No photo has a twin in another split."
    without = {
        name: _accuracy(result.accuracy_without(twins)) for name, result in evaluation.tasks.items()
    }
    figures = "; ".join(f"{name} {text}" for name, text in without.items())
    return f"{len(twins)} of {evaluation.n} photos have a twin in another split; without: {figures}"


def _accuracy(figures: Mapping[str, Any]) -> str:
    """Of the keys ``accuracy``, ``interval``, ``n`` and, where there, ``n_items``."""
    from beltsight.report.render import percent

    if figures["accuracy"] is None:
        return "no photo left"
    low, high = figures["interval"]
    items = f" photos of {figures['n_items']} items" if "n_items" in figures else ""
    return (
        f"accuracy {percent(figures['accuracy'])} "
        f"(95 % interval {percent(low)} to {percent(high)}, n = {figures['n']}{items})"
    )


def _class_rows(result: TaskResult) -> list[list[str]]:
    from beltsight.report.render import percent

    figures, classes = result.metrics, result.task.classes
    rows = []
    for index, (name, values) in enumerate(figures["per_class"].items()):
        low, high = values["recall_interval"]
        wrong = [(n, classes[j]) for j, n in enumerate(figures["confusion"][index]) if j != index]
        count, other = max(wrong, key=lambda pair: pair[0])
        rows.append(
            [
                name,
                percent(values["recall"]),
                f"{percent(low, 0)} to {percent(high, 0)}" if values["support"] else percent(None),
                percent(values["precision"]),
                percent(None) if values["f1"] is None else f"{values['f1']:.3f}",
                str(values["support"]),
                f"{other} ({count})" if count else "",
            ]
        )
    return rows
