"""The network: a timm backbone, and per task one linear head on its averaged features."""

from __future__ import annotations

import hashlib
import lzma
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from beltsight.config import nearest
from beltsight.errors import ConfigError, TrainError
from beltsight.records import CONTAMINATION, TaskSpec
from beltsight.train.places import Places, finer_stages
from beltsight.train.settings import TrainSettings

PLACES_TASK = CONTAMINATION  # masks are of dirt
_MAX_WEIGHTS_BYTES = 4_000_000_000


class Network(nn.Module):
    """From prepared photos to logits.

    Args:
        backbone: a timm model without classifier.
        tasks: one head each.
        mean, std: RGB normalisation in 0 to 1.
        dropout: probability to drop a feature before the heads.
        places: whether there is a layer that answers how much of each place is covered by dirt.
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
        places: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.tasks = tuple(tasks)
        self.register_buffer("mean", 255 * torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.input_size = input_size
        features, embedding = self._probe()
        self.has_maps = (
            features.ndim == 4
            and features.shape[:2] == embedding.shape
            and torch.allclose(features.mean((2, 3)), embedding, rtol=1e-4, atol=1e-5)
        )
        self.dropout = nn.Dropout(dropout)
        # A list, not a dictionary: PyTorch does not allow every task's name as a key.
        self.heads = nn.ModuleList(
            nn.Linear(embedding.shape[1], len(task.classes)) for task in tasks
        )
        if places and features.ndim != 4:
            raise ConfigError(
                "mask_weight needs a backbone whose last features are a map of the photo, which "
                "this one's are not; leave it at 0"
            )
        # Last, so that all else is drawn as without it.
        self._finer = finer_stages(backbone) if places else []
        self.places = self._make_places(features) if places else None

    def forward(self, photos: Tensor) -> dict[str, Tensor]:
        """Logits (N, C) per task for uint8 (N, H, W, 3) RGB."""
        return self.logits(self.features(photos)[1])

    def logits(self, embedding: Tensor) -> dict[str, Tensor]:
        """Logits (N, C) per task for embeddings (N, D)."""
        dropped = self.dropout(embedding)
        return {task.name: head(dropped) for task, head in self._named_heads()}

    def answers(self, photos: Tensor) -> tuple[dict[str, Tensor], Tensor | None]:
        """Logits per task, and where there is a layer for it, a logit (N, h, w) of dirt."""
        _, embedding, places = self.outputs(photos)
        return self.logits(embedding), places

    def outputs(self, photos: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Feature map, embedding, and where there is a layer for it, a logit (N, h, w) of dirt."""
        if self.places is None:
            return *self.features(photos), None
        features, finer = self._with_finer(photos)
        return features, self.embedding(features), self.places([*finer, features])

    def features(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        """The last feature map and the embedding (N, D) for uint8 (N, H, W, 3) RGB."""
        features = self.backbone.forward_features(self.normalised(photos))  # type: ignore[operator]
        return features, self.embedding(features)

    def normalised(self, photos: Tensor) -> Tensor:
        """What the backbone takes, float32 (N, 3, H, W), for uint8 (N, H, W, 3) RGB."""
        return (photos.permute(0, 3, 1, 2).float() - self.mean) / self.std

    def embedding(self, features: Tensor) -> Tensor:
        """The embedding (N, D) of the last feature map."""
        embedding: Tensor = self.backbone.forward_head(features, pre_logits=True)  # type: ignore[operator]
        return embedding

    def class_maps(self, features: Tensor) -> dict[str, Tensor]:
        """Class maps (N, C, h, w): each head applied at each place; their mean is logit - bias."""
        return {
            task.name: nn.functional.conv2d(features, head.weight[:, :, None, None])
            for task, head in self._named_heads()
        }

    @property
    def places_task(self) -> str | None:
        """The task whose places the network answers, or None."""
        known = self.places is not None and any(t.name == PLACES_TASK for t in self.tasks)
        return PLACES_TASK if known else None

    def digest(self, without: Sequence[str] = ()) -> str:
        """SHA-256 of the backbone's weights and the normalisation.

        Args:
            without: modules of the backbone whose weights are left out.
        """
        left_out = tuple(f"{name}." for name in without)
        digest = hashlib.sha256()
        for name, tensor in [
            *self.backbone.state_dict().items(), ("mean", self.mean), ("std", self.std),
        ]:  # fmt: skip
            if not name.startswith(left_out):
                digest.update(name.encode())
                same_zero = tensor.detach().cpu() + 0  # -0.0 is equal to 0.0, but for its bytes
                digest.update(same_zero.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def head(self, task: str) -> nn.Linear:
        """The layer that answers a task: logits = weight @ embedding + bias."""
        return next(head for spec, head in self._named_heads() if spec.name == task)

    def _with_finer(self, photos: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The last feature map and the finer ones, the finest first."""
        inputs = self.normalised(photos)
        if not self._finer:
            return self.backbone.forward_features(inputs), []  # type: ignore[operator]
        last, finer = self.backbone.forward_intermediates(inputs, indices=self._finer)  # type: ignore[operator]
        return last, finer

    @torch.no_grad()
    def _make_places(self, features: Tensor) -> Places:
        """A layer for what the backbone gives; ``features`` are those of the probe."""
        last, finer = self._with_finer(self._probing_photo())
        if last.shape != features.shape or not torch.allclose(last, features):
            raise ConfigError(
                "mask_weight needs a backbone whose stages timm can tell, which this one's it "
                "cannot; leave it at 0"
            )
        return Places([each.shape[1] for each in (*finer, last)])

    def _named_heads(self) -> Iterator[tuple[TaskSpec, nn.Linear]]:
        for task, head in zip(self.tasks, self.heads, strict=True):
            assert isinstance(head, nn.Linear)
            yield task, head

    @torch.no_grad()
    def _probe(self) -> tuple[Tensor, Tensor]:
        self.backbone.eval()
        try:
            return self.features(self._probing_photo())
        except (AssertionError, RuntimeError) as error:
            height, width = self.input_size
            raise ConfigError(
                f"the backbone does not take an input of {height} x {width} pixels: {error}"
            ) from error

    def _probing_photo(self) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        size = (1, *self.input_size, 3)
        return torch.randint(0, 256, size, generator=generator, dtype=torch.uint8)


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
    backbone = _create_backbone(settings, from_timm=pretrained and settings.weights == "timm")
    if pretrained and settings.weights not in ("timm", "random"):
        load_backbone_weights(backbone, Path(settings.weights))
    preset = _preset(backbone)
    return Network(
        backbone,
        tasks,
        mean=settings.mean or preset["mean"],
        std=settings.std or preset["std"],
        dropout=settings.dropout,
        places=settings.mask_weight > 0,
        input_size=(settings.preparation.height, settings.preparation.width),
    )


def _create_backbone(settings: TrainSettings, *, from_timm: bool) -> nn.Module:
    name = settings.backbone
    if not timm.is_model(name.partition(".")[0]):
        raise ConfigError(f"timm has no backbone {name!r}; {nearest(name, _like(name))}")
    try:
        backbone: nn.Module = timm.create_model(
            name, pretrained=from_timm, num_classes=0, **settings.backbone_args
        )
    except Exception as error:  # timm and the hub's client have many errors of their own
        if not from_timm:
            raise ConfigError(
                f"timm cannot build {name} with backbone_args {settings.backbone_args}: {error}"
            ) from error
        raise TrainError(
            f"no pretrained weights of {name} can be had ({error}); give them with "
            "--weights FILE, or start without with --weights random"
        ) from error
    return backbone


def _like(name: str) -> list[str]:
    """Models to name beside an unknown one: those that begin like it, else the documented ones."""
    return timm.list_models(f"{name[:4]}*") or ["resnet18", "resnet50", "mobilenetv2_100"]


def load_backbone_weights(backbone: nn.Module, path: Path) -> None:
    """Fill a backbone from ``.safetensors`` or ``.safetensors.xz``.

    With timm's key names, or those of a run's ``best.safetensors``. The classifier's or heads'
    own weights are left out; everything else must be there and fit.

    Raises:
        TrainError: unreadable file, or weights of another architecture.
    """
    state = _without_heads(_read_weights(path))
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


def _without_heads(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The backbone's part of a run's weights; timm's own are left as they are."""
    backbone, heads = "backbone.", ("heads.", "places.")
    if not all(key.startswith((backbone, *heads)) for key in state):
        return state
    kept = {key: tensor for key, tensor in state.items() if key.startswith(backbone)}
    return {key.removeprefix(backbone): tensor for key, tensor in kept.items()}


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
