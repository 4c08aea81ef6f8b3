"""Find photos that are the same: byte for byte, or as a person would say.

Byte-identical files have the same SHA-256. Near duplicates (saved again, resized, relit, moved by
a hand's breadth) are found by a fingerprint of 232 bytes per photo, in three steps: a 64-bit
perceptual hash finds candidates without comparing every pair, a 256-bit one and a small colour
thumbnail then throw out items that merely lie alike on a plain background.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from beltsight.card import content_hash
from beltsight.errors import ImageError
from beltsight.image import read_photo_bytes
from beltsight.records import Photo, Sample

# Set by looking at every candidate pair of TrashNet as images: at 46 of 256 bits and less all pairs
# are the same item in the same pose, from 50 on the first pairs of different items turn up.
# A photo saved again at JPEG quality 20, halved, quartered, relit by a fifth stays under 24.
COARSE_BITS = 7
FINE_BITS = 46
# Largest difference of colour in any cell of the thumbnails, and of brightness on average, 0 to
# 255. TrashNet's true pairs reach 28 and 38, photos relit by a fifth 42. The hashes are of the grey
# photo: without this, a green bottle and a brown one in the same place would be the same.
COLOUR_STEP = 36
BRIGHTNESS_STEP = 64
_ASPECT_STEP = 1.1
_BANDS, _BAND_BITS = 4, 16
# Photos with one and the same coarse hash are compared with this many neighbours at most, so that
# a hundred thousand frames of an empty belt do not make five billion pairs.
_CROWD = 16
_CROWD_SIDE = 4


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprint:
    """What is kept of a photo to find its near duplicates.

    Args:
        coarse: 64-bit perceptual hash.
        fine: uint64 (4,) 256-bit perceptual hash.
        thumbnail: uint8 (8, 8, 3) RGB.
        aspect: width / height.
    """

    coarse: int
    fine: NDArray[np.uint64]
    thumbnail: Photo
    aspect: float


@dataclass(frozen=True, slots=True)
class NearPair:
    """Two photos that show the same.

    Args:
        first: position of one photo.
        second: position of the other, larger than ``first``.
        distance: bits of 256 that differ, 0 to ``FINE_BITS``.
    """

    first: int
    second: int
    distance: int


def fingerprint(photo: Photo) -> Fingerprint:
    """The fingerprint of a decoded photo.

    Args:
        photo: uint8 (H, W, 3) RGB, at any size; 64 pixels a side are enough.

    Source:
        C. Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010,
        section 3.2: bit (u, v) says whether coefficient (u, v) of the cosine transform of the
        32 x 32 grey photo is over the median of the low ones.

    Example:
        >>> ramp = np.tile(np.arange(64, dtype=np.uint8), (64, 1))
        >>> photo = np.stack([ramp, ramp, ramp], axis=2)
        >>> fingerprint(photo).coarse == fingerprint(photo + 40).coarse
        True
    """
    # To 32 x 32 in colour first: what follows costs the same for every photo.
    small = cv2.resize(photo, (32, 32), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    spectrum: NDArray[np.float32] = np.asarray(cv2.dct(grey), np.float32)
    return Fingerprint(
        coarse=int(_hash_bits(spectrum, 8)[0]),
        fine=_hash_bits(spectrum, 16),
        thumbnail=np.asarray(cv2.resize(small, (8, 8), interpolation=cv2.INTER_AREA), np.uint8),
        aspect=photo.shape[1] / photo.shape[0],
    )


def hash_file(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a photo's file, hexadecimal.

    Raises:
        ImageError: as for :func:`beltsight.image.read_photo_bytes`.
    """
    return content_hash(read_photo_bytes(path))


def hash_photos(samples: Iterable[Sample]) -> dict[Path, str]:
    """SHA-256 of each photo's file; one that cannot be read is left out."""
    digests = {}
    for path in dict.fromkeys(sample.path for sample in samples):
        try:
            digests[path] = hash_file(path)
        except ImageError:
            continue  # named among the unreadable photos when its turn comes
    return digests


def items_of(samples: Sequence[Sample], digests: Mapping[Path, str]) -> NDArray[np.int64] | None:
    """Which item each photo shows: photos of one group show the same, and so do copies of a file.

    Args:
        samples: the photos.
        digests: by :func:`hash_photos`.

    Returns:
        int64 (N,) in any order, or None where each shows its own.

    Example:
        >>> rows = [Sample(Path(name), group=group) for name, group in
        ...         (("a.jpg", "can"), ("b.jpg", None), ("c.jpg", "can"))]
        >>> items_of(rows, {}).tolist(), items_of(rows[:2], {})
        ([0, 1, 0], None)
        >>> items_of(rows[:2], {Path("a.jpg"): "5e1f", Path("b.jpg"): "5e1f"}).tolist()
        [0, 0]
    """
    contents = [digests.get(sample.path, f"photo {sample.path}") for sample in samples]
    groups = {c: f"group {s.group}" for c, s in zip(contents, samples, strict=True) if s.group}
    keys = [
        f"group {s.group}" if s.group else groups.get(content, content)
        for content, s in zip(contents, samples, strict=True)
    ]
    names, places = np.unique(np.array(keys, dtype=np.str_), return_inverse=True)
    return None if len(names) == len(keys) else np.asarray(places, np.int64)


def find_exact(digests: Sequence[Hashable | None]) -> tuple[tuple[int, ...], ...]:
    """Positions that hold equal digests, as groups of two and more, in order; None equals nothing.

    Example:
        >>> find_exact(["a", "b", "a", None, None])
        ((0, 2),)
    """
    places = defaultdict(list)
    for position, digest in enumerate(digests):
        if digest is not None:
            places[digest].append(position)
    return tuple(tuple(group) for group in places.values() if len(group) > 1)


def find_near(prints: Sequence[Fingerprint | None]) -> tuple[NearPair, ...]:
    """All pairs of near duplicates; the work grows with the number of photos, not of pairs.

    Args:
        prints: one per photo; None is passed over (a corrupt file, or a byte-identical copy
            of another photo).

    Returns:
        Pairs sorted by distance, then position. Of many photos with one and the same coarse
        hash, each is compared with a few others only: enough to join them.

    Source:
        M. Norouzi, A. Punjani, D. J. Fleet, Fast Search in Hamming Space with Multi-Index
        Hashing, CVPR 2012: of 4 bands of a 64-bit hash that differs in at most 7 bits, one
        differs in at most 1 bit.
    """
    here = [position for position, print_ in enumerate(prints) if print_ is not None]
    chosen = [print_ for print_ in prints if print_ is not None]
    if len(chosen) < 2:
        return ()
    coarse = np.array([print_.coarse for print_ in chosen], np.uint64)
    fine = np.stack([print_.fine for print_ in chosen])
    thumbnails = np.stack([print_.thumbnail for print_ in chosen])
    aspect = np.array([print_.aspect for print_ in chosen])
    found: dict[tuple[int, int], int] = {}
    for left, right in _candidates(coarse):
        distance = np.bitwise_count(fine[left] ^ fine[right]).sum(axis=1, dtype=np.int64)
        ratio = aspect[left] / aspect[right]
        alike = (distance <= FINE_BITS) & (np.maximum(ratio, 1 / ratio) <= _ASPECT_STEP)
        a, b, bits = left[alike], right[alike], distance[alike]
        colours = _look_alike(thumbnails[a], thumbnails[b])
        places = zip(a[colours].tolist(), b[colours].tolist(), strict=True)
        found.update(zip(places, bits[colours].tolist(), strict=True))
    ordered = sorted((bits, here[a], here[b]) for (a, b), bits in found.items())
    return tuple(NearPair(a, b, bits) for bits, a, b in ordered)


def join(count: int, links: Iterable[tuple[int, int]]) -> list[int]:
    """Connected parts of a graph, by union-find.

    Args:
        count: nodes, numbered from 0.
        links: pairs of nodes that belong together.

    Returns:
        For every node the smallest node of its part.

    Example:
        >>> join(5, [(0, 1), (3, 1)])
        [0, 0, 2, 0, 4]
    """
    parent = list(range(count))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for a, b in links:
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    return [root(node) for node in range(count)]


def _hash_bits(spectrum: NDArray[np.float32], side: int) -> NDArray[np.uint64]:
    low = spectrum[:side, :side].ravel()
    # Without the first, which is the mean brightness alone.
    bits = low > np.median(low[1:])
    return np.packbits(bits).view(np.uint64)


def _look_alike(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether thumbnails (N, 8, 8, 3) agree in colour everywhere, and in brightness on average."""
    gap = left.astype(np.float32) - right
    brightness = gap.mean(axis=3, keepdims=True)
    colour = np.abs(gap - brightness).max(axis=(1, 2, 3), initial=0)
    dimmer = np.abs(brightness.mean(axis=(1, 2, 3)))
    alike: NDArray[np.bool_] = (colour <= COLOUR_STEP) & (dimmer <= BRIGHTNESS_STEP)
    return alike


def _candidates(coarse: NDArray[np.uint64]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Pairs (smaller, larger position) with at most ``COARSE_BITS`` different bits; may repeat."""
    order = np.argsort(coarse, kind="stable")
    ranked = coarse[order]
    for step in range(1, min(_CROWD, len(order) - 1) + 1):
        same = ranked[step:] == ranked[:-step]
        if not same.any():
            break
        yield order[:-step][same], order[step:][same]
    # What remains is between different hashes, each of which stands for its crowd.
    values, first, count = np.unique(ranked, return_index=True, return_counts=True)
    for left, right in _close_values(values):
        most = int(min(count[np.concatenate([left, right])].max(initial=0), _CROWD_SIDE))
        for i in range(most):
            for j in range(most):
                both = (count[left] > i) & (count[right] > j)
                a, b = order[first[left[both]] + i], order[first[right[both]] + j]
                yield np.minimum(a, b), np.maximum(a, b)


def _close_values(
    values: NDArray[np.uint64],
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Positions of different hashes with at most ``COARSE_BITS`` different bits."""
    flips = [0, *(1 << bit for bit in range(_BAND_BITS))]
    for band in range(_BANDS):
        keys = ((values >> np.uint64(band * _BAND_BITS)) & np.uint64(0xFFFF)).astype(np.int64)
        order = np.argsort(keys, kind="stable")
        ranked = keys[order]
        for flip in flips:
            start = np.searchsorted(ranked, ranked ^ flip, "left")
            stop = np.searchsorted(ranked, ranked ^ flip, "right")
            for mine, theirs in _spread(start, stop):
                a, b = order[mine], order[theirs]
                near = (np.bitwise_count(values[a] ^ values[b]) <= COARSE_BITS) & (a < b)
                yield a[near], b[near]


def _spread(
    start: NDArray[np.int64], stop: NDArray[np.int64], most: int = 1 << 18
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """All (i, k) with ``start[i] <= k < stop[i]``, about ``most`` of them at a time."""
    count = stop - start
    total = np.concatenate([[0], np.cumsum(count)])
    begin = 0
    while begin < len(count):
        end = int(np.searchsorted(total, total[begin] + most, "right")) - 1
        end = min(max(end, begin + 1), len(count))
        mine = np.repeat(np.arange(begin, end), count[begin:end])
        offset = np.arange(len(mine)) - np.repeat(total[begin:end] - total[begin], count[begin:end])
        yield mine, start[mine] + offset
        begin = end
