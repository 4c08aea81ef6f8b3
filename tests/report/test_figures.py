from __future__ import annotations

import numpy as np
import pytest

from beltsight.reliability import reliability_bins
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
    confidences = np.array([0.41, 0.49, *np.linspace(0.91, 0.99, 8)])
    histogram = reliability_bins(confidences, np.ones(10, bool), 10, "width")
    figure = reliability_figure(bins, histogram)
    axes, (first, last) = figure["axes"], figure["dots"]
    assert (first["x"], first["y"]) == axes.point(0.45, 0.5)
    assert (last["low_y"], last["high_y"]) == (axes.point(0, 0.4)[1], axes.point(0, 0.93)[1])
    assert [bar["n"] for bar in figure["bars"]] == [2, 8]
    assert figure["bars"][1]["h"] == pytest.approx(4 * figure["bars"][0]["h"], abs=0.05)


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
    assert reliability_figure([], [])["dots"] == []


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
