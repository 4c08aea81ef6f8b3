from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from beltsight.photos import find_photos


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (
        "b.jpg", "a.PNG", "notes.txt", ".hidden.jpg", "sub/z.webp", "sub/deep/y.tif",
        "sub/.git/x.jpg", "odd[1].jpg", "sub/c.jpg",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_gives_its_photos_in_order(tree: Path) -> None:
    found = [os.path.relpath(path, tree) for path in find_photos([tree])]
    assert found == [
        "a.PNG", "b.jpg", "odd[1].jpg", "sub/c.jpg", "sub/deep/y.tif", "sub/z.webp"
    ]  # fmt: skip


def test_a_file_is_given_whatever_its_name_and_even_if_missing(tree: Path) -> None:
    assert list(find_photos(["notes.txt", "missing.jpg"])) == ["notes.txt", "missing.jpg"]


def test_a_pattern_gives_what_it_matches(tree: Path) -> None:
    assert list(find_photos(["*.jpg"])) == ["b.jpg", "odd[1].jpg"]
    assert list(find_photos(["su?/*"])) == ["sub/c.jpg", "sub/deep/y.tif", "sub/z.webp"]
    assert list(find_photos(["**/*.tif"])) == ["sub/deep/y.tif"]
    every = list(find_photos(["**"]))
    assert len(every) == len(set(every)) == 6


def test_a_pattern_that_matches_nothing_gives_nothing(tree: Path) -> None:
    assert list(find_photos(["*.gif", "sub/[q].jpg"])) == []


def test_a_file_with_brackets_in_its_name_is_that_file(tree: Path) -> None:
    assert list(find_photos(["odd[1].jpg"])) == ["odd[1].jpg"]


def test_links_that_go_in_circles_end(tree: Path) -> None:
    (tree / "sub" / "loop").symlink_to(tree)
    (tree / "link.jpg").symlink_to(tree / "b.jpg")
    found = list(itertools.islice(find_photos([tree]), 100))
    assert len(found) == 7
    assert str(tree / "link.jpg") in found


def test_the_walk_is_lazy(tree: Path) -> None:
    walk = find_photos([tree, tree / "never"])
    next(walk)
    (tree / "sub" / "a-later.jpg").touch()
    assert str(tree / "sub" / "a-later.jpg") in list(walk)
