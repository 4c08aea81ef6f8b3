"""The training loop: stages of epochs, each validated and checkpointed, resumable after a kill."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from beltsight.errors import DatasetError, DivergedError, ResumeError
from beltsight.train.activations import CachePlanned, CacheProgress
from beltsight.train.balance import class_weights, confused_classes
from beltsight.train.checkpoint import (
    load_checkpoint,
    pack_optimizer,
    save_checkpoint,
    unpack_optimizer,
)
from beltsight.train.feed import Feed, Feeds
from beltsight.train.loss import masked_loss, place_loss
from beltsight.train.mix import Mixed, mix_batch
from beltsight.train.network import Network
from beltsight.train.optimize import WeightAverage, make_optimizer, rate_factor, set_rates
from beltsight.train.photos import UNLABELLED, PreparedPhotos
from beltsight.train.plan import RunPlanned, plan_run
from beltsight.train.precision import choose_precision
from beltsight.train.settings import Stage, TrainSettings
from beltsight.train.stages import choose_learning, set_training_mode

_SECONDS_BETWEEN_CHECKPOINTS = 30.0


@dataclass(frozen=True, slots=True)
class BatchDone:
    """One step was taken: step ``batch`` of ``batches`` in ``epoch`` (from 1) of ``epochs``."""

    epoch: int
    epochs: int
    batch: int
    batches: int
    loss: float


@dataclass(frozen=True, slots=True)
class EpochDone:
    """One row of ``metrics.csv``; losses in nats, accuracy 0 to 1.

    ``val_loss`` and ``val_accuracy`` are means over the tasks learned so far: those of this stage
    and of the stages before it.
    """

    epoch: int
    stage: int
    learning_rate: float
    train_loss: float
    val_loss: float
    val_accuracy: float
    seconds: float


Event = RunPlanned | BatchDone | EpochDone | CachePlanned | CacheProgress
Watcher = Callable[[Event], None]


@dataclass(slots=True)
class _State:
    """Where a run stands after a complete epoch; stored in the checkpoint.

    ``confused`` are classes that the last validation told apart badly, ``augmented_more`` those
    that this stage augments more.
    """

    identity: str
    epoch: int = 0
    stage: int = 0
    stage_epoch: int = 0
    average_steps: int = 0
    best_epoch: int = 0
    confused: list[str] = field(default_factory=list)
    augmented_more: list[str] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)


class Fit:
    """One run of the loop.

    Args:
        network: starts with the weights it has; ends with the best ones.
        train_photos, val_photos: what is learned from, and what the best epoch is chosen by.
        settings: stages, optimizer and the rest.
        folder: holds ``checkpoint.safetensors`` and ``best.safetensors``.
        identity: digest of settings and data; a checkpoint of another identity is refused.
        watch: told of each step and epoch.
        keep: given all epochs so far after each of them.
    """

    def __init__(
        self,
        network: Network,
        train_photos: PreparedPhotos,
        val_photos: PreparedPhotos,
        settings: TrainSettings,
        folder: Path,
        identity: str,
        watch: Watcher,
        keep: Callable[[Sequence[EpochDone]], None],
    ) -> None:
        self._settings = settings
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        # Channels last is the faster layout on CPUs: 44 against 30 photos/s (MobileNetV2, 224 px).
        self._network: Network = network.to(self._device)
        self._network.to(memory_format=torch.channels_last)
        self._average = WeightAverage(network, settings.ema_decay) if settings.ema_decay else None
        self._train, self._val = train_photos, val_photos
        self._precision = choose_precision(settings.precision, self._device)
        self._feeds = Feeds(train_photos, val_photos, settings, folder, self._precision, watch)
        self._folder = folder
        self._watch = watch
        self._keep = keep
        self._state = _State(identity)
        self._class_weights = self._make_class_weights()
        self._saved_optimizer: dict[str, Tensor] = {}
        self._best: dict[str, Tensor] = {}
        self._saved_at = -_SECONDS_BETWEEN_CHECKPOINTS

    def restore(self) -> None:
        """Stand where the checkpoint does.

        Raises:
            ResumeError: the checkpoint is missing, damaged or belongs to other settings or data.
        """
        path = self._folder / "checkpoint.safetensors"
        tensors, state = load_checkpoint(path)
        if state["identity"] != self._state.identity:
            raise ResumeError(
                f"{path}: this checkpoint was made with other settings or other data; give the "
                "run's own, or start anew in another folder"
            )
        self._state = _State(**state)
        self._network.load_state_dict(_under("network/", tensors))
        if self._average:
            self._average.steps = self._state.average_steps
            averages = _under("average/", tensors)
            self._average.state = {k: v.to(self._device) for k, v in averages.items()}
        self._saved_optimizer = tensors
        self._keep(self._rows())  # the kill may have come between checkpoint and history

    def run(self) -> list[EpochDone]:
        """Run all stages; leave the best epoch's weights in the network.

        Returns:
            One row per epoch.

        Raises:
            DivergedError: the loss is not finite.
            TrainError: a checkpoint cannot be written.
        """
        sizes = len(self._train.samples), len(self._val)
        self._watch(plan_run(self._network, self._settings, self._precision, *sizes))
        for index, stage in enumerate(self._settings.stages):
            if index >= self._state.stage:
                self._run_stage(index, stage)
                self._state.stage, self._state.stage_epoch = index + 1, 0
                if self._learned(index + 1) != self._learned(index):
                    self._return_to_best()
        self._feeds.close()
        best, _ = load_checkpoint(self._folder / "best.safetensors")
        self._network.load_state_dict(best)
        return self._rows()

    def _run_stage(self, index: int, stage: Stage) -> None:
        state = self._state
        if state.stage_epoch == 0:
            state.augmented_more = self._augmented_more()
            if self._average:
                # A stage starts from the mean, so that what it freezes is what is validated.
                self._network.load_state_dict(self._average.state)
        if state.stage_epoch >= stage.epochs:
            return
        feed = self._feeds.open(self._network, index, frozenset(state.augmented_more))
        self._choose_learning(stage)
        # What is frozen from here on would else be clipped by, with its last gradient.
        self._network.zero_grad(set_to_none=True)
        optimizer = make_optimizer(self._network, stage, self._settings)
        if state.stage_epoch:
            unpack_optimizer(optimizer, self._saved_optimizer)
            self._saved_optimizer = {}  # larger than the network: not kept for the run
        while state.stage_epoch < stage.epochs and not self._out_of_patience():
            feed.order.epoch = state.epoch
            self._choose_learning(stage, state.stage_epoch)
            self._run_epoch(feed, optimizer, stage)

    def _return_to_best(self) -> None:
        """Where new tasks join, they build on the best epoch of the tasks before: what follows
        competes in another score, so that epoch could not be chosen any more."""
        best, _ = load_checkpoint(self._folder / "best.safetensors")
        self._network.load_state_dict(best)
        if self._average:
            self._average.state = {k: v.clone() for k, v in self._network.state_dict().items()}
        self._save()  # the file of the best epoch changes before the next checkpoint

    def _learned(self, index: int) -> frozenset[str]:
        """Tasks that were learned by the end of a stage: heads of others still say nothing."""
        every = frozenset(task.name for task in self._network.tasks)
        stages = self._settings.stages[: index + 1]
        return frozenset(name for stage in stages for name in stage.tasks or every)

    def _choose_learning(self, stage: Stage, epoch: int | None = None) -> None:
        learns = self._settings.batchnorm == "learn"
        choose_learning(self._network, stage, epoch=epoch, batchnorm_learns=learns)

    def _augmented_more(self) -> list[str]:
        chosen = self._settings.augment_more
        return self._state.confused if chosen == "confused" else list(chosen)

    def _rows(self) -> list[EpochDone]:
        return [EpochDone(**row) for row in self._state.history]

    def _run_epoch(self, feed: Feed, optimizer: torch.optim.Optimizer, stage: Stage) -> None:
        state, start = self._state, time.perf_counter()
        torch.manual_seed(self._settings.seed * 100_003 + state.epoch)
        train_loss, rate = self._learn(feed, optimizer, stage)
        network = self._validated()
        val_loss, val_accuracy = self._validate(network, feed)
        self._check_finite(val_loss, "at validation")
        state.epoch += 1
        state.stage_epoch += 1
        row = EpochDone(
            state.epoch, state.stage, rate, train_loss, val_loss, val_accuracy,
            round(time.perf_counter() - start, 2),
        )  # fmt: skip
        state.history.append(asdict(row))
        if self._is_best(row):
            state.best_epoch = state.epoch
            self._best = {k: v.detach().clone() for k, v in network.state_dict().items()}
        stage_ends = state.stage_epoch == stage.epochs or self._out_of_patience()
        if stage_ends or time.monotonic() - self._saved_at >= _SECONDS_BETWEEN_CHECKPOINTS:
            self._save(optimizer)
        self._keep(self._rows())
        self._watch(row)

    def _learn(
        self, feed: Feed, optimizer: torch.optim.Optimizer, stage: Stage
    ) -> tuple[float, float]:
        """One pass over the training photos; the mean loss and the last rate of the heads."""
        settings, state = self._settings, self._state
        set_training_mode(self._network)
        batches = len(feed.order)
        warmup = round(min(settings.warmup_epochs, stage.epochs / 2) * batches)
        total, factor = 0.0, 0.0
        for batch, (inputs, labels) in enumerate(feed.batches()):
            step = state.stage_epoch * batches + batch
            factor = rate_factor(step, stage.epochs * batches, warmup, settings.schedule)
            set_rates(optimizer, factor)
            mixed = mix_batch(inputs.to(self._device), labels.to(self._device), settings.mix)
            with self._precision.autocast():
                answers = feed.answers(self._network, mixed.inputs)
            loss = self._mixed_loss(answers.logits, mixed, stage)
            if answers.places:
                loss = loss + settings.mask_weight * place_loss(*answers.places)
            value = float(loss.detach())
            self._check_finite(value, f"step {batch + 1}")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self._clip()
            optimizer.step()
            if self._average:
                self._average.update(self._network)
            total += value
            self._watch(
                BatchDone(state.epoch + 1, settings.total_epochs, batch + 1, batches, value)
            )
        return total / batches, stage.learning_rate * factor

    def _mixed_loss(self, logits: dict[str, Tensor], mixed: Mixed, stage: Stage) -> Tensor:
        loss = self._loss(logits, mixed.labels, stage)
        if mixed.share == 1.0:
            return loss
        other = self._loss(logits, mixed.partner_labels, stage)
        return mixed.share * loss + (1 - mixed.share) * other

    def _loss(self, logits: dict[str, Tensor], labels: Tensor, stage: Stage) -> Tensor:
        return masked_loss(
            logits,
            labels,
            label_smoothing=self._settings.label_smoothing,
            class_weights=self._class_weights,
            tasks=stage.tasks,
        )

    def _check_finite(self, loss: float, where: str) -> None:
        if not -float("inf") < loss < float("inf"):
            self._save_best()  # the checkpoint stays: these weights are of no complete epoch
            kept = ". The best epoch before is kept" if self._state.best_epoch else ""
            raise DivergedError(
                f"the loss became {loss} in epoch {self._state.epoch + 1}, {where}; "
                f"lower learning_rate, set clip_norm = 1, or use precision = 'float32'{kept}"
            )

    def _clip(self) -> None:
        largest = self._settings.clip_norm
        gradients = [p.grad for p in self._network.parameters() if p.grad is not None]
        # Scaled only where it must be: torch's own passes over all gradients twice in any case.
        if largest and (norm := float(torch.nn.utils.get_total_norm(gradients))) > largest:
            torch._foreach_mul_(gradients, largest / (norm + 1e-6))

    def _validated(self) -> Network:
        """The network to validate: the running mean of weights where there is one."""
        if self._average is None:
            return self._network
        network = copy.deepcopy(self._network)
        network.load_state_dict(self._average.state)
        return network

    @torch.no_grad()
    def _validate(self, network: Network, feed: Feed) -> tuple[float, float]:
        """Loss without smoothing or class weights, and accuracy, each the mean over the tasks
        learned so far."""
        network.eval()
        parts = []
        for inputs in feed.validation():
            with self._precision.autocast():
                parts.append(feed.logits(network, inputs.to(self._device)))
        labels = torch.from_numpy(self._val.labels).to(self._device)
        learned = self._learned(self._state.stage)
        accuracies, losses = [], []
        for column, task in enumerate(network.tasks):
            known = labels[:, column] != UNLABELLED
            if task.name in learned and known.any():
                scores = torch.cat([part[task.name].float() for part in parts])[known]
                target = labels[known, column]
                accuracies.append(float((scores.argmax(1) == target).double().mean()))
                losses.append(float(torch.nn.functional.cross_entropy(scores, target)))
        self._note_confused(parts)
        if not losses:
            names = ", ".join(sorted(learned))
            raise DatasetError(f"no validation photo that could be read has a label of {names}")
        return sum(losses) / len(losses), sum(accuracies) / len(accuracies)

    def _note_confused(self, parts: Sequence[dict[str, Tensor]]) -> None:
        learned = self._learned(self._state.stage)
        columns = [i for i, task in enumerate(self._network.tasks) if task.name in learned]
        tasks = [self._network.tasks[i] for i in columns]
        answers = [torch.cat([part[t.name] for part in parts]).argmax(1).cpu() for t in tasks]
        labels = [self._val.labels[:, i] for i in columns]
        confused = confused_classes(labels, [each.numpy() for each in answers])
        self._state.confused = [
            task.classes[index]
            for task, each in zip(tasks, confused, strict=True)
            for index in each
        ]

    def _is_best(self, row: EpochDone) -> bool:
        learned = self._learned(row.stage)
        alike = {i for i in range(row.stage + 1) if self._learned(i) == learned}
        before = [old for old in self._state.history[:-1] if old["stage"] in alike]
        if not before:
            return True
        best = max((old["val_accuracy"], -old["val_loss"]) for old in before)
        return (row.val_accuracy, -row.val_loss) > best

    def _out_of_patience(self) -> bool:
        patience, state = self._settings.patience, self._state
        since = state.epoch - state.best_epoch
        return bool(patience) and min(since, state.stage_epoch) >= patience

    def _make_class_weights(self) -> list[Tensor | None] | None:
        if self._settings.balance != "weights":
            return None
        return [
            class_weights(self._train.labels[:, i], len(task.classes)).to(self._device)
            for i, task in enumerate(self._network.tasks)
        ]

    def _save(self, optimizer: torch.optim.Optimizer | None = None) -> None:
        self._save_best()
        if self._average:
            self._state.average_steps = self._average.steps
        tensors = {f"network/{k}": v for k, v in self._network.state_dict().items()}
        if self._average:
            tensors |= {f"average/{k}": v for k, v in self._average.state.items()}
        if optimizer:
            tensors |= pack_optimizer(optimizer)
        save_checkpoint(self._folder / "checkpoint.safetensors", tensors, asdict(self._state))
        self._saved_at = time.monotonic()

    def _save_best(self) -> None:
        if self._best:
            save_checkpoint(self._folder / "best.safetensors", self._best, {})
            self._best = {}


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
