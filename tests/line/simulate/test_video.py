"""A video that opens again, and labels that do not lie on each other."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest

from beltsight.errors import ConfigError
from beltsight.line.simulate import Mark, Panel, Scene, Video
from beltsight.line.simulate.lettering import Box, overlaps, text_mask
from beltsight.line.simulate.video import find_spot

GREY = np.full((180, 320, 3), 90, np.uint8)
PANEL = Panel({"glass": 3, "hand-sort": 12}, {"items": "15", "items/s": "12.4"})


@pytest.mark.parametrize(
    ("name", "codec", "told"),
    [("a.mp4", None, "VP9"), ("b.mp4", "mp4v", "MPEG-4"), ("c.avi", None, "Motion JPEG")],
)
def test_a_video_opens_again(tmp_path: Path, name: str, codec: str | None, told: str) -> None:
    scenes = [
        Scene(GREY, [Mark((20 + 9 * n, 60, 80 + 9 * n, 120), "glass", 0.93, "glass")], PANEL)
        for n in range(4)
    ]
    with Video(tmp_path / name, 10.0, codec=codec) as video:
        for scene in scenes:
            video.add(scene)
        assert video.codec in (told, "MPEG-4")
    capture = cv2.VideoCapture(str(tmp_path / name))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    assert len(frames) == 4
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(10)
    capture.release()
    height, width = frames[0].shape[:2]
    assert width == 320
    assert height > 180
    assert height % 2 == 0
    # The box has moved.
    change = np.abs(frames[0].astype(int) - frames[3].astype(int)).max(axis=2)
    assert change[:180].max() > 40


def test_the_mark_has_the_routes_colour_and_the_label_its_text() -> None:
    video = Video(Path("unwritten.mp4"), routes=["glass", "metal"])
    mark = Mark((100, 100, 160, 150), "glass", 0.93, "metal")
    page = video.draw(Scene(GREY, [mark], PANEL))
    # Lines are smoothed: near, not equal.
    assert page[100, 102].tolist() == pytest.approx([230, 159, 0], abs=30)
    plain = video.draw(Scene(GREY, [Mark(mark.box_xyxy)], PANEL))
    assert plain[100, 102].tolist() == pytest.approx([150, 156, 166], abs=30)
    assert (plain[:95] == 90).all()  # nothing written above it
    assert (page[60:98, 100:200] != 90).any()


def test_labels_lie_on_no_other_label_and_within_the_picture() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        taken: list[Box] = []
        for x, y in rng.integers(0, 250, (12, 2)):
            box = (int(x), int(y), int(x) + 40, int(y) + 30)
            spot = find_spot(box, (90, 36), (320, 320), taken)
            if spot is not None:
                taken.append(spot)
        assert len(taken) > 3
        assert not any(overlaps(one, other) for one, other in combinations(taken, 2))
        assert all(a >= 0 and b >= 0 and c <= 320 and d <= 320 for a, b, c, d in taken)


def test_where_there_is_no_room_there_is_no_label() -> None:
    assert find_spot((0, 0, 50, 50), (60, 60), (55, 55), []) is None


def test_a_panel_that_is_too_full_leaves_out_whole_entries() -> None:
    video = Video(Path("unwritten.mp4"))
    many = Panel({f"a rather long route {n}": n for n in range(40)}, {"figure": "1"})
    page = video.draw(Scene(GREY, [], many))
    assert page.shape[1] == 320
    assert (page[-10:, :3] == page[-1, 0]).all()


def test_confidence_is_never_all_of_it() -> None:
    from beltsight.line.simulate.video import _lines

    assert _lines(Mark((0, 0, 9, 9), "glass", 0.9999, "glass", "touching")) == [
        "glass  99 %", "glass  touching",
    ]  # fmt: skip
    assert _lines(Mark((0, 0, 9, 9))) == []


def test_text_has_the_same_height_whatever_it_says() -> None:
    assert text_mask("ace", 15).shape[0] == text_mask("Äg", 15).shape[0]
    assert text_mask("a longer one", 15).shape[1] > text_mask("a", 15).shape[1]
    assert text_mask("", 15).shape[1] == 1


def test_what_cannot_be_written_is_refused_before_it_begins(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.mp4"):
        Video(tmp_path / "a.gif")
    with pytest.raises(ConfigError, match="no such folder"):
        Video(tmp_path / "none" / "a.mp4")
    with pytest.raises(ConfigError, match="four letters"):
        Video(tmp_path / "a.mp4", codec="h264x")
    with Video(tmp_path / "a.avi") as video:
        video.add(Scene(GREY))
        with pytest.raises(ConfigError, match="a frame of"):
            video.add(Scene(GREY[:100]))
