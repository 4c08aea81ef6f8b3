"""The whole road on real photos: train -> evaluate -> export -> predict, with real backbones."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import beltsight
from beltsight.train.export import make_engine_of_file, measure_parity
from beltsight.train.run import load_network
from beltsight.train.settings import TrainSettings


def few(dataset: beltsight.Dataset, train: int, val: int, test: int) -> beltsight.Dataset:
    """The first photos of each class and split."""
    counts = {"train": train, "val": val, "test": test}

    def key(sample: beltsight.Sample) -> tuple[str, str]:
        return sample.split or "", sample.labels["material"]

    chosen: list[beltsight.Sample] = []
    for (split, _), group in groupby(sorted(dataset.samples, key=key), key):
        chosen += list(group)[: counts[split]]
    return replace(dataset, samples=tuple(chosen))


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["resnet18", "resnet50", "mobilenetv2_100"])
def test_train_evaluate_export_predict(
    backbone: str, trashnet: Path, weights_dir: Path, tmp_path: Path
) -> None:
    dataset = few(beltsight.load_dataset(trashnet), train=20, val=8, test=6)
    settings = TrainSettings.model_validate(
        {
            "backbone": backbone,
            "backbone_args": {"pad_type": "same"} if backbone.startswith("mobile") else {},
            "weights": str(weights_dir / f"{backbone}.safetensors.xz"),
            "image_size": 128,
            "batch_size": 16,
            "augment": "light",
            "ema_decay": 0.0,
            "workers": 0,
            "stages": [{"learn": "heads", "epochs": 6, "learning_rate": 0.01}],
        }
    )
    run = beltsight.train(dataset, tmp_path / "x", settings)
    model = beltsight.load(run.model)
    evaluation = beltsight.evaluate(model, dataset, "test").to_record()
    figures = evaluation["tasks"]["material"]
    assert figures["n"] == 36
    # Six classes: chance is 17 %. Even a few photos a class and small pixels give more than twice.
    assert figures["accuracy"] > 0.4
    json.dumps(evaluation, allow_nan=False)

    every = beltsight.load_dataset(trashnet).select("test").samples
    photos = np.stack([model.prepare(sample.path) for sample in every])
    parity = measure_parity(load_network(run.folder), make_engine_of_file(run.model), photos)
    assert (parity.n, parity.label_changes) == (431, 0)
    assert parity.max_logit_gap < 1e-3

    sample = dataset.select("test").samples[0]
    (answer,) = model.predict(sample.path, explain=True)
    assert answer.tasks["material"].label in model.tasks[0].classes
    assert answer.maps["material"].shape == (6, 4, 4)
    # Any ONNX tool opens it, and it answers as our Model does.
    session = onnxruntime.InferenceSession(str(run.model))
    (logits,) = session.run(["material"], {"photos": model.prepare(sample.path)[None]})
    assert model.tasks[0].classes[int(np.argmax(logits))] == answer.tasks["material"].label
