"""Classical descriptions of a photo: pure functions, uint8 (H, W, 3) RGB -> float32 (D,).

Histograms are shares whose square root is taken (the Hellinger map): the distance of two such
vectors suits histograms, and no bin that covers the background outweighs all others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.feature import hog, local_binary_pattern
from sklearn.cluster import MiniBatchKMeans

import beltsight

Photo = NDArray[np.uint8]
Floats = NDArray[np.float32]
_HSV_ENDS = (180, 256, 256)  # OpenCV's, for uint8
_NRI_PATTERNS = 59  # non-rotation-invariant uniform patterns of 8 points


def photo_without_bars(source: str | Path, side_px: int) -> Photo:
    """The package's preparation without its letterbox bars, which no histogram should count.

    Only the bars differ between a black and a white fill.
    """
    black, white = (
        beltsight.prepare(source, beltsight.Preparation(side_px, side_px, (fill,) * 3))
        for fill in (0, 255)
    )
    inside = (black == white).all(axis=2)
    return np.ascontiguousarray(black[inside.any(axis=1)][:, inside.any(axis=0)])


def colour_histogram(
    photo: Photo, *, bins: Sequence[int] = (8, 4, 4), joint: bool = True, grid: int = 1
) -> Floats:
    """Hue, saturation and value: one joint histogram or three, per part of the photo.

    Args:
        photo: the photo.
        bins: of hue, saturation and value.
        joint: all three in one histogram of ``h * s * v`` bins; else three of their own.
        grid: over the whole photo and, if over 1, over each cell of a grid x grid.
    """
    hsv = cv2.cvtColor(photo, cv2.COLOR_RGB2HSV).astype(np.int64)
    index = [hsv[:, :, c] * bins[c] // _HSV_ENDS[c] for c in range(3)]
    sizes = list(bins)
    if joint:
        index = [(index[0] * bins[1] + index[1]) * bins[2] + index[2]]
        sizes = [bins[0] * bins[1] * bins[2]]
    return np.concatenate(
        [_pooled(plane, size, grid) for plane, size in zip(index, sizes, strict=True)]
    )


def gradient_histograms(photo: Photo, *, side_px: int = 128, cell_px: int = 16) -> Floats:
    """HOG of 9 directions (Dalal & Triggs 2005) of the photo squeezed to a square."""
    square = cv2.resize(_grey(photo), (side_px, side_px), interpolation=cv2.INTER_AREA)
    described = hog(
        square,
        pixels_per_cell=(cell_px, cell_px),
        cells_per_block=(2, 2),
        block_norm="L2-Hys",
        transform_sqrt=True,
    )
    return np.asarray(described, np.float32)


def binary_patterns(
    photo: Photo, *, radii_px: Sequence[int] = (1, 2, 3), invariant: bool = True, grid: int = 1
) -> Floats:
    """Histograms of uniform local binary patterns (Ojala et al. 2002), one per radius.

    Args:
        photo: the photo.
        radii_px: 8 points per pixel of radius.
        invariant: under rotation; else the 59 uniform patterns of 8 points, radius 1 only.
        grid: as for :func:`colour_histogram`.
    """
    if not invariant and tuple(radii_px) != (1,):
        raise ValueError(f"patterns that are not invariant: radius 1 only, got {list(radii_px)}")
    parts = []
    for radius in radii_px:
        method = "uniform" if invariant else "nri_uniform"
        codes = local_binary_pattern(  # type: ignore[no-untyped-call]
            _grey(photo), 8 * radius, radius, method
        )
        parts.append(
            _pooled(codes.astype(np.int64), 8 * radius + 2 if invariant else _NRI_PATTERNS, grid)
        )
    return np.concatenate(parts)


@dataclass(frozen=True)
class Vocabulary:
    """Visual words: the centres of clusters of SIFT descriptors, float32 (W, 128)."""

    centres: Floats
    step_px: int = 12
    sizes_px: tuple[int, ...] = (8, 16)

    def describe(self, photo: Photo, grid: int = 1) -> Floats:
        """How often each word occurs, over the photo and over each cell of a grid."""
        descriptors, points = dense_sift(photo, self.step_px, self.sizes_px)
        # The nearest centre: |d|^2 is the same for all of them.
        distances = (self.centres**2).sum(axis=1) - 2 * descriptors @ self.centres.T
        return _counts(distances.argmin(axis=1), points, photo.shape, len(self.centres), grid)


def learn_vocabulary(
    photos: Sequence[Photo], words: int, seed: int, per_photo: int = 60
) -> Vocabulary:
    """Cluster descriptors drawn from each photo."""
    empty = Vocabulary(np.empty((0, 128), np.float32))
    generator = np.random.default_rng(seed)
    drawn = []
    for photo in photos:
        descriptors, _ = dense_sift(photo, empty.step_px, empty.sizes_px)
        take = min(per_photo, len(descriptors))
        drawn.append(generator.choice(descriptors, take, replace=False))
    clusters = MiniBatchKMeans(words, batch_size=4096, n_init=1, max_iter=50, random_state=seed)
    clusters.fit(np.concatenate(drawn))
    return Vocabulary(np.asarray(clusters.cluster_centers_, np.float32))


def dense_sift(
    photo: Photo, step_px: int, sizes_px: Sequence[int]
) -> tuple[Floats, NDArray[np.float64]]:
    """RootSIFT (Arandjelovic & Zisserman 2012) on a lattice: (N, 128), and (N, 2) as x, y."""
    height, width = photo.shape[:2]
    lattice = [
        cv2.KeyPoint(float(x), float(y), float(size))
        for size in sizes_px
        for y in range(step_px // 2, height, step_px)
        for x in range(step_px // 2, width, step_px)
    ]
    kept, descriptors = cv2.SIFT.create().compute(_grey(photo), lattice)
    shares = descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-6)
    return np.sqrt(shares).astype(np.float32), np.array([point.pt for point in kept])


def make_describer(
    kind: str, variant: dict[str, object], train: Callable[[], Sequence[Photo]], seed: int
) -> Callable[[Photo], Floats]:
    """The function of one feature set with its settings; words are learned from ``train()``."""
    if kind == "sift":
        options = dict(variant)
        grid = int(str(options.pop("grid", 1)))
        vocabulary = learn_vocabulary(train(), int(str(options.pop("words"))), seed)
        return lambda photo: vocabulary.describe(photo, grid)
    plain: dict[str, Callable[..., Floats]] = {
        "colour": colour_histogram,
        "hog": gradient_histograms,
        "lbp": binary_patterns,
    }
    return lambda photo: plain[kind](photo, **variant)


def _grey(photo: Photo) -> Photo:
    return np.asarray(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY))


def _pooled(codes: NDArray[np.int64], size: int, grid: int) -> Floats:
    """Histograms of a plane of codes."""
    height, width = codes.shape
    rows, columns = np.indices(codes.shape)
    points = np.stack([columns.ravel(), rows.ravel()], axis=1)
    return _counts(codes.ravel(), points, (height, width), size, grid)


def _counts(
    codes: NDArray[np.integer],
    points: NDArray[np.number],
    shape: Sequence[int],
    size: int,
    grid: int,
) -> Floats:
    """Square roots of shares, over the whole and over each cell of a grid."""
    parts = []
    for inside in _cells(points, shape, grid):
        counted = np.bincount(codes[inside], minlength=size)
        parts.append(np.sqrt(counted / max(1, counted.sum())))
    return np.concatenate(parts).astype(np.float32)


def _cells(
    points: NDArray[np.number], shape: Sequence[int], grid: int
) -> Iterator[NDArray[np.bool_]]:
    """Which points lie in the whole photo, then in each cell."""
    yield np.ones(len(points), np.bool_)
    if grid > 1:
        column, row = (points * grid // np.array([shape[1], shape[0]])).astype(int).T
        for number in range(grid * grid):
            yield row * grid + column == number
