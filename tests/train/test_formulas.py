"""The formulas of P1 (1)-(9), each against numbers worked out by hand or in plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.train.tiny_settings import tiny
from timm.models.resnet import BasicBlock
from torch import Tensor, nn

from beltsight.metrics import task_metrics
from beltsight.records import TaskSpec
from beltsight.train.augment import make_augmentation
from beltsight.train.loss import masked_loss
from beltsight.train.network import Network, build_network
from beltsight.train.optimize import make_optimizer, set_rates
from beltsight.train.settings import Stage
from beltsight.train.stages import choose_learning, set_training_mode

MATERIAL = TaskSpec("material", ("glass", "metal"))
CONTAMINATION = TaskSpec("contamination", ("clean", "partly", "heavily"), ordered=True)


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return build_network(tiny(dropout=0.0), (MATERIAL, CONTAMINATION))


def one_weight(optimizer: str, rate: float, decay: float, **more: object) -> tuple[Tensor, object]:
    """A network whose only learning weight is one number in its head, and its optimizer."""

    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.heads = nn.ModuleList([nn.Linear(1, 1, bias=False)])
            self.backbone = nn.Identity()
            self.places = None

    bare = Bare()
    weight = bare.heads[0].weight
    nn.init.constant_(weight, 2.0)  # type: ignore[arg-type]
    stage = Stage(learn="heads", epochs=1, learning_rate=rate)
    settings = tiny(optimizer=optimizer, weight_decay=decay, **more)
    made = make_optimizer(bare, stage, settings)  # type: ignore[arg-type]
    set_rates(made, 1.0)
    return weight, made  # type: ignore[return-value]


def test_1_residual_block_adds_its_input() -> None:
    block = BasicBlock(1, 1)
    block.eval()
    for conv in (block.conv1, block.conv2):
        nn.init.zeros_(conv.weight)
        conv.weight.data[0, 0, 1, 1] = 3.0  # a 3x3 convolution that multiplies by 3
    x = torch.tensor([[[[2.0, -1.0]]]])
    scale = 1.0 / np.sqrt(1.0 + 1e-5)  # batch-norm of mean 0, variance 1, eps 1e-5
    # F(2) = 3 (3 * 2) = 18; F(-1) = 3 relu(-3) = 0; y = relu(F(x) + x)
    expected = torch.tensor([[[[18.0 * scale**2 + 2.0, 0.0]]]])
    torch.testing.assert_close(block(x), expected.to(torch.float32))


def test_2_augmentation_is_drawn_at_random_and_keeps_the_item_in_view() -> None:
    augment = make_augmentation("strong", (128, 128, 128))
    assert augment is not None
    photo = torch.full((3, 96, 96), 128, dtype=torch.uint8)
    photo[:, 36:60, 36:60] = 250
    torch.manual_seed(1)
    drawn = [augment(photo) for _ in range(30)]
    assert all(x.shape == photo.shape and x.dtype == torch.uint8 for x in drawn)
    assert len({x.numpy().tobytes() for x in drawn}) == 30
    # Of the 24 x 24 bright pixels at least a quarter is seen: scale 0.75 leaves 9/16 of them.
    assert all(int((x.float().mean(0) > 150).sum()) > 24 * 24 // 4 for x in drawn)
    assert make_augmentation("none", (0, 0, 0)) is None


def test_3_sgd_step() -> None:
    weight, optimizer = one_weight("sgd", rate=0.1, decay=0.0, momentum=0.0)
    (3.0 * weight).sum().backward()
    optimizer.step()  # type: ignore[attr-defined]
    assert weight.item() == pytest.approx(2.0 - 0.1 * 3.0)


def test_4_frozen_layers_have_no_gradient_and_do_not_move(network: Network) -> None:
    stage = Stage(learn=1, epochs=1, learning_rate=0.1)
    choose_learning(network, stage)
    set_training_mode(network)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = make_optimizer(network, stage, tiny())
    set_rates(optimizer, 1.0)
    photos = torch.randint(0, 256, (4, 64, 64, 3), dtype=torch.uint8)
    labels = torch.tensor([[0, 0], [1, 1], [0, 2], [1, 0]])
    masked_loss(network(photos), labels).backward()
    optimizer.step()
    after = network.state_dict()
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert moved
    # Not one parameter or batch-norm statistic below the last stage has changed.
    assert all(name.startswith(("backbone.layer4", "heads")) for name in moved)
    lower = [p for name, p in network.backbone.named_parameters() if not name.startswith("layer4")]
    assert lower and all(p.grad is None for p in lower)


def test_5_penalty_is_inside_the_loss() -> None:
    # loss = 3 w + 0.25 w^2, w = 2: gradient 3 + 2 * 0.25 * 2 = 4
    weight, made = one_weight("sgd", rate=0.1, decay=0.25, momentum=0.0)
    (3.0 * weight).sum().backward()
    made.step()  # type: ignore[attr-defined]
    assert weight.item() == pytest.approx(2.0 - 0.1 * 4.0)


def test_6_dropout_names_the_probability_to_drop() -> None:
    network = build_network(tiny(dropout=0.3), (MATERIAL,))
    network.dropout.train()
    torch.manual_seed(0)
    dropped = network.dropout(torch.ones(100_000))
    kept = float((dropped > 0).double().mean())
    assert kept == pytest.approx(0.7, abs=0.01)  # P1's p, the probability to keep
    assert dropped.max().item() == pytest.approx(1 / 0.7)  # so that the expectation stays


def test_7_adam_with_bias_correction_and_the_penalty_in_its_gradient() -> None:
    rate, penalty, beta1, beta2, eps = 0.1, 0.25, 0.9, 0.999, 1e-8
    weight, optimizer = one_weight("adam_l2", rate=rate, decay=penalty)
    expected, m, v = 2.0, 0.0, 0.0
    for step, slope in enumerate((3.0, -1.0, 0.5), 1):
        optimizer.zero_grad()  # type: ignore[attr-defined]
        (slope * weight).sum().backward()
        optimizer.step()  # type: ignore[attr-defined]
        gradient = slope + 2 * penalty * expected
        m = beta1 * m + (1 - beta1) * gradient
        v = beta2 * v + (1 - beta2) * gradient**2
        corrected_m, corrected_v = m / (1 - beta1**step), v / (1 - beta2**step)
        expected -= rate * corrected_m / (np.sqrt(corrected_v) + eps)
        assert weight.item() == pytest.approx(expected, rel=1e-5)


def test_7_adamw_decays_apart_from_the_gradient() -> None:
    weight, optimizer = one_weight("adamw", rate=0.1, decay=0.25)
    (3.0 * weight).sum().backward()
    optimizer.step()  # type: ignore[attr-defined]
    # decay first: 2 (1 - 0.1 * 0.25) = 1.95; then Adam's first step, which is the rate itself
    assert weight.item() == pytest.approx(1.95 - 0.1, rel=1e-5)


def test_8_accuracy_is_the_share_of_right_answers() -> None:
    logits = np.array([[2, 1, 0], [0, 3, 1], [0, 1, 2], [5, 0, 0]], np.float32)
    figures = task_metrics(CONTAMINATION, logits, np.array([0, 1, 1, 0]))
    assert figures["accuracy"] == 3 / 4
    assert figures["confusion"] == [[2, 0, 0], [0, 1, 1], [0, 0, 0]]


def test_9_contamination_is_a_layer_of_its_own_on_the_same_features(network: Network) -> None:
    network.eval()
    photos = torch.randint(0, 256, (3, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        _, f = network.features(photos)
        logits = network(photos)
    for task in ("material", "contamination"):
        head = network.head(task)
        z = f.numpy() @ head.weight.detach().numpy().T + head.bias.detach().numpy()
        np.testing.assert_allclose(logits[task].numpy(), z, rtol=1e-4, atol=1e-5)
    assert logits["contamination"].shape == (3, 3)
