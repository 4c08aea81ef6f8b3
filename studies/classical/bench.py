"""One data set under study: its photos decoded once, their features kept on disk."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from studies.classical.features import Floats, Photo, make_describer, photo_without_bars

import beltsight
from beltsight.train.run import choose_samples
from beltsight.train.settings import TrainSettings

_CODE = Path(__file__).with_name("features.py").read_text(encoding="utf-8")
_QUICK_PER_CLASS = {"train": 6, "val": 6}


@dataclass(frozen=True)
class Described:
    """Feature rows (N, D) of some photos, and the processor seconds that they took."""

    rows: Floats
    cpu_s: float


@dataclass
class Bench:
    """Photos, labels and features of a data set.

    Args:
        name: of the data set.
        study: the settings of study.toml.
        samples: per split.
        classes: in the order of their indices.
        folder: where features are kept.
        left_out: photos that do not open, once their split was read.
    """

    name: str
    study: dict[str, Any]
    samples: dict[str, tuple[beltsight.Sample, ...]]
    classes: tuple[str, ...]
    folder: Path
    left_out: dict[str, list[str]] = field(default_factory=dict)
    _photos: dict[str, list[Photo]] = field(default_factory=dict)
    _labels: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    _names: dict[str, list[str]] = field(default_factory=dict)
    _describers: dict[str, Callable[[Photo], Floats]] = field(default_factory=dict)

    def photos(self, split: str) -> list[Photo]:
        """The photos of a split that open."""
        if split not in self._photos:
            say(f"{self.name}: decoding {len(self.samples[split]):,} photos of {split}")
            photos, labels, names = [], [], []
            self.left_out[split] = []
            for sample in self.samples[split]:
                try:
                    photos.append(photo_without_bars(sample.path, self.study["photo_side_px"]))
                except beltsight.BeltsightError:
                    self.left_out[split].append("/".join(sample.path.parts[-2:]))
                    continue
                labels.append(self.classes.index(sample.labels["material"]))
                names.append(sample.path.name)
            self._names[split] = names
            self._photos[split], self._labels[split] = photos, np.array(labels, np.int64)
        return self._photos[split]

    def labels(self, split: str) -> NDArray[np.int64]:
        """Class indices of :meth:`photos`."""
        self.photos(split)
        return self._labels[split]

    def names(self, split: str) -> list[str]:
        """File names of :meth:`photos`."""
        self.photos(split)
        return self._names[split]

    def describe(self, kind: str, variant: dict[str, Any], part: str) -> Described:
        """Features of a split, or of its mirrored photos (``train-mirrored``), kept on disk."""
        key = digest(self.key(), kind, variant, part, _CODE)
        file = self.folder / f"{kind}-{part}-{key[:16]}.npz"
        if not file.exists():
            describer = self._describer(kind, variant)
            say(f"{self.name}: {kind} {variant} of {part}")
            split = part.removesuffix("-mirrored")
            photos: Iterable[Photo] = self.photos(split)
            if part != split:
                photos = (np.ascontiguousarray(photo[:, ::-1]) for photo in photos)
            start = time.process_time()
            rows = np.stack([describer(photo) for photo in photos])
            file.parent.mkdir(parents=True, exist_ok=True)
            draft = file.with_suffix(".part.npz")
            np.savez(draft, rows=rows, cpu_s=time.process_time() - start)
            draft.replace(file)  # whole, or not there
        with np.load(file) as kept:
            return Described(kept["rows"], float(kept["cpu_s"]))

    def key(self) -> list[Any]:
        """What all results on this data set depend on."""
        listed = {split: [s.path.name for s in found] for split, found in self.samples.items()}
        return [self.name, self.study["photo_side_px"], self.study["seed"], digest(listed)]

    def digest(self, *parts: Any) -> str:
        """SHA-256 of what a result depends on: photos, code of the features and these parts."""
        return digest(self.key(), _CODE, *parts)

    def _describer(self, kind: str, variant: dict[str, Any]) -> Callable[[Photo], Floats]:
        key = digest(kind, variant)
        if key not in self._describers:
            seed = self.study["seed"]
            make = make_describer(kind, variant, lambda: self.photos("train")[::4], seed)
            self._describers[key] = make
        return self._describers[key]


def open_bench(data: Path, study: dict[str, Any], folder: Path, *, is_quick: bool) -> Bench:
    """Index a data set; where it has no val split, part of train is held out as in training."""
    dataset = beltsight.load_dataset(data)
    _, splits = choose_samples(dataset, TrainSettings(seed=study["seed"]))
    samples = {split: tuple(found) for split, found in zip(("train", "val"), splits, strict=True)}
    if is_quick:
        # A few photos of each class; some of val stand for test, which is not looked at.
        few = {split: _few(found, _QUICK_PER_CLASS[split]) for split, found in samples.items()}
        samples = {"train": few["train"], "val": few["val"][::2], "test": few["val"][1::2]}
    else:
        samples["test"] = dataset.select("test").samples
    classes = dataset.task("material").classes
    return Bench(data.name, study, samples, classes, folder / data.name)


def _few(samples: Sequence[beltsight.Sample], per_class: int) -> tuple[beltsight.Sample, ...]:
    taken: Counter[str] = Counter()
    few = []
    for sample in samples:
        label = sample.labels["material"]
        taken[label] += 1
        if taken[label] <= per_class:
            few.append(sample)
    return tuple(few)


def digest(*parts: Any) -> str:
    """SHA-256 of settings, whatever order their keys are in."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def say(text: str) -> None:
    """Progress, for the person who waits."""
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)
