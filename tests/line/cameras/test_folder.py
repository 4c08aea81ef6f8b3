"""A folder of photos as a camera."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from beltsight.errors import CameraError
from beltsight.line.cameras import CameraSettings, EndOfFrames, FolderCamera, open_camera
from beltsight.line.cameras.folder import read_counts
from beltsight.records import Frame


def fill(folder: Path, count: int = 5) -> Path:
    for number in range(count):
        cv2.imwrite(str(folder / f"{number:03}.png"), np.full((16, 24, 3), 10 * number, np.uint8))
    return folder


def read_all(camera: FolderCamera) -> list[Frame]:
    frames = []
    try:
        while True:
            frame = camera.read(10.0)
            assert frame is not None
            frames.append(frame)
    except EndOfFrames:
        return frames


def settings(folder: Path, **changes: object) -> CameraSettings:
    return CameraSettings.model_validate({"source": str(folder), "pace": "fast", **changes})


def test_photos_come_by_name_at_their_rate(tmp_path: Path) -> None:
    camera = open_camera(settings(fill(tmp_path), frames_per_s=20.0), clock=lambda: 50.0)
    assert isinstance(camera, FolderCamera)
    frames = read_all(camera)
    assert [int(one.image[0, 0, 0]) for one in frames] == [0, 10, 20, 30, 40]
    assert [round(one.time_s - 50.0, 6) for one in frames] == [0, 0.05, 0.1, 0.15, 0.2]
    assert [one.sequence for one in frames] == [0, 1, 2, 3, 4]
    assert {one.encoder_count for one in frames} == {None}


def test_photos_come_when_they_are_due(tmp_path: Path) -> None:
    camera = FolderCamera(CameraSettings.model_validate(
        {"source": str(fill(tmp_path, 3)), "frames_per_s": 5.0}
    ))  # fmt: skip
    for number in range(3):
        frame = camera.read(10.0)
        assert frame is not None and frame.sequence == number
        assert time.monotonic() >= frame.time_s
    with pytest.raises(EndOfFrames):
        camera.read(10.0)


def test_counts_and_times_come_from_the_table(tmp_path: Path) -> None:
    (fill(tmp_path, 3) / "encoder.csv").write_text(
        "file,count,time_s\n000.png,100,0\n001.png,,0.5\n002.png,-3,\n"
    )
    frames = read_all(FolderCamera(settings(tmp_path), clock=lambda: 0.0, encoder=lambda: 9))
    assert [one.encoder_count for one in frames] == [100, 9, -3]
    assert [round(one.time_s, 3) for one in frames] == [0, 0.5, round(2 / 30, 3)]


def test_damaged_photos_and_odd_sizes_are_counted_and_passed_over(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "001.png").write_bytes(b"no photo")
    (tmp_path / "002.png").write_bytes((tmp_path / "003.png").read_bytes()[:40])
    cv2.imwrite(str(tmp_path / "004.png"), np.zeros((9, 9, 3), np.uint8))
    camera = FolderCamera(settings(tmp_path))
    assert [one.sequence for one in read_all(camera)] == [0, 3]
    assert (camera.counts.corrupt, camera.counts.lost) == (3, 0)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("", "expected the columns"),
        ("file\na.png\n", "expected the columns"),
        ("file,count\na.png,1.5\n", "line 2: expected a file"),
        ("file,count\n,1\n", "line 2"),
        ("file,count,time_s\na.png,1,nan\n", "line 2"),
        ("file,count,time_s\na.png,1,-1\n", "line 2"),
        (f"file,count\na.png,{10**30}\n", "line 2"),
        ("file,count\n\xff", "not readable as CSV"),
    ],
)
def test_a_table_that_is_wrong_names_its_line(tmp_path: Path, table: str, said: str) -> None:
    file = tmp_path / "encoder.csv"
    file.write_bytes(table.encode("latin-1"))
    with pytest.raises(CameraError, match=said):
        read_counts(file)


def test_a_folder_that_is_missing_or_empty_says_so(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="no such"):
        open_camera(settings(tmp_path / "none"))
    with pytest.raises(CameraError, match="no photos"):
        FolderCamera(settings(tmp_path)).read(5.0)
    with pytest.raises(CameraError, match="not readable as CSV"):
        FolderCamera(settings(fill(tmp_path), encoder_csv=str(tmp_path / "none.csv"))).read(5.0)
