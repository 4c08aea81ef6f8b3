"""Correction by clusters, on embeddings made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from studies.clusters.correction import (
    Answers,
    Clustering,
    Setting,
    all_settings,
    choose,
    cluster_shares,
    correct,
    folded,
    nested,
    right_by_setting,
)
from studies.clusters.run import SETTINGS, paired, results_text, study_one

SOFT = Setting("soft", "train", 2, weight=0.5)


def two_heaps(n: int, flipped: int, seed: int = 0) -> Answers:
    """Two tight heaps of n photos each, one per class; the first ``flipped`` of each are unsure
    and answered wrong, the others sure and right."""
    rng = np.random.default_rng(seed)
    heaps = [rng.normal(centre, 0.01, (n, 2)) for centre in ((1.0, 0.0), (0.0, 1.0))]
    labels = np.repeat([0, 1], n)
    sure = np.tile(np.arange(n) >= flipped, 2)
    of_truth = np.where(sure, 0.9, 0.4)
    probabilities = np.empty((2 * n, 2))
    probabilities[np.arange(2 * n), labels] = of_truth
    probabilities[np.arange(2 * n), 1 - labels] = 1 - of_truth
    return Answers(np.concatenate(heaps), probabilities, labels)


def test_shares_by_hand() -> None:
    # Three photos of class 0 and one of class 2 in cluster 1; two of class 1 in cluster 0.
    clusters, labels = np.array([1, 1, 1, 1, 0, 0]), np.array([0, 0, 0, 2, 1, 1])
    shares = cluster_shares(clusters, labels, (3, 3))
    usual = np.array([3, 2, 1]) / 6
    assert shares[1] == pytest.approx((np.array([3, 0, 1]) + usual) / 5)
    assert shares[0] == pytest.approx((np.array([0, 2, 0]) + usual) / 3)
    assert shares[2] == pytest.approx(usual)  # an empty cluster knows what is usual


def test_soft_and_hard_by_hand() -> None:
    probabilities = np.array([[0.55, 0.45], [0.55, 0.45], [0.95, 0.05]])
    shares = np.array([[0.2, 0.8], [0.45, 0.55], [0.2, 0.8]])
    # 0.8 x 0.55 + 0.2 x 0.2 = 0.48; 0.8 x 0.55 + 0.2 x 0.45 = 0.53.
    assert correct(probabilities, shares, Setting("soft", weight=0.2)).tolist() == [1, 0, 0]
    assert correct(probabilities, shares, Setting("soft", weight=1.0)).tolist() == [1, 1, 1]
    assert correct(probabilities, shares, Setting("soft", weight=0.0)).tolist() == [0, 0, 0]
    hard = [Setting("hard", below=b, majority=m) for b, m in ((0.6, 0.7), (0.6, 0.5), (0.5, 0.5))]
    found = [correct(probabilities, shares, setting).tolist() for setting in hard]
    assert found == [[1, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert correct(probabilities, shares, Setting()).tolist() == [0, 0, 0]


def test_the_grid_starts_with_leaving_the_answers() -> None:
    settings = all_settings((2, 3), (0.1,), (0.5, 0.6), (0.8,))
    assert settings[0].kind == "none" and len(settings) == len(set(settings)) == 1 + 2 * 2 * 3
    assert len(SETTINGS) == 191  # as the README says


@pytest.mark.parametrize("fit_on", ["train", "val"])
def test_clusters_mend_what_they_know(fit_on: str) -> None:
    val = two_heaps(20, flipped=3)
    clustering = Clustering(two_heaps(30, flipped=0, seed=1))
    soft = Setting("soft", "train" if fit_on == "train" else "val", 2, weight=0.5)
    right = folded(clustering, [Setting(), soft], val, seed=0)
    assert right[0].sum() == 34 and right[1].all()
    assert choose(clustering, [Setting(), soft], val, seed=0) == soft
    mended, chosen = nested(clustering, [Setting(), soft], val, seed=0)
    assert mended.all() and chosen == [soft] * 5


def test_clusters_that_mislead_are_not_chosen() -> None:
    val, train = two_heaps(20, flipped=3), two_heaps(30, flipped=0, seed=1)
    wrong = Clustering(Answers(train.embeddings, train.probabilities, 1 - train.labels))
    assert folded(wrong, [SOFT], val, seed=0)[0].sum() == 0
    right, chosen = nested(wrong, [Setting(), SOFT], val, seed=0)
    assert right.sum() == 34 and {setting.kind for setting in chosen} == {"none"}


def test_labels_of_the_photos_asked_for_are_not_looked_at() -> None:
    """Clusters of validation: a photo's own label must not lead its answer."""
    val = two_heaps(20, flipped=3)
    alone = Answers(np.eye(40) + 1e-3, val.probabilities, val.labels)
    one_each = Setting("soft", "val", 40, weight=0.99)
    clustering = Clustering(alone)
    seen = right_by_setting(clustering, [one_each], alone, alone)
    assert seen.all()  # a cluster for each photo that holds it
    assert folded(clustering, [one_each], alone, seed=0)[0].mean() < 0.9


def test_won_and_lost() -> None:
    before = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0], bool)
    after = np.array([0, 1, 1, 1, 1, 1, 1, 1, 1], bool)
    found = paired(after, before)
    assert (found["won"], found["lost"], found["right"], found["right_corrected"]) == (6, 1, 3, 8)
    assert found["mcnemar_p"] == pytest.approx(2 * (1 + 7) / 2**7)
    assert found["difference"] == pytest.approx(5 / 9)


def test_a_study_of_hand_made_answers_and_its_table() -> None:
    helped = study_one(two_heaps(60, flipped=0, seed=1), two_heaps(100, flipped=10), divisions=2)
    assert (helped["won"], helped["lost"], helped["helps"]) == (20, 0, True)
    assert helped["gains_over_divisions"] == [20, 20]
    useless = study_one(two_heaps(60, flipped=0, seed=1), two_heaps(100, flipped=0), divisions=2)
    assert (useless["won"], useless["lost"], useless["helps"]) == (0, 0, False)
    assert useless["best_in_hindsight"] == {"kind": "none", "won": 0, "lost": 0}
    lines = results_text({"a": useless, "packaged": helped}).splitlines()
    assert lines[2].startswith("| packaged | 90.0 % | 100.0 % | 20 : 0 |")
    assert lines[3].startswith("| a | 100.0 % | 100.0 % | 0 : 0 | 1 |") and "| no |" in lines[3]
