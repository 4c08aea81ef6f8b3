"""What is said of a line before its belt moves."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from beltsight.line.checks import Check, check_line
from beltsight.line.settings import DEFAULT_LINE, load_line

LANES = [[0, 400]]
BY_HOST = {"name": "paper", "routes": ["paper"], "distance_mm": 600, "timing": "host",
           "lanes": LANES}  # fmt: skip


def check(what: str, folder: Path, **more: object) -> Check | None:
    """The first of this name, or None; what comes after it is not looked at."""
    overrides = {"store.url": str(folder / "line.db"), "model.threads": 1, **more}
    checks = check_line(load_line(DEFAULT_LINE, overrides))
    return next((one for one in checks if one.what == what), None)


def test_hand_sort_needs_a_place_like_any_route(tmp_path: Path) -> None:
    good = check("routes", tmp_path)
    assert good is not None and good.result == "good"
    reject = {"action": "reject", "route": "metal"}
    found = check(
        "routes", tmp_path,
        **{"schedule.end_routes": ["residual"], "schedule.fail_safe": reject},
    )  # fmt: skip
    assert found is not None and found.result == "warning"
    assert "no actuator serves hand-sort," in found.text
    assert "fail-safe (reject, metal)" in found.text and "add to schedule.end_routes" in found.text


@pytest.mark.parametrize(("frames_per_s", "result"), [(10.0, "good"), (4.0, "wrong")])
def test_pulses_that_this_machine_times_need_frames_often_enough(
    tmp_path: Path, frames_per_s: float, result: str
) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    for number in range(5):
        cv2.imwrite(str(frames / f"{number}.png"), np.full((90, 160, 3), 40, np.uint8))
    found = check(
        "camera", tmp_path,
        **{
            "source": "camera", "schedule.actuators": [BY_HOST], "schedule.end_routes": ["metal"],
            "view.width_px": 160, "view.height_px": 90,
            "camera": {"source": str(frames), "frames_per_s": frames_per_s, "pace": "fast"},
        },
    )  # fmt: skip
    assert found is not None and found.result == result, found
    assert ("every 250 ms" in found.text) == (result == "wrong")
    assert ("host_timer.stale_ms" in found.text) == (result == "wrong")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "would last 1800 ms at 50 mm/s, and ends after 500: its middle lies 32 mm ahead"),
        ({"pulse_ms": 1800}, None),
        ({"cover": 0.1}, None),
    ],
)
def test_a_pulse_that_ends_too_soon_on_a_slow_belt_is_told(
    tmp_path: Path, more: dict[str, object], said: str | None
) -> None:
    found = check(
        "actuator paper", tmp_path,
        **{"belt.speed_mm_s": 50, "schedule.actuators": [{**BY_HOST, **more}]},
    )  # fmt: skip
    assert (found is None) == (said is None)
    if found is not None and said is not None:
        assert found.result == "warning" and said in found.text
        assert "pulse_ms = 1800" in found.text
