from __future__ import annotations

import glob
import itertools
import os
from pathlib import Path
from typing import Any

import pytest

from beltsight.image import is_photo_path
from beltsight.photos import Entry, descend, find_photos, walk


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


def test_a_pattern_descends_into_the_folders_that_it_matches(tree: Path) -> None:
    for name in ("in/day/cam1/1.jpg", "in/cam2/deep/2.jpg", "in/cam2/cam3/3.jpg", "in/x/4.jpg"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).touch()
    assert list(find_photos(["in/**/cam*"])) == [
        "in/cam2/cam3/3.jpg", "in/cam2/deep/2.jpg", "in/day/cam1/1.jpg"
    ]  # fmt: skip
    assert list(find_photos([f"{tree}/in/*/cam?"])) == [
        f"{tree}/in/cam2/cam3/3.jpg", f"{tree}/in/day/cam1/1.jpg"
    ]  # fmt: skip
    assert list(find_photos(["in/**/x/../x/[0-9].jpg"])) == ["in/x/../x/4.jpg"]


@pytest.mark.parametrize(
    "pattern",
    [
        "*.jpg", "*/*", "*/*/*", "**/*.jpg", "**/*", "s*/**/*.tif", "**/deep/*", "**/**/*.jpg",
        "sub/[cz]*", "*.PNG", ".h*", "**/.git/*.jpg", "sub/.*/x.jpg", "**/s*/**/*.webp", "*/c.jpg",
    ],
)  # fmt: skip
def test_patterns_match_what_glob_matches(tree: Path, pattern: str) -> None:
    expected = {
        path
        for path in glob.iglob(pattern, recursive=True)
        if is_photo_path(Path(path)) and Path(path).is_file()
    }
    # A folder that the pattern matches gives its photos, too.
    folders = [path for path in glob.iglob(pattern, recursive=True) if Path(path).is_dir()]
    found = list(find_photos([pattern]))
    assert len(found) == len(set(found))
    assert expected <= set(found)
    below = {path for folder in folders for path in find_photos([folder])}
    assert set(found) == expected | below


def test_a_pattern_is_lazy(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        (tree / f"day{number:02}").mkdir()
        (tree / f"day{number:02}" / "1.jpg").touch()
    listed: list[str] = []
    scandir = os.scandir

    def watched(folder: str) -> Any:
        listed.append(folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", watched)
    assert list(itertools.islice(find_photos(["day*/*.jpg"]), 2)) == ["day00/1.jpg", "day01/1.jpg"]
    assert listed == [".", "day00", "day01"]


def test_a_pattern_does_not_go_in_circles(tree: Path) -> None:
    (tree / "sub" / "loop").symlink_to(tree)
    (tree / "sub" / "self").symlink_to("self")
    found = list(itertools.islice(find_photos(["**/*.jpg"]), 100))
    assert found == ["b.jpg", "odd[1].jpg", "sub/c.jpg"]
    # Named by itself, a link is followed.
    assert list(find_photos(["sub/l*/b.jpg"])) == ["sub/loop/b.jpg"]


def test_folders_may_lie_deeper_than_python_calls() -> None:
    def list_folder(folder: str) -> list[Entry]:
        if folder.count("/") < 3000:
            return [Entry("d", f"{folder}/d", is_folder=True)]
        return [Entry("x.jpg", f"{folder}/x.jpg", is_folder=False)]

    deep = "/".join(["d"] * 3001 + ["x.jpg"])
    assert list(walk("d", list_folder, is_photo_path)) == [deep]
    assert list(descend("d", ("**", "*.jpg"), list_folder, is_photo_path)) == [deep]


def test_a_folder_that_cannot_be_listed_is_not_passed_over(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def refused(folder: str) -> Any:
        if "deep" in folder:
            raise PermissionError(13, "Permission denied")
        if folder == "gone":
            raise FileNotFoundError
        return scandir(folder)

    (tree / "gone").mkdir()
    monkeypatch.setattr(os, "scandir", refused)
    assert list(find_photos(["sub"])) == ["sub/c.jpg", "sub/deep/", "sub/z.webp"]
    assert list(find_photos(["sub/**/*.tif"])) == ["sub/deep/"]
    assert list(find_photos(["gone"])) == []
