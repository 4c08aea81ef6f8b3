"""Augmentation: what is drawn, what stays, and that the item does. The changes: test_changes."""

from __future__ import annotations

import math
import pickle
import random
import re
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from beltsight.errors import ConfigError, ImageError
from beltsight.scene import CutOut
from beltsight.train.augment import STRENGTHS, Augmentation, Strength, make_augmentation, more
from beltsight.train.changes import item_of

GREY = (128, 128, 128)
MORE = more(STRENGTHS["strong"])
NAMED = {**STRENGTHS, "more": MORE}
NO_HIDING = {"item_probability": 0.0, "erase_probability": 0.0}
NO_LIGHT = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
NO_SENSOR = {"shade_probability": 0.0, "blur_probability": 0.0, "noise_probability": 0.0}


def scene(colour: tuple[int, int, int], size: int = 128, item: int = 48) -> Tensor:
    """A letterboxed 4 : 3 photo of a square item in its middle: uint8 (3, size, size)."""
    photo = np.full((size, size, 3), GREY, np.uint8)
    bar, edge = size // 8, (size - item) // 2
    photo[bar : size - bar] = 200
    photo[edge : edge + item, edge : edge + item] = colour
    return torch.from_numpy(photo).permute(2, 0, 1)


def blue_item() -> CutOut | None:
    return item_of(scene((20, 30, 160), item=60).permute(1, 2, 0).numpy(), GREY)


def make(
    strength: str | Strength, other: Callable[[], CutOut | None] | None = None
) -> Augmentation:
    augment = make_augmentation(strength, GREY, other)
    assert augment is not None
    return augment


def drawn(augment: Augmentation, photo: Tensor, seed: int) -> Tensor:
    torch.manual_seed(seed)
    return augment(photo)


def any_photo(height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("name", ["strong", "more"])
def test_the_item_stays_in_view(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At least 60 % of the area that it would have on a picture without end is seen."""
    module = sys.modules["beltsight.train.augment"]
    matrices = []

    def recorded(*given: Any, **named: Any) -> Any:
        matrices.append(affine_matrix(*given, **named))
        return matrices[-1]

    affine_matrix = module.affine_matrix
    monkeypatch.setattr(module, "affine_matrix", recorded)
    # Light hides nothing, and would hide from this test what is the item's colour.
    augment = make(replace(NAMED[name], **NO_LIGHT, **NO_SENSOR), blue_item)
    photo, shares, overlaid = scene((230, 40, 40)), [], 0
    for seed in range(500):
        red, green, blue = drawn(augment, photo, seed).int()
        seen = int((red - torch.maximum(green, blue) > 60).sum())
        shares.append(seen / (48 * 48 * abs(np.linalg.det(matrices[-1][:, :2]))))
        overlaid += int((blue - red > 60).sum()) > 30
    assert min(shares) > 0.6
    assert 0.97 < np.median(shares) < 1.03
    assert sum(share < 0.97 for share in shares) > 50  # something is hidden now and then
    expected = 500 * NAMED[name].item_probability
    assert 0.6 * expected < overlaid < 1.3 * expected


@pytest.mark.parametrize("name", ["light", "gentle", "plant", "strong", "more"])
@pytest.mark.parametrize("size", [(8, 8), (31, 57), (120, 61), (96, 96), (1, 40)])
def test_shape_and_type_stay(name: str, size: tuple[int, int]) -> None:
    photo = any_photo(*size)
    kept = photo.clone()
    augment = make(NAMED[name], blue_item)
    changed = 0
    for seed in range(25):
        result = drawn(augment, photo, seed)
        assert result.dtype == torch.uint8 and result.shape == (3, *size)
        changed += not torch.equal(result, photo)
    assert changed >= 20
    assert torch.equal(photo, kept)


@pytest.mark.parametrize("name", ["light", "gentle", "plant", "strong", "more"])
def test_the_seed_alone_decides(name: str) -> None:
    augment, again = make(NAMED[name], blue_item), make(NAMED[name], blue_item)
    photo = scene((230, 40, 40))
    first = [drawn(augment, photo, seed) for seed in range(40)]
    # Other generators, other photos before it, another order.
    random.seed(5)
    np.random.seed(5)
    cv2.setRNGSeed(5)
    again(any_photo(64, 64))
    second = [drawn(again, photo, seed) for seed in reversed(range(40))][::-1]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert len({result.numpy().tobytes() for result in first}) == 40


def test_it_can_be_sent_to_a_worker_that_is_started_anew() -> None:
    augment = make("strong", blue_item)
    sent = pickle.loads(pickle.dumps(augment))
    photo = scene((230, 40, 40))
    for seed in range(10):
        assert torch.equal(drawn(sent, photo, seed), drawn(augment, photo, seed))


def test_the_bars_stay_the_fill_whatever_the_light() -> None:
    still = {"degrees": 0.0, "shift": 0.0, "scale": 0.0, "shear": 0.0, "warp_probability": 0.0}
    always = {"shade_probability": 1.0, "blur_probability": 1.0, "noise_probability": 1.0}
    augment = make(replace(MORE, **still, **always, **NO_HIDING))
    photo = scene((230, 40, 40))
    bars, seen = photo[:, :16], photo[:, 16:112]
    for seed in range(20):
        result = drawn(augment, photo, seed)
        assert torch.equal(result[:, :16], bars) and torch.equal(result[:, 112:], bars)
        assert not torch.equal(result[:, 16:112], seen)


def test_what_moves_into_view_is_the_fill() -> None:
    augment = make_augmentation(Strength(scale=0.9), (9, 99, 199))
    assert augment is not None
    white = torch.full((3, 64, 64), 255, dtype=torch.uint8)
    smaller = 0
    for seed in range(20):
        result = drawn(augment, white, seed)
        if (result == 255).all(dim=0).double().mean() < 0.8:
            smaller += 1
            assert result[:, 0, 0].tolist() == [9, 99, 199]
    assert smaller > 5


def test_noise_is_what_is_asked_for() -> None:
    augment = make(Strength(noise_probability=1, noise=10))
    flat = torch.full((3, 64, 64), 100, dtype=torch.uint8)
    deviations = []
    for seed in range(100):
        error = drawn(augment, flat, seed).double() - 100
        deviations.append(float(error.std()))
        assert abs(float(error.mean())) < 0.5
        # Normal: 68 % within one deviation; rounding to whole levels widens that a little.
        assert 0.6 < float((error.abs() <= error.std()).double().mean()) < 0.8
    assert 2.9 < min(deviations) < 3.6 and 9.4 < max(deviations) < 10.3


def test_patches_are_as_large_as_asked_and_keep_off_the_middle() -> None:
    augment = make(Strength(erase_probability=1, erase=0.12, hidden=0.2))
    white = torch.full((3, 100, 100), 255, dtype=torch.uint8)
    shares, middles = [], []
    for seed in range(200):
        erased = (drawn(augment, white, seed) == 128).all(dim=0)
        shares.append(float(erased.double().mean()))
        middles.append(float(erased[25:75, 25:75].double().mean()))
    assert sum(share > 0 for share in shares) > 195
    assert max(shares) < 0.13 and min(share for share in shares if share) > 0.015
    assert 0.1 < max(middles) <= 0.2


def test_changes_happen_as_often_as_asked() -> None:
    photo = any_photo(16, 16)
    for name, amount in (("warp", 0.05), ("shade", 0.5), ("blur", 1.5), ("noise", 10.0)):
        augment = make(Strength(**{f"{name}_probability": 0.3, name: amount}))
        count = sum(not torch.equal(drawn(augment, photo, seed), photo) for seed in range(150))
        assert 30 < count < 60, name


def test_none_is_none() -> None:
    assert make_augmentation("none", GREY) is None


def test_nothing_asked_for_changes_nothing() -> None:
    photo = any_photo(30, 40)
    assert torch.equal(drawn(make(Strength()), photo, 0), photo)


def test_a_wrong_name_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no augmentation 'strnog'; did you mean 'strong'"):
        make_augmentation("strnog", GREY)
    with pytest.raises(ConfigError, match="known: none, light, gentle, plant, strong"):
        make_augmentation("xyzzy", GREY)


@pytest.mark.parametrize(
    "numbers",
    [
        {"degrees": 200}, {"scale": 1.0}, {"noise": -1}, {"shade_probability": 1.5},
        {"blur": math.nan}, {"brightness": math.inf}, {"shear": 90}, {"warmth": 301},
    ],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(numbers: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(numbers))} must lie in 0 to"):
        Strength(**numbers)


@pytest.mark.parametrize(
    "picture",
    [torch.zeros(3, 8, 8), torch.zeros(8, 8, 3, dtype=torch.uint8), torch.zeros(3, 8).byte()],
)
def test_another_kind_of_picture_is_refused(picture: Tensor) -> None:
    with pytest.raises(ImageError, match=r"takes uint8 \(3, H, W\), or \(4, H, W\) with"):
        make("strong")(picture)


def test_more_raises_all_that_is_there_within_bounds() -> None:
    strong = STRENGTHS["strong"]
    for field in fields(Strength):
        before, after = getattr(strong, field.name), getattr(MORE, field.name)
        at_bound = {"degrees", "mirror_x", "mirror_y", "warmth"}
        assert after == before if field.name in at_bound else after > before, field.name
    assert MORE.degrees == 180 and MORE.hidden == 0.25 and MORE.shift == pytest.approx(0.12)
    assert MORE.noise == 15 and MORE.item_probability == pytest.approx(0.225)
    endless = more(strong, 1e9)
    assert endless == more(endless, 2.0)
    assert more(Strength(), 5.0) == Strength() and more(strong, 1.0) == strong
    assert more(Strength(blur=9.0)).blur == 9.0  # beyond the bound already
    for factor in (0.5, math.nan):
        with pytest.raises(ConfigError, match="factor must be at least 1"):
            more(strong, factor)


def test_the_page_states_the_numbers() -> None:
    page = (Path(__file__).parents[2] / "docs" / "augmentation.md").read_text(encoding="utf-8")
    written = {
        row[0]: [float(value) for value in row[2:]]
        for row in re.findall(
            r"^\| `(\w+)` \| (.+) \| (.+) \| (.+) \| (.+) \| (.+) \| (.+) \|$", page, re.MULTILINE
        )
    }
    strengths = (*(STRENGTHS[name] for name in ("light", "gentle", "plant", "strong")), MORE)
    for field in fields(Strength):
        numbers = [getattr(strength, field.name) for strength in strengths]
        assert written.pop(field.name) == pytest.approx(numbers, rel=1e-3), field.name
    assert written == {}
