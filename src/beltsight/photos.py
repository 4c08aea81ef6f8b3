"""Find photos among files, folders and glob patterns, without listing a whole archive first."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from beltsight.image import is_photo_path


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    is_folder: bool
    is_link: bool

    @property
    def is_hidden(self) -> bool:
        return self.name.startswith(".")


def find_photos(paths: Iterable[str | os.PathLike[str]]) -> Iterator[str]:
    """Walk files, folders and glob patterns, lazily.

    Args:
        paths: a file is given back whatever its name, even where it does not exist, so that
            the caller can say so; a folder gives the photos in it and below, by name; a pattern
            with ``*``, ``?`` or ``[`` gives what it matches, folders as above; ``**`` matches
            any depth.

    Returns:
        An iterator of paths in the order of the arguments, and sorted within each folder. A
        pattern gives each photo once. Hidden files and folders are passed over unless a pattern
        names their dot, and so are links to folders, which could lead in circles, unless a pattern
        names the link by itself.
        What is held in memory is the names of the folders that the walk stands in.
    """
    for path in paths:
        text = os.fspath(path)
        if not os.path.exists(text) and glob.has_magic(text):
            yield from _matches(text)
        elif os.path.isdir(text):
            yield from _walk(text)
        else:
            yield text


def _matches(pattern: str) -> Iterator[str]:
    parts = Path(pattern).parts
    fixed = next(place for place, part in enumerate(parts) if glob.has_magic(part))
    start = os.path.join(*parts[:fixed]) if fixed else ""
    yield from _descend(start, parts[fixed:], _with_any_depth({0}, parts[fixed:]))


def _descend(folder: str, parts: tuple[str, ...], places: frozenset[int]) -> Iterator[str]:
    """The photos below a folder that has brought the pattern to these places of its parts.

    All places go down together, so that each photo is met once, where ``**`` leads to it by many
    ways, and each folder is listed when the walk comes to it.
    """
    entries = _entries(folder)
    if any(parts[place] == os.pardir for place in places if place < len(parts)):
        entries.append(_Entry(os.pardir, is_folder=True, is_link=False))
    for entry in entries:
        reached = _with_any_depth(_step(parts, places, entry), parts)
        path = os.path.join(folder, entry.name)
        if len(parts) not in reached:
            if reached and entry.is_folder:
                yield from _descend(path, parts, reached)
        elif entry.is_folder:
            yield from _walk(path)
        elif is_photo_path(Path(entry.name)):
            yield path


def _step(parts: tuple[str, ...], places: frozenset[int], entry: _Entry) -> set[int]:
    """The places that the pattern can be at behind this entry."""
    reached = set()
    for place in places:
        part = parts[place] if place < len(parts) else ""
        if part == "**":
            # Not through links: they could lead in circles.
            if not entry.is_hidden and not (entry.is_folder and entry.is_link):
                reached.add(place)
        elif glob.has_magic(part):
            seen = part.startswith(".") or not entry.is_hidden
            if seen and entry.name != os.pardir and fnmatch.fnmatch(entry.name, part):
                reached.add(place + 1)
        elif part and os.path.normcase(entry.name) == os.path.normcase(part):
            reached.add(place + 1)
    return reached


def _with_any_depth(places: set[int], parts: tuple[str, ...]) -> frozenset[int]:
    """The places, and those behind ``**``, which may stand for no folder at all."""
    whole = set(places)
    for place, part in enumerate(parts):
        if place in whole and part == "**":
            whole.add(place + 1)
    return frozenset(whole)


def _walk(folder: str) -> Iterator[str]:
    for entry in _entries(folder):
        path = os.path.join(folder, entry.name)
        if entry.is_hidden or (entry.is_folder and entry.is_link):
            continue
        if entry.is_folder:
            yield from _walk(path)
        elif is_photo_path(Path(entry.name)):
            yield path


def _entries(folder: str) -> list[_Entry]:
    """What a folder holds, by name; nothing where it cannot be read or has gone since."""
    try:
        with os.scandir(folder or os.curdir) as entries:
            found = [_Entry(e.name, _is_folder(e), e.is_symlink()) for e in entries]
    except OSError:
        return []
    return sorted(found, key=lambda entry: entry.name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    # A link may lead to itself: that is an error for the entry, and False for os.path.
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()
