"""Fixtures that several rooms share: the real data beside the project, where it lies there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Read by torch, OpenCV and ONNX Runtime when they load: two cores, shared with other work.
os.environ.setdefault("OMP_NUM_THREADS", "2")

REPOSITORY = Path(__file__).resolve().parents[1]


def _present(folder: Path, what: str) -> Path:
    if not folder.is_dir():
        pytest.skip(f"{what} is not here: {folder} (set BELTSIGHT_DATA to the data folder)")
    return folder


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data: ``BELTSIGHT_DATA``, or ``../shared/data`` beside the repository."""
    default = REPOSITORY.parent / "shared" / "data"
    return _present(Path(os.environ.get("BELTSIGHT_DATA") or default), "the real data")


@pytest.fixture(scope="session")
def trashnet(data_dir: Path) -> Path:
    """TrashNet: 2,527 photos in ``images/CLASS/`` and ``splits.csv``."""
    return _present(data_dir / "trashnet", "TrashNet")


@pytest.fixture(scope="session")
def weights_dir(data_dir: Path) -> Path:
    """The ImageNet-pretrained backbones, which lie beside the data folder."""
    return _present(data_dir.parent / "weights", "the folder of pretrained weights")
