"""The study's tables in Markdown: pure functions over records of robustness."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from studies.tables import percent

Results = Mapping[str, Mapping[str, Any]]
_MIDDLE = 3


def lines_of(results: Results, task: str) -> dict[str, dict[str, dict[str, Any]]]:
    """Per change and model the figures of a task, with title, unit and amounts.

    Levels of contamination are asked for on photos with simulated dirt and without (``soiled``),
    material on the data set's own (``plain``), and both where the dirt is the change.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for title, result in results.items():
        parts = ("plain", "soiled") if task == "contamination" else ("plain",)
        for part in parts:
            for change, each in result.get(part, {}).get("changes", {}).items():
                if task in each["tasks"]:
                    about = {key: each[key] for key in ("title", "unit", "amounts")}
                    found.setdefault(change, {})[title] = {**about, **each["tasks"][task]}
    # Dirt, which clean photos alone get, was measured before the others.
    return dict(sorted(found.items(), key=lambda item: item[0] == "dirt"))


def results_text(results: Results) -> str:
    """All tables."""
    parts = [task_table(results, task) for task in ("material", "contamination")]
    parts = [part for part in parts if part]
    if not parts:
        return "Nothing is measured yet."
    return "\n\n".join([*parts, reading_notes(results)])


def task_table(results: Results, task: str) -> str:
    """Accuracy without a change, at the third severity, and as the mean over all severities."""
    lines = lines_of(results, task)
    if not lines:
        return ""
    models = [title for title in results if any(title in each for each in lines.values())]
    first = next(iter(next(iter(lines.values())).values()))
    middle = min(_MIDDLE, len(first["amounts"]) - 1)
    rows = [
        f"| {task}: accuracy at severity {middle}, mean over severities | amount | "
        + " | ".join(models)
        + " |",
        "|---|---|" + "---|" * len(models),
    ]
    rows.append(f"| no change | - | {' | '.join(_plain(lines, title) for title in models)} |")
    for each in lines.values():
        about = next(iter(each.values()))
        cells = [_cell(each.get(title), middle) for title in models]
        amount = f"{about['amounts'][middle]:g} {about['unit']}"
        rows.append(
            f"| {about['title']}{_of_fewer(lines, each)} | {amount} | {' | '.join(cells)} |"
        )
    means = [_mean(lines, title) for title in models]
    rows.append(f"| **mean over changes** | - | {' | '.join(means)} |")
    return "\n".join(rows)


def reading_notes(results: Results) -> str:
    """What the tables rest on."""
    first = next(iter(results.values()))["plain"]
    items = sorted(
        {
            each["tasks"]["material"]["severities"][0]["n"]
            for each in first["changes"].values()
            if "material" in each["tasks"]
        }
    )
    lines = [
        f"{first['n']} test photos, the same for all models and severities; changes that need the "
        f"item's outline pass over photos where it cannot be trusted ({items[0]} are left). "
        "In brackets Wilson's 95 % interval.",
        "All severities are a number of looks at one split that nothing is chosen by.",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _cell(line: Mapping[str, Any] | None, severity: int) -> str:
    if line is None:
        return "-"
    row = line["severities"][severity]
    return f"{_share(row)}, {percent(line['mean'])}"


def _share(row: Mapping[str, Any]) -> str:
    low, high = row["interval"]
    return f"{percent(row['accuracy'])} ({100 * low:.1f} to {100 * high:.1f})"


def _plain(lines: Mapping[str, Any], title: str) -> str:
    rows = [each[title]["severities"][0] for each in lines.values() if title in each]
    return _share(max(rows, key=lambda row: row["n"])) if rows else "-"


def _of_fewer(lines: Mapping[str, Any], each: Mapping[str, Any]) -> str:
    """How many photos a change is asked of and how they are told unchanged, where not all are."""
    firsts = [line["severities"][0] for line in each.values()]
    every = max(line["severities"][0]["n"] for other in lines.values() for line in other.values())
    if firsts[0]["n"] == every:
        return ""
    return (
        f" ({firsts[0]['n']} photos, unchanged {', '.join(percent(f['accuracy']) for f in firsts)})"
    )


def _mean(lines: Mapping[str, Any], title: str) -> str:
    means = [each[title]["mean"] for each in lines.values() if title in each]
    return f"**{percent(sum(means) / len(means))}**" if means else "-"
