"""How the packaged model's weights are averaged, and by what figures the share was chosen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from studies.default_model.run import averaged_weights
from studies.default_model.shares import figures

from beltsight.records import Sample, TaskSpec
from beltsight.train.checkpoint import save_checkpoint

MATERIAL, LEVEL = ("glass", "metal"), ("clean", "partly")


def test_weights_lie_between_both_runs_and_counts_do_not(tmp_path: Path) -> None:
    for run, weight, count in (("dirt", 1.0, 10), ("finish", 3.0, 20)):
        weights = {"layer": torch.full((2,), weight), "seen": torch.tensor(count)}
        if run == "finish":
            weights["places"] = torch.full((2,), 7.0)  # learned there alone
        (tmp_path / run).mkdir()
        save_checkpoint(tmp_path / run / "best.safetensors", weights, {"run": run})
    weights, state = averaged_weights(tmp_path, 0.25)
    assert weights["layer"].tolist() == [1.5, 1.5] and weights["places"].tolist() == [7.0, 7.0]
    assert int(weights["seen"]) == 20 and state["run"] == "finish"


def test_figures_of_a_share() -> None:
    class OfTwoTasks:
        tasks = (TaskSpec("material", MATERIAL), TaskSpec("contamination", LEVEL))

    def sample(material: str, level: str) -> Sample:
        return Sample(Path("photo.jpg"), {"material": material, "contamination": level})

    asked = {
        "plain": [sample("glass", "clean"), sample("metal", "clean")],
        "dirt mud": [sample("glass", "clean"), sample("glass", "partly")],
        "dirt wet": [sample("metal", "clean"), sample("glass", "partly")],
    }
    material = np.array([[1, 0], [1, 0]], np.float32)  # glass, whatever is shown
    level = np.array([[1, 0], [0, 1]], np.float32)  # the first clean, the second dirty
    said = {name: {"material": material, "contamination": level} for name in asked}
    photos = np.zeros((2, 4, 4, 3), np.uint8)
    found = figures(OfTwoTasks(), {n: (s, photos) for n, s in asked.items()}, said)  # type: ignore[arg-type]
    assert found == pytest.approx({"plain": 0.5, "dirty": 0.75, "auc": 1.0})
