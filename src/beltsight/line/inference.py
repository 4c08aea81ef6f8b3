"""Crops go in, predictions come out: threads that keep the model busy and never block the line."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from beltsight.errors import BeltsightError
from beltsight.image import Source
from beltsight.records import Photo, Prediction

K = TypeVar("K", bound=Hashable)


class Answering(Protocol):
    """What is needed of a :class:`beltsight.Model`."""

    def prepare(self, source: Source) -> Photo:
        """The photo as the model sees it."""

    def answer(self, photos: NDArray[np.uint8]) -> list[Prediction]:
        """Answers for prepared photos."""


@dataclass(frozen=True, slots=True)
class _Crop(Generic[K]):
    key: K
    image: Photo


class Inference(Generic[K]):
    """Answers for crops, in threads of its own.

    Args:
        model: answers; as many threads call it as ``threads`` says, so it should have as many
            streams.
        answered: called with a crop's key and prediction, in one of these threads; a crop that
            cannot be answered has a prediction with ``error``. It must not raise.
        threads: at work at once.
        room: crops that may wait; more are refused, so that what is asked is answered in time.
        at_once: most crops of one call of the engine.
    """

    def __init__(
        self,
        model: Answering,
        answered: Callable[[K, Prediction], None],
        *,
        threads: int = 1,
        room: int = 32,
        at_once: int = 4,
    ) -> None:
        self.room = room
        self.refused = 0
        self._open = 0
        self._lock = threading.Lock()
        self._model = model
        self._answered = answered
        self._at_once = at_once
        self._crops: queue.Queue[_Crop[K] | None] = queue.Queue(room)
        self._threads = [
            threading.Thread(target=self._work, name=f"inference-{i}", daemon=True)
            for i in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Crops that wait now."""
        return self._crops.qsize()

    @property
    def is_busy(self) -> bool:
        """Whether a crop waits, or its answer is not told yet."""
        return self._open > 0

    def submit(self, key: K, image: Photo) -> bool:
        """Ask for an answer; False where no room is left. Never waits.

        Args:
            key: comes back with the answer.
            image: uint8 (H, W, 3) RGB; must not change any more.
        """
        with self._lock:
            try:
                self._crops.put_nowait(_Crop(key, image))
            except queue.Full:
                self.refused += 1
                return False
            self._open += 1
            return True

    def close(self, timeout_s: float = 5.0) -> bool:
        """Answer what waits, then stop; False where a thread did not end in time."""
        for _ in self._threads:
            try:
                self._crops.put(None, timeout=timeout_s)
            except queue.Full:
                return False
        for thread in self._threads:
            thread.join(timeout_s)
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while (crops := self._take()) is not None:
            for key, prediction in self._answer(crops):
                self._answered(key, prediction)
            with self._lock:
                self._open -= len(crops)

    def _take(self) -> list[_Crop[K]] | None:
        """What waits, up to ``at_once``; waits for the first. None at the end."""
        first = self._crops.get()
        if first is None:
            return None
        crops = [first]
        while len(crops) < self._at_once:
            try:
                more = self._crops.get_nowait()
            except queue.Empty:
                break
            if more is None:  # the end, for this thread or another: it comes after these
                self._crops.put(None)
                break
            crops.append(more)
        return crops

    def _answer(self, crops: list[_Crop[K]]) -> list[tuple[K, Prediction]]:
        """Each crop's prediction; one that cannot be used does not spoil the others."""
        found: list[tuple[K, Prediction]] = []
        photos, keys = [], []
        for crop in crops:
            try:
                photos.append(self._model.prepare(crop.image))
                keys.append(crop.key)
            except BeltsightError as error:
                found.append((crop.key, Prediction(None, error=str(error))))
        if photos:
            try:
                found += zip(keys, self._model.answer(np.stack(photos)), strict=True)
            except Exception as error:
                # Whatever an engine raises: without this thread the line has no answers.
                found += [(key, Prediction(None, error=_first_line(error))) for key in keys]
        return found


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]
