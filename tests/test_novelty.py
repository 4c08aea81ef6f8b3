"""What is unlike anything seen: against scikit-learn, by hand, and on damaged cards."""

from __future__ import annotations

import base64
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.stats import beta
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

import beltsight
from beltsight.errors import ConfigError, DatasetError, ModelError
from beltsight.novelty import Novelty, NoveltyCard, auc, fit_novelty, refit_threshold

WIDTH = 40


def embeddings(n: int, seed: int) -> np.ndarray:
    """Known photos: a plane of six directions, a mean and a little noise."""
    world = np.random.default_rng(7)
    plane, mean = world.normal(size=(6, WIDTH)), world.uniform(1, 3, WIDTH)
    generator = np.random.default_rng(seed)
    noise = 0.1 * generator.normal(size=(n, WIDTH))
    return mean + generator.normal(size=(n, 6)) @ plane + noise


def fitted(**settings: Any) -> Novelty:
    return fit_novelty(embeddings(300, 0), embeddings(200, 1), components=6, **settings)


def false_alarms(novelty: Novelty) -> tuple[float, float]:
    """Where their true share lies with 95 % probability, whatever the scores' distribution.

    The share above the k-th smallest of n follows Beta(n + 1 - k, k).
    """
    above = novelty.n_above
    low, high = beta.ppf([0.025, 0.975], above + 1, novelty.n_known - above)
    return float(low), float(high)


@pytest.mark.parametrize("n", [300, 30])  # more and fewer photos than the embedding is wide
def test_the_score_agrees_with_sklearn(n: int) -> None:
    train, asked = embeddings(n, 0), embeddings(50, 2)
    novelty = fit_novelty(train, embeddings(20, 1), components=6)
    pca = PCA(6).fit(train)
    rest = asked - pca.inverse_transform(pca.transform(asked))
    expected = np.linalg.norm(rest, axis=1) / np.sqrt(np.linalg.norm(asked, axis=1))
    # The card's float16 rounds the directions.
    assert novelty.score(asked) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("width", [WIDTH, 1280])
def test_one_row_or_many_score_to_the_last_digit_as_defined(width: int) -> None:
    """Cards hold thresholds: the same embedding must have the same score in every version."""
    rows = np.random.default_rng(3).normal(1, 1, (60, width)).astype(np.float32)
    novelty = fit_novelty(rows[:30], rows[30:])
    again = pickle.loads(pickle.dumps(novelty))

    def defined(table: np.ndarray) -> np.ndarray:
        centred = table.astype(np.float64) - novelty.mean
        basis = novelty.basis.astype(np.float64)
        rest = centred - (centred @ basis.T) @ basis
        length = np.linalg.norm(table.astype(np.float64), axis=1)
        return np.asarray(np.linalg.norm(rest, axis=1) / np.sqrt(length))

    for table in (rows, *rows[:, None]):
        np.testing.assert_array_equal(novelty.score(table), defined(table))
        np.testing.assert_array_equal(again.score(table), novelty.score(table))


def test_strange_embeddings_score_higher_and_known_ones_seldom_alarm() -> None:
    novelty, known = fitted(), embeddings(2000, 3)
    strange = known + 0.5 * np.random.default_rng(4).normal(size=known.shape)
    assert novelty.is_novel(strange).mean() > 0.95
    low, high = false_alarms(novelty)
    assert low <= novelty.is_novel(known).mean() <= high
    separation = auc(novelty.score(known), novelty.score(strange))
    assert separation is not None and separation > 0.99


@pytest.mark.parametrize(("n", "above"), [(200, 1), (99, 0), (100, 0), (98, 0), (1, 0), (328, 2)])
def test_the_rank_of_the_threshold(n: int, above: int) -> None:
    # ceil((n + 1) * 0.99) of n, at most n: 199 of 200, 99 of 99, 100 of 100.
    novelty = fit_novelty(embeddings(300, 0), embeddings(n, 1), components=6)
    assert (novelty.n_above, novelty.n_known) == (above, n)
    scores = np.sort(novelty.score(embeddings(n, 1)))
    assert novelty.threshold == pytest.approx(scores[n - 1 - above], rel=2e-4)
    assert novelty.threshold > scores[n - 1 - above]  # room for the last digits


def test_the_false_alarm_rate_holds_on_average() -> None:
    fresh, train = embeddings(4000, 50), embeddings(300, 0)
    rates = [
        fit_novelty(train, embeddings(60, 100 + seed), components=6, false_alarm=0.1)
        .is_novel(fresh)
        .mean()
        for seed in range(60)
    ]
    # Conformal: at most 0.1, at least 0.1 - 1 / 61; the mean of 60 has a deviation of 0.005.
    assert 0.1 - 1 / 61 - 0.02 < np.mean(rates) < 0.12


def test_a_plant_whose_items_look_strange_gets_its_own_threshold() -> None:
    novelty = fitted()
    shift = 0.3 * np.random.default_rng(4).normal(size=WIDTH)
    plant, fresh = embeddings(400, 8) + shift, embeddings(2000, 9) + shift
    assert novelty.is_novel(fresh).mean() > 0.5
    moved = refit_threshold(novelty, novelty.score(plant))
    assert moved.n_known == 400 and moved.n_fit == novelty.n_fit
    assert moved.is_novel(fresh).mean() < 0.025
    low, high = false_alarms(moved)
    assert low <= moved.is_novel(fresh).mean() <= high
    np.testing.assert_array_equal(moved.score(fresh), novelty.score(fresh))
    assert Novelty.from_card(moved.to_card()).threshold == moved.threshold


@pytest.mark.parametrize(("n", "lowered"), [(98, False), (99, True)])
def test_few_photos_may_raise_the_threshold_and_not_lower_it(n: int, lowered: bool) -> None:
    novelty = fitted()
    calm = np.linspace(0.1, 0.5, n) * novelty.threshold
    moved = refit_threshold(novelty, calm)
    assert (moved.threshold < novelty.threshold) is lowered
    assert lowered or moved is novelty
    calm[3] = 2 * novelty.threshold
    moved = refit_threshold(novelty, calm)
    assert moved.threshold == pytest.approx(2 * novelty.threshold, rel=1e-3)
    assert (moved.n_known, moved.n_above) == (n, 0)
    with pytest.raises(DatasetError, match="no photo"):
        refit_threshold(novelty, calm[:0])


def test_a_card_gives_equal_scores() -> None:
    novelty = fitted()
    text = novelty.to_card().model_dump_json()
    again = Novelty.from_card(NoveltyCard.model_validate_json(text))
    asked = embeddings(50, 2)
    np.testing.assert_array_equal(again.score(asked), novelty.score(asked))
    assert again.threshold == novelty.threshold
    assert again.to_card() == novelty.to_card()


@pytest.mark.parametrize(("width", "components"), [(512, 64), (1280, 64), (2048, 48)])
def test_a_card_of_every_backbone_is_small(width: int, components: int) -> None:
    rows = np.random.default_rng(0).normal(size=(200, width)).astype(np.float32)
    card = fit_novelty(rows, rows[:20]).to_card()
    assert card.components == components
    assert len(card.model_dump_json()) < 300_000


def altered(**values: Any) -> dict[str, Any]:
    return {**fitted().to_card().model_dump(), **values}


def packed(array: np.ndarray, kind: str) -> str:
    return base64.b64encode(array.astype(kind).tobytes()).decode()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"basis": "%%%"}, "'basis' is not base64"),
        ({"mean": "AAAA"}, "'mean' holds 3 bytes, expected 160"),
        ({"mean": packed(np.full(WIDTH, np.nan), "<f4")}, "'mean' holds a value that is not"),
        ({"basis": packed(np.full((6, WIDTH), np.inf), "<f2")}, "'basis' holds a value"),
        ({"basis": packed(np.zeros((6, WIDTH)), "<f2")}, "not orthonormal"),
        ({"basis": "A" * 400_000}, "at most 300000"),
        ({"components": WIDTH}, "too many"),
        ({"width": 90_000, "components": 2}, "too many"),
        ({"threshold": float("nan")}, "finite"),
        ({"shortest": 0.0}, "greater than 0"),
        ({"n_above": 200}, "all known photos"),
        ({"method": "magic"}, "residual over root of length"),
        ({"extra": 1}, "Extra inputs"),
    ],
)
def test_a_damaged_card_is_refused(values: dict[str, Any], message: str) -> None:
    assert NoveltyCard.model_validate(altered())
    with pytest.raises(ValidationError, match=message):
        NoveltyCard.model_validate(altered(**values))


def test_an_embedding_of_zeros_has_a_finite_score() -> None:
    score = fitted().score(np.zeros((1, WIDTH)))
    assert np.isfinite(score).all() and score[0] > 1
    assert fitted().score(np.zeros((0, WIDTH))).shape == (0,)


def test_photos_that_are_all_alike() -> None:
    """Nothing varies: any direction will do, and whatever differs is novel."""
    novelty = fit_novelty(np.ones((20, WIDTH)), np.ones((5, WIDTH)))
    assert NoveltyCard.model_validate(novelty.to_card().model_dump())
    assert novelty.is_novel(np.ones((1, WIDTH)) * 1.0).tolist() == [False]
    assert novelty.is_novel(np.arange(WIDTH)[None] * 1.0).tolist() == [True]


def test_arrays_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="read-only"):
        fitted().mean[0] = 1


def test_bad_input_is_named() -> None:
    train, known = embeddings(20, 0), embeddings(5, 1)
    with pytest.raises(DatasetError, match=r"at least 10 training photos.*got 9 and 5"):
        fit_novelty(train[:9], known)
    with pytest.raises(DatasetError, match="got 20 and 0"):
        fit_novelty(train, known[:0])
    with pytest.raises(ModelError, match=r"expected embeddings \(N, 40\), got shape \(5, 39\)"):
        fit_novelty(train, known[:, 1:])
    with pytest.raises(ModelError, match="not a number"):
        fit_novelty(train, np.where(known > 2, np.nan, known))
    with pytest.raises(ModelError, match=r"D at least 2, got shape \(7,\)"):
        fit_novelty(np.zeros(7), known)
    with pytest.raises(ModelError, match="of another model"):
        fitted().score(np.zeros((2, 3)))
    with pytest.raises(ConfigError, match="false alarm rate"):
        fit_novelty(train, known, false_alarm=0)
    with pytest.raises(ConfigError, match="at least one component"):
        fit_novelty(train, known, components=0)


def test_auc_agrees_with_sklearn() -> None:
    generator = np.random.default_rng(0)
    known, unknown = generator.integers(0, 9, 60), generator.integers(3, 12, 45)  # many ties
    expected = roc_auc_score(np.repeat([0, 1], [60, 45]), np.concatenate([known, unknown]))
    assert auc(known.astype(float), unknown.astype(float)) == pytest.approx(expected)
    assert auc(np.zeros(0), np.zeros(3)) is None


def test_satellite_tiles_are_told_from_waste(data_dir: Path, trashnet: Path) -> None:
    """The packaged model, few photos: the study has the figures."""
    model = beltsight.load(threads=1)
    dataset = beltsight.load_dataset(trashnet)

    def embed(paths: list[Path]) -> np.ndarray:
        outputs = model.stream_outputs(paths, ["embedding"])
        return np.array([found["embedding"] for _, found in outputs if isinstance(found, dict)])

    train, known = (
        embed([sample.path for sample in dataset.select(split).samples[::step]])
        for split, step in (("train", 12), ("val", 5))
    )
    tiles = embed(sorted((data_dir / "super-resolution" / "eurosat").rglob("*.jpg"))[::20])
    novelty = fit_novelty(train, known)
    separation = auc(novelty.score(known), novelty.score(tiles))
    assert len(tiles) == 30
    assert separation is not None and separation > 0.9
