from __future__ import annotations

import numpy as np
import pytest
import torch

from beltsight.train.loss import masked_loss


def test_missing_labels_take_no_part() -> None:
    logits = {
        "a": torch.tensor([[2.0, 0.0], [0.0, 1.0]]),
        "b": torch.tensor([[1.0, 1.0], [5.0, 0.0]]),
    }
    labels = torch.tensor([[0, -1], [0, 1]])
    a = (np.log(1 + np.exp(-2.0)) + np.log(1 + np.exp(1.0))) / 2
    b = np.log(1 + np.exp(5.0))  # of the second photo alone
    assert float(masked_loss(logits, labels)) == pytest.approx(a + b, rel=1e-6)


def test_no_label_at_all_gives_zero_and_a_gradient_of_zero() -> None:
    scores = torch.tensor([[2.0, 0.0]], requires_grad=True)
    loss = masked_loss({"a": scores}, torch.tensor([[-1]]))
    loss.backward()
    assert loss.item() == 0.0
    assert scores.grad is not None and scores.grad.abs().sum() == 0


def test_class_weights_weigh_each_photo_by_its_class() -> None:
    logits = {"a": torch.tensor([[2.0, 0.0], [0.0, 1.0]])}
    labels = torch.tensor([[0], [0]])
    plain = float(masked_loss(logits, labels))
    weighted = float(masked_loss(logits, labels, class_weights=[torch.tensor([3.0, 1.0])]))
    assert weighted == pytest.approx(plain)  # one class only: its weight cancels
    mixed = torch.tensor([[0], [1]])
    losses = np.log(1 + np.exp(-2.0)), np.log(1 + np.exp(-1.0))
    expected = (3 * losses[0] + losses[1]) / 4
    got = masked_loss(logits, mixed, class_weights=[torch.tensor([3.0, 1.0])])
    assert float(got) == pytest.approx(expected, rel=1e-6)


def test_only_the_named_tasks_count() -> None:
    logits = {"a": torch.tensor([[2.0, 0.0]]), "b": torch.tensor([[0.0, 3.0]])}
    labels = torch.tensor([[0, 0]])
    expected = np.log(1 + np.exp(3.0))
    assert float(masked_loss(logits, labels, tasks=("b",))) == pytest.approx(expected, rel=1e-6)
