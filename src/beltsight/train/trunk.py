"""The frozen trunk: where a backbone divides into what stays and what learns.

The place is found by trial, not by knowledge of architectures: the modules after it, run one
after another on the activation that arrives there, must give the backbone's own answer. Where
no place passes, the stage runs whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from beltsight.train.network import Network


@dataclass(frozen=True, slots=True)
class Cut:
    """A place in a backbone.

    Args:
        after: names of the modules that run after it, in their order; empty where nothing but
            the heads does, and the activation is the embedding.
        before: names of the modules that run before it, in their order, where they alone do;
            else empty.
    """

    after: tuple[str, ...]
    before: tuple[str, ...] = ()

    def activation(self, network: Network, photos: Tensor) -> Tensor:
        """What arrives at the cut for uint8 photos (N, H, W, 3)."""
        if not self.after:
            return network.features(photos)[1]
        return _arriving(network, network.backbone.get_submodule(self.after[0]), photos)

    def continued(self, network: Network, activation: Tensor, later: Cut) -> Tensor:
        """What arrives at a later cut for what arrived at this one."""
        between = self.after[: len(self.after) - len(later.after)]
        features = run_modules(network.backbone, between, activation)
        return features if later.after else network.embedding(features)

    def logits(self, network: Network, activation: Tensor) -> dict[str, Tensor]:
        """Logits per task for what arrived at the cut."""
        if not self.after:
            return network.logits(activation)
        features = run_modules(network.backbone, self.after, activation)
        return network.logits(network.embedding(features))


class _ArrivedError(Exception):
    def __init__(self, activation: Tensor) -> None:
        super().__init__()
        self.activation = activation


def find_cut(network: Network, learning: Sequence[str]) -> Cut | None:
    """The latest cut before everything that learns; None where there is none.

    Args:
        network: left in evaluation mode.
        learning: names of the backbone's parameters that learn.
    """
    if not learning:
        return Cut(())
    steps = list(_steps("", network.backbone))
    first = next((i for i, step in enumerate(steps) if _holds(step, learning)), 0)
    if first == 0:
        return None
    return _verified(network.eval(), steps, first, learning)


def run_modules(backbone: nn.Module, names: Sequence[str], activation: Tensor) -> Tensor:
    """The modules of these names, one after another."""
    for name in names:
        activation = backbone.get_submodule(name)(activation)
    return activation


@torch.no_grad()
def _verified(
    network: Network, every: list[str], first: int, learning: Sequence[str]
) -> Cut | None:
    """The cut before step ``first`` if a run from it gives the features, and holds what learns."""
    steps = every[first:]
    photos = torch.zeros((2, *network.input_size, 3), dtype=torch.uint8)
    photos[1, ::3] = 200
    photos = photos.to(network.mean.device)
    expected = network.features(photos)[0]
    try:
        activation = _arriving(network, network.backbone.get_submodule(steps[0]), photos)
        end = _end(network.backbone, steps, activation, expected)
    except (RuntimeError, IndexError):
        return None  # a step that does not run, or is not given a tensor
    try:
        before = run_modules(network.backbone, every[:first], network.normalised(photos))
    except (RuntimeError, TypeError, NotImplementedError):
        before = photos  # a Vision Transformer adds positions in between
    alone = before.shape == activation.shape and torch.equal(before, activation)
    # Parameters of no step (position embeddings, say) run before the cut.
    covered = all(any(name.startswith(f"{step}.") for step in steps) for name in learning)
    if not end or not covered:
        return None
    return Cut(tuple(steps[:end]), tuple(every[:first]) if alone else ())


def _end(backbone: nn.Module, steps: list[str], activation: Tensor, expected: Tensor) -> int:
    """After how many steps the features are there; the last such place, 0 for none.

    The last, because a residual block that starts as the identity gives them too early. What
    follows is part of the embedding.
    """
    end = 0
    for index, step in enumerate(steps, 1):
        try:
            activation = backbone.get_submodule(step)(activation)
        except (RuntimeError, TypeError, NotImplementedError):
            break  # pooling and what comes after may want another shape
        if activation.shape == expected.shape and torch.equal(activation, expected):
            end = index
    return end


def _arriving(network: Network, module: nn.Module, photos: Tensor) -> Tensor:
    def stop(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        raise _ArrivedError(inputs[0])

    hook = module.register_forward_pre_hook(stop)
    try:
        network.features(photos)
    except _ArrivedError as arrived:
        return arrived.activation
    finally:
        hook.remove()
    raise RuntimeError("the backbone does not run this module")


def _steps(prefix: str, module: nn.Module) -> Iterator[str]:
    """Names of the modules that run one after another; sequences are opened."""
    for name, child in module.named_children():
        path = f"{prefix}{name}"
        if type(child) in (nn.Sequential, nn.ModuleList) and any(child.children()):
            yield from _steps(f"{path}.", child)
        else:
            yield path


def _holds(step: str, names: Sequence[str]) -> bool:
    return any(name.startswith(f"{step}.") for name in names)
