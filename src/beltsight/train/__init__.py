"""Training: a timm backbone, linear heads per task, stages as data, one ONNX file at the end.

Needs the ``train`` extra; importing this package alone does not load PyTorch.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from beltsight.errors import MissingExtraError

if TYPE_CHECKING:
    from beltsight.dataset.index import Dataset
    from beltsight.train.run import Run
    from beltsight.train.settings import TrainSettings


def train(
    data: str | os.PathLike[str] | Dataset,
    out: str | os.PathLike[str],
    settings: TrainSettings | None = None,
    *,
    resume: bool = False,
    **overrides: Any,
) -> Run:
    """Train a model on a data set and export it to ``out/model.onnx``.

    Args:
        data: a data set or its path; see :func:`beltsight.load_dataset`.
        out: folder of the run: settings, metrics per epoch, checkpoints, model.
        settings: all settings; the defaults if None.
        resume: go on with the run in ``out`` after an interruption.
        overrides: single settings by name, e.g. ``backbone="resnet18"``.

    Returns:
        The finished run, with the model's path and its validation figures.

    Raises:
        MissingExtraError: the ``train`` extra is not installed.
        ConfigError: a wrong setting.
        DatasetError: the data cannot serve for training.
        TrainError: the run cannot start, diverges, or is not the one to resume.
    """
    require_train_extra()
    from beltsight.train.run import run_training
    from beltsight.train.settings import TrainSettings, with_overrides

    chosen = with_overrides(settings or TrainSettings(), overrides)
    return run_training(data, out, chosen, resume=resume)


def require_train_extra() -> None:
    """Fail with the install command where PyTorch, timm or safetensors is missing.

    Raises:
        MissingExtraError: one of them cannot be imported.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
        import safetensors  # noqa: F401
        import timm  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("training", "train") from error
