"""plan.toml as checked values, and the jobs that follow from it."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    ValidationError,
    model_validator,
)
from studies.relu_placement.model import Initialisation, Normalisation, Shape

# A guess without looking errs so often, in percent: 10 digits, 6 materials, none rare.
_CHANCE = {"mnist": 90.0, "trashnet": 100 * 5 / 6}
_QUICK = {"photos": 200, "sizes": 2, "variants": 2, "epochs": 2, "batch_size": 32}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Recipe(_Part):
    """How a stack is trained: SGD with momentum on the cross-entropy.

    Args:
        epochs: passes over the training photos.
        batch_size: photos a step, the same for all placements.
        rate: peak of the learning rate.
        momentum: of SGD.
        weight_decay: of SGD, on biases, too.
        schedule: of the rate after its rise.
        initialisation: of the weights, equal for all placements.
        inputs: ``unit``: 0 to 1; ``standard``: mean 0, deviation 1 over the training photos;
            ``matconvnet``: 0 to 255 less the mean photo.
        normalisation: ``batch`` adds batch normalisation.
        precision: of the products; weights are float32.
        flip: mirror half of the training photos, drawn anew each epoch.
    """

    epochs: int = Field(10, ge=1)
    batch_size: int = Field(100, ge=2)
    rate: float = Field(0.01, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(0.0005, ge=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    initialisation: Initialisation = "lecun"
    inputs: Literal["unit", "standard", "matconvnet"] = "standard"
    normalisation: Normalisation = "none"
    precision: Literal["float32", "bfloat16"] = "float32"
    flip: bool = False


class Variant(_Part):
    """One way to train within an experiment.

    Args:
        name: unique in it.
        note: what is different, for the table.
        photos: in place of the experiment's.
        recipe: merged over the experiment's.
    """

    name: str = Field("base", pattern=r"^[a-z0-9][a-z0-9-]*$")
    note: str = ""
    photos: int | None = None
    recipe: dict[str, Any] = Field(default_factory=dict)


class Experiment(_Part):
    """Sizes, seeds and variants that are trained on one set of photos.

    Args:
        title: for tables and plots.
        data: which photos.
        photos: how many of the training photos are learned from; 0 for all.
        sizes: values of N.
        seeds: of weights and order.
        test: whether the test photos are looked at once, at the end of each job.
        recipe: merged over the plan's.
        variants: each with all sizes and seeds.
    """

    title: str
    data: Literal["mnist", "trashnet"]
    photos: int = Field(ge=0)
    sizes: tuple[int, ...] = Field(min_length=1)
    seeds: tuple[NonNegativeInt, ...] = Field(min_length=1)
    test: bool = False
    recipe: dict[str, Any] = Field(default_factory=dict)
    variants: tuple[Variant, ...] = (Variant(),)

    @model_validator(mode="after")
    def _test_is_mnist(self) -> Experiment:
        if self.test and self.data != "mnist":
            raise ValueError("decisions on TrashNet are taken on validation: test = false")
        if len({variant.name for variant in self.variants}) < len(self.variants):
            raise ValueError("two variants have one name")
        return self

    @property
    def chance(self) -> float:
        """Error of a guess, in percent."""
        return _CHANCE[self.data]

    @property
    def split(self) -> str:
        """What the figures are measured on."""
        return "test" if self.test else "validation"

    @property
    def column(self) -> str:
        """Of errors.csv, with these figures."""
        return "test_error" if self.test else "val_error"


class Plan(_Part):
    """What plan.toml holds: a recipe, and experiments whose own settings lie over it."""

    recipe: dict[str, Any]
    experiments: dict[str, Experiment]


@dataclass(frozen=True)
class Job:
    """One stack of placements to train: the least that is done or not done.

    Args:
        experiment: its name.
        variant: its name.
        data: which photos.
        photos: learned from; 0 for all.
        size_px: N.
        seed: of weights and order.
        test: whether test is looked at.
        recipe: how it is trained.
    """

    experiment: str
    variant: str
    data: str
    photos: int
    size_px: int
    seed: int
    test: bool
    recipe: Recipe

    @property
    def name(self) -> str:
        """Names the job's files and lines."""
        return f"{self.experiment}-{self.variant}-{self.size_px}px-{self.seed}"

    @property
    def settings(self) -> dict[str, Any]:
        """All that a result depends on, flat."""
        own = {"data": self.data, "photos": self.photos, "size_px": self.size_px, "seed": self.seed}
        return {**own, **self.recipe.model_dump()}

    @property
    def digest(self) -> str:
        """SHA-256 of the settings."""
        return hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()

    @property
    def key(self) -> tuple[str, str, str]:
        """The job within its experiment, as its tables write it."""
        return (self.variant, str(self.size_px), str(self.seed))


def load_plan(path: Path) -> Plan:
    """Read a plan.toml.

    Raises:
        SystemExit: it has an unknown key, a wrong value, or an N that the pools do not divide.
    """
    try:
        plan = Plan.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        for name in plan.experiments:
            for job in jobs(plan, name):
                Shape(job.size_px)
    except (ValidationError, tomllib.TOMLDecodeError) as error:
        raise SystemExit(f"{path}: {error}") from error
    return plan


def jobs(plan: Plan, name: str, seeds: tuple[int, ...] = ()) -> Iterator[Job]:
    """Jobs of an experiment: all of the first seed, then all of the next.

    Args:
        plan: of the study.
        name: of the experiment.
        seeds: in place of the experiment's; one that is named twice is trained once.
    """
    experiment = plan.experiments[name]
    for seed in dict.fromkeys(seeds or experiment.seeds):
        for variant in experiment.variants:
            merged = {**plan.recipe, **experiment.recipe, **variant.recipe}
            photos = experiment.photos if variant.photos is None else variant.photos
            for size in experiment.sizes:
                yield Job(
                    name, variant.name, experiment.data, photos, size, seed, experiment.test,
                    Recipe.model_validate(merged),
                )  # fmt: skip


def twins(plan: Plan, job: Job) -> list[Job]:
    """Jobs of other experiments or variants that train the same networks."""
    every = (other for name in plan.experiments for other in jobs(plan, name, (job.seed,)))
    return [other for other in every if other.digest == job.digest and other.name != job.name]


def shrink(plan: Plan) -> Plan:
    """The same experiments in seconds: a few photos, sizes and variants, one seed."""
    small = {}
    for name, experiment in plan.experiments.items():
        recipe = {**experiment.recipe, "epochs": _QUICK["epochs"]}
        variants = [
            variant.model_copy(update={"photos": None, "recipe": _without_epochs(variant.recipe)})
            for variant in experiment.variants[: _QUICK["variants"]]
        ]
        small[name] = experiment.model_copy(
            update={
                "photos": _QUICK["photos"],
                "sizes": experiment.sizes[: _QUICK["sizes"]],
                "seeds": experiment.seeds[:2],
                "variants": tuple(variants),
                "recipe": {**recipe, "batch_size": _QUICK["batch_size"]},
            }
        )
    return plan.model_copy(update={"experiments": small})


def _without_epochs(recipe: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in recipe.items() if key not in ("epochs", "batch_size")}
