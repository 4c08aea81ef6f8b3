"""Photos through a model: decoding and computing overlap, the answers come in order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Literal, TypeAlias, TypeVar

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
# Content that waits in memory is bounded, not only counted: a batch ends early beyond this.
_MAX_HELD_BYTES = 64_000_000


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

    Each thread takes a batch from its photos to its outputs. There are as many threads as streams,
    so that no core waits for another; with one stream there are two, of which one prepares while
    the other computes.

    Args:
        sources: read in the caller's thread, at most ``2 * max(2, streams)`` batches beyond the
            outputs that were taken.
        prepare: decodes one photo; safe from several threads.
        compute: outputs, whose first axis is N, of uint8 (N, H, W, 3); safe from several threads.
        batch_size: photos per call of ``compute``.
        on_error: ``raise``, or ``record`` to give the ImageError in place of outputs.
        threads: in all; with 1 everything happens in the caller's.
        streams: calls of ``compute`` at once.

    Returns:
        Per photo its source and its own float32 arrays, without the batch axis.
    """
    gate = threading.Semaphore(streams)

    def answer(batch: list[S]) -> list[tuple[S, Outputs | ImageError]]:
        prepared = [_prepared(source, prepare, on_error) for source in batch]
        photos = [photo for photo in prepared if not isinstance(photo, ImageError)]
        outputs: Outputs = {}
        if photos:
            stacked = np.stack(photos)
            with gate:
                outputs = compute(stacked)
        return _paired(batch, prepared, outputs)

    batches = _batches(sources, batch_size)
    workers = max(2, streams)
    answered = (
        ordered_map(answer, batches, workers, 2 * workers)
        if threads > 1
        else (answer(batch) for batch in batches)
    )
    with closing(answered):
        for rows in answered:
            yield from rows


def _batches(sources: Iterable[S], size: int) -> Iterator[list[S]]:
    batch: list[S] = []
    held_bytes = 0
    for source in sources:
        batch.append(source)
        held_bytes += source.held_bytes if isinstance(source, StoredPhoto) else 0
        if len(batch) == size or held_bytes > _MAX_HELD_BYTES:
            yield batch
            batch, held_bytes = [], 0
    if batch:
        yield batch


def _prepared(
    source: Source | StoredPhoto, prepare: Callable[[Source], Photo], on_error: OnError
) -> Photo | ImageError:
    try:
        if not isinstance(source, StoredPhoto):
            return prepare(source)
        content = source.read()
        try:
            return prepare(content)
        except ImageError as error:
            raise source.own_error(error) from error
    except ImageError as error:
        if on_error == "raise":
            raise
        return error


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
