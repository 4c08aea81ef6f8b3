"""Settings that train in a few seconds."""

from __future__ import annotations

from tests.train.photosets import TINY

from beltsight.train.settings import TrainSettings


def tiny(**values: object) -> TrainSettings:
    stages = ({"learn": "all", "epochs": 4, "learning_rate": 0.01},)
    return TrainSettings.model_validate({**TINY, "stages": stages, **values})
