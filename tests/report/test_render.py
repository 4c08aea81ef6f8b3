from __future__ import annotations

import base64
import errno
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from jinja2 import UndefinedError

from beltsight.errors import BeltsightError, ImageError
from beltsight.report.render import TEMPLATES, percent, photo_uri, render, write_page


def opened(uri: str) -> np.ndarray:
    head, _, data = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.asarray(decoded[:, :, ::-1])


def test_a_photo_keeps_colours_and_shape() -> None:
    photo = np.zeros((100, 200, 3), np.uint8)
    photo[:, :100] = (250, 20, 30)
    back = opened(photo_uri(photo, 50))
    assert back.shape == (25, 50, 3)
    assert abs(back[12, 10].astype(int) - (250, 20, 30)).max() < 12


def test_a_small_photo_is_not_enlarged() -> None:
    assert opened(photo_uri(np.zeros((7, 9, 3), np.uint8), 320)).shape == (7, 9, 3)


def test_a_sliver_keeps_a_pixel() -> None:
    assert opened(photo_uri(np.zeros((1, 5000, 3), np.uint8), 100)).shape == (1, 100, 3)


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)],
)
def test_what_is_no_photo_is_refused(array: np.ndarray) -> None:
    with pytest.raises(ImageError, match="expected uint8"):
        photo_uri(array)


def test_a_page_is_written_whatever_the_names_in_it(tmp_path: Path) -> None:
    out = tmp_path / "a" / "b" / "page.html"
    write_page(out, "caf\udce9.jpg, café\r\n")  # the first is a name that is not UTF-8
    assert out.read_bytes() == "caf\\udce9.jpg, café\r\n".encode()
    assert [path.name for path in out.parent.iterdir()] == ["page.html"]


def test_a_page_that_cannot_be_written_leaves_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "page.html"
    write_page(out, "last")

    def half(path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(BeltsightError, match=r"page\.html: cannot be written: No space left"):
        write_page(out, "a new one")
    assert out.read_text(encoding="utf-8") == "last"


def test_a_page_below_a_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(BeltsightError, match=r"/page\.html: cannot be written: \w") as caught:
        write_page(tmp_path / "file" / "page.html", "text")
    assert "--out" not in str(caught.value)


def test_every_value_is_escaped() -> None:
    page = render("base.html.j2", title="<script>alert(1)</script>", subtitle='"><img src=x>')
    assert "<script" not in page
    assert "<img" not in page


def test_a_forgotten_name_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render("demo.html.j2", title="x")


def test_the_page_loads_and_runs_nothing() -> None:
    page = render("base.html.j2")
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "img-src data:" in policy[1]
    assert "script" not in policy[1]
    for template in TEMPLATES.glob("*.j2"):
        text = template.read_text(encoding="utf-8")
        assert "|safe" not in text.replace(" ", "")
        assert not re.search(r"<script|src=\"http|href=\"http|@import|url\(", text), template


def contrast(first: str, second: str) -> float:
    """WCAG 2 contrast ratio of two #rrggbb colours."""

    def light(colour: str) -> float:
        channels = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(
            channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
        )
        return float(linear @ np.array([0.2126, 0.7152, 0.0722]))

    high, low = sorted((light(first), light(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1])
def test_text_can_be_read_in_light_and_dark(theme: int) -> None:
    style = (TEMPLATES / "base.html.j2").read_text(encoding="utf-8")
    colours = dict(
        re.findall(
            r"--([\w-]+): (#[0-9a-f]{6})", re.findall(r":root \{(.+?)\}", style, re.S)[theme]
        )
    )
    for ink in ("ink", "ink-2", "accent"):
        for ground in ("page", "surface", "sunken"):
            assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
    for tone in ("good", "warn", "bad"):
        assert contrast(colours[tone], colours[f"{tone}-bg"]) >= 4.5, tone
        assert contrast(colours["ink"], colours[f"{tone}-bg"]) >= 4.5, tone


def test_percent() -> None:
    assert [percent(0.5), percent(0.12345, 2), percent(None)] == ["50.0 %", "12.35 %", "–"]
