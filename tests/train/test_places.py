"""The layer that says how much of each place is dirty: what it sees, and how fine it is."""

from __future__ import annotations

import pytest
import torch
from tests.train.tiny_settings import tiny
from torch import nn

from beltsight.errors import ConfigError
from beltsight.records import TaskSpec
from beltsight.train.network import Network, build_network
from beltsight.train.places import Places, finer_stages

TASKS = (TaskSpec("contamination", ("clean", "partly", "heavily")),)
DRAWN = torch.Generator().manual_seed(0)
PHOTOS = torch.randint(0, 256, (2, 64, 96, 3), generator=DRAWN, dtype=torch.uint8)


def placed(backbone: str) -> Network:
    torch.manual_seed(0)
    given = tiny(
        backbone=backbone,
        mask_weight=1.0,
        image_size=(64, 96),
        weights="random",
        backbone_args={},
    )
    return build_network(given, TASKS).eval()


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenetv2_050", "convnext_atto"])
def test_a_place_is_eight_pixels_and_the_answers_are_as_without_it(backbone: str) -> None:
    network = placed(backbone)
    with torch.no_grad():
        logits, places = network.answers(PHOTOS)
        features, embedding = network.features(PHOTOS)
        alone = network(PHOTOS)
    assert places is not None and places.shape == (2, 8, 12)
    assert torch.equal(logits["contamination"], alone["contamination"])
    assert torch.equal(network.outputs(PHOTOS)[0], features)
    assert torch.equal(network.outputs(PHOTOS)[1], embedding)


def test_a_place_sees_what_is_there() -> None:
    network = placed("resnet18")
    marked = PHOTOS.clone()
    marked[:, :8, :8] = 255 - marked[:, :8, :8]
    with torch.no_grad():
        moved = (network.answers(marked)[1] - network.answers(PHOTOS)[1]).abs()[0]  # type: ignore[operator]
    assert moved.argmax() in (0, 1, 12, 13)


def test_a_backbone_of_one_fineness_answers_by_its_last_features() -> None:
    class Plain(nn.Module):
        def forward_features(self, photos: torch.Tensor) -> torch.Tensor:
            return nn.functional.avg_pool2d(photos, 16)

        def forward_head(self, features: torch.Tensor, pre_logits: bool) -> torch.Tensor:
            return features.mean((2, 3))

    assert finer_stages(Plain()) == []
    network = Network(
        Plain(), TASKS, mean=(0.5,) * 3, std=(0.5,) * 3, dropout=0.0, input_size=(64, 96),
        places=True,
    )  # fmt: skip
    _, places = network.answers(PHOTOS)
    assert places is not None and places.shape == (2, 4, 6)


def test_stages_that_are_not_what_the_backbone_gives_are_refused() -> None:
    class Odd(nn.Module):
        feature_info = ({"reduction": 8}, {"reduction": 16})

        def forward_features(self, photos: torch.Tensor) -> torch.Tensor:
            return nn.functional.avg_pool2d(photos, 16)

        def forward_head(self, features: torch.Tensor, pre_logits: bool) -> torch.Tensor:
            return features.mean((2, 3))

        def forward_intermediates(
            self, photos: torch.Tensor, indices: list[int]
        ) -> tuple[torch.Tensor, list[torch.Tensor]]:
            return self.forward_features(photos) + 1, [photos, photos]

    with pytest.raises(ConfigError, match="mask_weight needs a backbone whose stages timm can"):
        Network(
            Odd(), TASKS, mean=(0.5,) * 3, std=(0.5,) * 3, dropout=0.0, input_size=(64, 96),
            places=True,
        )  # fmt: skip


def test_maps_of_odd_sizes_meet() -> None:
    layer = Places([4, 8, 16])
    made = layer([torch.rand(1, 4, 9, 7), torch.rand(1, 8, 5, 4), torch.rand(1, 16, 3, 2)])
    assert made.shape == (1, 9, 7)
