"""Milliseconds from a prepared photo to a network's outputs, against PyTorch and the engines alone.

    python benchmarks/latency.py [--assert] [--out FILE] [--models DIR]

ResNet-50, ResNet-18 and MobileNetV2 at 224 px, one photo at a time on two cores: in Beltsight with
every engine and precision, in PyTorch (inference mode, float32, two threads, the better of both
memory formats; photos normalised beforehand), and in the engines used without Beltsight. All take
turns in one process. Ratios are of medians; the spread is the least and the most of a round.

Weights are random, which is the same work. How far a network is from the limit is its operations
over what the machine does in large matrix products of the same precision, both measured here.

A quick look: --backbones resnet18 --size 64 --rounds 2 --turn 0.1
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
    print_rows,
)

FLOORS = {("resnet50", "int8"): 4.0, ("resnet50", "bf16"): 2.5, ("resnet18", "int8"): 3.0}
BACKBONES = ("resnet50", "resnet18", "mobilenetv2_100")
PEER, OURS, ALONE = "PyTorch", "Beltsight", "alone"


@dataclass(frozen=True)
class Entry:
    """One contestant.

    Args:
        side: ``PEER``, ``OURS`` or ``ALONE``.
        engine: what computes.
        precision: in which numbers.
        turn: measures it once.
    """

    side: str
    engine: str
    precision: str
    turn: Callable[[], Any]

    @property
    def title(self) -> str:
        side = "" if self.side == PEER else f"{self.side}: "
        return f"{side}{self.engine}, {self.precision}"


def entries_of(plain: Path, int8: Path, turn_s: float, threads: int) -> list[Entry]:

    import beltsight
    from beltsight.train.eager import eager_networks

    model = beltsight.load(plain)
    photos = [model.prepare(path)[None] for path in sorted(DEMO.glob("*/*.jpg"))[:4]]
    found = [
        Entry(PEER, peer.contestant.engine, "float32", _timed(peer.run, inputs, turn_s))
        for peer in eager_networks([model.card], threads)
        for inputs in [[peer.prepare(photo) for photo in photos]]
    ]
    for file, is_int8 in ((plain, False), (int8, True)):
        found += _ours(file, is_int8, photos, turn_s, threads)
        found += _alone(file, is_int8, photos, turn_s, threads)
    return found


def _ours(
    file: Path, is_int8: bool, photos: Sequence[Any], turn_s: float, threads: int
) -> list[Entry]:
    import beltsight
    from beltsight.engines import available_engines

    found = []
    for name in available_engines():
        if "-cpu" not in name or (is_int8 and name.endswith("bf16")):
            continue
        # Random weights are refused by the golden check in bf16, and rightly.
        model = beltsight.Model.load(file, engine=name, threads=threads, verify=False)
        names = [*(task.name for task in model.tasks), "embedding"]
        run = partial(_call, model.engine.run, names)
        precision = "int8" if is_int8 else "bf16" if name.endswith("bf16") else "float32"
        found.append(Entry(OURS, name, precision, _timed(run, photos, turn_s)))
    return found


def _alone(
    file: Path, is_int8: bool, photos: Sequence[Any], turn_s: float, threads: int
) -> list[Entry]:
    from benchmarks.alone import onnx_runtime_alone, openvino_alone

    import beltsight
    from beltsight.engines import available_engines

    tasks = beltsight.Model.load(file, verify=False).tasks
    names = [*(task.name for task in tasks), "embedding"]
    number = "int8" if is_int8 else "float32"
    there = available_engines()
    runs = [("onnxruntime-cpu", number, onnx_runtime_alone(file, names, threads))]
    if "openvino-cpu" in there:
        runs.append(("openvino-cpu", number, openvino_alone(file, "f32", threads)))
    if "openvino-cpu-bf16" in there and not is_int8:
        runs.append(("openvino-cpu", "bf16", openvino_alone(file, "bf16", threads)))
    return [
        Entry(ALONE, name, precision, _timed(run, photos, turn_s)) for name, precision, run in runs
    ]


def _call(run: Callable[..., Any], names: Sequence[str], photos: Any) -> Any:
    return run(photos, names)


def _timed(run: Callable[[Any], Any], inputs: Sequence[Any], turn_s: float) -> Callable[[], Any]:
    from beltsight.bench import time_calls

    return partial(time_calls, run, inputs, warm_up=5, least_calls=5, least_s=turn_s)


def measure(backbone: str, folder: Path, given: Any, peaks: Mapping[str, float]) -> dict[str, Any]:
    """All contestants of one network, in turns."""
    from benchmarks.networks import float_model, int8_model

    from beltsight.bench import Ratio, ratio_of_medians, summarise, take_turns

    plain = float_model(backbone, folder, given.size)
    int8 = int8_model(plain, given.float_layers)
    entries = entries_of(plain, int8, given.turn, given.threads)
    taken = take_turns({entry.title: entry.turn for entry in entries}, given.rounds)
    found = {title: summarise(timings, given.threads) for title, timings in taken.items()}
    times = {title: [each.times_s for each in timings] for title, timings in taken.items()}

    def best(side: str, precision: str) -> str | None:
        titles = [e.title for e in entries if (e.side, e.precision) == (side, precision)]
        return min(titles, key=lambda title: found[title].p50_ms) if titles else None

    def ratio(other: str | None, ours: str | None) -> Ratio | None:
        return ratio_of_medians(times[other], times[ours]) if other and ours else None

    peer = best(PEER, "float32")
    operations = operations_of(plain)
    precisions = {}
    for precision in ("float32", "bf16", "int8"):
        if (ours := best(OURS, precision)) is None:
            continue
        against, beside = ratio(peer, ours), ratio(best(ALONE, precision), ours)
        limit_ms = 1e3 * operations / peaks[precision] if precision in peaks else None
        precisions[precision] = {
            "best": ours,
            "ms": round(found[ours].p50_ms, 3),
            "times_as_fast_as_pytorch": against.to_record() if against else None,
            "times_as_fast_as_engine_alone": beside.to_record() if beside else None,
            "limit_ms": limit_ms and round(limit_ms, 3),
            "share_of_limit": limit_ms and round(limit_ms / found[ours].p50_ms, 3),
        }
    rows = {title: summary.to_record() for title, summary in found.items()}
    return {"gigaoperations": round(operations / 1e9, 3), "best": precisions, "rows": rows}


def operations_of(file: Path) -> float:
    from benchmarks.networks import count_operations

    import beltsight
    from beltsight.train.eager import eager_networks

    return count_operations(eager_networks([beltsight.load(file).card])[0].network)


def show(backbone: str, result: Mapping[str, Any]) -> None:
    print(f"\n{backbone}: {result['gigaoperations']:.2f} billion operations a photo")
    rows = [
        [title, *(f"{row[key]:.2f}" for key in ("p50_ms", "p90_ms", "p99_ms")),
         f"{row['frames_per_s']:.1f}", f"{row['cpu_share']:.0%}"]
        for title, row in result["rows"].items()
    ]  # fmt: skip
    print_rows(("one photo", "median ms", "90 %", "99 %", "photos/s", "CPU"), rows)
    for precision, best in result["best"].items():
        peer, alone = best["times_as_fast_as_pytorch"], best["times_as_fast_as_engine_alone"]
        print(
            f"  {precision}: {best['ms']:.2f} ms, {_text(peer)} as PyTorch, "
            f"{_text(alone)} as the best engine alone; {_limit(best)}"
        )


def _text(ratio: Mapping[str, float] | None) -> str:
    if ratio is None:
        return "not measured"
    return f"{ratio['value']:.2f} times as fast ({ratio['low']:.2f} to {ratio['high']:.2f})"


def _limit(best: Mapping[str, Any]) -> str:
    if best["limit_ms"] is None:
        return "limit not measured"
    return f"{best['share_of_limit']:.0%} of the limit, {best['limit_ms']:.2f} ms"


def checks_of(results: Mapping[str, Mapping[str, Any]]) -> list[Check]:
    return [
        Check(
            f"{backbone} in {precision}, times as fast as PyTorch",
            results[backbone]["best"][precision]["times_as_fast_as_pytorch"]["value"],
            least=floor,
        )
        for (backbone, precision), floor in FLOORS.items()
        if backbone in results and precision in results[backbone]["best"]
    ]


def main() -> None:
    parser = network_options(__doc__)
    parser.add_argument("--backbones", nargs="+", default=BACKBONES)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--turn", type=float, default=1.0, help="least seconds of a turn")
    given, machine = begin(parser)
    from benchmarks.matmul import SIDE, measured_peaks

    peaks = measured_peaks(given.threads, 3, given.turn, SIDE if given.size >= 224 else 256)
    found = ", ".join(f"{peak / 1e9:.0f} in {name}" for name, peak in peaks.items())
    print(f"large matrix products, billion operations a second: {found}")
    results = {}
    with tempfile.TemporaryDirectory() as temporary:
        for backbone in given.backbones:
            results[backbone] = measure(backbone, given.models or Path(temporary), given, peaks)
            show(backbone, results[backbone])
    record = {
        **network_record("one prepared photo to a network's outputs, milliseconds", machine, given),
        "rounds": given.rounds,
        "turn_s": given.turn,
        "peak_gigaoperations_per_s": {k: round(v / 1e9, 1) for k, v in peaks.items()},
        "networks": results,
    }
    finish(record, checks_of(results), given)


if __name__ == "__main__":
    main()
