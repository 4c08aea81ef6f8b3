from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.fft import dctn
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from tests.dataset.scenes import jpeg, scene

from beltsight.dataset.duplicates import (
    COARSE_BITS,
    COLOUR_STEP,
    FINE_BITS,
    Fingerprint,
    find_exact,
    find_near,
    fingerprint,
    hash_file,
    join,
)
from beltsight.dataset.scan import find_duplicates, scan_photos
from beltsight.errors import DecodeError
from beltsight.image import decode
from beltsight.records import Photo


def bits_of(value: int) -> list[int]:
    """Bits of the hash in the order in which they were packed."""
    packed = np.array([value], np.uint64).view(np.uint8)
    return [int(bit) for bit in np.unpackbits(packed)]


def test_hash_is_the_sign_of_a_cosine_transform() -> None:
    photo = scene(3)
    small = cv2.resize(photo, (32, 32), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(float)
    low = dctn(grey, norm="ortho")[:8, :8].ravel()
    expected = (low > np.median(low[1:])).astype(int)
    assert bits_of(fingerprint(photo).coarse) == expected.tolist()


def _resized(photo: Photo, width: int, height: int) -> Photo:
    return np.asarray(cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _same_grey(photo: Photo) -> Photo:
    grey = np.asarray(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), np.uint8)
    return np.stack([grey, grey, grey], axis=2)


SAME: dict[str, Callable[[Photo], Photo]] = {
    "saved badly": lambda photo: decode(jpeg(photo, 25)),
    "half size": lambda photo: _resized(photo, 128, 96),
    "brighter": lambda photo: np.clip(photo * 0.85 + 38, 0, 255).astype(np.uint8),
    "warmer": lambda photo: np.clip(photo * np.array([1.06, 1, 0.94]), 0, 255).astype(np.uint8),
    "cropped by 1 %": lambda photo: np.ascontiguousarray(photo[2:-2, 2:-2]),
}
OTHER: dict[str, Callable[[Photo], Photo]] = {
    "mirrored": lambda photo: np.ascontiguousarray(photo[:, ::-1]),
    "other colours, same grey": _same_grey,
    "stretched": lambda photo: _resized(photo, 256, 128),
    "another scene": lambda photo: scene(99),
    "at night": lambda photo: (photo // 4).astype(np.uint8),
}


@pytest.mark.parametrize("change", SAME)
def test_the_same_photo_changed_is_near(change: str) -> None:
    pairs = [(scene(seed), SAME[change](scene(seed))) for seed in range(8)]
    for photo, changed in pairs:
        found = find_near([fingerprint(photo), None, fingerprint(changed)])
        assert [(pair.first, pair.second) for pair in found] == [(0, 2)], change


@pytest.mark.parametrize("change", OTHER)
def test_another_photo_is_not_near(change: str) -> None:
    photo = scene(5)
    assert find_near([fingerprint(photo), fingerprint(OTHER[change](photo))]) == ()


def _random_prints(rng: np.random.Generator, count: int) -> list[Fingerprint]:
    """Families of prints that differ a little, on both sides of each limit."""
    prints: list[Fingerprint] = []
    while len(prints) < count:
        coarse, fine = int(rng.integers(0, 2**63)), rng.integers(0, 2**63, 4, dtype=np.uint64)
        thumbnail = rng.integers(60, 190, (8, 8, 3)).astype(np.uint8)
        for _ in range(6):
            flipped = coarse
            for bit in rng.choice(64, int(rng.integers(0, COARSE_BITS)), replace=False):
                flipped ^= 1 << int(bit)
            changed = fine.copy()
            for bit in rng.choice(256, int(rng.integers(0, FINE_BITS)), replace=False):
                changed[bit // 64] ^= np.uint64(1 << int(bit % 64))
            step = rng.integers(-COLOUR_STEP // 2 - 1, COLOUR_STEP // 2 + 2, (8, 8, 3))
            seen = np.clip(thumbnail + step * int(rng.integers(0, 2)), 0, 255).astype(np.uint8)
            prints.append(Fingerprint(flipped, changed, seen, float(rng.choice([1.0, 1.05, 1.3]))))
    return prints


def _near_by_brute_force(prints: list[Fingerprint]) -> set[tuple[int, int]]:
    near = set()
    for i, a in enumerate(prints):
        for j in range(i + 1, len(prints)):
            b = prints[j]
            gap = a.thumbnail.astype(float) - b.thumbnail
            light = gap.mean(axis=2, keepdims=True)
            fine = sum((int(x) ^ int(y)).bit_count() for x, y in zip(a.fine, b.fine, strict=True))
            if (
                (a.coarse ^ b.coarse).bit_count() <= COARSE_BITS
                and fine <= FINE_BITS
                and max(a.aspect / b.aspect, b.aspect / a.aspect) <= 1.1
                and np.abs(gap - light).max() <= COLOUR_STEP
                and abs(light.mean()) <= 64
            ):
                near.add((i, j))
    return near


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_banded_search_finds_what_comparing_all_pairs_finds(seed: int) -> None:
    prints = _random_prints(np.random.default_rng(seed), 300)
    expected = _near_by_brute_force(prints)
    found = find_near(prints)
    assert len(expected) > 30
    assert {(pair.first, pair.second) for pair in found} == expected
    assert [pair.distance for pair in found] == sorted(pair.distance for pair in found)


def test_a_crowd_is_joined_without_comparing_all_of_it() -> None:
    print_ = fingerprint(scene(1))
    found = find_near([print_] * 3000)
    assert len(found) <= 3000 * 16
    assert set(join(3000, [(pair.first, pair.second) for pair in found])) == {0}


def test_two_crowds_of_close_hashes_are_joined() -> None:
    one = fingerprint(scene(1))
    other = Fingerprint(one.coarse ^ 0b1001, one.fine, one.thumbnail, one.aspect)
    found = find_near([one] * 40 + [other] * 40)
    assert set(join(80, [(pair.first, pair.second) for pair in found])) == {0}


def test_nothing_to_compare() -> None:
    assert find_near([]) == () and find_near([None, fingerprint(scene(0)), None]) == ()


@pytest.mark.parametrize("seed", range(4))
def test_join_gives_connected_parts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    links = rng.integers(0, 60, (45, 2))
    graph = coo_array((np.ones(45), (links[:, 0], links[:, 1])), shape=(60, 60))
    count, expected = connected_components(graph, directed=False)
    got = join(60, [(int(a), int(b)) for a, b in links])
    assert len(set(got)) == count == len(set(zip(got, expected.tolist(), strict=True)))
    assert all(root <= node for node, root in enumerate(got))


def test_exact_copies_are_grouped() -> None:
    assert find_exact(["x", "y", "x", None, None, "z", "y", "x"]) == ((0, 2, 7), (1, 6))


def test_hash_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc" * 100_000)
    assert hash_file(tmp_path / "a") == hashlib.sha256(b"abc" * 100_000).hexdigest()
    os.mkfifo(tmp_path / "pipe")
    for name in ("none", "pipe", "."):
        with pytest.raises(DecodeError, match=r"does not exist; expected a photo|is not a file"):
            hash_file(tmp_path / name)


def test_pairs_of_trashnet_are_those_seen_by_eye(trashnet: Path) -> None:
    paths = sorted((trashnet / "images").rglob("*.jpg"))
    groups, pairs = find_duplicates(list(scan_photos(paths)))
    names = [path.stem for path in paths]
    assert [tuple(names[i] for i in group) for group in groups] == [
        ("glass115", "metal91"),
        ("glass176", "plastic152"),
        ("glass389", "plastic332"),
    ]
    near = {(names[pair.first], names[pair.second]) for pair in pairs}
    # Judged from the photos: the same item in the same pose, and different items that lie alike.
    same = {("paper135", "paper496"), ("metal11", "metal221"), ("cardboard15", "cardboard361")}
    assert same | {("paper240", "paper306"), ("metal394", "metal76")} <= near
    alike = {("metal155", "metal6"), ("metal155", "plastic154"), ("glass344", "metal272")}
    assert not near & (alike | {("glass325", "glass422"), ("glass74", "plastic154")})
    assert len(near) == 28
