"""A policy is data that is checked before it decides anything."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tests.plant import LEVELS, MATERIALS, plant, plant_values

from beltsight.config import ASSETS
from beltsight.errors import ConfigError, PolicyError
from beltsight.policy import (
    HAND_SORT,
    Case,
    Policy,
    check_materials,
    check_taxonomy,
    idle_rules,
    list_cases,
    load_policy,
)
from beltsight.taxonomy import Taxonomy, load_taxonomy

PLASTICS = ("plastic", "LDPE", "PP", "PS", "PVC")


def packaged_route(material: str, level: str, kind: str) -> str:
    policy = load_policy()
    rule = policy.rule_of(Case(material, level, kind))
    assert rule is not None
    return policy.rules[rule].route


@pytest.mark.parametrize(
    ("material", "clean", "dusty", "very_dusty", "greasy", "very_greasy"),
    [
        ("paper", "paper", "paper", "paper", "residual", "residual"),
        ("cardboard", "paper", "paper", "paper", "residual", "residual"),
        ("glass", "glass", "glass", "wash", "glass", "wash"),
        ("metal", "metal", "metal", "wash", "metal", "wash"),
        ("PET", "PET", "PET", "wash", "PET", "wash"),
        ("HDPE", "HDPE", "HDPE", "wash", "HDPE", "wash"),
        *((name, "plastic", "plastic", "wash", "plastic", "wash") for name in PLASTICS),
        ("recyclable", "mixed", "mixed", "wash", "mixed", "wash"),
        ("trash", *["residual"] * 5),
        ("organic", *["organic"] * 5),
    ],
)
def test_the_packaged_policy_is_what_the_paper_asks_for(
    material: str, clean: str, dusty: str, very_dusty: str, greasy: str, very_greasy: str
) -> None:
    assert packaged_route(material, "clean", "none") == clean
    assert packaged_route(material, "partly", "dust") == dusty
    assert packaged_route(material, "heavily", "dust") == very_dusty
    assert packaged_route(material, "partly", "organic") == greasy
    assert packaged_route(material, "heavily", "organic") == very_greasy


def test_the_packaged_policy_fits_the_packaged_taxonomy_without_an_idle_rule() -> None:
    policy, taxonomy = load_policy(), load_taxonomy()
    check_taxonomy(policy, taxonomy)
    assert idle_rules(policy, taxonomy.tasks["material"].classes) == []
    assert all(rule.because for rule in policy.rules)
    assert policy.without_contamination is None


def test_cases_are_those_that_can_be() -> None:
    found = [str(case) for case in list_cases(plant(), ["paper"])]
    assert found == [
        "material paper, contamination clean, dirt none",
        "material paper, contamination partly, dirt dust",
        "material paper, contamination partly, dirt organic",
        "material paper, contamination heavily, dirt dust",
        "material paper, contamination heavily, dirt organic",
    ]
    plain = plant(kinds=[], rules=[{"route": "burn"}])
    assert len(list(list_cases(plain, ["paper"]))) == len(LEVELS)


def test_the_first_rule_that_fits_decides() -> None:
    policy = plant()
    assert policy.rule_of(Case("paper", "heavily", "dust")) == 0
    assert policy.rule_of(Case("paper", "heavily", "organic")) == 1
    assert policy.rule_of(Case("glass", "heavily", "organic")) == 2
    assert policy.rule_of(Case("glass", "partly", "organic")) == 3
    assert policy.rule_of(Case("wood", "clean", "none")) is None


def test_costs_come_from_the_most_special_entry() -> None:
    policy = plant()
    assert policy.cost("pulp", "pulp") == 0
    assert policy.cost("pulp", "burn") == 8
    assert policy.cost("pulp", "melt") == 4
    assert policy.cost("burn", "melt") == 2
    assert policy.cost("melt", HAND_SORT) == 4
    assert {policy.cost(HAND_SORT, right) for right in policy.routes} == {1}


def test_routes_stand_in_the_order_of_the_rules_and_hand_sort_is_always_there() -> None:
    assert plant().routes == ("pulp", "burn", "melt", HAND_SORT)
    by_hand = plant(rules=[{"material": "glass", "route": HAND_SORT}, {"route": "melt"}])
    assert by_hand.routes == (HAND_SORT, "melt", "burn", "pulp")
    assert plant().show("melt") == "Melt"
    assert plant().show(HAND_SORT) == "Hand sorting"


def test_the_version_tells_contents_apart_and_not_how_they_are_written(tmp_path: Path) -> None:
    text = (ASSETS / "policy.toml").read_text(encoding="utf-8")
    written = {
        "same": "# a comment\n" + text.replace("wrong = 5.0", "wrong = 5"),
        "other": text.replace("wrong = 5.0", "wrong = 6.0"),
    }
    versions = {}
    for name, changed in written.items():
        path = tmp_path / f"{name}.toml"
        path.write_text(changed, encoding="utf-8")
        versions[name] = load_policy(path).full_version
    assert versions["same"] == load_policy().full_version
    assert versions["other"] != versions["same"]
    assert re.fullmatch(r"default@1\+[0-9a-f]{8}", versions["other"])


def test_the_order_of_entries_is_part_of_the_version() -> None:
    costs = plant_values()["costs"]
    listed = [("burn", 8), ("melt", 4)]
    both = [plant(costs={**costs, "taken": {"pulp": dict(way)}}) for way in (listed, listed[::-1])]
    assert both[0] == both[1] and both[0].full_version != both[1].full_version


STREAMS = plant_values()["streams"]
COSTS = {"wrong": 4, "hand_sort": 1}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rules": [{"route": "meltt"}]}, r"rule 1: no stream 'meltt'; did you mean 'melt'"),
        ({"rules": []}, "rules"),
        ({"rules": [{"contamination": "partely", "route": "burn"}]}, "did you mean 'partly'"),
        ({"rules": [{"dirt": "dusty", "route": "burn"}]}, "'dusty' .* did you mean 'dust'"),
        ({"rules": [{"dirt": "dust", "route": "burn"}], "kinds": []}, "'dust' is not in the .*kin"),
        ({"rules": [{"material": [], "route": "burn"}]}, "material"),
        ({"rules": [{"material": ["*", "paper"], "route": "burn"}]}, "beside other names"),
        ({"rules": [{"materal": "paper", "route": "burn"}]}, "materal"),
        ({"levels": ["clean", "clean"]}, "distinct"),
        ({"kinds": ["none"]}, "kinds: expected two or more"),
        ({"kinds": ["dust", "none", "organic"]}, "first means no dirt, and 'dust' stands before"),
        ({"without_contamination": "cleen"}, "did you mean 'clean'"),
        ({"without_dirt": "none"}, "without_dirt: 'none' cannot be assumed"),
        ({"streams": {**STREAMS, HAND_SORT: {"name": "By hand", "purity": 0.5}}}, "no purity"),
        ({"streams": {**STREAMS, "*": {"name": "All"}}}, "can be named"),
        ({"streams": {**STREAMS, "melt": {"name": "Melt", "purity": 1.5}}}, "purity"),
        ({"streams": {**STREAMS, "melt": {"name": "Melt", "purity": float("nan")}}}, "purity"),
        ({"costs": {**COSTS, "wrong": -1}}, "wrong"),
        ({"streams": {**STREAMS, "melt": {"name": "Melt", "purity": True}}}, "purity"),
        ({"costs": {**COSTS, "wrong": float("nan")}}, "wrong"),
        ({"costs": {**COSTS, "wrong": True}}, "wrong"),
        ({"costs": {**COSTS, "wrong": "5"}}, "wrong"),
        ({"costs": {**COSTS, "hand_sort": float("inf")}}, "hand_sort"),
        ({"costs": {"wrong": 4}}, "hand_sort"),
        ({"costs": {**COSTS, "taken": {"melt": {"burn": -2}}}}, "melt.burn"),
        ({"costs": {**COSTS, "taken": {"metl": {"burn": 2}}}}, "'metl'; did you mean 'melt'"),
        ({"costs": {**COSTS, "taken": {"melt": {"brun": 2}}}}, "'brun'; did you mean 'burn'"),
        ({"costs": {**COSTS, "taken": {"melt": {"melt": 2}}}}, "costs nothing"),
        ({"costs": {**COSTS, "taken": {HAND_SORT: {"melt": 2}}}}, "set costs.hand_sort"),
        ({"name": "two words"}, "name"),
        ({"version": 7}, "version"),
    ],
)
def test_a_policy_that_contradicts_itself_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises((PolicyError, ValueError), match=said):
        plant(**changes)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('route = "glass"', 'route = "gass"', "rule 5: no stream 'gass'; did you mean 'glass'"),
        ("hand_sort = 1.0", "hand_sort = nan", "costs.hand_sort: .*finite"),
        ("wrong = 5.0", "wrong = -5.0", "costs.wrong: .*greater than or equal to 0"),
        ("without_dirt =", "without_dirrt =", "did you mean 'without_dirt'"),
        ("[streams]", "[streams", "not readable as TOML"),
    ],
)
def test_every_problem_of_a_file_names_the_file(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    text = (ASSETS / "policy.toml").read_text(encoding="utf-8")
    assert text.count(old) == 1
    path = tmp_path / "site.toml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(PolicyError, match=said) as caught:
        load_policy(path)
    assert "site.toml" in str(caught.value)


def test_no_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="no such file"):
        load_policy(tmp_path / "none.toml")
    assert issubclass(PolicyError, ConfigError)


def test_an_unknown_material_names_the_nearest_unless_the_model_knows_it() -> None:
    rules = [{"material": "woood", "route": "burn"}, {"route": "melt"}]
    policy = plant(rules=rules)
    with pytest.raises(PolicyError, match=r"rule 1 .* 'woood'.* did you mean 'wood'"):
        check_materials(policy, ["wood", "paper"], load_taxonomy(), "the model's")
    check_materials(policy, ["woood", "paper"], load_taxonomy(), "the model's")


def test_an_undecided_case_is_named() -> None:
    policy = plant(rules=plant_values()["rules"][:3])
    said = r"no rule decides material glass, contamination clean, dirt none and 5 more cases of the"
    with pytest.raises(PolicyError, match=said):
        check_materials(policy, MATERIALS, load_taxonomy(), "the model's")


def taxonomy_of(**tasks: dict[str, Any]) -> Taxonomy:
    def shown(names: tuple[str, ...]) -> dict[str, Any]:
        return {name: {"name": name, "colour": "#000000"} for name in names}

    return Taxonomy.model_validate(
        {
            "tasks": {
                task: {**info, "classes": shown(info["classes"])} for task, info in tasks.items()
            }
        }
    )


def test_a_taxonomy_with_other_levels_or_kinds_is_said() -> None:
    materials = {"classes": MATERIALS}
    check_taxonomy(
        plant(), taxonomy_of(material=materials, dirt={"classes": ("dust", "organic", "none")})
    )
    with pytest.raises(
        PolicyError, match="clean, partly, heavily, but the taxonomy's are low, high"
    ):
        check_taxonomy(
            plant(), taxonomy_of(material=materials, contamination={"classes": ("low", "high")})
        )
    with pytest.raises(PolicyError, match="kinds of dirt are none, dust, organic, but"):
        check_taxonomy(plant(), taxonomy_of(material=materials, dirt={"classes": ("none", "mud")}))
    with pytest.raises(PolicyError, match="no material"):
        check_taxonomy(plant(), taxonomy_of(contamination={"classes": LEVELS}))


def test_a_rule_that_nothing_reaches_is_found() -> None:
    policy = plant(rules=[{"route": "burn"}, {"material": "paper", "route": "pulp"}])
    assert idle_rules(policy, MATERIALS) == [1]
    assert isinstance(policy, Policy)
