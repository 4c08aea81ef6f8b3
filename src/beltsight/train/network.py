"""The network: a timm backbone, and per task one linear head on its averaged features."""

from __future__ import annotations

import lzma
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from beltsight.errors import ConfigError, TrainError
from beltsight.records import TaskSpec
from beltsight.train.settings import TrainSettings

_MAX_WEIGHTS_BYTES = 4_000_000_000


class Network(nn.Module):
    """From prepared photos to logits.

    Args:
        backbone: a timm model without classifier.
        tasks: one head each.
        mean, std: RGB normalisation in 0 to 1.
        dropout: probability to drop a feature before the heads.
        input_size: (height, width) in pixels, to find out what the backbone gives.

    ``has_maps`` is True where the embedding is the plain average of the last feature map, so
    that a head used as a 1x1 convolution gives class maps.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        tasks: Sequence[TaskSpec],
        *,
        mean: Sequence[float],
        std: Sequence[float],
        dropout: float,
        input_size: tuple[int, int],
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.tasks = tuple(tasks)
        self.register_buffer("mean", 255 * torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        features, embedding = self._probe(input_size)
        self.has_maps = features.ndim == 4 and torch.allclose(
            features.mean((2, 3)), embedding, rtol=1e-4, atol=1e-5
        )
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.ModuleDict(
            {task.name: nn.Linear(embedding.shape[1], len(task.classes)) for task in tasks}
        )

    def forward(self, photos: Tensor) -> dict[str, Tensor]:
        """Logits (N, C) per task for uint8 (N, H, W, 3) RGB."""
        _, embedding = self.features(photos)
        dropped = self.dropout(embedding)
        return {name: head(dropped) for name, head in self.heads.items()}

    def features(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        """The last feature map and the embedding (N, D) for uint8 (N, H, W, 3) RGB."""
        pixels = (photos.permute(0, 3, 1, 2).float() - self.mean) / self.std
        features = self.backbone.forward_features(pixels)  # type: ignore[operator]
        return features, self.backbone.forward_head(features, pre_logits=True)  # type: ignore[operator]

    def class_maps(self, features: Tensor) -> dict[str, Tensor]:
        """Class maps (N, C, h, w): each head applied at each place; their mean is logit - bias."""
        return {
            name: nn.functional.conv2d(features, head.weight[:, :, None, None])
            for name, head in self.heads.items()
            if isinstance(head, nn.Linear)
        }

    @torch.no_grad()
    def _probe(self, input_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        self.backbone.eval()
        generator = torch.Generator().manual_seed(0)
        photos = torch.randint(0, 256, (1, *input_size, 3), generator=generator, dtype=torch.uint8)
        try:
            return self.features(photos)
        except (AssertionError, RuntimeError) as error:
            raise ConfigError(
                f"the backbone does not take an input of {input_size[0]} x {input_size[1]} "
                f"pixels: {error}"
            ) from error


def build_network(
    settings: TrainSettings, tasks: Sequence[TaskSpec], *, pretrained: bool = True
) -> Network:
    """The network that the settings ask for, with its starting weights.

    Args:
        settings: backbone, weights, normalisation, dropout, input size.
        tasks: one head each.
        pretrained: False leaves the backbone random, for a checkpoint to fill.

    Raises:
        ConfigError: timm has no such model, or it does not take the arguments.
        TrainError: weights that cannot be had or belong to another architecture.
    """
    from_timm = pretrained and settings.weights == "timm"
    try:
        backbone = timm.create_model(
            settings.backbone, pretrained=from_timm, num_classes=0, **settings.backbone_args
        )
    except TypeError as error:
        raise ConfigError(f"backbone_args {settings.backbone_args}: {error}") from error
    except RuntimeError as error:
        close = ", ".join(timm.list_models(f"*{settings.backbone[:6]}*")[:5])
        raise ConfigError(
            f"timm has no backbone {settings.backbone!r}" + (f"; near it: {close}" if close else "")
        ) from error
    except Exception as error:  # the hub client has many errors of its own for one cause: no file
        raise TrainError(
            f"the weights of {settings.backbone} could not be downloaded ({error}); offline, "
            "give them with --weights FILE, or start without with --weights random"
        ) from error
    if pretrained and settings.weights not in ("timm", "random"):
        load_backbone_weights(backbone, Path(settings.weights))
    preset = _preset(backbone)
    return Network(
        backbone,
        tasks,
        mean=settings.mean or preset["mean"],
        std=settings.std or preset["std"],
        dropout=settings.dropout,
        input_size=(settings.preparation.height, settings.preparation.width),
    )


def load_backbone_weights(backbone: nn.Module, path: Path) -> None:
    """Fill a backbone from ``.safetensors`` or ``.safetensors.xz`` with timm's key names.

    The classifier's own weights are left out; everything else must be there and fit.

    Raises:
        TrainError: unreadable file, or weights of another architecture.
    """
    state = _read_weights(path)
    classifier = _preset(backbone).get("classifier") or ()
    names = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    heads = tuple(f"{name}." for name in names)
    own = backbone.state_dict()
    extra = [key for key in state if key not in own and not key.startswith(heads)]
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    misfits = [key for key in own if key in state and own[key].shape != state[key].shape]
    for kind, keys in (("missing", missing), ("of another shape", misfits), ("unknown", extra)):
        if keys:
            raise TrainError(
                f"{path}: weights of another architecture: {len(keys)} of {len(own)} tensors "
                f"are {kind}, e.g. {keys[0]}"
            )
    fitting = {key: tensor.to(own[key].dtype) for key, tensor in state.items() if key in own}
    backbone.load_state_dict(fitting, strict=False)


def _preset(backbone: nn.Module) -> dict[str, Any]:
    """What timm knows of a backbone: its normalisation and its classifier's name."""
    return dict(backbone.pretrained_cfg)  # type: ignore[arg-type]


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".xz":
            with lzma.open(path) as file:
                content = file.read(_MAX_WEIGHTS_BYTES)
        else:
            content = path.read_bytes()
        return load_safetensors(content)
    except FileNotFoundError as error:
        raise TrainError(f"{path}: no such weights file") from error
    except (OSError, EOFError, lzma.LZMAError, SafetensorError) as error:
        raise TrainError(f"{path}: not readable as safetensors: {error}") from error
