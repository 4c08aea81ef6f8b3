"""What a study that trains is: study.toml as checked values, and where its files lie."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from beltsight.train.settings import TrainSettings, load_recipe, with_overrides

_QUICK_PX = 32


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Variant(_Part):
    """One way to train.

    Args:
        name: unique; names the result files.
        recipe: of the package; lies under all settings.
        settings: merged over the study's base.
        every_stage: merged into every stage of the settings, whatever the recipe has.
        last_stage: merged into the last stage.
        seeds: in place of the study's.
        train_share: share of each class's training photos, drawn by seed; a smaller share is part
            of a larger one. Validation photos stay the same.
        note: what is different, for the table.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    recipe: str = ""
    settings: dict[str, Any] = Field(default_factory=dict)
    every_stage: dict[str, Any] = Field(default_factory=dict)
    last_stage: dict[str, Any] = Field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    train_share: float = Field(1.0, gt=0, le=1)
    note: str = ""


class Plot(_Part):
    """One SVG.

    Args:
        name: of the file.
        title: above it.
        kind: ``curves`` over epochs and over minutes; ``epochs`` where minutes do not compare;
            ``shares`` over the share of training photos.
        lines: label to the names of its variants; a curve has one.
    """

    name: str
    title: str
    kind: Literal["curves", "epochs", "shares"] = "curves"
    lines: dict[str, tuple[str, ...]]


class Study(_Part):
    """What study.toml holds.

    Args:
        question: in one sentence.
        data: name of a folder of measuring data.
        task: that is learned.
        seeds: of every variant that has none of its own.
        base: settings of all variants, over their recipe.
        variants: in the order of the table.
        compare: pairs (a, b): how much better a is than b, on the same test photos.
        focus: a class whose recall is compared, too.
        plots: to draw.
    """

    question: str
    data: str
    task: str = "material"
    seeds: tuple[int, ...] = Field(min_length=1)
    base: dict[str, Any] = Field(default_factory=dict)
    variants: tuple[Variant, ...] = Field(min_length=1)
    compare: tuple[tuple[str, str], ...] = ()
    focus: str = ""
    plots: tuple[Plot, ...] = ()

    @model_validator(mode="after")
    def _names_are_known(self) -> Study:
        names = [variant.name for variant in self.variants]
        if len(set(names)) != len(names):
            raise ValueError(f"two variants have one name: {sorted(names)}")
        used = [name for pair in self.compare for name in pair]
        used += [name for plot in self.plots for line in plot.lines.values() for name in line]
        if unknown := sorted(set(used) - set(names)):
            raise ValueError(f"no such variant: {', '.join(unknown)}; there are {names}")
        return self

    def variant(self, name: str) -> Variant:
        """The variant of that name."""
        return next(variant for variant in self.variants if variant.name == name)


@dataclass(frozen=True)
class Sweep:
    """A study, where its files lie, and which of its runs are wanted.

    Args:
        name: of the study.
        study: what study.toml holds.
        data: the data set's folder.
        runs: a folder per run; git ignores it.
        results: a JSON and a CSV per run, and the plots.
        readme: gets the tables.
        looks: the ledger of looks at test.
        only: names of variants; all where empty.
        seeds: in place of the study's.
        quick: whether this is a slice.
    """

    name: str
    study: Study
    data: Path
    runs: Path
    results: Path
    readme: Path
    looks: Path
    only: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    quick: bool = False

    def jobs(self) -> Iterator[tuple[Variant, int]]:
        """Variants with their seeds: all of the first seed, then all of the next.

        Raises:
            SystemExit: a variant is wanted that there is not.
        """
        names = [variant.name for variant in self.study.variants]
        if unknown := sorted(set(self.only) - set(names)):
            raise SystemExit(f"no variant {', '.join(unknown)}; there are {', '.join(names)}")
        chosen = [v for v in self.study.variants if not self.only or v.name in self.only]
        wanted = {v.name: self.seeds or v.seeds or self.study.seeds for v in chosen}
        for seed in sorted({seed for own in wanted.values() for seed in own}):
            yield from ((variant, seed) for variant in chosen if seed in wanted[variant.name])

    def settings(self, variant: Variant, seed: int) -> TrainSettings:
        """All settings of a run, with paths as study.toml has them."""
        settings = settings_of(self.study.base, variant, seed)
        return shrink(settings) if self.quick else settings

    def file(self, variant: str, seed: int) -> Path:
        """Where a result lies."""
        return self.results / f"{variant}-{seed}.json"

    def folder(self, variant: str, seed: int) -> Path:
        """Where a run lies."""
        return self.runs / f"{variant}-{seed}"


def settings_of(base: Mapping[str, Any], variant: Variant, seed: int) -> TrainSettings:
    """The recipe, the study's base, the variant's own settings and its changes of stages.

    The environment has no say: a study is what its file says.
    """
    recipe = load_recipe(variant.recipe) if variant.recipe else {}
    merged = {**recipe, **base, **variant.settings, "seed": seed}
    settings = with_overrides(TrainSettings(), merged)
    stages = [{**stage.model_dump(), **variant.every_stage} for stage in settings.stages]
    stages[-1] |= variant.last_stage
    return with_overrides(settings, {"stages": stages})


def shrink(settings: TrainSettings) -> TrainSettings:
    """The same kind of run in seconds: a tiny backbone from random weights, an epoch a stage."""
    stages = [
        {**stage.model_dump(), "epochs": 1, "views": min(stage.views, 2)}
        for stage in settings.stages
    ]
    small: dict[str, Any] = {
        "backbone": "resnet10t",
        "backbone_args": {},
        "weights": "random",
        "mean": None,
        "std": None,
        "image_size": _QUICK_PX,
        "stages": stages,
        "batch_size": 8,
        "cache_folder": "",
        "workers": 0,
        "threads": 1,
    }
    # with_overrides would pass over a None.
    return TrainSettings.model_validate({**settings.model_dump(), **small})


def load_study(path: Path) -> Study:
    """Read a study.toml.

    Raises:
        SystemExit: it has an unknown key or a wrong value.
    """
    try:
        return Study.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (ValidationError, tomllib.TOMLDecodeError) as error:
        raise SystemExit(f"{path}: {error}") from error
