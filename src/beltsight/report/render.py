"""Templates into pages.

Every page extends ``base.html.j2``, which brings the stylesheet and forbids the browser to load
or run anything: a report holds file names and labels that may come from strangers.
"""

from __future__ import annotations

import base64
import os
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

import numpy as np

from beltsight.errors import BeltsightError, ImageError
from beltsight.files import whole
from beltsight.image_small import shrink
from beltsight.jpeg import encode_jpeg
from beltsight.records import Photo

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **context: Any) -> str:
    """Fill a template; every value is escaped.

    Args:
        template: a file in ``report/templates``, e.g. ``demo.html.j2``.
        context: the names that the template uses; a missing one is an error.

    Returns:
        A complete HTML page that needs no other file.

    Example:
        >>> "&lt;b&gt;" in render("base.html.j2", title="<b>")
        True
    """
    return _environment().get_template(template).render(**context)


def write_page(out: Path, text: str) -> None:
    """Write a page, or a file that belongs to one: whole or not at all.

    Args:
        out: its folder is made where it is missing.
        text: written as UTF-8. A file name in it that is not text is escaped and does not cost
            the page.

    Raises:
        BeltsightError: it cannot be written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with whole(out) as draft:
            draft.write_bytes(text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise BeltsightError(f"{out}: cannot be written: {error.strerror}") from error


def require_folder(folder: Path) -> None:
    """Make a folder for what is to be written, and try it, before the work that would be lost.

    Raises:
        BeltsightError: there can be none, or nothing can be written in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except FileExistsError as error:
        raise BeltsightError(
            f"{folder}: cannot be written: a folder is needed here, and this is a file; "
            "give another name"
        ) from error
    except OSError as error:
        raise BeltsightError(
            f"{folder}: cannot be written: {error.strerror}; a folder is needed here that can be"
        ) from error


def require_page(out: Path) -> None:
    """Make a page's folder, and try it, before the work that would be lost.

    Raises:
        BeltsightError: the page is a folder, or nothing can be written beside it.
    """
    if out.is_dir():
        raise BeltsightError(
            f"{out}: cannot be written: a file is needed here, and this is a folder; give a "
            "file's name, such as page.html"
        )
    if not out.exists() or out.is_file():  # nothing is written beside a device or a pipe
        require_folder(Path(os.path.realpath(out)).parent)


def photo_uri(photo: Photo, max_side: int = 320, quality: int = 84) -> str:
    """A photo as a data URI, to stand inside a page.

    Args:
        photo: uint8 (H, W, 3) RGB.
        max_side: the longer side is scaled down to this many pixels; never up.
        quality: of the JPEG, 1 to 100.

    Returns:
        ``data:image/jpeg;base64,...``

    Raises:
        ImageError: not a uint8 (H, W, 3) array.

    Example:
        >>> photo_uri(np.zeros((4, 6, 3), np.uint8))[:23]
        'data:image/jpeg;base64,'
    """
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3 or photo.size == 0:
        raise ImageError(
            f"array of {photo.dtype} {photo.shape}; expected uint8 (H, W, 3) RGB, as decode() gives"
        )
    jpeg = encode_jpeg(shrink(photo, max_side), quality, smallest=True)
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def percent(value: float | None, digits: int = 1) -> str:
    """A share as text; a dash where there is none.

    Example:
        >>> percent(0.8654), percent(1, 0), percent(None)
        ('86.5 %', '100 %', '–')
    """
    return "–" if value is None else f"{100 * value:.{digits}f} %"


@cache
def _environment() -> Environment:
    # Jinja2 takes a tenth of a second to import, and most commands write no page.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    return environment
