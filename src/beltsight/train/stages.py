"""Stages: which parameters learn, and what stays exactly as it is."""

from __future__ import annotations

from timm.models import group_parameters
from torch import nn

from beltsight.config import nearest
from beltsight.errors import ConfigError
from beltsight.train.network import Network
from beltsight.train.settings import Stage

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def backbone_stages(backbone: nn.Module) -> list[list[str]]:
    """Parameter names of the backbone, from the stem to the last stage, as timm groups them."""
    groups = group_parameters(backbone, backbone.group_matcher(coarse=True))  # type: ignore[operator]
    return [groups[key] for key in sorted(groups)]


def choose_learning(network: Network, stage: Stage, *, batchnorm_learns: bool = True) -> None:
    """Let the stage's part learn and freeze the rest: P1 equation (4), a gradient of zero.

    Args:
        network: whose parameters are frozen or not; heads always learn.
        stage: names the part.
        batchnorm_learns: False freezes scales and shifts of every batch-norm.

    Raises:
        ConfigError: a module name that the backbone does not have, or too many stages asked for.
    """
    names = set(_learning_names(network.backbone, stage))
    for name, parameter in network.backbone.named_parameters():
        parameter.requires_grad_(name in names)
    for module in network.backbone.modules():
        if isinstance(module, _NORMS) and not batchnorm_learns:
            module.requires_grad_(False)
    network.heads.requires_grad_(True)


def set_training_mode(network: Network) -> None:
    """Training mode, but with frozen batch-norms in evaluation mode.

    A frozen batch-norm that went on averaging the new photos would change the frozen features,
    so its statistics are frozen with its parameters.
    """
    network.train()
    for module in network.backbone.modules():
        if isinstance(module, _NORMS):
            module.train(any(parameter.requires_grad for parameter in module.parameters()))


def _learning_names(backbone: nn.Module, stage: Stage) -> list[str]:
    every = [name for name, _ in backbone.named_parameters()]
    if stage.learn == "all":
        return every
    if stage.learn == "heads":
        return []
    if isinstance(stage.learn, int):
        stages = backbone_stages(backbone)
        if stage.learn > len(stages):
            raise ConfigError(f"learn = {stage.learn}: the backbone has {len(stages)} stages")
        return [name for group in stages[-stage.learn :] for name in group]
    chosen = []
    for module in stage.learn:
        found = [name for name in every if name == module or name.startswith(f"{module}.")]
        if not found:
            known = sorted({name.split(".")[0] for name in every})
            raise ConfigError(f"the backbone has no part {module!r}; {nearest(module, known)}")
        chosen += found
    return chosen
