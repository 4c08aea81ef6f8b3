"""How well simulated dirt is told, also of kinds that training never saw; see README.md.

python studies/contamination/run.py train             # makes photos, trains what has no result yet
python studies/contamination/run.py validate          # figures on validation items
python studies/contamination/run.py measure           # the same on test items, one look per run
python studies/contamination/run.py table plot
python studies/contamination/run.py train validate measure table plot --quick   # a slice, elsewhere
"""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "2")  # read when numpy is loaded

import numpy as np

import beltsight

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))
from studies.contamination.answers import Row, ask, digest, kept  # noqa: E402
from studies.contamination.chart import draw_chart  # noqa: E402
from studies.contamination.figures import (  # noqa: E402
    confusion,
    figures_of,
    material_told,
    recall_table,
    right_by_item,
    summary,
    told,
    without_copies,
)
from studies.contamination.photos import (  # noqa: E402
    CLEAN,
    Plan,
    load_plan,
    photos_to_ask,
    photos_to_learn,
    thresholds,
)
from studies.contamination.tables import by_kind, first_seeds, results_text  # noqa: E402
from studies.runner import write_json  # noqa: E402
from studies.study import Sweep  # noqa: E402
from studies.tables import Result, difference, fill_markers  # noqa: E402
from studies.trained import load_results  # noqa: E402

from studies import sweep as sweeping  # noqa: E402


def train(sweep: Sweep) -> None:
    """Make each variant's photos and train it; all of the first seed come first."""
    plan, failed = load_plan(HERE / "photos.toml"), []
    for variant, seed in sweep.jobs():
        data = photos_to_learn(sweep.data, photos_of(sweep), plan, variant.name)
        try:
            sweeping.train(replace(sweep, data=data, only=(variant.name,), seeds=(seed,)))
        except SystemExit as error:
            failed.append(str(error))
    if failed:
        raise SystemExit("\n".join(failed))


def validate(sweep: Sweep) -> None:
    """Figures on made photos of validation items, for each result whose model is here."""
    _ask_all(sweep, "val")


def measure(sweep: Sweep) -> None:
    """The same on test items; answers that are kept cost no second look."""
    _ask_all(sweep, "test")


def _ask_all(sweep: Sweep, split: str) -> None:
    plan = load_plan(HERE / "photos.toml")
    wanted = {(variant.name, seed) for variant, seed in sweep.jobs()}
    joint: dict[int, list[Row]] = {}
    # The joint model comes first: the two stages are compared with it.
    for result in sorted(load_results(sweep.results), key=lambda r: r["variant"] != "all-kinds"):
        name, seed = result["variant"], result["seed"]
        model = sweep.folder(name, seed) / "model.onnx"
        if (name, seed) not in wanted and name != "all-kinds":
            continue
        if not model.exists() or _sha256(model) != result["model_sha256"]:
            print(f"{name} seed {seed}: the result's model is not here; train it again")
            continue
        rows = answers_of(sweep, plan, name, seed, split)
        if name == "all-kinds":
            joint[seed] = rows
        if (name, seed) not in wanted:
            continue
        asked = asked_figures(rows, plan, plan.asked_of(name), thresholds(photos_of(sweep)))
        if name == "two-stage" and seed in joint:
            asked["against_joint"] = against(joint[seed], rows)
        result.setdefault("asked", {})[split] = asked
        write_json(sweep.file(name, seed), result)
        found = asked["summary"]
        print(
            f"{name} seed {seed}: {split} AUC {found['auc']['mean']:.3f}, "
            f"level {found['level']['mean']:.3f}",
            flush=True,
        )


def answers_of(sweep: Sweep, plan: Plan, name: str, seed: int, split: str) -> list[Row]:
    """A run's answers: kept ones, or by asking."""
    file = sweep.folder(name, seed) / "model.onnx"
    model = beltsight.load(file)
    dirt = next((task.classes for task in model.tasks if task.name == "dirt"), ())
    data = photos_to_ask(sweep.data, photos_of(sweep), plan, name, split, dirt)
    folder = sweep.runs / "answers"
    kept_file = folder / f"{name}-{seed}-{split}-{digest(file, data, plan)}.csv"
    return kept(kept_file, lambda: ask(file, data, split, plan, sweep.looks))


def asked_figures(
    rows: list[Row], plan: Plan, sets: tuple[str, ...], borders: tuple[float, float]
) -> dict[str, Any]:
    """Figures of each kind, of all together, and their summary."""
    kinds = {kind: figures_of(rows, kind, plan, borders) for kind in sets if kind != CLEAN}
    every = without_copies(rows)
    clean = [row for row in rows if row.set == CLEAN]
    together = {
        "n": len(every),
        "n_items": len({row.item for row in every}),
        "level": told(every),
        "confusion": confusion(every),
        "recall": recall_table(every),
        "material": material_told(every),
        "material_clean": material_told(clean),
    }
    return {"kinds": kinds, "together": together, "summary": summary(kinds)}


def against(joint: list[Row], two: list[Row]) -> dict[str, Any]:
    """How much better joint training is than two stages on the same items, task by task.

    A bootstrap over items: photos of one item are right or wrong together, so that counting each
    as a trial, as McNemar's test would, finds differences where there are none.
    """
    found = {}
    for task in ("material", "contamination"):
        a, b = (right_by_item(without_copies(rows), task) for rows in (joint, two))
        shared = sorted(a.keys() & b.keys())
        first, second = (np.array([[each[item] for item in shared]]) for each in (a, b))
        gap = difference(first, second)
        interval = [round(gap.low, 4), round(gap.high, 4)]
        found[task] = {"n_items": len(shared), "gain": round(gap.mean, 4), "interval": interval}
    return found


def photos_of(sweep: Sweep) -> Path:
    """Where the made photos lie."""
    return sweep.runs / "photos"


def table(sweep: Sweep) -> None:
    """The tables into the README: of test, and of validation where there is no test yet."""
    plan, results = load_plan(HERE / "photos.toml"), load_results(sweep.results)
    text = results_text(results, plan, _best_split(results))
    fill_markers(sweep.readme, "results", text)
    print(text)


def plot(sweep: Sweep) -> None:
    """The chart of what the table shows."""
    plan, results = load_plan(HERE / "photos.toml"), load_results(sweep.results)
    split = _best_split(results)
    kinds = by_kind(first_seeds(results, split), plan, split)
    if kinds:
        draw_chart(kinds, split, sweep.results / "kinds.svg")
        print(sweep.results / "kinds.svg")


def _best_split(results: list[Result]) -> str:
    return "test" if any("test" in result.get("asked", {}) for result in results) else "val"


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


if __name__ == "__main__":
    steps = {"validate": validate, "measure": measure, "train": train, "table": table, "plot": plot}
    sweeping.main(HERE, steps)
