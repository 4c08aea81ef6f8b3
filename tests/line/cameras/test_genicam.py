"""GenICam against a stand-in with the documented interface of harvesters 1.4."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any

import numpy as np
import pytest

from beltsight.errors import CameraError, ConfigError, MissingExtraError
from beltsight.line.cameras import CameraSettings, GenicamCamera
from beltsight.line.cameras.genicam import to_rgb


def component(data_format: str, data: Any, width: int = 16, height: int = 8) -> SimpleNamespace:
    return SimpleNamespace(data_format=data_format, data=data, width=width, height=height)


class Buffer:
    """Memory of the producer that is written again once the buffer has gone back."""

    def __init__(self, owner: FakeHarvester, number: int, data: Any) -> None:
        self.owner = owner
        self.data = data
        self.payload = SimpleNamespace(components=[component(owner.data_format, data)])
        self.module = SimpleNamespace(frame_id=number)

    def __enter__(self) -> Buffer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.data[:] = 0
        self.owner.queued += 1


class FakeHarvester:
    data_format = "BGR8"

    def __init__(self, *numbers: int | None, serials: tuple[str, ...] = ("S1", "S2")) -> None:
        self.numbers = list(numbers)
        self.device_info_list = [SimpleNamespace(serial_number=serial) for serial in serials]
        self.queued = 0
        self.log: list[str] = []
        self.features = {
            name: SimpleNamespace(value=None)
            for name in ("Width", "Height", "ExposureTime", "AcquisitionFrameRate")
        }
        self.remote_device = SimpleNamespace(node_map=SimpleNamespace(**self.features))

    def add_file(self, path: str) -> None:
        self.log.append(f"add {Path(path).name}")

    def update(self) -> None:
        self.log.append("update")

    def create(self, key: Any) -> FakeHarvester:
        self.log.append(f"create {key}")
        return self

    def start(self) -> None:
        self.log.append("start")

    def stop(self) -> None:
        self.log.append("stop")

    def destroy(self) -> None:
        self.log.append("destroy")

    def reset(self) -> None:
        self.log.append("reset")

    def try_fetch(self, *, timeout: float) -> Buffer | None:
        number = self.numbers.pop(0) if self.numbers else None
        if number is None:
            return None
        data = np.tile(np.array([1, 2, 3], np.uint8), 8 * 16)
        return Buffer(self, number, data)


def opened(
    tmp_path: Path, fake: FakeHarvester, source: str = "genicam", **more: Any
) -> GenicamCamera:
    producer = tmp_path / "maker.cti"
    producer.write_bytes(b"")
    settings = CameraSettings.model_validate(
        {"source": source, "producer": producer, "stall_s": 0.2, **more}
    )
    return GenicamCamera(settings, encoder=lambda: 42, make_harvester=lambda: fake)


def test_frames_come_with_number_count_and_in_rgb(tmp_path: Path) -> None:
    fake = FakeHarvester(4, 5, 8)
    asked = {"width_px": 640, "height_px": 480, "frames_per_s": 25.0, "exposure_s": 0.0005}
    camera = opened(tmp_path, fake, "genicam:S2", queue_frames=8, **asked)
    frames = [camera.read(5.0) for _ in range(3)]
    assert [(one.sequence, one.encoder_count) for one in frames if one] == [
        (4, 42),
        (5, 42),
        (8, 42),
    ]
    first = frames[0]
    assert first is not None
    assert first.image[0, 0].tolist() == [3, 2, 1]  # copied before the buffer went back
    assert camera.counts.lost == 2
    assert fake.queued == 3
    assert {name: node.value for name, node in fake.features.items()} == {
        "Width": 640,
        "Height": 480,
        "AcquisitionFrameRate": 25.0,
        "ExposureTime": pytest.approx(500),  # microseconds
    }
    camera.close()
    assert fake.log[:4] == ["add maker.cti", "update", "create {'serial_number': 'S2'}", "start"]
    assert fake.log[-3:] == ["stop", "destroy", "reset"]


def test_a_silent_camera_is_broken(tmp_path: Path) -> None:
    camera = opened(tmp_path, FakeHarvester())
    with pytest.raises(CameraError, match="no frame for"):
        for _ in range(100):
            camera.read(0.1)


def test_a_silent_camera_is_let_go_of(tmp_path: Path) -> None:
    """Else the process ends while its thread is in the driver, which may abort."""
    fake = FakeHarvester()
    camera = opened(tmp_path, fake, stall_s=120)
    assert camera.read(0.05) is None
    camera.close()
    assert fake.log[-3:] == ["stop", "destroy", "reset"]


def test_a_wrong_serial_number_names_those_that_are_there(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="the producer sees: S1, S2"):
        opened(tmp_path, FakeHarvester(), "genicam:S9")
    with pytest.raises(CameraError, match="sees: none"):
        opened(tmp_path, FakeHarvester(serials=()))


def test_a_feature_that_the_camera_refuses_is_named(tmp_path: Path) -> None:
    fake = FakeHarvester()
    del fake.remote_device.node_map.Width
    fake.remote_device.node_map.__dict__["Width"] = None
    with pytest.raises(CameraError, match="does not take Width = 640"):
        opened(tmp_path, fake, width_px=640)


def test_the_cameras_own_count_is_taken_or_asked_for(tmp_path: Path) -> None:
    fake = FakeHarvester(1)
    fake.remote_device.node_map.ChunkEncoderValue = SimpleNamespace(value=777)
    fake.remote_device.node_map.ChunkExposureTime = SimpleNamespace(value=250.0)
    frame = opened(tmp_path, fake, encoder_from_camera=True).read(5.0)
    assert frame is not None
    assert frame.encoder_count == 777
    assert frame.exposure_s == pytest.approx(0.00025)
    with pytest.raises(CameraError, match="ChunkEncoderValue"):
        opened(tmp_path, FakeHarvester(1), encoder_from_camera=True).read(5.0)


def test_an_unknown_pixel_format_lists_the_known() -> None:
    with pytest.raises(CameraError, match=r"YUV422.*RGB8"):
        to_rgb(component("YUV422", np.zeros(4, np.uint8)), "cam")
    assert to_rgb(component("RGB8", np.zeros(5, np.uint8)), "cam") is None


@pytest.mark.parametrize("pattern", ["RG", "BG", "GR", "GB"])
def test_bayer_patterns_are_read_by_their_genicam_names(pattern: str) -> None:
    """A red scene, sampled as GenICam's name says: its first row is that pair of colours."""
    full = {"R": 200, "G": 40, "B": 10}
    other = {"RG": "GB", "BG": "GR", "GR": "BG", "GB": "RG"}[pattern]
    rows = [[full[pattern[0]], full[pattern[1]]], [full[other[0]], full[other[1]]]]
    mosaic = np.tile(np.array(rows, np.uint8), (8, 8))
    photo = to_rgb(component(f"Bayer{pattern}8", mosaic.ravel(), 16, 16), "cam")
    assert photo is not None
    assert photo[8, 8].tolist() == [200, 40, 10]


def test_without_a_producer_or_without_harvesters_it_says_what_to_do() -> None:
    settings = CameraSettings(source="genicam")
    with pytest.raises(ConfigError, match=r"\.cti"):
        GenicamCamera(settings, make_harvester=FakeHarvester)
    if importlib.util.find_spec("harvesters") is None:
        with pytest.raises(MissingExtraError, match="genicam"):
            GenicamCamera(settings)
