"""What a stage learns from: augmented photos, or activations of the frozen trunk.

A stage sees the same views in the same order either way; from activations, an epoch costs
only the layers that learn.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from beltsight.train.activations import (
    Activations,
    CacheWatcher,
    Trunk,
    cache_key,
    cached_activations,
)
from beltsight.train.batches import (
    EpochOrder,
    augmentation_identity,
    make_loader,
    view_batches,
)
from beltsight.train.network import Network
from beltsight.train.photos import PreparedPhotos, pixels_digest
from beltsight.train.plan import cut_of
from beltsight.train.precision import Precision
from beltsight.train.settings import Stage, TrainSettings
from beltsight.train.trunk import Cut
from beltsight.train.trunk_engine import choose_trunk, note_trunks, noted_trunks

CACHE_FOLDER = "activations"
NOTES_FILE = "trunks.json"
_BATCH = 64


@dataclass(frozen=True, slots=True)
class Answers:
    """What a network answers to a batch.

    Args:
        logits: (N, C) per task.
        places: logits (N, h, w) of dirt, and uint8 masks (N, H, W) to compare them with; None
            where the inputs have no masks.
    """

    logits: dict[str, Tensor]
    places: tuple[Tensor, Tensor] | None = None


class Feed(Protocol):
    """Inputs of the training and validation photos, and what answers them."""

    order: EpochOrder

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and int64 labels (N, tasks) of one epoch, ``order.epoch``."""

    def validation(self) -> Iterator[Tensor]:
        """Inputs of the validation photos in their order."""

    def logits(self, network: Network, inputs: Tensor) -> dict[str, Tensor]:
        """Logits per task."""

    def answers(self, network: Network, inputs: Tensor) -> Answers:
        """Logits per task, and what each place says of its dirt where the inputs have masks."""


class PhotoFeed:
    """Augmented photos through the whole network."""

    def __init__(
        self,
        train: PreparedPhotos,
        val: PreparedPhotos,
        settings: TrainSettings,
        stage: Stage,
        more: frozenset[str],
    ) -> None:
        self._val = val
        self._loader, self.order = make_loader(
            train, settings, views=stage.views, augmented_more=more
        )

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """uint8 (N, H, W, 3), with masks (N, H, W, 4), and labels."""
        return iter(self._loader)

    def validation(self) -> Iterator[Tensor]:
        """uint8 (N, H, W, 3)."""
        pixels = self._val.pixels()
        for start in range(0, len(pixels), _BATCH):
            yield torch.from_numpy(pixels[start : start + _BATCH].copy())

    def logits(self, network: Network, inputs: Tensor) -> dict[str, Tensor]:
        """Through the whole network."""
        answer: dict[str, Tensor] = network(inputs)
        return answer

    def answers(self, network: Network, inputs: Tensor) -> Answers:
        """Through the whole network."""
        logits, places = network.answers(inputs[..., :3])
        if places is None or inputs.shape[-1] == 3:
            return Answers(logits)
        return Answers(logits, (places, inputs[..., 3]))


class CachedFeed:
    """Activations of the frozen trunk through the layers after it."""

    def __init__(
        self,
        activations: Activations,
        cut: Cut,
        train: PreparedPhotos,
        settings: TrainSettings,
        views: int,
    ) -> None:
        self._activations, self._cut = activations, cut
        self._labels = torch.from_numpy(train.labels)
        self._val_start = views * len(train)
        self.order = EpochOrder(train, settings, views=views)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Activations and labels."""
        for keys in self.order:
            indices = [index for _, index in keys]
            rows = [view * len(self._labels) + index for view, index in keys]
            yield self._activations.batch(rows), self._labels[indices]

    def validation(self) -> Iterator[Tensor]:
        """Activations."""
        for start in range(self._val_start, self._activations.rows, _BATCH):
            yield self._activations.batch(slice(start, start + _BATCH))

    def logits(self, network: Network, inputs: Tensor) -> dict[str, Tensor]:
        """Through the layers after the trunk."""
        return self._cut.logits(network, inputs)

    def answers(self, network: Network, inputs: Tensor) -> Answers:
        """Through the layers after the trunk; masks are not kept."""
        return Answers(self._cut.logits(network, inputs))


class Feeds:
    """The feed of each stage; owns the activations on disk.

    Args:
        train, val: prepared photos.
        settings: stages, views, cache.
        folder: of the run.
        precision: the trunk computes in it, as the network does.
        watch: told of caching.
    """

    def __init__(
        self,
        train: PreparedPhotos,
        val: PreparedPhotos,
        settings: TrainSettings,
        folder: Path,
        precision: Precision,
        watch: CacheWatcher,
    ) -> None:
        self._train, self._val, self._settings = train, val, settings
        self._own = not settings.cache_folder
        self._folder = folder / CACHE_FOLDER if self._own else Path(settings.cache_folder)
        # Of the run, not of the cache: where the cache lies may change when a run goes on.
        self._notes = folder / NOTES_FILE
        self._precision = precision
        self._watch = watch
        self._pixels = ""
        self._trunks: dict[str, Trunk] = {}

    def open(self, network: Network, index: int, more: frozenset[str]) -> Feed:
        """The feed of one stage, whose part of the network has been chosen to learn.

        Args:
            network: as it stands.
            index: of the stage.
            more: classes that are augmented more.
        """
        stage = self._settings.stages[index]
        cut = cut_of(network, stage, self._settings)
        if cut is None:
            return PhotoFeed(self._train, self._val, self._settings, stage, more)
        activations = self._chain(network, self._cuts(network, index, cut), stage.views, more)
        return CachedFeed(activations, cut, self._train, self._settings, stage.views)

    def close(self) -> None:
        """Remove what was kept for this run alone."""
        self._notes.unlink(missing_ok=True)
        if self._own:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _cuts(self, network: Network, index: int, cut: Cut) -> list[Cut]:
        """This stage's cut, behind the earlier ones that the following cached stages need.

        Theirs are computed first, and this stage's from them: the photos go through the first
        layers once.
        """
        found = {cut}
        views = self._settings.stages[index].views
        for stage in self._settings.stages[index + 1 :]:
            later = cut_of(network, stage, self._settings) if stage.views == views else None
            if later is None:
                break
            if len(later.after) > len(cut.after):
                found.add(later)
        return sorted(found, key=lambda each: -len(each.after))

    def _chain(
        self, network: Network, cuts: Sequence[Cut], views: int, more: frozenset[str]
    ) -> Activations:
        """Activations at the last of the cuts, each computed from the one before."""
        if not self._pixels:
            self._pixels = pixels_digest([self._train, self._val])
        identity = augmentation_identity(self._train, self._settings, more)
        key = cache_key([self._pixels, identity, views, *self._layout()])
        photos = functools.partial(self._photos, views, more)
        rows = views * len(self._train) + len(self._val)
        activations: Activations | None = None
        source: Cut | None = None
        for cut in cuts:
            key = cache_key([key, cut.after, network.digest(without=cut.after)])
            # Chosen once: a trial takes time, and must not end otherwise in the next stage.
            if key not in self._trunks:
                noted = cache_key([key, self._precision.name])
                notes = noted_trunks(self._notes)
                trunk = choose_trunk(
                    network, self._precision, cut, source, rows, notes.get(noted, "")
                )
                note_trunks(self._notes, {**notes, noted: trunk.name})
                self._trunks[key] = trunk
            trunk = self._trunks[key]
            key = cache_key([key, trunk.name])
            inputs = photos if activations is None else functools.partial(_rows, activations)
            activations = cached_activations(self._folder / key, trunk, inputs, rows, self._watch)
            source = cut
        assert activations is not None
        return activations

    def _layout(self) -> list[Any]:
        """What activations depend on beside pixels, views and weights: how the backbone is built,
        which equal weights do not tell, and where the augmented photos end."""
        built = {"backbone", "backbone_args"}
        values = self._settings.model_dump(mode="json", include=built)
        return [values, len(self._train), len(self._val)]

    def _photos(self, views: int, more: frozenset[str], first: int) -> Iterator[Tensor]:
        """Photos of the cache's rows, from a row on."""
        keys = [(view, index) for view in range(views) for index in range(len(self._train))]
        yield from view_batches(
            self._train, self._settings, keys[first:], _BATCH, augmented_more=more
        )
        pixels = self._val.pixels()
        for start in range(max(0, first - len(keys)), len(pixels), _BATCH):
            yield torch.from_numpy(pixels[start : start + _BATCH].copy())


def _rows(activations: Activations, first: int) -> Iterator[Tensor]:
    for row in range(first, activations.rows, _BATCH):
        yield activations.batch(slice(row, min(row + _BATCH, activations.rows)))
