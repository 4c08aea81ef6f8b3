"""What must be the same where a run's weights are used again: tasks, classes, masks."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import tomli_w
from tests.train.photosets import write_photoset
from tests.train.tiny_settings import tiny

from beltsight import Dataset, load_dataset
from beltsight.errors import ResumeError
from beltsight.train.checkpoint import save_checkpoint
from beltsight.train.folder import FREE_SETTINGS
from beltsight.train.network import build_network
from beltsight.train.photos import fingerprint, prepare_photos
from beltsight.train.run import _identity, choose_samples, export_run


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return load_dataset(write_photoset(tmp_path / "data", 8, contamination=True))


@pytest.fixture
def run(dataset: Dataset, tmp_path: Path) -> Path:
    """What a run leaves that export needs; nothing was learned."""
    folder, settings = tmp_path / "run", tiny()
    folder.mkdir()
    values = settings.model_dump(mode="json", exclude_none=True)
    (folder / "settings.toml").write_text(tomli_w.dumps(values), encoding="utf-8")
    tasks, samples = choose_samples(dataset, settings)
    photos = [
        prepare_photos(part, tasks, settings.preparation, tmp_path / f"{index}.pixels")
        for index, part in enumerate(samples)
    ]
    described = {"tasks": [asdict(task) for task in tasks], "fingerprint": fingerprint(photos)}
    (folder / "run.json").write_text(json.dumps(described), encoding="utf-8")
    network = build_network(settings, tasks, pretrained=False)
    save_checkpoint(folder / "best.safetensors", network.state_dict(), {})
    return folder


@pytest.mark.parametrize("change", ["tasks", "classes", "levels"])
def test_export_refuses_tasks_in_another_order(
    change: str, run: Path, dataset: Dataset, tmp_path: Path
) -> None:
    material, contamination = dataset.tasks
    assert material.classes == ("glass", "metal", "paper") and contamination.ordered
    turned = replace(material, classes=material.classes[::-1])
    tasks, said = {
        "tasks": (
            (contamination, material),
            "tasks were material, contamination, are contamination, material",
        ),
        "classes": (
            (turned, contamination),
            "classes of material were glass, metal, paper, are paper, metal, glass",
        ),
        "levels": (
            (material, replace(contamination, ordered=False)),
            "classes of contamination are no levels",
        ),
    }[change]
    with pytest.raises(ResumeError, match=f"{said}; give it with .*--taxonomy"):
        export_run(run, replace(dataset, tasks=tasks), tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


def test_a_run_without_masks_keeps_the_identity_it_had(dataset: Dataset) -> None:
    values = tiny().model_dump(mode="json", exclude=set(FREE_SETTINGS))
    before = [values, "data", [asdict(task) for task in dataset.tasks]]
    expected = hashlib.sha256(json.dumps(before, sort_keys=True).encode()).hexdigest()
    assert _identity(tiny(), "data", dataset.tasks, "") == expected
    assert _identity(tiny(), "data", dataset.tasks, "masks") != expected
