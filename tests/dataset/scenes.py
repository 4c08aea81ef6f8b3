"""Photos that are made in a moment and all look different: shapes on a plain ground."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from beltsight.records import Photo


def scene(seed: int, height: int = 192, width: int = 256) -> Photo:
    """A dozen shapes of random colour, place and size; uint8 (height, width, 3) RGB."""
    rng = np.random.default_rng(seed)
    photo = np.full((height, width, 3), rng.integers(150, 230), np.uint8)
    for _ in range(12):
        centre = (int(rng.integers(0, width)), int(rng.integers(0, height)))
        axes = (int(rng.integers(8, width // 4)), int(rng.integers(8, height // 4)))
        colour = [int(value) for value in rng.integers(0, 256, 3)]
        cv2.ellipse(photo, centre, axes, float(rng.integers(0, 180)), 0, 360, colour, -1)
    return photo


def jpeg(photo: Photo, quality: int = 90) -> bytes:
    """The photo's JPEG file."""
    stream = io.BytesIO()
    Image.fromarray(photo).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def put(path: Path, content: bytes) -> Path:
    """Write a file, and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def class_folders(root: Path, counts: dict[str, int], *, first_seed: int = 0) -> Path:
    """``root/CLASS/n.jpg``, every photo another scene."""
    seed = first_seed
    for name, count in counts.items():
        for number in range(count):
            put(root / name / f"{number:03d}.jpg", jpeg(scene(seed, 96, 128)))
            seed += 1
    return root
