"""One answer as plain data, and as one line of JSON."""

from __future__ import annotations

import json
from typing import Any

from beltsight.records import Decision, Prediction, prediction_record


def answer_record(
    prediction: Prediction,
    tasks: tuple[str, ...],
    decision: Decision | None = None,
    model_hash: str | None = None,
) -> dict[str, Any]:
    """What ``predict`` writes of one photo (schema: ``assets/schemas/prediction.schema.json``).

    Args:
        prediction: the answer.
        tasks: names of the tasks that every record has; one without an answer is null.
        decision: the decision on it, where a policy is in force.
        model_hash: SHA-256 of the model file that answered, hexadecimal.

    Example:
        >>> record = answer_record(Prediction("a.jpg", engine="onnxruntime-cpu", error="empty"), ())
        >>> record["path"], record["engine"], record["error"]
        ('a.jpg', 'onnxruntime-cpu', 'empty')
    """
    record = prediction_record(prediction, tasks, decision)
    error = record.pop("error")
    model = record.pop("model") or model_hash
    return {**record, "model": model, "engine": prediction.engine or None, "error": error}


def json_line(record: dict[str, Any]) -> bytes:
    """A record as one line of UTF-8, without its end.

    A file name that is no text (a lone byte of another encoding) is written with escapes, as
    ``os.fsdecode`` gives it, so that a reader finds the file again.

    Example:
        >>> json_line({"path": "é.jpg"}), json_line({"path": "\\udce9.jpg"})
        (b'{"path": "\\xc3\\xa9.jpg"}', b'{"path": "\\\\udce9.jpg"}')
    """
    try:
        return json.dumps(record, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        return json.dumps(record, allow_nan=False).encode()
