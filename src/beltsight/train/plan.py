"""How long a run will take, from a step of each stage on this machine."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from beltsight.train.loss import masked_loss
from beltsight.train.network import Network
from beltsight.train.precision import Precision
from beltsight.train.settings import Stage, TrainSettings
from beltsight.train.stages import choose_learning, learning_names, set_training_mode
from beltsight.train.trunk import Cut, find_cut

_PHOTOS = 16
_TRUSTED_S = 20.0


@dataclass(frozen=True, slots=True)
class StagePlan:
    """A stage's estimated time: once for its activations, and per epoch."""

    epochs: int
    cache_seconds: float
    epoch_seconds: float

    @property
    def seconds(self) -> float:
        """Of the whole stage."""
        return self.cache_seconds + self.epochs * self.epoch_seconds


@dataclass(frozen=True, slots=True)
class RunPlanned:
    """What lies ahead; without the time that augmentation takes from the same cores."""

    stages: tuple[StagePlan, ...]

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        return sum(stage.seconds for stage in self.stages)

    def seconds_done(self, epoch: int, part: float, *, caching: bool = True) -> float:
        """Planned seconds of the work that is done.

        Args:
            epoch: complete epochs of the run.
            part: of the epoch at work, 0 to 1.
            caching: count the time for activations, too.
        """
        done, left = 0.0, epoch + part
        for stage in self.stages:
            if left <= 0:
                break
            done += stage.cache_seconds * caching + min(left, stage.epochs) * stage.epoch_seconds
            left -= stage.epochs
        return done

    def seconds_left(self, epoch: int, part: float, worked: Pace) -> float:
        """Seconds that the rest will take, at the pace so far.

        The plan counts as much as ``_TRUSTED_S`` seconds of work: a short first stage, most of
        it overhead, must not stand for the rest.
        """
        pace = (worked.actual_s + _TRUSTED_S) / (worked.planned_s + _TRUSTED_S)
        return (self.seconds - self.seconds_done(epoch, part)) * pace


@dataclass(frozen=True, slots=True)
class Pace:
    """How long learning took, and how long it was planned to take."""

    actual_s: float
    planned_s: float


def cut_of(network: Network, stage: Stage, settings: TrainSettings) -> Cut | None:
    """Where a stage divides the backbone; None where it runs whole."""
    if not stage.views or settings.cache == "never":
        return None
    return find_cut(network, learning_names(network.backbone, stage))


def plan_run(
    network: Network, settings: TrainSettings, precision: Precision, n_train: int, n_val: int
) -> RunPlanned:
    """Time a step of each stage on a copy of the network.

    Args:
        network: on its device; left as it is.
        settings: give the stages.
        precision: of the run.
        n_train, n_val: photos.
    """
    probe = copy.deepcopy(network)
    photos = torch.randint(0, 256, (_PHOTOS, *network.input_size, 3), dtype=torch.uint8)
    photos = photos.to(network.mean.device)
    cached: set[Cut] = set()
    plans = []
    for stage in settings.stages:
        cut = cut_of(probe, stage, settings)
        cache_seconds = 0.0
        if cut is not None and cut not in cached:
            rows = stage.views * n_train + n_val
            cache_seconds = rows * _trunk_seconds(probe, cut, photos, precision)
            cached.add(cut)
        learn, answer = _step_seconds(probe, stage, cut, photos, precision)
        plans.append(StagePlan(stage.epochs, cache_seconds, n_train * learn + n_val * answer))
    return RunPlanned(tuple(plans))


@torch.no_grad()
def _trunk_seconds(network: Network, cut: Cut, photos: Tensor, precision: Precision) -> float:
    network.eval()
    with precision.autocast():
        return _seconds(lambda: cut.activation(network, photos)) / _PHOTOS


def _step_seconds(
    network: Network, stage: Stage, cut: Cut | None, photos: Tensor, precision: Precision
) -> tuple[float, float]:
    """Per photo the seconds of a step and of an answer."""
    inputs = photos
    if cut is not None:
        with torch.no_grad(), precision.autocast():
            inputs = cut.activation(network.eval(), photos).float()
    choose_learning(network, stage)
    labels = torch.zeros((_PHOTOS, len(network.tasks)), dtype=torch.int64, device=photos.device)

    def answer() -> dict[str, Tensor]:
        with precision.autocast():
            return cut.logits(network, inputs) if cut is not None else network(inputs)

    def step() -> None:
        masked_loss(answer(), labels).backward()

    set_training_mode(network)
    learn = _seconds(step)
    network.zero_grad(set_to_none=True)
    network.eval()
    with torch.no_grad():
        return learn / _PHOTOS, _seconds(answer) / _PHOTOS


def _seconds(work: Callable[[], object]) -> float:
    work()  # the first time allocates
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
