"""Heat maps that ``beltsight predict --explain`` writes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from beltsight.model import Model
    from beltsight.records import Prediction
    from beltsight.sources import FoundPhoto, StoredPhoto

_MAX_SIDE = 1024


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

        folder = self._folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for task in prediction.tasks:
                jpeg = _overlay(self._model, source, prediction, task)
                (folder / overlay_name(number, prediction.path or "", task)).write_bytes(jpeg)
        except ImageError as error:  # gone or changed since it was answered
            self.missing += 1
            note(f"beltsight: no heat map of line {number}: {error}")
        except OSError as error:
            raise BeltsightError(
                f"--explain {folder}: cannot be written: {error.strerror}"
            ) from error


def overlay_name(number: int, path: str, task: str) -> str:
    """A file name that is unique by its number, and that no photo's name can lead elsewhere.

    Example:
        >>> overlay_name(7, "in/../my photo.jpg", "material")
        '000007-my-photo-material.jpg'
        >>> overlay_name(8, "tar://a/b.png::shard.tar", "material")
        '000008-b-material.jpg'
    """
    bare = path.partition("::")[0]  # what stands behind is the archive
    stem, task = (re.sub(r"[^\w-]+", "-", text)[:60].strip("-") for text in (Path(bare).stem, task))
    return f"{number:06}-{stem or 'photo'}-{task}.jpg"


def _overlay(model: Model, source: FoundPhoto, prediction: Prediction, task: str) -> bytes:
    from beltsight import explain

    if isinstance(source, str):
        return explain.explain_file(model, prediction, task)
    return _stored_overlay(model, source, prediction, task)


def _stored_overlay(model: Model, source: StoredPhoto, prediction: Prediction, task: str) -> bytes:
    import cv2

    from beltsight.explain import explain, overlay, shrink
    from beltsight.image import decode

    photo = shrink(decode(source.read(), enough=(_MAX_SIDE, _MAX_SIDE)), _MAX_SIDE)
    shown = overlay(photo, explain(model, photo, prediction, task))
    _, jpeg = cv2.imencode(".jpg", shown[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
    return jpeg.tobytes()
