"""Tasks and classes as data: what may be answered, its display name and its colour."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from beltsight.config import ASSETS, load_config, nearest
from beltsight.errors import TaxonomyError
from beltsight.records import TaskSpec

_FALLBACK_COLOURS = ("#4c78a8", "#f58518", "#54a24b", "#b279a2", "#e45756", "#72b7b2", "#9d755d")


class ClassInfo(BaseModel):
    """How one class is shown."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    colour: str = Field(pattern=r"^#[0-9a-fA-F]{6}$")


class TaskInfo(BaseModel):
    """One task of a taxonomy; see the comments in ``assets/taxonomy.toml``."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    open: bool = False
    ordered: bool = False
    classes: dict[str, ClassInfo] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _levels_are_listed(self) -> TaskInfo:
        if self.ordered and (self.open or len(self.classes) < 2):
            raise ValueError("an ordered task lists its levels, two or more, and is not open")
        return self


class Taxonomy(BaseModel):
    """All tasks that a data set may label."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    tasks: dict[str, TaskInfo]

    def spec(self, task: str, labels: Iterable[str]) -> TaskSpec:
        """The TaskSpec of a data set that uses these labels.

        An ordered task has all its levels in their order, used or not; any other task has
        the labels in use, sorted.

        Raises:
            TaxonomyError: a label that a closed task does not list, or fewer than two classes.
        """
        used = sorted(set(labels))
        info = self.tasks.get(task, TaskInfo(open=True))
        unknown = [label for label in used if label not in info.classes]
        if unknown and not info.open:
            raise TaxonomyError(
                f"task {task!r}: label {unknown[0]!r} is not in the taxonomy; "
                f"{nearest(unknown[0], info.classes)} (its classes: {', '.join(info.classes)})"
            )
        classes = tuple(info.classes) if info.ordered else tuple(used)
        return TaskSpec(task, classes, info.ordered)

    def show(self, task: str, label: str, place: int | None = None) -> ClassInfo:
        """Display name and colour; a class that is not listed shows its own name.

        Args:
            task, label: of the class.
            place: among the task's classes, so that a few that are not listed differ in colour.
        """
        info = self.tasks.get(task)
        if info and label in info.classes:
            return info.classes[label]
        # A folder may have a name that is no text.
        number = sum(label.encode(errors="surrogateescape")) if place is None else place
        colour = _FALLBACK_COLOURS[number % len(_FALLBACK_COLOURS)]
        return ClassInfo(name=label, colour=colour)


def load_taxonomy(path: Path | None = None) -> Taxonomy:
    """Read a taxonomy; the packaged one by default.

    Raises:
        ConfigError: unreadable file, unknown key or wrong type.

    Example:
        >>> load_taxonomy().spec("contamination", ["clean"]).classes
        ('clean', 'partly', 'heavily')
    """
    taxonomy = load_config(Taxonomy, path or ASSETS / "taxonomy.toml")
    if not taxonomy.tasks:
        raise TaxonomyError(f"{path}: a taxonomy needs at least one [tasks.NAME]")
    return taxonomy
