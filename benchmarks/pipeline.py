"""From the bytes of a JPEG to a decision, against the bare network: what all the rest costs.

    python benchmarks/pipeline.py [--assert] [--out FILE] [--models DIR] [--no-peer]

ResNet-50 in int8 on two cores, in the engine that is faster here: decode, prepare, infer,
calibrate, decide. Sustained: as many photos a second as it can, against as many of the bare network
with the same streams and batches. Single: one photo at a time, in milliseconds beyond the bare
network. Maps: the graph with maps, asked for or not, against the graph without. All take turns.

The peer is the Ultralytics classify predictor, run as an outside program (it is AGPL) on a network
of similar cost, from the files of the same photos to answers. It computes in float32 and takes one
photo after the other, where Beltsight computes in int8 and, sustained, in batches: the ratio is of
two programs as they come, not of two networks. It is installed in an environment of its own, or its
row says why not.

Photos a second are the median of the rounds, as all ratios are.

A quick look: --backbone resnet18 --size 64 --photos 40 --rounds 2 --turn 0.1 --no-peer
"""

from __future__ import annotations

import itertools
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
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

MOST_TIME, MOST_MORE_MS, MOST_MAPS = 1.15, 3.0, 1.03
_JPEGS = [path.read_bytes() for path in sorted(DEMO.glob("*/*.jpg"))]
_MAPS = ("_map", "_places")


def fastest_engine(file: Path, threads: int, turn_s: float) -> str:
    """Of the engines that compute in the file's own numbers, the one with the least latency."""
    import beltsight
    from beltsight.bench import summarise, take_turns, time_calls
    from beltsight.engines import available_engines

    turns = {}
    for name in available_engines():
        if "-cpu" in name and not name.endswith("bf16"):
            model = beltsight.Model.load(file, engine=name, threads=threads)
            run = partial(_run_engine, model)
            photo = model.prepare(_JPEGS[0])[None]
            turns[name] = partial(time_calls, run, [photo], warm_up=5, least_s=turn_s)
    taken = take_turns(turns, 3)
    return min(taken, key=lambda name: summarise(taken[name]).p50_ms)


def _run_engine(model: Any, photos: Any) -> Any:
    return model.engine.run(photos, [*(task.name for task in model.tasks), "embedding"])


def bound(model: Any) -> Any:
    """The packaged policy for this model, which does not tell contamination."""
    import beltsight

    policy = beltsight.load_policy().model_copy(update={"without_contamination": "clean"})
    return beltsight.bind(policy, model.tasks, model.hash)


def bare_stream(model: Any, batch: int, callers: int, photos: Iterable[Any]) -> Iterator[Any]:
    """The bare network on prepared photos, as many calls at once as the engine has streams."""
    supply = iter(photos)
    batches = iter(lambda: list(itertools.islice(supply, batch)), [])
    import numpy as np

    with ThreadPoolExecutor(callers) as pool:
        for answers in pool.map(partial(_run_engine, model), map(np.stack, batches)):
            yield from next(iter(answers.values()))


def whole_stream(model: Any, batch: int, jpegs: Iterable[bytes]) -> Iterator[Any]:
    """JPEGs to decisions."""
    decider = bound(model)
    for prediction in model.stream(jpegs, batch_size=batch):
        yield decider.decide(prediction)


def sustained(file: Path, engine: str, given: Any) -> dict[str, Callable[[], Any]]:
    import beltsight
    from beltsight.bench import time_stream

    threads = given.threads
    model = beltsight.Model.load(file, engine=engine, threads=threads, streams=threads)
    prepared = [model.prepare(jpeg) for jpeg in _JPEGS]
    warm_up = 2 * threads * given.batch
    count = given.photos + warm_up

    def turn(flow: Callable[[Iterable[Any]], Iterator[Any]], items: list[Any]) -> Any:
        return time_stream(flow, itertools.islice(itertools.cycle(items), count), warm_up=warm_up)

    return {
        "sustained, bare": partial(
            turn, partial(bare_stream, model, given.batch, threads), prepared
        ),
        "sustained, whole": partial(turn, partial(whole_stream, model, given.batch), _JPEGS),
    }


def single(file: Path, engine: str, given: Any) -> dict[str, Callable[[], Any]]:
    import beltsight
    from beltsight.bench import time_calls

    model = beltsight.Model.load(file, engine=engine, threads=given.threads)
    decider = bound(model)
    photos = [model.prepare(jpeg)[None] for jpeg in _JPEGS]

    def whole(jpeg: bytes) -> Any:
        return decider.decide(model.predict(jpeg)[0])

    timed = partial(time_calls, warm_up=5, least_calls=5, least_s=given.turn)
    return {
        "single, bare": partial(timed, partial(_run_engine, model), photos),
        "single, whole": partial(timed, whole, _JPEGS),
    }


def maps(file: Path, engine: str, given: Any) -> dict[str, Callable[[], Any]]:
    import beltsight
    from beltsight.bench import time_calls
    from beltsight.engines import open_engine

    model = beltsight.Model.load(file, engine=engine, threads=given.threads)
    names = [*(task.name for task in model.tasks), "embedding"]
    with_maps = [*names, *(name for name in model.engine.outputs if name.endswith(_MAPS))]
    bare = open_engine(engine, without_maps(file), given.threads)
    photos = [model.prepare(jpeg)[None] for jpeg in _JPEGS]

    def run(engine: Any, names: list[str], photo: Any) -> Any:
        return engine.run(photo, names)

    timed = partial(time_calls, warm_up=5, least_calls=5, least_s=given.turn)
    return {
        "maps, none in the file": partial(timed, partial(run, bare, names), photos),
        "maps, not asked for": partial(timed, partial(run, model.engine, names), photos),
        "maps, asked for": partial(timed, partial(run, model.engine, with_maps), photos),
    }


def without_maps(file: Path) -> bytes:
    """The graph without the outputs for maps; engines drop what nothing asks for."""
    import onnx

    model = onnx.load(file)
    kept = [output for output in model.graph.output if not output.name.endswith(_MAPS)]
    assert len(kept) < len(model.graph.output), "the file has no maps"
    del model.graph.output[:]
    model.graph.output.extend(kept)
    content: bytes = model.SerializeToString()
    return content


def per_photo_s(timings: list[Any]) -> list[float]:
    return [timing.wall_s / timing.frames for timing in timings]


def judge(taken: Mapping[str, list[Any]]) -> tuple[dict[str, Any], list[Check]]:
    """The figures promised, with their spread over rounds."""
    from beltsight.bench import ratio_of_medians

    bare, whole = per_photo_s(taken["sustained, bare"]), per_photo_s(taken["sustained, whole"])
    time = ratio_of_medians(whole, bare)
    pairs = zip(taken["single, whole"], taken["single, bare"], strict=True)
    more_ms = [1e3 * (_median(w) - _median(b)) for w, b in pairs]
    without = [each.times_s for each in taken["maps, none in the file"]]
    asked, unasked = (
        ratio_of_medians([each.times_s for each in taken[name]], without)
        for name in ("maps, asked for", "maps, not asked for")
    )
    figures = {
        "sustained_time_to_bare": time.to_record(),
        "single_more_ms": {
            "value": round(statistics.median(more_ms), 3),
            "low": round(min(more_ms), 3),
            "high": round(max(more_ms), 3),
        },
        "maps_asked_time": asked.to_record(),
        "maps_not_asked_time": unasked.to_record(),
    }
    checks = [
        Check("sustained, time over the bare network's", time.value, most=MOST_TIME),
        Check("single, ms beyond the bare network", statistics.median(more_ms), most=MOST_MORE_MS),
        Check("maps asked for, time over a file without", asked.value, most=MOST_MAPS),
        Check("maps not asked for, time over a file without", unasked.value, most=MOST_MAPS),
    ]
    return figures, checks


def _median(timing: Any) -> float:
    return float(statistics.median(timing.times_s.tolist()))


def against_peer(file: Path, engine: str, given: Any, folder: Path) -> dict[str, Any]:
    """Photos a second of the outside program and of ours, in turns; or why there are none."""
    from benchmarks.ultralytics_peer import NETWORK, PeerMissingError, Predictor, install

    from beltsight.bench import ratio_of_medians, take_turns

    try:
        peer = Predictor(install(given.peers), folder, size=given.size, threads=given.threads)
        operations = peer.gigaoperations()
        ours = sustained(file, engine, given)["sustained, whole"]
        one = single(file, engine, given)["single, whole"]
        turns: dict[str, Callable[[], Any]] = {
            "peer": partial(peer.seconds_per_photo, given.photos), "sustained": ours, "single": one,
        }  # fmt: skip
        taken = take_turns(turns, given.peer_rounds)
    except PeerMissingError as error:
        print(f"Ultralytics: not measured: {error}")
        return {"not_measured": str(error)}
    one_s = [_median(timing) for timing in taken["single"]]
    many = ratio_of_medians(taken["peer"], per_photo_s(taken["sustained"]))
    alone = ratio_of_medians(taken["peer"], one_s)
    median_ms = 1e3 * statistics.median(taken["peer"])
    print(
        f"Ultralytics, {NETWORK.removesuffix('.yaml')} ({operations or 0:.1f} billion operations), "
        f"float32, one photo after the other: {median_ms:.1f} ms a photo; Beltsight in int8 is "
        f"{many} times as fast sustained, {alone} times one photo at a time"
    )
    return {
        "network": NETWORK,
        "computes": "float32, one photo after the other",
        "gigaoperations": operations and round(operations, 2),
        "ms_per_photo": round(median_ms, 2),
        "times_as_fast_sustained": many.to_record(),
        "times_as_fast_single": alone.to_record(),
        "rounds": given.peer_rounds,
    }


def measure(file: Path, given: Any, folder: Path) -> tuple[dict[str, Any], list[Check]]:
    from beltsight.bench import summarise, take_turns

    engine = given.engine or fastest_engine(file, given.threads, given.turn)
    print(f"{file.stem} in {engine}, {given.threads} threads, batches of {given.batch} sustained")
    parts = (sustained, single, maps)
    turns = {k: v for part in parts for k, v in part(file, engine, given).items()}
    taken = take_turns(turns, given.rounds)
    rows = {name: summarise(timings, given.threads).to_record() for name, timings in taken.items()}
    for name, row in rows.items():
        if name.startswith("sustained"):
            rate = 1 / statistics.median(per_photo_s(taken[name]))
            row["median_photos_per_s"] = float(f"{rate:.4g}")
            what = f"{rate:8.1f} photos/s"
        else:
            what = f"{row['p50_ms']:8.2f} ms, 90 % {row['p90_ms']:.2f}, 99 % {row['p99_ms']:.2f}"
        print(f"  {name:24} {what}, CPU {row['cpu_share']:.0%}")
    figures, checks = judge(taken)
    peer = {} if given.no_peer else {"ultralytics": against_peer(file, engine, given, folder)}
    return {"engine": engine, "rows": rows, **figures, **peer}, checks


def main() -> None:
    parser = network_options(__doc__)
    stream_options(parser)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--photos", type=int, default=300, help="photos of a sustained turn")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peer-rounds", type=int, default=3)
    parser.add_argument("--turn", type=float, default=2.0, help="least seconds of a single turn")
    parser.add_argument("--no-peer", action="store_true", help="leave Ultralytics out")
    parser.add_argument("--peers", type=Path, help="environment of the peers (default .venv-peers)")
    given, machine = begin(parser)
    from benchmarks.networks import float_model, int8_model
    from benchmarks.ultralytics_peer import VENV

    given.peers = given.peers or VENV
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        file = int8_model(
            float_model(given.backbone, given.models or folder, given.size), given.float_layers
        )
        found, checks = measure(file, given, folder)
    what = "JPEG bytes (512 x 384) to decision against the bare network, int8"
    record = {
        **network_record(what, machine, given),
        **{name: getattr(given, name) for name in ("backbone", "batch", "photos", "rounds")},
        **found,
    }
    finish(record, checks, given)


if __name__ == "__main__":
    main()
