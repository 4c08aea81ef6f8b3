from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.train.photosets import write_photoset
from tests.train.tiny_settings import tiny

from beltsight.errors import ConfigError, DivergedError
from beltsight.records import TaskSpec
from beltsight.train import loop
from beltsight.train.checkpoint import load_checkpoint, save_checkpoint
from beltsight.train.feed import Feed
from beltsight.train.loop import Fit
from beltsight.train.loss import masked_loss
from beltsight.train.network import Network, build_network
from beltsight.train.optimize import make_optimizer
from beltsight.train.run import run_training
from beltsight.train.settings import Stage
from beltsight.train.stages import backbone_stages, choose_learning, rate_factors

TASKS = (TaskSpec("material", ("glass", "metal")),)


def make_network(backbone: str = "resnet10t") -> Network:
    return build_network(tiny(backbone=backbone), TASKS, pretrained=False)


def learning_parts(network: Network) -> list[str]:
    found = {n.split(".")[0] for n, p in network.backbone.named_parameters() if p.requires_grad}
    return sorted(found)


def gradual(epochs: int) -> Stage:
    return Stage(learn="gradual", epochs=epochs, learning_rate=0.1)


def test_gradual_unfreezing_goes_from_the_heads_to_the_stem() -> None:
    network = make_network()
    seen = []
    for epoch in range(10):
        choose_learning(network, gradual(10), epoch=epoch)
        seen.append(learning_parts(network))
    assert seen[0] == []
    assert seen[1] == ["layer4"] and seen[2] == ["layer3", "layer4"]
    assert seen[4] == ["layer1", "layer2", "layer3", "layer4"]
    assert all("conv1" in parts for parts in seen[5:])
    choose_learning(network, gradual(10))
    assert "conv1" in learning_parts(network)  # in some epoch


def test_gradual_unfreezing_trains_and_resumes(photoset: Path, tmp_path: Path) -> None:
    from beltsight.train.loop import BatchDone, Event

    settings = tiny(stages=({"learn": "gradual", "epochs": 4, "learning_rate": 0.01},))
    whole = run_training(photoset, tmp_path / "whole", settings)

    def stop(event: Event) -> None:
        if isinstance(event, BatchDone) and event.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_training(photoset, tmp_path / "cut", settings, watch=stop)
    resumed = run_training(photoset, tmp_path / "cut", settings, resume=True)
    assert [r.val_loss for r in resumed.history] == [r.val_loss for r in whole.history]


def test_each_stage_before_learns_at_a_part_of_the_rate() -> None:
    network = make_network()
    stage = Stage(learn="all", epochs=1, learning_rate=0.1, backbone_factor=0.5, layer_decay=0.8)
    factors = rate_factors(network.backbone, stage)
    assert factors["layer4.0.conv1.weight"] == pytest.approx(0.5)
    assert factors["layer3.0.conv1.weight"] == pytest.approx(0.5 * 0.8)
    assert factors["layer1.0.conv1.weight"] == pytest.approx(0.5 * 0.8**3)
    assert factors.keys() == dict(network.backbone.named_parameters()).keys()


def test_the_optimizer_has_each_learning_parameter_once_at_its_rate() -> None:
    network = make_network()
    stage = Stage(learn=2, epochs=1, learning_rate=0.1, backbone_factor=0.5, layer_decay=0.8)
    choose_learning(network, stage)
    optimizer = make_optimizer(network, stage, tiny())
    rates = {id(p): group["peak_lr"] for group in optimizer.param_groups for p in group["params"]}
    assert len(rates) == sum(len(group["params"]) for group in optimizer.param_groups)
    learning = {n: p for n, p in network.named_parameters() if p.requires_grad}
    assert rates.keys() == {id(p) for p in learning.values()}
    assert rates[id(network.heads[0].weight)] == pytest.approx(0.1)
    assert rates[id(learning["backbone.layer4.0.conv1.weight"])] == pytest.approx(0.05)
    assert rates[id(learning["backbone.layer3.0.bn1.bias"])] == pytest.approx(0.04)
    decays = [g["weight_decay"] for g in optimizer.param_groups for p in g["params"] if p.ndim == 1]
    assert set(decays) == {0.0}


@pytest.mark.parametrize("backbone", ["convnext_atto", "mobilenetv3_small_100"])
def test_a_closing_layer_is_no_stage_of_its_own(backbone: str) -> None:
    network = make_network(backbone)
    stages = backbone_stages(network.backbone)
    last = sum(network.backbone.get_parameter(name).numel() for name in stages[-1])
    assert last > 10_000 and len(stages[-1]) > 3
    every = [name for names in stages for name in names]
    assert sorted(every) == sorted(name for name, _ in network.backbone.named_parameters())


def test_more_stages_than_there_are_is_said() -> None:
    with pytest.raises(ConfigError, match="the backbone has 5 stages"):
        choose_learning(make_network(), Stage(learn=6, epochs=1, learning_rate=0.1))


def test_a_stage_starts_from_the_mean_of_the_last(photoset: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    one = {"learn": "all", "epochs": 2, "learning_rate": 0.01}
    two = {"learn": "heads", "epochs": 1, "learning_rate": 1e-9}
    run_training(photoset, tmp_path / "a", tiny(stages=(one,)))
    run_training(photoset, tmp_path / "b", tiny(stages=(one, two)))
    first = load_file(tmp_path / "a" / "checkpoint.safetensors")
    second = load_file(tmp_path / "b" / "checkpoint.safetensors")
    names = [name for name in first if name.startswith("average/backbone.layer")]
    assert names
    for name in names:
        assert torch.equal(second[name.replace("average/", "network/")], first[name])


def test_the_second_stage_leaves_the_answers_of_the_first(tmp_path: Path) -> None:
    data = write_photoset(tmp_path / "data", contamination=True)
    first = {"learn": "all", "epochs": 2, "learning_rate": 0.01, "tasks": ["material"]}
    second = {"learn": "heads", "epochs": 2, "learning_rate": 0.05, "tasks": ["contamination"]}
    run_training(data, tmp_path / "one", tiny(stages=(first,)))
    run_training(data, tmp_path / "two", tiny(stages=(first, second)))
    before = load_file(tmp_path / "one" / "best.safetensors")
    after = load_file(tmp_path / "two" / "checkpoint.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[f"average/{name}"])}
    # P1: contamination is a layer on the features that the material was learned with.
    assert changed == {"heads.1.weight", "heads.1.bias"}


FIRST = {"learn": "all", "epochs": 3, "learning_rate": 0.01, "tasks": ["material"]}
THEN = {"learn": "heads", "epochs": 3, "learning_rate": 0.05, "tasks": ["contamination"]}


def test_epochs_are_scored_by_the_tasks_learned_so_far(tmp_path: Path) -> None:
    data = write_photoset(tmp_path / "data", contamination=True)
    run = run_training(data, tmp_path / "x", tiny(stages=(FIRST,)))
    # The model is the best epoch's; its record counts each task by itself.
    accuracy = run.metrics["tasks"]["material"]["accuracy"]
    assert accuracy == pytest.approx(max(row.val_accuracy for row in run.history))


def scripted(monkeypatch: pytest.MonkeyPatch, *accuracies: float) -> None:
    """Let the epochs have these accuracies, whatever was learned."""
    plain = Fit._validate

    def validate(self: Fit, network: Network, feed: Feed) -> tuple[float, float]:
        plain(self, network, feed)
        return 1.0, accuracies[self._state.epoch]

    monkeypatch.setattr(Fit, "_validate", validate)


def test_new_tasks_build_on_the_best_epoch_of_those_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_photoset(tmp_path / "data", contamination=True)
    scripted(monkeypatch, 0.6, 0.9, 0.8, 0.4, 0.5, 0.3)
    run_training(data, tmp_path / "one", tiny(stages=(FIRST,)))
    run_training(data, tmp_path / "two", tiny(stages=(FIRST, THEN)))
    before, after = (load_file(tmp_path / n / "best.safetensors") for n in ("one", "two"))
    last = load_file(tmp_path / "one" / "checkpoint.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    # The best of the second stage, though the first had higher scores of fewer tasks.
    assert changed == {"heads.1.weight", "heads.1.bias"}
    assert not torch.equal(before["heads.0.weight"], last["average/heads.0.weight"])


def test_a_kill_between_two_files_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_photoset(tmp_path / "data", contamination=True)
    scripted(monkeypatch, 0.6, 0.9, 0.8, 0.4, 0.5, 0.3)
    settings = tiny(stages=(FIRST, THEN), dropout=0.3)
    run_training(data, tmp_path / "whole", settings)
    saved: list[str] = []

    def save(path: Path, *content: Any) -> None:
        saved.append(path.name)
        if saved.count("best.safetensors") == 3:  # the first epoch of the second stage
            save_checkpoint(path, *content)
            saved.clear()
            raise KeyboardInterrupt
        save_checkpoint(path, *content)

    monkeypatch.setattr(loop, "save_checkpoint", save)
    with pytest.raises(KeyboardInterrupt):
        run_training(data, tmp_path / "cut", settings)
    monkeypatch.setattr(loop, "save_checkpoint", save_checkpoint)
    run_training(data, tmp_path / "cut", settings, resume=True)
    for file in ("best.safetensors", "checkpoint.safetensors"):
        whole, cut = (load_file(tmp_path / name / file) for name in ("whole", "cut"))
        assert all(torch.equal(whole[key], cut[key]) for key in whole)


def test_a_run_that_diverges_keeps_its_best_epoch(
    photoset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "_SECONDS_BETWEEN_CHECKPOINTS", 1e6)
    accuracies = (0.6, 0.9)
    validated: list[dict[str, torch.Tensor]] = []
    steps: list[None] = []

    def validate(self: Fit, network: Network, feed: Feed) -> tuple[float, float]:
        validated.append({name: value.clone() for name, value in network.state_dict().items()})
        return 1.0, accuracies[self._state.epoch]

    def diverging(*given: Any, **named: Any) -> torch.Tensor:
        steps.append(None)
        return masked_loss(*given, **named) * (float("nan") if len(steps) == 8 else 1.0)

    monkeypatch.setattr(Fit, "_validate", validate)
    monkeypatch.setattr(loop, "masked_loss", diverging)
    with pytest.raises(DivergedError, match=r"epoch 3, step 2.*The best epoch before is kept"):
        run_training(photoset, tmp_path / "x", tiny())
    best = load_file(tmp_path / "x" / "best.safetensors")
    assert all(torch.equal(best[name], validated[1][name]) for name in best)
    # No complete epoch has the weights of this moment: the checkpoint is the one before.
    kept, state = load_checkpoint(tmp_path / "x" / "checkpoint.safetensors")
    assert state["epoch"] == 1
    assert all(torch.equal(kept[f"average/{name}"], validated[0][name]) for name in best)


def test_a_stage_for_a_task_that_nobody_labels_is_said(photoset: Path, tmp_path: Path) -> None:
    stage = {"learn": "heads", "epochs": 1, "learning_rate": 0.01, "tasks": ["materials"]}
    with pytest.raises(ConfigError, match=r"no task 'materials'.*material"):
        run_training(photoset, tmp_path / "x", tiny(stages=(stage,)))
