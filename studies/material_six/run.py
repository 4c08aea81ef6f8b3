"""P1's six materials, and whether a network sees materials or sources; see README.md.

python studies/material_six/run.py build              # copies photos into runs/material_six/data
python studies/material_six/run.py train              # what has no result yet, then the controls
python studies/material_six/run.py train --parts six  # without the controls
python studies/material_six/run.py measure            # one look at test for each result
python studies/material_six/run.py table plot
python studies/material_six/run.py build train measure table plot --quick   # a slice, elsewhere
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))
from studies.material_six.chart import draw_matrices  # noqa: E402
from studies.material_six.parts import (  # noqa: E402
    CONTROL_VARIANT,
    CONTROLS,
    MAIN,
    Places,
    best_on_validation,
    build,
    measure,
    sweep_of,
)
from studies.material_six.text import blocks  # noqa: E402
from studies.runner import LOOKS, REPOSITORY, arguments  # noqa: E402
from studies.study import Study, Sweep, load_study  # noqa: E402
from studies.tables import fill_markers  # noqa: E402
from studies.trained import load_results  # noqa: E402

from studies import sweep as sweeping  # noqa: E402

STEPS = ("build", "train", "measure", "table", "plot")


def open_places(out: Path | None, *, quick: bool) -> Places:
    """Where files lie; those of a quick run all in one folder, with a ledger of its own."""
    if not quick:
        work = out or REPOSITORY / "runs" / "material_six"
        return Places(work, HERE / "results", HERE / "README.md", LOOKS)
    folder = out or Path(tempfile.mkdtemp(prefix="beltsight-material_six-"))
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "README.md").exists():
        shutil.copy(HERE / "README.md", folder / "README.md")
    print(f"quick: everything in {folder}", flush=True)
    results, looks = folder / "results", folder / "test_looks.csv"
    return Places(folder, results, folder / "README.md", looks, quick=True)


def wanted_sweeps(study: Study, places: Places, given: argparse.Namespace) -> list[Sweep]:
    """The main study as asked for, then the controls whose variant and seed are asked for."""
    first = sweep_of(MAIN, study, places)
    sweeps = [replace(first, only=tuple(given.only), seeds=tuple(given.seeds or ()))]
    controls = [sweep_of(part, study, places) for part in CONTROLS]
    if not given.only or CONTROL_VARIANT in given.only:
        sweeps += [c for c in controls if not given.seeds or c.seeds[0] in given.seeds]
    return [sweep for sweep in sweeps if not given.parts or sweep.data.name in given.parts]


def table(study: Study, places: Places) -> None:
    """Write the tables into the README, and print them."""
    for name, text in blocks(study, places).items():
        fill_markers(places.readme, name, text)
        print(f"{name}\n\n{text}\n")


def plot(study: Study, places: Places) -> None:
    """Draw the two confusion matrices and the curves, where there is something to draw."""
    best = best_on_validation(load_results(places.results))
    if best is not None:
        print(draw_matrices(best, places.results / "confusion.svg"))
    sweeping.plot(sweep_of(MAIN, study, places))


def main(arguments_given: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = arguments((__doc__ or "").splitlines()[0])
    parser.add_argument("steps", nargs="+", choices=STEPS, help="done in this order")
    parser.add_argument("--parts", nargs="+", choices=(MAIN, *CONTROLS), help="these data sets")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these variants")
    parser.add_argument("--seeds", nargs="+", type=int, help="in place of the study's")
    parser.add_argument("--quick", action="store_true", help="a slice, in a temporary folder")
    given = parser.parse_args(arguments_given)
    study, places = load_study(HERE / "study.toml"), open_places(given.out, quick=given.quick)
    for step in given.steps:
        if step == "build":
            build(places)
        elif step in ("train", "measure"):
            for sweep in wanted_sweeps(study, places, given):
                sweeping.train(sweep) if step == "train" else measure(sweep, places)
        elif step == "table":
            table(study, places)
        else:
            plot(study, places)


if __name__ == "__main__":
    main()
