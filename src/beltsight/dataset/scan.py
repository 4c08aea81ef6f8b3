"""Read every photo of a data set once and keep what checks and splits need of it: no pixels."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from beltsight.dataset.duplicates import (
    Fingerprint,
    NearPair,
    find_exact,
    find_near,
    fingerprint,
    hash_file,
)
from beltsight.errors import ImageError
from beltsight.flow import ordered_map
from beltsight.image import FORMATS, SUFFIXES_OF, decode
from beltsight.machine import usable_cores
from beltsight.records import Sample

Progress = Callable[[str, int, int], None]
"""Called with (what is done, photos done, photos in all), from the calling thread."""

# Enough for a fingerprint of 32 x 32; a JPEG of twice that and more is decoded at a fraction.
_ENOUGH = (128, 128)
_TOLD_EVERY = 64
_SUFFIXES = {**SUFFIXES_OF, "MPO": SUFFIXES_OF["JPEG"]}  # of several JPEGs in a file
_HEAD_BYTES = 1 << 16
_STARTS = ((b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"))


@dataclass(frozen=True, slots=True)
class Scan:
    """What one photo's file turned out to be.

    Args:
        sha256: of the file, hexadecimal; None where it cannot be read.
        format: ``JPEG``, ``PNG``, ...; None where it does not decode.
        mode: ``RGB``, ``palette``, ``grey``, ...; None where it does not decode.
        width: in pixels, as stored; 0 where it does not decode.
        height: in pixels, as stored; 0 where it does not decode.
        fingerprint: for near duplicates; None where it does not decode.
        error: why it does not decode; None where it does.
    """

    sha256: str | None
    format: str | None = None
    mode: str | None = None
    width: int = 0
    height: int = 0
    fingerprint: Fingerprint | None = None
    error: str | None = None


def scan_photos(paths: Sequence[Path], *, progress: Progress | None = None) -> Iterator[Scan]:
    """Read photos, as many at a time as there are cores, and in order.

    Args:
        paths: the photos' files.
        progress: called after every 64 photos, and at the end.

    Returns:
        One Scan per path; what cannot be read has an ``error``.
    """
    cores = usable_cores()
    with closing(ordered_map(scan_photo, paths, cores, 2 * cores)) as scans:
        for done, scan in enumerate(scans, 1):
            yield scan
            if progress is not None and (done % _TOLD_EVERY == 0 or done == len(paths)):
                progress("Reading photos", done, len(paths))


def find_duplicates(
    scans: Sequence[Scan], *, near: bool = True
) -> tuple[tuple[tuple[int, ...], ...], tuple[NearPair, ...]]:
    """Groups of byte-identical files, and near pairs among one photo of each group and the rest.

    Args:
        scans: one per photo.
        near: whether to look for near pairs.
    """
    groups = find_exact([scan.sha256 for scan in scans])
    copies = {place for group in groups for place in group[1:]}
    prints = [None if i in copies else scan.fingerprint for i, scan in enumerate(scans)]
    return groups, find_near(prints) if near else ()


def linked(
    groups: Iterable[Sequence[int]], pairs: Iterable[NearPair] = ()
) -> Iterator[tuple[int, int]]:
    """The links that duplicates make between photos, for :func:`~.duplicates.join`."""
    for group in groups:
        yield from ((group[0], other) for other in group[1:])
    yield from ((pair.first, pair.second) for pair in pairs)


def same_group(samples: Sequence[Sample]) -> Iterator[tuple[int, int]]:
    """The links between photos of one physical item or session."""
    yield from linked(find_exact([sample.group for sample in samples]))


def scan_photo(path: Path) -> Scan:
    """Read one photo; see :class:`Scan`."""
    digest = None
    try:
        digest = hash_file(path)
        photo = decode(path, enough=_ENOUGH)
        kind, mode, width, height = _header(path)
    except ImageError as error:
        hint = explain_damage(path)
        reason = str(error).removeprefix(f"{os.fspath(path)}: ")
        return Scan(digest, error=f"not a photo: {hint}" if hint else reason)
    return Scan(digest, kind, mode, width, height, fingerprint(photo))


def explain_damage(path: Path) -> str:
    """What a file that is no readable photo seems to be; empty where nothing is recognised."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return ""
    content = head.lstrip(b"\0")
    zeros = len(head) - len(content)
    for start, kind in _STARTS:
        if zeros and content.startswith(start):
            return f"a {kind} begins behind {zeros:,} zero bytes; without these it may open"
    if not content and head:
        return "it holds zeros only; copy it again from its source"
    return _foreign(head)


def wrong_suffix(path: Path, kind: str) -> bool:
    """Whether a file's name ends as another format's would.

    Example:
        >>> wrong_suffix(Path("a.jpg"), "PNG"), wrong_suffix(Path("a.JPEG"), "JPEG")
        (True, False)
    """
    return path.suffix.lower() not in _SUFFIXES.get(kind, (path.suffix.lower(),))


def _foreign(head: bytes) -> str:
    text = head[:512].lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "it is a web page under a photo's name; download the photo itself"
    if text.startswith((b"<svg", b"<?xml")):
        return "it is an SVG or XML file; export it as PNG"
    if head[4:8] == b"ftyp":
        brand = head[8:12].decode("ascii", "replace").strip()
        kind = "AVIF" if brand.startswith("avi") else "HEIC" if brand[:2] in ("he", "mi") else "MP4"
        return f"it is {kind} ({brand}); convert it to JPEG"
    if head.startswith(b"%PDF"):
        return "it is a PDF; export its photo as JPEG or PNG"
    if head.startswith(b"PK\x03\x04"):
        return "it is a zip archive; unpack it"
    return ""


def _header(path: Path) -> tuple[str, str, int, int]:
    """Format, mode and stored size; the file has been decoded, so that its header is sound."""
    from PIL import Image

    names = {"P": "palette", "L": "grey", "1": "black and white"}
    with Image.open(path, formats=FORMATS) as image:
        return image.format or "", names.get(image.mode, image.mode), image.width, image.height
