"""What real photos look like inside the network: the ranges and means that int8 is fitted to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beltsight.dataset.index import Dataset
from beltsight.engines.libraries import import_onnxruntime
from beltsight.errors import DatasetError, ImageError, ModelError
from beltsight.model import Model
from beltsight.quantization.layers import Layout
from beltsight.quantization.rounding import best_range
from beltsight.records import Floats, Sample

Progress = Callable[[str, int, int], None]
"""Told of each step: (what, done, in all)."""

# Of prepared photos every level is kept. With exactly 256 steps for 256 shades each would lie half
# way between two steps where 0 is not a shade, and each engine would round it to its own side.
_ROOM = 1.004
# Values of one tensor, about: of a photo, and of all photos.
_SAMPLED = 4096
_SAMPLED_IN_ALL = 64 * _SAMPLED


@dataclass(frozen=True, slots=True, eq=False)
class Ranges:
    """What calibration saw.

    Args:
        ranges: (low, high) per tensor.
        means: per tensor that a layer reads, the mean of each channel.
    """

    ranges: Mapping[str, tuple[float, float]]
    means: Mapping[str, NDArray[np.float64]]


def choose_samples(dataset: Dataset, count: int, seed: int) -> tuple[Sample, ...]:
    """A bounded number of photos, as many of each combination of labels as there are.

    Args:
        dataset: of one split.
        count: photos wanted; all where there are fewer.
        seed: of the order within a class.
    """
    chance = np.random.default_rng(seed)
    groups: dict[tuple[tuple[str, str], ...], list[Sample]] = {}
    for sample in dataset.samples:
        groups.setdefault(tuple(sorted(sample.labels.items())), []).append(sample)
    queues = []
    for key in sorted(groups):
        order = chance.permutation(len(groups[key]))
        queues.append([groups[key][place] for place in order])
    rounds = (queue[turn] for turn in range(count) for queue in queues if turn < len(queue))
    return tuple(sample for _, sample in zip(range(count), rounds, strict=False))


def prepare_samples(model: Model, samples: Sequence[Sample]) -> NDArray[np.uint8]:
    """The photos that can be read, as the model sees them: uint8 (N, H, W, 3).

    Raises:
        DatasetError: none can.
    """
    preparation = model.card.image_preparation
    photos = np.empty((len(samples), preparation.height, preparation.width, 3), np.uint8)
    count, reason = 0, "there are none"
    for sample in samples:
        try:
            photos[count] = model.prepare(sample.path)
            count += 1
        except ImageError as error:
            reason = str(error)
    if not count:
        raise DatasetError(f"no photo to calibrate on could be read: {reason}")
    return photos[:count]


def measure_ranges(
    layout: Layout, photos: NDArray[np.uint8], threads: int, progress: Progress
) -> Ranges:
    """Run photos through the float graph and fit a range to each tensor.

    One photo at a time, and of each tensor a sample, so that memory stays bounded.

    Args:
        layout: of the float graph.
        photos: uint8 (N, H, W, 3) RGB, prepared.
        threads: computing threads; 0 means one per core.
        progress: told of each photo.

    Raises:
        ModelError: ONNX Runtime cannot compute the graph, or a value is not a number.
    """
    session = float_session(_with_outputs(layout), threads)
    sources = {layer.source: layer for layer in layout.layers}
    names = tuple(dict.fromkeys((*layout.tensors, *sources)))
    ends = dict.fromkeys(names, (np.inf, -np.inf))
    samples: dict[str, list[Floats]] = {name: [] for name in names}
    sums: dict[str, NDArray[np.float64]] = {}
    most = min(_SAMPLED, max(1, _SAMPLED_IN_ALL // len(photos)))
    for number, photo in enumerate(photos):
        values = compute(session, list(names), {session.get_inputs()[0].name: photo[None]})
        for name, value in zip(names, values, strict=True):
            low, high = float(value.min()), float(value.max())
            if not np.isfinite(low + high):
                raise ModelError(f"inside the network a value is not a number ({name})")
            ends[name] = (min(ends[name][0], low), max(ends[name][1], high))
            samples[name].append(_sampled(value, number, most))
            if name in sources:
                sums[name] = sums.get(name, 0.0) + channel_means(value)
        progress("Calibrating", number + 1, len(photos))
    ranges = {name: best_range(np.concatenate(samples[name]), *ends[name]) for name in names}
    extremes = np.stack([np.full_like(photos[0], shade) for shade in (0, 255)])
    feeds = {session.get_inputs()[0].name: extremes}
    for name, value in zip(
        layout.entries, compute(session, list(layout.entries), feeds), strict=True
    ):
        ranges[name] = (_ROOM * min(0.0, float(value.min())), _ROOM * max(0.0, float(value.max())))
    return Ranges(ranges, {name: total / len(photos) for name, total in sums.items()})


def channel_means(value: Floats) -> NDArray[np.float64]:
    """Means over all but the channels: the second axis of (N, C, H, W), the last of others."""
    channels = 1 if value.ndim == 4 else value.ndim - 1
    others = tuple(axis for axis in range(value.ndim) if axis != channels)
    return np.asarray(value.mean(axis=others, dtype=np.float64))


def float_session(model: bytes, threads: int) -> Any:
    """An ONNX Runtime session on the CPU.

    Raises:
        ModelError: ONNX Runtime cannot load the graph.
    """
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own exceptions derive from Exception alone
        raise ModelError(f"ONNX Runtime cannot load the graph: {str(error)[:300]}") from error


def compute(session: Any, names: list[str], feeds: Mapping[str, NDArray[Any]]) -> list[Floats]:
    """The named tensors for these inputs.

    Raises:
        ModelError: ONNX Runtime cannot compute them.
    """
    try:
        values: list[Floats] = session.run(names, dict(feeds))
    except Exception as error:  # as above
        raise ModelError(f"ONNX Runtime cannot compute the graph: {str(error)[:300]}") from error
    return values


def _sampled(value: Floats, number: int, most: int) -> Floats:
    """Some values, others in each photo; an odd step does not fall in with rows and channels."""
    flat = value.ravel()
    step = max(1, flat.size // most) | 1
    return flat[number % step :: step].copy()


def _with_outputs(layout: Layout) -> bytes:
    """The graph that also gives the tensors to be measured."""
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(layout.model)
    given = {output.name for output in model.graph.output}
    wanted = dict.fromkeys((*layout.tensors, *(layer.source for layer in layout.layers)))
    for name in wanted:
        if name not in given:
            kind = onnx.TensorProto.FLOAT
            model.graph.output.append(onnx.helper.make_tensor_value_info(name, kind, None))
    return bytes(model.SerializeToString())
