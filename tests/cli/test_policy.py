from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.cli.program import beltsight, spawn
from tests.tiny import CLASSES, tiny_card, write_tiny

from beltsight.card import TaskCard
from beltsight.config import ASSETS
from beltsight.decide import bind_taxonomy
from beltsight.policy import load_policy
from beltsight.report.policy import policy_record
from beltsight.taxonomy import load_taxonomy

SITE = """
name = "site"
version = "3"
levels = ["clean", "dirty"]
without_contamination = "clean"
[streams]
warm = { name = "Warm colours", purity = 0.9 }
cold = { name = "Cold colours" }
[[rules]]
material = ["red"]
contamination = "clean"
route = "warm"
because = "red is warm"
[[rules]]
route = "cold"
[costs]
wrong = 4
hand_sort = 1
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    path = tmp_path / "site.toml"
    path.write_text(SITE, encoding="utf-8")
    return path


def test_explain_prints_what_goes_where_and_how_sure() -> None:
    result = beltsight("policy", "explain")
    assert (result.status, result.err) == (0, "")
    assert load_policy().full_version in result.out
    line = r"paper, cardboard +partly, heavily +organic +residual +\d+\.\d % +3"
    assert re.search(line, result.out)
    assert "grease and organic dirt spoil paper" in result.out
    assert re.search(r"PET +PET +90\.0 % +5", result.out)
    for material in load_taxonomy().tasks["material"].classes:
        assert re.search(rf"\b{material}\b", result.out)


def test_the_packaged_policy_has_a_name() -> None:
    named = beltsight("policy", "check", "--policy", "default")
    assert (named.status, named.out) == (0, beltsight("policy", "check").out)


def test_explain_fits_80_columns() -> None:
    wide = {"COLUMNS": "80", "FORCE_COLOR": "1", "TERM": "dumb", "NO_COLOR": "1"}
    result = spawn("policy", "explain", **wide)
    assert result.returncode == 0
    assert "\N{HORIZONTAL ELLIPSIS}" not in result.stdout
    plain = re.sub(r"\x1b\[[0-9;]*m", "", result.stdout)
    assert max(len(line.rstrip()) for line in plain.splitlines()) <= 80


def test_json_is_the_whole_policy() -> None:
    result = beltsight("policy", "explain", "--json")
    decider = bind_taxonomy(load_policy(), load_taxonomy())
    assert result.json == {**policy_record(decider), "idle_rules": []}


def test_a_model_narrows_it_to_its_classes_and_says_what_is_assumed(
    tmp_path: Path, site: Path
) -> None:
    model = write_tiny(tmp_path / "m.onnx")
    result = beltsight("policy", "explain", "--policy", site, "--model", model)
    assert result.status == 0
    assert "Assumed: the model does not tell contamination" in result.out
    assert re.search(r"red +clean +none +warm +90\.0 % +1", result.out)
    record = beltsight("policy", "check", "--policy", site, "--model", model, "--json").json
    assert {case["material"] for case in record["cases"]} == {"blue", "green", "red"}
    assert {case["dirt"] for case in record["cases"]} == {None}
    assert len(record["model_hash"]) == 64


def test_check_counts_cases_and_names_idle_rules(tmp_path: Path, site: Path) -> None:
    model = write_tiny(tmp_path / "m.onnx")
    with site.open("a", encoding="utf-8") as file:
        file.write('[[rules]]\nmaterial = "green"\nroute = "cold"\n')
    result = beltsight("policy", "check", "--policy", site, "--model", model)
    assert result.status == 0
    assert "6 cases of 3 materials are decided by 3 rules" in result.out
    assert "assumed: the model does not tell contamination" in result.out
    assert "rule 3 decides no case" in result.out
    packaged = beltsight("policy", "check")
    assert (packaged.status, "decides no case" in packaged.out) == (0, False)


def test_check_names_streams_that_nothing_can_reach(tmp_path: Path, site: Path) -> None:
    task = TaskCard(name="material", classes=CLASSES, threshold=0.95)
    model = write_tiny(tmp_path / "m.onnx", tiny_card(tasks=(task,)))
    result = beltsight("policy", "explain", "--policy", site, "--model", model)
    assert re.search(r"red +clean +none +warm +95\.0 % +1", result.out)
    assert "abstains where its confidence in material is below 95.0 %" in result.out
    free = SITE.replace(", purity = 0.9", "") + "[costs.taken.warm]\ncold = 0\n"
    site.write_text(free, encoding="utf-8")
    result = beltsight("policy", "check", "--policy", site, "--model", model)
    assert (result.status, "stream cold is never chosen" in result.out) == (0, True)
    closed = task.model_copy(update={"threshold": 1.5})
    write_tiny(model, tiny_card(tasks=(closed,)))
    result = beltsight("policy", "check", "--policy", site, "--model", model)
    assert "abstains on every item" in result.out


def test_a_wrong_policy_is_one_sentence_and_status_2(tmp_path: Path, site: Path) -> None:
    model = write_tiny(tmp_path / "m.onnx")
    text = (ASSETS / "policy.toml").read_text(encoding="utf-8")
    path = tmp_path / "wrong.toml"
    path.write_text(text.replace('material = "glass"', 'material = "glas"'), encoding="utf-8")
    for arguments, said in [
        (("--policy", path), "did you mean 'glass'?"),
        (("--policy", site), "names the material 'red'"),
        (("--policy", tmp_path / "none.toml"), "no such file"),
        (("--model", model), "no rule decides material blue"),
    ]:
        result = beltsight("policy", "check", *arguments)
        assert (result.status, result.out) == (2, "")
        assert said in result.err
        assert len(result.err.splitlines()) == 1
    assert beltsight("policy", "dance").status == 2


def test_a_policy_that_is_not_there_says_how_one_begins(tmp_path: Path) -> None:
    done = beltsight("policy", "check", "--policy", tmp_path / "plant.toml")
    assert done.status == 2
    assert f"cp {ASSETS / 'policy.toml'} {tmp_path / 'plant.toml'}" in done.err
