"""Class maps against an independent Grad-CAM: equal up to the ReLU and a positive factor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from tests.train.tiny_settings import tiny
from torch import Tensor, nn

from beltsight.engines.onnx_runtime import OnnxRuntimeEngine
from beltsight.records import TaskSpec
from beltsight.train.export import export_graph
from beltsight.train.network import Network, build_network

TASKS = (
    TaskSpec("material", ("glass", "metal", "paper")),
    TaskSpec("contamination", ("clean", "partly", "heavily"), ordered=True),
)


class OneTask(nn.Module):
    """The network's logits of one task, as the independent library takes a network."""

    def __init__(self, network: Network, task: str) -> None:
        super().__init__()
        self.network, self.task = network, task

    def forward(self, photos: Tensor) -> Tensor:
        features = self.network.backbone.forward_features(photos)  # type: ignore[operator]
        return self.network.logits(self.network.embedding(features))[self.task]


@pytest.mark.parametrize(
    ("backbone", "layer"), [("resnet10t", "layer4"), ("mobilenetv2_035", "bn2")]
)
def test_class_maps_are_grad_cam(backbone: str, layer: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_network(tiny(backbone=backbone), TASKS, pretrained=False).eval()
    photos = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
    engine = OnnxRuntimeEngine(export_graph(network, (64, 64)).SerializeToString(), 1)
    maps = engine.run(photos, [f"{task.name}_map" for task in TASKS])
    normalised = network.normalised(torch.from_numpy(photos))
    for task in TASKS:
        cam = LayerGradCam(OneTask(network, task.name), network.backbone.get_submodule(layer))
        for label in range(3):
            expected = cam.attribute(normalised, label, relu_attributions=False)
            ours = maps[f"{task.name}_map"][:, label]
            places = ours.shape[1] * ours.shape[2]
            theirs = expected.detach().numpy()[:, 0] * places
            scale = np.abs(theirs).max()
            np.testing.assert_allclose(ours / scale, theirs / scale, atol=1e-4)
