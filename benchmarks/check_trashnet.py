"""Seconds and memory of ``beltsight check`` on TrashNet's 2,527 photos.

    python benchmarks/check_trashnet.py [--assert] [--out FILE]

The whole command is timed as a user runs it, start of Python included, on two cores. There is no
peer figure: other duplicate finders do other work.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.outcome import Check, conditions, finish, keep_to_cores, options, trashnet

LIMIT_S = 20.0


def run_check(data: Path) -> tuple[float, dict[str, int]]:
    """Seconds of one run, and the problems it counts."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "beltsight", "check", str(data), "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    return seconds, json.loads(done.stdout)["problems"]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    data = trashnet()
    keep_to_cores(2)
    machine = conditions(given)
    results = [run_check(data) for _ in range(given.runs)]
    seconds = [second for second, _ in results]
    median = statistics.median(seconds)
    print(f"beltsight check: {median:.2f} s ({min(seconds):.2f} to {max(seconds):.2f})")
    record = {
        "what": "beltsight check TrashNet --json",
        "machine": machine,
        "photos": 2527,
        "seconds_median": round(median, 3),
        "seconds_min": round(min(seconds), 3),
        "seconds_max": round(max(seconds), 3),
        "runs": given.runs,
        # The largest of all finished children: the runs above.
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, 1),
        "problems": results[0][1],
    }
    finish(record, [Check("beltsight check TrashNet, seconds", median, most=LIMIT_S)], given)


if __name__ == "__main__":
    main()
