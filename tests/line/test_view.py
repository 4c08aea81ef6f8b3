from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beltsight.errors import CameraError
from beltsight.line.view import BeltBox, Direction, View

DIRECTIONS: tuple[Direction, ...] = ("right", "left", "up", "down")


def view_of(direction: Direction, left_edge_mm: float = 0.0) -> View:
    return View(
        width_px=128, height_px=72, width_mm=100, height_mm=60,
        direction=direction, left_edge_mm=left_edge_mm,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("direction", "corner", "u", "lateral"),
    [
        # Where the picture's upper left corner lies: by the right hand of who walks with the belt.
        ("right", (0, 0), -50, 0),
        ("left", (0, 0), 50, 60),
        ("up", (0, 0), 30, 0),
        ("down", (0, 0), -30, 100),
        ("right", (128, 72), 50, 60),
        ("left", (128, 72), -50, 0),
        ("up", (128, 72), -30, 100),
        ("down", (128, 72), 30, 0),
    ],
)
def test_corners_by_hand(
    direction: Direction, corner: tuple[int, int], u: float, lateral: float
) -> None:
    view = view_of(direction, left_edge_mm=7.0)
    assert view.to_belt(*corner) == pytest.approx((u, lateral + 7.0))
    assert view.to_pixel(u, lateral + 7.0) == pytest.approx(corner)


@given(
    direction=st.sampled_from(DIRECTIONS),
    x=st.floats(-50, 200),
    y=st.floats(-50, 200),
    edge=st.floats(-100, 100),
)
def test_there_and_back(direction: Direction, x: float, y: float, edge: float) -> None:
    view = view_of(direction, edge)
    assert view.to_pixel(*view.to_belt(x, y)) == pytest.approx((x, y), abs=1e-9)


@given(
    direction=st.sampled_from(DIRECTIONS),
    x=st.integers(0, 100),
    y=st.integers(0, 60),
    width=st.integers(1, 28),
    height=st.integers(1, 12),
)
def test_boxes_there_and_back(
    direction: Direction, x: int, y: int, width: int, height: int
) -> None:
    view = view_of(direction)
    box = (x, y, x + width, y + height)
    on_belt = view.box_to_belt(box)
    assert on_belt.length > 0
    assert on_belt.width > 0
    assert view.box_to_pixel(on_belt) == box


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_turned_picture_runs_right_with_the_left_edge_above(direction: Direction) -> None:
    view = view_of(direction)
    image = np.zeros((72, 128), np.uint8)
    u, lateral = 10.0, 5.0  # downstream, by the left edge
    x, y = view.to_pixel(u, lateral)
    image[int(y), int(x)] = 1
    turned = view.turned(image)
    assert turned.shape == (view.breadth_px, view.length_px)
    row, column = np.argwhere(turned)[0]
    assert column / view.length_px == pytest.approx((u / view.length_mm) + 0.5, abs=0.02)
    assert row / view.breadth_px == pytest.approx(lateral / view.breadth_mm, abs=0.02)
    assert (view.turned_back(turned) == image).all()


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_boxes_of_the_turned_picture_come_back(direction: Direction) -> None:
    view = view_of(direction)
    image = np.zeros((72, 128), np.uint8)
    image[20:31, 40:57] = 1
    rows, columns = np.nonzero(view.turned(image))
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert view.box_turned_back(box) == (40, 20, 57, 31)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_edges_are_named_by_the_motion(direction: Direction) -> None:
    view = view_of(direction)
    bounds = view.bounds
    middle = (bounds.lateral0 + bounds.lateral1) / 2
    cases = {
        "upstream": BeltBox(bounds.u0, bounds.u0 + 20, middle - 9, middle + 9),
        "downstream": BeltBox(bounds.u1 - 20, bounds.u1, middle - 9, middle + 9),
        "left": BeltBox(-9, 9, bounds.lateral0, bounds.lateral0 + 9),
        "right": BeltBox(-9, 9, bounds.lateral1 - 9, bounds.lateral1),
    }
    for name, box in cases.items():
        assert view.edges_cut(view.box_to_pixel(box)) == {name}
    inside = view.box_to_pixel(BeltBox(-9, 9, middle - 9, middle + 9))
    assert view.edges_cut(inside) == set()


def test_a_box_beyond_the_frame_is_cut_to_it() -> None:
    view = view_of("right")
    assert view.box_to_pixel(BeltBox(-500, 0, -50, 30)) == (0, 0, 64, 36)
    gone = view.box_to_pixel(BeltBox(80, 90, 0, 10))
    assert gone[0] == gone[2] == 128


def test_boxes_of_the_belt_by_hand() -> None:
    one, other = BeltBox(0, 10, 0, 4), BeltBox(6, 16, 2, 8)
    assert one.intersection(other) == BeltBox(6, 10, 2, 4)
    assert one.intersection(other).area == 8
    assert one.union(other) == BeltBox(0, 16, 0, 8)
    assert (one.u, one.lateral, one.length, one.width) == (5, 2, 10, 4)
    assert one.intersection(BeltBox(20, 30, 9, 12)).area == 0
    assert one.moved(3) == BeltBox(3, 13, 0, 4)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((72, 127, 3), np.uint8),
        np.zeros((72, 128), np.uint8),
        np.zeros((72, 128, 3), np.float32),
        np.zeros((0, 0, 3), np.uint8),
        None,
    ],
)
def test_another_frame_is_refused(image: Any) -> None:
    with pytest.raises(CameraError, match="width_px and height_px"):
        view_of("right").check_frame(image)


@pytest.mark.parametrize(
    ("key", "value"), [("width_px", 0), ("width_mm", float("nan")), ("direction", "north")]
)
def test_wrong_views_are_refused(key: str, value: object) -> None:
    parts = {"width_px": 128, "height_px": 72, "width_mm": 100, "height_mm": 60, key: value}
    with pytest.raises(ValueError, match=key):
        View.model_validate(parts)
