"""Seconds from the command to the answer: import, help, one photo, the demo.

    python benchmarks/startup.py [--assert] [--out FILE]

Each is a new process on two cores whose files are in the system's cache (a run before them is left
out); from a disk that was not read since the machine started it takes longer. Nothing that the user
has tuned is read. The peer is the bare interpreter with numpy, which every tool of this kind loads.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.outcome import (
    DEMO,
    REPOSITORY,
    Check,
    conditions,
    finish,
    keep_to_cores,
    options,
)

RUNS = 7
PHOTO = str(DEMO / "glass" / "glass155.jpg")


def commands(folder: str) -> dict[str, tuple[list[str], float | None]]:
    """What is timed, and the limit on its median in seconds."""
    program = [sys.executable, "-m", "beltsight"]
    return {
        "import numpy": ([sys.executable, "-c", "import numpy"], None),
        "import beltsight": ([sys.executable, "-c", "import beltsight"], 0.3),
        # What is public is read when it is first asked for: the time that import leaves out.
        "import beltsight; beltsight.load": (
            [sys.executable, "-c", "import beltsight; beltsight.load"],
            0.3,
        ),
        "beltsight --help": ([*program, "--help"], 0.6),
        "beltsight predict default PHOTO": ([*program, "predict", "default", PHOTO], 1.2),
        "beltsight demo": ([*program, "demo", "--out", folder], 10.0),
    }


def time_runs(command: list[str], runs: int, cache: str) -> list[float]:
    """Seconds of each run; ``cache`` is a folder in place of the user's, who may have tuned."""
    seconds = []
    environment = {**os.environ, "BELTSIGHT_CACHE": cache}
    for _ in range(runs + 1):
        start = time.perf_counter()
        subprocess.run(
            command, cwd=REPOSITORY, env=environment, capture_output=True, check=True
        )  # fmt: skip
        seconds.append(time.perf_counter() - start)
    return seconds[1:]  # the first run fills the file cache


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    given = parser.parse_args()
    keep_to_cores(2)
    machine = conditions(given)
    rows, checks = {}, []
    with tempfile.TemporaryDirectory() as folder:
        for name, (command, limit_s) in commands(folder).items():
            seconds = time_runs(command, given.runs, str(Path(folder) / "cache"))
            median = statistics.median(seconds)
            rows[name] = {
                "seconds_median": round(median, 3),
                "seconds_min": round(min(seconds), 3),
                "seconds_max": round(max(seconds), 3),
                "limit_s": limit_s,
            }
            if limit_s is not None:
                checks.append(Check(f"{name}, seconds", median, most=limit_s))
            print(f"{name:34} {median:6.3f} s  ({min(seconds):.3f} to {max(seconds):.3f})")
    medians = {name: float(str(row["seconds_median"])) for name, row in rows.items()}
    ratio = medians["import beltsight; beltsight.load"] / medians["import numpy"]
    print(f"the first public name takes {ratio:.1f} times as long as import numpy")
    record = {
        "what": "a new process to its end, its files in the system's cache, nothing tuned",
        "runs": given.runs,
        "machine": machine,
        "times": rows,
        "ratio_to_numpy": round(ratio, 2),
    }
    finish(record, checks, given)


if __name__ == "__main__":
    main()
