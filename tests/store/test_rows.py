from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from tests.store.making import command, decision, event

from beltsight.errors import StoreError
from beltsight.records import Answer, Decision, Prediction
from beltsight.store import (
    CommandRow,
    DecisionRow,
    EventRow,
    canonical_bytes,
    decision_row,
    parse_row,
)
from beltsight.store.tables import derived_columns, row_columns

words = some.text(some.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
numbers = some.floats(allow_nan=False, allow_infinity=False)
wholes = some.integers(-(2**63), 2**63 - 1)
times = some.fixed_dictionaries(
    {"run_id": words, "wall_s": some.floats(0, 2e11), "monotonic_s": numbers}
)
data = some.dictionaries(
    words,
    some.recursive(
        some.none() | some.booleans() | wholes | numbers | words,
        lambda inner: some.lists(inner, max_size=3) | some.dictionaries(words, inner, max_size=3),
        max_leaves=6,
    ),
    max_size=3,
)
events = some.builds(
    lambda when, **rest: EventRow(**when, **rest),
    when=times, event=words, severity=some.sampled_from(["info", "error"]), text=words, data=data,
)  # fmt: skip
decisions = some.builds(
    lambda when, **rest: DecisionRow(**when, **rest),
    when=times, item_id=wholes, frame_time_s=numbers, belt_position_mm=some.none() | numbers,
    encoder_count=some.none() | wholes, confidence=some.none() | some.floats(0, 1),
    probabilities=some.dictionaries(
        words, some.dictionaries(words, some.floats(0, 1), max_size=3), max_size=2
    ),
    label=some.none() | words, route=words, reason=words, latency_ms=numbers, model_hash=words,
    abstained=some.none() | some.booleans(), touching=some.booleans(),
)  # fmt: skip
commands = some.builds(
    lambda when, **rest: CommandRow(**when, **rest),
    when=times, item_id=wholes, actuator=words, outcome=some.sampled_from(["sent", "fired"]),
    lanes=some.lists(wholes, max_size=3).map(tuple), raw_fire_count=some.none() | wholes,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(decisions | commands | events)
def test_canonical_bytes_come_back_as_the_same_row(row: Any) -> None:
    body = canonical_bytes(row)
    assert body.isascii()
    assert parse_row(body) == row
    assert canonical_bytes(parse_row(body)) == body
    assert row_columns(row) == derived_columns(json.loads(body))


def test_canonical_bytes_are_these() -> None:
    row = event(data={"b": (1, 2.0), "a": None}, text='é "')
    assert canonical_bytes(row) == (
        b'{"data":{"a":null,"b":[1,2.0]},"event":"line-up","kind":"event","monotonic_s":0.0,'
        b'"run_id":"run-1","severity":"info","text":"\\u00e9 \\"","wall_s":1795262400.0}'
    )


def test_numbers_of_numpy_are_taken() -> None:
    row = decision(item_id=np.int64(7), latency_ms=np.float32(2.5), touching=np.bool_(True))
    assert (type(row.item_id), type(row.latency_ms), type(row.touching)) == (int, float, bool)
    assert parse_row(canonical_bytes(row)) == row


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("probabilities", {"material": {"glass": math.nan}}, "finite"),
        ("probabilities", {"material": {"glass": 1.5}}, "0 to 1"),
        ("probabilities", {"material": 0.5}, "mapping"),
        ("probabilities", {"m": {str(i): 0.0 for i in range(1001)}}, "at most 1000"),
        ("confidence", math.inf, "finite"),
        ("confidence", "0.5", "number"),
        ("latency_ms", math.nan, "finite"),
        ("latency_ms", 10**400, "number"),
        ("wall_s", -1.0, "since 1970"),
        ("wall_s", 1e15, "since 1970"),
        ("item_id", 2**63, "64 bits"),
        ("item_id", 1.5, "whole"),
        ("item_id", True, "truth value"),
        ("views", -1, "0 or more"),
        ("label", "a\0b", "NUL"),
        ("label", "\udce9", "surrogate"),
        ("label", "x" * 1_000_000, "at most 200"),
        ("label", b"glass", "text"),
        ("route", "", "got none"),
        ("touching", 1, "true or false"),
        ("crop", b"GIF89a", "JPEG"),
        ("crop", b"\xff\xd8\xff" + bytes(2_000_000), "at most 2,000,000"),
        ("crop_sha256", "A" * 64, "64 hexadecimal"),
    ],
)
def test_a_decision_with_a_wrong_value_cannot_be_made(field: str, value: Any, said: str) -> None:
    with pytest.raises(StoreError, match=rf"decision cannot be stored: {field}: .*{said}"):
        decision(**{field: value})


def nested(depth: int) -> Any:
    return {"x": nested(depth - 1)} if depth else 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"text": "x" * 1_000_000}, "at most 4,000"),
        ({"severity": "fatal"}, "expected one of info"),
        ({"data": nested(300)}, "deep"),
        ({"data": {"x": math.nan}}, "finite"),
        ({"data": {"x": "\ud800"}}, "surrogate"),
        ({"data": {1: 2}}, "expected text"),
        ({"data": {"x": object()}}, "JSON"),
        ({"data": {"x": [0] * 1001}}, "at most 1000"),
        ({"data": []}, "mapping"),
    ],
)
def test_an_event_with_a_wrong_value_cannot_be_made(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(StoreError, match=said):
        event(**changes)


def test_a_command_names_a_known_outcome_and_whole_lanes() -> None:
    with pytest.raises(StoreError, match="outcome: expected one of planned, sent"):
        command(outcome="perhaps")
    with pytest.raises(StoreError, match="lanes"):
        command(lanes="23")


def test_raw_counts_of_64_bits_are_kept_with_their_sign() -> None:
    row = command(raw_fire_count=2**64 - 5, raw_end_count=2**63 - 1)
    assert (row.raw_fire_count, row.raw_end_count) == (-5, 2**63 - 1)
    assert parse_row(canonical_bytes(row)) == row
    for count in (2**64, -(2**63) - 1):
        with pytest.raises(StoreError, match="raw_end_count: expected a whole number of 64 bits"):
            command(raw_end_count=count)


def test_a_row_over_64_kb_is_refused() -> None:
    row = event(data={str(i): "x" * 4000 for i in range(20)})
    with pytest.raises(StoreError, match="at most 65,536"):
        canonical_bytes(row)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"kind":"x"}', b'{"kind":"event"}', b"[" * 100_000])
def test_bytes_that_are_no_row_are_refused(body: bytes) -> None:
    with pytest.raises(StoreError, match="damaged"):
        parse_row(body)


def test_the_row_of_a_decision() -> None:
    answer = Answer("metal", 0.91234567, {"metal": 0.91234567, "glass": 0.08765433})
    prediction = Prediction("a.jpg", {"material": answer}, abstain=False, novel=True)
    made = decision_row(
        Decision(prediction, "metal", "confident", "p@1", "cd" * 32),
        run_id="r", wall_s=1.0, monotonic_s=2.0, item_id=3, frame_time_s=1.9, latency_ms=9.0,
    )  # fmt: skip
    assert (made.label, made.confidence, made.abstained, made.novel) == (
        "metal", 0.912346, False, True,
    )  # fmt: skip
    assert made.probabilities == {"material": {"metal": 0.912346, "glass": 0.087654}}
    nothing = decision_row(
        Decision(Prediction(None, error="dark"), "hand-sort", "no-answer", "p@1", ""),
        run_id="r", wall_s=1.0, monotonic_s=2.0, item_id=3, frame_time_s=1.9, latency_ms=9.0,
    )  # fmt: skip
    assert (nothing.label, nothing.probabilities) == (None, {})
