"""Dead units and zeros, by hand and against a plain loop."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from beltsight.errors import DatasetError
from beltsight.train.activity import ActivityTally, measure_relus


def test_by_hand() -> None:
    tally = ActivityTally()
    first = torch.zeros(2, 3, 2, 2)
    first[0, 1] = 5.0  # unit 1: four of eight
    second = torch.zeros(1, 3, 2, 2)
    second[0, 2, 0, 0] = 1.0  # unit 2: one of twelve over both
    tally.add(first)
    tally.add(second)
    assert tally.dead.tolist() == [True, False, False]
    assert tally.zeros.tolist() == pytest.approx([1.0, 8 / 12, 11 / 12])


def test_every_relu_of_a_network() -> None:
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)
    network = nn.Sequential(conv, nn.ReLU(), norm, nn.Flatten(), nn.Linear(144, 6), nn.ReLU())
    assert conv.bias is not None and norm.running_mean is not None
    conv.bias.data[2] = -100.0  # never positive
    norm.eval()
    batches = [torch.randn(5, 1, 8, 8), torch.randn(3, 1, 8, 8)]
    before = norm.running_mean.clone()
    got = measure_relus(network, batches)
    assert [(each.name, each.units) for each in got] == [("1", 4), ("5", 6)]
    with torch.no_grad():
        given = torch.cat([conv(batch) for batch in batches])
    assert got[0].dead == sum(bool((given[:, unit] <= 0).all()) for unit in range(4)) / 4 == 0.25
    assert got[0].zeros == pytest.approx(float((given <= 0).double().mean()))
    assert 0 < got[1].zeros < 1
    # As it was before: modes, statistics and no hooks.
    assert network.training and network[1].training and not norm.training
    assert torch.equal(norm.running_mean, before)
    assert not network[1]._forward_hooks


def test_a_relu_that_never_ran_is_left_out() -> None:
    network = nn.Sequential(nn.Linear(2, 2))
    network.relu = nn.ReLU()
    network.forward = network[0].forward  # type: ignore[method-assign]
    assert measure_relus(network, [torch.ones(1, 2)]) == []


@pytest.mark.parametrize("batches", [[], [torch.ones(0, 2)]])
def test_without_photos(batches: list[torch.Tensor]) -> None:
    with pytest.raises(DatasetError, match="at least one photo"):
        measure_relus(nn.Sequential(nn.ReLU()), batches)
    with pytest.raises(DatasetError, match="at least one photo"):
        _ = ActivityTally().zeros
