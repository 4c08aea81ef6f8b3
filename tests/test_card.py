from __future__ import annotations

import base64
import io
import json
import math
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.tiny import paint, tiny_card

from beltsight.card import (
    SCHEMA_VERSION,
    GoldenCard,
    content_hash,
    golden_batch,
    golden_png,
    is_marked,
    pack_marks,
    parse_card,
    unpack_marks,
)
from beltsight.errors import ImageError, ModelFileError, TooLargeError
from beltsight.image import Preparation


def damaged(**changes: Any) -> str:
    """A card as JSON with dotted keys set to other values."""
    record = json.loads(tiny_card().model_dump_json())
    for dotted, value in changes.items():
        *tables, key = dotted.split("__")
        inner = record
        for table in tables:
            inner = inner[int(table) if table.isdigit() else table]
        inner[key] = value
    return json.dumps(record)


def test_a_card_survives_the_way_through_json() -> None:
    card = tiny_card()
    assert parse_card(card.model_dump_json(), "m.onnx") == card


def test_no_card_says_where_models_come_from() -> None:
    with pytest.raises(ModelFileError, match=r"m\.onnx: an ONNX file without a Beltsight card"):
        parse_card(None, "m.onnx")


def test_a_newer_schema_is_named_even_where_its_keys_are_unknown() -> None:
    text = damaged(schema_version=SCHEMA_VERSION + 1, moon_phase="full")
    with pytest.raises(ModelFileError, match=r"schema 2 is newer than this Beltsight reads \(1\)"):
        parse_card(text, "m.onnx")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "Invalid JSON"),
        ("[]", "object"),
        ("{}", "schema_version"),
        ('{"schema_version": 1}', "name"),
        ('{"schema_version": "new"}', "schema_version"),
        (damaged(tasks=[]), "tasks"),
        (damaged(tasks__0__classes=["one"]), "tasks.0.classes"),
        (damaged(tasks__0__classes=["a", "a", "b"]), "named twice"),
        (damaged(tasks__0__classes=["a", "", "b"]), "tasks.0: Value error, task 'material' has"),
        (damaged(tasks__0__name="embedding"), "tasks.0: Value error, a task cannot be named"),
        (damaged(tasks__0__name="soil_map"), "does not end in '_map'"),
        (damaged(tasks__0__temperature=0), "temperature"),
        (damaged(tasks__0__temperature=1e-310), "temperature"),
        (damaged(preparation__height=0), "preparation.height"),
        (damaged(preparation__height=10**6), "preparation.height"),
        (damaged(preparation__fill=[0, 0, 256]), "preparation.fill"),
        (damaged(preparation__fit="crop"), "preparation.fit"),
        (damaged(training__train_marks="?"), "not base64"),
        (damaged(training__val_marks="QUJD"), "cut off"),
        (damaged(golden__logits={"material": [[1.0, 2.0, 3.0]]}), "golden logits"),
        (damaged(golden__logits={"other": [[1, 2, 3], [1, 2, 3]]}), "golden logits"),
        (damaged(golden__logits={}), "of every task"),
        (damaged(golden__logits={"material": [[1.0, 2.0, math.nan]] * 2}), "finite"),
        (damaged(golden__photos_png=["eA=="] * 17), "at most 16"),
        (damaged(golden__photos_png=["A" * 2_000_001]), "at most 2000000"),
        (damaged(metrics={"test": {"n": [1, {"accuracy": math.nan}]}}), "NaN"),
        (damaged(metrics={"test": -math.inf}), "NaN, Infinity"),
        (damaged(metrics={"test": 10**400}), "beyond all bounds"),
        (damaged(metrics=0).replace('"metrics": 0', '"metrics": {"x": 1e999}'), "Infinity"),
        (damaged(surprise=1), "surprise"),
    ],
)
def test_a_damaged_card_says_where(text: str, where: str) -> None:
    with pytest.raises(ModelFileError, match=r"m\.onnx: damaged card") as caught:
        parse_card(text, "m.onnx")
    assert where in str(caught.value)


def test_two_tasks_of_one_name_are_refused() -> None:
    task = json.loads(damaged())["tasks"][0]
    with pytest.raises(ModelFileError, match="a task is named twice"):
        parse_card(damaged(tasks=[task, task]), "m.onnx")


def test_marks_hold_what_was_packed_and_nothing_else() -> None:
    known = [content_hash(str(i).encode()) for i in range(500)]
    marks = unpack_marks(pack_marks(known))
    assert len(marks) == 500
    assert all(is_marked(digest, marks) for digest in known)
    assert not any(is_marked(content_hash(str(i).encode()), marks) for i in range(500, 3000))


def test_no_marks_mark_nothing() -> None:
    assert unpack_marks("") == frozenset()
    assert not is_marked(content_hash(b""), unpack_marks(""))


def test_golden_photos_are_exact_after_enlarging() -> None:
    golden = GoldenCard(photos_png=(golden_png(paint((10, 200, 60), 64), side=16),))
    batch = golden_batch(golden, Preparation(64, 48))
    assert batch.shape == (1, 64, 48, 3)
    blocks = batch[0].reshape(16, 4, 16, 3, 3)
    np.testing.assert_array_equal(blocks, blocks[:, :1, :, :1].repeat(4, 1).repeat(3, 3))
    assert abs(batch[0].reshape(-1, 3).mean(axis=0) - (10, 200, 60)).max() < 3


def test_a_golden_photo_that_cannot_be_written_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cv2.imencode", lambda *_: (False, np.empty(0, np.uint8)))
    with pytest.raises(ImageError, match=r"uint8 \(8, 8, 3\) cannot be written as a PNG"):
        golden_png(paint((10, 200, 60), 8))


def test_a_golden_photo_larger_than_any_model_needs_is_not_decoded() -> None:
    huge = io.BytesIO()
    Image.new("1", (6000, 6000)).save(huge, "PNG")
    text = base64.b64encode(huge.getvalue()).decode()
    with pytest.raises(TooLargeError, match="6,000 pixels; the limit is 512"):
        golden_batch(GoldenCard(photos_png=(text,)), Preparation(64, 64))


def test_a_golden_photo_is_a_png() -> None:
    bmp = io.BytesIO()
    Image.new("RGB", (8, 8)).save(bmp, "BMP")
    text = base64.b64encode(bmp.getvalue()).decode()
    with pytest.raises(ImageError, match="not a PNG"):
        golden_batch(GoldenCard(photos_png=(text,)), Preparation(64, 64))


@pytest.mark.parametrize("text", ["?", base64.b64encode(b"no png").decode(), ""])
def test_a_damaged_golden_photo_is_an_image_error(text: str) -> None:
    with pytest.raises(ImageError):
        golden_batch(GoldenCard(photos_png=(text,)), Preparation(64, 64))
