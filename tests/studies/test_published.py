"""Published figures are of the packaged model that is there."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import beltsight
from beltsight.model import DEFAULT_MODEL

STUDIES = Path(__file__).parents[2] / "studies"


def test_novelty_is_of_the_packaged_file() -> None:
    found = json.loads((STUDIES / "novelty" / "results" / "auc.json").read_text(encoding="utf-8"))
    assert found["model_sha256"] == hashlib.sha256(DEFAULT_MODEL.read_bytes()).hexdigest()


def test_the_package_holds_what_was_measured() -> None:
    results = STUDIES / "default_model" / "results"
    test = json.loads((results / "test.json").read_text(encoding="utf-8"))
    card = beltsight.load(DEFAULT_MODEL).card
    assert card.metrics["test"]["measured_sha256"] == test["model"]["sha256"]
    for name in ("contamination", "belt"):
        found = json.loads((results / f"{name}.json").read_text(encoding="utf-8"))
        assert found["model_sha256"] == test["model"]["sha256"]
