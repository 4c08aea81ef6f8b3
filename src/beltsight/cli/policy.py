"""``beltsight policy``"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beltsight.cli.dataset_options import TaxonomyOption
from beltsight.cli.model_argument import DEFAULT, PolicyOption, open_model, open_policy

if TYPE_CHECKING:
    from beltsight.decide import Decider


class Action(StrEnum):
    """What to do with a policy."""

    EXPLAIN = "explain"
    CHECK = "check"


def command(
    action: Annotated[
        Action,
        typer.Argument(
            help="'explain' prints what goes where and at which confidence; 'check' only says "
            "whether every case is decided, and what is idle.",
            show_default=False,
        ),
    ],
    policy: PolicyOption = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="For the classes of a model: a model file, or 'default'. Without it: for those of "
            "the taxonomy.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    taxonomy: TaxonomyOption = None,
) -> None:
    """Show or check a policy: which items go where, and why.

    Without --policy it is the packaged one. A policy that is wrong, leaves a case undecided or
    does not fit the model is a problem that is said, and the exit status is then 2.
    """
    from beltsight.cli.console import print_json

    decider, idle = _bound(policy or DEFAULT, model, taxonomy)
    if json:
        from beltsight.report.policy import policy_record

        print_json({**policy_record(decider), "idle_rules": idle})
    elif action is Action.EXPLAIN:
        _explain(decider)
    else:
        _report(decider, idle)


def _bound(policy: str, model: str | None, taxonomy: Path | None) -> tuple[Decider, list[int]]:
    """The policy bound to the model or the taxonomy, and the numbers of rules without a case."""
    from beltsight.decide import bind, bind_taxonomy
    from beltsight.policy import idle_rules
    from beltsight.taxonomy import load_taxonomy

    known = load_taxonomy(taxonomy)
    loaded = open_policy(policy)
    if model is None:
        decider = bind_taxonomy(loaded, known)
    else:
        opened = open_model(model, verify=False)
        decider = bind(loaded, opened.tasks, opened.hash, known, opened.thresholds)
    return decider, [index + 1 for index in idle_rules(loaded, decider.materials)]


def _explain(decider: Decider) -> None:
    from beltsight.cli.console import print_line, print_table
    from beltsight.report.policy import case_rows, stream_rows

    rules = decider.policy.rules
    print_table(
        f"Policy {decider.policy_version}",
        ["Material", "Contamination", "Dirt", "Route", "Sure from", "Rule"],
        case_rows(decider),
    )
    print_line("")
    print_table(
        "",
        ["Rule", "Route", "Because"],
        [(str(number), rule.route, rule.because) for number, rule in enumerate(rules, 1)],
    )
    print_line("")
    print_table("", ["Route", "Name", "Purity", "Cost if wrong"], stream_rows(decider))
    print_line("")
    for assumption in decider.assumptions:
        print_line(f"Assumed: {assumption}.")
    print_line("Sure from: at this confidence, with all doubt on one other answer, an item goes")
    print_line("to its route; below, by hand or where a mistake costs less.")
    for task, least in decider.thresholds.items():
        print_line(f"{_abstains(task, least)}: sorted by hand.")


def _abstains(task: str, least: float) -> str:
    if least > 1:
        return f"The model abstains on every item: its threshold of {task} accepts nothing"
    return f"The model abstains where its confidence in {task} is below {100 * least:.1f} %"


def _report(decider: Decider, idle: list[int]) -> None:
    from beltsight.cli.console import print_line
    from beltsight.policy import list_cases
    from beltsight.report.policy import never_chosen

    cases = len(list(list_cases(decider.policy, decider.materials)))
    print_line(
        f"{decider.policy_version}: {cases} cases of {len(decider.materials)} materials are "
        f"decided by {len(decider.policy.rules)} rules"
    )
    for assumption in decider.assumptions:
        print_line(f"assumed: {assumption}")
    for number in idle:
        print_line(f"rule {number} decides no case: earlier rules, or no material, leave it none")
    for task, least in decider.thresholds.items():
        if least > 1:
            print_line(_abstains(task, least))
    for route, taken in never_chosen(decider):
        if taken:
            print_line(
                f"stream {route} is never chosen: even an item that surely belongs there costs no "
                f"more in {taken}, which comes first; see costs.taken.{taken}"
            )
