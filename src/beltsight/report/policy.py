"""A bound policy as tables: what goes where, at which confidence, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from beltsight.decide import Decider
from beltsight.least_cost import Array, choose_routes
from beltsight.policy import HAND_SORT, Case, list_cases
from beltsight.records import CONTAMINATION, DIRT, MATERIAL

Row = tuple[str, ...]
_STEPS = 1000  # confidences are searched to a tenth of a percent


@dataclass(frozen=True, slots=True)
class CaseRow:
    """One case of a policy.

    Args:
        case: material, contamination and dirt.
        route: where it goes.
        rule: number of the rule that says so, from 1.
        because: the rule's reason.
        sure_from: per task, the confidence in the case's answer from which the item goes to its
            route, 0 to 1; below, it is sorted by hand or goes elsewhere. None where that is never,
            and no entry where no other answer leads elsewhere and the model does not abstain.
    """

    case: Case
    route: str
    rule: int
    because: str
    sure_from: dict[str, float | None]


def explain_policy(decider: Decider) -> tuple[CaseRow, ...]:
    """Every case of a bound policy with its route, and how sure one must be of it.

    The confidence is that of a two-way doubt: the model gives a share p to the case's own answer to
    one task and 1 - p to one other answer to it, and is sure of the other tasks. Of all other
    answers the one that asks for the highest p counts. Costs and purities are those of the policy;
    below its own threshold the model abstains, whatever these say.
    """
    policy = decider.policy
    sure = _sure_from(decider)
    cases = list(list_cases(policy, decider.materials))
    rules = [policy.rule_of(case) or 0 for case in cases]  # binding has decided all
    index = [decider.routes.index(policy.rules[rule].route) for rule in rules]
    lines = []
    for case, rule, own in zip(cases, rules, index, strict=True):
        by_hand = policy.rules[rule].route == HAND_SORT  # where an abstention leads as well
        hardest: dict[str, float | None] = {}
        if not by_hand:
            hardest |= {name: x if x <= 1 else None for name, x in decider.thresholds.items()}
        for other, rival in zip(cases, index, strict=True):
            task = _only_doubt(case, other, policy.levels[0])
            if task is not None and task in decider.tasks and rival != own:
                hardest[task] = _harder(sure[own, rival], hardest.get(task, 0.0))
        found = policy.rules[rule]
        lines.append(CaseRow(case, found.route, rule + 1, found.because, hardest))
    return tuple(lines)


def policy_record(decider: Decider) -> dict[str, Any]:
    """All of ``beltsight policy explain --json``."""
    policy = decider.policy
    return {
        "policy": decider.policy_version,
        "model_hash": decider.model_hash or None,
        "assumptions": list(decider.assumptions),
        "abstains_below": dict(decider.thresholds),
        "never_chosen": dict(never_chosen(decider)),
        "streams": {
            route: {"name": policy.show(route), "purity": _purity(decider, route)}
            for route in decider.routes
        },
        "costs": {
            taken: {right: policy.cost(taken, right) for right in decider.routes}
            for taken in decider.routes
        },
        "cases": [
            {
                "material": line.case.material,
                "contamination": line.case.contamination,
                "dirt": line.case.dirt if policy.kinds else None,
                "route": line.route,
                "rule": line.rule,
                "because": line.because,
                "sure_from": {
                    task: None if share is None else round(share, 3)
                    for task, share in line.sure_from.items()
                },
            }
            for line in explain_policy(decider)
        ],
    }


def never_chosen(decider: Decider) -> list[tuple[str, str]]:
    """Routes that no item is sent to even where the route is surely right: (route, the one taken).

    Another route then costs nothing there either, and the rules name it first; or the model
    abstains always, which the second is empty for.
    """
    by_hand = decider.routes.index(HAND_SORT)
    wanted = [int(route) for route in np.unique(decider.route_of) if route not in (-1, by_hand)]
    if any(least > 1 for least in decider.thresholds.values()):
        return [(decider.routes[route], "") for route in wanted]
    sure = np.eye(len(decider.routes))
    chosen, _ = choose_routes(sure, decider.costs, decider.purities, by_hand)
    return [
        (decider.routes[route], decider.routes[chosen[route]])
        for route in wanted
        if chosen[route] != route
    ]


def case_rows(decider: Decider) -> list[Row]:
    """Rows of (materials, contamination, dirt, route, sure from, rule) for a table.

    Cases of one rule that ask for the same confidence share a row.
    """
    cells: dict[tuple[int, str, str], list[Case]] = {}
    for line in explain_policy(decider):
        key = (line.rule, _percent(_hardest(line)), line.case.material)
        cells.setdefault(key, []).append(line.case)
    alike: dict[tuple[int, str, str, str], list[str]] = {}
    for (rule, share, material), cases in cells.items():
        for levels, kinds in _blocks(cases, decider.policy.dirt_kinds):
            alike.setdefault((rule, share, levels, kinds), []).append(material)
    return [
        (
            ", ".join(materials),
            levels,
            kinds,
            decider.policy.rules[rule - 1].route,
            share,
            str(rule),
        )
        for (rule, share, levels, kinds), materials in sorted(alike.items(), key=lambda x: x[0][0])
    ]


def stream_rows(decider: Decider) -> list[Row]:
    """Rows of (route, name, purity, cost of a wrong item there) for a table."""
    rows: list[Row] = []
    for index, route in enumerate(decider.routes):
        purity = _purity(decider, route)
        costs = np.delete(decider.costs[index], index)
        low, high = (float(costs.min()), float(costs.max())) if len(costs) else (0.0, 0.0)
        span = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        shown = "" if purity is None else _percent(purity)
        rows.append((route, decider.policy.show(route), shown, span))
    return rows


def _sure_from(decider: Decider) -> Array:
    """(R, R) least p from which a doubt between two routes goes to the first; NaN for never."""
    count = len(decider.routes)
    by_hand = decider.routes.index(HAND_SORT)
    shares = np.arange(_STEPS + 1)[:, None] / _STEPS
    ends = np.eye(count)
    sure = np.zeros((count, count))
    for own in range(count):
        for rival in set(range(count)) - {own}:
            right = shares * ends[own] + (1 - shares) * ends[rival]
            chosen, _ = choose_routes(right, decider.costs, decider.purities, by_hand)
            elsewhere = np.flatnonzero(chosen != own)
            first = int(elsewhere[-1]) + 1 if len(elsewhere) else 0
            sure[own, rival] = first / _STEPS if first <= _STEPS else np.nan
    return sure


def _only_doubt(case: Case, other: Case, clean: str) -> str | None:
    """The one task in whose answer two cases differ; clean against dirty is contamination's."""
    tasks = (MATERIAL, CONTAMINATION, DIRT)
    differ = [task for task in tasks if getattr(case, task) != getattr(other, task)]
    if differ == [CONTAMINATION, DIRT] and clean in (case.contamination, other.contamination):
        return CONTAMINATION
    return differ[0] if len(differ) == 1 else None


def _harder(share: float, than: float | None) -> float | None:
    return None if than is None or np.isnan(share) else max(float(share), than)


def _hardest(line: CaseRow) -> float | None:
    """Over all tasks; None where any is never sure enough."""
    shares = [0.0, *line.sure_from.values()]
    return None if None in shares else max(share for share in shares if share is not None)


def _purity(decider: Decider, route: str) -> float | None:
    stream = decider.policy.streams.get(route)
    return stream.purity if stream else None


def _percent(share: float | None) -> str:
    return "never" if share is None else f"{100 * share:.1f} %"


def _blocks(cases: Sequence[Case], dirt_kinds: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Cases of one material as few (levels, kinds): levels with the same kinds stand together."""
    none, *dirty = dirt_kinds
    kinds: dict[str, list[str]] = {}
    for case in cases:
        kinds.setdefault(case.contamination, []).append(case.dirt)
    rows: dict[str, list[str]] = {}
    for level, found in kinds.items():
        all_dirt = found in ([none], dirty)
        rows.setdefault("any" if all_dirt else ", ".join(found), []).append(level)
    for shown, levels in rows.items():
        clean = all(kinds[level] == [none] for level in levels)
        yield ", ".join(levels), none if clean else shown
