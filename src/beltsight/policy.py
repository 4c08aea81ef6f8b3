"""A policy: which kind of item belongs in which stream, and what a mistake costs; as TOML.

A policy is checked in two steps. By itself, when it is read: routes, levels, kinds of dirt and
costs. Against materials, when it is bound to a model (:func:`beltsight.decide.bind`) or to a
taxonomy: every name is known and every case is decided.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from beltsight.config import ASSETS, NAME_PATTERN, load_config, nearest
from beltsight.errors import ConfigError, PolicyError
from beltsight.records import CONTAMINATION, DIRT, MATERIAL, NO_DIRT
from beltsight.strict import Name, Names, Strict
from beltsight.taxonomy import Taxonomy

HAND_SORT = "hand-sort"
ANY = "*"
# Stand for the kinds of dirt in a policy that names none.
_NO_KINDS = (NO_DIRT, "any")

_Cost = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
_Word = Annotated[str, Field(pattern=NAME_PATTERN)]


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of item. A clean item has the first kind of dirt, which means none."""

    material: str
    contamination: str
    dirt: str

    def __str__(self) -> str:
        return f"material {self.material}, contamination {self.contamination}, dirt {self.dirt}"


class Stream(Strict):
    """A route that the plant has.

    ``purity`` is the least probability of being right with which an item may go there.
    """

    name: str
    purity: float | None = Field(None, strict=True, gt=0, le=1, allow_inf_nan=False)


class Rule(Strict):
    """Cases and the route that they belong to; ``*`` stands for any answer."""

    material: Names = (ANY,)
    contamination: Names = (ANY,)
    dirt: Names = (ANY,)
    route: str
    because: str = ""

    def fits(self, case: Case) -> bool:
        """Whether the rule speaks of this case."""
        return (
            _fits(self.material, case.material)
            and _fits(self.contamination, case.contamination)
            and _fits(self.dirt, case.dirt)
        )


class Costs(Strict):
    """What an item costs by the route taken, in any unit; the right route costs nothing.

    ``taken[route][right]`` is the cost of sending an item to ``route`` that belongs to ``right``;
    ``taken[route]["*"]`` serves the right routes that are not listed, and ``wrong`` all others.
    """

    wrong: _Cost
    hand_sort: _Cost
    taken: dict[str, dict[str, _Cost]] = Field(default_factory=dict)


class Policy(Strict):
    """Streams, rules and costs; see the comments in ``assets/policy.toml``.

    Args:
        name: letters, digits, ``_``, ``-`` and ``.``; it leads the version of every decision.
        version: of this policy, as its owner counts.
        levels: of contamination, from clean to worst.
        kinds: of dirt, first the one that means no dirt, whatever it is called; empty where no rule
            reads dirt.
        without_contamination: the level taken for granted under a model without that task.
        without_dirt: the kind of dirt on every item that is not clean, under a model without
            that task.
        streams: route to stream; ``hand-sort`` is always there.
        rules: the first that fits a case decides it.
        costs: of each wrong route and of hand-sorting.

    Raises:
        PolicyError: it contradicts itself.
    """

    name: _Word
    version: _Word
    levels: tuple[Name, ...] = Field(min_length=2)
    kinds: tuple[Name, ...] = ()
    without_contamination: str | None = None
    without_dirt: str | None = None
    streams: dict[str, Stream] = Field(min_length=1)
    rules: tuple[Rule, ...] = Field(min_length=1)
    costs: Costs

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _check_answers(self)
        _check_routes(self)
        return self

    @property
    def dirt_kinds(self) -> tuple[str, ...]:
        """The kinds of dirt, none first; stand-ins where the policy names none."""
        return self.kinds or _NO_KINDS

    @property
    def routes(self) -> tuple[str, ...]:
        """All routes in the order of the rules, which settles ties; hand-sort is always there."""
        return tuple(dict.fromkeys((*(r.route for r in self.rules), *self.streams, HAND_SORT)))

    @property
    def full_version(self) -> str:
        """Name, version and the start of the content's SHA-256, such as ``default@1+0a1b2c3d``.

        The content is what the policy says, not how its file is written; but the order of what it
        lists counts, even where it decides nothing, as in ``[costs.taken.a]``.
        """
        digest = hashlib.sha256(self.model_dump_json().encode()).hexdigest()
        return f"{self.name}@{self.version}+{digest[:8]}"

    def rule_of(self, case: Case) -> int | None:
        """Index of the first rule that fits, or None where no rule does."""
        return next((i for i, rule in enumerate(self.rules) if rule.fits(case)), None)

    def cost(self, taken: str, right: str) -> float:
        """The cost of sending an item to ``taken`` that belongs to ``right``."""
        if taken == HAND_SORT:
            return self.costs.hand_sort
        if taken == right:
            return 0.0
        known = self.costs.taken.get(taken, {})
        return known.get(right, known.get(ANY, self.costs.wrong))

    def show(self, route: str) -> str:
        """The display name of a route."""
        stream = self.streams.get(route)
        return stream.name if stream else "Hand sorting"


def load_policy(path: Path | str | None = None) -> Policy:
    """Read a policy; the packaged one by default.

    Raises:
        PolicyError: unreadable file, unknown key, wrong value or a contradiction.

    Example:
        >>> policy = load_policy()
        >>> policy.rules[policy.rule_of(Case("paper", "partly", "organic"))].because
        'grease and organic dirt spoil paper'
    """
    packaged = ASSETS / "policy.toml"
    file = Path(path or packaged)
    try:
        return load_config(Policy, file)
    except PolicyError as error:
        raise PolicyError(f"{file}: {error}") from error
    except ConfigError as error:
        copy = f"cp {shlex.quote(str(packaged))} {shlex.quote(str(file))}"
        is_missing = isinstance(error.__cause__, FileNotFoundError)
        begin = f"; begin with a copy of the packaged one: {copy}" if is_missing else ""
        raise PolicyError(f"{error}{begin}") from error


def list_cases(policy: Policy, materials: Iterable[str]) -> Iterator[Case]:
    """Every case that can be: clean without dirt, every other level with each kind of dirt."""
    none, *dirty = policy.dirt_kinds
    for material in materials:
        yield Case(material, policy.levels[0], none)
        for level in policy.levels[1:]:
            yield from (Case(material, level, kind) for kind in dirty)


def check_materials(
    policy: Policy, materials: Sequence[str], taxonomy: Taxonomy, whose: str
) -> None:
    """Whether the policy knows what it speaks of and decides every case of these materials.

    Args:
        policy: to check.
        materials: those that must be decided, e.g. a model's.
        taxonomy: further materials that rules may name.
        whose: whose materials they are, for messages: ``the model's``.

    Raises:
        PolicyError: a rule names a material that neither knows, or a case is left undecided.
    """
    known = list(dict.fromkeys((*materials, *_classes(taxonomy, MATERIAL))))
    for number, rule in enumerate(policy.rules, 1):
        for name in rule.material:
            if name not in (*known, ANY):
                raise PolicyError(
                    f"{policy.name}: rule {number} names the material {name!r}, which neither the "
                    f"taxonomy nor the model knows; {nearest(name, known)}"
                )
    open_cases = [case for case in list_cases(policy, materials) if policy.rule_of(case) is None]
    if open_cases:
        more = f" and {len(open_cases) - 1} more cases" if len(open_cases) > 1 else ""
        raise PolicyError(
            f"{policy.name}: no rule decides {open_cases[0]}{more} of {whose} classes; add rules "
            f"for them, or a last rule without conditions, e.g. route = {HAND_SORT!r}"
        )


def check_taxonomy(policy: Policy, taxonomy: Taxonomy) -> None:
    """Whether the policy fits a taxonomy: its materials, levels and kinds of dirt.

    Raises:
        PolicyError: a name that the taxonomy lacks, other levels or kinds, an undecided case.
    """
    materials = _classes(taxonomy, MATERIAL)
    if not materials:
        raise PolicyError(f"{policy.name}: the taxonomy lists no {MATERIAL} to decide on")
    check_materials(policy, materials, taxonomy, "the taxonomy's")
    check_levels(policy, _classes(taxonomy, CONTAMINATION), "the taxonomy's")
    check_kinds(policy, _classes(taxonomy, DIRT), "the taxonomy's")


def check_levels(policy: Policy, levels: Sequence[str], whose: str) -> None:
    """Whether these levels are the policy's, in the same order; no levels are no contradiction.

    Raises:
        PolicyError: others, or in another order.
    """
    if levels and tuple(levels) != policy.levels:
        raise PolicyError(
            f"{policy.name}: its levels are {_list(policy.levels)}, but {whose} are "
            f"{_list(levels)}; write the same levels in the same order, from clean to worst"
        )


def check_kinds(policy: Policy, kinds: Sequence[str], whose: str) -> None:
    """Whether these kinds of dirt are the policy's, in any order; where either has none, no matter.

    A model's kinds stand in the order of the alphabet, so that only the policy's own order tells
    which of them means no dirt.

    Raises:
        PolicyError: others.
    """
    if kinds and policy.kinds and set(kinds) != set(policy.kinds):
        raise PolicyError(
            f"{policy.name}: its kinds of dirt are {_list(policy.kinds)}, but {whose} are "
            f"{_list(kinds)}; write the same kinds, none first"
        )


def idle_rules(policy: Policy, materials: Iterable[str]) -> list[int]:
    """Indices of the rules that decide no case of these materials."""
    used = {policy.rule_of(case) for case in list_cases(policy, materials)}
    return [index for index in range(len(policy.rules)) if index not in used]


def _fits(names: tuple[str, ...], answer: str) -> bool:
    return ANY in names or answer in names


def _classes(taxonomy: Taxonomy, task: str) -> tuple[str, ...]:
    info = taxonomy.tasks.get(task)
    return tuple(info.classes) if info else ()


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)


def _check_answers(policy: Policy) -> None:
    for what, names in (("levels", policy.levels), ("kinds", policy.kinds)):
        if len(set(names)) != len(names) or ANY in names or len(names) == 1:
            raise PolicyError(f"{what}: expected two or more distinct names, got {_list(names)}")
    for number, rule in enumerate(policy.rules, 1):
        for task, asked, known in (
            (MATERIAL, rule.material, rule.material),
            (CONTAMINATION, rule.contamination, policy.levels),
            (DIRT, rule.dirt, policy.kinds),
        ):
            if ANY in asked and len(asked) > 1:
                raise PolicyError(f"rule {number}: {task} lists {ANY!r} beside other names")
            wrong = [name for name in asked if name not in known and name != ANY]
            if wrong:
                raise PolicyError(
                    f"rule {number}: {task} {wrong[0]!r} is not in the policy's "
                    f"{'levels' if task == CONTAMINATION else 'kinds'}; {nearest(wrong[0], known)}"
                )
    if NO_DIRT in policy.kinds[1:]:
        raise PolicyError(
            f"kinds: the first means no dirt, and {policy.kinds[0]!r} stands before {NO_DIRT!r}; "
            f"write {NO_DIRT!r} first"
        )
    _check_assumed("without_contamination", policy.without_contamination, policy.levels)
    _check_assumed("without_dirt", policy.without_dirt, policy.kinds[1:])


def _check_assumed(key: str, answer: str | None, known: Sequence[str]) -> None:
    if answer is not None and answer not in known:
        raise PolicyError(f"{key}: {answer!r} cannot be assumed; {nearest(answer, known)}")


def _check_routes(policy: Policy) -> None:
    known = list(dict.fromkeys((*policy.streams, HAND_SORT)))
    hand_sort = policy.streams.get(HAND_SORT)
    if hand_sort and hand_sort.purity is not None:
        raise PolicyError(f"streams: {HAND_SORT} takes whatever is left and can have no purity")
    if ANY in policy.streams:
        raise PolicyError(f"streams: no stream can be named {ANY!r}")
    named = [(f"rule {n}", rule.route) for n, rule in enumerate(policy.rules, 1)]
    for taken, rights in policy.costs.taken.items():
        where = f"costs.taken.{taken}"
        named += [(where, name) for name in (taken, *rights) if name != ANY or name == taken]
        if taken in rights:
            raise PolicyError(f"{where}: {taken!r} is the right route there and costs nothing")
    for where, name in named:
        if name not in known:
            raise PolicyError(f"{where}: no stream {name!r}; {nearest(name, known)}")
    if HAND_SORT in policy.costs.taken:
        raise PolicyError(
            f"costs.taken.{HAND_SORT}: hand-sorting costs the same whatever the item is; "
            "set costs.hand_sort"
        )
