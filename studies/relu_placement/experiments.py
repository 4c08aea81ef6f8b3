"""Which jobs are left, how long they will take, and what becomes of one that is done."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from studies.relu_placement.bench import step_seconds
from studies.relu_placement.data import Sets, load_sets
from studies.relu_placement.model import Shape
from studies.relu_placement.plan import Job, Plan, jobs, twins
from studies.relu_placement.results import digest_of, keep_outcome
from studies.relu_placement.train import (
    CURVE_PHOTOS,
    Outcome,
    measured_epochs,
    run_job,
    steps_per_epoch,
)
from studies.runner import note_look

COMMAND = "python studies/relu_placement/run.py"
# In the order of the work: the factors say early which recipes lose classes.
EXPERIMENTS = ("factors", "mnist", "mnist-published", "sizes", "sizes-published", "trashnet")
# A step of training costs three passes; measuring a photo costs one.
_PASSES_OF_A_STEP = 3.0
_FULL_MNIST, _TRASHNET_TRAIN, _TRASHNET_VAL = 55_000, 1768, 328


@dataclass
class Study:
    """One call of the study: what is wanted, and where its files lie.

    Args:
        plan: what is trained.
        data: folder by name of the data; a missing one is not in it.
        runs: checkpoints and, in ``weights``, finished networks; git ignores it.
        results: CSVs and pictures.
        readme: gets the tables.
        looks: the ledger of looks at test.
        quick: whether this is a slice; it never sees test.
        seeds: in place of the plan's.
        minutes: after which no further epoch is begun; 0 for no end.
        keeps_weights: keep finished networks, so that another measure needs no training.
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
    keeps_weights: bool = True
    paces: dict[tuple[object, ...], float] = field(default_factory=dict)
    start: float = field(default_factory=time.monotonic)

    @property
    def is_over(self) -> bool:
        """Whether the time given is spent."""
        return bool(self.minutes) and time.monotonic() - self.start > 60 * self.minutes

    def jobs(self, name: str) -> list[Job]:
        """Jobs of an experiment."""
        return list(jobs(self.plan, name, self.seeds))

    def kept(self, job: Job) -> list[Path]:
        """Where a job's networks may be kept: as its own, or as those of a job that equals it."""
        if not self.keeps_weights:
            return []
        names = [each.name for each in (job, *twins(self.plan, job))]
        return [self.runs / "weights" / f"{name}.safetensors" for name in names]


def run_experiment(study: Study, name: str) -> None:
    """Train all jobs of an experiment that have no result yet, with the time that is left.

    Raises:
        SystemExit: the time is over.
    """
    if study.plan.experiments[name].data not in study.data:
        print(f"{name}: its photos are not here; left out", flush=True)
        return
    left = list(unfinished(study, name))
    if not left:
        print(f"{name}: every job has its result", flush=True)
        return
    costs = {job.name: estimated_seconds(study, job) for job in left}
    print(f"{name}: {len(left)} jobs to do, about {sum(costs.values()) / 60:.0f} min", flush=True)
    for place, job in enumerate(left):
        later = [other.name for other in left[place + 1 :]]
        sets = load_sets(job, study.data, quick=study.quick)
        start = time.monotonic()
        rest = sum(costs[other] for other in later)
        tell = _teller(job, costs[job.name], rest)
        outcome = run_job(job, sets, study.runs, tell, lambda: study.is_over, study.kept(job))
        if outcome is None:
            raise SystemExit(f"{job.name}: the time is over; the same call goes on from here")
        if not outcome.trained:
            print(f"{job.name}: measured, its networks were trained before", flush=True)
        elif outcome.starts == 1:  # the machine's pace helps the next estimate
            pace = (time.monotonic() - start) / costs[job.name]
            costs.update({other: costs[other] * pace for other in later})
        finish(study, job, outcome, sets)
        if study.is_over and later:
            raise SystemExit(f"{name}: the time is over; the same call goes on from here")


def _teller(job: Job, seconds: float, later_seconds: float) -> Callable[[int, str], None]:
    def tell(epoch: int, line: str) -> None:
        rest = later_seconds + seconds * (1 - epoch / job.recipe.epochs)
        print(f"{job.name}: {line}; about {rest / 60:.0f} min left", flush=True)

    return tell


def finish(study: Study, job: Job, outcome: Outcome, sets: Sets) -> None:
    """Write a job's look at test into the ledger, and its lines; remove its checkpoint."""
    if "test" in outcome.wrong and not study.quick:
        errors = 100 * outcome.wrong["test"].mean(axis=1)
        figure = (
            f"error of 16 placements {errors.min():.2f} to {errors.max():.2f} % "
            f"(studies/relu_placement, {job.name})"
        )
        n = outcome.wrong["test"].shape[1]
        # Stopped between ledger and CSVs: the same networks give the same answers again.
        if outcome.trained or not _is_noted(study.looks, job.digest, figure):
            note_look(job.digest, job.data, n, figure, looks=study.looks)
    command = f"{COMMAND} {job.experiment}" + (" --quick" if study.quick else "")
    keep_outcome(study.results / job.experiment, job, outcome, len(sets.train), command)
    (study.runs / f"{job.name}.safetensors").unlink(missing_ok=True)


def _is_noted(looks: Path, digest: str, figure: str) -> bool:
    if not looks.exists():
        return False
    with looks.open(newline="", encoding="utf-8") as file:
        rows = [(row["model_sha256"], row["figure"]) for row in csv.DictReader(file)]
    return (digest, figure) in rows


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


def estimated_seconds(study: Study, job: Job, *, is_trained: bool = False) -> float:
    """What a job will take, from the time of one step on this machine.

    Args:
        study: knows the paces, and where networks are kept.
        job: of it.
        is_trained: whether a job before it trains the same networks.
    """
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
    measuring = photo * (2 * n_val + n_test)
    if is_trained or any(path.exists() for path in study.kept(job)):
        return measuring
    steps = recipe.epochs * steps_per_epoch(n_train, recipe.batch_size)
    curve = len(measured_epochs(recipe.epochs)) * min(n_val, CURVE_PHOTOS)
    return step * steps + photo * curve + measuring


def estimate(study: Study) -> None:
    """Print how long what is left of each experiment will take, and its longest job."""
    seen: set[str] = set()
    for name in EXPERIMENTS:
        costs = []
        for job in unfinished(study, name):
            trained = study.keeps_weights and job.digest in seen
            costs.append(estimated_seconds(study, job, is_trained=trained) / 60)
            seen.add(job.digest)
        if costs:
            print(
                f"{name}: {len(costs)} jobs, about {sum(costs):.0f} min, the longest "
                f"{max(costs):.1f} min",
                flush=True,
            )
