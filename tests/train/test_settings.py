from __future__ import annotations

import re
from pathlib import Path

import pytest

from beltsight.errors import ConfigError
from beltsight.train.settings import Stage, TrainSettings, load_settings, with_overrides


def test_flags_win_over_environment_over_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "train.toml"
    file.write_text('backbone = "resnet50"\nbatch_size = 8\nseed = 1\n', encoding="utf-8")
    monkeypatch.setenv("BELTSIGHT_TRAIN_BATCH_SIZE", "16")
    monkeypatch.setenv("BELTSIGHT_TRAIN_SEED", "2")
    settings = load_settings(file, {"seed": 3, "dropout": None})
    assert (settings.backbone, settings.batch_size, settings.seed) == ("resnet50", 16, 3)
    assert settings.dropout == TrainSettings().dropout


def test_stages_are_data(tmp_path: Path) -> None:
    file = tmp_path / "train.toml"
    file.write_text(
        '[[stages]]\nlearn = "heads"\nepochs = 1\nlearning_rate = 0.1\n'
        '[[stages]]\nlearn = ["layer4"]\nepochs = 2\nlearning_rate = 0.01\nbackbone_factor = 0.1\n',
        encoding="utf-8",
    )
    settings = load_settings(file)
    assert settings.stages == (
        Stage(learn="heads", epochs=1, learning_rate=0.1),
        Stage(learn=("layer4",), epochs=2, learning_rate=0.01, backbone_factor=0.1),
    )
    assert settings.total_epochs == 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batchsize": 8}, "unknown key 'batchsize'; did you mean 'batch_size'"),
        ({"stages": [{"learn": "all", "epochs": 1, "rate": 1}]}, "learning_rate"),
        ({"stages": [{"learn": 0, "epochs": 1, "learning_rate": 1}]}, "write 'heads'"),
        ({"stages": []}, "stages"),
        ({"dropout": 1.0}, "dropout"),
        ({"image_size": 4}, "image size must be 8 to 4096"),
        ({"mean": [0.5, 0.5, 0.5]}, "mean and std go together"),
        ({"mean": [0.5] * 3, "std": [0.0] * 3}, "std must be above 0"),
        ({"optimizer": "adam"}, "optimizer"),
        ({"label_smoothing": float("nan")}, "label_smoothing"),
        ({"fill": [0, 0, 300]}, "fill"),
    ],
)
def test_a_wrong_setting_is_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        with_overrides(TrainSettings(), values)


def test_epochs_are_those_of_the_last_stage(tmp_path: Path) -> None:
    file = tmp_path / "train.toml"
    file.write_text("epochs = 5\n", encoding="utf-8")
    assert [stage.epochs for stage in load_settings(file).stages] == [2, 5]
    settings = with_overrides(load_settings(file), {"epochs": 7})
    assert [stage.epochs for stage in settings.stages] == [2, 7]
    with pytest.raises(ConfigError, match="epochs"):
        load_settings(file, {"epochs": 0})


@pytest.mark.parametrize("stages", [3, "heads", [], [3], ["heads"], {"learn": "heads"}])
def test_epochs_of_what_is_no_list_of_stages_are_refused(stages: object) -> None:
    with pytest.raises(ConfigError, match="stages") as refused:
        load_settings(overrides={"stages": stages, "epochs": 2})
    assert "epochs" not in str(refused.value)


@pytest.mark.parametrize("name", ["quick", "full"])
def test_a_recipe_lies_under_file_and_options(name: str, tmp_path: Path) -> None:
    plain = load_settings(recipe=name)
    assert plain.stages[0].learn == "heads" and len(plain.stages) == 2
    assert (plain.stages[0].views > 0) == (name == "quick")
    file = tmp_path / "train.toml"
    file.write_text("image_size = 96\n", encoding="utf-8")
    settings = load_settings(file, {"epochs": 2}, name)
    assert settings.image_size == 96 and settings.stages[0] == plain.stages[0]
    assert settings.stages[1].epochs == 2


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no recipe '\.\./quick'"):
        load_settings(recipe="../quick")
    with pytest.raises(ConfigError, match="did you mean 'full'"):
        load_settings(recipe="ful")


def test_height_and_width_may_differ() -> None:
    preparation = with_overrides(TrainSettings(), {"image_size": (192, 256)}).preparation
    assert (preparation.height, preparation.width) == (192, 256)


def test_every_setting_is_documented() -> None:
    text = TrainSettings.__doc__ or ""
    documented = set(re.findall(r"^\s+(\w+)(?:, (\w+))?:", text, re.MULTILINE))
    names = {name for pair in documented for name in pair}
    missing = [name for name in TrainSettings.model_fields if name not in names]
    assert missing == []
