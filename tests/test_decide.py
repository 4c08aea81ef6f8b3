"""The route of least expected cost, by hand and by properties; and every reason code."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.plant import KINDS, LEVELS, MATERIALS, TASKS, plant, plant_values, predicted, sure
from tests.tiny import write_tiny

from beltsight.decide import Decider, Reason, bind, bind_taxonomy
from beltsight.errors import PolicyError
from beltsight.least_cost import Array, choose_routes
from beltsight.model import Model
from beltsight.policy import HAND_SORT, Case, Policy, load_policy
from beltsight.records import Decision, Prediction, TaskSpec
from beltsight.taxonomy import load_taxonomy

MATERIAL, CONTAMINATION, DIRT = TASKS
DOCS = Path(__file__).resolve().parents[1] / "docs"


def decision(rows: dict[str, list[float]], policy: Policy | None = None, **fields: Any) -> Decision:
    return bind(policy or plant(), TASKS, "00ff").decide(predicted(rows, **fields))


def with_purity(purity: float, route: str = "pulp") -> Policy:
    streams = {**plant_values()["streams"], route: {"name": route, "purity": purity}}
    return plant(streams=streams)


def reference_right(policy: Policy, rows: dict[str, list[float]]) -> dict[str, float]:
    """P(route is right) by loops over cases, written apart from the program."""
    material = dict(zip(MATERIALS, rows["material"], strict=True))
    level = dict(zip(LEVELS, rows["contamination"], strict=True))
    kind = dict(zip(DIRT.classes, rows["dirt"], strict=True))
    found = dict.fromkeys(policy.routes, 0.0)
    for m, c, d in itertools.product(MATERIALS, LEVELS, KINDS):
        if (c == "clean") != (d == "none"):
            continue
        given_dirty = 1.0 if c == "clean" else kind[d] / (1 - kind["none"])
        rule = policy.rule_of(Case(m, c, d))
        assert rule is not None
        found[policy.rules[rule].route] += material[m] * level[c] * given_dirty
    return found


def random_rows(rng: np.random.Generator) -> dict[str, list[float]]:
    sharpness = rng.uniform(0.1, 2)
    return {task.name: rng.dirichlet(np.full(3, sharpness)).tolist() for task in TASKS}


def random_policy(rng: np.random.Generator) -> Policy:
    values = plant_values()
    routes = list(values["streams"])
    values["rules"] = [
        *(
            {
                "material": str(rng.choice(MATERIALS)),
                "contamination": str(rng.choice([*LEVELS, "*"])),
                "route": str(rng.choice([*routes, HAND_SORT])),
            }
            for _ in range(4)
        ),
        {"route": str(rng.choice(routes))},
    ]
    values["streams"] = {
        route: {"name": route, "purity": float(rng.choice([0.3, 0.7, 0.9]))} for route in routes
    }
    taken = {a: {b: float(rng.integers(0, 9)) for b in routes if b != a} for a in routes}
    values["costs"] = {"wrong": 4, "hand_sort": float(rng.uniform(0, 3)), "taken": taken}
    return Policy.model_validate(values)


# Reason codes


def test_confident_where_the_likely_answers_and_the_least_cost_agree() -> None:
    got = decision(sure("paper"))
    assert (got.route, got.reason) == ("pulp", "confident")
    assert got.policy_version == plant().full_version
    assert got.model_hash == "00ff"
    assert decision(sure("paper", "partly", "organic")).route == "burn"
    assert decision(sure("paper", "heavily", "dust")).route == "pulp"
    assert decision(sure("glass", "heavily", "dust")).route == "burn"


def test_least_cost_where_another_route_is_cheaper_than_the_likely_one() -> None:
    # Paper, 60 % clean: pulp costs 0.4 * 8 = 3.2, burn 0.6 * 2 = 1.2, hand-sort 1.3.
    rows = sure("paper") | {"contamination": [0.6, 0.4, 0.0], "dirt": [0.0, 0.0, 1.0]}
    dearer = plant(costs={**plant_values()["costs"], "hand_sort": 1.3})
    got = decision(rows, dearer)
    assert (got.route, got.reason) == ("burn", "least-cost")


def test_hand_sort_cheaper_where_every_stream_costs_more() -> None:
    # As above, with hand-sorting at 1.
    rows = sure("paper") | {"contamination": [0.6, 0.4, 0.0], "dirt": [0.0, 0.0, 1.0]}
    got = decision(rows)
    assert (got.route, got.reason) == (HAND_SORT, "hand-sort-cheaper")


def test_purity_where_the_cheapest_falls_short_of_its_stream() -> None:
    # Paper at 95 %, else glass: pulp costs 0.05 * 4 = 0.2; its stream asks for 97 %.
    rows = sure("paper") | {"material": [0.05, 0.95, 0.0]}
    assert decision(rows, with_purity(0.94)).reason == "confident"
    got = decision(rows, with_purity(0.97))
    assert (got.route, got.reason) == (HAND_SORT, "purity")


def test_purity_gives_the_next_cheapest_that_is_allowed() -> None:
    # Glass or plastic melt alike; paper at 90 %: pulp 0.4, burn 2, melt 3.6, hand-sort 3.
    policy = with_purity(0.97)
    policy = policy.model_copy(update={"costs": policy.costs.model_copy(update={"hand_sort": 3})})
    got = decision(sure("paper") | {"material": [0.1, 0.9, 0.0]}, policy)
    assert (got.route, got.reason) == ("burn", "purity")


def test_abstained_novel_and_no_answer_go_to_a_person() -> None:
    rows = sure("glass")
    assert decision(rows, abstain=False, novel=False).route == "melt"
    refusals: list[tuple[dict[str, Any], str]] = [
        ({"abstain": True}, "abstained"),
        ({"novel": True}, "novel"),
        ({"abstain": True, "novel": True}, "novel"),
        ({"error": "empty file", "novel": True}, "no-answer"),
    ]
    for fields, reason in refusals:
        got = decision(rows, **fields)
        assert (got.route, got.reason) == (HAND_SORT, reason)
    decider = bind(plant(), TASKS)
    for silent in (
        Prediction("b.jpg", error="empty file"),
        predicted({"material": [1.0, 0.0, 0.0]}),
        predicted(rows | {"dirt": [float("nan"), 0.5, 0.5]}),
        predicted(rows | {"material": [3.0, -2.0, 0.0]}),
        predicted(rows | {"contamination": [0.6, 0.6, 0.0]}),
    ):
        assert decider.decide(silent).reason == "no-answer"


def test_every_reason_is_explained_and_tested() -> None:
    page = (DOCS / "policy.md").read_text(encoding="utf-8")
    mine = Path(__file__).read_text(encoding="utf-8")
    assert len(Reason) == 7
    for reason in Reason:
        assert f"| `{reason}` |" in page
        assert f'"{reason}"' in mine


# Probabilities


def test_right_routes_are_the_sums_over_cases() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        policy, rows = random_policy(rng), random_rows(rng)
        decider = bind(policy, TASKS)
        arrays = {task: np.array([row]) for task, row in rows.items()}
        got = dict(zip(decider.routes, decider.right_routes(arrays)[0], strict=True))
        assert got == pytest.approx(reference_right(policy, rows), abs=1e-12)
        assert sum(got.values()) == pytest.approx(1)


def test_dirt_that_is_surely_absent_is_of_any_kind_where_the_item_is_dirty() -> None:
    # Contradicting answers: surely dirty, surely no dirt. Both kinds then weigh the same.
    decider = bind(plant(), TASKS)
    arrays = {task: np.array([row]) for task, row in sure("paper", "partly", "none").items()}
    right = dict(zip(decider.routes, decider.right_routes(arrays)[0], strict=True))
    assert (right["pulp"], right["burn"]) == (0.5, 0.5)


def test_the_usual_route_is_that_of_the_most_probable_answers() -> None:
    decider = bind(plant(), TASKS)
    rows = {
        "material": [[0.2, 0.5, 0.3], [0.2, 0.5, 0.3], [0.2, 0.3, 0.5]],
        "contamination": [[0.2, 0.5, 0.3], [0.4, 0.3, 0.3], [0.1, 0.1, 0.8]],
        "dirt": [[0.2, 0.5, 0.3], [0.2, 0.1, 0.7], [0.6, 0.0, 0.4]],
    }
    arrays = {task: np.array(table) for task, table in rows.items()}
    usual = [decider.routes[index] for index in decider.most_probable_routes(arrays)]
    assert usual == ["burn", "pulp", "burn"]


# Properties, over random policies and answers


def test_no_allowed_route_has_a_lower_expected_cost() -> None:
    rng = np.random.default_rng(2)
    seen = set()
    for _ in range(300):
        policy, rows = random_policy(rng), random_rows(rng)
        got = decision(rows, policy)
        right = reference_right(policy, rows)
        costs = {
            route: sum(policy.cost(route, true) * share for true, share in right.items())
            for route in policy.routes
        }
        purity = {route: stream.purity or 0 for route, stream in policy.streams.items()}
        allowed = [r for r in policy.routes if r == HAND_SORT or right[r] >= purity[r] - 1e-9]
        assert got.route in allowed
        assert costs[got.route] <= min(costs[route] for route in allowed) + 1e-6
        if min(costs, key=lambda route: costs[route]) not in allowed:
            assert got.reason == "purity"
        seen.add(got.reason)
    assert seen == {"confident", "least-cost", "hand-sort-cheaper", "purity"}


def test_scaling_all_costs_changes_nothing() -> None:
    rng = np.random.default_rng(3)
    for _ in range(200):
        policy, rows = random_policy(rng), random_rows(rng)
        factor = float(rng.uniform(1e-3, 1e3))
        costs = policy.costs.model_dump()
        scaled = policy.model_copy(
            update={
                "costs": type(policy.costs)(
                    wrong=costs["wrong"] * factor,
                    hand_sort=costs["hand_sort"] * factor,
                    taken={
                        a: {b: cost * factor for b, cost in row.items()}
                        for a, row in costs["taken"].items()
                    },
                )
            }
        )
        before, after = decision(rows, policy), decision(rows, scaled)
        assert (after.route, after.reason) == (before.route, before.reason)


def test_raising_a_purity_never_sends_more_into_that_stream() -> None:
    rng = np.random.default_rng(4)
    fell = 0
    for _ in range(40):
        policy = random_policy(rng)
        route = str(rng.choice(list(policy.streams)))
        arrays = [random_rows(rng) for _ in range(25)]
        before: set[int] | None = None
        for purity in (0.05, 0.4, 0.6, 0.8, 0.95, 1.0):
            streams = {**policy.streams, route: policy.streams[route].model_copy()}
            streams[route] = streams[route].model_copy(update={"purity": purity})
            decider = bind(policy.model_copy(update={"streams": streams}), TASKS)
            sent = {
                i for i, rows in enumerate(arrays) if decider.decide(predicted(rows)).route == route
            }
            if before is not None:
                assert sent <= before
                fell += len(before) - len(sent)
            before = sent
    assert fell > 50


def test_ties_go_to_the_route_that_the_rules_name_first() -> None:
    even = {"material": [0.5, 0.5, 0.0]} | {
        k: v for k, v in sure("glass").items() if k != "material"
    }
    free = {"wrong": 4, "hand_sort": 2}
    rules = [{"material": "paper", "route": "pulp"}, {"route": "melt"}]
    assert decision(even, plant(rules=rules, costs=free)).route == "pulp"
    rules = [{"material": "glass", "route": "melt"}, {"route": "pulp"}]
    assert decision(even, plant(rules=rules, costs=free)).route == "melt"
    nothing = {"wrong": 0, "hand_sort": 0}
    assert decision(even, plant(rules=rules, costs=nothing)).route == "melt"


# Binding


def tasks_without(*names: str) -> list[TaskSpec]:
    return [task for task in TASKS if task.name not in names]


def test_a_model_without_contamination_needs_an_explicit_assumption() -> None:
    tasks = tasks_without("contamination", "dirt")
    with pytest.raises(PolicyError, match=r"'contamination'.* without_contamination = 'clean'"):
        bind(plant(), tasks)
    decider = bind(plant(without_contamination="clean"), tasks)
    assert decider.assumptions == (
        "the model does not tell contamination: every item is taken for clean",
    )
    got = decider.decide(predicted({"material": [0.0, 1.0, 0.0]}, tasks))
    assert (got.route, got.reason) == ("pulp", "confident")
    heavy = plant(without_contamination="heavily", without_dirt="organic")
    assert bind(heavy, tasks).decide(predicted(sure("glass"), tasks)).route == "burn"
    with pytest.raises(PolicyError, match="'dirt'"):
        bind(plant(without_contamination="heavily"), tasks)
    heavy_only = [
        {"contamination": "heavily", "dirt": "dust", "route": "melt"}, {"route": "burn"},
    ]  # fmt: skip
    partly = bind(plant(rules=heavy_only, without_contamination="partly"), tasks)
    assert len(partly.assumptions) == 1  # of no kind of dirt: at this level none matters
    with pytest.raises(PolicyError, match="'dirt'"):
        bind(plant(rules=heavy_only, without_contamination="heavily"), tasks)


def test_a_model_without_dirt_needs_an_assumption_where_routes_depend_on_it() -> None:
    tasks = tasks_without("dirt")
    with pytest.raises(PolicyError, match=r"'dirt'.* without_dirt = 'organic'"):
        bind(plant(), tasks)
    for kind, route in (("dust", "pulp"), ("organic", "burn")):
        decider = bind(plant(without_dirt=kind), tasks)
        assert kind in decider.assumptions[0]
        assert decider.decide(predicted(sure("paper", "partly"), tasks)).route == route
    same = [{"contamination": "clean", "route": "melt"}, {"route": "burn"}]
    assert bind(plant(rules=same), tasks).assumptions == ()


def test_a_policy_that_reads_neither_needs_neither() -> None:
    policy = plant(kinds=[], rules=[{"material": "paper", "route": "pulp"}, {"route": "melt"}])
    for tasks in (tasks_without("contamination", "dirt"), TASKS):
        decider = bind(policy, tasks)
        assert decider.assumptions == ()
        assert decider.decide(predicted(sure("paper", "heavily", "dust"), tasks)).route == "pulp"


def replaced(name: str, classes: Sequence[str]) -> list[TaskSpec]:
    return [TaskSpec(name, tuple(classes)) if task.name == name else task for task in TASKS]


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        (replaced("contamination", ["clean", "partly"]), "the model's are clean, partly;"),
        (replaced("contamination", ["clean", "heavily", "partly"]), "same order"),
        (replaced("contamination", ["low", "medium", "high"]), "low, medium, high"),
        (replaced("dirt", ["none", "dust"]), "kinds of dirt are none, dust, organic"),
        (replaced("dirt", ["none", "dust", "mud"]), "the model's are none, dust, mud"),
        (tasks_without("material"), r"'material'.* contamination, dirt\)"),
    ],
)
def test_a_model_that_answers_otherwise_is_refused_when_binding(
    tasks: list[TaskSpec], said: str
) -> None:
    with pytest.raises(PolicyError, match=said):
        bind(plant(), tasks)


def test_an_undecided_or_unknown_material_is_refused_when_binding() -> None:
    with pytest.raises(PolicyError, match="no rule decides material wood, contamination clean"):
        bind(plant(), replaced("material", ["glass", "wood"]))
    rules = [{"material": "glas", "route": "melt"}, {"route": "burn"}]
    with pytest.raises(PolicyError, match="did you mean 'glass'"):
        bind(plant(rules=rules), TASKS)


def test_a_prediction_of_another_model_is_refused() -> None:
    decider = bind(plant(), TASKS)
    other = replaced("material", ["glass", "metal", "paper"])
    with pytest.raises(PolicyError, match=r"glass, metal, paper, but .* bound to .*plastic"):
        decider.decide(predicted(sure("glass"), other))


def test_a_model_may_order_and_name_its_materials_as_it_likes() -> None:
    tasks = replaced("material", ["plastic", "paper"])
    decider = bind(plant(), tasks)
    rows = sure("paper") | {"material": [1.0, 0.0]}
    assert decider.decide(predicted(rows, tasks)).route == "melt"
    assert decider.materials == ("plastic", "paper")


def test_a_taxonomy_stands_for_a_model_that_tells_all() -> None:
    decider = bind_taxonomy(load_policy(), load_taxonomy())
    assert decider.materials == tuple(load_taxonomy().tasks["material"].classes)
    assert decider.assumptions == ()
    assert set(decider.tasks) == {"material", "contamination", "dirt"}


def test_one_decision_on_a_model_file(tmp_path: Path) -> None:
    model = Model.load(write_tiny(tmp_path / "m.onnx"))
    rules = [{"material": "red", "route": "burn"}, {"route": "melt"}]
    policy = plant(rules=rules)
    photo = np.full((32, 32, 3), (250, 5, 5), np.uint8)
    got = bind(policy, model.tasks, model.hash).decide(model.predict(photo)[0])
    assert (got.route, got.reason, got.model_hash) == ("burn", "confident", model.hash)


def test_a_decider_goes_to_other_processes() -> None:
    decider = bind(plant(), TASKS, "00ff")
    prediction = predicted(sure("paper"))
    for twin in (copy.deepcopy(decider), pickle.loads(pickle.dumps(decider))):
        assert isinstance(twin, Decider)
        assert twin.decide(prediction) == decider.decide(prediction)
    with pytest.raises(dataclasses.FrozenInstanceError):
        decider.model_hash = "1"  # type: ignore[misc]


def test_the_record_of_a_reason_is_plain_text() -> None:
    got = decision(sure("paper"))
    assert type(got.reason) is str
    right: Array = np.array([[1.0, 0.0]])
    chosen, cheapest = choose_routes(right, np.array([[0, 1.0], [1, 1]]), np.zeros(2), 1)
    assert chosen.tolist() == cheapest.tolist() == [0]
