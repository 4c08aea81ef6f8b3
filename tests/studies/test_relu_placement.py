"""The placement study: its networks against plain PyTorch, and its photos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from studies.relu_placement import bench
from studies.relu_placement.bench import measure_speed, vmap_training
from studies.relu_placement.data import Photos, load_sets, make_scaler, read_mnist, resized
from studies.relu_placement.model import (
    NAMES,
    PLACEMENTS,
    PUBLISHED_NAME,
    Normalisation,
    Shape,
    initial_weights,
    placement_name,
    plain_network,
)
from studies.relu_placement.plan import Recipe
from studies.relu_placement.stacked import StackedNetwork, train_step
from studies.relu_placement.train import make_optimizer, measure, measure_activity
from studies.runner import REPOSITORY
from tests.studies.tiny_mnist import job_of, sets_of, write_idx, write_mnist
from torch import Tensor, nn

from beltsight.errors import DatasetError
from beltsight.train.activity import measure_relus

HERE = REPOSITORY / "studies" / "relu_placement"
Batch = tuple[Tensor, Tensor]


def batches(count: int, size_px: int, channels: int = 1, many: int = 6) -> list[Batch]:
    """Photos with black grounds, as MNIST has: there outputs tie and are exactly zero."""
    generator = torch.Generator().manual_seed(5)
    found = []
    for _ in range(count):
        shape = (many, channels, size_px, size_px)
        photos = torch.rand(shape, generator=generator)
        photos[:, :, : size_px // 2] = 0
        found.append((photos, torch.randint(0, 10, (many,), generator=generator)))
    return found


def test_sixteen_placements_by_name() -> None:
    assert len(set(NAMES)) == 16
    assert NAMES[0] == "C-C-C-C" and NAMES[-1] == "CR-CR-CR-CR"
    assert placement_name((False, True, False, True)) == PUBLISHED_NAME == "C-CR-C-CR"


@pytest.mark.parametrize(("size_px", "window_px"), [(16, 1), (28, 4), (32, 5), (64, 13)])
def test_the_network_is_the_papers(size_px: int, window_px: int) -> None:
    shape = Shape(size_px)
    network = plain_network(shape, PLACEMENTS[5], initial_weights(shape, "lecun", 0))
    kinds = [type(part).__name__ for part in network]
    assert kinds == [
        "Conv2d", "MaxPool2d", "Conv2d", "ReLU", "MaxPool2d", "Conv2d", "Conv2d", "ReLU", "Flatten",
    ]  # fmt: skip
    sizes = [tuple(part.weight.shape) for part in network if isinstance(part, nn.Conv2d)]
    assert sizes == [
        (20, 1, 5, 5), (50, 20, 5, 5), (500, 50, window_px, window_px), (10, 500, 1, 1),
    ]  # fmt: skip
    assert network(torch.zeros(2, 1, size_px, size_px)).shape == (2, 10)


@pytest.mark.parametrize("size_px", [0, 12, 27, 30, 33])
def test_a_size_that_the_pools_do_not_divide(size_px: int) -> None:
    with pytest.raises(SystemExit, match=f"N = {size_px}: the pools of 2 must divide"):
        Shape(size_px)


def test_initial_weights_spread_as_their_scheme_says() -> None:
    shape = Shape(28)
    for scheme, deviation in (("he", (2 / 800) ** 0.5), ("lecun", (1 / 800) ** 0.5),
                              ("matconvnet", 0.01), ("torch", (1 / 2400) ** 0.5)):  # fmt: skip
        weights = initial_weights(shape, scheme, 1)  # type: ignore[arg-type]
        assert float(weights["conv3.weight"].std()) == pytest.approx(deviation, rel=0.01)
        assert bool(weights["conv3.bias"].any()) == (scheme == "torch")
    # Networks of two sizes share no weight, or their results would not be independent.
    small = initial_weights(Shape(24), "torch", 1)
    assert not any(torch.equal(small[name], weights[name]) for name in small)
    again = initial_weights(shape, "torch", 1)
    assert all(torch.equal(again[name], weights[name]) for name in weights)


@pytest.mark.parametrize(
    ("size_px", "channels", "normalisation"),
    [(28, 1, "none"), (16, 3, "none"), (16, 1, "batch")],
)
def test_the_stack_learns_as_sixteen_networks_do(
    size_px: int, channels: int, normalisation: Normalisation
) -> None:
    """The same losses, weights and answers as plain PyTorch, step by step."""
    shape = Shape(size_px, channels)
    weights = initial_weights(shape, "lecun", 0)
    stack = StackedNetwork(shape, PLACEMENTS, weights, normalisation)
    recipe = Recipe(rate=0.01)
    optimizer = make_optimizer(stack, recipe)
    steps = batches(4, size_px, channels)
    losses = torch.stack([train_step(stack, optimizer, *each) for each in steps])
    stack.eval()
    with torch.no_grad():
        logits = stack(steps[0][0])
    for place, placement in enumerate(PLACEMENTS):
        network = plain_network(shape, placement, weights, normalisation)
        learning = [p for p in network.parameters() if p.requires_grad]
        plain = torch.optim.SGD(learning, 0.01, 0.9, weight_decay=0.0005)
        for step, (photos, labels) in enumerate(steps):
            loss = nn.functional.cross_entropy(network(photos), labels)
            plain.zero_grad()
            loss.backward()
            plain.step()
            assert float(losses[step, place]) == pytest.approx(float(loss.detach()), abs=1e-4)
        network.eval()
        with torch.no_grad():
            torch.testing.assert_close(logits[place], network(steps[0][0]), atol=1e-3, rtol=1e-3)
        if normalisation == "none":
            own = stack.weights_of(place)
            assert own.keys() == network.state_dict().keys()
            for name, value in network.state_dict().items():
                torch.testing.assert_close(own[name], value, atol=1e-5, rtol=1e-4)


def test_without_rounding_they_stay_together_at_a_high_rate() -> None:
    """In float32 a ReLU's input within rounding of zero sends two runs apart; here none does."""
    shape = Shape(16)
    weights = initial_weights(shape, "lecun", 0)
    stack = StackedNetwork(shape, PLACEMENTS[5:8], weights, dtype=torch.float64).double()
    optimizer = torch.optim.SGD(stack.parameters(), 0.02, 0.9)
    steps = [(photos.double(), labels) for photos, labels in batches(1, 16) * 20]
    losses = torch.stack([train_step(stack, optimizer, *each) for each in steps])
    assert float(losses[-5:].mean()) < 0.9 * float(losses[:5].mean())
    for place, placement in enumerate(PLACEMENTS[5:8]):
        network = plain_network(shape, placement, weights).double()
        plain = torch.optim.SGD(network.parameters(), 0.02, 0.9)
        for step, (photos, labels) in enumerate(steps):
            loss = nn.functional.cross_entropy(network(photos), labels)
            plain.zero_grad()
            loss.backward()
            plain.step()
            assert float(losses[step, place]) == pytest.approx(float(loss.detach()), abs=1e-10)


def test_a_relu_passes_no_gradient_at_zero() -> None:
    """A black photo gives exactly zero in the first layer, where biases start at zero."""
    shape = Shape(16)
    weights = initial_weights(shape, "lecun", 0)
    stack = StackedNetwork(shape, (PLACEMENTS[0], PLACEMENTS[8]), weights)
    stack(torch.zeros(1, 1, 16, 16)).sum().backward()
    gradient = stack.biases[0].grad
    assert gradient is not None
    first, second = gradient.view(2, 20)
    assert bool(first.any()) and not bool(second.any())


def test_one_that_diverges_leaves_the_others_alone() -> None:
    shape = Shape(16)
    weights = initial_weights(shape, "lecun", 0)
    stack = StackedNetwork(shape, PLACEMENTS[:4], weights)
    with torch.no_grad():
        stack.weights[1][:50] = float("nan")  # the first network's
    photos, labels = batches(1, 16)[0]
    losses = train_step(stack, make_optimizer(stack, Recipe()), photos, labels)
    assert torch.isfinite(losses).tolist() == [False, True, True, True]
    assert all(torch.isfinite(p.grad).any() for p in stack.parameters() if p.grad is not None)
    assert torch.isfinite(stack.weights_of(1)["conv1.weight"]).all()
    pixels = (photos.permute(0, 2, 3, 1) * 255).byte().numpy()
    known = Photos(pixels, labels.numpy())
    scaler = make_scaler(known, "unit")
    wrong, _ = measure(stack, scaler, known)
    assert wrong[0].all()
    # What is no number is not zero: such a network must not count as one without dead units.
    activity = measure_activity(stack, scaler, known)
    with torch.no_grad():
        stack.weights[1][150:] = float("nan")  # the fourth network's, which has ReLUs
    lost = measure_activity(stack, scaler, known)
    assert {each.placement for each in lost if np.isnan(each.dead)} == {NAMES[3]}
    assert not any(np.isnan(each.dead) or np.isnan(each.zeros) for each in activity)


def test_a_tie_is_no_answer() -> None:
    """Networks of which all classes are dead give equal logits; none is right by its place."""
    shape = Shape(16)
    weights = {name: 0 * each for name, each in initial_weights(shape, "lecun", 0).items()}
    stack = StackedNetwork(shape, PLACEMENTS, weights)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 1), np.uint8)
    photos = Photos(pixels, np.arange(20) % 10)
    wrong, _ = measure(stack, make_scaler(photos, "unit"), photos)
    assert wrong.all()
    with torch.no_grad():  # the third class alone is above the others
        stack.biases[3].view(16, 10)[:, 2] = 0.5
    wrong, _ = measure(stack, make_scaler(photos, "unit"), photos)
    assert np.array_equal(wrong, np.tile(photos.labels != 2, (16, 1)))


def test_logits_are_not_rounded() -> None:
    shape = Shape(16)
    stack = StackedNetwork(
        shape, PLACEMENTS, initial_weights(shape, "lecun", 0), dtype=torch.bfloat16
    )
    values = stack.activations(batches(1, 16)[0][0])
    assert values[2].dtype == torch.bfloat16 and values[3].dtype == torch.float32
    assert not torch.equal(values[3], values[3].bfloat16().float())
    losses = [train_step(stack, make_optimizer(stack, Recipe()), *each) for each in batches(2, 16)]
    assert torch.isfinite(torch.stack(losses)).all()


def test_activity_is_that_of_the_plain_networks() -> None:
    shape = Shape(16)
    weights = initial_weights(shape, "lecun", 3)
    weights["conv1.bias"][:4] = -100.0  # a fifth of the first layer is dead
    stack = StackedNetwork(shape, PLACEMENTS, weights)
    pixels = np.random.default_rng(0).integers(0, 256, (7, 16, 16, 1), np.uint8)
    photos = Photos(pixels, np.zeros(7, np.int64))
    scaler = make_scaler(photos, "standard")
    found = measure_activity(stack, scaler, photos)
    assert len(found) == 32  # each layer has its ReLU in eight placements
    for each in found:
        placement = PLACEMENTS[NAMES.index(each.placement)]
        network = plain_network(shape, placement, weights)
        own = {a.name: a for a in measure_relus(network, [scaler(torch.from_numpy(pixels))])}
        plain = own[f"relu{each.layer[-1]}"]
        assert each.dead == pytest.approx(plain.dead)
        assert each.dead >= 0.2 * (each.layer == "conv1")
        # After the pool there are fewer zeros than before it; equal where there is no pool.
        assert each.zeros <= plain.zeros + 1e-6
        if each.layer in ("conv3", "conv4"):
            assert each.zeros == pytest.approx(plain.zeros)


def test_vmap_gives_the_same_losses() -> None:
    shape = Shape(16)
    steps = batches(3, 16)
    stack = StackedNetwork(shape, PLACEMENTS, initial_weights(shape, "torch", 0))
    optimizer = make_optimizer(stack, Recipe(rate=0.001, weight_decay=0))
    own = torch.stack([train_step(stack, optimizer, *each) for each in steps])
    torch.testing.assert_close(vmap_training(shape)(steps), own, atol=1e-4, rtol=0)


def test_the_speed_is_measured_against_plain_pytorch() -> None:
    """What is told, not how fast this busy machine is: benches have the floors."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 1), np.uint8)
    photos = Photos(pixels, np.arange(12) % 10)
    speeds = measure_speed(photos, 16, 4, rounds=1, steps=1)
    assert [speed.way for speed in speeds] == ["stacked", "stacked, bfloat16", "torch.func.vmap"]
    assert speeds[0].gap < 1e-4 and speeds[2].gap < 1e-4
    assert all(speed.plain_ms > 0 and speed.own_ms > 0 for speed in speeds)
    slow = replace(speeds[0], plain_ms=12.0, own_ms=10.0, gap=1e-3)
    assert slow.misses == "" and slow.wanted_ratio == 5.0  # wished for, no floor
    large = replace(slow, size_px=28, batch_size=32)
    assert large.misses == "N = 28, batch 32: 1.20x < 1.3x, losses differ by 1.0e-03"
    assert large.wanted_ratio == 1.3 and replace(slow, size_px=64).wanted_ratio == 0.0
    with pytest.raises(SystemExit, match="12 photos do not fill a batch of 13"):
        measure_speed(photos, 16, 13, rounds=1, steps=1)


def test_the_bench_tells_where_overhead_dominates(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def measured(photos: Photos, size_px: int, batch: int, *, rounds: int, steps: int) -> Any:
        asked.append((size_px, batch))
        assert photos.pixels.shape[1] == size_px and rounds and steps
        return [bench.Speed("stacked", size_px, batch, 20.0, 10.0, (2.0, 1.9), 1e-6)]

    monkeypatch.setattr(bench, "measure_speed", measured)
    known = Photos(np.zeros((3, 28, 28, 1), np.uint8), np.zeros(3, np.int64))
    rows, missed = bench.bench_rows(known, "the command")
    assert {(16, 4), (16, 8), (28, 32), (28, 100), (44, 32)} <= set(asked) and missed == []
    text = bench.bench_text([{name: str(value) for name, value in row.items()} for row in rows])
    assert "| stacked | 28 | 32 | 10.0 | 20.0 | **2.00x** (1.9 to 2.0) | 1.3x | 1e-06 |" in text
    assert text.count("| 5x, missed |") == 3 and text.count(" | - | 1e-06 |") == 1


# Photos


def test_the_subset_is_the_same_and_apart_from_validation(tmp_path: Path) -> None:
    folder = write_mnist(tmp_path / "mnist")
    few, many = (sets_of(folder, job_of(photos=count, size_px=28)) for count in (50, 0))
    assert len(many.train) == 216 and len(many.validation) == 24 and many.test is not None
    assert np.array_equal(many.train.pixels[:50], few.train.pixels)
    assert np.array_equal(many.validation.pixels, few.validation.pixels)
    everything = {photo.tobytes() for photo in many.train.pixels}
    assert not everything & {photo.tobytes() for photo in many.validation.pixels}
    assert few.digest != many.digest
    # A slice looks at no test photo: what stands in for them comes from the training file.
    slice_of = load_sets(job_of(photos=50, size_px=28), {"mnist": folder}, quick=True)
    assert slice_of.test is not None and len(slice_of.test) == len(slice_of.validation) == 12
    both = [slice_of.validation.pixels, slice_of.test.pixels]
    assert np.array_equal(np.concatenate(both), many.validation.pixels)
    assert load_sets(job_of(photos=50, test=False), {"mnist": folder}, quick=True).test is None
    with pytest.raises(SystemExit, match=r"asks for 217 training photos, but .* leaves 216"):
        sets_of(folder, job_of(photos=217))


def test_photos_are_resized_bilinearly() -> None:
    pixels = np.zeros((1, 28, 28, 1), np.uint8)
    pixels[0, :, 14:] = 200
    photos = Photos(pixels, np.zeros(1, np.int64))
    assert resized(photos, 28) is photos
    large = resized(photos, 56).pixels[0, 10, :, 0]
    # At twice the size the edge falls between pixels: a quarter and three quarters of the step.
    assert large[26:30].tolist() == [0, 50, 150, 200]


@pytest.mark.parametrize("inputs", ["unit", "standard", "matconvnet"])
def test_inputs_are_scaled_by_the_training_photos(inputs: str) -> None:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (50, 16, 16, 3), np.uint8)
    scaled = make_scaler(Photos(pixels, np.zeros(50, np.int64)), inputs)(torch.from_numpy(pixels))
    floats = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    if inputs == "unit":
        expected = floats / 255
    elif inputs == "matconvnet":
        expected = floats - floats.mean(dim=0)
    else:
        deviation, mean = torch.std_mean(floats, dim=(0, 2, 3), correction=0, keepdim=True)
        expected = (floats - mean) / deviation
    torch.testing.assert_close(scaled, expected, atol=1e-4, rtol=1e-4)


def test_bad_mnist_is_one_sentence(tmp_path: Path) -> None:
    folder = write_mnist(tmp_path / "mnist")
    (folder / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DatasetError, match="train-labels-idx1-ubyte: no such file"):
        read_mnist(folder)
    write_idx(folder / "train-labels-idx1-ubyte.gz", np.zeros(7, np.uint8))
    with pytest.raises(SystemExit, match=r"a label for each, got uint8 \(240, 28, 28\) and labels"):
        read_mnist(folder)
    write_idx(folder / "train-labels-idx1-ubyte.gz", np.full(240, 10, np.uint8))
    with pytest.raises(SystemExit, match="train labels from 0 to 9"):
        read_mnist(folder)
