"""The one model file, loaded: from photos to Predictions.

A model file is an ONNX graph with a card in its metadata. The graph takes prepared photos as
uint8 (N, H, W, 3) RGB and gives, per task, logits ``task`` (N, C) and class maps ``task_map``
(N, C, h, w), for a task that learned from masks ``task_places`` (N, h, w), and one ``embedding``
(N, D). Temperatures are applied here, in numpy.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from beltsight.calibrate import softmax
from beltsight.card import Card, content_hash, golden_batch
from beltsight.config import ASSETS
from beltsight.engines import DEFAULT_ENGINE, Engine, open_engine, run_in_batches
from beltsight.errors import ANEW, ConfigError, ImageError, ModelError, ModelFileError, ParityError
from beltsight.image import Preparation, Source, prepare
from beltsight.machine import usable_cores
from beltsight.model_file import describing_engine, read_card, read_model_file
from beltsight.novelty import Novelty
from beltsight.records import MAP_END, PLACES_END, Answer, Floats, Photo, Prediction, TaskSpec
from beltsight.sources import StoredPhoto, name_of
from beltsight.stream import stream_outputs
from beltsight.tuned import Choice, Purpose, stored_choice

DEFAULT_MODEL = ASSETS / "trashnet-mobilenetv2.onnx"
# Roundings of a deep network add up to about this many of one operation's; wrong instructions
# give far more.
_ROUNDING_ROOM = 16.0
_BATCH_SIZE = 16
S = TypeVar("S", bound="Source | StoredPhoto")


class Model:
    """A model file ready to predict, also from two threads. Arguments and ``tasks`` are attributes.

    Args:
        engine: computes the graph.
        card: what the file says of itself.
        hash: SHA-256 of the file, hexadecimal.
        path: where the file came from.
        batch_size: photos per call that suit the engine, where that was measured.
        threads: computing threads in all; with one, :meth:`stream` starts no thread of its own.
    """

    def __init__(
        self,
        engine: Engine,
        card: Card,
        hash: str,
        path: Path | None = None,
        batch_size: int | None = None,
        threads: int = 1,
    ) -> None:
        self.engine, self.batch_size, self.threads = engine, batch_size, threads
        self.card, self.hash, self.path = card, hash, path
        self.tasks: tuple[TaskSpec, ...] = card.task_specs

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        threads: int = 0,
        streams: int = 1,
        engine: str | None = None,
        purpose: Purpose | None = None,
        verify: bool = True,
    ) -> Model:
        """Load a model file; the packaged model by default.

        Args:
            path: an ``.onnx`` file written by Beltsight.
            threads: computing threads in all; 0 means one per core.
            streams: calls of the engine at once: 1 for the least latency, ``threads`` for the
                most photos per second.
            engine: one of ``beltsight.engines.ENGINES``; None takes the one that ``beltsight
                tune`` found fastest for this file on this machine, else ONNX Runtime.
            purpose: of that choice: ``latency`` by default with 1 stream, else ``throughput``.
            verify: compute the card's golden photos and compare.

        Raises:
            ModelFileError: missing, damaged, without card, or of a newer schema.
            ParityError: this machine does not give the golden answers.
            MissingExtraError: the engine is not installed.
            ConfigError: no such engine.
        """
        file = Path(path) if path is not None else DEFAULT_MODEL
        content = read_model_file(file)
        digest = content_hash(content)
        purpose = purpose or ("latency" if streams == 1 else "throughput")
        choice = None if engine else stored_choice(digest, threads, purpose)
        name = engine or (choice.engine if choice else DEFAULT_ENGINE)
        with _naming_tune(choice):
            try:
                chosen = open_engine(name, content, threads, streams)
                told = describing_engine(chosen, content)
            except ModelFileError as error:
                raise ModelFileError(f"{file}: {error}") from error
            card = read_card(told, file)
            batch_size = choice.batch_size if choice and purpose == "throughput" else None
            model = cls(chosen, card, digest, file, batch_size, threads or usable_cores())
            if verify:
                model.verify()
        return model

    def verify(self) -> None:
        """Compute the golden photos and compare their logits with the card's.

        Raises:
            ParityError: a logit differs by more than the card's tolerance.
            ModelFileError: a golden photo in the card is damaged.
        """
        golden, name = self.card.golden, self.path or "model"
        if not golden.photos_png:
            return
        try:
            batch = golden_batch(golden, self._preparation)
        except ImageError as error:
            raise ModelFileError(f"{name}: damaged card ({error}); {ANEW}") from error
        got = self.engine.run(batch, list(golden.logits))
        for task, expected in golden.logits.items():
            stated = np.asarray(expected, np.float32)
            same = got[task].shape == stated.shape
            gap = float(np.abs(got[task] - stated).max()) if same else np.inf
            room = _ROUNDING_ROOM * self.engine.rounding * float(np.abs(stated).max())
            if not gap <= golden.tolerance + room:
                raise ParityError(
                    f"{name}: {self.engine.name} gives other answers on this "
                    f"machine than the model's card states (task {task}: logits differ by "
                    f"{gap:.3g}, allowed {golden.tolerance + room:.3g}); use another engine"
                )

    def predict(
        self,
        sources: Source | Iterable[Source],
        *,
        explain: bool = False,
        batch_size: int | None = None,
    ) -> list[Prediction]:
        """Answer for photos, all in memory; :meth:`stream` serves archives.

        Args:
            sources: one photo or many; see :func:`beltsight.image.prepare`. A uint8 array
                (N, H, W, 3) is N photos.
            explain: fill ``maps`` and ``places``.
            batch_size: photos per call of the engine; by default as tuned, else 16.

        Returns:
            One Prediction per photo, in order.

        Raises:
            ImageError: a photo cannot be used.
        """
        return list(self.stream(_many(sources), explain=explain, batch_size=batch_size))

    def answer(self, photos: NDArray[np.uint8]) -> list[Prediction]:
        """Answer for prepared photos with one call of the engine, in the caller's thread.

        For callers that keep their own threads and deadlines; as many may call at once as the
        engine has streams.

        Args:
            photos: uint8 (N, H, W, 3) RGB as :meth:`prepare` gives them, N at least 1.

        Raises:
            ModelError: the engine fails, or its answer is not a number.
        """
        names = [*(task.name for task in self.tasks), "embedding"]
        raw = self._checked(self.engine.run(photos, names), len(photos))
        rows = ({name: rows[i] for name, rows in raw.items()} for i in range(len(photos)))
        return [self._prediction(None, row) for row in rows]

    def stream(
        self,
        sources: Iterable[Source | StoredPhoto],
        *,
        explain: bool = False,
        batch_size: int | None = None,
        on_error: Literal["raise", "record"] = "raise",
    ) -> Generator[Prediction]:
        """Answer for photos in batches, in constant memory and in order.

        Where the model has more than one thread, the next batches are decoded while one is
        computed, as many at once as the engine has streams; the answers are the same.

        Args:
            sources: photos; read in the caller's thread, a few batches before their answers are
                taken.
            explain: fill ``maps`` and ``places``.
            batch_size: photos per call of the engine; by default as tuned, else 16.
            on_error: ``raise``, or ``record`` to give a Prediction with ``error`` instead.
        """
        shown = self._shown if explain else []
        names = [*(task.name for task in self.tasks), "embedding", *shown]
        answers = self.stream_outputs(sources, names, batch_size=batch_size, on_error=on_error)
        with closing(answers):
            for source, outputs in answers:
                name = name_of(source)
                if isinstance(outputs, ImageError):
                    yield Prediction(name, engine=self.engine.name, error=str(outputs))
                else:
                    yield self._prediction(name, outputs)

    def stream_outputs(
        self,
        sources: Iterable[S],
        names: Sequence[str],
        *,
        batch_size: int | None = None,
        on_error: Literal["raise", "record"] = "raise",
    ) -> Generator[tuple[S, dict[str, Floats] | ImageError]]:
        """Raw outputs of photos in batches, in constant memory and in order.

        Args:
            sources: photos, as for :meth:`stream`.
            names: among ``engine.outputs``: logits are named as their task.
            batch_size: photos per call of the engine; by default as tuned, else 16.
            on_error: ``raise``, or ``record`` to give the ImageError in place of outputs.

        Returns:
            Per photo its source and its own float32 arrays, without the batch axis.

        Raises:
            ImageError: a photo cannot be used, where ``on_error`` is ``raise``.
            ModelError: the engine fails, or its answer is not a number.
        """
        size = (self.batch_size or _BATCH_SIZE) if batch_size is None else batch_size
        if size < 1:
            raise ConfigError(f"batch size must be at least 1, got {size}")

        def compute(photos: NDArray[np.uint8]) -> dict[str, Floats]:
            return self._checked(self.engine.run(photos, names), len(photos))

        yield from stream_outputs(
            sources,
            self.prepare,
            compute,
            batch_size=size,
            on_error=on_error,
            threads=self.threads,
            streams=self.engine.streams,
        )

    def outputs(
        self, photos: NDArray[np.uint8], names: Sequence[str], batch_size: int = 32
    ) -> dict[str, Floats]:
        """Raw outputs for prepared photos.

        Args:
            photos: uint8 (N, H, W, 3) RGB, prepared.
            names: among ``engine.outputs``: logits are named as their task.
            batch_size: photos per call of the engine.

        Returns:
            float32 arrays whose first axis is N.

        Raises:
            ModelError: the engine fails, or its answer is not a number.
        """
        if not len(photos):  # an engine need not take an empty batch
            blank = np.zeros((1, self._preparation.height, self._preparation.width, 3), np.uint8)
            return {name: rows[:0] for name, rows in self.engine.run(blank, names).items()}
        return self._checked(run_in_batches(self.engine, photos, names, batch_size), len(photos))

    def probabilities(self, task: str, logits: Floats) -> NDArray[np.float64]:
        """Calibrated probabilities (N, C) of one task's logits."""
        return softmax(logits, self.temperatures[task])

    def prepare(self, source: Source) -> Photo:
        """The photo as this model sees it: uint8 (H, W, 3) RGB."""
        return prepare(source, self._preparation)

    @cached_property
    def _preparation(self) -> Preparation:
        return self.card.image_preparation

    @cached_property
    def temperatures(self) -> dict[str, float]:
        """Temperature per task; logits are divided by it."""
        return {task.name: task.temperature for task in self.card.tasks}

    @cached_property
    def thresholds(self) -> dict[str, float]:
        """Confidence per task from which on its answer is accepted; a task without has none."""
        return {t.name: t.threshold for t in self.card.tasks if t.threshold is not None}

    @cached_property
    def novelty(self) -> Novelty | None:
        """What photos the model knows look like, or None where its card does not say."""
        card = self.card.novelty
        return None if card is None else Novelty.from_card(card)

    @cached_property
    def _shown(self) -> list[str]:
        """Outputs that say where the model looked."""
        tasks = self.card.tasks
        maps = [f"{task.name}{MAP_END}" for task in tasks if task.map]
        return maps + [f"{task.name}{PLACES_END}" for task in tasks if task.places]

    def judge(
        self, answers: Mapping[str, Answer], novelty: float | None
    ) -> tuple[bool | None, bool | None, str | None]:
        """``novel``, ``abstain`` and ``why`` of a Prediction with these answers.

        Args:
            answers: by task.
            novelty: the embedding's score, or None where there is none.
        """
        novel, doubts = None, []
        if self.novelty is not None and novelty is not None:
            limit = self.novelty.threshold
            if novel := novelty > limit:
                doubts.append(f"unlike anything seen: novelty {novelty:.3g}, known to {limit:.3g}")
        doubts += [
            f"unsure of {name}: {answer.label} at {answer.confidence:.3f}, accepted from "
            f"{least:.3f}"
            for name, answer in answers.items()
            if (least := self.thresholds.get(name)) is not None
            and not answer.confidence >= least  # nor a NaN
        ]
        can_abstain = novel is not None or bool(self.thresholds)
        return novel, bool(doubts) if can_abstain else None, "; ".join(doubts) or None

    def _prediction(self, name: str | None, outputs: dict[str, Floats]) -> Prediction:
        answers = {
            task.name: _answer_of(task, self.probabilities(task.name, outputs[task.name][None])[0])
            for task in self.tasks
        }
        maps, places = (
            {key.removesuffix(end): outputs[key] for key in outputs if key.endswith(end)}
            for end in (MAP_END, PLACES_END)
        )
        embedding = outputs["embedding"]
        novelty = None if self.novelty is None else float(self.novelty.score(embedding[None])[0])
        novel, abstain, why = self.judge(answers, novelty)
        return Prediction(
            name,
            answers,
            embedding,
            maps,
            abstain,
            engine=self.engine.name,
            novel=novel,
            novelty=novelty,
            why=why,
            places=places,
        )

    def _checked(self, raw: dict[str, Floats], n: int) -> dict[str, Floats]:
        for task in (task for task in self.tasks if task.name in raw):
            if not _is_answer(raw[task.name], (n, len(task.classes))):
                raise ModelError(f"{self.path or 'model'}: the answer to task {task.name} is not a "
                                 "number for each class; the file is damaged or was trained to "
                                 "divergence")  # fmt: skip
        return raw


load = Model.load


@contextmanager
def _naming_tune(choice: Choice | None) -> Iterator[None]:
    """Say where an engine that nobody named now comes from, where it fails."""
    try:
        yield
    except ModelError as error:
        if choice is None:
            raise
        raise type(error)(
            f"{error}. 'beltsight tune' chose {choice.engine} for this file: run it again, or with "
            "--forget"
        ) from error


def _many(sources: Source | Iterable[Source]) -> Iterable[Source]:
    if isinstance(sources, np.ndarray):
        return list(sources) if sources.ndim == 4 else [sources]
    if isinstance(sources, str | bytes | os.PathLike) or hasattr(sources, "getexif"):
        return [cast("Source", sources)]
    return sources


def _is_answer(logits: Floats, shape: tuple[int, ...]) -> bool:
    return logits.shape == shape and bool(np.isfinite(logits).all())


def _answer_of(task: TaskSpec, probabilities: NDArray[np.float64]) -> Answer:
    best = int(probabilities.argmax())
    table = dict(zip(task.classes, probabilities.tolist(), strict=True))
    return Answer(task.classes[best], float(probabilities[best]), table)
