"""Tasks and classes are data."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from beltsight.errors import ConfigError, TaxonomyError
from beltsight.taxonomy import Taxonomy, load_taxonomy


@pytest.fixture(scope="module")
def packaged() -> Taxonomy:
    return load_taxonomy()


def test_the_packaged_taxonomy_has_what_the_project_promises(packaged: Taxonomy) -> None:
    assert {"glass", "paper", "cardboard", "plastic", "metal", "trash"} <= set(
        packaged.tasks["material"].classes
    )
    contamination = packaged.tasks["contamination"]
    assert list(contamination.classes) == ["clean", "partly", "heavily"]
    assert contamination.ordered
    assert not contamination.open
    for task in packaged.tasks.values():
        colours = [info.colour.lower() for info in task.classes.values()]
        assert len(set(colours)) == len(colours)


def test_a_spec_has_the_labels_in_use_or_all_levels(packaged: Taxonomy) -> None:
    material = packaged.spec("material", ["metal", "glass", "metal", "wood"])
    assert (material.classes, material.ordered) == (("glass", "metal", "wood"), False)
    contamination = packaged.spec("contamination", ["heavily"])
    assert contamination.classes == ("clean", "partly", "heavily")
    assert contamination.ordered
    assert packaged.spec("shape", ["flat", "round"]).classes == ("flat", "round")


def test_a_label_that_a_closed_task_does_not_list_names_the_nearest(packaged: Taxonomy) -> None:
    with pytest.raises(TaxonomyError, match=r"'heavy' is not .* did you mean 'heavily'"):
        packaged.spec("contamination", ["clean", "heavy"])


def test_one_class_is_no_question(packaged: Taxonomy) -> None:
    with pytest.raises(TaxonomyError, match="at least two distinct"):
        packaged.spec("material", ["glass"])


def test_every_label_can_be_shown(packaged: Taxonomy) -> None:
    assert packaged.show("material", "trash").name == "Residual waste"
    for task, label in [
        ("material", "wood"),
        ("shape", "flat"),
        ("material", "бумага"),
        ("x", "caf\udce9"),
    ]:
        info = packaged.show(task, label)
        assert info.name == label
        assert re.fullmatch("#[0-9a-f]{6}", info.colour)
        assert packaged.show(task, label) == info


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tasks]", "at least one"),
        ("", "tasks: Field required"),
        ("[tasks.material]\nopne = true", "did you mean 'open'"),
        ("[tasks.level]\nordered = true\nopen = true", "lists its levels"),
        ("[tasks.level]\nordered = true", "lists its levels"),
        ("[tasks.m.classes]\na = { name = 'A', colour = 'red' }", "colour"),
        ("[tasks.m.classes]\na = { name = 'A', color = '#000000' }", "did you mean 'colour'"),
    ],
)
def test_a_wrong_taxonomy_is_one_error_naming_the_file(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "plant.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=said) as caught:
        load_taxonomy(path)
    assert "plant.toml" in str(caught.value)
