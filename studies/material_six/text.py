"""The tables of the README."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from studies.material_six.build import POOLS, SPLITS
from studies.material_six.figures import (
    CLASSES,
    PAIRS,
    PAPER,
    PLASTICS,
    in_order,
    pair_figures,
    weighted_recall,
)
from studies.material_six.parts import (
    APART,
    MAIN,
    SOURCE_OF,
    Places,
    best_on_validation,
    control_results,
)
from studies.runner import REPOSITORY
from studies.study import Study
from studies.tables import Result, Share, percent, results_text
from studies.trained import load_results

NOTHING = "Not measured yet."
# The packaged model answers TrashNet's own classes; its study looked at test.
PACKAGED = REPOSITORY / "studies" / "default_model" / "results" / "test.json"
_SEEN = {"whole": "the photo", "items": "the item on grey", "grounds": "the ground alone"}


def blocks(study: Study, places: Places) -> dict[str, str]:
    """Markdown by the name of its place in the README."""
    results = load_results(places.results)
    best, controls = best_on_validation(results), control_results(places)
    return {
        "photos": photos_text(places),
        "results": results_text(study, results),
        "six": six_text(results),
        "pairs": pairs_text(best),
        "within": within_text([*results, *(r for p, r in controls.items() if p in APART[MAIN])]),
        "controls": controls_text(controls),
        "crossed": crossed_text(best, controls),
    }


def photos_text(places: Places) -> str:
    """Counts of the photos, of what was left out and of what can be taken apart."""
    parts = []
    for pool in POOLS:
        file = places.built(pool)
        if not file.exists():
            continue
        built = json.loads(file.read_text(encoding="utf-8"))
        rows = [
            f"| `{pool}` | train | val | test | wanted for test | taken apart: train, val, test |",
            "|---|---|---|---|---|---|",
        ]
        for label, counts in built["photos"].items():
            apart = built["taken_apart"].get(label, {})
            cells = [str(counts[split]) for split in SPLITS]
            cells += [str(built["wanted_test"][label])]
            cells += [", ".join(str(apart.get(split, 0)) for split in SPLITS)]
            rows.append(f"| {label} | {' | '.join(cells)} |")
        rows.append(
            f"\nLeft out for a twin in val or test: {len(built['dropped'])}. Test photos with a "
            f"twin among the test photos: {built['test_photos_with_a_twin_in_test']}."
        )
        parts.append("\n".join(rows))
    return "\n\n".join(parts) or "Not built yet."


def six_text(results: Sequence[Result]) -> str:
    """Accuracy as counted, with equal classes, and in the paper's mix."""
    measured = [result for result in results if "test" in result]
    if not measured:
        return NOTHING
    mix = PAPER.sum(axis=1)
    rows = [
        "| | as counted | n | balanced accuracy | in the paper's mix of classes |",
        "|---|---|---|---|---|",
    ]
    own = [(f"{r['variant']}, seed {r['seed']}", _matrix(r)) for r in measured]
    for name, matrix in [("the paper", PAPER), *own]:
        figures = [matrix.sum(axis=1), np.ones(len(CLASSES)), mix]
        counted, equal, mixed = (weighted_recall(matrix, weights) for weights in figures)
        cells = [_share(counted), f"{matrix.sum():,}", _share(equal), _share(mixed)]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(rows)


def pairs_text(best: Result | None) -> str:
    """Pairs of classes that the paper names, in its matrix and in ours."""
    if best is None:
        return NOTHING
    ours, title = _matrix(best), f"{best['variant']}, seed {best['seed']}"
    rows = [f"| taken for each other | the paper | {title} |", "|---|---|---|"]
    for first, second in PAIRS:
        name = " and ".join("plastic" if g == PLASTICS else g[0] for g in (first, second))
        cells = [_pair(pair_figures(m, CLASSES, first, second)) for m in (PAPER, ours)]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    if PACKAGED.exists():
        record = json.loads(PACKAGED.read_text(encoding="utf-8"))["tasks"]["material"]
        matrix = np.array(record["confusion"])
        found = pair_figures(matrix, record["classes"], ["paper"], ["cardboard"])
        rows.append(f"| paper and cardboard | not given | {_pair(found)}, packaged model |")
    note = (
        "Photos of the first called the second + of the second called the first, of all photos of "
        "both, with the 95 % interval. Paper and cardboard are one class here: that line is of the "
        "packaged model's test on TrashNet's own classes (../default_model)."
    )
    return "\n".join(rows) + f"\n\n{note}"


def within_text(results: Sequence[Result]) -> str:
    """Accuracy among the classes of one source."""
    measured = [result for result in results if "within" in result.get("test", {})]
    if not measured:
        return NOTHING
    sources = [
        s for s in dict.fromkeys(SOURCE_OF.values()) if list(SOURCE_OF.values()).count(s) > 1
    ]
    own = {source: [c for c, s in SOURCE_OF.items() if s == source] for source in sources}
    titles = [f"{', '.join(classes)}, inside {source}" for source, classes in own.items()]
    rows = [
        f"| learned from | {' | '.join(titles)} | called a class of another source |",
        "|---|" + "---|" * (len(sources) + 1),
    ]
    for result in measured:
        within = result["test"]["within"]
        cells = [
            f"{w['right']}/{w['n']} = {percent(w['accuracy'])} ({_ends(w['interval'])})"
            if (w := within.get(source))
            else "-"
            for source in sources
        ]
        n = sum(found["n"] for found in within.values())
        cells.append(f"{sum(found['outside'] for found in within.values())} of {n}")
        rows.append(f"| {_learned(result)} | {' | '.join(cells)} |")
    return "\n".join(rows)


def controls_text(controls: Any) -> str:
    """What is told from photos, items and grounds: six materials, and three sources."""
    measured = {part: result for part, result in controls.items() if "test" in result}
    if not measured:
        return NOTHING
    rows = [
        "| what is seen | what is told | training photos | test | 95 % interval | n "
        "| balanced | largest class |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for part, result in measured.items():
        test = result["test"]
        pool, _, form = part.partition("-")
        largest = max(recall["n"] for recall in test["recall"].values()) / test["n"]
        cells = [
            _SEEN[form],
            "six materials" if pool == MAIN else "three sources",
            f"{result['n_train']:,}",
            f"**{percent(test['accuracy'])}**",
            _ends(test["interval"]),
            str(test["n"]),
            percent(test["balanced_accuracy"]),
            percent(largest),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def crossed_text(best: Result | None, controls: Any) -> str:
    """What networks say of materials that they know from another source."""
    asked = [best, *(result for part, result in controls.items() if part in APART[MAIN])]
    results = [result for result in asked if result is not None and "crossed" in result]
    if not results:
        return NOTHING
    groups = {
        "PET or HDPE": PLASTICS,
        "glass, metal or paper": ("glass", "metal", "paper"),
        "organic": ("organic",),
    }
    rows = [
        f"| photos | answered by | n | {' | '.join(groups)} |",
        "|---|---|---|" + "---|" * len(groups),
    ]
    names = {"plastic": "plastic of TrashNet", "recyclable": "dry goods of organic-recyclable"}
    for kind, name in names.items():
        for result in results:
            counts = result["crossed"][kind]
            n = sum(counts.values())
            shares = [sum(counts.get(c, 0) for c in each) for each in groups.values()]
            cells = [f"{k} = {percent(k / n)}" if n else "-" for k in shares]
            rows.append(f"| {name} | {_learned(result)} | {n} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _matrix(result: Result) -> Any:
    return in_order(np.array(result["test"]["confusion"]), result["test"]["classes"], CLASSES)


def _learned(result: Result) -> str:
    return f"{result.get('part', MAIN)}: {result['variant']}, seed {result['seed']}"


def _pair(found: dict[str, Any]) -> str:
    there, back = found["first_as_second"], found["second_as_first"]
    n = found["n_first"] + found["n_second"]
    share = "no photo" if found["share"] is None else percent(found["share"])
    return f"{there} + {back} of {n} = {share} ({_ends(found['interval'])})"


def _share(share: Share) -> str:
    return f"{percent(share.mean)} ({_ends((share.low, share.high))})"


def _ends(interval: Sequence[float]) -> str:
    return f"{100 * interval[0]:.1f} to {percent(interval[1])}"
