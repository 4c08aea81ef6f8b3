from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.train.tiny_settings import tiny

from beltsight.records import TaskSpec
from beltsight.train.network import Network, build_network
from beltsight.train.settings import Stage
from beltsight.train.stages import learning_names
from beltsight.train.trunk import Cut, find_cut

TASKS = (TaskSpec("material", ("glass", "metal", "paper")),)


def make_network(backbone: str, image_size: int = 64) -> Network:
    torch.manual_seed(0)
    settings = tiny(backbone=backbone, image_size=image_size, dropout=0.0)
    return build_network(settings, TASKS, pretrained=False).eval()


def cut_before(network: Network, learn: object) -> Cut | None:
    stage = Stage.model_validate({"learn": learn, "epochs": 1, "learning_rate": 0.1})
    return find_cut(network, learning_names(network.backbone, stage))


def some_photos(network: Network) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    size = (3, *network.input_size, 3)
    return torch.randint(0, 256, size, generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("learn", ["heads", 1, 2])
@pytest.mark.parametrize(
    ("backbone", "image_size"),
    [
        ("resnet10t", 64),
        ("mobilenetv2_100", 64),
        ("mobilenetv3_small_100", 64),
        ("efficientnet_b0", 64),
        ("convnext_atto", 64),
        ("vit_tiny_patch16_224", 224),
    ],
)
@torch.no_grad()
def test_a_divided_network_gives_the_whole_ones_answer(
    backbone: str, image_size: int, learn: object
) -> None:
    network = make_network(backbone, image_size)
    photos = some_photos(network)
    cut = cut_before(network, learn)
    assert cut is not None
    activation = cut.activation(network, photos)
    assert torch.equal(cut.logits(network, activation)["material"], network(photos)["material"])
    if cut.after:
        embedding = cut.continued(network, activation, Cut(()))
        assert torch.equal(embedding, network.features(photos)[1])


@torch.no_grad()
def test_a_later_cut_is_reached_from_an_earlier_one() -> None:
    network = make_network("resnet18")
    photos = some_photos(network)
    early, late = cut_before(network, 2), cut_before(network, ["layer4.1"])
    assert early is not None and late is not None
    assert early.after == ("layer3.0", "layer3.1", "layer4.0", "layer4.1")
    assert late.after == ("layer4.1",)
    from_early = early.continued(network, early.activation(network, photos), late)
    assert torch.equal(from_early, late.activation(network, photos))


@pytest.mark.parametrize("learn", ["all", "gradual", ["conv1"], ["layer4", "bn1"]])
def test_no_cut_where_the_first_layers_learn(learn: object) -> None:
    cut = cut_before(make_network("resnet10t"), learn)
    assert cut is None or cut.after[0] == "bn1"


def test_a_parameter_outside_the_sequence_forbids_a_cut() -> None:
    network = make_network("vit_tiny_patch16_224", 224)
    assert cut_before(network, ["pos_embed", "blocks.11"]) is None


def test_a_backbone_with_a_side_branch_runs_whole() -> None:
    network = make_network("resnet10t")

    class Branching(torch.nn.Module):
        """A layer whose second input the sequence does not have."""

        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: torch.Tensor, scale: float) -> torch.Tensor:
            result: torch.Tensor = self.inner(x)
            return scale * result

    backbone: Any = network.backbone
    backbone.layer4[0] = Branching(backbone.layer4[0])

    def features(x: torch.Tensor) -> torch.Tensor:
        for name in ("conv1", "bn1", "act1", "maxpool", "layer1", "layer2", "layer3"):
            x = backbone.get_submodule(name)(x)
        result: torch.Tensor = backbone.layer4[0](x, 2.0)
        return result

    backbone.forward_features = features
    assert cut_before(network, ["layer3"]) is None


def test_the_digest_tells_weights_apart_but_not_what_lies_after_the_cut() -> None:
    network = make_network("resnet10t")
    cut = cut_before(network, 1)
    assert cut is not None
    base = network.digest(without=cut.after)
    with torch.no_grad():
        network.backbone.get_parameter("layer4.0.conv1.weight").add_(1.0)
    assert network.digest(without=cut.after) == base
    mean = network.backbone.get_buffer("bn1.running_mean")
    mean.copy_(-mean)  # -0.0: equal, so the same
    assert network.digest(without=cut.after) == base
    mean.add_(0.1)
    assert network.digest(without=cut.after) != base


def test_what_lies_before_a_cut_is_known_where_it_runs_alone() -> None:
    cut = cut_before(make_network("resnet10t"), 1)
    assert cut is not None and cut.before[0].startswith("conv1") and "layer3.0" in cut.before
    transformer = cut_before(make_network("vit_tiny_patch16_224", 224), 1)
    assert transformer is not None and transformer.before == ()
