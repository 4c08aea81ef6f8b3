"""What augmentation gives when photos get worse; see README.md.

python studies/robustness/run.py train      # two models, a few minutes each
python studies/robustness/run.py measure    # asks about 65,000 photos; goes on where it stopped
python studies/robustness/run.py table plot
python studies/robustness/run.py train measure table plot --quick   # a slice, in a temporary folder
"""

from __future__ import annotations

import json
import os
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "2")  # read when numpy is loaded

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import beltsight
from beltsight.machine import describe_machine
from beltsight.model import DEFAULT_MODEL
from beltsight.robustness import measure_robustness

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))
from studies.contamination.photos import make_set  # noqa: E402
from studies.robustness.chart import draw_chart  # noqa: E402
from studies.robustness.tables import results_text  # noqa: E402
from studies.runner import look_at_test, note_look, write_json  # noqa: E402
from studies.study import Sweep  # noqa: E402
from studies.tables import fill_markers  # noqa: E402

from studies import sweep as sweeping  # noqa: E402

PACKAGED = "packaged"
TASKS = {"material": "plain", "contamination": "soiled"}
_PHOTOS_A_LINE = 100


class Plan(BaseModel):
    """What changes.toml holds; see its comments."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    seed: int = 0
    models: dict[str, str] = Field(min_length=1)
    changes: dict[str, tuple[float, ...]] = Field(min_length=1)


def load_plan(*, quick: bool) -> Plan:
    """Read changes.toml; a quick one has the mildest and the most severe amounts alone.

    Raises:
        SystemExit: it has an unknown key or a wrong value.
    """
    file = HERE / "changes.toml"
    try:
        plan = Plan.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except (ValidationError, tomllib.TOMLDecodeError) as error:
        raise SystemExit(f"{file}: {error}") from error
    if not quick:
        return plan
    ends = {name: (amounts[0], amounts[-1]) for name, amounts in plan.changes.items()}
    return plan.model_copy(update={"changes": ends})


def model_files(sweep: Sweep, plan: Plan) -> dict[str, Path]:
    """The wanted models that are here; of trained ones that of the first seed."""
    found = {}
    for name in plan.models:
        seed = (sweep.seeds or sweep.study.seeds)[0]
        file = DEFAULT_MODEL if name == PACKAGED else sweep.folder(name, seed) / "model.onnx"
        if sweep.only and name not in sweep.only:
            continue
        if file.exists():
            found[name] = file
        else:
            print(f"{name}: {file} is not here; train it first")
    return found


def measure(sweep: Sweep) -> None:
    """Every model on every change; each look at test is a line of the ledger."""
    plan = load_plan(quick=sweep.quick)
    for name, file in model_files(sweep, plan).items():
        model = beltsight.load(file)
        tasks = [task.name for task in model.tasks]
        data = {"plain": sweep.data}
        if "contamination" in tasks:
            data["soiled"] = soiled(sweep)
        kept = read_result(sweep, name)
        if kept.get("model", {}).get("sha256") != model.hash:
            kept = {"model": {"name": model.card.name, "sha256": model.hash}}
        for part, folder in data.items():
            wanted = wanted_changes(plan, part)
            if kept.get(part) and amounts_of(kept[part]) == wanted:
                print(f"{name}, {part}: has its result")
                continue
            kept[part] = curves(sweep, name, model, folder, part, wanted, plan.seed)
            kept["machine"] = describe_machine()
            write_json(sweep.results / f"curves-{name}.json", kept)


def curves(
    sweep: Sweep,
    name: str,
    model: beltsight.Model,
    data: Path,
    part: str,
    changes: Mapping[str, Sequence[float]],
    seed: int,
) -> dict[str, Any]:
    """One model on one data set, with its lines in the ledger: before, plain; after, the means."""
    task = next(task for task, own in TASKS.items() if own == part)
    keep = sweep.runs / "answers" / f"{name}-{model.hash[:12]}" / part
    if not keep.exists():  # else an earlier call has looked and was interrupted
        look_at_test(model.path or DEFAULT_MODEL, data, task=task, looks=sweep.looks)

    def tell(change: str, done: int, total: int) -> None:
        if done == total or done % _PHOTOS_A_LINE == 0:
            print(f"{name}, {part}: {change} {done}/{total}", flush=True)

    record = measure_robustness(
        model, data, "test", changes=changes, seed=seed, keep=keep, progress=tell
    )
    means = [each["tasks"][task]["mean"] for each in record["changes"].values()]
    figure = f"{task} accuracy {sum(means) / len(means):.4f}, mean over {len(means)} changes"
    figure += f" (studies/robustness, {name})"
    note_look(model.hash, data.resolve().name, record["n"], figure, looks=sweep.looks)
    return {**record, "data": data.resolve().name}


def soiled(sweep: Sweep) -> Path:
    """The test items with simulated dirt or without, for the level against other changes."""
    options = ["--split", "test", "--no-originals", "--copies", "1", "--seed", "2"]
    folder = sweep.runs / "photos"
    return folder / make_set(sweep.data, folder, "trashnet-test-soiled", options)


def wanted_changes(plan: Plan, part: str) -> dict[str, tuple[float, ...]]:
    """Dirt is laid on clean photos alone."""
    return {k: v for k, v in plan.changes.items() if part == "plain" or k != "dirt"}


def amounts_of(record: Mapping[str, Any]) -> dict[str, tuple[float, ...]]:
    """The amounts that a record was measured at."""
    return {name: tuple(each["amounts"][1:]) for name, each in record["changes"].items()}


def read_result(sweep: Sweep, name: str) -> dict[str, Any]:
    """What is known of a model; empty where nothing is."""
    file = sweep.results / f"curves-{name}.json"
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else {}


def all_results(sweep: Sweep, plan: Plan) -> dict[str, dict[str, Any]]:
    """Results by the title of their model, in the plan's order."""
    found = {title: read_result(sweep, name) for name, title in plan.models.items()}
    return {title: result for title, result in found.items() if result}


def table(sweep: Sweep) -> None:
    """The tables into the README."""
    text = results_text(all_results(sweep, load_plan(quick=sweep.quick)))
    fill_markers(sweep.readme, "results", text)
    print(text)


def plot(sweep: Sweep) -> None:
    """One chart per task that some model answers."""
    results = all_results(sweep, load_plan(quick=sweep.quick))
    for task in TASKS:
        path = sweep.results / f"{task}.svg"
        if draw_chart(results, task, path):
            print(path)


if __name__ == "__main__":
    sweeping.main(HERE, {"measure": measure, "table": table, "plot": plot})
