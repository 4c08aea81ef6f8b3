"""Every family of backbones goes the whole road: one step of training, export, an answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.train.tiny_settings import tiny

from beltsight.model import Model
from beltsight.train.run import run_training


@pytest.mark.parametrize(
    ("backbone", "arguments", "has_maps"),
    [
        ("resnet10t", {}, True),
        ("efficientnet_b0", {}, True),
        ("mobilenetv2_050", {"pad_type": "same"}, True),
        ("mobilenetv3_small_050", {}, False),
        ("convnext_atto", {}, False),
        ("vit_tiny_patch16_224", {"img_size": 64}, False),
    ],
)
def test_one_step_export_answer(
    backbone: str, arguments: dict[str, object], has_maps: bool, photoset: Path, tmp_path: Path
) -> None:
    settings = tiny(
        backbone=backbone,
        backbone_args=arguments,
        batch_size=54,  # all at once: one step an epoch
        stages=({"learn": 1, "epochs": 1, "learning_rate": 0.001},),
    )
    run = run_training(photoset, tmp_path / "x", settings)
    model = Model.load(run.model)
    assert model.card.tasks[0].map is has_maps
    answers = model.predict(sorted((photoset / "images" / "glass").iterdir())[:3], explain=has_maps)
    assert [sum(a.tasks["material"].probabilities.values()) for a in answers] == pytest.approx(
        [1.0] * 3
    )
    assert all(np.isfinite(a.embedding).all() for a in answers if a.embedding is not None)
    assert all(bool(a.maps) is has_maps for a in answers)
