"""``beltsight evaluate``"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beltsight.cli.model_argument import BatchOption, ModelArgument, ThreadsOption, open_model

if TYPE_CHECKING:
    from beltsight.evaluate import Evaluation, TaskResult
    from beltsight.records import Sample


class Split(StrEnum):
    """What may be measured on."""

    TEST = "test"
    VAL = "val"
    TRAIN = "train"
    ALL = "all"


def command(
    model: ModelArgument,
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA", help="A folder of class folders, or a CSV.", show_default=False
        ),
    ],
    split: Annotated[Split, typer.Option(help="Which photos; 'all' needs no splits.")] = Split.TEST,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Write metrics.json, predictions.csv and index.html to DIR."
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print metrics.json; see 'beltsight schema evaluate'.")
    ] = False,
    task: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="A label column of the CSV, or the task of class folders."
        ),
    ] = None,
    batch_size: BatchOption = 16,
    threads: ThreadsOption = 0,
) -> None:
    """Measure a model on labelled photos.

    Every figure comes with its interval and the number of photos behind it. A split that holds
    photos the model was trained on or chosen by is not called "test".
    """
    from beltsight.cli.console import note, print_json, progress
    from beltsight.dataset import load_dataset
    from beltsight.evaluate import evaluate
    from beltsight.report.evaluation import write_evaluation

    def shown(samples: Sequence[Sample]) -> Iterable[Sample]:
        return progress(samples, "measuring", len(samples))

    dataset = load_dataset(data, tasks=task or ())
    loaded = open_model(model, threads=threads)
    evaluation = evaluate(loaded, dataset, split.value, batch_size=batch_size, progress=shown)
    page = write_evaluation(evaluation, loaded, out) if out is not None else None
    if json:
        print_json(evaluation.to_record())
    else:
        _print_summary(evaluation)
    for doubt in doubts(evaluation):
        note(f"beltsight: {doubt}")
    if page is not None:
        note(f"beltsight: the report is {page}")


def doubts(evaluation: Evaluation) -> list[str]:
    """What a reader must know before believing the figures, in plain sentences."""
    leak, known = evaluation.leak, len(evaluation.leak.paths)
    said = []
    if evaluation.split == "val":
        said.append("this is the validation split, by which the model was chosen: no test figure")
    elif evaluation.split == "train":
        said.append("this is the training split, which the model has learned: no test figure")
    elif not leak.checked:
        said.append("the model's card does not record its photos; it may know some of these")
    elif known:
        said.append(
            f"the model knows {known} of these photos ({len(leak.learned)} from training, "
            f"{len(leak.chosen_by)} from validation), e.g. {leak.paths[0]}"
        )
    if evaluation.unreadable:
        path, _ = evaluation.unreadable[0]
        many = len(evaluation.unreadable)
        said.append(f"{many} photos could not be read and are not counted, e.g. {path}")
    if evaluation.unlabelled:
        said.append(f"{evaluation.unlabelled} photos have no label for this model's tasks")
    return said


def _print_summary(evaluation: Evaluation) -> None:
    from beltsight.cli.console import print_table
    from beltsight.report.about import SPLIT_WORDS

    for name, result in evaluation.tasks.items():
        figures = result.metrics
        low, high = figures["interval"]
        print_table(
            f"{name}, {SPLIT_WORDS[evaluation.split]}: accuracy {figures['accuracy']:.1%} "
            f"(95 % interval {low:.1%} to {high:.1%}, n = {figures['n']}), "
            f"macro F1 {figures['macro_f1']:.3f}, "
            f"calibration error {figures['calibration_error']:.1%}",
            ("class", "recall", "95 %", "precision", "F1", "photos", "often taken for"),
            _class_rows(result),
        )


def _class_rows(result: TaskResult) -> list[list[str]]:
    figures, classes = result.metrics, result.task.classes
    rows = []
    for index, (name, values) in enumerate(figures["per_class"].items()):
        low, high = values["recall_interval"]
        wrong = [(n, classes[j]) for j, n in enumerate(figures["confusion"][index]) if j != index]
        count, other = max(wrong, key=lambda pair: pair[0])
        rows.append(
            [
                name,
                _percent(values["recall"]),
                f"{low:.0%} to {high:.0%}" if values["support"] else "-",
                _percent(values["precision"]),
                "-" if values["f1"] is None else f"{values['f1']:.3f}",
                str(values["support"]),
                f"{other} ({count})" if count else "",
            ]
        )
    return rows


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
