"""A whole line in real time: items found, decided and commanded, hour after hour of belt.

    python benchmarks/line.py [--assert] [--out FILE] [--model FILE] [--rates N ...] [--minutes N]

Two cores. The scene of all figures of the line: 2.5 m/s, 1280 x 720 pixels of 1000 x 560 mm at 30
frames a second, items of 60 to 150 mm with gaps of 20 mm, one actuator 600 mm after the camera, so
that an item has 240 ms. Items are cut from TrashNet's test photos; frames are drawn beforehand, and
cutting one out of the belt's picture is not counted, though it costs its share of the two cores.
Acknowledged means committed by SQLite with synchronous=FULL. Each rate runs for so many minutes;
the highest that holds has no late item and a 99th percentile under 80 ms.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.outcome import (
    Check,
    conditions,
    finish,
    keep_to_cores,
    options,
    print_rows,
    trashnet,
)

MOST_DECISION_MS = 80.0
MOST_GROWTH_MB = 20.0
STATION = {"name": "jets", "distance_mm": 600, "latency_ms": 10,
           "routes": ["paper", "plastic", "glass", "metal"],
           "lanes": [[70 * n, 70 * (n + 1)] for n in range(8)]}  # fmt: skip


def settings_of(folder: Path, rate: float, given: Any) -> Any:
    from beltsight.line.settings import DEFAULT_LINE, load_line

    overrides: dict[str, Any] = {
        "store.url": str(folder / "line.db"),
        "store.synchronous": "full",
        "schedule.actuators": [STATION],
        "simulation.length_m": given.metres,
        "simulation.items.rate_per_s": rate,
        "view.height_mm": 560,
        "model.engine": given.engine,
        "model.threads": given.threads,
    }
    if given.model:
        overrides["model.file"] = str(given.model.resolve())
    return load_line(DEFAULT_LINE, overrides)


def run_line(rate: float, given: Any) -> dict[str, Any]:
    """Run one rate; its figures."""
    import beltsight
    from beltsight.bench import resident_mb
    from beltsight.line.simulate.play import Play, PlaySettings
    from beltsight.line.snapshot import take_snapshot

    samples = beltsight.load_dataset(trashnet()).select("test").samples
    seconds = given.minutes * 60
    with tempfile.TemporaryDirectory(prefix="beltsight-line-") as folder:
        settings = settings_of(Path(folder), rate, given)
        decision_ms: list[float] = []
        play = Play(
            settings, PlaySettings(seconds, real_time=True), samples=samples,
            watch=lambda decided: decision_ms.append(decided.decision_ms),
        )  # fmt: skip
        held, due_s, seeing_ms = [], 10.0, []
        for seen in play.frames():
            seeing_ms.append(seen.seeing_ms)
            if seen.frame.time_s >= due_s:
                held.append(round(resident_mb(), 1))
                due_s += max(5.0, seconds / 60)
        snapshot = take_snapshot(play.opened)
        assert play.close() is None
        record = play.score().to_record()
        lead_ms = leads_ms(settings)
        megabytes = (Path(folder) / "line.db").stat().st_size / 1e6
    return {
        "rate_per_s": rate,
        "seconds": round(seconds, 1),
        "items_per_s": round(record["all"]["items"] / seconds, 2),
        "late": snapshot.figures.late,
        "frames": snapshot.figures.frames,
        "frames_dropped": snapshot.camera.dropped + snapshot.camera.lost,
        "decision_ms": percentiles(decision_ms),
        "seeing_ms": percentiles(seeing_ms),
        "commands": len(lead_ms),
        "lead_ms_least": round(min(lead_ms, default=0.0), 1),
        "resident_mb": held,
        "log_mb": round(megabytes, 1),
        "fire_error_mm": record["fire_error_mm"],
        "score": record["all"],
    }


def leads_ms(settings: Any) -> list[float]:
    """How long before its valve had to switch the peer had each command, by the log.

    Args:
        settings: of the line. Its rows have the clock of the simulation, 0 where its counter is.
    """
    from beltsight.store import CommandRow, open_log, parse_row

    reader = open_log(settings.store.url, settings.name)
    speed = settings.simulation.speed_mm_s
    found = []
    for stored in reader.rows(kinds=["command"]):
        row = parse_row(stored.body.encode())
        if isinstance(row, CommandRow) and row.outcome == "sent":
            due_s = row.raw_fire_count * settings.belt.mm_per_count / speed - 0.010
            found.append(1000 * (due_s - row.monotonic_s))
    return found


def percentiles(values: list[float]) -> dict[str, float]:
    found = np.percentile(values, [50, 95, 99, 100])
    levels = zip(("p50", "p95", "p99", "most"), found, strict=True)
    return {name: round(float(value), 2) for name, value in levels}


def growth_mb(record: dict[str, Any]) -> float:
    """Memory of the last quarter against that of the second: the first fills caches."""
    held = record["resident_mb"]
    if len(held) < 8:
        return 0.0
    quarter = len(held) // 4
    return float(np.median(held[-quarter:]) - np.median(held[quarter : 2 * quarter]))


def row(record: dict[str, Any]) -> list[str]:
    decision, seeing, score = record["decision_ms"], record["seeing_ms"], record["score"]
    once = score["counted_once"]
    return [
        f"{record['rate_per_s']:g}", f"{record['items_per_s']:.1f}", f"{record['late']}",
        f"{once['count']:,}/{once['of']:,}", f"{decision['p50']:.0f}", f"{decision['p99']:.0f}",
        f"{seeing['p99']:.1f}", f"{record['frames_dropped']}", f"{record['lead_ms_least']:.0f}",
        f"{growth_mb(record):+.1f}",
    ]  # fmt: skip


COLUMNS = ("asked/s", "items/s", "late", "once", "ms p50", "p99", "frame p99", "dropped",
           "lead ms", "MB more")  # fmt: skip


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--model", type=Path, help="default: the packaged one")
    parser.add_argument("--engine", default="", help="default: the faster one")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rates", type=float, nargs="+", default=[20.0], help="items a second")
    parser.add_argument("--minutes", type=float, default=10.0, help="for each rate")
    parser.add_argument("--metres", type=float, default=100.0, help="of belt, which comes again")
    given = parser.parse_args()
    keep_to_cores(2)
    about = conditions(given)
    records = []
    for rate in given.rates:
        records.append(run_line(rate, given))
        print_rows(COLUMNS, [row(records[-1])])
        time.sleep(1.0)
    holding = [
        one["items_per_s"]
        for one in records
        if not one["late"] and one["decision_ms"]["p99"] < MOST_DECISION_MS
    ]
    checks = [
        Check(f"late items at {one['rate_per_s']:g}/s", one["late"], None, 0) for one in records[:1]
    ]
    first = records[0]
    checks += [
        Check("decision p99 in ms", first["decision_ms"]["p99"], None, MOST_DECISION_MS),
        Check("memory growth in MB", growth_mb(first), None, MOST_GROWTH_MB),
    ]
    model = given.model.name if given.model else "packaged"
    print(f"highest that holds: {max(holding, default=0):.1f} items/s")
    finish(
        {"what": "line", "model": model, "conditions": about, "rates": records,
         "highest_that_holds_per_s": max(holding, default=None)},
        checks, given,
    )  # fmt: skip


if __name__ == "__main__":
    main()
