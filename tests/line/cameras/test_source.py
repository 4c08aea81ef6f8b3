"""A source is told from one text, and no message or repr ever shows its password."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import pytest

from beltsight.config import load_config
from beltsight.errors import CameraError, ConfigError
from beltsight.line.cameras import CameraSettings, hide_secrets, open_camera
from beltsight.line.cameras.source import Source, parse_source

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        (0, "device", "0"),
        ("3", "device", "3"),
        ("/dev/video2", "device", "/dev/video2"),
        ("rtsp://cam/1", "url", "rtsp://cam/1"),
        ("belt.mp4", "path", "belt.mp4"),
        ("genicam", "genicam", ""),
        ("genicam:S 17", "genicam", "S 17"),
    ],
)
def test_the_kind_is_told_from_the_text(text: object, kind: str, value: str) -> None:
    source = parse_source(text)
    assert (source.kind, source.value) == (kind, value)


@pytest.mark.parametrize(
    "value",
    [
        "", "  ", None, True, 1.5, -1, 10**9, "a\0b", ["rtsp://u:hunter2@h/1"],
        {"url": "rtsp://u:hunter2@h/1"}, "file:///etc/passwd?hunter2", "concat://a|hunter2",
        "rtsp://u:hunter2@[bad/1", "rtsp://u:hunter2@h:99999/1", "rtsp://",
    ],
)  # fmt: skip
def test_what_is_no_source_is_refused_without_being_shown(value: object) -> None:
    with pytest.raises(ConfigError, match="expected") as caught:
        CameraSettings(source=value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "rtsp://u:hunter2@cam:554/live",
        "http://cam/mjpg?user=x&pwd=hunter2&size=1",
        "http://cam/password=hunter2/1",
        "rtsp://hunter2@cam/1",
        "http://cam/a?sessionKey=hunter2",
    ],
)
def test_secrets_are_hidden_wherever_they_stand(address: str) -> None:
    settings = CameraSettings.model_validate({"source": address})
    for shown in (hide_secrets(address), str(settings.source), repr(settings), str(settings)):
        assert SECRET not in shown
        assert "cam" in shown


def test_an_unknown_key_beside_a_secret_address_does_not_show_it(tmp_path: Path) -> None:
    file = tmp_path / "camera.toml"
    file.write_text(f'source = "rtsp://u:{SECRET}@cam/1"\nfps = 3\nqueue_frames = 0\n')
    with pytest.raises(ConfigError, match="unknown key 'fps'") as caught:
        load_config(CameraSettings, file)
    assert SECRET not in str(caught.value)
    assert "queue_frames" in str(caught.value)


def test_a_password_comes_from_the_environment_and_is_escaped() -> None:
    source = parse_source("rtsp://me@cam:554/1?x=1").with_password("a@b/c")
    assert source.value == "rtsp://me:a%40b%2Fc@cam:554/1?x=1"
    assert "a%40b" not in repr(source)
    with pytest.raises(ConfigError, match="names its user"):
        Source("url", "rtsp://cam/1").with_password("x")


def test_a_missing_password_variable_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_PASSWORD", raising=False)
    assert "NO_SUCH_PASSWORD" not in os.environ
    with pytest.raises(CameraError, match="NO_SUCH_PASSWORD"):
        open_camera(CameraSettings(source="rtsp://me@127.0.0.1/1", password_env="NO_SUCH_PASSWORD"))


def test_the_password_reaches_the_camera_and_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Refusing:
        def __init__(self, address: str, *how: object) -> None:
            asked.append(address)

        def isOpened(self) -> bool:
            return False

        def release(self) -> None: ...

    monkeypatch.setattr(cv2, "VideoCapture", Refusing)
    monkeypatch.setenv("CAMERA_PASSWORD", "a@b")
    with pytest.raises(CameraError, match="check address, user and password") as caught:
        open_camera(CameraSettings(source="rtsp://me@cam/1", password_env="CAMERA_PASSWORD"))
    assert asked == ["rtsp://me:a%40b@cam/1"]
    assert "a@b" not in str(caught.value) and "a%40b" not in str(caught.value)
