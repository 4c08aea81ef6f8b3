from __future__ import annotations

from pathlib import Path

import pytest
from tests.train.photosets import write_photoset
from tests.train.tiny_settings import tiny

from beltsight.train.run import Run, run_training


@pytest.fixture(scope="session")
def photoset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photoset(tmp_path_factory.mktemp("photoset"))


@pytest.fixture(scope="session")
def finished_run(photoset: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_training(photoset, tmp_path_factory.mktemp("run") / "x", tiny())
