"""Find photos among files, folders and glob patterns, without listing a whole archive first."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from beltsight.image import is_photo_path


def find_photos(paths: Iterable[str | os.PathLike[str]]) -> Iterator[str]:
    """Walk files, folders and glob patterns, lazily.

    Args:
        paths: a file is given back whatever its name, even where it does not exist, so that
            the caller can say so; a folder gives the photos in it and below, by name; a pattern
            with ``*``, ``?`` or ``[`` gives what it matches, folders as above; ``**`` matches
            any depth.

    Returns:
        An iterator of paths in the order of the arguments, and sorted within each. Hidden files
        and folders are passed over, and so are links to folders, which could lead in circles.
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
    for match in sorted(glob.iglob(pattern, recursive=True)):
        if is_photo_path(Path(match)) and not os.path.isdir(match):
            yield match
        elif "**" not in pattern and os.path.isdir(match):
            # Below '**' every folder is a match by itself, and would give its photos twice.
            yield from _walk(match)


def _walk(folder: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            here = sorted(
                (entry.name, entry.is_dir(follow_symlinks=False))
                for entry in entries
                if not entry.name.startswith(".")
            )
    except OSError:
        return  # no permission, or gone since: nothing to see here
    for name, is_folder in here:
        path = os.path.join(folder, name)
        if is_folder:
            yield from _walk(path)
        elif is_photo_path(Path(name)):
            yield path
