"""An Evaluation as files: JSON and CSV for scripts, a page for people."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beltsight.errors import ImageError
from beltsight.evaluation import Evaluation, Mistake, TaskResult
from beltsight.explain import explain, overlay
from beltsight.image import decode
from beltsight.image_small import shrink
from beltsight.model import Model
from beltsight.report.about import SPLIT_WORDS, card_facts
from beltsight.report.figures import (
    curve_figure,
    purity_figure,
    reliability_figure,
    severity_figure,
)
from beltsight.report.render import photo_uri, render, write_page
from beltsight.robustness import WHY_LEFT_OUT
from beltsight.taxonomy import Taxonomy, load_taxonomy

_TILE_SIDE = 300
_MAX_HISTORY_BYTES = 5_000_000
_FEW_PHOTOS = 30


@dataclass(frozen=True, slots=True)
class Tile:
    """A mistake as it is shown: photo and heat of the wrong answer, or why there is no photo."""

    mistake: Mistake
    photo: str
    heat: str
    error: str


def write_evaluation(
    evaluation: Evaluation,
    model: Model,
    folder: Path,
    *,
    mistakes: int = 24,
    taxonomy: Taxonomy | None = None,
) -> Path:
    """Write ``metrics.json``, ``predictions.csv`` and ``index.html``.

    Args:
        evaluation: what to report.
        model: the same model, for heat maps; training curves are drawn where its folder has the
            ``metrics.csv`` of a run.
        folder: made where it is missing.
        mistakes: how many to show per task.
        taxonomy: display names and colours; the packaged one by default.

    Returns:
        The page's path.

    Raises:
        BeltsightError: the folder cannot be written.
    """
    beside = model.path.parent / "metrics.csv" if model.path else None
    history = read_history(beside)
    page = evaluation_page(evaluation, model, history, mistakes=mistakes, taxonomy=taxonomy)
    record = json.dumps(evaluation.to_record(), ensure_ascii=False, allow_nan=False, indent=1)
    write_page(folder / "metrics.json", record + "\n")
    write_page(folder / "predictions.csv", predictions_csv(evaluation))
    write_page(folder / "index.html", page)
    return folder / "index.html"


def evaluation_page(
    evaluation: Evaluation,
    model: Model,
    history: dict[str, list[float]] | None = None,
    *,
    mistakes: int = 24,
    taxonomy: Taxonomy | None = None,
) -> str:
    """The self-contained page of an evaluation.

    Args:
        evaluation: what to report.
        model: the same model, for heat maps.
        history: columns of the run's ``metrics.csv``.
        mistakes: how many to show per task.
        taxonomy: display names and colours; the packaged one by default.
    """
    known = taxonomy or load_taxonomy()
    changes = list((evaluation.robustness or {}).get("changes", {}).values())
    asked = list(dict.fromkeys(task for change in changes for task in change["tasks"]))
    title = f"{evaluation.card.name} on the {SPLIT_WORDS[evaluation.split]}"
    if evaluation.split == "all":
        title = f"{evaluation.card.name} on {SPLIT_WORDS['all']}"
    return render(
        "evaluation.html.j2",
        title=title,
        subtitle=f"{evaluation.n:,} photos of {evaluation.data}",
        evaluation=evaluation,
        split_words=SPLIT_WORDS[evaluation.split],
        tasks=[_task_view(r, model, known, mistakes) for r in evaluation.tasks.values()],
        without_twins={
            name: result.accuracy_without(evaluation.twins or ())
            for name, result in evaluation.tasks.items()
        },
        severities=[severity_figure(change, asked) for change in changes if change["tasks"]],
        asked=asked,
        left_out=[change["title"] for change in changes if not change["tasks"]],
        why_left_out=WHY_LEFT_OUT,
        curves=_curves(history),
        facts=card_facts(evaluation.card),
    )


def predictions_csv(evaluation: Evaluation) -> str:
    """One row per photo: truth, answer, confidence and all probabilities of each task."""
    results = evaluation.tasks.values()
    header = ["path"]
    for result in results:
        task = _cell(result.task.name)
        header += [f"{task}_{part}" for part in ("truth", "answer", "confidence")]
        header += [f"{task}:{name}" for name in result.task.classes]
    rows: dict[str, dict[str, str]] = {}
    for result in results:
        for index, path in enumerate(result.paths):
            rows.setdefault(path, {"path": _cell(path)}).update(_answer_row(result, index))
    out = io.StringIO()
    # Lines end with CR LF, by RFC 4180: a name that holds either is then quoted.
    writer = csv.DictWriter(out, header, restval="")
    writer.writeheader()
    writer.writerows(rows[path] for path in sorted(rows))
    return out.getvalue()


def read_history(path: Path | None) -> dict[str, list[float]] | None:
    """The columns of a run's ``metrics.csv``; None where there is none that can be drawn."""
    if path is None or not path.is_file() or path.stat().st_size > _MAX_HISTORY_BYTES:
        return None
    wanted = ("epoch", "train_loss", "val_loss", "val_accuracy")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        found = {name: [float(row[name]) for row in rows] for name in wanted}
        return found if rows and all(map(math.isfinite, found["epoch"])) else None
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return None  # some other program's metrics.csv


def _task_view(
    result: TaskResult, model: Model, taxonomy: Taxonomy, mistakes: int
) -> dict[str, Any]:
    task, metrics, sure = result.task, result.metrics, result.confidence
    shown = {name: taxonomy.show(task.name, name, place) for place, name in enumerate(task.classes)}
    return {
        "name": task.name,
        "metrics": metrics,
        "shown": shown,
        "matrix": _matrix(metrics["confusion"]),
        "hits": sum(row[i] for i, row in enumerate(metrics["confusion"])),
        "absent": result.absent,
        "few": [n for n, f in metrics["per_class"].items() if 0 < f["support"] < _FEW_PHOTOS],
        "confused": _confused(metrics["confusion"], task.classes),
        "reliability": reliability_figure(sure["reliability"], result.probabilities.max(axis=1)),
        "calibration": sure["calibration"],
        "purity": purity_figure(sure["risk_coverage"], sure["accepted"]),
        "accepted": sure["accepted"],
        "excess_area": sure["risk_coverage"]["excess_area"],
        "mistakes": len(result.mistakes),
        "tiles": [_tile(mistake, model, task.name) for mistake in _choose(result, mistakes)],
    }


def _matrix(confusion: Sequence[Sequence[int]]) -> list[list[dict[str, Any]]]:
    """Counts with their share of the row and the strength of their colour, 0 to 1."""
    cells = []
    for i, row in enumerate(confusion):
        shares = [n / (sum(row) or 1) for n in row]
        # Below linear, so that a confusion of a few per cent can still be seen.
        tones = [0.95 * share**0.6 for share in shares]
        cells.append(
            [
                {"n": n, "share": share, "tone": tone, "hit": i == j}
                for j, (n, share, tone) in enumerate(zip(row, shares, tones, strict=True))
            ]
        )
    return cells


def _confused(
    confusion: Sequence[Sequence[int]], classes: Sequence[str]
) -> list[tuple[int, str, str]]:
    """(count, truth, answer) of the three most frequent confusions."""
    pairs = [
        (n, classes[i], classes[j])
        for i, row in enumerate(confusion)
        for j, n in enumerate(row)
        if i != j and n
    ]
    return sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2]))[:3]


def _choose(result: TaskResult, count: int) -> list[Mistake]:
    """Half of the worst, half of the most confident, without repetition, most confident first."""
    chosen = dict.fromkeys([*result.mistakes[: count // 2], *result.worst(count // 2)])
    chosen = dict.fromkeys([*chosen, *result.mistakes])
    return sorted(list(chosen)[:count], key=lambda mistake: (-mistake.confidence, mistake.path))


def _tile(mistake: Mistake, model: Model, task: str) -> Tile:
    try:
        photo = shrink(decode(mistake.file, enough=(2 * _TILE_SIDE,) * 2), _TILE_SIDE)
        (prediction,) = model.predict(mistake.file, explain=True)
    except ImageError as error:  # gone since it was measured
        return Tile(mistake, "", "", str(error))
    heat = explain(model, photo, prediction, task, mistake.answer)
    return Tile(mistake, photo_uri(photo), photo_uri(overlay(photo, heat)), "")


def _curves(history: dict[str, list[float]] | None) -> dict[str, Any] | None:
    if history is None:
        return None
    losses = {"training loss": history["train_loss"], "validation loss": history["val_loss"]}
    accuracy = {"validation accuracy": history["val_accuracy"]}
    return {
        "loss": curve_figure(history["epoch"], losses, shares=False),
        "accuracy": curve_figure(history["epoch"], accuracy, shares=True),
    }


def _answer_row(result: TaskResult, index: int) -> dict[str, str]:
    name, row = _cell(result.task.name), result.probabilities[index]
    best = int(row.argmax())
    cells = {
        f"{name}_truth": _cell(result.task.classes[result.labels[index]]),
        f"{name}_answer": _cell(result.task.classes[best]),
        f"{name}_confidence": f"{row[best]:.6f}",
    }
    classes = zip(result.task.classes, row, strict=True)
    return cells | {f"{name}:{label}": f"{share:.6f}" for label, share in classes}


def _cell(text: str) -> str:
    """Text that a spreadsheet does not take for a formula; as a path it stays the same path."""
    return f"./{text}" if text[:1] in "=+-@\t\r" else text
