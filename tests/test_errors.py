"""The error hierarchy is the tree that its docstring draws."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from pathlib import Path

import pytest

from beltsight import errors
from beltsight.errors import BeltsightError, MissingExtraError

CLASSES = [
    cls
    for _, cls in inspect.getmembers(errors, inspect.isclass)
    if cls.__module__ == errors.__name__
]


def drawn_tree() -> dict[str, tuple[str | None, str]]:
    """Class name -> (parent, what it means), read from the tree in the docstring."""
    tree: dict[str, tuple[str | None, str]] = {}
    above: list[str] = []  # the class last drawn at each depth
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^    (?P<stem>[│├└─ ]*)(?P<name>\w+Error)(?: +(?P<text>.+))?$", line)
        if found:
            depth = len(found["stem"]) // 4
            tree[found["name"]] = (above[depth - 1] if depth else None, found["text"] or "")
            above[depth:] = [found["name"]]
    return tree


def test_the_drawn_tree_is_the_class_tree() -> None:
    classes = {
        cls.__name__: None if cls is BeltsightError else cls.__bases__[0].__name__
        for cls in CLASSES
    }
    assert len(classes) > 12
    assert {name: parent for name, (parent, _) in drawn_tree().items()} == classes


def test_each_class_says_what_the_tree_says() -> None:
    for name, (parent, text) in drawn_tree().items():
        if parent is not None:
            said = (getattr(errors, name).__doc__ or "").splitlines()[0]
            assert said.rstrip(".").lower() == text.lower(), name


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_is_caught_as_the_base_and_survives_a_process_border(
    cls: type[BeltsightError],
) -> None:
    error = MissingExtraError("a plot", "lab") if cls is MissingExtraError else cls("what to do")
    assert isinstance(error, BeltsightError)
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(twin) is cls
        assert str(twin) == str(error)
        assert vars(twin) == vars(error)


def test_every_error_but_the_bases_is_raised_somewhere() -> None:
    """A class that nothing raises is a promise that nothing keeps."""
    source = "".join(
        path.read_text(encoding="utf-8")
        for path in Path(errors.__file__).parent.rglob("*.py")
        if path.name != "errors.py"
    )
    bases = {cls.__bases__[0].__name__ for cls in CLASSES}
    leaves = {cls.__name__ for cls in CLASSES} - bases
    assert len(leaves) > 7
    assert {name for name in leaves if not re.search(rf"\b{name}\(", source)} == set()


def test_a_missing_extra_names_the_command_that_installs_it() -> None:
    error = MissingExtraError("training", "train")
    assert "pip install -c constraints.txt '.[train]'" in str(error)  # no package is published yet
    assert "pip install 'beltsight[train]'" in str(error)
    assert (error.purpose, error.extra) == ("training", "train")
