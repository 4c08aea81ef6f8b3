"""What settings of dirt allow and refuse."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from beltsight.config import ASSETS
from beltsight.errors import ConfigError
from beltsight.scene import KINDS, LEVELS, Levels, load_dirt_settings, soil
from beltsight.scene.dirt_settings import Draw
from beltsight.taxonomy import load_taxonomy

PACKAGED = (ASSETS / "dirt.toml").read_text(encoding="utf-8")


def written(tmp_path: Path, old: str, new: str) -> Path:
    """The packaged settings with one piece replaced."""
    assert old in PACKAGED
    path = tmp_path / "dirt.toml"
    path.write_text(PACKAGED.replace(old, new, 1), encoding="utf-8")
    return path


def test_the_packaged_settings_hold_every_kind_and_the_levels_of_the_taxonomy() -> None:
    settings = load_dirt_settings()
    assert tuple(settings.kinds) == KINDS
    assert tuple(load_taxonomy().tasks["contamination"].classes) == LEVELS
    labels = {kind: settings.kinds[kind].label for kind in KINDS}
    assert labels == {
        "grease": "organic", "liquid": "organic", "food": "organic", "mud": "organic",
        "dust": "dust", "wet": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("share", "level"),
    [(0, "clean"), (0.0499, "clean"), (0.05, "partly"), (0.2999, "partly"), (0.3, "heavily"),
     (1, "heavily")],
)  # fmt: skip
def test_levels_begin_at_their_threshold(share: float, level: str) -> None:
    assert load_dirt_settings().levels.name(share) == level


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("heavily = 0.30", "heavily = 0.04", "ordered 0 < partly < heavily < 1"),
        ("partly  = 0.05", "partly = 0.0", "ordered 0 < partly < heavily < 1"),
        ("heavily = 0.30", "heavily = 1.0", "ordered 0 < partly < heavily < 1"),
        ("heavily = 0.30", "heavily = nan", "ordered 0 < partly < heavily < 1"),
        ("heavily = 0.30", "heavly = 0.30", "did you mean 'heavily'"),
        ("[kinds.grease]", "[kinds.greese]", "did you mean 'grease'"),
        ('label = "dust"', 'label = "dirt"', "not in 'labels'"),
        ('labels = ["organic", "dust"]', 'labels = ["none"]', "clean items"),
        ("size = [0.03, 0.22]", "size = [0.22, 0.03]", "smallest, largest"),
        ("size = [0.03, 0.22]", "size = [0.0, 0.2]", "greater than 0"),
        ("quality = [60, 95]", "quality = [0, 95]", "1 to 100"),
        ("noise   = [0.0, 4.0]", "noise = [-1.0, 4.0]", "0 or more"),
        ("glare   = 0.18", "glare = 1.8", "less than or equal to 1"),
        ("glare   = 0.18", "glarre = 0.18", "did you mean 'glare'"),
        ("skew      = 1.7", "skew = 0.0", "greater than 0"),
    ],
)
def test_wrong_settings_say_what_is_wrong(tmp_path: Path, old: str, new: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_dirt_settings(written(tmp_path, old, new))


def test_a_plant_may_leave_a_kind_out_and_then_it_cannot_be_asked_for(tmp_path: Path) -> None:
    wet = PACKAGED[PACKAGED.index("[kinds.wet]") : PACKAGED.index("# What no model may take")]
    settings = load_dirt_settings(written(tmp_path, wet, ""))
    photo, mask = np.full((32, 32, 3), 90, np.uint8), np.ones((32, 32), bool)
    with pytest.raises(ConfigError, match=r"no table \[kinds.wet\]"):
        soil(photo, mask, "wet", 0.2, 1, settings=settings)


def test_all_kinds_of_no_weight_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "dirt.toml"
    text = re.sub(r"weight = [0-9.]+", "weight = 0", PACKAGED)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="weight over 0"):
        load_dirt_settings(path)


def test_looks_and_shares_are_drawn_over_their_whole_range() -> None:
    settings, rng = load_dirt_settings(), np.random.default_rng(0)
    looks = [settings.kinds["food"].look(rng) for _ in range(2000)]
    low, high = settings.kinds["food"].size
    sizes = np.array([look.size for look in looks])
    assert low <= sizes.min() < 1.05 * low
    assert 0.95 * high < sizes.max() <= high
    # Evenly over the logarithm: half of them under the geometric mean.
    assert (sizes < np.sqrt(low * high)).mean() == pytest.approx(0.5, abs=0.05)
    shares = np.array([Draw().share(rng) for _ in range(20_000)])
    assert (shares == 0).mean() == pytest.approx(0.33, abs=0.02)
    assert shares.max() <= 0.85
    dirty = shares[shares > 0]
    assert (dirty < 0.05).mean() == pytest.approx((0.05 / 0.85) ** (1 / 1.7), abs=0.02)
    # No gap: every hundredth is drawn.
    assert len(np.unique((dirty * 100).astype(int))) == 85


def test_levels_of_a_plant_are_its_own() -> None:
    assert Levels(partly=0.1, heavily=0.5).name(0.2) == "partly"
