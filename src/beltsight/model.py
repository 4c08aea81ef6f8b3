"""The one model file, loaded: from photos to Predictions.

A model file is an ONNX graph with a card in its metadata. The graph takes prepared photos as
uint8 (N, H, W, 3) RGB and gives, per task, logits ``task`` (N, C) and class maps ``task_map``
(N, C, h, w), and one ``embedding`` (N, D). Temperatures are applied here, in numpy.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from beltsight.calibrate import softmax
from beltsight.card import CARD_KEY, Card, content_hash, golden_batch, parse_card
from beltsight.config import ASSETS
from beltsight.errors import ImageError, ModelFileError, ParityError
from beltsight.image import Preparation, Source, prepare
from beltsight.records import Answer, Floats, Photo, Prediction, TaskSpec

DEFAULT_MODEL = ASSETS / "trashnet-mobilenetv2.onnx"
_MAX_MODEL_BYTES = 2_000_000_000


class Engine(Protocol):
    """Whatever computes the graph."""

    @property
    def name(self) -> str:
        """What computed an answer, e.g. ``onnxruntime-cpu``."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of all outputs."""

    def run(self, photos: NDArray[np.uint8], outputs: Sequence[str]) -> dict[str, Floats]:
        """Compute the named outputs for uint8 (N, H, W, 3); safe from several threads."""


class OnnxRuntimeEngine:
    """ONNX Runtime on the CPU.

    Args:
        model: the ONNX file's content.
        threads: threads per call; 0 lets ONNX Runtime take one per core.

    Raises:
        ModelFileError: not an ONNX file that ONNX Runtime can load.
    """

    name = "onnxruntime-cpu"

    def __init__(self, model: bytes, threads: int = 0) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4
        try:
            self._session = ort.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's own exceptions derive from Exception alone
            raise ModelFileError(f"not a usable ONNX model: {str(error)[:300]}") from error
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        self._input = self._session.get_inputs()[0].name
        self.outputs = tuple(output.name for output in self._session.get_outputs())

    def run(self, photos: NDArray[np.uint8], outputs: Sequence[str]) -> dict[str, Floats]:
        values = self._session.run(list(outputs), {self._input: photos})
        return dict(zip(outputs, values, strict=True))


class Model:
    """A model file ready to predict. Two threads may use one Model.

    Args:
        engine: computes the graph.
        card: what the file says of itself.
        hash: SHA-256 of the file, hexadecimal.
        path: where the file came from.
    """

    def __init__(self, engine: Engine, card: Card, hash: str, path: Path | None = None) -> None:
        self.engine = engine
        self.card = card
        self.hash = hash
        self.path = path
        self.tasks: tuple[TaskSpec, ...] = card.task_specs

    @classmethod
    def load(
        cls, path: str | os.PathLike[str] | None = None, *, threads: int = 0, verify: bool = True
    ) -> Model:
        """Load a model file; the packaged model by default.

        Args:
            path: an ``.onnx`` file written by Beltsight.
            threads: threads per call; 0 means one per core.
            verify: compute the card's golden photos and compare.

        Raises:
            ModelFileError: missing, damaged, without card, or of a newer schema.
            ParityError: this machine does not give the golden answers.
        """
        file = Path(path) if path is not None else DEFAULT_MODEL
        content = _read_model(file)
        try:
            engine = OnnxRuntimeEngine(content, threads)
        except ModelFileError as error:
            raise ModelFileError(f"{file}: {error}") from error
        card = parse_card(engine.metadata.get(CARD_KEY), str(file))
        _check_outputs(engine.outputs, card, file)
        model = cls(engine, card, content_hash(content), file)
        if verify:
            model.verify()
        return model

    def verify(self) -> None:
        """Compute the golden photos and compare their logits with the card's.

        Raises:
            ParityError: a logit differs by more than the card's tolerance.
        """
        golden = self.card.golden
        if not golden.photos_png:
            return
        got = self.engine.run(golden_batch(golden, self._preparation), list(golden.logits))
        for task, expected in golden.logits.items():
            gap = float(np.abs(got[task] - np.asarray(expected, np.float32)).max())
            if not gap <= golden.tolerance:
                raise ParityError(
                    f"{self.path or 'model'}: {self.engine.name} gives other answers on this "
                    f"machine than the model's card states (task {task}: logits differ by "
                    f"{gap:.3g}, allowed {golden.tolerance:.3g}); do not use it here"
                )

    def predict(
        self,
        sources: Source | Iterable[Source],
        *,
        explain: bool = False,
        batch_size: int = 16,
    ) -> list[Prediction]:
        """Answer for photos, all in memory; :meth:`stream` serves archives.

        Args:
            sources: one photo or many; see :func:`beltsight.image.prepare`. A uint8 array
                (N, H, W, 3) is N photos.
            explain: fill ``maps``.
            batch_size: photos per call of the engine.

        Returns:
            One Prediction per photo, in order.

        Raises:
            ImageError: a photo cannot be used.
        """
        return list(self.stream(_many(sources), explain=explain, batch_size=batch_size))

    def stream(
        self,
        sources: Iterable[Source],
        *,
        explain: bool = False,
        batch_size: int = 16,
        on_error: Literal["raise", "record"] = "raise",
    ) -> Iterator[Prediction]:
        """Answer for photos one batch at a time, in constant memory and in order.

        Args:
            sources: photos; consumed as answers are.
            explain: fill ``maps``.
            batch_size: photos per call of the engine, at least 1.
            on_error: ``raise``, or ``record`` to give a Prediction with ``error`` instead.
        """
        iterator = iter(sources)
        while chunk := list(itertools.islice(iterator, max(1, batch_size))):
            prepared = [self._try_prepare(source, on_error) for source in chunk]
            photos = [photo for photo in prepared if not isinstance(photo, ImageError)]
            answers = iter(self._answer(photos, explain) if photos else ())
            for source, photo in zip(chunk, prepared, strict=True):
                name = os.fspath(source) if isinstance(source, str | os.PathLike) else None
                if isinstance(photo, ImageError):
                    yield Prediction(name, engine=self.engine.name, error=str(photo))
                else:
                    yield replace(next(answers), path=name)

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
        """
        parts = [
            self.engine.run(photos[start : start + batch_size], names)
            for start in range(0, len(photos), batch_size)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in names}

    def probabilities(self, task: str, logits: Floats) -> NDArray[np.float64]:
        """Calibrated probabilities (N, C) of one task's logits."""
        return softmax(logits, self._temperatures[task])

    def prepare(self, source: Source) -> Photo:
        """The photo as this model sees it: uint8 (H, W, 3) RGB."""
        return prepare(source, self._preparation)

    @cached_property
    def _preparation(self) -> Preparation:
        return self.card.image_preparation

    @cached_property
    def _temperatures(self) -> dict[str, float]:
        return {task.name: task.temperature for task in self.card.tasks}

    def _try_prepare(
        self, source: Source, on_error: Literal["raise", "record"]
    ) -> Photo | ImageError:
        try:
            return self.prepare(source)
        except ImageError as error:
            if on_error == "raise":
                raise
            return error

    def _answer(self, photos: list[Photo], explain: bool) -> Iterator[Prediction]:
        names = [task.name for task in self.tasks]
        maps = [f"{task.name}_map" for task in self.card.tasks if explain and task.map]
        raw = self.engine.run(np.stack(photos), [*names, "embedding", *maps])
        tables = {task: self.probabilities(task, raw[task]) for task in names}
        for row in range(len(photos)):
            answers = {task.name: _answer_of(task, tables[task.name][row]) for task in self.tasks}
            # Copies, so that one kept Prediction does not keep its whole batch in memory.
            shown = {name.removesuffix("_map"): raw[name][row].copy() for name in maps}
            embedding = raw["embedding"][row].copy()
            yield Prediction(None, answers, embedding, shown, engine=self.engine.name)


def load(path: str | os.PathLike[str] | None = None, *, threads: int = 0) -> Model:
    """Load a model file; the packaged model by default. See :meth:`Model.load`."""
    return Model.load(path, threads=threads)


def _many(sources: Source | Iterable[Source]) -> Iterable[Source]:
    if isinstance(sources, np.ndarray):
        return list(sources) if sources.ndim == 4 else [sources]
    if isinstance(sources, str | bytes | os.PathLike) or hasattr(sources, "getexif"):
        return [sources]  # type: ignore[list-item]
    return sources  # type: ignore[return-value]


def _answer_of(task: TaskSpec, probabilities: NDArray[np.float64]) -> Answer:
    best = int(probabilities.argmax())
    table = dict(zip(task.classes, probabilities.tolist(), strict=True))
    return Answer(task.classes[best], float(probabilities[best]), table)


def _read_model(file: Path) -> bytes:
    try:
        size = file.stat().st_size
        if size > _MAX_MODEL_BYTES:
            raise ModelFileError(f"{file}: {size:,} bytes; the limit is {_MAX_MODEL_BYTES:,}")
        return file.read_bytes()
    except FileNotFoundError as error:
        raise ModelFileError(
            f"{file}: no such model file; train one with 'beltsight train', "
            "or leave the path out to use the packaged model"
        ) from error
    except OSError as error:
        raise ModelFileError(f"{file}: cannot be read: {error.strerror}") from error


def _check_outputs(outputs: tuple[str, ...], card: Card, file: Path) -> None:
    wanted = [task.name for task in card.tasks] + ["embedding"]
    wanted += [f"{task.name}_map" for task in card.tasks if task.map]
    missing = [name for name in wanted if name not in outputs]
    if missing:
        raise ModelFileError(
            f"{file}: the card speaks of outputs that the graph lacks: {', '.join(missing)}"
        )
