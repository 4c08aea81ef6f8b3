"""Mutated files through ``prepare``: a photo or the project's own error, in bounded memory."""

from __future__ import annotations

import io
import json
import random
import sys
import warnings
from typing import Any

import numpy as np
from PIL import Image

from beltsight.errors import ImageError
from beltsight.image import prepare

N_MUTATED = 2_000
MAX_MEMORY_MB = 512
MAGICS = (
    b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBPVP8 ", b"GIF89a", b"BM",
    b"II*\0", b"MM\0*", b"P6 9 9 255\n", b"II+\0", b"",
)  # fmt: skip
SEEDS: tuple[tuple[str, tuple[str, ...], dict[str, Any]], ...] = (
    ("JPEG", ("RGB", "L", "CMYK"), {}),
    ("JPEG", ("RGB",), {"progressive": True}),
    ("PNG", ("RGB", "RGBA", "P", "L", "LA", "1", "I;16"), {}),
    ("WEBP", ("RGB", "RGBA"), {}),
    ("WEBP", ("RGB",), {"lossless": True}),
    ("GIF", ("P", "L"), {}),
    ("BMP", ("RGB", "P", "1", "RGBA"), {}),
    ("TIFF", ("RGB", "RGBA", "P", "L", "CMYK", "I;16", "1"), {}),
    ("TIFF", ("RGB", "RGBA"), {"compression": "tiff_lzw"}),
    ("TIFF", ("RGB",), {"compression": "jpeg"}),
    ("TIFF", ("1",), {"compression": "group4"}),
    ("PPM", ("RGB", "L", "1"), {}),
)


def seed_files() -> list[bytes]:
    """A photo-like picture in every form and mode, some turned by EXIF."""
    ramp = np.add.outer(np.arange(48), np.arange(64) * 2)
    colour = np.stack([ramp, 255 - ramp, ramp // 2], axis=2).astype(np.uint8)
    files = []
    for number, (form, modes, options) in enumerate(SEEDS):
        for mode in modes:
            if mode == "I;16":
                image = Image.fromarray((ramp * 300).astype(np.uint16))
            else:
                image = Image.fromarray(colour).convert(mode)
            exif = Image.Exif()
            exif[0x0112] = 1 + number % 8
            turned = {"exif": exif} if form in ("JPEG", "PNG", "WEBP", "TIFF") else {}
            stream = io.BytesIO()
            image.save(stream, form, **options, **turned)
            files.append(stream.getvalue())
    return files


def mutated(files: list[bytes], rng: random.Random) -> bytes:
    """One seed with flipped bits, cut, under another header, or spliced with another."""
    data = bytearray(rng.choice(files))
    for _ in range(rng.choice((1, 1, 2))):
        kind = rng.randrange(6)
        if kind == 0:  # a few bits anywhere
            for _ in range(rng.choice((1, 3, 30))):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        elif kind == 1:  # the head, where sizes and offsets stand
            for _ in range(rng.choice((1, 2, 8))):
                data[rng.randrange(min(len(data), 64))] = rng.choice((0, 1, 127, 128, 255))
        elif kind == 2:
            del data[rng.randrange(1, len(data)) :]
        elif kind == 3:
            magic = rng.choice(MAGICS)
            data[: len(magic)] = magic
        elif kind == 4:
            other = rng.choice(files)
            data = data[: rng.randrange(1, len(data) + 1)] + other[rng.randrange(len(other)) :]
        else:  # a piece left out, doubled or overwritten
            start = rng.randrange(len(data))
            length = rng.choice((1, 4, 64))
            data[start : start + length] = rng.choice((b"", b"\xff" * length, data[start:] * 2))
        if not data:
            data = bytearray(b"\0")
    return bytes(data)


def fuzz(n: int) -> dict[str, Any]:
    """Prepare ``n`` mutated files in this process; run in one of its own."""
    files, rng = seed_files(), random.Random(2026)
    for file in files:
        prepare(file)  # every seed itself is a photo
    results, failures, messages = 0, [], set()
    for number in range(n):
        data = mutated(files, rng)
        try:
            photo = prepare(data)
        except ImageError as error:
            messages.add(type(error).__name__)
        except BaseException as error:
            failures.append(f"{number}: {type(error).__name__}: {error}"[:200])
        else:
            results += 1
            if photo.shape != (224, 224, 3) or photo.dtype != np.uint8:
                failures.append(f"{number}: {photo.dtype} {photo.shape}")
    return {
        "n": n,
        "results": results,
        "errors": n - results - len(failures),
        "kinds": sorted(messages),
        "failures": failures[:10],
    }


def alone(run_alone: Any, n: int, *options: str) -> dict[str, Any]:
    """The findings of ``n`` mutated files in a process of its own, with its peak memory."""
    code = "import runpy, sys; runpy.run_path(sys.argv[2], run_name='__main__')"
    run = run_alone(code, str(n), __file__, options=options)
    found: dict[str, Any] = json.loads(run.stdout)
    return {**found, "peak_mb": run.peak_mb}


def test_mutated_files_give_a_photo_or_the_projects_own_error(run_alone: Any) -> None:
    found = alone(run_alone, N_MUTATED)
    print(found)
    assert found["n"] == N_MUTATED
    assert found["failures"] == []
    assert found["results"] > N_MUTATED // 20
    assert found["errors"] > N_MUTATED // 20
    assert {"DecodeError", "TooLargeError"} <= set(found["kinds"])
    assert 20 < found["peak_mb"] < MAX_MEMORY_MB


def test_the_same_where_warnings_are_errors(run_alone: Any) -> None:
    found = alone(run_alone, 200, "-W", "error")
    assert found["failures"] == []
    assert found["results"] > 10


if __name__ == "__main__":
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    print(json.dumps(fuzz(int(sys.argv[1]))))
