"""A small plant whose costs can be computed in the head, for tests of policies and decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from beltsight.policy import Policy
from beltsight.records import Answer, Prediction, TaskSpec

MATERIALS = ("glass", "paper", "plastic")
LEVELS = ("clean", "partly", "heavily")
KINDS = ("none", "dust", "organic")
TASKS = (
    TaskSpec("material", MATERIALS),
    TaskSpec("contamination", LEVELS, ordered=True),
    TaskSpec("dirt", ("dust", "none", "organic")),  # as a taxonomy sorts the labels in use
)


def plant_values() -> dict[str, Any]:
    """The policy as a TOML file would give it: streams pulp, melt and burn."""
    return {
        "name": "plant",
        "version": "7",
        "levels": list(LEVELS),
        "kinds": list(KINDS),
        "streams": {name: {"name": name.title()} for name in ("burn", "melt", "pulp")},
        "rules": [
            {"material": "paper", "dirt": ["none", "dust"], "route": "pulp"},
            {"material": "paper", "route": "burn"},
            {"contamination": "heavily", "route": "burn", "because": "too dirty to melt"},
            {"material": ["glass", "plastic"], "route": "melt"},
        ],
        "costs": {"wrong": 4, "hand_sort": 1, "taken": {"burn": {"*": 2}, "pulp": {"burn": 8}}},
    }


def plant(**changes: Any) -> Policy:
    """The policy of :func:`plant_values`; ``changes`` replace its parts."""
    return Policy.model_validate({**plant_values(), **changes})


def answer(task: TaskSpec, probabilities: Sequence[float]) -> Answer:
    table = dict(zip(task.classes, probabilities, strict=True))
    label = max(table, key=lambda name: table[name])
    return Answer(label, table[label], table)


def predicted(
    rows: Mapping[str, Sequence[float]], tasks: Sequence[TaskSpec] = TASKS, **fields: Any
) -> Prediction:
    """A prediction with these probabilities per task, in the order of its classes."""
    answers = {task.name: answer(task, rows[task.name]) for task in tasks if task.name in rows}
    return Prediction("a.jpg", answers, **fields)


def sure(material: str, level: str = "clean", kind: str = "none") -> dict[str, list[float]]:
    """Probabilities of a model that has no doubt."""
    labels = {"material": material, "contamination": level, "dirt": kind}
    return {
        task.name: [float(name == labels[task.name]) for name in task.classes] for task in TASKS
    }
