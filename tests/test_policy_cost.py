"""Many decisions at once are the single ones; their costs are counted on labelled items."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.plant import TASKS, plant, plant_values, predicted, sure

from beltsight.decide import Decider, Reason, bind
from beltsight.errors import DatasetError, PolicyError
from beltsight.least_cost import Array, choose_routes
from beltsight.policy import HAND_SORT
from beltsight.policy_cost import (
    ignore_contamination,
    mean_cost,
    realised_costs,
    route_all,
    true_routes,
)
from beltsight.records import Decision


def draw(n: int, seed: int) -> tuple[dict[str, Array], dict[str, list[str | None]]]:
    """Answers of a calibrated model and labels drawn from them."""
    rng = np.random.default_rng(seed)
    rows = {task.name: rng.dirichlet(np.full(3, 0.25), size=n) for task in TASKS}
    labels: dict[str, list[str | None]] = {
        task.name: [str(rng.choice(task.classes, p=row)) for row in rows[task.name]]
        for task in TASKS
    }
    # The kind of a dirty item is drawn from the kinds there are, as the model states it.
    for i, level in enumerate(labels["contamination"]):
        dust, _, organic = rows["dirt"][i]
        p = dust / (dust + organic) if dust + organic > 0 else 0.5
        dirty = "dust" if rng.random() < p else "organic"
        labels["dirt"][i] = "none" if level == "clean" else dirty
    return rows, labels


@pytest.fixture(scope="module")
def decider() -> Decider:
    streams = {
        "burn": {"name": "Burn"},
        "melt": {"name": "Melt"},
        "pulp": {"name": "Pulp", "purity": 0.95},
    }
    costs = {**plant_values()["costs"], "hand_sort": 1.3}
    return bind(plant(streams=streams, costs=costs), TASKS)


def test_all_at_once_is_each_alone(decider: Decider) -> None:
    rows, _ = draw(200, 0)
    rng = np.random.default_rng(0)
    abstain, novel = rng.random(200) < 0.1, rng.random(200) < 0.1
    found = route_all(decider, rows, abstain=abstain, novel=novel)
    for i in range(200):
        one = {task: table[i].tolist() for task, table in rows.items()}
        item = predicted(one, abstain=bool(abstain[i]), novel=bool(novel[i]))
        got = decider.decide(item)
        assert (got.route, got.reason) == (found.routes[found.chosen[i]], found.reasons[i])
    assert sum(found.counts.values()) == 200
    assert found.counts[Reason.NO_ANSWER] == 0
    assert all(count > 0 for reason, count in found.counts.items() if reason != Reason.NO_ANSWER)


def test_expected_costs_are_those_of_the_routes_taken(decider: Decider) -> None:
    rows, _ = draw(50, 1)
    found = route_all(decider, rows)
    for i in range(50):
        taken = found.routes[found.chosen[i]]
        by_hand = sum(
            decider.policy.cost(taken, right) * found.right[i, j]
            for j, right in enumerate(found.routes)
        )
        assert found.expected_costs[i] == pytest.approx(by_hand)


def test_the_policy_costs_least_on_calibrated_answers(decider: Decider) -> None:
    rows, labels = draw(4000, 2)
    right = true_routes(decider, labels)
    policy = realised_costs(decider, route_all(decider, rows).chosen, right)
    likely = realised_costs(decider, decider.most_probable_routes(rows), right)
    blind = realised_costs(
        decider, route_all(decider, ignore_contamination(decider, rows)).chosen, right
    )
    for other in (likely, blind):
        assert mean_cost(policy - other).high < 0
    # A calibrated model knows beforehand what its decisions will cost.
    expected = float(route_all(decider, rows).expected_costs.mean())
    assert mean_cost(policy).low < expected < mean_cost(policy).high


def test_ignoring_contamination_takes_every_item_for_clean(decider: Decider) -> None:
    rows, _ = draw(5, 3)
    blind = ignore_contamination(decider, rows)
    assert blind["contamination"].tolist() == [[1.0, 0.0, 0.0]] * 5
    assert blind["material"] is rows["material"]
    plain = bind(plant(kinds=[], rules=[{"route": "burn"}]), TASKS[:1])
    assert ignore_contamination(plain, {"material": rows["material"]}).keys() == {"material"}


def labelled(**changes: list[str | None]) -> dict[str, list[str | None]]:
    labels: dict[str, list[str | None]] = {
        "material": ["paper", "paper", "glass", "glass"],
        "contamination": ["clean", "partly", "heavily", "partly"],
        "dirt": [None, "organic", None, "dust"],
    }
    return {**labels, **changes}


def test_the_right_route_is_that_of_the_labels(decider: Decider) -> None:
    found = [decider.routes[index] for index in true_routes(decider, labelled())]
    assert found == ["pulp", "burn", "burn", "melt"]
    plain = bind(plant(kinds=[], rules=[{"route": "burn"}]), TASKS[:1])
    assert true_routes(plain, {"material": ["glass"]}).tolist() == [plain.routes.index("burn")]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"material": ["paper", "wood", "glass", "glass"]}, "item 1: the label 'wood' of material"),
        ({"material": [None, "paper", "glass", "glass"]}, "item 0: no label of material"),
        ({"contamination": ["clean", "dirty", "heavily", "partly"]}, "item 1: the label 'dirty'"),
        ({"contamination": [None, "partly", "heavily", "partly"]}, "item 0: no label of contam"),
        ({"dirt": [None, None, None, None]}, "item 1: no label of dirt"),
        ({"dirt": [None, "none", None, None]}, "item 1: contamination is 'partly', but dirt is"),
        ({"dirt": [None, "mud", None, None]}, "item 1: the label 'mud' of dirt"),
    ],
)
def test_an_item_whose_right_route_is_not_known_is_said(
    decider: Decider, changes: dict[str, list[str | None]], said: str
) -> None:
    with pytest.raises(DatasetError, match=said):
        true_routes(decider, labelled(**changes))


def test_costs_are_nothing_on_the_right_route(decider: Decider) -> None:
    right = true_routes(decider, labelled())
    assert realised_costs(decider, right, right).tolist() == [0, 0, 0, 0]
    pulp, melt, by_hand = (decider.routes.index(name) for name in ("pulp", "melt", HAND_SORT))
    chosen = np.array([melt, pulp, pulp, by_hand])
    assert realised_costs(decider, chosen, right).tolist() == [4, 8, 8, 1.3]


def test_the_interval_is_that_of_a_plain_bootstrap() -> None:
    costs = np.random.default_rng(5).choice([0.0, 1.0, 4.0], size=400, p=[0.7, 0.2, 0.1])
    found = mean_cost(costs)
    rng = np.random.default_rng(6)
    plain = [float(rng.choice(costs, size=400).mean()) for _ in range(2000)]
    assert found.mean == pytest.approx(costs.mean())
    assert (found.low, found.high) == pytest.approx(np.percentile(plain, [2.5, 97.5]), abs=0.02)
    assert found == mean_cost(costs)
    many = np.random.default_rng(7).normal(size=400)
    assert mean_cost(many) != mean_cost(many, seed=1)
    with pytest.raises(DatasetError, match="no item"):
        mean_cost(np.array([]))


def test_photos_of_one_item_are_drawn_together() -> None:
    rng = np.random.default_rng(8)
    groups = np.repeat(np.arange(120), rng.integers(1, 8, size=120))
    costs = rng.choice([0.0, 4.0], size=120, p=[0.8, 0.2])[groups] + rng.random(len(groups))
    plain = []
    for _ in range(2000):  # as one would write it down
        drawn = [costs[groups == item] for item in rng.integers(120, size=120)]
        plain.append(float(np.concatenate(drawn).mean()))
    found, alone = mean_cost(costs, groups.astype(str)), mean_cost(costs)
    assert (found.low, found.high) == pytest.approx(np.percentile(plain, [2.5, 97.5]), abs=0.05)
    assert (found.mean, found.n, found.n_items) == (costs.mean(), len(costs), 120)
    assert found.high - found.low > 1.5 * (alone.high - alone.low)
    with pytest.raises(DatasetError, match="a group for each of 2 costs, got 1"):
        mean_cost(np.ones(2), ["a"])


@pytest.mark.parametrize(
    ("changes", "options", "said"),
    [
        ({"dirt": None}, {}, "expected probabilities of the task 'dirt'"),
        ({"dirt": np.ones((3, 3))}, {}, r"expected shape \(2, 3\), got \(3, 3\)"),
        ({"material": np.ones(2)}, {}, r"got \(2,\)"),
        ({"material": np.full((2, 3), np.nan)}, {}, "from 0 to 1 that sum to 1, got .nan"),
        ({"material": np.array([[1.0, 0, 0], [3, -2, 0]])}, {}, r"\[3.0, -2.0, 0.0\] in row 1"),
        ({"dirt": np.full((2, 3), 0.5)}, {}, "dirt: expected rows of numbers"),
        ({}, {"abstain": np.array([True])}, "one flag for each of 2 items"),
        ({}, {"novel": np.array([True])}, "one flag for each of 2 items"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    decider: Decider, changes: dict[str, Any], options: dict[str, Any], said: str
) -> None:
    rows = {**draw(2, 4)[0], **changes}
    with pytest.raises(PolicyError, match=said):
        route_all(decider, {k: v for k, v in rows.items() if v is not None}, **options)


def test_nothing_to_decide_is_no_error(decider: Decider) -> None:
    empty = {task.name: np.zeros((0, 3)) for task in TASKS}
    found = route_all(decider, empty)
    assert len(found.chosen) == 0
    assert set(found.counts.values()) == {0}


def test_rounding_breaks_no_tie() -> None:
    right = np.array([[0.1 + 0.2, 0.3, 0.4]])
    costs = np.array([[0, 1, 1.0], [1, 0, 1], [5, 5, 0]])
    chosen, _ = choose_routes(right, costs, np.zeros(3), by_hand=2)
    swapped, _ = choose_routes(right[:, [1, 0, 2]], costs, np.zeros(3), by_hand=2)
    assert (chosen[0], swapped[0]) == (0, 0)


def test_a_cost_however_large_makes_no_others_equal() -> None:
    costs = plant_values()["costs"]
    costs["taken"]["pulp"]["burn"] = 1e12
    decider = bind(plant(costs=costs), TASKS)

    def decision(rows: dict[str, list[float]]) -> Decision:
        return decider.decide(predicted(rows))

    found = decision(sure("glass"))
    assert (found.route, found.reason) == ("melt", "confident")
    # Whoever is less than sure pays for it, and what is never right never costs.
    rows = {**sure("paper", "partly"), "dirt": [0.999, 0.0, 0.001]}
    assert decision(rows).route != "pulp"
    assert decision(sure("paper")).route == "pulp"


def test_a_least_cost_that_rounding_put_below_nothing_is_the_least() -> None:
    right = np.array([[0.0, 1.0, -1e-12]])
    costs = np.array([[0, 5, 5], [5, 0, 5], [1, 1, 1.0]])
    chosen, cheapest = choose_routes(right, costs, np.array([0.9, 0.9, 0.0]), by_hand=2)
    assert (chosen[0], cheapest[0]) == (1, 1)


def test_a_photo_without_a_group_shows_an_item_of_its_own() -> None:
    costs = np.array([1.0, 2.0, 3.0, 5.0])
    found = mean_cost(costs, ["a", None, "a", None])
    assert found == mean_cost(costs, ["a", "b", "a", "c"])
    assert (found.n, found.n_items) == (4, 3)
    assert mean_cost(costs, [None] * 4) == mean_cost(costs)


def test_the_unit_of_costs_is_any() -> None:
    costs = np.array([0.0, 4.0, 3.0, 0.0, 1.0] * 20)
    large, small = mean_cost(costs), mean_cost(costs * 1e-10)
    assert (small.low, small.high) == pytest.approx((large.low * 1e-10, large.high * 1e-10))
