from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from beltsight.errors import ResumeError
from beltsight.train.checkpoint import (
    load_checkpoint,
    pack_optimizer,
    save_checkpoint,
    unpack_optimizer,
)


def test_tensors_and_state_come_back(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6).reshape(2, 3), "b": torch.tensor(0.5)}
    save_checkpoint(tmp_path / "c.safetensors", tensors, {"epoch": 3, "history": [{"x": 0.1}]})
    loaded, state = load_checkpoint(tmp_path / "c.safetensors")
    assert state == {"epoch": 3, "history": [{"x": 0.1}]}
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    assert [path.name for path in tmp_path.iterdir()] == ["c.safetensors"]


def test_the_file_is_a_header_and_numbers_and_no_pickle(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, {"a": torch.zeros(2)}, {"epoch": 1})
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert header["a"]["dtype"] == "F32" and len(content) == 8 + length + 8


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_an_optimizer_goes_on_as_if_never_stopped(optimizer: str, tmp_path: Path) -> None:
    def make(weight: torch.Tensor) -> torch.optim.Optimizer:
        if optimizer == "sgd":
            return torch.optim.SGD([weight], lr=0.1, momentum=0.9)
        return torch.optim.AdamW([weight], lr=0.1)

    def step(weight: torch.Tensor, made: torch.optim.Optimizer) -> None:
        made.zero_grad()
        (weight**2).sum().backward()
        made.step()

    weight = torch.tensor([1.0, 2.0], requires_grad=True)
    made = make(weight)
    step(weight, made)
    save_checkpoint(tmp_path / "c.safetensors", {"w": weight, **pack_optimizer(made)}, {})
    step(weight, made)

    saved, _ = load_checkpoint(tmp_path / "c.safetensors")
    resumed = saved["w"].clone().requires_grad_()
    other = make(resumed)
    unpack_optimizer(other, saved)
    step(resumed, other)
    assert torch.equal(resumed, weight)


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"\x80\x04\x95", b"x" * 500):
        (tmp_path / "c.safetensors").write_bytes(content)
        with pytest.raises(ResumeError, match="not a usable checkpoint"):
            load_checkpoint(tmp_path / "c.safetensors")


def test_a_fused_optimizer_goes_on_whatever_the_memory_format(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    gradients = [torch.randn(4, 3, 5, 2, generator=generator) for _ in range(4)]

    def step(weight: torch.Tensor, made: torch.optim.Optimizer, gradient: torch.Tensor) -> None:
        weight.grad = gradient.contiguous(memory_format=torch.channels_last)
        made.step()

    def make() -> tuple[torch.Tensor, torch.optim.Optimizer]:
        weight = torch.zeros(4, 3, 5, 2).contiguous(memory_format=torch.channels_last)
        return weight.requires_grad_(), torch.optim.AdamW([weight], lr=0.1, fused=True)

    weight, whole = make()
    for gradient in gradients[:2]:
        step(weight, whole, gradient)
    kept = weight.detach().clone()
    save_checkpoint(tmp_path / "c.safetensors", pack_optimizer(whole), {})
    for gradient in gradients[2:]:
        step(weight, whole, gradient)

    again, resumed = make()
    with torch.no_grad():
        again.copy_(kept)
    unpack_optimizer(resumed, load_checkpoint(tmp_path / "c.safetensors")[0])
    for gradient in gradients[2:]:
        step(again, resumed, gradient)
    assert torch.equal(again, weight)
