"""Photos through a model: decoding and computing overlap, the answers come in order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import chain, islice
from math import ceil
from typing import Generic, Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from beltsight.errors import ImageError
from beltsight.flow import ordered_map
from beltsight.image import Source
from beltsight.records import Floats, Photo
from beltsight.sources import StoredPhoto

S = TypeVar("S", bound="Source | StoredPhoto")
OnError = Literal["raise", "record"]
Outputs: TypeAlias = dict[str, Floats]
# Content that waits in memory is bounded, not only counted: beyond this nothing further is read.
# Machines with many cores may hold a photo or two of a good camera for each.
_HELD_BYTES = 256_000_000
_HELD_BYTES_OF_A_BATCH = 8_000_000
_MOST_BYTES_OF_A_BATCH = 64_000_000


def stream_outputs(
    sources: Iterable[S],
    prepare: Callable[[Source], Photo],
    compute: Callable[[NDArray[np.uint8]], Outputs],
    *,
    batch_size: int,
    on_error: OnError,
    threads: int,
    streams: int,
) -> Generator[tuple[S, Outputs | ImageError]]:
    """Prepare and compute photos in batches, in constant memory.

    Each thread takes a batch from its photos to its outputs. There is one more than there are
    streams, so that a prepared batch waits where a stream falls free; never do more compute than
    there are streams.

    Args:
        sources: read in the caller's thread, at most ``2 * (streams + 1)`` batches beyond the
            outputs that were taken.
        prepare: decodes one photo; safe from several threads.
        compute: outputs, whose first axis is N, of uint8 (N, H, W, 3); safe from several threads.
        batch_size: photos per call of ``compute``; fewer where so few photos come that one of the
            streams would have none.
        on_error: ``raise``, or ``record`` to give the ImageError in place of outputs.
        threads: in all; with 1 everything happens in the caller's.
        streams: calls of ``compute`` at once.

    Returns:
        Per photo its source and its own float32 arrays, without the batch axis.
    """
    gate, ending = threading.Semaphore(streams), threading.Event()
    workers = streams + 1
    shares = streams if threads > 1 else 1
    batches = _Batches(sources, batch_size, shares, ahead=2 * workers)

    def answer(batch: list[S]) -> list[tuple[S, Outputs | ImageError]]:
        prepared = []
        for source in batch:
            if ending.is_set():  # a store may be slow, and nobody waits for these any more
                return []
            prepared.append(_prepared(source, prepare, on_error))
        photos = [photo for photo in prepared if not isinstance(photo, ImageError)]
        outputs: Outputs = {}
        if photos:
            stacked = np.stack(photos)
            with gate:
                outputs = compute(stacked)
        return _paired(batch, prepared, outputs)

    answered = (
        ordered_map(answer, batches, workers, 2 * workers, batches.has_room, ending)
        if threads > 1
        else (answer(batch) for batch in batches)
    )
    with closing(answered):
        for rows in answered:
            batches.let_go(rows)
            yield from rows


class _Batches(Generic[S]):
    """Photos in batches, and how much content those hold that are not answered yet."""

    def __init__(self, sources: Iterable[S], size: int, shares: int, ahead: int) -> None:
        self._sources = sources
        self._size = size
        self._shares = shares
        self._room_bytes = max(_HELD_BYTES, _HELD_BYTES_OF_A_BATCH * ahead)
        self._most_bytes = min(_MOST_BYTES_OF_A_BATCH, self._room_bytes // ahead)
        self._held_bytes = 0
        self._problem: Exception | None = None  # what ended the sources

    def __iter__(self) -> Iterator[list[S]]:
        photos, size = self._begun()
        batch: list[S] = []
        batch_bytes = 0
        for photo in photos:
            batch.append(photo)
            batch_bytes += _bytes_of(photo)
            if len(batch) == size or batch_bytes > self._most_bytes:
                yield batch
                batch, batch_bytes = [], 0
        if batch:
            yield batch
        if self._problem is not None:
            raise self._problem

    def _begun(self) -> tuple[Iterator[S], int]:
        """All photos, and how many to a batch: where there are few, a share for each stream."""
        photos = self._read()
        if self._shares == 1:
            return photos, self._size
        first: list[S] = []
        for photo in islice(photos, self._shares * self._size):
            first.append(photo)
            if self._held_bytes > self._most_bytes:
                return chain(first, photos), self._size
        return chain(first, photos), min(self._size, max(1, ceil(len(first) / self._shares)))

    def _read(self) -> Iterator[S]:
        try:
            for photo in self._sources:
                self._held_bytes += _bytes_of(photo)
                yield photo
        except Exception as problem:  # comes at its turn: the photos before it are answered
            self._problem = problem

    def has_room(self) -> bool:
        return self._held_bytes < self._room_bytes

    def let_go(self, rows: Iterable[tuple[S, object]]) -> None:
        self._held_bytes -= sum(_bytes_of(source) for source, _ in rows)


def _bytes_of(source: Source | StoredPhoto) -> int:
    return source.held_bytes if isinstance(source, StoredPhoto) else 0


def _prepared(
    source: Source | StoredPhoto, prepare: Callable[[Source], Photo], on_error: OnError
) -> Photo | ImageError:
    try:
        return source.decoded(prepare) if isinstance(source, StoredPhoto) else prepare(source)
    except ImageError as error:
        if on_error == "raise":
            raise
        # Another one: the trace of this one holds the photo's content, in a circle.
        return type(error)(str(error))


def _paired(
    batch: Sequence[S], prepared: Sequence[Photo | ImageError], outputs: Outputs
) -> list[tuple[S, Outputs | ImageError]]:
    rows = iter(range(len(batch)))
    pairs: list[tuple[S, Outputs | ImageError]] = []
    for source, photo in zip(batch, prepared, strict=True):
        if isinstance(photo, ImageError):
            pairs.append((source, photo))
        else:
            row = next(rows)
            # Copies, so that one kept answer does not keep its whole batch in memory.
            pairs.append((source, {name: values[row].copy() for name, values in outputs.items()}))
    return pairs
