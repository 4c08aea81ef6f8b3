"""All settings of a training run, checked before the work starts."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from beltsight.config import load_config, nearest
from beltsight.errors import ConfigError
from beltsight.image import Preparation

ENV_PREFIX = "BELTSIGHT_TRAIN"
_RECIPES = Path(__file__).parent / "recipes"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Stage(_Part):
    """One stage of training: which part learns, for how long, at what rate.

    Args:
        learn: ``heads``; ``all``; ``gradual``: the heads alone at first, then one stage of the
            backbone after the other from the last to the stem, all by half of the epochs; a number
            n for the last n stages of the backbone and the heads; or a list of module names of
            the backbone, e.g. ``["layer4"]``, with the heads.
        epochs: passes over the training split.
        learning_rate: peak rate of the heads.
        backbone_factor: the backbone's rate as a multiple of the heads'.
        layer_decay: each stage of the backbone learns at this multiple of the next one's rate.
        views: augmented views of each photo, used in turn; 0 draws a new one in every epoch.
            Where the first layers are frozen, views are computed once and kept; see ``cache``.
        tasks: whose heads learn, and whose loss counts; all where empty. P1 trains
            ``["material"]`` first, then ``["contamination"]`` with ``learn = "heads"``, which
            leaves the material's answers exactly as they are.
    """

    learn: Literal["heads", "all", "gradual"] | int | tuple[str, ...] = "all"
    epochs: int = Field(ge=1, le=10_000)
    learning_rate: float = Field(gt=0, le=10)
    backbone_factor: float = Field(1.0, gt=0, le=100)
    layer_decay: float = Field(1.0, gt=0, le=1)
    views: int = Field(0, ge=0, le=1000)
    tasks: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _some_part_learns(self) -> Self:
        if isinstance(self.learn, int) and self.learn < 1:
            raise ValueError("learn must be at least 1; to train the heads only write 'heads'")
        return self


DEFAULT_STAGES = (
    Stage(learn="heads", epochs=2, learning_rate=1e-3),
    Stage(learn="all", epochs=12, learning_rate=1e-3, backbone_factor=0.3),
)


class TrainSettings(_Part):
    """Every setting of ``beltsight train``; in TOML under the same names.

    Args:
        backbone: a timm model name; ``resnet18``, ``resnet50`` and ``mobilenetv2_100`` are tried.
        backbone_args: further arguments of ``timm.create_model``.
        weights: ``timm`` downloads pretrained weights; ``random`` starts from none; otherwise a
            ``.safetensors`` or ``.safetensors.xz`` file with timm's key names.
        mean, std: RGB normalisation that the weights expect, in 0 to 1; timm's where left out.
        image_size: side of the square model input, or (height, width), in pixels.
        fill: RGB of the letterbox, 0 to 255.
        tasks: tasks to learn; all that the data set labels where empty.
        stages: run one after another.
        epochs: a short form for the ``epochs`` of the last stage.
        batch_size: photos per step.
        momentum: of ``sgd``.
        optimizer: ``adamw``; ``sgd`` (Nesterov momentum); ``adam_l2``: Adam with the penalty
            lambda * sum ||W||^2 inside the loss, as P1 equation (5) has it.
        weight_decay: decoupled decay for ``adamw``; lambda of the penalty for the other two.
        label_smoothing: share of probability spread over all classes.
        mix: a step learns from blends of two photos each; their shares are drawn from
            Beta(mix, mix). 0 for plain photos.
        dropout: probability to *drop* a feature before the heads. P1 equation (6) names the
            probability to *keep*: its p is 1 - dropout.
        balance: how rare classes are helped. ``weights`` weighs a class by n / (classes * its n) in
            the loss; ``copies`` draws each class of the first task equally often; ``synthesis``
            does, too, and fills up rare classes with synthesised photos: their items cut out,
            varied, and placed on backgrounds of other photos.
        augment: ``none``, ``light``, ``gentle``, ``plant`` or ``strong``.
        augment_more: classes whose photos are augmented more than the others'; or ``confused``:
            after each stage, those that validation tells apart worse than the mean class.
        batchnorm: ``frozen`` keeps pretrained statistics and scales everywhere.
        schedule: ``cosine`` falls to zero within each stage; ``constant`` stays.
        warmup_epochs: linear rise at the start of each stage, in epochs, at most half the stage.
        ema_decay: decay per step of the running mean of weights that is validated and exported;
            0 validates the weights themselves.
        clip_norm: largest norm of a step's gradient; 0 for no limit.
        precision: ``auto`` takes bfloat16 where the hardware computes in it.
        mask_weight: weight of a further loss that asks at each place of the last feature map how
            much of it is dirty, answered by the masks that the data set has; where dirt lies is
            learned beside how much, and the model file answers both. A stage whose activations
            are kept leaves it out, so one stage at least must keep none. 0 for none.
        patience: stop a stage after so many epochs without a better validation; 0 never stops.
        cache: ``auto`` keeps the activations of the frozen first layers on disk in stages with
            ``views``, so that an epoch costs only what learns; ``never`` computes them each time.
        cache_folder: where they are kept for later runs, too; in the run's own folder, and only
            as long as it needs them, where empty.
        val_fraction: share of train held out where the data set has no val split.
        skip_unreadable: leave out photos that cannot be decoded, and list them, instead of failing.
        tensorboard: write TensorBoard events, too.
        purity: share of accepted answers to ``material``, or to the first task where there is none,
            that must be right, e.g. 0.97: the model abstains below the confidence at which
            validation shows it. The epoch was chosen by these photos, too, so it is an estimate;
            ``beltsight calibrate`` with others certifies it. 0 for no threshold.
        seed: same seed, same data, same run.
        workers: processes that augment; 0 augments in the training process.
        threads: CPU threads of PyTorch; 0 for one per core.
    """

    backbone: str = "resnet18"
    backbone_args: dict[str, Any] = Field(default_factory=dict)
    weights: str = "timm"
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    image_size: int | tuple[int, int] = 224
    fill: tuple[int, int, int] = (128, 128, 128)
    tasks: tuple[str, ...] = ()
    stages: tuple[Stage, ...] = Field(DEFAULT_STAGES, min_length=1)
    batch_size: int = Field(32, ge=2, le=4096)
    optimizer: Literal["adamw", "sgd", "adam_l2"] = "adamw"
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(0.02, ge=0)
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    mix: float = Field(0.0, ge=0, le=10)
    dropout: float = Field(0.2, ge=0, lt=1)
    balance: Literal["none", "copies", "weights", "synthesis"] = "none"
    augment: Literal["none", "light", "gentle", "plant", "strong"] = "strong"
    augment_more: Literal["confused"] | tuple[str, ...] = ()
    batchnorm: Literal["learn", "frozen"] = "learn"
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_epochs: float = Field(0.5, ge=0)
    ema_decay: float = Field(0.99, ge=0, lt=1)
    clip_norm: float = Field(1.0, ge=0)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    mask_weight: float = Field(0.0, ge=0, le=100)
    patience: int = Field(0, ge=0)
    cache: Literal["auto", "never"] = "auto"
    cache_folder: str = ""
    val_fraction: float = Field(0.15, gt=0, lt=0.9)
    skip_unreadable: bool = False
    purity: float = Field(0.0, ge=0, lt=1)
    tensorboard: bool = False
    seed: int = Field(0, ge=0, lt=2**31)
    workers: int = Field(2, ge=0, le=64)
    threads: int = Field(0, ge=0, le=256)

    @model_validator(mode="after")
    def _preparation_is_possible(self) -> Self:
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std go together; give both or neither")
        if self.std is not None and min(self.std) <= 0:
            raise ValueError("std must be above 0")
        if self.mix and self.mask_weight:
            raise ValueError("blends of photos have no mask; set mix or mask_weight to 0")
        try:
            _ = self.preparation
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def preparation(self) -> Preparation:
        """The one preparation, as training, evaluation and deployment use it."""
        size = self.image_size
        height, width = (size, size) if isinstance(size, int) else size
        return Preparation(height, width, self.fill)

    @model_validator(mode="before")
    @classmethod
    def _apply_epochs(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "epochs" not in values:
            return values
        rest = {key: value for key, value in values.items() if key != "epochs"}
        try:
            *first, last = rest.get("stages", DEFAULT_STAGES)
            last = last.model_dump() if isinstance(last, Stage) else dict(last)
        except (TypeError, ValueError):  # no stages: what follows says so
            return rest
        return {**rest, "stages": [*first, {**last, "epochs": values["epochs"]}]}

    @property
    def total_epochs(self) -> int:
        """Epochs of all stages together."""
        return sum(stage.epochs for stage in self.stages)


def load_settings(
    path: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    recipe: str | None = None,
) -> TrainSettings:
    """Settings from a recipe, a TOML file, ``BELTSIGHT_TRAIN_*`` variables and overrides, in
    rising order.

    Args:
        path: TOML file.
        overrides: single settings.
        recipe: ``quick`` or ``full``: settings that were measured together.

    Raises:
        ConfigError: unknown recipe, unknown key, wrong value or unreadable file.
    """
    base = load_recipe(recipe) if recipe else {}
    return load_config(TrainSettings, path, base=base, overrides=overrides, env_prefix=ENV_PREFIX)


def load_recipe(name: str) -> dict[str, Any]:
    """The values that a recipe sets.

    Raises:
        ConfigError: there is no such recipe.
    """
    names = sorted(file.stem for file in _RECIPES.glob("*.toml"))
    if name not in names:
        raise ConfigError(f"there is no recipe {name!r}; {nearest(name, names)}")
    return tomllib.loads((_RECIPES / f"{name}.toml").read_text(encoding="utf-8"))


def with_overrides(settings: TrainSettings, overrides: Mapping[str, Any]) -> TrainSettings:
    """The settings with some of them changed; checked again.

    Raises:
        ConfigError: unknown key or wrong value.
    """
    return load_config(TrainSettings, overrides={**settings.model_dump(), **overrides})
