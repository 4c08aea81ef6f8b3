"""Writing the one model file: a graph and its card, needing onnx but not PyTorch."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from beltsight.card import CARD_KEY, Card
from beltsight.errors import MissingExtraError, ModelFileError

if TYPE_CHECKING:
    import onnx


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
    part = path.with_suffix(".part")
    try:
        part.write_bytes(model.SerializeToString())
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        message = f"{path}: the model file cannot be written: {error.strerror}"
        raise ModelFileError(message) from error


def restate_card(path: Path, card: Card, out: Path) -> None:
    """Copy a model file with another card, e.g. one that states the test figure, too."""
    import onnx

    save_model(onnx.load(path, load_external_data=False), card, out)
