"""Scores of a small belt that can be counted by hand; truth over many turns."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.plant import plant_values

from beltsight.line.simulate import Counted, Shot, TrueItem, Truth, score
from beltsight.line.simulate.score import match
from beltsight.policy import Policy, load_policy

POLICY = Policy.model_validate(plant_values())


def item(number: int, s_mm: float, lateral_mm: float = 100.0, **labels: str) -> TrueItem:
    given = {"material": "glass", "contamination": "clean", **labels}
    return TrueItem(number, s_mm, lateral_mm, 80.0, 60.0, 90.0, 50.0, given)


def seen(number: int, s_mm: float, lateral_mm: float = 100.0, material: str = "glass",
         route: str | None = None, on_time: bool = True) -> Counted:  # fmt: skip
    return Counted(number, s_mm, lateral_mm, material, route, on_time)


def test_found_missed_double_and_false() -> None:
    truth = [item(0, 100), item(1, 300), item(2, 500), item(3, 700)]
    counted = [
        seen(10, 103),  # found
        seen(11, 302), seen(12, 330),  # found twice
        seen(13, 505, material="paper"),  # found, wrong material
        seen(14, 1000), seen(15, 100, lateral_mm=400),  # nothing there
    ]  # fmt: skip
    result = score(truth, counted)
    tally = result.all
    assert (tally.items, tally.found, tally.once) == (4, 3, 2)
    assert (result.doubles, result.false, result.missed) == (1, 2, (3,))
    assert (tally.answered, tally.right_material) == (3, 2)
    assert result.offset_mm == pytest.approx(3)
    assert result.position_error_mm["p100"] == pytest.approx(2)


def test_an_item_and_its_count_may_lie_on_both_sides_of_the_cut() -> None:
    truth = [item(0, 300), item(1, 999.5), item(2, 1400.2), item(3, 1800)]
    counted = [seen(10, 301), seen(11, 1000.3), seen(12, 1399.9), seen(13, 2500)]
    near = score(truth, counted, passed_mm=1000.0)
    assert (near.all.items, near.all.found, near.missed, near.false) == (2, 2, (), 0)
    far = score(truth, counted, passed_mm=1400.0)
    assert (far.all.items, far.all.found, far.missed, far.false) == (2, 2, (), 0)
    whole = score(truth, counted)
    assert (whole.all.items, whole.missed, whole.false) == (4, (3,), 1)


def test_two_items_beside_each_other_are_each_matched_once() -> None:
    truth = [item(0, 100, 100), item(1, 140, 150)]
    counted = [seen(1, 138, 148), seen(0, 104, 103)]
    matched, false = match(truth, counted)
    assert [[one.item_id for one in pair.counted] for pair in matched] == [[0], [1]]
    assert false == []


def test_one_count_for_two_that_touch_leaves_one_missed() -> None:
    one = replace(item(0, 100), contact="touching", other=1)
    two = replace(item(1, 170), contact="touching", other=0)
    result = score([one, two, item(2, 500)], [seen(0, 134), seen(1, 500)])
    assert (result.touching.items, result.touching.found) == (2, 1)
    assert (result.free.items, result.free.once) == (1, 1)


def test_bins_by_the_decision_and_by_the_truth() -> None:
    truth = [
        item(0, 100), item(1, 300, material="paper"), item(2, 500, material="plastic"),
        item(3, 700),
    ]  # fmt: skip
    right = {one.item_id: route for one, route in zip(truth, _routes(truth), strict=True)}
    assert len(set(right.values())) > 1
    bin_of = {right[0]: "jet"}
    bins = {0: "jet", 1: "pass", 2: "jet", 3: "pass"}
    counted = [
        seen(0, 100, route=right[0]), seen(1, 300, route=right[0]),
        seen(2, 500, route=right[2]), seen(3, 700, route=right[0], on_time=False),
    ]  # fmt: skip
    result = score(truth, counted, bins, POLICY, bin_of=bin_of)
    assert (result.all.decided, result.all.on_time) == (4, 3)
    # 0 went where it was sent; 1 was sent to the jet and passed; 3 was late.
    expected = 1 + (right[2] == right[0])
    assert result.all.as_decided == expected
    judged = {n: bin_of.get(right[n], "pass") == bins[n] for n in right}
    assert (result.all.binned, result.all.right_bin) == (4, sum(judged.values()))
    assert result.by_class["glass"].items == 2


def _routes(truth: list[TrueItem]) -> list[str]:
    """By the rules of the plant, read here on their own: the first that names the material."""
    routes = []
    for one in truth:
        for rule in POLICY.rules:
            fits = {*rule.material} & {one.labels["material"], "*"}
            clean = {*rule.contamination} & {"clean", "*"} and {*rule.dirt} & {"none", "*"}
            if fits and clean:
                routes.append(rule.route)
                break
    return routes


def test_the_packaged_policy_judges_dirty_items() -> None:
    clean = item(0, 100, material="paper")
    dirty = item(1, 300, material="paper", contamination="heavily", dirt="organic")
    stated = {0: "fibre", 1: "fibre"}
    result = score([clean, dirty], [], stated, load_policy(), bin_of={"paper": "fibre"})
    assert (result.all.binned, result.all.right_bin) == (2, 1)


def test_shots_are_counted_by_what_they_hit_and_their_errors_by_size() -> None:
    def shot(error: float | None = None) -> Shot:
        return Shot("jet", (0,), 0.0, 0.0, 1.0, () if error is None else (1,), error)

    result = score([], [], shots=[shot(-4.0), shot(2.0), shot()])
    assert result.shots == {"hit": 2, "empty": 1}
    assert result.fire_error_mm == {"n": 2, "p50": 3.0, "p90": 3.8, "p99": 3.98, "p100": 4.0}


def test_the_record_is_json_with_intervals() -> None:
    truth = [item(n, 200.0 * n) for n in range(10)]
    record = score(truth, [seen(n, 200.0 * n) for n in range(8)]).to_record()
    found = json.loads(json.dumps(record, allow_nan=False))["all"]["found"]
    assert (found["count"], found["of"], found["share"]) == (8, 10, 0.8)
    assert found["interval"] == pytest.approx([0.4439, 0.9748], abs=1e-4)  # Clopper and Pearson
    empty = score([], []).to_record()
    assert empty["all"]["found"]["share"] is None


def test_truth_goes_on_turn_after_turn() -> None:
    one = replace(item(7, 200), contact="touching", other=3)
    two = replace(item(3, 900), contact="touching", other=7)
    truth = Truth([two, one], turn_mm=1000.0, start_mm=100.0)
    assert [(x.item_id, x.s_mm, x.other) for x in truth.between(0, 2500)] == [
        (0, 200, 1), (1, 900, 0), (2, 1200, 3), (3, 1900, 2), (4, 2200, 5),
    ]  # fmt: skip
    assert [x.item_id for x in truth.between(1200, 1900)] == [2]
    assert truth.between(-5000, 100) == []
    assert truth.between(500, 400) == []
    assert Truth([], 1000.0).between(0, 1e9) == []
    assert len(truth.between(1e6, 1e6 + 10_000)) == 20
