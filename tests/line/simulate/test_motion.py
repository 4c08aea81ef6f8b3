"""The belt's way over time, and what an encoder makes of it."""

from __future__ import annotations

import numpy as np
import pytest

from beltsight.errors import ConfigError
from beltsight.line.simulate import EncoderLook, SimulatedEncoder, Slip, SpeedChange, drive

CHANGES = [
    SpeedChange(2.0, 0.0, over_s=1.0),
    SpeedChange(5.0, -500.0, over_s=0.0),
    SpeedChange(6.0, 2500.0, over_s=2.0),
]


# What was asked for, as (second, mm/s) of a line drawn from point to point.
ASKED = [(0, 1000), (2, 1000), (3, 0), (5, 0), (5, -500), (6, -500), (8, 2500), (20, 2500)]
TAKEN_OVER = [(0, 1000), (1, 1000), (2, 500), (3, 1000), (20, 1000)]


def summed(asked: list[tuple[int, int]], until_s: float, step_s: float = 1e-4) -> float:
    """The way by adding up the speed in small steps."""
    times = np.arange(0, until_s, step_s) + step_s / 2
    return float(np.interp(times, *np.transpose(asked)).sum() * step_s)


@pytest.mark.parametrize("until_s", [1.0, 2.5, 4.0, 5.5, 7.0, 12.0])
def test_the_way_is_the_speed_added_up(until_s: float) -> None:
    path = drive(1000, CHANGES)
    assert float(path.at(until_s)) == pytest.approx(summed(ASKED, until_s), abs=0.2)
    assert path.at(-3.0) == 0


def test_a_change_that_comes_before_the_last_is_done_takes_over() -> None:
    path = drive(1000, [SpeedChange(1.0, 0.0, over_s=2.0), SpeedChange(2.0, 1000.0, over_s=1.0)])
    for until_s in (2.0, 2.5, 3.0, 9.0):
        assert float(path.at(until_s)) == pytest.approx(summed(TAKEN_OVER, until_s), abs=0.2)


@pytest.mark.parametrize(
    "changes",
    [
        [SpeedChange(3.0, 1.0), SpeedChange(1.0, 2.0)],
        [SpeedChange(-1.0, 1.0)],
        [SpeedChange(1.0, float("nan"))],
        [SpeedChange(1.0, 1.0, over_s=-1)],
    ],
)
def test_changes_that_make_no_sense_are_refused(changes: list[SpeedChange]) -> None:
    with pytest.raises(ConfigError, match="change"):
        drive(1000, changes)


def test_a_slipping_wheel_counts_another_way() -> None:
    path = drive(1000, CHANGES)
    counted = path.with_slips([Slip(1.0, 2.5, 0.02), Slip(8.0, 9.0, -1.0)])
    slipped = float(path.at(2.5) - path.at(1.0)) * 0.02
    assert float(counted.at(4.0)) == pytest.approx(float(path.at(4.0)) + slipped)
    lost = float(path.at(9.0) - path.at(8.0))
    assert float(counted.at(12.0)) == pytest.approx(float(path.at(12.0)) + slipped - lost)
    assert float(counted.at(8.9)) == pytest.approx(float(counted.at(8.1)))
    with pytest.raises(ConfigError, match="slip"):
        path.with_slips([Slip(2.0, 1.0, 0.1)])


def test_the_counter_wraps_and_may_count_down() -> None:
    path = drive(100)
    up = SimulatedEncoder(path, EncoderLook(mm_per_count=1.0, counter_bits=8, first_count=250))
    down = SimulatedEncoder(
        path, EncoderLook(mm_per_count=1.0, counter_bits=8, first_count=5, reversed=True)
    )
    endless = SimulatedEncoder(path, EncoderLook(mm_per_count=1.0, counter_bits=0))
    assert [up.at(t) for t in (0.0, 0.05, 0.06, 3.0)] == [250, 255, 0, (250 + 300) % 256]
    assert [down.at(t) for t in (0.0, 0.05, 0.06)] == [5, 0, 255]
    assert endless.at(1000.0) == 100_000


def test_jitter_dropouts_jumps_and_an_eccentric_wheel() -> None:
    look = EncoderLook(
        mm_per_count=0.1, jitter_counts=3, dropouts=((1.0, 2.0),), jumps=((3.0, 500),)
    )
    encoder = SimulatedEncoder(drive(1000), look, seed=4)
    assert encoder.at(1.5) is None
    readings = [encoder.at(2.5) for _ in range(300)]
    off = np.array([one for one in readings if one is not None]) - 25_000
    assert len(off) == 300
    assert off.min() == -3
    assert off.max() == 2  # floor of up to just under 3
    after = encoder.at(4.0)
    assert after is not None
    assert abs(after - 40_500) <= 3
    out_of_true = SimulatedEncoder(drive(1000), EncoderLook(eccentric_mm=0.5, wheel_mm=400))
    ways = out_of_true.unwrapped(np.linspace(0, 4, 2001)) * 0.1 - np.linspace(0, 4000, 2001)
    assert ways.max() == pytest.approx(0.5, abs=0.01)
    assert ways.min() == pytest.approx(-0.5, abs=0.01)


def test_two_encoders_of_one_seed_jitter_alike() -> None:
    def readings(seed: int) -> list[int | None]:
        encoder = SimulatedEncoder(drive(1000), EncoderLook(jitter_counts=5), seed=seed)
        return [encoder.at(t) for t in np.linspace(0, 1, 20)]

    assert readings(1) == readings(1)
    assert readings(1) != readings(2)
