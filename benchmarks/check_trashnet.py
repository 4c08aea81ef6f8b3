"""Seconds and memory of ``beltsight check`` on TrashNet's 2,527 photos.

    python benchmarks/check_trashnet.py [--assert] [--out FILE]

The whole command is timed as a user runs it, start of Python included, on two cores. There is no
peer figure: other duplicate finders do other work.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

LIMIT_S = 20.0
REPOSITORY = Path(__file__).resolve().parents[1]


def run_check(data: Path) -> tuple[float, dict[str, int]]:
    """Seconds of one run, and the problems it counts."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "beltsight", "check", str(data), "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    return seconds, json.loads(done.stdout)["problems"]


def measure(data: Path, runs: int) -> dict[str, object]:
    cores = sorted(os.sched_getaffinity(0))[:2]
    os.sched_setaffinity(0, cores)
    results = [run_check(data) for _ in range(runs)]
    seconds = [second for second, _ in results]
    return {
        "what": "beltsight check TrashNet --json",
        "photos": 2527,
        "seconds_median": round(statistics.median(seconds), 3),
        "seconds_min": round(min(seconds), 3),
        "seconds_max": round(max(seconds), 3),
        "runs": runs,
        # The largest of all finished children: the runs above.
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, 1),
        "cores": len(cores),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}",
        "problems": results[0][1],
        "limit_s": LIMIT_S,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--assert", dest="check", action="store_true", help="fail over 20 s")
    parser.add_argument("--out", type=Path, help="also write the JSON to this file")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    folder = os.environ.get("BELTSIGHT_DATA") or REPOSITORY.parent / "shared" / "data"
    data = Path(folder) / "trashnet"
    if not data.is_dir():
        sys.exit(f"{data} is not here; set BELTSIGHT_DATA")
    result = measure(data, options.runs)
    text = json.dumps(result, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    if options.check and float(str(result["seconds_median"])) > LIMIT_S:
        sys.exit(f"median {result['seconds_median']} s; the limit is {LIMIT_S} s")


if __name__ == "__main__":
    main()
