"""Where the ReLUs should stand: 16 placements at once, over sizes and settings; see README.md.

python studies/relu_placement/run.py --quick            # a slice of everything, under 3 minutes
python studies/relu_placement/run.py estimate           # how long each experiment will take here
python studies/relu_placement/run.py bench              # stacked against one after another
python studies/relu_placement/run.py mnist              # all of MNIST at N = 28, 3 seeds
python studies/relu_placement/run.py sizes --minutes 140   # the ten sizes; the same call goes on
python studies/relu_placement/run.py factors trashnet resnet
python studies/relu_placement/run.py table plot         # README.md and results/*.svg from the CSVs

MNIST is looked for in $BELTSIGHT_DATA/mnist (default ../shared/data/mnist), or where --data says.
What has its result is not done again; what was stopped goes on at its last epoch.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))
from studies.relu_placement.bench import measure_speed, step_seconds  # noqa: E402
from studies.relu_placement.data import Sets, load_sets, read_mnist, resized  # noqa: E402
from studies.relu_placement.model import Shape  # noqa: E402
from studies.relu_placement.plan import Job, Plan, jobs, load_plan, shrink  # noqa: E402
from studies.relu_placement.results import digest_of, keep_outcome, read_errors, read_rows  # noqa: E402
from studies.relu_placement.tables import (  # noqa: E402
    NOTHING,
    factors_text,
    jobs_text,
    one_size_text,
    sizes_text,
)
from studies.relu_placement.train import Outcome, measured_epochs, run_job, steps_per_epoch  # noqa: E402
from studies.runner import LOOKS, REPOSITORY, arguments, note_look  # noqa: E402
from studies.tables import fill_markers  # noqa: E402

import beltsight  # noqa: E402
from beltsight.machine import describe_machine  # noqa: E402
from beltsight.train.memory import keep_freed_memory  # noqa: E402

COMMAND = "python studies/relu_placement/run.py"
EXPERIMENTS = ("mnist", "sizes", "factors", "trashnet")
STEPS = ("estimate", "bench", *EXPERIMENTS, "resnet", "table", "plot")
# A step of training costs three passes; measuring a photo costs one.
_PASSES_OF_A_STEP = 3.0
_FULL_MNIST, _TRASHNET_TRAIN, _TRASHNET_VAL = 55_000, 1768, 328


@dataclass
class Study:
    """One call of the study: what is wanted, and where its files lie.

    Args:
        plan: what is trained.
        data: folder by name of the data; a missing one is not in it.
        runs: checkpoints; git ignores it.
        results: CSVs and pictures.
        readme: gets the tables.
        looks: the ledger of looks at test.
        quick: whether this is a slice.
        seeds: in place of the plan's.
        minutes: after which no further epoch is begun; 0 for no end.
    """

    plan: Plan
    data: dict[str, Path]
    runs: Path
    results: Path
    readme: Path
    looks: Path
    quick: bool = False
    seeds: tuple[int, ...] = ()
    minutes: float = 0.0
    paces: dict[tuple[object, ...], float] = field(default_factory=dict)
    start: float = field(default_factory=time.monotonic)

    @property
    def is_over(self) -> bool:
        """Whether the time given is spent."""
        return bool(self.minutes) and time.monotonic() - self.start > 60 * self.minutes

    def jobs(self, name: str) -> list[Job]:
        """Jobs of an experiment."""
        return list(jobs(self.plan, name, self.seeds))


def open_study(given: argparse.Namespace) -> Study:
    """The study that the command line asks for."""
    plan, data = load_plan(HERE / "plan.toml"), data_folders(given.data)
    common = {"seeds": tuple(given.seeds or ()), "minutes": given.minutes}
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


def run_experiment(study: Study, name: str) -> None:
    """Train all jobs of an experiment that have no result yet, with the time that is left."""
    if study.plan.experiments[name].data not in study.data:
        print(f"{name}: its photos are not here; left out", flush=True)
        return
    left = list(unfinished(study, name))
    if not left:
        print(f"{name}: every job has its result", flush=True)
        return
    costs = {job.name: estimated_seconds(study, job) for job in left}
    total = sum(costs.values())
    print(f"{name}: {len(left)} jobs to do, about {total / 60:.0f} min", flush=True)
    for place, job in enumerate(left):
        later = sum(costs[other.name] for other in left[place + 1 :])

        def tell(epoch: int, line: str, job: Job = job, later: float = later) -> None:
            rest = later + costs[job.name] * (1 - epoch / job.recipe.epochs)
            print(f"{job.name}: {line}; about {rest / 60:.0f} min left", flush=True)

        sets = load_sets(job, study.data, quick=study.quick)
        start = time.monotonic()
        outcome = run_job(job, sets, study.runs, tell, lambda: study.is_over)
        if outcome is None:
            raise SystemExit(f"{job.name}: the time is over; the same call goes on from here")
        if outcome.starts == 1:  # what was learned of the machine's pace helps the next estimate
            pace = (time.monotonic() - start) / costs[job.name]
            costs.update({other.name: costs[other.name] * pace for other in left[place + 1 :]})
        finish(study, job, outcome, sets)
        if study.is_over and place + 1 < len(left):
            raise SystemExit(f"{name}: the time is over; the same call goes on from here")


def finish(study: Study, job: Job, outcome: Outcome, sets: Sets) -> None:
    """Write a job's lines, and its look at test into the ledger; remove its checkpoint."""
    if "test" in outcome.wrong:
        errors = 100 * outcome.wrong["test"].mean(axis=1)
        figure = (
            f"error of 16 placements {errors.min():.2f} to {errors.max():.2f} % "
            f"(studies/relu_placement, {job.name})"
        )
        n = outcome.wrong["test"].shape[1]
        note_look(job.digest, job.data, n, figure, looks=study.looks)
    command = f"{COMMAND} {job.experiment}" + (" --quick" if study.quick else "")
    keep_outcome(study.results / job.experiment, job, outcome, len(sets.train), command)
    (study.runs / f"{job.name}.safetensors").unlink(missing_ok=True)


def unfinished(study: Study, name: str) -> Iterator[Job]:
    """Jobs without a result; one with a result of other settings is named and left as it is."""
    for job in study.jobs(name):
        digest = digest_of(study.results / name, job)
        if digest is None:
            yield job
        elif digest != job.digest:
            print(
                f"{job.name}: its result was made with other settings; delete its line in "
                f"{study.results / name / 'jobs.csv'} to train it anew",
                flush=True,
            )


def estimated_seconds(study: Study, job: Job) -> float:
    """What a job will take, from the time of one step on this machine."""
    recipe, channels = job.recipe, 3 if job.data == "trashnet" else 1
    pace = (job.size_px, channels, recipe.batch_size, recipe.precision, recipe.normalisation)
    if pace not in study.paces:
        study.paces[pace] = step_seconds(Shape(job.size_px, channels), recipe)
    step = study.paces[pace]
    if study.quick:
        n_train, n_val, n_test = job.photos, 300, 300
    elif job.data == "trashnet":
        n_train, n_val, n_test = _TRASHNET_TRAIN, _TRASHNET_VAL, 0
    else:
        n_train, n_val, n_test = job.photos or _FULL_MNIST, 5000, 10_000 if job.test else 0
    photo = step / recipe.batch_size / _PASSES_OF_A_STEP
    steps = recipe.epochs * steps_per_epoch(n_train, recipe.batch_size)
    return step * steps + photo * (n_test + n_val * (2 + len(measured_epochs(recipe.epochs))))


def estimate(study: Study) -> None:
    """Print how long what is left of each experiment will take, and its longest job."""
    for name in EXPERIMENTS:
        costs = [estimated_seconds(study, job) / 60 for job in unfinished(study, name)]
        if costs:
            print(
                f"{name}: {len(costs)} jobs, about {sum(costs):.0f} min, the longest "
                f"{max(costs):.1f} min",
                flush=True,
            )


def bench(study: Study) -> None:
    """Print and keep the speed of the stack against plain PyTorch.

    Raises:
        SystemExit: a floor is missed.
    """
    known, _ = read_mnist(study.data["mnist"])
    known = known.take(slice(2000))
    sizes, rounds, steps = ((28,), 2, 3) if study.quick else ((28, 64), 4, 4)
    found = []
    for size in sizes:
        photos = resized(known, size)
        for batch in (32, 100):
            for speed in measure_speed(photos, size, batch, rounds=rounds, steps=steps):
                found.append(speed)
                spread = f"{min(speed.ratios):.2f} to {max(speed.ratios):.2f}"
                print(
                    f"N = {size}, batch {batch}, {speed.way}: {speed.own_ms:.0f} ms a step of all "
                    f"16, one after another {speed.plain_ms:.0f} ms: {speed.ratio:.2f}x (rounds "
                    f"{spread}), losses within {speed.gap:.1e}",
                    flush=True,
                )
    rows = [
        {
            "way": speed.way, "size_px": speed.size_px, "batch_size": speed.batch_size,
            "plain_ms": round(speed.plain_ms, 2), "own_ms": round(speed.own_ms, 2),
            "ratio": round(speed.ratio, 3), "lowest_ratio": round(min(speed.ratios), 3),
            "highest_ratio": round(max(speed.ratios), 3), "gap": f"{speed.gap:.2g}",
            "processor": describe_machine()["processor"], "threads": torch.get_num_threads(),
            "command": f"{COMMAND} bench",
        }
        for speed in found
    ]  # fmt: skip
    write_rows(study.results / "bench.csv", rows)
    if missed := [speed.misses for speed in found if speed.misses and speed.size_px == 28]:
        told = "; ".join(missed)
        if not study.quick:
            raise SystemExit(f"bench: below the floor: {told}")
        print(f"below the floor, in a slice: {told}", flush=True)


def resnet(study: Study) -> None:
    """Train ResNet-18 with its ReLUs elsewhere, on TrashNet; time the exported files."""
    from studies.relu_placement.resnet import measure_cost, open_resnet, train_variants

    if "trashnet" not in study.data:
        print("resnet: TrashNet is not here; left out", flush=True)
        return
    os.environ["BELTSIGHT_DATA"] = str(study.data["trashnet"].resolve().parent)
    out = study.results.parent if study.quick else study.runs
    sweep = open_resnet(HERE, out, quick=study.quick, seeds=study.seeds)
    train_variants(sweep, f"{COMMAND} resnet")
    write_rows(sweep.results / "cost.csv", measure_cost(sweep))


def table(study: Study) -> None:
    """Write every table into the README."""
    from studies.relu_placement.resnet import resnet_text
    from studies.study import load_study

    plan, results = study.plan.experiments, study.results
    for name in EXPERIMENTS:
        folder, experiment = results / name, plan[name]
        column = "test_error" if experiment.test else "val_error"
        sizes = sorted({size for _, size in read_errors(folder, column)})
        parts = [factors_text(folder, experiment)]
        if name != "factors":
            parts = [one_size_text(folder, experiment, size) for size in sizes[:1]]
            parts = [sizes_text(folder, experiment)] if len(sizes) > 1 else parts
        parts.append(jobs_text(folder))
        whole = [part for part in parts if part != NOTHING] or [NOTHING]
        fill_markers(study.readme, name, "\n\n".join(whole))
    notes = {variant.name: variant.note for variant in load_study(HERE / "study.toml").variants}
    cost = read_rows(results / "resnet" / "cost.csv")
    fill_markers(study.readme, "resnet", resnet_text(results / "resnet", notes, cost))
    fill_markers(study.readme, "bench", bench_text(results / "bench.csv"))
    print(f"tables: {study.readme}", flush=True)


def bench_text(path: Path) -> str:
    """The speeds as a table."""
    rows = read_rows(path)
    if not rows:
        return NOTHING
    lines = [
        "| way | N | batch | ms a step of all 16 | one after another | ratio (rounds) | "
        "largest difference of a loss, 20 steps |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['way']} | {row['size_px']} | {row['batch_size']} | {float(row['own_ms']):.0f} | "
        f"{float(row['plain_ms']):.0f} | **{float(row['ratio']):.2f}x** ({row['lowest_ratio']} to "
        f"{row['highest_ratio']}) | {row['gap']} |"
        for row in rows
    ]
    return "\n".join(lines) + f"\n\n{rows[0]['processor']}, {rows[0]['threads']} threads."


def plot(study: Study) -> None:
    """Draw every picture of which there are results."""
    from studies.relu_placement.plots import draw_all

    for path in draw_all(study.results, study.plan.experiments):
        print(path, flush=True)


def write_rows(path: Path, rows: list[dict[str, object]]) -> None:
    """A CSV of these rows; none where there are none."""
    if not rows:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    """The command line."""
    parser = arguments("Where should the ReLUs stand? See README.md.")
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"in order: {', '.join(STEPS)}")
    parser.add_argument("--data", type=Path, help="folder of MNIST's four idx files")
    parser.add_argument("--quick", action="store_true", help="a slice, in a temporary folder")
    parser.add_argument("--seeds", nargs="+", type=int, help="in place of the plan's")
    parser.add_argument("--minutes", type=float, default=0.0, help="begin no epoch after these")
    given = parser.parse_args()
    wanted = given.steps or (list(STEPS) if given.quick else [])
    if unknown := sorted(set(wanted) - set(STEPS)):
        parser.error(f"no step {', '.join(unknown)}; there are {', '.join(STEPS)}")
    if not wanted:
        parser.error(f"name a step, or give --quick; there are {', '.join(STEPS)}")
    keep_freed_memory()
    known: dict[str, Callable[[Study], None]] = {
        "estimate": estimate, "bench": bench, "resnet": resnet, "table": table, "plot": plot,
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
