"""Readings, levels that hold, and what a line that is not quite fit does with its answers."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from beltsight.errors import ConfigError
from beltsight.line.health import (
    Health,
    HealthSettings,
    HealthWatch,
    Limits,
    OpticsWatch,
    Reading,
    abstain_wider,
)
from beltsight.line.optics import GRID, measure_optics
from beltsight.records import Answer, Prediction

BOX = (300, 200, 500, 380)
Picture = NDArray[np.uint8]


def belt(turn: int = 0) -> Picture:
    """A grained grey belt with a bright printed box on it: one of four pictures, in turn."""
    return painted(turn % 4).copy()


@cache
def painted(seed: int) -> Picture:
    chance = np.random.default_rng(seed)
    picture = np.full((720, 1280, 3), 90, np.float32)
    picture += cv2.GaussianBlur(chance.normal(0, 40, (720, 1280, 1)).astype(np.float32), (0, 0), 2)[
        :, :, None
    ]
    left = int(chance.integers(400, 600))
    picture[250:450, left : left + 180] = (200, 190, 170)
    for top in range(260, 440, 24):
        picture[top : top + 8, left + 20 : left + 150] = (40, 60, 120)
    picture += chance.normal(0, 3, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8)


def watch(change: object, n: int = 40) -> dict[str, float | None]:
    """The last readings after ten learned seconds and ten of changed frames, four a second."""
    looked = OpticsWatch(HealthSettings(), 0.0)
    readings: dict[str, float | None] = {}
    for i in range(n):
        looked.update(measure_optics(belt(i)), i * 0.25)
    for i in range(n, 3 * n):
        readings = looked.update(measure_optics(change(belt(i))), i * 0.25)  # type: ignore[operator]
    return readings


def level_of(name: str, value: float | None) -> str:
    found = HealthWatch(HealthSettings(hold_s=0.1))
    for i in range(5):
        found.update({name: value}, float(i))
    return found.health.readings[name].level


def test_a_line_that_does_not_change_is_good() -> None:
    for name, value in watch(lambda picture: picture).items():
        assert value is not None and level_of(name, value) == "good", (name, value)


def dirty(picture: Picture) -> Picture:
    """Dust on the window lies near the lens: soft, and always at the same place."""
    smear: NDArray[Any] = np.zeros(picture.shape[:2], np.float32)
    cv2.ellipse(smear, (900, 300), (220, 130), 20, 0, 360, 0.45, -1)
    smear = cv2.GaussianBlur(smear, (0, 0), 25)[:, :, None]
    return (picture * (1 - smear)).astype(np.uint8)


CHANGES = {
    "window": dirty,
    "defocus": lambda picture: cv2.GaussianBlur(picture, (0, 0), 4),
    "lamp": lambda picture: (picture * 0.7).astype(np.uint8),
    "colour": lambda picture: (picture * np.array([1.12, 1.0, 0.95])).clip(0, 255).astype(np.uint8),
    "clipped": lambda picture: np.where(picture > 60, 255, picture).astype(np.uint8),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_changed_is_named(name: str) -> None:
    readings = watch(CHANGES[name])
    assert level_of(name, readings[name]) != "good", readings
    if name in {"window", "defocus"}:  # the others change the light, and with it more than one
        others = {key: level_of(key, value) for key, value in readings.items() if key != name}
        assert set(others.values()) == {"good"}, readings


def test_focus_is_the_same_for_other_content_speed_and_contrast() -> None:
    plain = [measure_optics(belt(i)).focus for i in range(6)]
    assert all(value is not None for value in plain)
    moved = [
        measure_optics(np.asarray(cv2.blur(belt(i), (5, 1)), np.uint8)).focus for i in range(6)
    ]
    faint = [measure_optics((belt(i) * 0.6).astype(np.uint8)).focus for i in range(6)]
    middle = float(np.median(np.array(plain)))
    for values in (plain, moved, faint):
        assert np.median(np.array(values)) == pytest.approx(middle, rel=0.2)
    blurred = measure_optics(np.asarray(cv2.GaussianBlur(belt(), (0, 0), 3), np.uint8)).focus
    assert blurred is not None and blurred < 0.6 * middle
    assert measure_optics(np.full((720, 1280, 3), 90, np.uint8)).focus is None
    turned = np.ascontiguousarray(belt().transpose(1, 0, 2))
    assert measure_optics(turned, along="y").focus == pytest.approx(plain[0], rel=0.2)


def test_items_are_no_belt() -> None:
    picture = np.full((720, 1280, 3), (90, 100, 80), np.uint8)
    picture[200:380, 300:500] = 250
    found = measure_optics(picture, [BOX])
    assert found.level == pytest.approx(96 / 255, abs=0.01)
    assert found.colour == pytest.approx((0.9, 0.8), abs=0.01)
    assert found.shade.shape == GRID and np.nanmax(found.shade) < 0.4
    assert np.isnan(found.shade[3, 5])
    everything = measure_optics(picture, [(-50, -50, 2000, 2000)])  # no belt in sight
    assert np.isnan(everything.shade).all() and np.isfinite(everything.level)


def test_levels_hold() -> None:
    found = HealthWatch(HealthSettings(hold_s=1.0, queue=Limits(warning=0.5, fault=0.9)))
    levels = [
        found.update({"queue": value}, time_s).level
        for time_s, value in enumerate([0.1, 0.6, 0.1, 0.6, 0.6, 0.95, 0.95, 0.1, 0.6, 0.1, 0.1])
    ]
    assert levels == [
        "good", "good", "good", "good", "warning", "warning", "fault", "fault", "fault", "fault",
        "good",
    ]  # fmt: skip


def test_a_reading_that_is_no_number_is_a_fault() -> None:
    assert level_of("queue", math.nan) == "fault"
    assert level_of("queue", None) == "good"
    with pytest.raises(ConfigError, match="'sound'"):
        HealthWatch(HealthSettings()).update({"sound": 1.0}, 0.0)
    with pytest.raises(ConfigError, match="'wider'"):
        HealthWatch(HealthSettings()).update({"wider": 1.0}, 0.0)


def test_limits_stand_in_order() -> None:
    with pytest.raises(ValueError, match="'fault' lies below 'warning'"):
        Limits(warning=0.5, fault=0.4)


def prediction(confidence: float) -> Prediction:
    rest = 1 - confidence
    answer = Answer("pet", confidence, {"pet": confidence, "paper": rest})
    return Prediction(None, {"material": answer}, abstain=False)


BAD = Health("warning", {"lamp": Reading("lamp", 0.2, "warning")})


@pytest.mark.parametrize(
    ("confidence", "health", "abstains"),
    [(0.85, Health(), False), (0.85, BAD, True), (0.95, BAD, False)],
)
def test_abstains_more_while_not_fit(confidence: float, health: Health, abstains: bool) -> None:
    found = abstain_wider(prediction(confidence), health, 0.5, {"material": 0.8})
    assert found.abstain is abstains
    if abstains:
        assert found.why == "material: 85.0 % is below 90.0 % while lamp (warning)"


def test_without_a_threshold_an_even_guess_is_the_start() -> None:
    assert abstain_wider(prediction(0.58), BAD, 0.2, {}).abstain
    assert not abstain_wider(prediction(0.65), BAD, 0.2, {}).abstain


def test_a_model_that_asks_for_much_has_answers_left() -> None:
    """The packaged model asks for 0.91: a warning must not send the whole belt to hand-sorting."""
    wider = HealthSettings().wider
    assert not abstain_wider(prediction(0.97), BAD, wider, {"material": 0.91}).abstain
    assert abstain_wider(prediction(0.93), BAD, wider, {"material": 0.91}).abstain
    assert abstain_wider(prediction(0.999), BAD, 1.0, {"material": 0.91}).abstain


def test_the_worst_is_named_first() -> None:
    two = Health("fault", {**BAD.readings, "late": Reading("late", 0.5, "fault")})
    assert two.why == "late (fault), lamp (warning)"
