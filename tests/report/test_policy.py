"""The table of a policy says what its decisions do."""

from __future__ import annotations

import numpy as np
import pytest
from tests.plant import KINDS, LEVELS, MATERIALS, TASKS, plant, plant_values, predicted, sure

from beltsight.decide import bind
from beltsight.policy import Case
from beltsight.report.policy import (
    CaseRow,
    case_rows,
    explain_policy,
    never_chosen,
    policy_record,
    stream_rows,
)

DECIDER = bind(plant(), TASKS, "00ff")


def line(material: str, level: str, kind: str) -> CaseRow:
    case = Case(material, level, kind)
    (found,) = [one for one in explain_policy(DECIDER) if one.case == case]
    return found


def test_every_case_has_its_line() -> None:
    lines = explain_policy(DECIDER)
    assert len(lines) == len(MATERIALS) * (1 + 2 * 2)
    for one in lines:
        got = DECIDER.decide(
            predicted(sure(one.case.material, one.case.contamination, one.case.dirt))
        )
        assert (got.route, got.reason) == (one.route, "confident")
    assert line("glass", "heavily", "dust").because == "too dirty to melt"
    assert line("glass", "heavily", "dust").rule == 3


def test_confidences_follow_from_the_costs() -> None:
    # Melting what belongs to pulp costs 4, by hand 1: 4 (1 - p) <= 1 from p = 0.75.
    assert line("glass", "clean", "none").sure_from["material"] == pytest.approx(0.75)
    # Melting what is to be burnt costs 4, burning what melts 2, by hand 1: from 0.75 as well.
    assert line("glass", "clean", "none").sure_from["contamination"] == pytest.approx(0.75)
    # Pulping what is to be burnt costs 8: 8 (1 - p) <= 1 from p = 0.875.
    assert line("paper", "partly", "dust").sure_from["dirt"] == pytest.approx(0.875)
    # Burning what melts costs 2: 2 (1 - p) <= 1 from p = 0.5.
    assert line("glass", "heavily", "dust").sure_from["contamination"] == pytest.approx(0.5)
    # No kind of dirt sends glass elsewhere.
    assert "dirt" not in line("glass", "partly", "dust").sure_from


def test_a_purity_asks_for_itself_and_a_free_hand_for_certainty() -> None:
    streams = {**plant_values()["streams"], "melt": {"name": "Melt", "purity": 0.9}}
    pure = explain_policy(bind(plant(streams=streams), TASKS))
    assert pure[0].case == Case("glass", "clean", "none")
    assert pure[0].sure_from["material"] == pytest.approx(0.9)
    free = explain_policy(bind(plant(costs={"wrong": 4, "hand_sort": 0}), TASKS))
    assert free[0].sure_from["material"] == pytest.approx(1)


def test_where_another_route_is_free_one_is_never_sure() -> None:
    costs = {"wrong": 4, "hand_sort": 1, "taken": {"pulp": {"melt": 0}}}
    decider = bind(plant(costs=costs), TASKS)
    lines = explain_policy(decider)
    assert lines[0].sure_from["material"] is None
    assert "never" in {row[4] for row in case_rows(decider)}


def test_an_abstention_asks_for_its_own_confidence() -> None:
    decider = bind(plant(), TASKS, thresholds={"material": 0.95, "dirt": 0.6})
    found = {one.case: one.sure_from for one in explain_policy(decider)}
    glass = found[Case("glass", "clean", "none")]
    # No kind of dirt sends glass elsewhere, but the model abstains.
    assert glass == pytest.approx({"material": 0.95, "contamination": 0.75, "dirt": 0.6})
    assert found[Case("paper", "partly", "dust")]["dirt"] == pytest.approx(0.875)
    assert policy_record(decider)["abstains_below"] == {"material": 0.95, "dirt": 0.6}
    to_hand = plant(rules=[{"material": "paper", "route": "hand-sort"}, {"route": "melt"}])
    lines = explain_policy(bind(to_hand, TASKS, thresholds={"material": 0.95}))
    assert {one.sure_from.get("material") for one in lines if one.route == "hand-sort"} == {0.25}
    nothing = bind(plant(), TASKS, thresholds={"material": 1.0000001})
    assert {one.sure_from["material"] for one in explain_policy(nothing)} == {None}


def test_a_stream_that_can_never_be_chosen_is_found() -> None:
    assert never_chosen(DECIDER) == []
    costs = {"wrong": 4, "hand_sort": 1, "taken": {"pulp": {"melt": 0}}}
    free = bind(plant(costs=costs), TASKS)
    assert never_chosen(free) == [("melt", "pulp")]
    assert policy_record(free)["never_chosen"] == {"melt": "pulp"}
    silent = bind(plant(), TASKS, thresholds={"material": 1.0000001})
    assert dict(never_chosen(silent)) == {"burn": "", "melt": "", "pulp": ""}


def test_the_stated_confidence_is_where_decisions_turn() -> None:
    from_share = line("glass", "clean", "none").sure_from["material"]
    assert from_share is not None
    for share, route in ((from_share, "melt"), (from_share - 0.001, "hand-sort")):
        rows = sure("glass") | {"material": [share, 1 - share, 0.0]}
        assert DECIDER.decide(predicted(rows)).route == route


def test_doubts_that_a_model_cannot_have_are_left_out() -> None:
    decider = bind(plant(without_contamination="clean"), TASKS[:1])
    assert {task for one in explain_policy(decider) for task in one.sure_from} == {"material"}


def test_rows_hold_every_case_once() -> None:
    counted = 0
    for materials, levels, kinds, *_ in case_rows(DECIDER):
        for level in levels.split(", "):
            dirty = KINDS[1:] if kinds == "any" else tuple(kinds.split(", "))
            counted += len(materials.split(", ")) * (1 if level == "clean" else len(dirty))
    assert counted == len(explain_policy(DECIDER))
    assert ("glass, plastic", "clean, partly", "any", "melt", "75.0 %", "4") in case_rows(DECIDER)
    assert ("paper", "clean", "none", "pulp", "87.5 %", "1") in case_rows(DECIDER)


def test_streams_show_purity_and_the_span_of_costs() -> None:
    assert stream_rows(DECIDER) == [
        ("pulp", "Pulp", "", "4 to 8"),
        ("burn", "Burn", "", "2"),
        ("melt", "Melt", "", "4"),
        ("hand-sort", "Hand sorting", "", "1"),
    ]


def test_the_record_holds_all_of_it() -> None:
    record = policy_record(DECIDER)
    assert (record["policy"], record["model_hash"]) == (DECIDER.policy_version, "00ff")
    assert len(record["cases"]) == len(MATERIALS) * (1 + (len(LEVELS) - 1) * 2)
    assert record["cases"][0] == {
        "material": "glass",
        "contamination": "clean",
        "dirt": "none",
        "route": "melt",
        "rule": 4,
        "because": "",
        "sure_from": {"material": 0.75, "contamination": 0.75},
    }
    assert record["costs"]["pulp"] == {"pulp": 0, "burn": 8, "melt": 4, "hand-sort": 4}
    table = np.array([[row[right] for right in DECIDER.routes] for row in record["costs"].values()])
    assert (table == DECIDER.costs).all()
