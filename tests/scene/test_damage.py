from __future__ import annotations

import numpy as np
import pytest
from tests.scene.drawn import draw_scene

from beltsight.errors import ConfigError
from beltsight.scene import KINDS, cut_out, soil
from beltsight.scene.damage import CHANGES, change_photo, flatten_contrast, move_away, occlude, turn
from beltsight.scene.light import to_light

SCENE = draw_scene(3)
ITEM = SCENE.truth.astype(np.float32)
OTHER = cut_out(draw_scene(8).photo, draw_scene(8).truth)


@pytest.mark.parametrize("name", CHANGES)
def test_nothing_happens_at_the_neutral_amount(name: str) -> None:
    before = SCENE.photo.copy()
    same = change_photo(SCENE.photo, name, CHANGES[name].neutral, 5, item=ITEM, other=OTHER)
    assert np.array_equal(same.photo, SCENE.photo)
    change_photo(SCENE.photo, name, CHANGES[name].amounts[2], 5, item=ITEM, other=OTHER)
    assert np.array_equal(SCENE.photo, before)


@pytest.mark.parametrize("name", CHANGES)
def test_five_severities_each_worse_than_the_one_before(name: str) -> None:
    change = CHANGES[name]
    assert len(change.amounts) == 5
    apart = [abs(amount - change.neutral) for amount in change.amounts]
    assert apart == sorted(set(apart))
    if name == "angle":  # turned photos are no further off the further they turn
        return
    damage = []
    for amount in change.amounts:
        made = change_photo(SCENE.photo, name, amount, 5, item=ITEM, other=OTHER).photo
        assert made.dtype == np.uint8 and made.shape == SCENE.photo.shape
        moved = np.abs(made.astype(float) - SCENE.photo)
        # What slides over the item changes colours, not by ever more, but of ever more pixels.
        damage.append(
            float(moved[SCENE.truth].any(axis=1).mean() if name == "occlusion" else moved.mean())
        )
    assert damage == sorted(damage) and damage[0] > 0.05


@pytest.mark.parametrize("name", ["light", "angle", "noise", "occlusion", "dirt"])
def test_what_is_drawn_depends_on_the_seed_alone(name: str) -> None:
    amount = CHANGES[name].amounts[1]
    made = [
        change_photo(SCENE.photo, name, amount, seed, item=ITEM, other=OTHER).photo
        for seed in (7, 7, 8, 9, 10, 11)
    ]
    assert np.array_equal(made[0], made[1])
    assert any(
        each.shape != made[0].shape or not np.array_equal(each, made[0]) for each in made[2:]
    )


def test_light_is_doubled_or_halved() -> None:
    photo = np.full((16, 16, 3), 120, np.uint8)
    before = float(to_light(photo).mean())
    ratios = {
        round(float(to_light(change_photo(photo, "light", 1, seed).photo).mean()) / before, 1)
        for seed in range(8)
    }
    assert ratios == {0.5, 2.0}


def test_contrast_shrinks_about_the_mean_grey() -> None:
    photo = np.zeros((8, 8, 3), np.uint8)
    photo[:, 4:] = (100, 200, 40)
    # Half of (100, 200, 40): a mean of (50, 100, 20), which is 0.299 * 50 + 0.587 * 100 + ... grey.
    grey = 0.299 * 50 + 0.587 * 100 + 0.114 * 20
    flat = flatten_contrast(photo, 0.25)
    assert flat[0, 0].tolist() == [round(0.75 * grey)] * 3
    assert flat[0, 7].tolist() == [round(grey + 0.25 * (c - grey)) for c in (100, 200, 40)]


def test_turns_keep_all_of_the_photo() -> None:
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (30, 50, 3)).astype(np.uint8)
    quarter = turn(photo, 90, (1, 2, 3), np.random.default_rng(0))
    assert any(np.array_equal(quarter, np.rot90(photo, k)) for k in (1, 3))
    assert np.array_equal(turn(photo, 180, (1, 2, 3), rng), photo[::-1, ::-1])
    slanted = turn(photo, 30, (1, 2, 3), rng)
    # 50 cos 30 + 30 sin 30 wide, 50 sin 30 + 30 cos 30 high.
    assert slanted.shape == (51, 59, 3)
    assert slanted[0, 0].tolist() == slanted[-1, -1].tolist() == [1, 2, 3]


def test_what_moves_away_is_small_and_whole() -> None:
    photo = np.full((40, 60, 3), 250, np.uint8)
    far = move_away(photo, 0.5, (9, 9, 9))
    assert far.shape == photo.shape
    assert (far == 250).all(axis=2).sum() == 20 * 30
    assert (far[10:30, 15:45] == 250).all() and (far[:10] == 9).all()


def test_noise_has_the_deviation_asked_for() -> None:
    grey = np.full((128, 128, 3), 128, np.uint8)
    noisy = change_photo(grey, "noise", 16, 1).photo.astype(float) - 128
    assert noisy.std() == pytest.approx(16, rel=0.02) and abs(noisy.mean()) < 0.3


def test_blur_has_the_deviation_asked_for() -> None:
    """A spot becomes a bell whose second moment is sigma squared."""
    point = np.zeros((65, 65, 3), np.uint8)
    point[30:35, 30:35] = 255  # so wide that 8 bits hold the bell
    bell = change_photo(point, "blur", 3).photo[:, :, 0].astype(float)
    across = np.arange(65) - 32.0
    moment = float((bell.sum(axis=0) * across**2).sum() / bell.sum())
    assert moment == pytest.approx(9 + 2.0, rel=0.06)  # five equal pixels have a variance of 2


def test_another_item_hides_what_is_asked() -> None:
    for seed in range(6):
        scene, rng = draw_scene(20 + seed), np.random.default_rng(seed)
        for share in (0.1, 0.3, 0.5):
            made, hidden = occlude(scene.photo, scene.truth, OTHER, share, rng)
            assert share <= hidden < share + 0.04
            moved = (made != scene.photo).any(axis=2)
            assert float(moved[scene.truth].mean()) == pytest.approx(hidden, abs=0.06)


def test_a_thin_thing_is_enlarged_until_it_can_hide_half() -> None:
    stick = cut_out(np.full((10, 90, 3), 30, np.uint8), np.ones((10, 90)))
    hidden = occlude(SCENE.photo, ITEM, stick, 0.5, np.random.default_rng(2))[1]
    assert 0.5 <= hidden < 0.55


def test_dirt_says_what_the_item_has_become() -> None:
    made = change_photo(SCENE.photo, "dirt", 0.35, 4, item=ITEM)
    assert made.labels["contamination"] == "heavily"
    assert dict(change_photo(SCENE.photo, "dirt", 0, 4, item=ITEM).labels) == {
        "contamination": "clean", "dirt": "none",
    }  # fmt: skip
    same = [
        np.array_equal(made.photo, soil(SCENE.photo, ITEM, kind, 0.35, rng).photo)
        for kind in KINDS
        for rng in [np.random.default_rng(4)]
        if str(rng.choice(KINDS)) == kind
    ]
    assert same == [True]
    assert not change_photo(SCENE.photo, "blur", 2).labels


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'blur'"):
        change_photo(SCENE.photo, "blurr", 1)
    for name, amount in (("jpeg", 0), ("scale", 0), ("dirt", 1.1), ("noise", float("nan"))):
        with pytest.raises(ConfigError, match=f"{name} must lie in"):
            change_photo(SCENE.photo, name, amount, item=ITEM)
    for name in ("dirt", "occlusion"):
        with pytest.raises(ConfigError, match="needs the item's mask"):
            change_photo(SCENE.photo, name, 0.3)
