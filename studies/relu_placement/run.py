"""Where the ReLUs should stand: 16 placements at once, over sizes and settings; see README.md.

python studies/relu_placement/run.py --quick            # a slice of everything, under 3 minutes
python studies/relu_placement/run.py STEP ...           # README.md has all steps in their order
python studies/relu_placement/run.py table plot         # README.md and results/*.svg from the CSVs

MNIST is looked for in $BELTSIGHT_DATA/mnist (default ../shared/data/mnist), or where --data says.
What has its result is not done again; what was stopped goes on at its last epoch. Finished networks
stay in the working folder (about 7 GB in all; --no-weights keeps none): delete a job's line in its
jobs.csv, and it is measured again without training.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))
from studies.relu_placement.bench import bench_rows, bench_text  # noqa: E402
from studies.relu_placement.data import read_mnist  # noqa: E402
from studies.relu_placement.experiments import (  # noqa: E402
    COMMAND,
    EXPERIMENTS,
    Study,
    estimate,
    run_experiment,
)
from studies.relu_placement.factor_tables import factors_text, rates_text  # noqa: E402
from studies.relu_placement.plan import load_plan, shrink  # noqa: E402
from studies.relu_placement.results import read_errors, read_rows, write_rows  # noqa: E402
from studies.relu_placement.tables import (  # noqa: E402
    NOTHING,
    jobs_text,
    one_size_text,
    sizes_text,
)
from studies.runner import LOOKS, REPOSITORY, arguments  # noqa: E402
from studies.study import Sweep  # noqa: E402
from studies.tables import fill_markers  # noqa: E402

import beltsight  # noqa: E402
from beltsight.train.memory import keep_freed_memory  # noqa: E402

STEPS = ("estimate", "bench", *EXPERIMENTS, "resnet", "table", "plot")


def open_study(given: argparse.Namespace) -> Study:
    """The study that the command line asks for."""
    plan, data = load_plan(HERE / "plan.toml"), data_folders(given.data)
    common = {
        "seeds": tuple(given.seeds or ()), "minutes": given.minutes,
        "keeps_weights": not given.no_weights,
    }  # fmt: skip
    if not given.quick:
        runs = (given.out or REPOSITORY / "runs" / HERE.name).resolve()
        return Study(plan, data, runs, HERE / "results", HERE / "README.md", LOOKS, **common)
    folder = (given.out or Path(tempfile.mkdtemp(prefix="beltsight-relu-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "README.md", folder / "README.md")
    print(f"quick: everything in {folder}", flush=True)
    return Study(
        shrink(plan), data, folder / "runs", folder / "results", folder / "README.md",
        folder / "test_looks.csv", quick=True, **common,
    )  # fmt: skip


def data_folders(mnist: Path | None) -> dict[str, Path]:
    """Where photos lie; what is not there is left out.

    Args:
        mnist: MNIST's folder in place of the one of BELTSIGHT_DATA; TrashNet may lie beside it.

    Raises:
        SystemExit: MNIST is not where it is said to be.
    """
    default = REPOSITORY.parent / "shared" / "data"
    base = Path(os.environ.get("BELTSIGHT_DATA") or default)
    folder = mnist or base / "mnist"
    if not folder.is_dir():
        raise SystemExit(
            f"{folder}: no such folder; name the one with MNIST's four idx files with --data"
        )
    found = {"mnist": folder}
    for near in (folder.resolve().parent / "trashnet", base / "trashnet"):
        if near.is_dir():
            found["trashnet"] = near
    return found


def bench(study: Study) -> None:
    """Print and keep the speed of the stack against plain PyTorch.

    Raises:
        SystemExit: a floor is missed.
    """
    known, _ = read_mnist(study.data["mnist"])
    rows, missed = bench_rows(known, f"{COMMAND} bench", quick=study.quick)
    write_rows(study.results / "bench.csv", rows)
    if missed and not study.quick:
        raise SystemExit(f"bench: below the floor: {'; '.join(missed)}")
    if missed:
        print(f"below the floor, in a slice: {'; '.join(missed)}", flush=True)


def estimate_all(study: Study) -> None:
    """Print how long what is left will take."""
    from studies.relu_placement.resnet import seconds_left

    estimate(study)
    if "trashnet" in study.data and not study.quick:  # a slice's take seconds
        runs, seconds = seconds_left(_resnet_sweep(study))
        print(f"resnet: {runs} trainings, about {seconds / 60:.0f} min", flush=True)


def resnet(study: Study) -> None:
    """Train ResNet-18 with its ReLUs elsewhere, on TrashNet; time the exported files."""
    from studies.relu_placement.resnet import measure_cost, train_variants

    if "trashnet" not in study.data:
        print("resnet: TrashNet is not here; left out", flush=True)
        return
    sweep = _resnet_sweep(study)
    train_variants(sweep, f"{COMMAND} resnet", lambda: study.is_over)
    write_rows(sweep.results / "cost.csv", measure_cost(sweep))


def _resnet_sweep(study: Study) -> Sweep:
    from studies.relu_placement.resnet import open_resnet

    os.environ["BELTSIGHT_DATA"] = str(study.data["trashnet"].resolve().parent)
    out = study.results.parent if study.quick else study.runs
    return open_resnet(HERE, out, quick=study.quick, seeds=study.seeds)


def table(study: Study) -> None:
    """Write every table into the README."""
    from studies.relu_placement.resnet import resnet_text
    from studies.study import load_study

    plan, results = study.plan.experiments, study.results
    for name in EXPERIMENTS:
        folder, experiment = results / name, plan[name]
        sizes = sorted({size for _, size in read_errors(folder, experiment.column)})
        if name == "factors":
            parts = [factors_text(folder, experiment), rates_text(folder, experiment)]
        elif len(sizes) > 1:
            parts = [sizes_text(folder, experiment)]
        else:
            parts = [one_size_text(folder, experiment, size) for size in sizes]
        parts.append(jobs_text(folder))
        whole = [part for part in parts if part != NOTHING] or [NOTHING]
        fill_markers(study.readme, name, "\n\n".join(whole))
    notes = {variant.name: variant.note for variant in load_study(HERE / "study.toml").variants}
    cost = read_rows(results / "resnet" / "cost.csv")
    fill_markers(study.readme, "resnet", resnet_text(results / "resnet", notes, cost))
    bench = read_rows(results / "bench.csv")
    fill_markers(study.readme, "bench", bench_text(bench) if bench else NOTHING)
    print(f"tables: {study.readme}", flush=True)


def plot(study: Study) -> None:
    """Draw every picture of which there are results."""
    from studies.relu_placement.plots import draw_all

    for path in draw_all(study.results, study.plan.experiments):
        print(path, flush=True)


def main() -> None:
    """The command line."""
    parser = arguments("Where should the ReLUs stand? See README.md.")
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"in order: {', '.join(STEPS)}")
    parser.add_argument("--data", type=Path, help="folder of MNIST's four idx files")
    parser.add_argument("--quick", action="store_true", help="a slice, in a temporary folder")
    parser.add_argument("--seeds", nargs="+", type=int, help="in place of the plan's")
    parser.add_argument("--minutes", type=float, default=0.0, help="begin no epoch after these")
    parser.add_argument("--no-weights", action="store_true", help="keep no finished networks")
    given = parser.parse_args()
    if min(given.seeds or [0]) < 0:
        parser.error("--seeds: expected numbers from 0 on")
    wanted = given.steps or (list(STEPS) if given.quick else [])
    if unknown := sorted(set(wanted) - set(STEPS)):
        parser.error(f"no step {', '.join(unknown)}; there are {', '.join(STEPS)}")
    if not wanted:
        parser.error(f"name a step, or give --quick; there are {', '.join(STEPS)}")
    keep_freed_memory()
    known: dict[str, Callable[[Study], None]] = {
        "estimate": estimate_all, "bench": bench, "resnet": resnet, "table": table, "plot": plot,
    }  # fmt: skip
    try:
        study = open_study(given)
        for step in wanted:
            if step in EXPERIMENTS:
                run_experiment(study, step)
            else:
                known[step](study)
    except beltsight.BeltsightError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
