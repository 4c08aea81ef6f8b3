"""Find photos among files, folders and glob patterns, without listing a whole archive first."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from beltsight.image import is_photo_path


@dataclass(frozen=True, slots=True)
class Entry:
    """What a folder holds: a file or a folder in it.

    Args:
        name: without its folder.
        path: with it.
        is_folder: whether it can be listed.
        is_link: whether it stands for something elsewhere.
        is_unread: whether it stands for a folder that cannot be listed, itself.
    """

    name: str
    path: str
    is_folder: bool
    is_link: bool = False
    is_unread: bool = False

    @property
    def is_hidden(self) -> bool:
        """Whether its name begins with a dot."""
        return self.name.startswith(".")


# A folder's path -> what it holds, by name. Folders of this machine and of stores are walked alike.
ListFolder = Callable[[str], list[Entry]]


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
        names the link by itself. A folder that cannot be listed is given itself, with a slash at
        its end, so that what may lie in it is not missing without a word.
        What is held in memory is the names of the folders that the walk stands in.
    """
    for path in paths:
        yield from files_of(os.fspath(path), is_photo_path)


def files_of(path: str, wanted: Callable[[Path], bool], patterns: bool = True) -> Iterator[str]:
    """The files that one path stands for, as :func:`find_photos` finds them.

    Args:
        path: a file, a folder or a pattern.
        wanted: which files of a folder, by name.
        patterns: whether a path that does not exist may be a pattern.
    """
    if patterns and not os.path.exists(path) and glob.has_magic(path):
        yield from _matches(path, wanted)
    elif os.path.isdir(path):
        yield from walk(path, _entries, wanted)
    else:
        yield path


def walk(folder: str, list_folder: ListFolder, wanted: Callable[[Path], bool]) -> Iterator[str]:
    """The wanted files in a folder and below, by name; neither hidden ones nor through links."""
    # Not by calling itself: folders may lie deeper than Python's calls may.
    open_folders = [iter(list_folder(folder))]
    while open_folders:
        entry = next(open_folders[-1], None)
        if entry is None:
            open_folders.pop()
        elif entry.is_hidden or (entry.is_folder and entry.is_link):
            continue
        elif entry.is_folder:
            open_folders.append(iter(list_folder(entry.path)))
        elif entry.is_unread or wanted(Path(entry.name)):
            yield entry.path


def descend(
    folder: str, parts: tuple[str, ...], list_folder: ListFolder, wanted: Callable[[Path], bool]
) -> Iterator[str]:
    """The wanted files below a folder that match a pattern, given by its parts.

    A folder is entered with the places of the parts that the way to it has brought the pattern to.
    All places go down together, so that each photo is met once, where ``**`` leads to it by many
    ways, and each folder is listed when the walk comes to it.
    """
    open_folders = [(iter(list_folder(folder)), _with_any_depth({0}, parts))]
    while open_folders:
        entries, places = open_folders[-1]
        entry = next(entries, None)
        if entry is None:
            open_folders.pop()
            continue
        reached = _with_any_depth(_step(parts, places, entry), parts)
        if entry.is_unread:
            yield entry.path
        elif len(parts) not in reached:
            if reached and entry.is_folder:
                open_folders.append((iter(list_folder(entry.path)), reached))
        elif entry.is_folder:
            yield from walk(entry.path, list_folder, wanted)
        elif wanted(Path(entry.name)):
            yield entry.path


def _matches(pattern: str, wanted: Callable[[Path], bool]) -> Iterator[str]:
    parts = Path(pattern).parts
    fixed = next(place for place, part in enumerate(parts) if glob.has_magic(part))
    start = os.path.join(*parts[:fixed]) if fixed else ""
    rest = parts[fixed:]
    # Only where the pattern asks for it: a parent is no entry of its folder.
    yield from descend(start, rest, _entries_and_parent if os.pardir in rest else _entries, wanted)


def _step(parts: tuple[str, ...], places: frozenset[int], entry: Entry) -> set[int]:
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


def _entries(folder: str) -> list[Entry]:
    """What a folder holds, by name; nothing where it has gone since."""
    try:
        with os.scandir(folder or os.curdir) as entries:
            found = [
                Entry(e.name, os.path.join(folder, e.name), _is_folder(e), e.is_symlink())
                for e in entries
            ]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError:
        return [Entry("", os.path.join(folder, ""), is_folder=False, is_unread=True)]
    return sorted(found, key=lambda entry: entry.name)


def _entries_and_parent(folder: str) -> list[Entry]:
    parent = Entry(os.pardir, os.path.join(folder, os.pardir), is_folder=True)
    return [*_entries(folder), parent]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    # A link may lead to itself: that is an error for the entry, and False for os.path.
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()
