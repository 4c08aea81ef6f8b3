from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmarks.fuse_views import best_dependence, with_dependence
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny import paint, tiny_card, write_tiny

from beltsight.errors import LineError
from beltsight.line.fuse import DEPENDENCE, fuse, fuse_probabilities
from beltsight.model import Model
from beltsight.novelty import fit_novelty
from beltsight.records import Answer, Prediction


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """One that accepts any answer."""
    return Model.load(write_tiny(tmp_path_factory.mktemp("model") / "t.onnx"))


def view(*probabilities: float, **parts: object) -> Prediction:
    table = dict(zip(("can", "cup", "jar"), probabilities, strict=False))
    best = max(table, key=lambda name: table[name])
    tasks = {"material": Answer(best, table[best], table)}
    return Prediction(None, tasks, **parts)  # type: ignore[arg-type]


def test_two_views_by_hand(model: Model) -> None:
    # Odds 8 and 2 of the first class: together their geometric mean, 4.
    fused = fuse([view(8 / 9, 1 / 9), view(2 / 3, 1 / 3)], model)
    answer = fused.tasks["material"]
    assert answer.label == "can"
    assert answer.confidence == pytest.approx(0.8)
    # Independent views, by the benchmark's rule: the product, 16.
    logs = np.log([[[8 / 9, 1 / 9], [2 / 3, 1 / 3]]])
    assert np.exp(with_dependence(0)(logs))[0, 0] == pytest.approx(16 / 17)


@given(rows=st.integers(1, 6), seed=st.integers(0, 999))
def test_fused_probabilities_are_probabilities(rows: int, seed: int) -> None:
    drawn = np.random.default_rng(seed).dirichlet([0.3] * 4, rows)
    fused = fuse_probabilities(drawn)
    assert fused.sum() == pytest.approx(1)
    assert (fused >= 0).all()
    # The rule as the benchmark writes it, which chose the dependence.
    logs = np.log(np.maximum(drawn, 1e-9))[None]
    assert fused == pytest.approx(np.exp(with_dependence(DEPENDENCE)(logs))[0], abs=1e-9)


def test_alike_views_make_no_answer_surer(model: Model) -> None:
    alike = [view(0.7, 0.2, 0.1)] * 5
    assert dict(fuse(alike, model).tasks["material"].probabilities) == pytest.approx(
        {"can": 0.7, "cup": 0.2, "jar": 0.1}
    )


def test_the_order_of_views_is_nothing(model: Model) -> None:
    views = [view(0.7, 0.2, 0.1), view(0.1, 0.8, 0.1), view(0.3, 0.3, 0.4)]
    one, other = fuse(views, model), fuse(views[::-1], model)
    assert dict(one.tasks["material"].probabilities) == pytest.approx(
        dict(other.tasks["material"].probabilities)
    )


def test_a_certain_zero_forbids_no_class_for_good(model: Model) -> None:
    fused = fuse([view(0.0, 1.0), view(1.0, 0.0), view(1.0, 0.0)], model)
    assert fused.tasks["material"].label == "can"
    assert 0.99 < fused.tasks["material"].confidence < 1


def test_one_view_comes_back_as_it_is(model: Model) -> None:
    one = view(0.6, 0.4, novelty=2.0)
    assert fuse([one], model) is one
    broken = Prediction(None, error="truncated")
    assert fuse([broken, one], model) is one
    assert fuse([broken], model) is broken


def test_embeddings_and_novelty(tmp_path: Path) -> None:
    table = np.random.default_rng(0).normal(size=(60, 3))
    known = replace(fit_novelty(table[:30], table[30:], components=1), threshold=2.5)
    model = Model.load(write_tiny(tmp_path / "n.onnx", tiny_card(novelty=known.to_card())))
    views = [
        view(0.6, 0.4, embedding=np.full(3, x, np.float32), novelty=float(x)) for x in (1, 2, 9)
    ]
    fused = fuse(views, model)
    assert fused.embedding is not None
    assert fused.embedding.tolist() == [4, 4, 4]
    assert (fused.novelty, fused.novel, fused.abstain, fused.why) == (2.0, False, False, None)
    assert dict(fused.maps) == {}
    strange = fuse(views[1:], model)
    assert (strange.novelty, strange.novel, strange.abstain) == (5.5, True, True)
    assert strange.why == "unlike anything seen: novelty 5.5, known to 2.5"
    unscored = fuse([view(0.6, 0.4)] * 2, model)
    assert (unscored.novelty, unscored.novel, unscored.abstain) == (None, None, None)


def with_threshold(path: Path, threshold: float) -> Model:
    card = tiny_card()
    sure = card.tasks[0].model_copy(update={"threshold": threshold})
    return Model.load(write_tiny(path, card.model_copy(update={"tasks": (sure,)})))


def test_a_confidence_that_is_no_number_is_not_accepted(tmp_path: Path) -> None:
    model = with_threshold(tmp_path / "t.onnx", 0.5)
    nothing = fuse([view(float("nan"), 0.4)] * 2, model)
    assert nothing.abstain is True
    assert nothing.why == "unsure of material: can at nan, accepted from 0.500"


def test_the_model_s_threshold_judges_the_fused_answer(tmp_path: Path) -> None:
    model = with_threshold(tmp_path / "t.onnx", 0.9)
    clear, unclear = model.predict([paint((230, 20, 20)), paint((130, 120, 125))])
    assert (clear.abstain, unclear.abstain) == (False, True)
    both = fuse([clear, unclear], model)
    assert both.abstain is (both.tasks["material"].confidence < 0.9)
    again = fuse([unclear, unclear], model)
    assert again.abstain is True
    assert again.why == unclear.why
    assert fuse([clear, clear], model).why is None
    assert again.engine == unclear.engine


def test_dependence_is_found_where_it_is_known() -> None:
    """Views drawn from their own probabilities are independent; a view repeated is not."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 4000)
    logits = rng.normal(0, 1, (4000, 3, 3))
    logits[np.arange(4000), :, labels] += 1.0  # of each view: calibrated, since the logits
    logs = logits - np.log(
        np.exp(logits).sum(axis=2, keepdims=True)
    )  # are normal with one variance
    assert best_dependence(logs, labels) < 0.1
    repeated = np.repeat(logs[:, :1], 3, axis=1)
    assert best_dependence(repeated, labels) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    ("views", "says"),
    [
        ([], "at least one"),
        ([view(0.5, 0.5), view(0.5, 0.2, 0.3)], "same classes"),
        ([view(0.5, 0.5), Prediction(None, {"dirt": Answer("none", 1.0, {"none": 1.0})})], "tasks"),
    ],
)
def test_views_that_do_not_fit_are_refused(
    views: list[Prediction], says: str, model: Model
) -> None:
    with pytest.raises(LineError, match=says):
        fuse(views, model)
