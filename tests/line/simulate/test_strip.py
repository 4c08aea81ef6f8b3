"""The drawn belt against the truth that comes with it."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest
from tests.line.simulate.scenery import COLOURS, EVEN, VIEW, first_turn, settings, write_photos

from beltsight.errors import ConfigError, DatasetError
from beltsight.line.simulate import BeltLook, ItemLook, LightLook, Run, Simulation, simulate
from beltsight.line.simulate.stock import StockItem, fill_stock
from beltsight.line.simulate.strip import render, soiled
from beltsight.line.simulate.texture import draw_belt
from beltsight.line.view import Direction, View
from beltsight.records import Photo, Sample
from beltsight.scene import CutOut, load_dirt_settings


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    return write_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def plain(samples: list[Sample]) -> Simulation:
    return simulate(settings(), VIEW, samples)


def coloured(image: Photo, material: str) -> np.ndarray:
    """Where that material's colour is, by its strongest channel."""
    strong = int(np.argmax(COLOURS[material]))
    others = [channel for channel in range(3) if channel != strong]
    excess = image[:, :, strong].astype(int) - image[:, :, others].max(axis=2).astype(int)
    return np.asarray(excess > 40)


def frame_at(sim: Simulation, position_mm: float) -> Photo:
    return sim.belt.picture(position_mm / sim.settings.speed_mm_s, 0)


@pytest.mark.parametrize("direction", get_args(Direction))
def test_items_are_seen_where_the_truth_says(samples: list[Sample], direction: Direction) -> None:
    lies = direction in ("right", "left")
    view = View(
        width_px=640 if lies else 360, height_px=360 if lies else 640,
        width_mm=1000 if lies else 562.5, height_mm=562.5 if lies else 1000,
        direction=direction, left_edge_mm=-12.0,
    )  # fmt: skip
    sim = simulate(settings(items=ItemLook(rate_per_s=8, shadow=0.0)), view, samples)
    items = [one for one in first_turn(sim.belt.truth) if one.s_mm > 1300][:6]
    assert len(items) == 6
    for item in items:
        for u in (-210.0, 0.0, 180.0):
            position = item.s_mm + u  # it is then u mm downstream of the reference line
            seen = coloured(frame_at(sim, position), item.labels["material"])
            x, y = view.to_pixel(u, item.lateral_mm)
            _, labels, stats, middles = cv2.connectedComponentsWithStats(seen.astype(np.uint8))
            inside = labels[int(y), int(x)]
            assert inside > 0
            left, top, wide, high, _ = stats[inside]
            box = view.box_to_belt((int(left), int(top), int(left + wide), int(top + high)))
            # Two pixels of edge are mixed with the belt: 1.6 mm each.
            assert abs(box.u - u) < 2.5
            assert abs(box.lateral - item.lateral_mm) < 2.5
            assert abs(box.length - item.along_mm) < 6
            assert abs(box.width - item.across_mm) < 6
            assert middles[inside] == pytest.approx([x, y], abs=4)


def test_sizes_are_as_asked(plain: Simulation) -> None:
    sides = [item.length_mm for item in first_turn(plain.belt.truth)]
    assert len(sides) > 10
    assert min(sides) > 57
    assert max(sides) < 153
    assert all(item.width_mm <= item.length_mm for item in first_turn(plain.belt.truth))


def test_the_belt_is_empty_before_the_first_turn(plain: Simulation) -> None:
    # The view ends 500 mm upstream of the line, and items begin at 1000 mm.
    frame = frame_at(plain, 480.0)
    assert frame.std() < 12
    assert not any(coloured(frame, material).any() for material in COLOURS)
    assert min(item.s_mm for item in first_turn(plain.belt.truth)) > 1000


def test_turns_join_without_a_step_and_repeat(plain: Simulation) -> None:
    turn = plain.belt.strip.turn_mm
    assert turn == pytest.approx(6000, abs=2)
    for position in (2500.0, 6900.0, 7000.0, 7300.0):
        assert (frame_at(plain, position + turn) == frame_at(plain, position + 2 * turn)).all()
    seam = plain.belt.strip.cut(1000 + turn)
    both = [seam[:, 319].astype(int), seam[:, 320].astype(int)]
    assert np.abs(both[0] - both[1]).max() <= 2


def test_motion_and_lens_blur_what_they_should(samples: list[Sample]) -> None:
    def sharpness(exposure_ms: float, axis: int) -> float:
        light = LightLook(drift_ev=0, flicker=0, vignette=0, noise=0, exposure_ms=exposure_ms)
        strip, _, _ = render(settings(light=light), VIEW, samples)
        return float(np.abs(np.diff(strip.picture[:, 700:2500].astype(float), axis=axis)).max())

    # 2500 mm/s for 4 ms are 10 mm or 6.4 pixels along the belt, and nothing across.
    assert sharpness(4.0, 1) < 0.4 * sharpness(0.0, 1)
    assert sharpness(4.0, 0) > 0.6 * sharpness(0.0, 0)


def test_blur_keeps_brightness_and_the_seams_of_its_parts(samples: list[Sample]) -> None:
    from beltsight.line.simulate import strip as module

    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (12, 2 * module._CHUNK_PX + 700, 3)).astype(np.uint8)
    whole = np.concatenate([picture[:, -40:], picture, picture[:, :40]], axis=1)
    kernel = module._motion_kernel(3.2)
    expected = cv2.sepFilter2D(whole, -1, kernel, module._lens_kernel())[:, 40:-40]
    module._soften(picture, 3.2)
    assert (picture == expected).all()
    assert kernel.sum() == pytest.approx(1)


def test_shadows_darken_the_belt_beside_items(samples: list[Sample]) -> None:
    def darkest(shadow: float) -> int:
        sim = simulate(settings(items=ItemLook(rate_per_s=3, shadow=shadow)), VIEW, samples)
        picture, loop = sim.belt.strip.picture, sim.belt.strip.empty
        belt = np.tile(loop, (1, picture.shape[1] // loop.shape[1], 1))
        changed = picture.astype(int) - belt
        return int(changed.max(axis=2).min())  # an item is brighter in one colour at least

    assert darkest(0.6) < darkest(0.0) - 5


def test_dirt_is_laid_and_told(samples: list[Sample]) -> None:
    look = ItemLook(rate_per_s=6, dirty=0.5, dirt_share=(0.3, 0.5))
    _, truth, _ = render(settings(items=look, length_m=9.0), VIEW, samples)
    levels = [item.labels["contamination"] for item in first_turn(truth)]
    assert set(levels) >= {"clean", "heavily"}
    for item in first_turn(truth):
        assert (item.dirt_share > 0) == (item.labels["contamination"] != "clean")
        assert 0.29 < item.dirt_share < 0.51 or item.dirt_share == 0


def test_dirt_without_a_class_takes_away_the_class_that_was_there() -> None:
    cut = CutOut(np.full((64, 64, 3), 180, np.uint8), np.ones((64, 64), np.float32))
    labels = {"material": "paper", "contamination": "clean", "dirt": "none"}
    item, dirt = StockItem(cut, labels, "a.jpg", 64.0), load_dirt_settings()
    wet = {name: kind for name, kind in dirt.kinds.items() if name == "wet"}
    rng = np.random.default_rng(0)
    look = ItemLook(dirty=1.0, dirt_share=(0.3, 0.5))
    for kinds in (wet, dirt.kinds):
        settings_of = dirt.model_copy(update={"kinds": kinds})
        made = [soiled(item, look, settings_of, rng)[1] for _ in range(20)]
        assert {labels["contamination"] for labels in made} <= {"partly", "heavily"}
        known = {labels.get("dirt") for labels in made}
        assert known == {None} if kinds is wet else known > {None} and "none" not in known
    # Too little of it to be seen leaves a clean item what it was.
    speck = ItemLook(dirty=1.0, dirt_share=(0.001, 0.002))
    assert soiled(item, speck, dirt, rng)[1] == labels


def test_the_same_seed_draws_the_same(samples: list[Sample]) -> None:
    one, truth, _ = render(settings(seed=4), VIEW, samples)
    two, again, _ = render(settings(seed=4), VIEW, samples)
    other, _, _ = render(settings(seed=5), VIEW, samples)
    assert (one.picture == two.picture).all()
    assert first_turn(truth) == first_turn(again)
    assert (one.picture != other.picture).any()


def test_a_strip_in_a_file_is_the_same_and_leaves_nothing(
    samples: list[Sample], tmp_path: Path, plain: Simulation
) -> None:
    strip, _, _ = render(settings(), VIEW, samples, folder=tmp_path)
    assert isinstance(strip.picture, np.memmap)
    assert (strip.picture == plain.belt.strip.picture).all()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="no room"):
        render(settings(), VIEW, samples, folder=tmp_path / "none")


def test_items_that_do_not_fit_the_view_are_refused(samples: list[Sample]) -> None:
    with pytest.raises(ConfigError, match="do not fit"):
        render(settings(items=ItemLook(size_mm=(100, 560))), VIEW, samples)
    with pytest.raises(ConfigError, match="shorter than the view"):
        view = View(width_px=640, height_px=360, width_mm=4000, height_mm=2250)
        render(settings(), view, samples)


@pytest.mark.parametrize("direction", get_args(Direction))
def test_a_view_whose_pixels_are_not_square_is_refused(
    samples: list[Sample], direction: Direction
) -> None:
    said = r"has 1\.28 pixels per mm of width and 0\.64 of height.* height_mm to 400"
    wide = View(width_px=1280, height_px=512, width_mm=1000, height_mm=800, direction=direction)
    with pytest.raises(ConfigError, match=said):
        render(settings(), wide, samples)
    nearly = View(width_px=640, height_px=360, width_mm=1000, height_mm=550, direction=direction)
    assert render(settings(length_m=1.5), nearly, samples)[0].scale.along > 0


def test_photos_without_an_item_are_left_out_with_the_reason(
    samples: list[Sample], tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / "empty.png"), np.full((64, 64, 3), 200, np.uint8))
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    bad = [Sample(tmp_path / name, {"material": "glass"}) for name in ("empty.png", "broken.jpg")]
    stock = fill_stock([*samples, *bad], 100)
    assert len(stock.items) == 3
    assert dict(stock.left_out) == {
        str(tmp_path / "empty.png"): "the outline is doubtful",
        str(tmp_path / "broken.jpg"): "not readable: DecodeError",
    }
    assert stock.summary.startswith("3 of 5 photos (left out: 1:")
    with pytest.raises(DatasetError, match="0 of 2 photos"):
        fill_stock(bad, 100)


def test_a_shadow_in_a_photo_does_not_come_along(tmp_path: Path) -> None:
    """A red plate and, beside it, a soft grey shadow that a mask may take in."""
    from beltsight.line.simulate.trim import trim

    photo = np.full((200, 260, 3), 225, np.uint8)
    shade = np.zeros((200, 260), np.float32)
    shade[60:150, 150:200] = 1
    shade = np.asarray(cv2.GaussianBlur(shade, (0, 0), 8), np.float32)
    photo = (photo * (1 - 0.35 * shade[:, :, None])).astype(np.uint8)
    photo[50:140, 70:160] = (190, 40, 40)
    mask = np.zeros((200, 260), np.float32)
    mask[50:140, 70:160] = 1
    mask[60:150, 150:200] = 1
    kept = trim(photo, mask)
    assert kept is not None
    red = np.zeros((200, 260), bool)
    red[50:140, 70:160] = True
    solid = kept >= 0.5
    assert (solid & red).sum() > 0.93 * red.sum()
    assert (solid & ~red).sum() < 0.1 * (mask > 0)[~red].sum()


@pytest.mark.parametrize("colour", ["black", "grey", "green", "blue", "white"])
def test_a_loop_of_belt_has_no_seam_at_its_ends(colour: str) -> None:
    look = BeltLook.model_validate({"colour": colour})
    belt = draw_belt(look, 900, 200, 0.64, np.random.default_rng(3)).astype(float)
    steps = np.abs(np.diff(belt, axis=1)).mean(axis=(0, 2))
    seam = np.abs(belt[:, 0] - belt[:, -1]).mean()
    assert seam < 1.5 * np.median(steps)
    assert 3 < belt.std(axis=(0, 1)).mean() < 40


def test_light_drifts_flickers_and_leaves_the_average() -> None:
    from beltsight.line.simulate.light import Light

    look = LightLook(drift_ev=0.5, drift_period_s=10, flicker=0.0, vignette=0.4, noise=2.0)
    light = Light(look, 90, 160, 0)
    times = np.linspace(0, 10, 400, endpoint=False)
    gains = [light.gain(t) for t in times]
    assert max(gains) == pytest.approx(2**0.5, rel=0.01)
    assert min(gains) == pytest.approx(2**-0.5, rel=0.01)
    time_s = float(
        np.linspace(0, 10, 400, endpoint=False)[int(np.argmin(np.abs(np.array(gains) - 1)))]
    )
    grey = np.full((90, 160, 3), 120, np.uint8)
    frame = light.fall_on(grey.copy(), time_s, 3).astype(float)
    assert frame[40:50, 70:90].mean() == pytest.approx(120, abs=1.5)
    # The corners have 0.6 of the light: 120 * 0.6 ** (1 / 2.2).
    assert frame[:3, :3].mean() == pytest.approx(95, abs=3)
    assert frame[40:50].std() > 1.5
    assert (light.fall_on(grey.copy(), time_s, 3) == frame).all()
    assert (light.fall_on(grey.copy(), time_s, 4) != frame).any()


def test_even_light_changes_nothing(plain: Simulation) -> None:
    assert plain.settings.light == EVEN
    frame = plain.belt.strip.cut(2500.0)
    assert (plain.belt.light.fall_on(frame.copy(), 3.0, 7) == frame).all()


def test_the_packaged_photos_make_a_belt() -> None:
    view = View(width_px=320, height_px=180, width_mm=1000, height_mm=562.5)
    sim = simulate(settings(length_m=3.0), view, run=Run(end_s=0.1))
    assert len(sim.belt.truth) > 3
    assert " of 36 photos" in sim.belt.stock_told
    assert {item.labels["material"] for item in first_turn(sim.belt.truth)} <= {
        "cardboard", "glass", "metal", "paper", "plastic", "trash",
    }  # fmt: skip
