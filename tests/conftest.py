"""Fixtures that several rooms share: the real data beside the project, where it lies there."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

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


@dataclass(frozen=True)
class Run:
    """What a process of its own printed, and the most memory it held."""

    stdout: str
    peak_mb: float


class RunAlone(Protocol):
    """Runs Python code in a process of its own; fails where that exits with a status."""

    def __call__(self, code: str, *arguments: str, options: tuple[str, ...] = ()) -> Run: ...


# Read in the process itself: what the parent is told of a child (ru_maxrss) counts the parent's own
# memory at the fork, too. macOS has no /proc, and there it does not.
_PEAK = """
try:
    with open("/proc/self/status") as _file:
        _peak = next(int(line.split()[1]) / 1024 for line in _file if line.startswith("VmHWM"))
except FileNotFoundError:
    import resource
    _peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(f"peak_mb={_peak}")
"""


@pytest.fixture(scope="session")
def run_alone() -> RunAlone:
    """Run code in a process of its own, on one thread, and measure its memory."""

    def run(code: str, *arguments: str, options: tuple[str, ...] = ()) -> Run:
        done = subprocess.run(
            [sys.executable, *options, "-c", code + _PEAK, *arguments],
            capture_output=True, text=True, timeout=600, check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, f"exit {done.returncode}: {done.stderr[-3000:]}"
        stdout, _, peak_mb = done.stdout.rpartition("peak_mb=")
        return Run(stdout, float(peak_mb))

    return run
