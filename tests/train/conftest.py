from __future__ import annotations

from pathlib import Path

import pytest
from tests.train.photosets import write_photoset
from tests.train.tiny_settings import tiny

from beltsight import load_dataset
from beltsight.train import loop
from beltsight.train.photos import PreparedPhotos, prepare_photos
from beltsight.train.run import Run, run_training


@pytest.fixture(autouse=True)
def _checkpoint_each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny epochs take no time; a checkpoint after each makes interruptions worth testing."""
    monkeypatch.setattr(loop, "_SECONDS_BETWEEN_CHECKPOINTS", 0.0)


@pytest.fixture(scope="session")
def photoset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photoset(tmp_path_factory.mktemp("photoset"))


@pytest.fixture(scope="session")
def finished_run(photoset: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_training(photoset, tmp_path_factory.mktemp("run") / "x", tiny())


@pytest.fixture
def prepared(photoset: Path, tmp_path: Path) -> PreparedPhotos:
    dataset = load_dataset(photoset).select("train")
    return prepare_photos(
        dataset.samples, dataset.tasks, tiny().preparation, tmp_path / "train.pixels"
    )
