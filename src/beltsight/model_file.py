"""The one model file, a graph and its card: written with onnx, read and checked without."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from beltsight.card import CARD_KEY, Card, parse_card
from beltsight.engines import Engine
from beltsight.engines.onnx_runtime import OnnxRuntimeEngine
from beltsight.errors import MissingExtraError, ModelFileError
from beltsight.files import whole
from beltsight.records import MAP_END, PLACES_END

if TYPE_CHECKING:
    import onnx

_MAX_MODEL_BYTES = 2_000_000_000


def require_onnx(purpose: str) -> None:
    """Say how to get onnx where it is missing.

    Args:
        purpose: what needs it, e.g. ``int8``.

    Raises:
        MissingExtraError: it is missing.
    """
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(purpose, "lab") from error


def save_model(graph: onnx.ModelProto, card: Card, path: Path) -> None:
    """Write graph and card as one file that stands alone, complete or not at all.

    Raises:
        ModelFileError: the folder cannot be written, or the disk is full.
    """
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(graph)
    for node in model.graph.node:  # the exporter's stack traces name files of this machine
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    model.doc_string = f"{card.name} {card.version}: a Beltsight model; its card is in the metadata"
    onnx.helper.set_model_props(model, {CARD_KEY: card.model_dump_json()})
    try:
        with whole(path) as draft:
            draft.write_bytes(model.SerializeToString())
    except OSError as error:
        message = f"{path}: the model file cannot be written: {error.strerror}"
        raise ModelFileError(message) from error


def restate_card(path: Path, card: Card, out: Path) -> None:
    """Copy a model file with another card, e.g. one that states the test figure, too."""
    import onnx

    save_model(onnx.load(path, load_external_data=False), card, out)


def read_model_file(file: Path) -> bytes:
    """The file's content.

    Raises:
        ModelFileError: missing, no regular file, not readable, or too large to be a model.
    """
    try:
        if not stat.S_ISREG(file.stat().st_mode):  # a FIFO or device may block, or never end
            raise ModelFileError(
                f"{file}: cannot be read: not a regular file; give the model's file itself"
            )
        with file.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > _MAX_MODEL_BYTES:
                raise ModelFileError(f"{file}: {size:,} bytes; the limit is {_MAX_MODEL_BYTES:,}")
            content = stream.read(size + 1)
    except FileNotFoundError as error:
        raise ModelFileError(
            f"{file}: no such model file; train one with 'beltsight train', "
            "or take the packaged model: 'default' on the command line, load() in Python"
        ) from error
    except OSError as error:
        raise ModelFileError(
            f"{file}: cannot be read: {error.strerror}; give a file, and check its owner and mode"
        ) from error
    if len(content) > size:
        raise ModelFileError(
            f"{file}: holds more than the {size:,} bytes that it is said to hold; wait until it is "
            "written"
        )
    return content


def describing_engine(engine: Engine, content: bytes) -> OnnxRuntimeEngine:
    """The engine that tells the graph's metadata and shapes: others do not give them."""
    if isinstance(engine, OnnxRuntimeEngine):
        return engine
    return OnnxRuntimeEngine(content, 1, optimise=False)


def read_card(engine: OnnxRuntimeEngine, file: Path) -> Card:
    """The card of a graph that takes and gives what the card says.

    Raises:
        ModelFileError: no card, a damaged or newer one, or one that the graph does not fit.
    """
    card = parse_card(engine.metadata.get(CARD_KEY), str(file))
    _check_graph(engine, card, file)
    return card


def _check_graph(engine: OnnxRuntimeEngine, card: Card, file: Path) -> None:
    """Whether the graph takes and gives what the card says; a free dimension may be anything."""
    size = (card.preparation.height, card.preparation.width, 3)
    _, kind, shape = engine.inputs[0] if engine.inputs else ("", "nothing", ())
    if len(engine.inputs) != 1 or kind != "tensor(uint8)" or not _fits(shape[1:], size):
        raise ModelFileError(
            f"{file}: the graph takes {kind} {list(shape)}, not uint8 photos "
            f"(N, {size[0]}, {size[1]}, 3) as its card says"
        )
    if isinstance(shape[0], int):
        raise ModelFileError(
            f"{file}: the graph takes exactly {shape[0]} photos at a time; export it with a free "
            "first dimension"
        )
    width = card.novelty.width if card.novelty else None
    wanted: dict[str, tuple[int | None, ...]] = {"embedding": (width,)}
    for task in card.tasks:
        wanted[task.name] = (len(task.classes),)
        if task.map:
            wanted[f"{task.name}{MAP_END}"] = (len(task.classes), None, None)
        if task.places:
            wanted[f"{task.name}{PLACES_END}"] = (None, None)
    missing = [name for name in wanted if name not in engine.shapes]
    if missing:
        raise ModelFileError(
            f"{file}: the card speaks of outputs that the graph lacks: {', '.join(missing)}"
        )
    for name, expected in wanted.items():
        shape = engine.shapes[name]
        if engine.types[name] != "tensor(float)":
            raise ModelFileError(f"{file}: output {name!r} is {engine.types[name]}, not float32")
        if not _fits(shape[1:], expected) or isinstance(shape[0], int):
            raise ModelFileError(
                f"{file}: output {name!r} has shape {list(shape)}, which does not fit its card, "
                "one row per photo"
            )


def _fits(shape: tuple[object, ...], expected: tuple[int | None, ...]) -> bool:
    pairs = zip(shape, expected, strict=False)
    return len(shape) == len(expected) and all(
        not isinstance(have, int) or want is None or have == want for have, want in pairs
    )
