"""What a policy would have cost on labelled photos, decided all at once: for studies.

Three ways to decide are compared on the same labelled items: by the policy (:func:`route_all`), by
the most probable answers (:meth:`beltsight.decide.Decider.most_probable_routes`), and by the policy
blind to contamination (:func:`ignore_contamination` before :func:`route_all`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beltsight.decide import Decider, Reason, route_reasons
from beltsight.errors import DatasetError, PolicyError
from beltsight.least_cost import Array, Indices, are_probabilities, choose_routes
from beltsight.policy import HAND_SORT
from beltsight.records import CONTAMINATION, DIRT, MATERIAL

_RESAMPLES = 2000


@dataclass(frozen=True, slots=True, eq=False)
class Routing:
    """Where N items go.

    Args:
        routes: the names of the R routes.
        chosen: int64 (N,) indices into ``routes``.
        reasons: why, one per item.
        expected_costs: float64 (N,) as the probabilities have it.
        right: float64 (N, R) probability that each route is the right one.
    """

    routes: tuple[str, ...]
    chosen: Indices
    reasons: tuple[Reason, ...]
    expected_costs: Array
    right: Array

    @property
    def counts(self) -> dict[Reason, int]:
        """Number of items per reason; every reason has its count."""
        found = Counter(self.reasons)
        return {reason: found[reason] for reason in Reason}


@dataclass(frozen=True, slots=True)
class MeanCost:
    """A mean cost per photo, or a difference of two, with its 95 % interval.

    Args:
        mean: per photo, in the policy's unit.
        low: 2.5th percentile over resampled items.
        high: 97.5th percentile.
        n: number of photos.
        n_items: number of items that they show.
    """

    mean: float
    low: float
    high: float
    n: int
    n_items: int


def route_all(
    decider: Decider,
    probabilities: Mapping[str, Array],
    *,
    abstain: NDArray[np.bool_] | None = None,
    novel: NDArray[np.bool_] | None = None,
) -> Routing:
    """Decide on N items as :meth:`beltsight.decide.Decider.decide` decides on each.

    Args:
        decider: a bound policy.
        probabilities: per task float (N, C), calibrated, in the order of the model's classes.
        abstain: (N,) whether the model abstains; nowhere by default.
        novel: (N,) whether the item looks unlike anything seen; nowhere by default.

    Raises:
        PolicyError: a task is missing, or an array has another shape or holds no probabilities.
    """
    n = _check_probabilities(decider, probabilities)
    by_hand = decider.routes.index(HAND_SORT)
    right = decider.right_routes(probabilities)
    chosen, cheapest = choose_routes(right, decider.costs, decider.purities, by_hand)
    usual = decider.most_probable_routes(probabilities)
    reasons = list(route_reasons(chosen, cheapest, usual, by_hand))
    # As for one item: what is unlike anything seen is called so, even where the model abstains.
    for refused, reason in ((abstain, Reason.ABSTAINED), (novel, Reason.NOVEL)):
        if refused is not None:
            for row in np.flatnonzero(_check_flags(refused, n)):
                chosen[row], reasons[row] = by_hand, reason
    expected = (right * decider.costs[chosen]).sum(axis=1)
    return Routing(decider.routes, chosen, tuple(reasons), expected, right)


def ignore_contamination(decider: Decider, probabilities: Mapping[str, Array]) -> dict[str, Array]:
    """The same answers with every item surely clean: what a model of material alone would say."""
    blind = dict(probabilities)
    if CONTAMINATION in decider.tasks:
        n = len(probabilities[MATERIAL])
        blind[CONTAMINATION] = np.tile(np.eye(len(decider.policy.levels))[0], (n, 1))
    return blind


def true_routes(decider: Decider, labels: Mapping[str, Sequence[str | None]]) -> Indices:
    """The route that each labelled item belongs to.

    Args:
        decider: a bound policy.
        labels: per task N class names. Contamination may be left out only where no route depends
            on it. A kind of dirt is read where the item is not clean, and may be None where no
            route depends on it.

    Returns:
        int64 (N,) indices into ``decider.routes``.

    Raises:
        DatasetError: a label is missing, unknown, or says that a dirty item has no dirt.

    Example:
        >>> from beltsight.decide import bind
        >>> from beltsight.policy import load_policy
        >>> from beltsight.records import TaskSpec
        >>> tasks = [
        ...     TaskSpec("material", ("metal", "paper")),
        ...     TaskSpec("contamination", ("clean", "partly", "heavily")),
        ... ]
        >>> decider = bind(load_policy(), tasks)
        >>> labels = {"material": ["metal", "metal"], "contamination": ["partly", "heavily"]}
        >>> [decider.routes[index] for index in true_routes(decider, labels)]
        ['metal', 'wash']
    """
    materials = labels[MATERIAL]
    absent: list[str | None] = [None] * len(materials)
    levels, kinds = labels.get(CONTAMINATION, absent), labels.get(DIRT, absent)
    rows = enumerate(zip(materials, levels, kinds, strict=True))
    return np.array([_true_route(decider, row, *answers) for row, answers in rows], np.int64)


def realised_costs(decider: Decider, chosen: Indices, right: Indices) -> Array:
    """What each item cost: nothing on its right route; sorted by hand, what a hand costs.

    Args:
        decider: a bound policy.
        chosen: (N,) routes taken.
        right: (N,) routes that the items belong to, by :func:`true_routes`.

    Returns:
        float64 (N,) in the policy's unit.
    """
    return np.asarray(decider.costs[chosen, right])


def mean_cost(
    costs: Array, groups: Sequence[Any] | NDArray[Any] | None = None, *, seed: int = 0
) -> MeanCost:
    """The mean cost per photo with the interval of a bootstrap over items.

    Two ways to decide are compared by the mean of their difference on the same items:
    ``mean_cost(costs_of_one - costs_of_another, groups)``, a paired bootstrap.

    Args:
        costs: float (N,), one per photo.
        groups: (N,) the item that each photo shows: all photos of an item are drawn together,
            since they go right or wrong together. Each shows its own where left out, and so does
            a photo whose group is None.
        seed: of the resampling.

    Raises:
        DatasetError: no item, or not one group for each cost.

    Example:
        >>> mean_cost(np.array([1.0, 1.0, 1.0]), ["can", "can", "box"])
        MeanCost(mean=1.0, low=1.0, high=1.0, n=3, n_items=2)
    """
    if not len(costs):
        raise DatasetError("no item to take the mean cost of; expected at least one")
    if groups is not None and len(groups) != len(costs):
        raise DatasetError(f"expected a group for each of {len(costs)} costs, got {len(groups)}")
    places = np.arange(len(costs)) if groups is None else _numbered(groups)
    photos = np.bincount(places)
    # Costs are in any unit, so what is rounded away is a share of the largest.
    unit = float(np.abs(costs).max()) or 1.0
    sums = np.bincount(places, np.asarray(costs, np.float64) / unit).round(9)
    # Few pairs are possible; how often each is drawn is all that a resample's mean depends on.
    pairs, counts = np.unique(np.stack([sums, photos], axis=1), axis=0, return_counts=True)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(photos), counts / len(photos), size=_RESAMPLES)
    low, high = np.percentile(drawn @ pairs[:, 0] / (drawn @ pairs[:, 1]) * unit, [2.5, 97.5])
    return MeanCost(float(np.mean(costs)), float(low), float(high), len(costs), len(photos))


def _numbered(groups: Sequence[Any] | NDArray[Any]) -> Indices:
    """The items by number from 0 up, each None an item of its own."""
    is_known = np.array([group is not None for group in groups])
    places = np.empty(len(groups), np.int64)
    names, places[is_known] = np.unique(
        [group for group in groups if group is not None], return_inverse=True
    )
    places[~is_known] = len(names) + np.arange((~is_known).sum())
    return places


def _check_probabilities(decider: Decider, probabilities: Mapping[str, Array]) -> int:
    n = len(probabilities[MATERIAL]) if MATERIAL in probabilities else 0
    for name, task in decider.tasks.items():
        if name not in probabilities:
            raise PolicyError(f"expected probabilities of the task {name!r}, which are not given")
        expected, got = (n, len(task.classes)), np.shape(probabilities[name])
        if got != expected:
            raise PolicyError(f"probabilities of {name}: expected shape {expected}, got {got}")
        wrong = np.flatnonzero(~are_probabilities(probabilities[name]))
        if len(wrong):
            raise PolicyError(
                f"probabilities of {name}: expected rows of numbers from 0 to 1 that sum to 1, got "
                f"{np.asarray(probabilities[name])[wrong[0]].tolist()} in row {wrong[0]}; give a "
                "softmax, not logits"
            )
    return n


def _check_flags(flags: NDArray[np.bool_], n: int) -> NDArray[np.bool_]:
    if np.shape(flags) != (n,):
        raise PolicyError(f"expected one flag for each of {n} items, got shape {np.shape(flags)}")
    return np.asarray(flags, np.bool_)


def _true_route(
    decider: Decider, row: int, material: str | None, level: str | None, kind: str | None
) -> int:
    place = f"item {row}: "
    table = decider.route_of[_index(place, MATERIAL, material, decider.materials)]
    none, *dirty = decider.policy.dirt_kinds
    if level is None and len(routes := np.unique(table[table >= 0])) == 1:
        return int(routes[0])
    number = _index(place, CONTAMINATION, level, decider.policy.levels)
    if number == 0:
        return int(table[0, 0])
    if kind == none:
        raise DatasetError(
            f"{place}contamination is {level!r}, but dirt is {none!r}; correct one of the labels"
        )
    routes = np.unique(table[number, 1:])
    if len(routes) == 1:
        return int(routes[0])
    return int(table[number, 1 + _index(place, DIRT, kind, dirty)])


def _index(place: str, task: str, label: str | None, known: Sequence[str]) -> int:
    if label not in known:
        came = "no label" if label is None else f"the label {label!r}"
        raise DatasetError(
            f"{place}{came} of {task}, on which its route depends; expected one of "
            f"{', '.join(known)}; leave out items whose right route is not known"
        )
    return known.index(label)
