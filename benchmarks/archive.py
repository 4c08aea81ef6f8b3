"""``beltsight predict`` over an archive: throughput, memory, and what a kill costs.

    python benchmarks/archive.py [--assert] [--out FILE] [--models DIR] [--photos N]

100,000 photos by repetition (hard links of the packaged ones), int8, two cores. Throughput is of
the program as a user runs it, from the thousandth answer to the last, over that of the bare network
with the same engine, streams and batches, measured before and after. Memory is the most that the
program holds beyond what it held at that thousandth answer. A second run over fewer photos is
killed twice (signal 9) and resumed: every photo must have one answer, in order.

A quick look: --backbones resnet18 --size 64 --photos 600 --kill-photos 300 --bare 40
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.outcome import (
    DEMO,
    Check,
    begin,
    finish,
    network_options,
    network_record,
    stream_options,
)

SHARES = {"resnet50": 0.90, "resnet18": 0.75}
MOST_GROWTH_MB = 50.0
_PER_FOLDER = 1000
_LOOK_EVERY_S = 0.25


@dataclass(frozen=True)
class Look:
    """What was seen at one moment of a run."""

    at_s: float
    answers: int
    resident_mb: float
    ended: bool = False


@dataclass
class Watch:
    """Counts the lines of a file that grows."""

    path: Path
    answers: int = 0
    _read: int = field(default=0, repr=False)

    def update(self) -> int:
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self._read)
                while block := file.read(1 << 20):
                    self._read += len(block)
                    self.answers += block.count(b"\n")
        return self.answers


def make_archive(folder: Path, count: int) -> Path:
    """Folders of photos, which are links to copies of the packaged ones."""
    copies = folder / "copies"
    copies.mkdir(parents=True)
    for photo in sorted(DEMO.glob("*/*.jpg")):
        (copies / photo.name).write_bytes(photo.read_bytes())
    originals = sorted(copies.iterdir())
    archive = folder / "archive"
    for number in range(count):
        inside = archive / f"{number // _PER_FOLDER:04}"
        if number % _PER_FOLDER == 0:
            inside.mkdir(parents=True)
        os.link(originals[number % len(originals)], inside / f"{number:07}.jpg")
    return archive


def predict(file: Path, archive: Path, out: Path, given: Any, *more: str) -> list[str]:
    """The command line of a run."""
    engine = ["--engine", given.engine] if given.engine else []
    return [
        sys.executable, "-m", "beltsight", "predict", str(file), str(archive), "--out", str(out),
        "--batch-size", str(given.batch), "--threads", str(given.threads), *engine, *more,
    ]  # fmt: skip


def watched(command: list[str], out: Path, kill_at: int | None = None) -> Iterator[Look]:
    """Run a command and look at it now and then; kill it once it has so many answers."""
    from beltsight import BeltsightError
    from beltsight.bench import resident_mb

    watch = Watch(out)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as run:
        while run.poll() is None:
            time.sleep(_LOOK_EVERY_S)
            try:
                held_mb = resident_mb(run.pid)
            except BeltsightError:  # it has just ended
                break
            yield Look(time.perf_counter(), watch.update(), held_mb)
            if kill_at is not None and watch.answers >= kill_at:
                run.send_signal(signal.SIGKILL)
                break
        run.wait()
        end_s = time.perf_counter()
        problem = run.stderr.read().decode(errors="replace") if run.stderr else ""
    if run.returncode not in (0, -signal.SIGKILL):
        sys.exit(f"beltsight predict ended with {run.returncode}: {problem[-500:]}")
    yield Look(end_s, watch.update(), 0.0, ended=run.returncode == 0)


def whole_run(file: Path, archive: Path, out: Path, given: Any) -> dict[str, float]:
    """Photos a second and growth of memory of one run without disturbance."""
    start_s = time.perf_counter()
    looks = list(watched(predict(file, archive, out, given), out))
    since = given.photos // 100
    first = next(look for look in looks if look.answers >= since)
    last = looks[-1]
    held = [look.resident_mb for look in looks[:-1] if look.at_s >= first.at_s]
    return {
        "answers": last.answers,
        "photos_per_s": (last.answers - first.answers) / (last.at_s - first.at_s),
        "photos_per_s_with_start": last.answers / (last.at_s - start_s),
        "resident_mb_at_start": held[0],
        "growth_mb": max(held) - held[0],
        "seconds": last.at_s - start_s,
    }


def killed_run(file: Path, archive: Path, out: Path, given: Any) -> dict[str, Any]:
    """Kill at a third and at two thirds, resume, and compare the answers with the files."""
    kills = []
    for share, more in ((1 / 3, ()), (2 / 3, ("--resume",))):
        command = predict(file, archive, out, given, *more)
        *_, last = watched(command, out, kill_at=max(1, int(share * given.kill_photos)))
        if last.ended:  # too few photos, or it writes them all at once
            break
        kills.append(last.answers)
    if not last.ended:
        *_, last = watched(predict(file, archive, out, given, "--resume"), out)
    with out.open(encoding="utf-8") as lines:
        answered = [json.loads(line) for line in lines]
    wanted = sorted(str(path) for path in archive.rglob("*.jpg"))
    found = [line["path"] for line in answered]
    return {
        "killed_after": kills,
        "photos": len(wanted),
        "answers": len(found),
        "lost": len(set(wanted) - set(found)),
        "twice": len(found) - len(set(found)),
        "in_order": found == wanted,
        "failed": sum(line["error"] is not None for line in answered),
    }


def bare_rate(file: Path, given: Any) -> float:
    """Photos a second of the bare network, as many calls at once as the program makes."""
    from benchmarks.pipeline import bare_stream

    import beltsight
    from beltsight.bench import time_stream

    threads = given.threads
    model = beltsight.Model.load(file, engine=given.engine, threads=threads, streams=threads)
    photos = [model.prepare(path) for path in sorted(DEMO.glob("*/*.jpg"))]
    warm_up = 2 * threads * given.batch
    supply = itertools.islice(itertools.cycle(photos), given.bare + warm_up)
    flow = partial(bare_stream, model, given.batch, threads)
    return time_stream(flow, supply, warm_up=warm_up).frames_per_s


def measure(backbone: str, models: Path, folder: Path, given: Any) -> dict[str, Any]:
    from benchmarks.networks import float_model, int8_model
    from benchmarks.pipeline import fastest_engine

    file = int8_model(float_model(backbone, models, given.size), given.float_layers)
    if given.engine is None:
        given.engine = fastest_engine(file, given.threads, 1.0)
    before = [bare_rate(file, given) for _ in range(3)]
    run = whole_run(file, folder / "archive", folder / f"{backbone}.jsonl", given)
    after = [bare_rate(file, given) for _ in range(3)]
    bare = statistics.median(before + after)
    rounded = {name: round(value, 2) for name, value in run.items()}
    killed = killed_run(
        file, folder / "kill" / "archive", folder / f"{backbone}-killed.jsonl", given
    )
    spread = f"{min(before + after):.1f} to {max(before + after):.1f}"
    print(
        f"{backbone} in {given.engine}: {run['photos_per_s']:.1f} photos/s, bare network "
        f"{bare:.1f} ({spread}); {run['resident_mb_at_start']:.0f} MB held, "
        f"{run['growth_mb']:.1f} MB more at most; killed after {killed['killed_after']}: "
        f"{killed['lost']} lost, {killed['twice']} twice",
        flush=True,
    )
    return {
        "engine": given.engine,
        "bare_photos_per_s": {"median": round(bare, 2), "before": before, "after": after},
        "run": rounded,
        "share": round(run["photos_per_s"] / bare, 4),
        "killed": killed,
    }


def checks_of(results: dict[str, dict[str, Any]], photos: int) -> Iterator[Check]:
    for name, found in results.items():
        yield Check(f"{name}: share of the bare network", found["share"], least=SHARES.get(name, 0))
        growth = found["run"]["growth_mb"]
        yield Check(f"{name}: growth of memory in MB", growth, most=MOST_GROWTH_MB)
        missing = abs(photos - found["run"]["answers"])
        yield Check(f"{name}: answers missing or too many", missing, most=0)
        killed = found["killed"]
        wrong = killed["lost"] + killed["twice"] + (not killed["in_order"])
        kills = len(killed["killed_after"])
        yield Check(f"{name}: kills in the middle", kills, least=2)
        yield Check(f"{name}: lost or answered twice after them", wrong, most=0)


def main() -> None:
    parser = network_options(__doc__)
    stream_options(parser)
    parser.add_argument("--backbones", nargs="+", default=list(SHARES))
    parser.add_argument("--photos", type=int, default=100_000)
    parser.add_argument("--kill-photos", type=int, default=5_000, help="of the run that is killed")
    parser.add_argument(
        "--bare", type=int, default=600, help="photos of a turn of the bare network"
    )
    given, machine = begin(parser)
    results, engine = {}, given.engine
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_archive(folder, given.photos)
        make_archive(folder / "kill", given.kill_photos)
        for backbone in given.backbones:
            given.engine = engine
            results[backbone] = measure(backbone, given.models or folder, folder, given)
    record = {
        **network_record(
            f"beltsight predict over {given.photos:,} photos (512 x 384), int8", machine, given
        ),
        "batch": given.batch,
        "networks": results,
    }
    finish(record, list(checks_of(results, given.photos)), given)


if __name__ == "__main__":
    main()
