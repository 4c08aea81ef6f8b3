"""One item at a time is decided as in a table of many, with each table reckoned once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.plant import TASKS, plant, predicted

from beltsight.decide import Decider, bind, route_reasons
from beltsight.least_cost import choose_routes
from beltsight.policy import HAND_SORT


def some_rows(count: int) -> list[dict[str, list[float]]]:
    chance = np.random.default_rng(8)
    return [
        {task.name: chance.dirichlet(np.full(3, 0.4)).tolist() for task in TASKS}
        for _ in range(count)
    ]


def test_an_item_alone_goes_where_it_goes_among_others() -> None:
    decider, rows = bind(plant(), TASKS), some_rows(80)
    table = {task.name: np.array([row[task.name] for row in rows]) for task in TASKS}
    by_hand = decider.routes.index(HAND_SORT)
    right = decider.right_routes(table)
    chosen, cheapest = choose_routes(right, decider.costs, decider.purities, by_hand)
    reasons = route_reasons(chosen, cheapest, decider.most_probable_routes(table), by_hand)
    got = [decider.decide(predicted(row)) for row in rows]
    assert [each.route for each in got] == [decider.routes[index] for index in chosen]
    assert [each.reason for each in got] == list(map(str, reasons))
    assert len({each.reason for each in got}) > 1


def test_levels_and_kinds_are_joined_once_for_a_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    real = Decider._dirtiness

    def counted(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        return real(*arguments)

    monkeypatch.setattr(Decider, "_dirtiness", counted)
    decider = bind(plant(), TASKS)
    for number, row in enumerate(some_rows(3), start=1):
        decider.decide(predicted(row))
        assert calls == number
