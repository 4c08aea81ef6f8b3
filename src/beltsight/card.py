"""The card: all that a model file says of itself, stored as JSON in the ONNX metadata."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator

from beltsight.errors import (
    ANEW,
    DecodeError,
    ImageError,
    ModelFileError,
    TaxonomyError,
    TooLargeError,
)
from beltsight.image import Preparation, decode
from beltsight.novelty import NoveltyCard
from beltsight.records import Photo, TaskSpec
from beltsight.strict import Strict

CARD_KEY = "beltsight.card"
SCHEMA_VERSION = 1
# 6 bytes: among 100,000 photos, one chance in 2.8 billion that a stranger is taken for one.
_MARK_BYTES = 6
# Golden photos are computed whenever a file is opened; Beltsight's own have 32 pixels a side.
_MAX_GOLDEN = 16
_MAX_GOLDEN_SIDE = 512
_MAX_GOLDEN_CHARS = 2_000_000
# Beyond it a number is none, or cannot be written as JSON.
_LARGEST = 1e308


_Byte = Annotated[int, Field(ge=0, le=255)]


def _check_marks(packed: str) -> str:
    try:
        data = base64.b64decode(packed, validate=True)
    except ValueError as error:
        raise ValueError("not base64") from error
    if len(data) % _MARK_BYTES:
        raise ValueError("a mark is cut off")
    return packed


def _check_finite(value: Any) -> Any:
    """Any JSON value, whose numbers must all be numbers."""
    if isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            _check_finite(inner)
    elif isinstance(value, int | float) and not abs(value) <= _LARGEST:
        raise ValueError("holds NaN, Infinity or a number beyond all bounds")
    return value


_Marks = Annotated[str, AfterValidator(_check_marks)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Golden = Annotated[str, Field(max_length=_MAX_GOLDEN_CHARS)]


class PurityCard(Strict):
    """Where a task's threshold comes from: a share of accepted answers that must be right.

    Args:
        target: the share asked for.
        certified: whether validation proves it, with ``confidence``; else it is an estimate.
        confidence: of the proof.
        n: validation photos, of which ``accepted`` were at or over the threshold, and of these
            ``right`` were right.
    """

    target: float = Field(gt=0, lt=1)
    certified: bool
    confidence: float = Field(gt=0, lt=1)
    n: int = Field(ge=1)
    accepted: int = Field(ge=0)
    right: int = Field(ge=0)


class TaskCard(Strict):
    """One task: its classes in output order, its calibration, and from where on it is sure.

    ``map``: the graph gives class maps ``NAME_map``. ``places``: it gives ``NAME_places``, the
    logit of how much of each place is covered, learned from masks.
    """

    name: str = Field(min_length=1)
    classes: tuple[str, ...] = Field(min_length=2)
    ordered: bool = False
    temperature: float = Field(1.0, ge=1e-3, le=1e3)
    # Over 1 accepts nothing: a confidence may be exactly 1.
    threshold: float | None = Field(None, ge=0, lt=2)
    purity: PurityCard | None = None
    map: bool = True
    places: bool = False

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("a class is named twice")
        try:
            _ = self.spec
        except TaxonomyError as error:  # which would not say in what file
            raise ValueError(str(error)) from error
        return self

    @property
    def spec(self) -> TaskSpec:
        """The task as a record."""
        return TaskSpec(self.name, self.classes, self.ordered)


class PreparationCard(Strict):
    """The preparation that training saw; see :class:`beltsight.image.Preparation`."""

    height: int = Field(ge=8, le=4096)
    width: int = Field(ge=8, le=4096)
    fill: tuple[_Byte, _Byte, _Byte]
    layout: Literal["uint8 NHWC RGB"] = "uint8 NHWC RGB"
    fit: Literal["letterbox"] = "letterbox"
    interpolation: Literal["area to shrink, bilinear to enlarge"] = (
        "area to shrink, bilinear to enlarge"
    )


class TrainingCard(Strict):
    """Where the model comes from.

    ``train_marks`` and ``val_marks`` hold the first bytes of each photo's SHA-256, so that an
    evaluation can tell whether it measures on photos that the model has learned or was chosen by.
    """

    backbone: str
    data: str
    fingerprint: str
    n_train: int
    n_val: int
    seed: int
    train_marks: _Marks = ""
    val_marks: _Marks = ""


class GoldenCard(Strict):
    """Small photos and the logits they must give, to find an engine that computes wrongly.

    Each photo is a PNG that is enlarged by pixel repetition to the model's size: exact everywhere.
    """

    photos_png: tuple[_Golden, ...] = Field((), max_length=_MAX_GOLDEN)
    logits: dict[str, list[list[_Finite]]] = Field(default_factory=dict)
    tolerance: float = Field(1e-2, gt=0, allow_inf_nan=False)


class ParityCard(Strict):
    """How far the int8 answers to one task are from those of the float model.

    Args:
        n: labelled photos compared.
        changed: of them, labels that differ.
        agreement: share of labels that stay, with its Wilson ``agreement_interval``.
        float_accuracy, accuracy: before and after.
        lost, gained: photos that only the float or only the int8 model gets right.
        accuracy_change: after less before, with its paired ``accuracy_change_interval``.
        probability_change: largest change of a class's calibrated probability.
    """

    n: int = Field(ge=1)
    changed: int = Field(ge=0)
    agreement: float = Field(ge=0, le=1)
    agreement_interval: tuple[_Finite, _Finite]
    float_accuracy: float = Field(ge=0, le=1)
    accuracy: float = Field(ge=0, le=1)
    lost: int = Field(ge=0)
    gained: int = Field(ge=0)
    accuracy_change: float = Field(ge=-1, le=1)
    accuracy_change_interval: tuple[_Finite, _Finite]
    probability_change: float = Field(ge=0, le=1)


class QuantizationCard(Strict):
    """How the graph became int8, and what that changed.

    Args:
        scheme: of the numbers.
        weight_bits: 7 saturates on no processor; 8 needs VNNI or its like.
        float_layers: layers that stayed float, beside the heads.
        float_sha256: of the file that it came from.
        data: name of the data set that follows.
        calibration_split, n_calibration, seed: the photos that ranges were fitted to.
        split: the photos that gave parity, temperatures, thresholds and figures.
        tried: choices of float layers that were measured on these photos before one was taken.
        parity: per task.
    """

    scheme: Literal["static QDQ, uint8 activations, int8 weights per channel"] = (
        "static QDQ, uint8 activations, int8 weights per channel"
    )
    weight_bits: Literal[7, 8]
    float_layers: tuple[str, ...]
    float_sha256: str
    data: str
    calibration_split: str
    n_calibration: int = Field(ge=1)
    seed: int
    split: str
    tried: int = Field(ge=1)
    parity: dict[str, ParityCard]


class Card(Strict):
    """Everything a user of the model must know; printed by ``beltsight card``."""

    schema_version: int = SCHEMA_VERSION
    name: str
    version: str
    tasks: tuple[TaskCard, ...] = Field(min_length=1)
    preparation: PreparationCard
    training: TrainingCard
    novelty: NoveltyCard | None = None
    metrics: Annotated[dict[str, Any], AfterValidator(_check_finite)] = Field(default_factory=dict)
    licence: str = ""
    notice: str = ""
    golden: GoldenCard = GoldenCard()
    quantization: QuantizationCard | None = None
    beltsight_version: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        classes = {task.name: len(task.classes) for task in self.tasks}
        if len(classes) != len(self.tasks):
            raise ValueError("a task is named twice")
        if self.quantization and self.quantization.parity.keys() != classes.keys():
            raise ValueError("the parity of int8 must be of every task, and of no other")
        n = len(self.golden.photos_png)
        if n and self.golden.logits.keys() != classes.keys():
            raise ValueError("golden logits must be of every task, and of no other")
        for name, rows in self.golden.logits.items():
            if len(rows) != n or any(len(row) != classes.get(name) for row in rows):
                raise ValueError(f"golden logits of {name!r} do not fit its photos and classes")
        return self

    @property
    def task_specs(self) -> tuple[TaskSpec, ...]:
        """The tasks as records."""
        return tuple(task.spec for task in self.tasks)

    @property
    def image_preparation(self) -> Preparation:
        """The preparation as a record."""
        part = self.preparation
        return Preparation(part.height, part.width, part.fill)


def parse_card(text: str | None, name: str) -> Card:
    """Read a card.

    Args:
        text: the metadata entry, or None where the file has none.
        name: the model file, for messages.

    Raises:
        ModelFileError: no card, a newer schema, or a damaged card.
    """
    if text is None:
        raise ModelFileError(
            f"{name}: an ONNX file without a Beltsight card; "
            "models come from 'beltsight train' or 'beltsight export'"
        )
    try:
        raw = BaseCard.model_validate_json(text)
        if raw.schema_version > SCHEMA_VERSION:
            raise ModelFileError(
                f"{name}: card schema {raw.schema_version} is newer than this Beltsight "
                f"reads ({SCHEMA_VERSION}); upgrade with: pip install -U beltsight"
            )
        return Card.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ModelFileError(f"{name}: damaged card ({where}: {first['msg']}); {ANEW}") from error


class BaseCard(BaseModel):
    """What cards of every schema have in common."""

    schema_version: int


def content_hash(data: bytes) -> str:
    """SHA-256 of a file's content, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def pack_marks(hashes: Iterable[str]) -> str:
    """SHA-256 hexadecimal digests -> their first bytes, sorted, in base64."""
    heads = sorted(bytes.fromhex(digest)[:_MARK_BYTES] for digest in hashes)
    return base64.b64encode(b"".join(heads)).decode()


def unpack_marks(packed: str) -> frozenset[bytes]:
    """The inverse of :func:`pack_marks`."""
    data = base64.b64decode(packed)
    return frozenset(data[i : i + _MARK_BYTES] for i in range(0, len(data), _MARK_BYTES))


def is_marked(digest: str, marks: frozenset[bytes]) -> bool:
    """Whether a photo's SHA-256 is among the marks.

    Example:
        >>> marks = unpack_marks(pack_marks([content_hash(b"a"), content_hash(b"b")]))
        >>> is_marked(content_hash(b"a"), marks), is_marked(content_hash(b"c"), marks)
        (True, False)
    """
    return bytes.fromhex(digest)[:_MARK_BYTES] in marks


def golden_png(photo: Photo, side: int = 32) -> str:
    """A small form of a prepared photo, as base64 PNG, for the golden check.

    Raises:
        ImageError: it cannot be encoded.
    """
    small = cv2.resize(photo, (side, side), interpolation=cv2.INTER_AREA)
    done, png = cv2.imencode(".png", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
    if not done:
        raise ImageError(f"array of {photo.dtype} {photo.shape} cannot be written as a PNG")
    return base64.b64encode(png.tobytes()).decode()


def golden_batch(golden: GoldenCard, preparation: Preparation) -> NDArray[np.uint8]:
    """The golden photos as model input: uint8 (N, H, W, 3) RGB.

    Raises:
        ImageError: a golden photo is damaged.
    """
    photos = []
    for text in golden.photos_png:
        small = _golden_photo(text)
        rows = np.arange(preparation.height) * small.shape[0] // preparation.height
        columns = np.arange(preparation.width) * small.shape[1] // preparation.width
        photos.append(small[rows][:, columns])
    return np.ascontiguousarray(np.stack(photos))


def _golden_photo(text: str) -> Photo:
    from PIL import Image

    try:
        content = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise DecodeError("golden photo: not base64") from error
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            side = max(image.size)
    except Exception as error:  # decoders raise anything on hostile bytes
        raise DecodeError("golden photo: not a PNG") from error
    if side > _MAX_GOLDEN_SIDE:
        raise TooLargeError(f"golden photo: {side:,} pixels; the limit is {_MAX_GOLDEN_SIDE}")
    return decode(content)
