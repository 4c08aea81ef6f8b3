from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beltsight.errors import LineError
from beltsight.line.belt import BeltSettings, BeltState, Odometer, SlipMeter, SlipSettings

FRAME_S = 1 / 30


def settings_of(**changes: object) -> BeltSettings:
    return BeltSettings.model_validate({"mm_per_count": 0.1, **changes})


def run(odometer: Odometer, raws: list[int | None], frame_s: float = FRAME_S) -> list[BeltState]:
    return [odometer.update(number * frame_s, raw) for number, raw in enumerate(raws)]


@settings(max_examples=200, deadline=None)
@given(
    bits=st.sampled_from([0, 12, 16, 24, 32, 64]),
    start=st.integers(0, 2**64 - 1),
    steps=st.lists(st.integers(-1600, 1600), min_size=1, max_size=60),
    is_reversed=st.booleans(),
    signed=st.booleans(),
)
def test_any_motion_is_recovered_through_a_counter_of_any_width(
    bits: int, start: int, steps: list[int], is_reversed: bool, signed: bool
) -> None:
    modulus = 1 << bits
    sense = -1 if is_reversed else 1
    truth = list(accumulate(steps, initial=0))
    raws: list[int | None] = []
    for count in truth:
        raw = start + sense * count
        if bits:
            raw %= modulus
            raw -= modulus if signed and raw >= modulus // 2 else 0
        raws.append(raw)
    # 1600 counts in a frame are 4.8 m/s; 2 * 4.8 m/s * 50 ms are 4800 counts.
    fastest = 1600 * 0.1 / FRAME_S if bits != 12 else 2000 * 0.1 / 0.05
    odometer = Odometer(settings_of(counter_bits=bits, reversed=is_reversed, fastest_mm_s=fastest))
    states = run(odometer, raws)
    assert [state.count for state in states] == truth
    assert [state.position_mm for state in states] == pytest.approx([c * 0.1 for c in truth])
    assert odometer.jumps == 0
    for count, shown in zip(truth, raws, strict=True):
        assert shown is not None
        assert odometer.raw_of(count) == (shown % modulus if bits else shown)


@settings(max_examples=100, deadline=None)
@given(
    steps=st.lists(st.integers(0, 900), min_size=5, max_size=40),
    odd=st.integers(1, 4),
    wrong=st.integers(20_000, 2**31),
)
def test_one_odd_count_changes_nothing_after_it(steps: list[int], odd: int, wrong: int) -> None:
    truth = list(accumulate(steps, initial=0))
    raws: list[int | None] = list(truth)
    raws[odd] = (truth[odd] + wrong) % 2**32
    states = run(Odometer(settings_of()), raws)
    assert states[odd].doubtful
    assert [s.count for s in states[odd + 1 :]] == truth[odd + 1 :]
    assert not any(state.doubtful for state in states[odd + 1 :])


def test_an_odd_count_is_not_followed() -> None:
    odometer = Odometer(settings_of())
    states = run(odometer, [0, 833, 1667, 2_000_000, 3333])
    assert states[3].position_mm == pytest.approx(250.0, abs=1)  # as it went on before
    assert (odometer.jumps, odometer.resets) == (1, 0)


def test_a_counter_that_is_set_anew_goes_on_from_where_the_belt_is() -> None:
    odometer = Odometer(settings_of())
    states = run(odometer, [500_000, 500_833, 501_667, 0, 833, 1667, 2500])
    assert [round(s.position_mm) for s in states] == [0, 83, 167, 250, 333, 417, 500]
    assert [s.doubtful for s in states] == [False, False, False, True, True, False, False]
    assert (odometer.jumps, odometer.resets) == (1, 1)
    # The controller's counter now shows other numbers for the same places.
    assert odometer.raw_of(states[-1].count) == 2500


def test_random_counts_are_never_followed() -> None:
    odometer = Odometer(settings_of())
    run(odometer, [0, 833, 1667])
    odd = [10**6, 5 * 10**7, 10**9, 3 * 10**8, 2 * 10**9]
    last = [odometer.update(0.1 + k * FRAME_S, raw) for k, raw in enumerate(odd)][-1]
    assert odometer.jumps == 5
    assert last.position_mm == pytest.approx(583, abs=15)


def test_an_encoder_that_falls_silent_is_replaced_by_the_last_speed() -> None:
    odometer = Odometer(settings_of())
    states = run(odometer, [0, 833, 1667, 2500, None, None, 5000])
    assert states[5].position_mm == pytest.approx(416.7, abs=1)
    assert [s.doubtful for s in states] == [False] * 4 + [True, True, False]
    assert states[6].position_mm == 500.0
    assert odometer.silent == 2


@pytest.mark.parametrize("silence", [5, 15])
def test_the_speed_after_a_silence_is_of_counts_alone(silence: int) -> None:
    """The belt stops while no count comes, and runs again before its end."""
    odometer = Odometer(settings_of())
    truth = [833 * min(k, 10) for k in range(10 + silence)]
    raws: list[int | None] = [*truth[:10], *[None] * silence]
    raws += [truth[-1] + 833 * k for k in range(1, 5)]
    told = run(odometer, raws)[-4:]
    assert not any(state.doubtful for state in told)
    assert 0 < told[0].speed_mm_s < 2500  # on the average since the last count
    assert [state.speed_mm_s for state in told[1:]] == pytest.approx([2499] * 3)


def test_one_odd_count_leaves_no_odd_speed() -> None:
    odometer = Odometer(settings_of())
    raws: list[int | None] = [0, 833, 1667, 2_000_000, 1667, 1667, 1667]
    states = run(odometer, raws)
    assert min(state.speed_mm_s for state in states) == 0  # it has never gone back


def test_stop_creep_and_reverse() -> None:
    odometer = Odometer(settings_of(stopped_below_mm_s=20))
    # 250 counts in a tenth of a second are 250 mm/s.
    raws: list[int | None] = [0, 250, 500, 750, 750, 750, 750, 760, 770, 780, 530, 280, 30]
    states = run(odometer, raws, 0.1)
    assert [s.moving for s in states[1:4]] == ["forward"] * 3
    assert [s.moving for s in states[5:7]] == ["stopped"] * 2
    assert [s.moving for s in states[8:10]] == ["stopped"] * 2  # 10 mm/s: creeping
    assert states[9].position_mm == 78.0  # but counted
    assert [s.moving for s in states[11:]] == ["reverse"] * 2
    assert states[-1].speed_mm_s == pytest.approx(-250)


def test_the_speed_is_that_of_the_last_tenth_of_a_second() -> None:
    odometer = Odometer(settings_of(speed_over_s=0.1))
    raws: list[int | None] = [min(k, 19) * 100 for k in range(25)]
    states = run(odometer, raws, 0.02)
    assert states[19].speed_mm_s == pytest.approx(500)
    assert states[24].speed_mm_s == 0


def test_repeated_and_backward_times() -> None:
    odometer = Odometer(settings_of())
    first = odometer.update(10.0, 0)
    odometer.update(10.1, 1000)
    again = odometer.update(10.1, 1000)
    assert again.position_mm == 100.0
    assert again.speed_mm_s == pytest.approx(1000)
    back = odometer.update(2.0, 1100)  # the clock was set back
    assert back.position_mm == 110.0
    on = odometer.update(2.1, 2100)
    assert on.position_mm == 210.0
    assert on.speed_mm_s == pytest.approx(1000, rel=0.25)
    assert odometer.time_errors == 1
    assert first.position_mm == 0


def test_a_clock_that_leaps_ahead_moves_no_belt_that_is_counted() -> None:
    odometer = Odometer(settings_of())
    run(odometer, [0, 833, 1667])
    assert odometer.update(3600.0, 2500).position_mm == 250.0


def test_too_narrow_a_counter_is_followed_with_doubt() -> None:
    odometer = Odometer(settings_of(counter_bits=8))  # 25.6 mm around, 10 m/s allowed
    truth = [k * 100 for k in range(30)]
    raws: list[int | None] = [count % 256 for count in truth]
    states = run(odometer, raws)
    assert [s.count for s in states] == truth
    assert all(s.doubtful for s in states[1:])


def test_a_line_without_encoder_goes_by_the_clock() -> None:
    odometer = Odometer(settings_of(speed_mm_s=2500.0))
    states = run(odometer, [None] * 31)
    assert states[30].position_mm == pytest.approx(2500.0, abs=0.1)
    assert states[30].speed_mm_s == pytest.approx(2500.0, rel=0.001)
    assert not any(s.doubtful for s in states)


def test_without_encoder_and_speed_the_position_is_doubtful() -> None:
    states = run(Odometer(settings_of()), [None, None])
    assert all(s.doubtful for s in states)
    assert states[1].position_mm == 0


@pytest.mark.parametrize("time_s", [float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused(time_s: float) -> None:
    with pytest.raises(LineError, match="number of seconds"):
        Odometer(settings_of()).update(time_s, 0)


@pytest.mark.parametrize("raw", [0.5, "7", float("nan")])
def test_a_count_that_is_not_whole_is_refused(raw: object) -> None:
    with pytest.raises(LineError, match="whole number"):
        Odometer(settings_of()).update(0.0, raw)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong", [{"mm_per_count": 0}, {"counter_bits": 65}, {"fastest": 1}, {"speed_mm_s": "fast"}]
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        settings_of(**wrong)


def test_slip_is_measured_over_the_last_belt() -> None:
    meter = SlipMeter(SlipSettings(over_mm=1000, least_mm=300, alarm_share=0.02))
    meter.add(100, 110)
    assert (meter.ratio, meter.alarm) == (1.0, False)  # too little was seen
    for _ in range(100):
        meter.add(100, 97)
    assert meter.ratio == pytest.approx(0.97, abs=0.001)
    assert meter.alarm
    for _ in range(100):
        meter.add(-100, -100)  # in reverse it counts alike
    assert meter.ratio == pytest.approx(1.0, abs=0.001)
    assert not meter.alarm


@pytest.mark.parametrize(("counted_mm", "seen_mm"), [(-80.0, 80.0), (80.0, -80.0)])
def test_an_encoder_that_counts_the_wrong_way(counted_mm: float, seen_mm: float) -> None:
    meter = SlipMeter(SlipSettings())
    meter.add(counted_mm, seen_mm)
    assert not meter.against  # it takes more than some shaking
    for _ in range(10):
        meter.add(counted_mm, seen_mm)
    assert meter.against and meter.alarm and not meter.stands
    back = SlipMeter(SlipSettings())
    for _ in range(10):
        back.add(-80.0, -80.0)
    assert not back.against


def test_an_encoder_that_stands_while_items_move_is_an_alarm() -> None:
    meter = SlipMeter(SlipSettings())
    for _ in range(10):
        meter.add(0.0, 80.0)
    assert meter.alarm
    assert meter.ratio == 1.0
    meter.add(float("nan"), 1.0)
    assert meter.ratio == 1.0
