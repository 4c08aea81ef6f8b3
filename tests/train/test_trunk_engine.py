from __future__ import annotations

import pytest
import torch
from tests.train.tiny_settings import tiny

from beltsight.records import TaskSpec
from beltsight.train import trunk_engine
from beltsight.train.network import Network, build_network
from beltsight.train.precision import Precision
from beltsight.train.trunk import Cut, find_cut
from beltsight.train.trunk_engine import OnnxTrunk, TorchTrunk, choose_trunk

FLOAT32 = Precision(torch.device("cpu"), False)


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return build_network(tiny(backbone="resnet10t"), (TaskSpec("m", ("a", "b")),), pretrained=False)


def cut_of(network: Network) -> Cut:
    cut = find_cut(network, ["layer4.0.conv1.weight"])
    assert cut is not None
    return cut


def test_the_engine_is_chosen_by_time_and_answers_the_same(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = trunk_engine._timed
    monkeypatch.setattr(trunk_engine, "_WORTH_AN_EXPORT_S", 0.0)
    chosen = {}
    for faster in (OnnxTrunk, TorchTrunk):

        def clock(trunk: object, photos: torch.Tensor) -> tuple[torch.Tensor, float]:
            return timed(trunk, photos)[0], 0.1 if isinstance(trunk, faster) else 0.2  # type: ignore[arg-type] # noqa: B023

        monkeypatch.setattr(trunk_engine, "_timed", clock)
        chosen[faster] = choose_trunk(network, FLOAT32, cut_of(network), None, 1000)
        assert isinstance(chosen[faster], faster)
    photos = torch.randint(0, 256, (5, 64, 64, 3), dtype=torch.uint8)
    answers = [trunk(photos) for trunk in chosen.values()]
    torch.testing.assert_close(answers[0], answers[1], rtol=1e-4, atol=1e-4)
    assert len({trunk.name for trunk in chosen.values()}) == 2  # part of the cache's key


def test_a_few_rows_are_not_worth_an_export(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trunk_engine, "to_onnx", lambda *_: pytest.fail("exported"))
    assert isinstance(choose_trunk(network, FLOAT32, cut_of(network), None, 3), TorchTrunk)


def test_bfloat16_is_left_to_pytorch(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trunk_engine, "_WORTH_AN_EXPORT_S", 0.0)
    monkeypatch.setattr(trunk_engine, "to_onnx", lambda *_: pytest.fail("exported"))
    precision = Precision(torch.device("cpu"), True)
    assert isinstance(choose_trunk(network, precision, cut_of(network), None, 10**6), TorchTrunk)


def test_an_engine_that_answers_otherwise_is_not_taken(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trunk_engine, "_WORTH_AN_EXPORT_S", 0.0)
    honest = OnnxTrunk.__call__
    monkeypatch.setattr(OnnxTrunk, "__call__", lambda self, x: honest(self, x) + 1.0)
    assert isinstance(choose_trunk(network, FLOAT32, cut_of(network), None, 10**6), TorchTrunk)


def test_an_engine_that_was_chosen_before_is_taken_though_slower(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed, cut = trunk_engine._timed, cut_of(network)

    def clock(trunk: object, photos: torch.Tensor) -> tuple[torch.Tensor, float]:
        return timed(trunk, photos)[0], 0.1 if isinstance(trunk, TorchTrunk) else 0.2  # type: ignore[arg-type]

    monkeypatch.setattr(trunk_engine, "_timed", clock)
    taken = choose_trunk(network, FLOAT32, cut, None, 3, known="onnxruntime-cpu")
    assert isinstance(taken, OnnxTrunk) and taken.name == "onnxruntime-cpu"
    monkeypatch.setattr(trunk_engine, "_timed", lambda *_: pytest.fail("timed"))
    plain = TorchTrunk(network, FLOAT32, cut, None)
    assert choose_trunk(network, FLOAT32, cut, None, 10**6, known=plain.name) == plain
