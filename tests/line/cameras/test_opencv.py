"""Video files, and an HTTP camera on loopback that stalls, breaks off and sends rubbish."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from beltsight.errors import CameraError
from beltsight.line.cameras import CameraSettings, EndOfFrames, OpenCvCamera, open_camera
from beltsight.records import Frame


def write_clip(path: Path, count: int = 12) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (64, 48))
    for number in range(count):
        writer.write(np.full((48, 64, 3), (20 * number, 0, 0), np.uint8))
    writer.release()
    return path


def read_all(camera: OpenCvCamera) -> list[Frame]:
    frames = []
    try:
        while True:
            frame = camera.read(10.0)
            assert frame is not None
            frames.append(frame)
    except EndOfFrames:
        return frames


def test_a_file_gives_every_frame_in_rgb_with_the_times_of_the_film(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "belt.avi")
    counts = iter(range(1000))
    camera = OpenCvCamera(
        CameraSettings(source=str(clip), pace="fast", exposure_s=0.001),
        encoder=lambda: next(counts),
        clock=lambda: 7.0,
    )
    frames = read_all(camera)
    assert [one.sequence for one in frames] == list(range(12))
    assert np.allclose([one.time_s - 7.0 for one in frames], np.arange(12) / 25)
    assert [one.encoder_count for one in frames] == list(range(12))
    assert {one.exposure_s for one in frames} == {0.001}
    # Blue rises from frame to frame: the last of three channels in RGB.
    assert [int(one.image[20, 20, 2]) // 20 for one in frames[1:5]] == pytest.approx(
        [1, 2, 3, 4], abs=1
    )
    assert frames[6].image[20, 20, 0] < 30
    assert camera.counts.delivered == 12


def test_a_truncated_file_gives_what_is_there_and_says_what_is_missing(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "belt.avi", 40)
    whole = clip.read_bytes()
    clip.write_bytes(whole[: len(whole) // 2])
    camera = OpenCvCamera(CameraSettings(source=str(clip), pace="fast"))
    frames = read_all(camera)
    assert 3 < len(frames) < 35
    assert 40 - len(frames) - 1 <= camera.counts.corrupt <= 40 - len(frames) + 1


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    junk = tmp_path / "junk.mp4"
    junk.write_bytes(b"\0" * 4000)
    with pytest.raises(CameraError, match="convert it to MP4"):
        open_camera(CameraSettings(source=str(junk)))
    with pytest.raises(CameraError, match="no such video file"):
        open_camera(CameraSettings(source=str(tmp_path / "none.mp4")))


class MjpegServer(http.server.ThreadingHTTPServer):
    """Sends JPEGs as cameras do; ``mode`` may be changed while it runs."""

    daemon_threads = True
    mode = "run"
    sent = 0

    @property
    def address(self) -> str:
        return f"http://user:hunter2@127.0.0.1:{self.server_address[1]}/belt.mjpg?token=hunter2"


class Stream(http.server.BaseHTTPRequestHandler):
    server: MjpegServer

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=cut")
        self.end_headers()
        end = time.monotonic() + 20
        while self.server.mode != "die" and time.monotonic() < end:
            if self.server.mode == "stall":
                time.sleep(0.01)
                continue
            _, jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))
            body = jpeg.tobytes() if self.server.mode == "run" else b"\xff\xd8rubbish" * 20
            head = f"--cut\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
            try:
                self.wfile.write(head.encode() + body + b"\r\n")
            except OSError:
                return
            self.server.sent += 1
            time.sleep(0.02)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[MjpegServer]:
    made = MjpegServer(("127.0.0.1", 0), Stream)
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.mode = "die"
    made.shutdown()
    made.server_close()
    thread.join(5)


def settings(server: MjpegServer, **changes: object) -> CameraSettings:
    base = {"source": server.address, "open_timeout_s": 8.0, "stall_s": 0.6}
    return CameraSettings.model_validate({**base, **changes})


def read_some(camera: OpenCvCamera, count: int) -> list[Frame]:
    frames: list[Frame] = []
    end = time.monotonic() + 10
    while len(frames) < count and time.monotonic() < end:
        frame = camera.read(0.2)
        frames += [frame] if frame else []
    return frames


def test_a_stream_runs_stalls_and_is_opened_again(server: MjpegServer) -> None:
    counts = iter(range(100_000))
    camera = OpenCvCamera(settings(server), encoder=lambda: next(counts))
    frames = read_some(camera, 4)
    assert len(frames) == 4
    assert frames[0].image.shape == (48, 64, 3)
    assert abs(int(frames[0].image.mean()) - 90) < 4
    assert all(one.encoder_count is not None for one in frames)
    assert np.all(np.diff([one.time_s for one in frames]) > 0)

    server.mode = "stall"
    slowest, problem = 0.0, ""
    end = time.monotonic() + 8
    while not problem and time.monotonic() < end:
        started = time.monotonic()
        try:
            camera.read(0.1)
        except CameraError as error:
            problem = str(error)
        slowest = max(slowest, time.monotonic() - started)
    assert slowest < 1.0  # asked for 0.1 s, on a busy machine
    assert "no frame for" in problem or "broke off" in problem
    assert "hunter2" not in problem
    camera.close()

    server.mode = "run"
    again = OpenCvCamera(settings(server))
    assert len(read_some(again, 2)) == 2
    again.close()


def test_a_stream_that_dies_is_broken_and_tells_no_password(
    server: MjpegServer, capfd: pytest.CaptureFixture[str]
) -> None:
    camera = OpenCvCamera(settings(server, stall_s=5.0))
    assert len(read_some(camera, 2)) == 2
    server.mode = "die"
    with pytest.raises(CameraError, match="broke off after") as caught:
        for _ in range(100):
            camera.read(0.2)
    assert "127.0.0.1" in str(caught.value)
    out = capfd.readouterr()
    assert "hunter2" not in str(caught.value) + repr(camera.name) + out.out + out.err


def test_rubbish_between_frames_ends_neither_reading_nor_the_program(server: MjpegServer) -> None:
    camera = OpenCvCamera(settings(server, stall_s=5.0))
    assert len(read_some(camera, 2)) == 2
    server.mode = "rubbish"
    before = server.sent
    while server.sent < before + 5:
        camera.read(0.01)
    server.mode = "run"
    assert len(read_some(camera, 6)) == 6
    assert camera.counts.corrupt >= 4
    assert camera.counts.lost == 0
    camera.close()


def test_a_slow_reader_gets_the_newest_frames(server: MjpegServer) -> None:
    camera = OpenCvCamera(settings(server, queue_frames=2, stall_s=5.0))
    first = read_some(camera, 1)[0]
    while server.sent < 20:
        time.sleep(0.01)
    second = read_some(camera, 1)[0]
    assert first.sequence is not None
    assert second.sequence is not None
    assert second.sequence > first.sequence + 5
    assert camera.counts.dropped >= 5
    camera.close()


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_server_that_never_answers_is_given_up_in_time(scheme: str) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        address = f"{scheme}://user:hunter2@127.0.0.1:{mute.getsockname()[1]}/1"
        started = time.monotonic()
        with pytest.raises(CameraError) as caught:
            open_camera(CameraSettings.model_validate({"source": address, "open_timeout_s": 0.5}))
        assert time.monotonic() - started < 3
        assert "hunter2" not in str(caught.value)


def test_a_refused_connection_names_what_to_check(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"rtsp://user:hunter2@127.0.0.1:{port}/1"
    with pytest.raises(CameraError, match="check address, user and password"):
        open_camera(CameraSettings.model_validate(address))
    out = capfd.readouterr()
    assert "hunter2" not in out.out + out.err
