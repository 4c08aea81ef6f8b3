from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from tests.store.making import MODEL, NOON, command, decision

from beltsight.decide import bind
from beltsight.errors import ConfigError
from beltsight.model import DEFAULT_MODEL, Model
from beltsight.policy import load_policy
from beltsight.records import TaskSpec
from beltsight.store import (
    AnswerCounts,
    Confusion,
    Estimate,
    LogReader,
    Span,
    confusion_of,
    count_answers,
    late_share,
    latency,
    open_log,
    open_store,
    policy_targets,
    stream_figures,
    throughput,
    usual_targets,
)

SHORT = MODEL[:16]
PERFECT = Confusion(("glass", "metal"), np.array([[10**9, 0], [0, 10**9]]))
HALF = Confusion(("glass", "metal"), np.array([[90, 10], [20, 80]]))
APART = {"left": frozenset(["glass"]), "right": frozenset(["metal"])}


def counted(**counts: int) -> AnswerCounts:
    """``glass_left=3`` -> 3 items answered glass and sent left."""
    found = {(SHORT, *name.split("_")): n for name, n in counts.items()}
    return AnswerCounts(found)  # type: ignore[arg-type]


def test_figures_by_hand() -> None:
    """52 glass and 48 metal answered: 45.7 glass in truth, of which a tenth went right."""
    found = stream_figures(counted(glass_left=52, metal_right=48), {MODEL: HALF}, APART)
    glass = (0.52 - 0.2) / 0.7
    assert found.corrected
    assert found.composition["glass"].value == pytest.approx(glass)
    left, right = found.routes
    assert (left.route, left.items, right.items) == ("left", 52, 48)
    assert left.purity.value == pytest.approx(0.9 * glass / 0.52)
    assert left.recovery.value == pytest.approx(0.9)
    assert right.recovery.value == pytest.approx(0.8)
    assert found.right.value == pytest.approx(0.9 * glass + 0.8 * (1 - glass))


def test_what_is_held_back_lowers_recovery_and_not_purity() -> None:
    answers = counted(glass_left=26, **{"glass_hand-sort": 26}, metal_right=48)
    found = stream_figures(answers, {MODEL: PERFECT}, APART)
    by_name = {one.route: one for one in found.routes}
    assert by_name["left"].purity.value == pytest.approx(1.0, abs=1e-6)
    assert by_name["left"].recovery.value == pytest.approx(0.5, abs=1e-6)
    assert by_name["hand-sort"].purity == Estimate(None)


def test_without_a_matrix_it_is_uncorrected_and_said_so() -> None:
    answers = AnswerCounts({(SHORT, "glass", "left"): 3, ("", "metal", "right"): 1}, unanswered=2)
    found = stream_figures(answers, {MODEL: "the model's card has no confusion matrix"})
    assert not found.corrected
    assert [note.split(" are uncorrected")[0] for note in found.notes] == [
        "1 items of model without a hash", f"3 items of model {SHORT}",
    ]  # fmt: skip
    assert found.notes[1].endswith("the model's card has no confusion matrix")
    assert found.notes[0].endswith("its card was not given")
    assert found.composition["glass"].value == pytest.approx(0.75)
    assert (found.items, found.unanswered) == (4, 2)


def test_two_models_are_each_corrected_by_their_own() -> None:
    answers = AnswerCounts({("a" * 16, "glass", "left"): 52, ("a" * 16, "metal", "right"): 48,
                       ("b" * 16, "glass", "left"): 300})  # fmt: skip
    found = stream_figures(answers, {"a" * 64: HALF, "b" * 64: PERFECT}, APART)
    expected = (100 * (0.52 - 0.2) / 0.7 + 300) / 400
    assert found.corrected
    assert found.composition["glass"].value == pytest.approx(expected, abs=1e-6)


def test_other_classes_than_the_card_s_are_not_corrected() -> None:
    found = stream_figures(counted(paper_left=5), {MODEL: HALF})
    assert not found.corrected
    assert "other classes" in found.notes[0]


def test_of_nothing_there_are_no_figures() -> None:
    found = stream_figures(AnswerCounts({}), {MODEL: HALF}, APART)
    assert (found.items, found.composition, found.right) == (0, {}, Estimate(None))
    assert [one.purity for one in found.routes] == [Estimate(None)] * 2


def test_few_photos_of_the_card_make_wide_intervals() -> None:
    answers = counted(glass_left=52_000, metal_right=48_000)
    wide = stream_figures(answers, {MODEL: HALF}, APART).composition["glass"]
    many = Confusion(HALF.classes, HALF.counts * 100)
    close = stream_figures(answers, {MODEL: many}, APART).composition["glass"]
    plain = stream_figures(answers, {}, APART).composition["glass"]
    assert plain == Estimate(0.52)
    widths = [e.high - e.low for e in (wide, close)]  # type: ignore[operator]
    assert widths[0] > 5 * widths[1]
    # By the delta method: sqrt(sum of the rates' variances, weighted by shares) / 0.7, x 3.92.
    glass = (0.52 - 0.2) / 0.7
    spread = np.sqrt((glass**2 * 0.09 + (1 - glass) ** 2 * 0.16) / 100) / 0.7
    assert widths[0] == pytest.approx(2 * 1.96 * spread, rel=0.15)


def test_95_percent_intervals_hold_the_truth_so_often() -> None:
    """60 simulated plants with matrices of 40 photos per class."""
    rng = np.random.default_rng(3)
    classes = ("a", "b", "c")
    rates = np.array([[0.94, 0.03, 0.03], [0.1, 0.8, 0.1], [0.02, 0.04, 0.94]])
    targets = {name: frozenset([name]) for name in classes}
    held = {"share": 0, "purity": 0, "recovery": 0}
    plants = 60
    for plant in range(plants):
        matrix = Confusion(classes, np.array([rng.multinomial(40, row) for row in rates]))
        pairs = zip((900, 500, 100), rates, strict=True)
        table = np.array([rng.multinomial(n, row) for n, row in pairs])
        answered = zip(classes, table.sum(axis=0).tolist(), strict=True)
        answers = counted(**{f"{name}_{name}": n for name, n in answered})
        found = stream_figures(answers, {MODEL: matrix}, targets, seed=plant, draws=300)
        for i, name in enumerate(classes):
            route = next(one for one in found.routes if one.route == name)
            for kind, estimate, truth in (
                ("share", found.composition[name], table[i].sum() / 1500),
                ("purity", route.purity, table[i, i] / table[:, i].sum()),
                ("recovery", route.recovery, table[i, i] / table[i].sum()),
            ):
                assert estimate.low is not None
                assert estimate.high is not None
                held[kind] += estimate.low <= truth <= estimate.high
    print(held)
    assert all(0.88 * 3 * plants <= n for n in held.values())


def test_few_draws_of_few_items_give_an_estimate_without_an_interval() -> None:
    """As a shift's do: of two draws, none may have had an item of a class that is hardly there."""
    known = confusion_of(Model.load(DEFAULT_MODEL, verify=False).card)
    assert isinstance(known, Confusion)
    bare = 0
    for label, other, items in itertools.product(known.classes, known.classes, (3, 5)):
        answers = counted(**{f"{label}_left": items, f"{other}_right": 1})
        found = stream_figures(answers, {MODEL: known}, draws=2)
        shares = [*found.composition.values(), *(one.recovery for one in found.routes)]
        bare += sum(one.value is not None and one.low is None for one in shares)
        assert found.right.value is not None
    assert bare > 0


def test_few_items_of_a_well_known_model_have_wide_intervals_of_purity() -> None:
    """Of 10 items with one answer, 9 expected to be right, 7 to 10 may be (binomial)."""
    known = Confusion(("glass", "metal"), np.array([[90_000, 10_000], [10_000, 90_000]]))
    found = stream_figures(counted(glass_left=10, metal_right=10), {MODEL: known}, APART)
    purity = found.routes[0].purity
    assert purity.value == pytest.approx(0.9)
    assert purity.low == pytest.approx(0.7, abs=0.11)
    assert purity.high == 1.0


def test_targets_by_what_mostly_happened() -> None:
    answers = counted(glass_left=5, glass_right=6, **{"glass_hand-sort": 50}, metal_right=1)
    assert usual_targets(answers) == {"right": {"glass", "metal"}}


def test_targets_by_a_policy() -> None:
    levels = TaskSpec("contamination", ("clean", "partly", "heavily"))
    decider = bind(load_policy(), [TaskSpec("material", ("glass", "paper")), levels])
    found = policy_targets(decider)
    assert found["glass"] == {"glass"}
    assert found["wash"] == {"glass"}
    assert found["paper"] == found["residual"] == {"paper"}
    assumed = load_policy().model_copy(update={"without_contamination": "clean"})
    blind = policy_targets(bind(assumed, [TaskSpec("material", ("glass", "paper"))]))
    assert blind == {"glass": {"glass"}, "paper": {"paper"}}


@pytest.fixture
def reader(tmp_path: Path) -> LogReader:
    """100 decisions, one a second, of 1 to 100 ms; the metal comes in the last 20 s."""
    with open_store(tmp_path / "a.db", "north") as store:
        for item in range(100):
            label = "glass" if item < 80 else "metal"
            store.append([decision(item, latency_ms=item + 1.0, label=label, route=label)])
        store.append([decision(100, label=None, confidence=None, route="hand-sort")])
        # Twice told of, and once by another run.
        for item, run in ((5, "run-1"), (5, "run-1"), (5, "run-0"), (7, "run-1")):
            store.append([command(item, outcome="late", run_id=run)])
    return open_log(tmp_path / "a.db")


def test_answers_are_counted(reader: LogReader) -> None:
    found = count_answers(reader)
    assert found.counts == {(SHORT, "glass", "glass"): 80, (SHORT, "metal", "metal"): 20}
    assert (found.items, found.unanswered) == (100, 1)
    assert count_answers(reader, Span(NOON + 90, NOON + 95)).counts == {
        (SHORT, "metal", "metal"): 5
    }


def test_throughput_by_pieces_of_time(reader: LogReader) -> None:
    found = throughput(reader, bucket_s=50)
    assert [(b.start_s - NOON, b.items, b.items_s) for b in found] == [
        (0, 50, 1.0), (50, 50, 1.0), (100, 1, 0.02),
    ]  # fmt: skip
    assert found[1].routes == {"glass": 30, "metal": 20}
    assert throughput(reader, Span(NOON + 1000)) == ()
    total = itertools.accumulate(b.items for b in throughput(reader, bucket_s=7))
    assert list(total)[-1] == 101
    with pytest.raises(ConfigError, match="longer pieces"):
        throughput(reader, bucket_s=0.001)
    # A line that ran for 100 s had 1.01 items a second, however long the piece.
    assert [(b.items, b.items_s) for b in throughput(reader, bucket_s=3e8)] == [(101, 1.01)]
    for wrong in (math.inf, -math.inf, math.nan, 1e300, 4e8):
        with pytest.raises(ConfigError, match="a millisecond to ten years"):
            throughput(reader, bucket_s=wrong)


def test_pieces_without_items_are_there(tmp_path: Path) -> None:
    with open_store(tmp_path / "a.db", "north") as store:
        store.append([decision(1), decision(35)])
    assert [b.items for b in throughput(open_log(tmp_path / "a.db"), bucket_s=10)] == [1, 0, 0, 1]


def test_latency_percentiles_are_those_of_items(reader: LogReader) -> None:
    found = latency(reader, Span(None, NOON + 100), (1, 50, 95, 99, 100))
    assert found.percentiles == {1: 1.0, 50: 50.0, 95: 95.0, 99: 99.0, 100: 100.0}
    assert (found.items, found.most) == (100, 100.0)
    assert latency(reader, Span(NOON + 1e6)).percentiles == {50: None, 95: None, 99: None}


def test_an_item_is_late_once(reader: LogReader) -> None:
    found = late_share(reader)
    assert (found.late, found.items) == (3, 101)  # an item of another run is another item
    assert found.share.value == pytest.approx(3 / 101)
    assert late_share(reader, Span(NOON + 1e6)).share == Estimate(None)


def test_a_lone_item_at_a_border_is_no_rate(tmp_path: Path) -> None:
    with open_store(tmp_path / "a.db", "north") as store:
        store.append([decision(0), decision(1), decision(10, wall_s=NOON + 10.001)])
        store.append([decision(11, wall_s=NOON + 20.001), decision(12, wall_s=NOON + 22.001)])
    found = throughput(open_log(tmp_path / "a.db"), bucket_s=10)
    assert [b.items_s for b in found] == [0.2, 0.1, pytest.approx(2 / 2.001)]
    alone = throughput(open_log(tmp_path / "a.db"), Span(None, NOON + 20), bucket_s=10)
    assert alone[-1].items_s == 0.1


def test_draws_in_blocks_are_those_of_one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = counted(glass_left=52, glass_right=3, metal_right=48)
    whole = stream_figures(answers, {MODEL: HALF}, APART, draws=50)
    monkeypatch.setattr("beltsight.store.stream._MOST_CELLS", 7 * 8 + 1)
    assert stream_figures(answers, {MODEL: HALF}, APART, draws=50) == whole
