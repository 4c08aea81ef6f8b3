"""The Ultralytics classify predictor as an outside program: photos in a folder to answers.

It is AGPL, so it is never imported: its own command line is run, in an environment of its own. What
a photo costs is the time of a run over many photos less that of a run over few, by the difference
of their numbers: starting up drops out.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.outcome import DEMO, REPOSITORY

# Of their classifiers the one whose cost comes nearest to ResNet-50's without being above it.
NETWORK = "yolo11l-cls.yaml"
VENV = REPOSITORY / ".venv-peers"
FEW = 24
_TIMEOUT_S = 3600


class PeerMissingError(Exception):
    """Why the peer cannot take part, in one sentence."""


@dataclass(frozen=True)
class Predictor:
    """Their predictor on photos of ours.

    Args:
        program: their command line program.
        folder: for photos and settings.
        network: built from its description with random weights: no download.
        size: side of the network's input in pixels.
        threads: of PyTorch.
    """

    program: Path
    folder: Path
    network: str = NETWORK
    size: int = 224
    threads: int = 2

    def seconds_per_photo(self, many: int) -> float:
        """From the file of a photo to its answer.

        Raises:
            PeerMissingError: it fails, or its times vary more than the photos take.
        """
        seconds = self._run_s(FEW + many) - self._run_s(FEW)
        if seconds <= 0:
            raise PeerMissingError(
                f"starting up varies by more than {many} photos take; measure on a quiet machine"
            )
        return seconds / many

    def gigaoperations(self) -> float | None:
        """Billions of operations of the network for a photo, as the program counts them."""
        found = re.findall(r"([\d.]+) GFLOPs", self._output(1))
        # It counts for 640 pixels a side whatever the photos' size.
        return float(found[-1]) * (self.size / 640) ** 2 if found else None

    def _run_s(self, count: int) -> float:
        start = time.perf_counter()
        self._output(count)
        return time.perf_counter() - start

    def _output(self, count: int) -> str:
        environment = {
            **os.environ,
            "YOLO_CONFIG_DIR": str(self.folder / "settings"),
            "YOLO_OFFLINE": "true",
            "OMP_NUM_THREADS": str(self.threads),
        }
        command = [
            str(self.program), "classify", "predict", f"model={self.network}",
            f"source={_photos(self.folder / f'photos-{count}', count)}", f"imgsz={self.size}",
            "device=cpu", "save=False",
        ]  # fmt: skip
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True,
            timeout=_TIMEOUT_S, check=False,
        )  # fmt: skip
        if done.returncode:
            raise PeerMissingError(f"Ultralytics failed: {done.stderr.strip()[-300:]}")
        return done.stdout + done.stderr


def install(venv: Path = VENV) -> Path:
    """Their program, installed where it is not yet.

    Raises:
        PeerMissingError: it cannot be installed.
    """
    program = venv / "bin" / "yolo"
    if program.exists():
        return program
    print(f"installing the peers of benchmarks/requirements.txt in {venv}", flush=True)
    pip = [str(venv / "bin" / "pip"), "install", "--quiet", "-r", "benchmarks/requirements.txt"]
    try:
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True, capture_output=True)
        subprocess.run(
            [*pip, "-c", "constraints.txt"], check=True, capture_output=True, text=True,
            cwd=REPOSITORY, timeout=_TIMEOUT_S,
        )  # fmt: skip
    except subprocess.CalledProcessError as error:
        raise PeerMissingError(
            f"cannot be installed: {str(error.stderr).strip()[-300:]}"
        ) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerMissingError(f"cannot be installed: {error}") from error
    return program


def _photos(folder: Path, count: int) -> Path:
    """A folder with so many of the packaged photos, over and over."""
    if not folder.exists():
        folder.mkdir(parents=True)
        photos = sorted(DEMO.glob("*/*.jpg"))
        for number in range(count):
            (folder / f"{number:05}.jpg").write_bytes(photos[number % len(photos)].read_bytes())
    return folder
