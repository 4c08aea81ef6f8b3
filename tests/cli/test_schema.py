from __future__ import annotations

import jsonschema
import pytest
from tests.cli.program import beltsight


@pytest.mark.parametrize("shape", ["predict", "evaluate"])
def test_the_schema_is_one(shape: str) -> None:
    result = beltsight("schema", shape)
    assert result.status == 0
    jsonschema.Draft202012Validator.check_schema(result.json)
    assert result.json["$schema"].endswith("2020-12/schema")


def test_the_schemas_refuse_what_is_wrong() -> None:
    line = {"path": "a.jpg", "tasks": {"material": None, "contamination": None, "dirt": None}}
    rest = dict.fromkeys(
        (
            "abstain", "why", "novel", "novelty", "route", "reason", "policy", "model", "engine",
            "error",
        )
    )  # fmt: skip
    validator = jsonschema.Draft202012Validator(beltsight("schema", "predict").json)
    assert validator.is_valid(line | rest)
    assert not validator.is_valid(line)
    assert not validator.is_valid(line | rest | {"mood": "fine"})
    assert validator.is_valid(line | rest | {"why": "unsure", "novel": False, "novelty": 0.25})
    assert not validator.is_valid(line | rest | {"novelty": "high"})
    assert not validator.is_valid(line | rest | {"tasks": {"material": None}})
    answer = {"label": "glass", "confidence": 1.5, "probabilities": {"glass": 1, "paper": 0}}
    assert not validator.is_valid(line | rest | {"tasks": {**line["tasks"], "material": answer}})  # type: ignore[dict-item]


def test_another_shape_is_wrong_use() -> None:
    assert beltsight("schema", "dance").status == 2
