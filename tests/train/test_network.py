from __future__ import annotations

import lzma
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file
from tests.train.tiny_settings import tiny

from beltsight.errors import ConfigError, TrainError
from beltsight.records import TaskSpec
from beltsight.train.network import Network, build_network, load_backbone_weights
from beltsight.train.settings import Stage
from beltsight.train.stages import backbone_stages, choose_learning, set_training_mode

TASKS = (TaskSpec("material", ("glass", "metal")),)


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return build_network(tiny(), TASKS)


@pytest.mark.parametrize("suffix", [".safetensors", ".safetensors.xz"])
def test_weights_are_read_without_their_classifier(
    network: Network, tmp_path: Path, suffix: str
) -> None:
    state = {name: tensor + 1 for name, tensor in network.backbone.state_dict().items()}
    content = save({**state, "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)})
    path = tmp_path / f"w{suffix}"
    path.write_bytes(lzma.compress(content) if suffix.endswith("xz") else content)
    load_backbone_weights(network.backbone, path)
    loaded = network.backbone.state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_the_weights_of_a_run_are_a_start_for_other_tasks(tmp_path: Path) -> None:
    before = build_network(tiny(), TASKS)
    save_file(dict(before.state_dict()), tmp_path / "best.safetensors")
    other = (TaskSpec("colour", ("black", "white")),)
    after = build_network(tiny(weights=str(tmp_path / "best.safetensors")), other)
    own = before.backbone.state_dict()
    assert all(torch.equal(own[k], value) for k, value in after.backbone.state_dict().items())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: {k: v for k, v in s.items() if k != "bn1.weight"}, "are missing, e.g. bn1"),
        (lambda s: {**s, "bn1.weight": torch.zeros(2, 2)}, "of another shape, e.g. bn1"),
        (lambda s: {**s, "blocks.0.weight": torch.zeros(2)}, "are unknown, e.g. blocks.0"),
    ],
)
def test_weights_of_another_architecture_are_refused(
    network: Network, tmp_path: Path, spoil: object, message: str
) -> None:
    state = dict(network.backbone.state_dict())
    save_file(spoil(state), tmp_path / "w.safetensors")  # type: ignore[operator]
    with pytest.raises(TrainError, match=f"another architecture.*{message}"):
        load_backbone_weights(network.backbone, tmp_path / "w.safetensors")


@pytest.mark.parametrize("content", [b"", b"\x80\x04pickle", b"\xff" * 100])
def test_a_file_that_is_no_safetensors_is_refused(
    network: Network, tmp_path: Path, content: bytes
) -> None:
    for suffix in (".safetensors", ".safetensors.xz"):
        path = tmp_path / f"w{suffix}"
        path.write_bytes(content)
        with pytest.raises(TrainError, match="not readable as safetensors"):
            load_backbone_weights(network.backbone, path)


def test_missing_weights_and_unknown_backbones_are_named(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="no such weights file"):
        build_network(tiny(weights=str(tmp_path / "none.safetensors")), TASKS)
    with pytest.raises(ConfigError, match=r"no backbone 'resnet81'; did you mean 'resnet"):
        build_network(tiny(backbone="resnet81"), TASKS)
    for args in ({"no_such_argument": 1}, {"act_layer": "no_such_layer"}):
        with pytest.raises(ConfigError, match="cannot build test_resnet with backbone_args"):
            build_network(tiny(backbone_args=args), TASKS)


def test_an_input_that_the_backbone_does_not_take_is_a_setting_error() -> None:
    with pytest.raises(ConfigError, match="does not take an input of 64 x 64"):
        build_network(tiny(backbone="vit_tiny_patch16_224", image_size=64), TASKS)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenetv2_100"])
def test_the_shared_weights_fit(name: str, weights_dir: Path) -> None:
    args = {"pad_type": "same"} if name.startswith("mobile") else {}
    file = weights_dir / f"{name}.safetensors.xz"
    settings = tiny(backbone=name, backbone_args=args, weights=str(file), image_size=96)
    loaded = build_network(settings, TASKS)
    assert loaded.has_maps
    random = build_network(settings, TASKS, pretrained=False)
    first = next(iter(loaded.backbone.parameters()))
    assert not torch.equal(first, next(iter(random.backbone.parameters())))


def test_normalisation_is_timms_unless_given() -> None:
    network = build_network(tiny(backbone="resnet18"), TASKS)
    torch.testing.assert_close(
        network.mean.flatten() / 255, torch.tensor([0.485, 0.456, 0.406]), atol=1e-6, rtol=0
    )
    given = build_network(tiny(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)), TASKS)
    photo = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    assert float(((photo.permute(0, 3, 1, 2) - given.mean) / given.std).min()) == -1.0


@pytest.mark.parametrize(
    ("learn", "expected"),
    [
        ("heads", set()),
        ("all", {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"}),
        (2, {"layer3", "layer4"}),
        (("layer2", "layer4"), {"layer2", "layer4"}),
    ],
)
def test_a_stage_says_which_part_learns(
    network: Network, learn: object, expected: set[str]
) -> None:
    stage = Stage.model_validate({"learn": learn, "epochs": 1, "learning_rate": 0.1})
    choose_learning(network, stage)
    learning = {n.split(".")[0] for n, p in network.backbone.named_parameters() if p.requires_grad}
    assert learning == expected
    assert all(p.requires_grad for p in network.heads.parameters())


def test_unknown_parts_are_refused(network: Network) -> None:
    with pytest.raises(ConfigError, match="no part 'layer9'; did you mean 'layer"):
        choose_learning(network, Stage(learn=("layer9",), epochs=1, learning_rate=0.1))
    count = len(backbone_stages(network.backbone))
    with pytest.raises(ConfigError, match=f"the backbone has {count} stages"):
        choose_learning(network, Stage(learn=99, epochs=1, learning_rate=0.1))


def test_stages_cover_every_parameter_once(network: Network) -> None:
    names = [name for stage in backbone_stages(network.backbone) for name in stage]
    assert sorted(names) == sorted(name for name, _ in network.backbone.named_parameters())


def test_frozen_batchnorm_keeps_its_statistics(network: Network) -> None:
    stage = Stage(learn=1, epochs=1, learning_rate=0.1)
    choose_learning(network, stage)
    set_training_mode(network)
    norms = [
        (name, module)
        for name, module in network.backbone.named_modules()
        if isinstance(module, torch.nn.BatchNorm2d)
    ]
    assert {m.training for n, m in norms if n.startswith("layer4")} == {True}
    assert {m.training for n, m in norms if not n.startswith("layer4")} == {False}
    choose_learning(network, stage, batchnorm_learns=False)
    set_training_mode(network)
    assert not any(module.training for _, module in norms)
    assert not any(p.requires_grad for _, module in norms for p in module.parameters())
    assert any(p.requires_grad for p in network.backbone.parameters())


@pytest.mark.parametrize(
    ("backbone", "size"),
    [("mobilenetv3_small_050", 64), ("convnext_atto", 64), ("swin_s3_tiny_224", 224)],
)
def test_backbones_with_heads_of_their_own_have_no_maps(backbone: str, size: int) -> None:
    network = build_network(tiny(backbone=backbone, image_size=size), TASKS)
    assert not network.has_maps
    photos = torch.zeros(1, size, size, 3, dtype=torch.uint8)
    assert network.eval()(photos)["material"].shape == (1, 2)


@pytest.mark.parametrize("name", ["type", "keys", "form.a", "forward", "0"])
def test_a_task_may_have_any_name(name: str) -> None:
    network = build_network(tiny(), (TaskSpec(name, ("a", "b")),))
    photos = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    assert network.eval()(photos)[name].shape == (1, 2)
