"""What benchmarks share: their options, the machine, floors and limits, the record."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import beltsight
from beltsight.bench import conditions_line, describe_conditions

DEMO = Path(beltsight.__file__).parent / "assets" / "demo"
REPOSITORY = Path(__file__).resolve().parents[1]
MOST_LOAD = 0.5  # of a quiet machine; what has just ended falls below it within three minutes
_LOOK_EVERY_S = 5.0


@dataclass(frozen=True)
class Check:
    """A figure that is promised.

    Args:
        what: it is.
        found: the figure.
        least, most: it must lie between; None for no bound.
    """

    what: str
    found: float
    least: float | None = None
    most: float | None = None

    @property
    def holds(self) -> bool:
        return not (
            (self.least is not None and not self.found >= self.least)
            or (self.most is not None and not self.found <= self.most)
        )

    def __str__(self) -> str:
        bounds = [
            f"{word} {bound:g}"
            for word, bound in (("at least", self.least), ("at most", self.most))
            if bound is not None
        ]
        return (
            f"{'holds ' if self.holds else 'MISSED'}  {self.what}: {self.found:.4g}, must be "
            f"{' and '.join(bounds)}"
        )

    def to_record(self) -> dict[str, Any]:
        return {**vars(self), "found": round(self.found, 4), "holds": self.holds}


def options(doc: str | None) -> argparse.ArgumentParser:
    """The options of every benchmark."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--assert", dest="check", action="store_true", help="fail where a promise is missed"
    )
    parser.add_argument("--out", type=Path, help="also write the figures to this file, as JSON")
    parser.add_argument(
        "--wait",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="at most, for the machine to be quiet; 0 for a quick look",
    )
    return parser


def network_options(doc: str | None) -> argparse.ArgumentParser:
    """With those of benchmarks of networks that they make; see benchmarks/networks.py."""
    parser = options(doc)
    parser.add_argument("--size", type=int, default=224, help="side of a photo in pixels")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--models",
        type=Path,
        help="keep the made files here; files of the same names there are measured instead, e.g. "
        "trained ones as resnet50-224.onnx and resnet50-224-int8.onnx",
    )
    parser.add_argument(
        "--float-layers", type=int, default=0, help="layers that stay float in int8, beside heads"
    )
    return parser


def stream_options(parser: argparse.ArgumentParser) -> None:
    """What benchmarks of many photos have in common."""
    parser.add_argument("--engine", help="default: the faster one")
    parser.add_argument("--batch", type=int, default=4, help="photos per call of the engine")


def begin(parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, dict[str, Any]]:
    """What was asked for, and the machine; from here on it uses as many cores as threads."""
    given = parser.parse_args()
    keep_to_cores(given.threads)
    return given, conditions(given)


def network_record(what: str, machine: dict[str, Any], given: argparse.Namespace) -> dict[str, Any]:
    """What a figure of a network depends on."""
    return {
        "what": what,
        "machine": machine,
        "size": given.size,
        "threads": given.threads,
        "weights": "those in --models" if given.models else "random",
        "float_layers": given.float_layers,
    }


def trashnet() -> Path:
    """The folder of TrashNet; without it the benchmark ends."""
    folder = os.environ.get("BELTSIGHT_DATA") or REPOSITORY.parent / "shared" / "data"
    data = Path(folder) / "trashnet"
    if not data.is_dir():
        sys.exit(f"{data} is not here; set BELTSIGHT_DATA")
    return data


def keep_to_cores(count: int) -> None:
    """Use so many cores from here on, as on a line PC; before libraries start their threads."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def conditions(given: argparse.Namespace) -> dict[str, Any]:
    """The machine, once it is quiet, which is also printed; call before measuring.

    Args:
        given: of :func:`options`.

    Returns:
        Also ``waited_s``, and whether it was ``quiet``: where it was not within ``--wait``, it is
        measured all the same, and says so.
    """
    waited_s = wait_for_quiet(given.wait)
    found = describe_conditions()
    is_quiet = (found["load_before"] or 0.0) <= MOST_LOAD
    print(conditions_line(found), flush=True)
    if not is_quiet:
        print("the machine is busy: these figures are not to be published", flush=True)
    return {**found, "waited_s": round(waited_s), "quiet": is_quiet}


def wait_for_quiet(
    most_s: float,
    load: Callable[[], float] | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> float:
    """Wait until the mean load of the last minute is at most ``MOST_LOAD``, but not for ever.

    Returns:
        The seconds waited.
    """
    load = load or (lambda: os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0)
    began_s, now = clock(), load()
    if now > MOST_LOAD and most_s > 0:
        print(f"load {now:.2f}: waiting for a quiet machine, {most_s:.0f} s at most", flush=True)
    while now > MOST_LOAD and clock() - began_s < most_s:
        sleep(_LOOK_EVERY_S)
        now = load()
    return clock() - began_s


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table whose first column is on the left."""
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    for cells in (columns, *rows):
        first, *rest = zip(cells, widths, strict=True)
        print("  ".join([f"{first[0]:<{first[1]}}", *(f"{cell:>{wide}}" for cell, wide in rest)]))
    sys.stdout.flush()


def finish(record: Mapping[str, Any], checks: Sequence[Check], given: argparse.Namespace) -> None:
    """Print the promises, write the record, and fail where one is missed and that was asked."""
    for check in checks:
        print(check)
    if given.out:
        whole = {**record, "checks": [check.to_record() for check in checks]}
        text = json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False)
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(text + "\n", encoding="utf-8")
    missed = [check.what for check in checks if not check.holds]
    if given.check and missed:
        sys.exit(f"missed: {'; '.join(missed)}")
