"""The recipe: clean and dirty go the same way, labels follow from the share."""

from __future__ import annotations

from collections import Counter
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from tests.scene.drawn import draw_scene

from beltsight.errors import ConfigError
from beltsight.scene import KINDS, dirt_labels, load_dirt_settings, vary_photo
from beltsight.scene.dirt import make_item
from beltsight.scene.dirt_settings import DirtSettings, Harmless
from beltsight.scene.harmless import LIT, PRINTED, cast_shadow
from beltsight.scene.stains.surface import make_surface

SETTINGS = load_dirt_settings()


def changed(**tables: object) -> DirtSettings:
    """The packaged settings with tables replaced."""
    return DirtSettings.model_validate(SETTINGS.model_dump() | tables)


def test_clean_and_dirty_differ_by_the_dirt_alone() -> None:
    """The same seed: same overlays, folds, light, camera and quality; no pixel differs far from
    the dirt but by JPEG, whose blocks of 16 pixels end there."""
    scene = draw_scene(2)
    still = changed(camera={"blur_px": [0, 0], "noise": [2, 2], "quality": [95, 95]})
    for seed in range(8):
        clean = vary_photo(scene.photo, scene.truth, seed, share=0, settings=still)
        dirty = vary_photo(scene.photo, scene.truth, seed, share=0.1, settings=still)
        assert clean.harmless == dirty.harmless
        assert clean.quality == dirty.quality
        touched = np.argwhere(dirty.alpha > 0)
        far = np.ones(scene.truth.shape, bool)
        for row, column in touched:
            far[row // 16 * 16 - 2 : row // 16 * 16 + 18,
                max(0, column // 16 * 16 - 18) : column // 16 * 16 + 34] = False  # fmt: skip
        assert far.sum() > 1000
        assert np.array_equal(clean.photo[far], dirty.photo[far])
        assert not np.array_equal(clean.photo, dirty.photo)


def test_a_clean_photo_passes_camera_and_jpeg_too() -> None:
    scene = draw_scene(4)
    made = vary_photo(scene.photo, scene.truth, 1, share=0)
    assert not np.array_equal(made.photo, scene.photo)
    assert made.kinds == {}
    assert made.labels == {"contamination": "clean", "dirt": "none"}
    assert not made.mask.any()


def test_the_jpeg_is_the_photo_and_its_quality_is_drawn_from_the_range() -> None:
    scene = draw_scene(4)
    qualities = []
    for seed in range(30):
        made = vary_photo(scene.photo, scene.truth, seed)
        with Image.open(BytesIO(made.jpeg)) as image:
            assert image.format == "JPEG"
            assert np.array_equal(np.asarray(image.convert("RGB")), made.photo)
        qualities.append(made.quality)
    assert min(qualities) >= 60
    assert max(qualities) <= 95
    assert len(set(qualities)) > 10


@pytest.mark.parametrize("seed", range(12))
def test_two_kinds_share_the_area_to_the_pixel(seed: int) -> None:
    scene = draw_scene(seed)
    both = changed(draw={"two_kinds": 1.0})
    made = vary_photo(scene.photo, scene.truth, seed, share=0.4, settings=both)
    assert len(made.kinds) == 2
    assert abs(made.mask.sum() - 0.4 * scene.truth.sum()) <= 0.5
    assert sum(made.kinds.values()) == pytest.approx(made.share)
    assert made.mask[~scene.truth].sum() == 0


def test_the_same_seed_gives_the_same_photo() -> None:
    scene = draw_scene(5)
    first, again = (vary_photo(scene.photo, scene.truth, 3) for _ in range(2))
    assert first.jpeg == again.jpeg
    assert np.array_equal(first.mask, again.mask)
    assert vary_photo(scene.photo, scene.truth, 4).jpeg != first.jpeg


def test_only_allowed_kinds_are_drawn_by_their_weights() -> None:
    scene = draw_scene(6, height=48, width=64)
    held_out = [kind for kind in KINDS if kind != "food"]
    drawn = Counter(
        kind
        for seed in range(150)
        for kind in vary_photo(scene.photo, scene.truth, seed, share=0.3, kinds=held_out).kinds
    )
    assert set(drawn) == set(held_out)
    assert drawn["wet"] < drawn["mud"]  # half its weight


@pytest.mark.parametrize(
    ("kinds", "labels"),
    [
        ({}, {"contamination": "clean", "dirt": "none"}),
        ({"food": 0.04}, {"contamination": "clean", "dirt": "none"}),
        ({"dust": 0.1}, {"contamination": "partly", "dirt": "dust"}),
        ({"mud": 0.5}, {"contamination": "heavily", "dirt": "organic"}),
        ({"wet": 0.2}, {"contamination": "partly"}),
        ({"wet": 0.2, "dust": 0.06}, {"contamination": "partly", "dirt": "dust"}),
        ({"dust": 0.6, "liquid": 0.05}, {"contamination": "heavily", "dirt": "organic"}),
        ({"dust": 0.04, "grease": 0.03}, {"contamination": "partly", "dirt": "dust"}),
        ({"food": 0.03, "grease": 0.03}, {"contamination": "partly", "dirt": "organic"}),
    ],
)
def test_labels_follow_from_what_covers_the_item(
    kinds: dict[str, float], labels: dict[str, str]
) -> None:
    assert dirt_labels(sum(kinds.values()), kinds, SETTINGS) == labels


def test_what_cannot_be_drawn_is_refused() -> None:
    scene = draw_scene(1)
    with pytest.raises(ConfigError, match="did you mean 'dust'"):
        vary_photo(scene.photo, scene.truth, 1, kinds=["dsut"])
    with pytest.raises(ConfigError, match="no kind of dirt"):
        vary_photo(scene.photo, scene.truth, 1, kinds=[])
    with pytest.raises(ConfigError, match="0 to 1"):
        vary_photo(scene.photo, scene.truth, 1, share=1.5)


def test_harmless_things_come_as_often_on_clean_as_on_dirty_items() -> None:
    scene = draw_scene(3, height=48, width=64)
    counts = {share: Counter[str]() for share in (0.0, 0.5)}
    for share, counter in counts.items():
        for seed in range(200):
            counter.update(vary_photo(scene.photo, scene.truth, seed, share=share).harmless)
    assert counts[0.0] == counts[0.5]
    assert set(counts[0.0]) == set(Harmless.model_fields)
    for name in Harmless.model_fields:
        probability = getattr(SETTINGS.harmless, name)
        spread = np.sqrt(200 * probability * (1 - probability))
        assert abs(counts[0.0][name] - 200 * probability) < 4 * spread


def test_every_harmless_thing_has_a_probability_and_each_can_be_seen() -> None:
    assert {*PRINTED, *LIT, "shadow"} == set(Harmless.model_fields)
    scene = draw_scene(2)
    item = make_item(scene.photo, scene.truth)
    surface = make_surface(item.light, item.solid, item.white)
    for name, overlay in {**PRINTED, **LIT}.items():
        moved = [
            np.abs(overlay(surface, np.random.default_rng(seed)) - item.light)[item.solid].max()
            for seed in range(8)
        ]
        assert np.median(moved) > 0.02, name
        assert np.isfinite(moved).all()


def test_a_shadow_only_takes_light() -> None:
    for seed in range(20):
        lit = cast_shadow(60, 80, 30.0, np.random.default_rng(seed))
        assert lit.shape == (60, 80, 1)
        assert lit.min() >= 0.3
        assert lit.max() <= 1.0001
