from __future__ import annotations

import numpy as np
import pytest

from beltsight.report.figures import Axes, curve_figure, purity_figure, reliability_figure, ticks


def test_axes_put_the_corners_into_the_corners() -> None:
    axes = Axes(200, 100, (10, 20), (-1, 1), left=40, right=10, top=5, bottom=15)
    assert axes.point(10, -1) == (40, 85)
    assert axes.point(20, 1) == (190, 5)
    assert axes.line((10, 15), (0, 0)) == "40.0,45.0 115.0,45.0"


def test_axes_of_one_value_do_not_divide_by_zero() -> None:
    assert Axes(100, 100, (1, 1), (0, 0)).point(1, 0) == (46, 64)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 0.55, [0, 0.1, 0.2, 0.3, 0.4, 0.5]),
        (0.7, 1.0, [0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1]),
        (1, 300, [50, 100, 150, 200, 250, 300]),
        (3, 3, [3]),
        (0, float("inf"), [0]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_a_reliability_figure_draws_each_bin() -> None:
    bins = [
        {"n": 2, "confidence": 0.45, "accuracy": 0.5, "interval": (0.1, 0.9)},
        {"n": 8, "confidence": 0.95, "accuracy": 0.75, "interval": (0.4, 0.93)},
    ]
    figure = reliability_figure(bins, np.array([0.45, 0.45, *[0.95] * 8]))
    axes, (first, last) = figure["axes"], figure["dots"]
    for dot in (first, last):
        assert dot["high_y"] < dot["y"] < dot["low_y"]  # pixels count downwards
    place = np.log(1.01 / 0.06) / np.log(101)  # of 95 %
    assert last["x"] == axes.point(place, 0)[0]
    # What is as sure as it is right lies on the diagonal, however the axes are stretched.
    even = reliability_figure([{**bins[0], "confidence": 0.5}], np.ones(1))["dots"][0]
    across = (even["x"] - axes.left) / (axes.width - axes.left - axes.right)
    up = (axes.height - axes.bottom - even["y"]) / (axes.height - axes.top - axes.bottom)
    assert across == pytest.approx(up, abs=1e-4)
    bars = [bar for bar in figure["bars"] if bar["n"]]
    assert [bar["n"] for bar in bars] == [2, 8]
    assert bars[1]["h"] == pytest.approx(4 * bars[0]["h"], abs=0.05)
    assert bars[1]["x"] - 1 <= last["x"] <= bars[1]["x"] + bars[1]["w"] + 1  # one above the other


def test_a_purity_figure_marks_what_the_model_accepts() -> None:
    curve = {"coverage": [0.05, 0.5, 0.9, 1.0], "risk": [1.0, 0.0, 0.05, 0.1]}
    accepted = {"coverage": 0.9, "purity": 0.95, "n": 90}
    figure = purity_figure(curve, accepted)
    assert len(figure["line"].split()) == 3  # the first 5 % say nothing
    assert f"{figure['mark']['x']},{figure['mark']['y']}" in figure["line"].split()
    assert dict(figure["rows"])[0.9] == pytest.approx(0.95)
    assert purity_figure(curve, None)["mark"] is None
    assert purity_figure({"coverage": [1.0], "risk": [1.0]}, None)["axes"].y == (0, 1)


def test_a_reliability_figure_of_nothing_is_empty() -> None:
    assert reliability_figure([], np.zeros(0))["dots"] == []


def test_curves_leave_out_what_is_not_a_number() -> None:
    nan = float("nan")
    figure = curve_figure([1, 2, 3], {"loss": [2.0, nan, 1.0]}, shares=False)
    assert len(figure["lines"][0]["dots"]) == 2
    assert figure["lines"][0]["dots"][0][1] < figure["lines"][0]["dots"][1][1]
    assert [value for value, _ in figure["x_ticks"]] == [1, 2, 3]


def test_curves_of_one_epoch() -> None:
    figure = curve_figure([1], {"accuracy": [0.5]}, shares=True)
    assert figure["axes"].y == (0.5, 1.0)
    assert len(figure["lines"][0]["dots"]) == 1
