"""The event store: decisions committed per second, how long one waits for the disk, verification.

    python benchmarks/store.py [--seconds S] [--rows N] [--folder DIR] [--assert] [--out FILE]

Decisions are appended one by one, as a line does, as fast as the queue takes them; each counts when
its callback says that it is on disk (SQLite, synchronous=FULL). Beside it stands the rate of plain
SQLite with rows of the same size, one and 500 to a transaction, each brought to disk as well: the
store adds canonical bytes, the chain and the thread. Then, for decisions that come alone as on a
line: how long one takes the caller, and until it is acknowledged. Last, a log of --rows rows is
verified (a million by default), with its memory. Give --folder on the disk that a line would use.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.outcome import Check, conditions, finish, options, print_rows

LEAST_PER_S = 2_000.0
MOST_APPEND_MS, MOST_MB_PER_MILLION = 1.0, 64.0
KEY = b"a key for benchmarks alone"
CLASSES = ("cardboard", "glass", "metal", "paper", "plastic", "trash")


def decision(item: int) -> Any:
    """A row as a line writes it."""
    from beltsight.store import DecisionRow

    label = CLASSES[item % len(CLASSES)]
    return DecisionRow(
        run_id="2026-11-21T06:00:00Z-benchmark",
        wall_s=time.time(),
        monotonic_s=time.monotonic(),
        item_id=item,
        frame_time_s=12345.678901,
        belt_position_mm=123.25 * item,
        encoder_count=1232 * item,
        lateral_mm=301.5,
        length_mm=91.25,
        width_mm=60.5,
        probabilities={"material": {name: 0.95 if name == label else 0.01 for name in CLASSES}},
        label=label,
        confidence=0.95,
        route=label,
        reason="confident",
        abstained=False,
        novel=False,
        views=2,
        latency_ms=41.125,
        model_hash="ab" * 32,
        policy_version="default@1+0a1b2c3d",
    )


def measure_rate(path: Path, seconds: float) -> dict[str, float]:
    """Decisions committed per second while rows are appended one by one."""
    from beltsight.errors import StoreError
    from beltsight.store import open_store

    done = [0, 0]  # rows, callbacks in another transaction

    def committed(ids: range) -> None:
        done[0] = ids[-1]

    refused = item = 0
    with open_store(path, "benchmark", KEY) as store:
        began_s = time.perf_counter()
        while time.perf_counter() - began_s < seconds:
            try:
                store.append([decision(item)], committed)
                item += 1
            except StoreError:  # the queue is full: as fast as the disk allows
                refused += 1
                time.sleep(0.005)
        store.flush()
        took_s = time.perf_counter() - began_s
    assert done[0] == item
    size = sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))
    return {
        "rows": item,
        "per_s": item / took_s,
        "bytes_per_row": size / item,
        "queue_full": refused,
    }


def measure_plain(path: Path, seconds: float, rows_per_commit: int) -> float:
    """Rows per second of SQLite alone with rows of the same size."""
    from beltsight.store import canonical_bytes

    body = canonical_bytes(decision(1))
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE log (sequence INTEGER PRIMARY KEY, body BLOB)")
    rows, began_s = 0, time.perf_counter()
    while time.perf_counter() - began_s < seconds:
        connection.execute("BEGIN IMMEDIATE")
        some = [(rows + n, body) for n in range(rows_per_commit)]
        connection.executemany("INSERT INTO log VALUES (?, ?)", some)
        connection.execute("COMMIT")
        rows += rows_per_commit
    took_s = time.perf_counter() - began_s
    connection.close()
    return rows / took_s


def measure_waits(path: Path, count: int, pause_s: float) -> dict[str, float]:
    """For single decisions: the caller's time, and the time until it is on disk."""
    from beltsight.store import open_store

    appended, acknowledged = [], []
    with open_store(path, "benchmark", KEY) as store:
        for item in range(count):
            row, came = decision(item), threading.Event()
            began_s = time.perf_counter()
            store.append([row], partial(_tell, came))
            appended.append(time.perf_counter() - began_s)
            came.wait()
            acknowledged.append(time.perf_counter() - began_s)
            time.sleep(pause_s)
    return {
        f"{name}_p{p}_ms": sorted(times)[min(count - 1, count * p // 100)] * 1000
        for name, times in (("append", appended), ("acknowledged", acknowledged))
        for p in (50, 99)
    }


def _tell(came: threading.Event, ids: range) -> None:
    came.set()


def measure_verification(path: Path, rows: int) -> dict[str, float]:
    """Fill a log and verify it in a process of its own."""
    import subprocess

    from beltsight.store import StoreSettings, open_store

    settings = StoreSettings(synchronous="normal", batch_rows=5_000, queue_rows=10_000)
    with open_store(path, "benchmark", KEY, settings=settings) as store:
        for item in range(rows):
            if item % 1_000 == 0 and store.state().waiting_rows > 8_000:
                store.flush()
            store.append([decision(item)])
    code = """
import sys, time
from beltsight.bench import resident_mb
from beltsight.store import open_log, verify
reader = open_log(sys.argv[1])
first = next(reader.rows())
before = resident_mb()
most, began = [before], time.perf_counter()
found = verify(reader, sys.argv[2].encode(), progress=lambda n: most.append(resident_mb()))
took = time.perf_counter() - began
assert found.ok, found.bad
most.append(resident_mb())
print(found.rows, took, max(most) - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), KEY.decode()],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    verified, took_s, grown_mb = map(float, done.stdout.split())
    assert verified == rows
    return {"rows": rows, "s": took_s, "per_s": rows / took_s, "grown_mb": grown_mb}


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--rows", type=int, default=1_000_000, help="to verify")
    parser.add_argument("--folder", type=Path, help="where the logs are made")
    given = parser.parse_args()
    machine = conditions(given)
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        rate = measure_rate(folder / "rate.db", given.seconds)
        single = measure_plain(folder / "one.db", given.seconds / 3, 1)
        plain = measure_plain(folder / "many.db", given.seconds / 3, 500)
        waits = measure_waits(folder / "waits.db", max(20, round(given.seconds * 20)), 0.01)
        (folder / "rate.db").unlink()
        verification = measure_verification(folder / "verify.db", given.rows)
    print_rows(
        ("", "rows/s"),
        [
            ("the store, appended one by one", f"{rate['per_s']:,.0f}"),
            ("plain SQLite, 500 rows a transaction", f"{plain:,.0f}"),
            ("plain SQLite, 1 row a transaction", f"{single:,.0f}"),
            (f"verified, of {given.rows:,}", f"{verification['per_s']:,.0f}"),
        ],
    )
    print_rows(("", "ms"), [(key, f"{value:.3f}") for key, value in waits.items()])
    print(f"{rate['bytes_per_row']:,.0f} bytes per decision on disk; verification grew by "
          f"{verification['grown_mb']:.1f} MB")  # fmt: skip
    checks = [
        Check("decisions committed per second", rate["per_s"], least=LEAST_PER_S),
        Check("99th percentile of the caller's wait, ms", waits["append_p99_ms"],
              most=MOST_APPEND_MS),
        Check(f"memory that verifying {given.rows:,} rows adds, MB", verification["grown_mb"],
              most=MOST_MB_PER_MILLION),
    ]  # fmt: skip
    record = {
        "machine": machine,
        "rate": rate,
        "plain_per_s": {"1": single, "500": plain},
        "waits": waits,
        "verification": verification,
        "cores": os.cpu_count(),
    }
    finish(record, checks, given)


if __name__ == "__main__":
    main()
