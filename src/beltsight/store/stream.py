"""What went over the belt and where it went: composition, purity and recovery, as they truly were.

Answers are counted by model, label and route, in the database. Each model's counts are corrected by
the confusion matrix of its card; models are added up by their items.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import sqlalchemy as sa

from beltsight.decide import Decider
from beltsight.policy import HAND_SORT
from beltsight.records import CONTAMINATION
from beltsight.store.misclassification import DRAWS, Array, Confusion, fit_shares
from beltsight.store.reader import ALWAYS, LogReader, Span
from beltsight.store.tables import log, short_hash

Targets = Mapping[str, frozenset[str]]
_MOST_CELLS = 4_000_000  # of one block of draws: 32 MB


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share, None of nothing, with its 95 % interval where there is one."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class AnswerCounts:
    """Items by model, label and route.

    Args:
        counts: (first 16 digits of the model's hash, label, route) -> items.
        unanswered: items without a label.
    """

    counts: Mapping[tuple[str, str, str], int] = field(hash=False)
    unanswered: int = 0

    @property
    def items(self) -> int:
        """Items with a label."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class RouteFigures:
    """One route.

    Args:
        route: its name.
        items: that were sent there.
        purity: share of them that belong there.
        recovery: share of what belongs there that was sent there.
    """

    route: str
    items: int
    purity: Estimate
    recovery: Estimate


@dataclass(frozen=True, slots=True)
class StreamFigures:
    """What a stream was made of and where it went.

    Args:
        items: with an answer; ``unanswered`` had none and are in no share.
        composition: per class, its share of the items.
        routes: see :class:`RouteFigures`.
        right: share of the items that were sent where they belong.
        corrected: whether all shares are corrected by confusion matrices.
        notes: what is not corrected and why, and what is taken for granted.
    """

    items: int
    unanswered: int
    composition: Mapping[str, Estimate] = field(hash=False)
    routes: tuple[RouteFigures, ...]
    right: Estimate
    corrected: bool
    notes: tuple[str, ...]


def count_answers(reader: LogReader, span: Span = ALWAYS) -> AnswerCounts:
    """Count a time's decisions by model, label and route.

    Raises:
        StoreError: the database fails.
    """
    groups = (log.c.model, log.c.label, log.c.route)
    query = (
        sa.select(*groups, sa.func.count())
        .where(log.c.line_id == reader.line_id, log.c.kind == "decision", *span.conditions())
        .group_by(*groups)
    )
    counts, unanswered = {}, 0
    for model, label, route, n in reader.fetch(query):
        if label is None:
            unanswered += int(n)
        else:
            counts[model or "", label, route] = int(n)
    return AnswerCounts(counts, unanswered)


def usual_targets(answers: AnswerCounts) -> Targets:
    """Which classes belong to which route, where no policy says: by where most of each label went.

    Nothing belongs to hand-sorting.
    """
    taken: dict[str, dict[str, int]] = {}
    for (_, label, route), n in answers.counts.items():
        if route != HAND_SORT:
            into = taken.setdefault(label, {})
            into[route] = into.get(route, 0) + n
    targets: dict[str, set[str]] = {}
    for label, into in taken.items():
        targets.setdefault(max(into, key=lambda route: (into[route], route)), set()).add(label)
    return {route: frozenset(labels) for route, labels in targets.items()}


def policy_targets(decider: Decider) -> Targets:
    """Which materials belong to which route by a policy, as bound to a model.

    Where a material's route depends on its dirt, it belongs to each of them: dirt is not counted.
    Where the model does not tell contamination, the level that the policy assumes decides.

    Args:
        decider: of :func:`beltsight.decide.bind`.
    """
    policy = decider.policy
    levels = list(range(len(policy.levels)))
    if CONTAMINATION not in decider.tasks:
        levels = [policy.levels.index(policy.without_contamination or policy.levels[0])]
    targets: dict[str, set[str]] = {}
    for number, material in enumerate(decider.materials):
        for route in np.unique(decider.route_of[number, levels]):
            if route >= 0:
                targets.setdefault(decider.routes[route], set()).add(material)
    return {route: frozenset(materials) for route, materials in targets.items()}


def stream_figures(
    answers: AnswerCounts,
    confusions: Mapping[str, Confusion | str],
    targets: Targets | None = None,
    *,
    seed: int = 0,
    draws: int = DRAWS,
) -> StreamFigures:
    """Composition, purity and recovery with 95 % intervals.

    Within one answer, where an item was sent is taken not to depend on what it truly is. Where the
    model holds back unsure answers, fewer mistakes are sent on than this has it, so that purity is
    rather better than stated.

    Args:
        answers: of :func:`count_answers`.
        confusions: by a model's hash, its confusion matrix, or why there is none.
        targets: per route the classes that belong there; by default :func:`usual_targets`.
        seed, draws: of the simulation behind the intervals.

    Returns:
        Shares of these items, as far as they have an answer. The intervals hold the uncertainty of
        the matrices and the chance of which items were mistaken; without a matrix there is none.

    Example:
        >>> confusion = Confusion(("glass", "metal"), np.array([[90, 10], [20, 80]]))
        >>> answers = AnswerCounts({("m", "glass", "left"): 52, ("m", "metal", "right"): 48})
        >>> found = stream_figures(answers, {"m": confusion})
        >>> round(found.composition["metal"].value, 4), round(found.routes[1].purity.value, 4)
        (0.5429, 0.9048)
    """
    wanted = usual_targets(answers) if targets is None else targets
    known = {short_hash(model): found for model, found in confusions.items()}
    rng = np.random.default_rng(seed)
    models = sorted({model for model, _, _ in answers.counts})
    parts = [_part(model, answers, known.get(model)) for model in models]
    classes = list(dict.fromkeys(name for part in parts for name in part.classes))
    routes = sorted({route for _, _, route in answers.counts})
    # (1 + draws, classes, routes): items by what they are and where they went; the first is the
    # estimate itself.
    total = np.zeros((1 + draws, len(classes), len(routes)))
    for part in parts:
        rows = [classes.index(name) for name in part.classes]
        columns = [routes.index(name) for name in part.routes]
        total[np.ix_(range(1 + draws), rows, columns)] += part.simulate(rng, draws)
    return _figures(
        answers, total, classes, routes, wanted, tuple(n for p in parts for n in p.notes)
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """One model's items.

    Args:
        classes, routes: C and R names.
        table: float64 (C, R) items by answer and route.
        confusion: None where they cannot be corrected.
        notes: why not.
    """

    classes: tuple[str, ...]
    routes: tuple[str, ...]
    table: Array
    confusion: Confusion | None
    notes: tuple[str, ...]

    def simulate(self, rng: np.random.Generator, draws: int) -> Array:
        """float64 (1 + draws, C, R): items by truth and route; the estimate, then draws of it."""
        size = len(self.classes)
        if self.confusion is None:
            return np.broadcast_to(self.table, (1 + draws, *self.table.shape))
        answered = self.table.sum(axis=1)
        seen = rng.standard_gamma(answered + 1 / size, (draws, size))
        seen /= seen.sum(axis=1, keepdims=True)
        observed = np.concatenate([answered[None] / answered.sum(), seen])
        rates = np.concatenate([self.confusion.rates[None], self.confusion.draw_rates(rng, draws)])
        truths = _truth_by_answer(fit_shares(observed, rates), rates)
        total = np.einsum("ar,at->tr", self.table, truths[0])[None]
        # Of so many items with one answer, how many are truly what: of few it varies much.
        cells = self.table.astype(np.int64).T  # (R, C)
        block = max(1, _MOST_CELLS // (cells.size * size))
        parts = [total]
        for first in range(1, 1 + draws, block):
            some = truths[first : first + block, None]
            drawn = rng.multinomial(cells[None], some)  # (block, R, answer, truth)
            parts.append(drawn.sum(axis=2).transpose(0, 2, 1))
        return np.concatenate(parts)


def _truth_by_answer(shares: Array, rates: Array) -> Array:
    """float64 (N, C, C): the probability of each class (column) given an answer (row); Bayes."""
    joint = (shares[:, :, None] * rates).transpose(0, 2, 1)
    whole = joint.sum(axis=2, keepdims=True)
    # An answer that no class of the stream gives is taken for what it says.
    own = np.broadcast_to(np.eye(joint.shape[1]), joint.shape)
    found = np.where(whole > 0, joint / np.where(whole > 0, whole, 1.0), own)
    return np.asarray(found / found.sum(axis=2, keepdims=True))


def _part(model: str, answers: AnswerCounts, found: Confusion | str | None) -> _Part:
    mine = {key[1:]: n for key, n in answers.counts.items() if key[0] == model}
    labels = list(dict.fromkeys(label for label, _ in mine))
    name = model or "without a hash"
    notes: tuple[str, ...] = ()
    if isinstance(found, Confusion) and not set(labels) <= set(found.classes):
        found = "it answered with other classes than its card has"
    if not isinstance(found, Confusion):
        why = found or "its card was not given"
        notes = (
            f"{sum(mine.values()):,} items of model {name} are uncorrected, taken for what the "
            f"model said: {why}",
        )
        found = None
    classes = tuple(found.classes if found else labels)
    routes = tuple(dict.fromkeys(route for _, route in mine))
    table = np.zeros((len(classes), len(routes)))
    for (label, route), n in mine.items():
        table[classes.index(label), routes.index(route)] = n
    return _Part(classes, routes, table, found, notes)


def _figures(
    answers: AnswerCounts,
    total: Array,
    classes: list[str],
    routes: list[str],
    targets: Targets,
    notes: tuple[str, ...],
) -> StreamFigures:
    items = answers.items
    estimate = partial(_estimate, has_interval=not notes)
    found, right = [], np.zeros(len(total))
    for route in dict.fromkeys((*routes, *sorted(targets))):
        belongs = [name in targets.get(route, ()) for name in classes]
        there = total[:, :, routes.index(route)] if route in routes else np.zeros(total.shape[:2])
        good = there[:, belongs].sum(axis=1)
        right += good
        found.append(
            RouteFigures(
                route,
                sum(n for (_, _, into), n in answers.counts.items() if into == route),
                estimate(good, there.sum(axis=1)) if any(belongs) else Estimate(None),
                estimate(good, total[:, belongs].sum(axis=(1, 2))),
            )
        )
    whole = total.sum(axis=(1, 2))
    return StreamFigures(
        items,
        answers.unanswered,
        {name: estimate(total[:, i].sum(axis=1), whole) for i, name in enumerate(classes)},
        tuple(found),
        estimate(right, whole),
        corrected=items > 0 and not notes,
        notes=notes,
    )


def _estimate(part: Array, whole: Array, *, has_interval: bool) -> Estimate:
    """The first is the estimate; the interval is of the others."""
    if not whole[0] > 0:
        return Estimate(None)
    shares = np.clip(part / np.where(whole > 0, whole, 1.0), 0.0, 1.0)
    value = float(shares[0])
    drawn = shares[1:][whole[1:] > 0]
    if not has_interval or not len(drawn):  # of few draws, none may have had an item of it
        return Estimate(value)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Estimate(value, min(value, float(low)), max(value, float(high)))
