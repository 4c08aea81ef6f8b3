"""The README's tables, from the results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from studies.classical.chart import NAMES, TITLES
from studies.tables import fill_markers, percent


def fill_readme(results: Path, readme: Path) -> None:
    """Write the tables between the README's markers."""
    found = [results / f"{name}.json" for name in TITLES]
    records = [json.loads(file.read_text(encoding="utf-8")) for file in found if file.exists()]
    parts = [f"**{TITLES[record['data']]}**\n\n{_table(record)}" for record in records]
    fill_markers(readme, "results", "\n\n".join([*parts, _controls(records)]))


def _table(record: dict[str, Any]) -> str:
    """One row per feature set and classifier; the milliseconds are of one core."""
    classes = list(next(iter(record["rows"].values()))["test"]["per_class"])
    head = ["features", "tried", "validation", "test", "95 % interval", *classes, "ms a photo"]
    lines = [_row(head), _row(["---"] * len(head))]
    for name, row in record["rows"].items():
        test, chosen = row["test"], row["validation"]
        low, high = test["interval"]
        recalls = [f"{part['correct']}/{part['n']}" for part in test["per_class"].values()]
        lines.append(
            _row(
                [
                    NAMES[name],
                    str(chosen["tried"]),
                    percent(chosen["val_accuracy"]),
                    f"**{percent(test['accuracy'])}**",
                    f"{percent(low)} to {percent(high)}",
                    *recalls,
                    f"{test['feature_ms_a_photo']:.1f}",
                ]
            )
        )
    return "\n".join(lines)


def _controls(records: list[dict[str, Any]]) -> str:
    lines = [
        "**Controls**, on training and validation photos alone",
        "",
        "| data | colours of the outer frame alone | colour histogram: folds at random | folds of "
        "neighbouring numbers | all four: at random | neighbouring numbers |",
        "|---|---|---|---|---|---|",
    ]
    for record in records:
        folds = record["controls"]["folds"]
        cells = [record["data"], percent(record["controls"]["frame"]["val_accuracy"])]
        for row in ("colour", "all-rbf"):
            cells += [percent(folds[row]["random"]), percent(folds[row]["neighbouring_numbers"])]
        lines.append(_row(cells))
    return "\n".join(lines)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
