"""From a prediction to a route: the least expected cost under a policy, and the reason.

The probability of a case is P(material) x P(clean) for a clean item, and P(material) x P(level) x
P(kind | not clean) for any other. The tasks are taken as independent given the photo, since the
model answers each by itself. P(kind | not clean) is the dirt task's answer without its class for
no dirt, scaled to sum to 1.

A policy gives each case its right route, so cases sum to the probability that a route is right;
:mod:`beltsight.least_cost` weighs them by what mistakes cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from beltsight.errors import PolicyError
from beltsight.least_cost import Array, Indices, are_probabilities, choose_routes
from beltsight.policy import (
    HAND_SORT,
    Policy,
    check_kinds,
    check_levels,
    check_materials,
    check_taxonomy,
    list_cases,
)
from beltsight.records import CONTAMINATION, DIRT, MATERIAL, Decision, Prediction, TaskSpec
from beltsight.taxonomy import Taxonomy, load_taxonomy


class Reason(StrEnum):
    """Why an item goes where it goes; docs/policy.md tells more of each."""

    CONFIDENT = "confident"
    LEAST_COST = "least-cost"
    HAND_SORT_CHEAPER = "hand-sort-cheaper"
    PURITY = "purity"
    ABSTAINED = "abstained"
    NOVEL = "novel"
    NO_ANSWER = "no-answer"


@dataclass(frozen=True, slots=True, eq=False)
class Decider:
    """A policy bound to the classes of a model; made by :func:`bind`. Any thread may use it.

    Args:
        policy: what decides.
        tasks: the model's tasks that the policy reads, by name.
        materials: the model's materials.
        routes: R routes; an earlier one wins a tie.
        route_of: int (M, L, K): index of the right route by material, level and kind of dirt, in
            the policy's order; -1 where there is no such case (clean yet dirty).
        costs: (R, R): row: taken, column: right.
        purities: (R,) least probability of being right; 0 where a route asks for none.
        assumptions: what is taken for granted since the model does not tell, in words.
        policy_version: name, version and content of the policy.
        model_hash: SHA-256 of the model file, hexadecimal; empty where there is none.
        thresholds: by task, the confidence below which the model abstains. A prediction says so
            itself; here they serve to explain the policy.
    """

    policy: Policy
    tasks: Mapping[str, TaskSpec]
    materials: tuple[str, ...]
    routes: tuple[str, ...]
    route_of: Indices
    costs: Array
    purities: Array
    assumptions: tuple[str, ...]
    policy_version: str
    model_hash: str = ""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    _members: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # (M * L * K, R): 1 where a case belongs to a route; impossible cases belong to none.
        members = self.route_of.reshape(-1, 1) == np.arange(len(self.routes))
        object.__setattr__(self, "_members", members.astype(np.float64))

    def decide(self, prediction: Prediction) -> Decision:
        """The route of one item and the reason.

        Never fails for want of an answer: an item without one, or whose probabilities are none, is
        sorted by hand.

        Raises:
            PolicyError: the prediction is of a model with other classes.
        """
        index, reason = self._choose(prediction)
        return Decision(
            prediction, self.routes[index], str(reason), self.policy_version, self.model_hash
        )

    def right_routes(self, probabilities: Mapping[str, Array]) -> Array:
        """How probable it is that each route is the right one.

        Args:
            probabilities: per task float (N, C), calibrated, in the order of the model's classes;
                tasks that the policy does not read are passed over.

        Returns:
            float64 (N, R); rows sum to 1.
        """
        return self._right(*self._joined(probabilities))

    def most_probable_routes(self, probabilities: Mapping[str, Array]) -> Indices:
        """The route of each item's most probable answers, whatever a mistake costs.

        Args:
            probabilities: as for :meth:`right_routes`.

        Returns:
            int64 (N,) indices into ``routes``.
        """
        return self._usual(*self._joined(probabilities))

    def _choose(self, prediction: Prediction) -> tuple[int, Reason]:
        by_hand = self.routes.index(HAND_SORT)
        if prediction.error is not None or not self.tasks.keys() <= prediction.tasks.keys():
            return by_hand, Reason.NO_ANSWER
        table = {name: self._row(task, prediction) for name, task in self.tasks.items()}
        if not all(are_probabilities(row).all() for row in table.values()):
            return by_hand, Reason.NO_ANSWER
        if prediction.novel:
            return by_hand, Reason.NOVEL
        if prediction.abstain:
            return by_hand, Reason.ABSTAINED
        joined = self._joined(table)
        right = self._right(*joined)
        chosen, cheapest = choose_routes(right, self.costs, self.purities, by_hand)
        reason = route_reasons(chosen, cheapest, self._usual(*joined), by_hand)[0]
        return int(chosen[0]), reason

    def _row(self, task: TaskSpec, prediction: Prediction) -> Array:
        answer = prediction.tasks[task.name].probabilities
        if answer.keys() != set(task.classes):
            raise PolicyError(
                f"the prediction answers {task.name} with {', '.join(answer)}, but the policy "
                f"{self.policy_version} is bound to a model with {', '.join(task.classes)}; bind "
                "it to the model that predicts"
            )
        return np.array([[answer[name] for name in task.classes]])

    def _joined(self, probabilities: Mapping[str, Array]) -> tuple[Array, Array]:
        """Probability (N, M) of each material, and (N, L, K) of each level and kind of dirt."""
        material = np.asarray(probabilities[MATERIAL], np.float64)
        return material, self._dirtiness(probabilities, len(material))

    def _right(self, material: Array, dirtiness: Array) -> Array:
        joint = material[:, :, None, None] * dirtiness[:, None]
        return np.asarray(joint.reshape(len(material), self.route_of.size) @ self._members)

    def _usual(self, material: Array, dirtiness: Array) -> Indices:
        level = dirtiness.sum(axis=2).argmax(axis=1)
        kind = dirtiness[np.arange(len(level)), level].argmax(axis=1)
        return np.asarray(self.route_of[material.argmax(axis=1), level, kind])

    def _dirtiness(self, probabilities: Mapping[str, Array], n: int) -> Array:
        """Probability (N, L, K) of each level with each kind of dirt."""
        policy = self.policy
        kinds = self._kinds(probabilities, n)
        if CONTAMINATION in self.tasks:
            levels = np.asarray(probabilities[CONTAMINATION], np.float64)
        else:
            assumed = policy.levels.index(policy.without_contamination or policy.levels[0])
            levels = np.tile(np.eye(len(policy.levels))[assumed], (n, 1))
        table = np.zeros((n, len(policy.levels), len(policy.dirt_kinds)))
        table[:, 0, 0] = levels[:, 0]
        table[:, 1:, 1:] = levels[:, 1:, None] * kinds[:, None, :]
        return table

    def _kinds(self, probabilities: Mapping[str, Array], n: int) -> Array:
        """Probability (N, K - 1) of each kind of dirt, given that there is some."""
        dirty = self.policy.dirt_kinds[1:]
        if DIRT in self.tasks:
            columns = [self.tasks[DIRT].classes.index(kind) for kind in dirty]
            kinds = np.asarray(probabilities[DIRT], np.float64)[:, columns]
            total = kinds.sum(axis=1, keepdims=True)
            # Sure that there is no dirt, the task says nothing of which dirt it would be.
            even = np.full_like(kinds, 1 / len(dirty))
            return np.asarray(np.divide(kinds, total, out=even, where=total > 0))
        # Where nothing is assumed, bind() has seen that no route depends on it.
        assumed = dirty.index(self.policy.without_dirt) if self.policy.without_dirt else 0
        return np.tile(np.eye(len(dirty))[assumed], (n, 1))


def bind(
    policy: Policy,
    tasks: Sequence[TaskSpec],
    model_hash: str = "",
    taxonomy: Taxonomy | None = None,
    thresholds: Mapping[str, float] | None = None,
) -> Decider:
    """Bind a policy to a model's tasks and check that it decides whatever the model may answer.

    Args:
        policy: what decides.
        tasks: the model's.
        model_hash: SHA-256 of the model file, hexadecimal.
        taxonomy: materials that rules may name beside the model's; the packaged one by default.
        thresholds: by task, the confidence below which the model abstains, to be explained.

    Raises:
        PolicyError: the model lacks the material task, or another that routes depend on and for
            which the policy assumes nothing; other levels or kinds of dirt; an unknown material;
            a case left undecided.

    Example:
        >>> from beltsight.policy import load_policy
        >>> from beltsight.records import Answer
        >>> tasks = [
        ...     TaskSpec("material", ("metal", "paper")),
        ...     TaskSpec("contamination", ("clean", "partly", "heavily")),
        ... ]
        >>> decider = bind(load_policy(), tasks)
        >>> answers = {
        ...     "material": Answer("paper", 0.99, {"metal": 0.01, "paper": 0.99}),
        ...     "contamination": Answer("partly", 1, {"clean": 0, "partly": 1, "heavily": 0}),
        ... }
        >>> decision = decider.decide(Prediction("pizza-box.jpg", answers))
        >>> decision.route, decision.reason
        ('residual', 'confident')
    """
    known = {task.name: task for task in tasks}
    if MATERIAL not in known:
        raise PolicyError(
            f"{policy.name}: the model does not answer the task {MATERIAL!r}, which every policy "
            f"reads (its tasks: {', '.join(known) or 'none'})"
        )
    materials = known[MATERIAL].classes
    check_materials(policy, materials, taxonomy or load_taxonomy(), "the model's")
    if CONTAMINATION in known:
        check_levels(policy, known[CONTAMINATION].classes, "the model's")
    if DIRT in known:
        check_kinds(policy, known[DIRT].classes, "the model's")
    route_of = _route_table(policy, materials)
    routes = policy.routes
    streams = [policy.streams.get(route) for route in routes]
    return Decider(
        policy=policy,
        tasks={name: known[name] for name in _tasks_read(policy, known)},
        materials=materials,
        routes=routes,
        route_of=route_of,
        costs=np.array([[policy.cost(taken, right) for right in routes] for taken in routes]),
        purities=np.array([(stream and stream.purity) or 0.0 for stream in streams]),
        assumptions=_assumptions(policy, known, route_of),
        policy_version=policy.full_version,
        model_hash=model_hash,
        thresholds=dict(thresholds or {}),
    )


def bind_taxonomy(policy: Policy, taxonomy: Taxonomy) -> Decider:
    """Bind a policy to all classes of a taxonomy, as to a model that tells them all.

    Raises:
        PolicyError: a name that the taxonomy lacks, other levels or kinds, an undecided case.
    """
    check_taxonomy(policy, taxonomy)
    tasks = [
        TaskSpec(MATERIAL, tuple(taxonomy.tasks[MATERIAL].classes)),
        TaskSpec(CONTAMINATION, policy.levels, ordered=True),
    ]
    if policy.kinds:
        tasks.append(TaskSpec(DIRT, policy.kinds))
    return bind(policy, tasks, taxonomy=taxonomy)


def route_reasons(
    chosen: Indices, cheapest: Indices, usual: Indices, by_hand: int
) -> tuple[Reason, ...]:
    """Why each item goes where it goes.

    Args:
        chosen: (N,) the routes sent off to.
        cheapest: (N,) the routes of least expected cost, allowed or not.
        usual: (N,) the routes of the most probable answers.
        by_hand: index of hand-sorting.
    """
    return tuple(
        Reason.PURITY
        if taken != least
        else Reason.CONFIDENT
        if taken == most
        else Reason.HAND_SORT_CHEAPER
        if taken == by_hand
        else Reason.LEAST_COST
        for taken, least, most in zip(chosen, cheapest, usual, strict=True)
    )


def _route_table(policy: Policy, materials: Sequence[str]) -> Indices:
    levels, kinds, routes = policy.levels, policy.dirt_kinds, policy.routes
    table = np.full((len(materials), len(levels), len(kinds)), -1, np.int64)
    for case in list_cases(policy, materials):
        rule = policy.rule_of(case)
        if rule is not None:  # check_materials has seen to it
            place = (
                materials.index(case.material),
                levels.index(case.contamination),
                kinds.index(case.dirt),
            )
            table[place] = routes.index(policy.rules[rule].route)
    return table


def _tasks_read(policy: Policy, known: Mapping[str, TaskSpec]) -> list[str]:
    asked = (MATERIAL, CONTAMINATION, *([DIRT] if policy.kinds else []))
    return [name for name in asked if name in known]


def _assumptions(
    policy: Policy, known: Mapping[str, TaskSpec], route_of: Indices
) -> tuple[str, ...]:
    """What the policy takes for granted; a PolicyError where it must and does not."""
    said = []
    first_dirt = route_of[:, 1:, 1:2]
    by_kind = bool((route_of[:, 1:, 1:] != first_dirt).any())
    by_level = by_kind or bool((first_dirt[:, :, 0] != route_of[:, 0, :1]).any())
    if CONTAMINATION not in known and by_level:
        if policy.without_contamination is None:
            raise PolicyError(
                f"{policy.name}: the model does not answer the task {CONTAMINATION!r}, and routes "
                "depend on it; use a model that does, or let the policy say what to take every "
                f"item for: without_contamination = {policy.levels[0]!r}"
            )
        said.append(
            f"the model does not tell contamination: every item is taken for "
            f"{policy.without_contamination}"
        )
        # Then the kind of dirt matters at this level alone, and a clean item has none.
        own = route_of[:, policy.levels.index(policy.without_contamination), 1:]
        by_kind = bool((own != own[:, :1]).any())
    if DIRT not in known and by_kind:
        if policy.without_dirt is None:
            raise PolicyError(
                f"{policy.name}: the model does not answer the task {DIRT!r}, and routes depend on "
                "it; use a model that does, or let the policy say what to take all dirt for: "
                f"without_dirt = {policy.kinds[-1]!r}"
            )
        said.append(
            f"the model does not tell kinds of dirt: all dirt is taken for {policy.without_dirt}"
        )
    return tuple(said)
