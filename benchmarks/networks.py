"""Model files to measure with, made from a clean clone: random weights are the same work.

They are calibrated on the packaged photos, so that their int8 form has the ranges of real ones.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from benchmarks.outcome import DEMO
from torch import nn

import beltsight
from beltsight.quantization import Bounds, QuantizeSettings, quantize
from beltsight.train.network import Network, build_network
from beltsight.train.package import About, package_model
from beltsight.train.photos import prepare_photos
from beltsight.train.settings import TrainSettings

SEED = 0


def float_model(backbone: str, folder: Path, size: int = 224) -> Path:
    """A model file with random weights; one that is there already is used again."""
    path = folder / f"{backbone}-{size}.onnx"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    settings = TrainSettings(backbone=backbone, weights="random", image_size=size)
    dataset = beltsight.load_dataset(DEMO)
    network = build_network(settings, dataset.tasks)
    wake(network)
    pixels = folder / f"{path.stem}.pixels"
    photos = prepare_photos(dataset.samples, dataset.tasks, settings.preparation, pixels)
    photos = replace(photos, hashes=())  # which would say that the network has learned them
    about = About(name=f"{backbone} with random weights", data="packaged photos")
    package_model(network, photos, photos, settings, about, path)
    pixels.unlink()
    return path


def wake(network: nn.Module) -> None:
    """Random scales where new networks have zeros: zeros could be left out of the work."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.3, 0.7)


def int8_model(path: Path, float_layers: int = 0) -> Path:
    """The int8 form of a model file, without the gate on its answers; one that is there is used.

    Random weights give random answers, which no other form of the file keeps.

    Args:
        path: of the file in float.
        float_layers: how many stay float beside the heads.
    """
    kept = f"-{float_layers}-float" if float_layers else ""
    out = path.with_name(f"{path.stem}-int8{kept}.onnx")
    if not out.exists():
        settings = QuantizeSettings(
            split="all", n_calibration=36, keep_count=float_layers, bounds=Bounds(0.0, 1.0)
        )
        quantize(path, DEMO, out, settings)
    return out


def count_operations(network: Network) -> float:
    """Additions and multiplications of the layers with weights, for one photo."""
    counted = [0.0]

    def count(layer: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        weight = layer.weight
        assert isinstance(weight, torch.Tensor)
        # Each value of the output is a sum over one row of the weights.
        counted[0] += 2.0 * output.numel() * weight[0].numel()

    layers = [each for each in network.modules() if isinstance(each, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.inference_mode():
        network.eval()(torch.zeros((1, *network.input_size, 3), dtype=torch.uint8))
    for hook in hooks:
        hook.remove()
    return counted[0]
