"""Stages: which parameters learn, at what rate, and what stays exactly as it is."""

from __future__ import annotations

from collections.abc import Iterable

from timm.models import group_parameters
from torch import nn

from beltsight.config import nearest
from beltsight.errors import ConfigError
from beltsight.train.network import Network
from beltsight.train.settings import Stage

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_CLOSING_TENSORS = 3


def backbone_stages(backbone: nn.Module) -> list[list[str]]:
    """Parameter names of the backbone, from the stem to the last stage, as timm groups them.

    A last group of a few tensors is a closing norm or 1x1 convolution, and belongs to the stage
    before it: alone it would be a "last stage" that can learn next to nothing.
    """
    groups = group_parameters(backbone, backbone.group_matcher(coarse=True))  # type: ignore[operator]
    *stages, last = [groups[key] for key in sorted(groups)]
    if stages and len(last) <= _CLOSING_TENSORS:
        return [*stages[:-1], stages[-1] + last]
    return [*stages, last]


def choose_learning(
    network: Network, stage: Stage, *, epoch: int | None = None, batchnorm_learns: bool = True
) -> None:
    """Let the stage's part learn and freeze the rest: P1 equation (4), a gradient of zero.

    Args:
        network: whose parameters are frozen or not; the heads of the stage's tasks always learn.
        stage: names the part.
        epoch: of the stage, from 0; matters to ``gradual``. None lets everything learn that
            learns in any epoch of the stage.
        batchnorm_learns: False freezes scales and shifts of every batch-norm.

    Raises:
        ConfigError: a module name that the backbone does not have, or too many stages asked for.
    """
    names = set(learning_names(network.backbone, stage, epoch))
    for name, parameter in network.backbone.named_parameters():
        parameter.requires_grad_(name in names)
    for module in network.backbone.modules():
        if isinstance(module, _NORMS) and not batchnorm_learns:
            module.requires_grad_(False)
    for task in network.tasks:
        network.head(task.name).requires_grad_(not stage.tasks or task.name in stage.tasks)


def set_training_mode(network: Network) -> None:
    """Training mode, but with frozen batch-norms in evaluation mode.

    A frozen batch-norm that went on averaging the new photos would change the frozen features,
    so its statistics are frozen with its parameters.
    """
    network.train()
    for module in network.backbone.modules():
        if isinstance(module, _NORMS):
            module.train(any(parameter.requires_grad for parameter in module.parameters()))


def rate_factors(backbone: nn.Module, stage: Stage) -> dict[str, float]:
    """Per parameter of the backbone its rate as a multiple of the heads'.

    The last stage learns at ``backbone_factor``, each one before it at ``layer_decay`` of that.
    """
    deepest_first = reversed(backbone_stages(backbone))
    return {
        name: stage.backbone_factor * stage.layer_decay**depth
        for depth, names in enumerate(deepest_first)
        for name in names
    }


def learning_names(backbone: nn.Module, stage: Stage, epoch: int | None = None) -> list[str]:
    """Names of the backbone's parameters that learn in an epoch of the stage, or in any.

    Raises:
        ConfigError: see :func:`choose_learning`.
    """
    if stage.learn == "heads":
        return []
    if isinstance(stage.learn, tuple):
        return _parameters_of(backbone, stage.learn)
    stages = backbone_stages(backbone)
    count = len(stages)
    if stage.learn == "gradual" and epoch is not None:
        count = min(count, epoch * 2 * count // stage.epochs)
    elif isinstance(stage.learn, int):
        count = stage.learn
    if count > len(stages):
        raise ConfigError(f"learn = {count}: the backbone has {len(stages)} stages")
    return [name for names in stages[len(stages) - count :] for name in names]


def _parameters_of(backbone: nn.Module, modules: Iterable[str]) -> list[str]:
    every = [name for name, _ in backbone.named_parameters()]
    chosen = []
    for module in modules:
        found = [name for name in every if name == module or name.startswith(f"{module}.")]
        if not found:
            known = sorted({name.split(".")[0] for name in every})
            raise ConfigError(f"the backbone has no part {module!r}; {nearest(module, known)}")
        chosen += found
    return chosen
