"""Studies that train: variants times seeds out of a study.toml, one result file for each.

::

    python studies/X/run.py train [--only NAME ...] [--seeds 0 1]   # what has no result yet
    python studies/X/run.py measure                                 # one look at test for each
    python studies/X/run.py table plot                              # README.md and results/*.svg
    python studies/X/run.py train measure table plot --quick        # a slice, in a temporary folder

A run that was interrupted goes on where it stopped. All variants of a seed come before the next
seed, so that a study says something of each variant early.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from studies.curves import draw_plots
from studies.runner import LOOKS, REPOSITORY, arguments, data_folder
from studies.study import Sweep, load_study
from studies.tables import fill_markers, results_text
from studies.trained import load_results, measure_on_test, stale_settings, train_one

import beltsight

_QUICK_PHOTOS = {"train": 10, "val": 4, "test": 6}
Step = Callable[[Sweep], None]


def open_sweep(here: Path, out: Path | None = None, *, quick: bool = False) -> Sweep:
    """The study in a folder; a quick one works on a slice of the data in a temporary folder.

    Args:
        here: holds study.toml and README.md.
        out: the working folder.
        quick: take the slice; results, tables and the ledger go to the working folder, too.
    """
    study = load_study(here / "study.toml")
    data = data_folder(study.data)
    if not quick:
        runs = (out or REPOSITORY / "runs" / here.name).resolve()
        return Sweep(here.name, study, data, runs, here / "results", here / "README.md", LOOKS)
    folder = out or Path(tempfile.mkdtemp(prefix=f"beltsight-{here.name}-"))
    folder.mkdir(parents=True, exist_ok=True)
    small = folder / "data" / study.data
    if not small.exists():
        copy_slice(data, small)
    if not (folder / "README.md").exists():
        shutil.copy(here / "README.md", folder / "README.md")
    print(f"quick: everything in {folder}", flush=True)
    return Sweep(
        here.name, study, small, folder / "runs", folder / "results",
        folder / "README.md", folder / "test_looks.csv", seeds=study.seeds[:1], quick=True,
    )  # fmt: skip


def copy_slice(data: Path, to: Path) -> None:
    """Copy a few photos of each split and class, into folders of these names."""
    taken: dict[tuple[str, str], int] = {}
    for sample in beltsight.load_dataset(data).samples:
        split, label = sample.split or "train", next(iter(sample.labels.values()), "")
        count = taken.get((split, label), 0)
        if label and count < _QUICK_PHOTOS[split]:
            taken[split, label] = count + 1
            folder = to / split / label
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(sample.path, folder / sample.path.name)


def train(sweep: Sweep) -> None:
    """Train all that has no result yet; one that fails does not keep the others from running.

    Raises:
        SystemExit: some failed; it lists them.
    """
    failed = []
    for variant, seed in sweep.jobs():
        if sweep.file(variant.name, seed).exists():
            changed = stale_settings(sweep, variant, seed)
            stale = f", but with another {', '.join(changed)}; delete it to train anew"
            print(f"{variant.name} seed {seed}: has its result{stale if changed else ''}")
            continue
        try:
            train_one(sweep, variant, seed)
        except beltsight.BeltsightError as error:
            failed.append(f"{variant.name} seed {seed}: {error}")
            print(f"FAILED {failed[-1]}", flush=True)
    if failed:
        raise SystemExit("without a result:\n" + "\n".join(failed))


def measure(sweep: Sweep) -> None:
    """Look once at test for each wanted result that has no test figure."""
    wanted = {(variant.name, seed) for variant, seed in sweep.jobs()}
    for result in load_results(sweep.results):
        if "test" not in result and (result["variant"], result["seed"]) in wanted:
            measure_on_test(sweep, result)


def table(sweep: Sweep) -> None:
    """Write the tables into the README, and print them."""
    text = results_text(sweep.study, load_results(sweep.results))
    fill_markers(sweep.readme, "results", text)
    print(text)


def plot(sweep: Sweep) -> None:
    """Draw the plots of which there is something to draw."""
    for path in draw_plots(sweep.study, load_results(sweep.results), sweep.results):
        print(path)


def main(here: Path, steps: Mapping[str, Step] | None = None) -> None:
    """The command line of a study.

    Args:
        here: the study's folder.
        steps: further steps, or others in place of these, by name.
    """
    known: dict[str, Step] = {"train": train, "measure": measure, "table": table, "plot": plot}
    known |= steps or {}
    parser = arguments(f"The study in {here.name}/; see its README.md.")
    parser.add_argument("steps", nargs="+", choices=list(known), help="done in this order")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these variants")
    parser.add_argument("--seeds", nargs="+", type=int, help="in place of the study's")
    parser.add_argument("--quick", action="store_true", help="a slice, in a temporary folder")
    given = parser.parse_args()
    sweep = open_sweep(here, given.out, quick=given.quick)
    sweep = replace(sweep, only=tuple(given.only), seeds=tuple(given.seeds or sweep.seeds))
    for name in given.steps:
        known[name](sweep)
