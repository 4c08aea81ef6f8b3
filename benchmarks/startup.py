"""Seconds from the command to the answer: import, help, one photo, the demo.

    python benchmarks/startup.py [--assert] [--out FILE]

Each is a fresh process on two cores; the peer is the bare interpreter with numpy, which every
tool of this kind loads.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 7
PHOTO = "src/beltsight/assets/demo/glass/glass155.jpg"
REPOSITORY = Path(__file__).resolve().parents[1]


def commands(folder: str) -> dict[str, tuple[list[str], float | None]]:
    """What is timed, and the limit on its median in seconds."""
    program = [sys.executable, "-m", "beltsight"]
    return {
        "import numpy": ([sys.executable, "-c", "import numpy"], None),
        "import beltsight": ([sys.executable, "-c", "import beltsight"], 0.3),
        "beltsight --help": ([*program, "--help"], 0.6),
        "beltsight predict default PHOTO": ([*program, "predict", "default", PHOTO], None),
        "beltsight demo": ([*program, "demo", "--out", folder], 10.0),
    }


def time_runs(command: list[str]) -> list[float]:
    seconds = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True)
        seconds.append(time.perf_counter() - start)
    return seconds[1:]  # the first run fills the file cache


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--assert", dest="check", action="store_true", help="fail over a limit")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    given = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    rows = {}
    late = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (command, limit_s) in commands(folder).items():
            seconds = time_runs(command)
            median = statistics.median(seconds)
            rows[name] = {
                "seconds_median": round(median, 3),
                "seconds_min": round(min(seconds), 3),
                "seconds_max": round(max(seconds), 3),
                "limit_s": limit_s,
            }
            late += [name] if limit_s is not None and median > limit_s else []
            print(f"{name:34} {median:6.3f} s  ({min(seconds):.3f} to {max(seconds):.3f})")
    ratio = rows["import beltsight"]["seconds_median"] / rows["import numpy"]["seconds_median"]  # type: ignore[operator]
    print(f"import beltsight takes {ratio:.1f} times as long as import numpy")
    if given.out:
        machine = (
            f"{platform.machine()}, 2 of {os.cpu_count()} cores, Python {sys.version.split()[0]}"
        )
        record = {
            "runs": RUNS,
            "machine": machine,
            "times": rows,
            "ratio_to_numpy": round(ratio, 2),
        }
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if given.check and late:
        sys.exit(f"over the limit: {', '.join(late)}")


if __name__ == "__main__":
    main()
