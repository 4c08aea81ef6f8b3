"""The MODEL argument that commands share, and the policy that is bound to a model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from beltsight.model import Model
    from beltsight.policy import Policy
    from beltsight.tuned import Purpose

DEFAULT = "default"

ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A model file (.onnx), or the word 'default' for the packaged model.",
        show_default=False,
    ),
]
ThreadsOption = Annotated[
    int, typer.Option("--threads", min=0, help="Computing threads in all; 0: one per core.")
]
BatchOption = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        min=1,
        max=4096,
        help="Photos per call of the engine (default: what 'beltsight tune' found, else 16).",
        show_default=False,
    ),
]
EngineOption = Annotated[
    str | None,
    typer.Option(
        "--engine",
        metavar="NAME",
        help="What computes the model, e.g. onnxruntime-cpu or openvino-cpu; by default what "
        "'beltsight tune' found fastest, else onnxruntime-cpu.",
        show_default=False,
    ),
]
PolicyOption = Annotated[
    str | None,
    typer.Option(
        "--policy",
        metavar="FILE",
        help="A policy in TOML, or the word 'default' for the packaged one.",
    ),
]


def open_policy(argument: str) -> Policy:
    """What --policy names; see :func:`beltsight.policy.load_policy`."""
    from beltsight.policy import load_policy

    return load_policy(None if argument == DEFAULT else Path(argument))


def open_model(
    argument: str,
    *,
    threads: int = 0,
    streams: int = 1,
    engine: str | None = None,
    purpose: Purpose | None = None,
    verify: bool = True,
) -> Model:
    """Load what the MODEL argument names; see :meth:`beltsight.model.Model.load`.

    Where threads are asked for, OpenCV, which prepares photos, has no more of its own.

    Raises:
        ModelFileError: missing or no model; for a photo or folder it says that MODEL comes first.
    """
    from beltsight.errors import ModelFileError
    from beltsight.image import is_photo_path
    from beltsight.model import Model

    path = None if argument == DEFAULT else Path(argument)
    # os.path: a folder that may not be looked at is none, and the file then says what is wrong.
    if path is not None and (os.path.isdir(path) or is_photo_path(path)):
        raise ModelFileError(
            f"{argument} is no model file; the model comes first, e.g. 'default' for the "
            f"packaged one: default {argument}"
        )
    model = Model.load(
        path, threads=threads, streams=streams, engine=engine, purpose=purpose, verify=verify
    )
    if threads:
        import cv2

        cv2.setNumThreads(max(1, threads // streams))
    return model
