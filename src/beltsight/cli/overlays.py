"""Heat maps that ``beltsight predict --explain`` writes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from beltsight.model import Model
    from beltsight.records import Prediction
    from beltsight.sources import FoundPhoto

_MOST_BYTES = 90  # of a photo's name, and of a task's: file systems take 255 in all


class Overlays:
    """A folder of photos with their heat.

    Args:
        model: gives the predictions.
        folder: made where it is missing.
    """

    def __init__(self, model: Model, folder: Path) -> None:
        self.missing = 0
        self._model = model
        self._folder = folder

    def write(self, source: FoundPhoto, prediction: Prediction, number: int) -> None:
        """Write one per task; a photo that has gone since is counted, and that is said.

        Raises:
            BeltsightError: the folder cannot be written.
        """
        from beltsight.cli.console import note
        from beltsight.errors import BeltsightError, ImageError
        from beltsight.explain import decode_to_show, explain_jpeg

        folder = self._folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            photo = (
                decode_to_show(source)
                if isinstance(source, str)
                else source.decoded(decode_to_show)
            )
            for task in prediction.tasks:
                jpeg = explain_jpeg(self._model, photo, prediction, task)
                (folder / overlay_name(number, prediction.path or "", task)).write_bytes(jpeg)
        except ImageError as error:  # gone or changed since it was answered
            self.missing += 1
            note(f"beltsight: no heat map of line {number}: {error}")
        except OSError as error:
            raise BeltsightError(
                f"--explain {folder}: cannot be written: {error.strerror}; check its owner and "
                "mode, or give another folder"
            ) from error


def check_folder(folder: Path, paths: Iterable[str]) -> None:
    """Refuse a folder among the photos: a second run would answer for the maps of the first.

    Raises:
        ConfigError: it lies in one of the paths, and not hidden.
    """
    from beltsight.errors import ConfigError

    own = folder.resolve()
    for path in map(Path, paths):
        if os.path.isdir(path) and own.is_relative_to(path.resolve()):
            parts = own.relative_to(path.resolve()).parts
            if not any(part.startswith(".") for part in parts):
                raise ConfigError(
                    f"--explain {folder}: lies in {path}, so that its maps would be taken for "
                    "photos; give a folder elsewhere"
                )


def overlay_name(number: int, path: str, task: str) -> str:
    """A file name that is unique by its number, and that no photo's name can lead elsewhere.

    Example:
        >>> overlay_name(7, "in/../my photo.jpg", "material")
        '000007-my-photo-material.jpg'
        >>> overlay_name(8, "tar://a/b.png::shard.tar", "material")
        '000008-b-material.jpg'
    """
    bare = path.partition("::")[0]  # what stands behind is the archive
    stem, task = (
        re.sub(r"[^\w-]+", "-", text).encode()[:_MOST_BYTES].decode(errors="ignore").strip("-")
        for text in (Path(bare).stem, task)
    )
    return f"{number:06}-{stem or 'photo'}-{task}.jpg"
