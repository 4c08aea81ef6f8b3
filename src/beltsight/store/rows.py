"""What the log holds: decisions, commands' outcomes and events. A row that is wrong cannot be made.

Each becomes canonical bytes, which the chain covers, and comes back from them unchanged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from beltsight.errors import StoreError
from beltsight.records import Decision
from beltsight.store import fields as of

OUTCOMES = ("planned", "sent", "late", "unknown", "refused", "fired", "conflict")
SEVERITIES = ("info", "warning", "error", "critical")
# Kinds of events that the store itself reads or writes.
LINE_UP, LINE_DOWN, CROPS_REMOVED = "line-up", "line-down", "crops-removed"
MAX_BODY_BYTES = 65_536


def _raw_count(value: Any) -> int:
    """What a counter of up to 64 bits shows; no database keeps its upper half but as negative."""
    if isinstance(value, int) and 2**63 <= value < 2**64:
        value -= 2**64
    return of.whole(value)


_PLACE: Mapping[str, of.Check] = {
    "belt_position_mm": of.optional(of.real),
    "encoder_count": of.optional(of.whole),
}
_TIMES: Mapping[str, of.Check] = {
    "run_id": of.name,
    "wall_s": of.wall_time,
    "monotonic_s": of.real,
}


class _Checked:
    """A row whose fields are checked and made plain when it is made."""

    kind: ClassVar[str]
    checks: ClassVar[Mapping[str, of.Check]]
    __slots__ = ()

    def __post_init__(self) -> None:
        for key, check in self.checks.items():
            try:
                object.__setattr__(self, key, check(getattr(self, key)))
            except ValueError as error:
                raise StoreError(f"a {self.kind} cannot be stored: {key}: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRow(_Checked):
    """One decision on one item.

    Args:
        run_id: the run of the line, unique for ever.
        wall_s: seconds since 1970, UTC, of the decision. Order is by sequence, never by this.
        monotonic_s: the same moment by a clock that never steps.
        item_id: unique within the run.
        frame_time_s: monotonic time of the first frame that it rests on.
        belt_position_mm: belt position of the item's centre.
        encoder_count: the same in unwrapped encoder counts.
        lateral_mm: its centre across the belt, from the left edge.
        length_mm, width_mm: along and across the belt.
        probabilities: per task the calibrated probability of each class; empty without an answer.
        label: the most probable class of the main task, or None without an answer.
        confidence: its probability.
        route: where the item goes.
        reason: why, see :class:`beltsight.decide.Reason`.
        abstained: whether the model abstained; None where it cannot.
        novel: whether the item looks unlike anything seen; None where the model cannot tell.
        touching: whether it may be several items.
        views: frames that were inferred.
        latency_ms: from the exposure of the last view that was answered to the decision.
        model_hash: SHA-256 of the model file, hexadecimal; empty where no model answered.
        policy_version: of the policy that decided.
        crop: JPEG of the item, or None. The chain covers its SHA-256, not its bytes, so that it may
            be removed later.
        crop_sha256: of the crop; set by itself.

    Raises:
        StoreError: a value that cannot be stored, and which.
    """

    kind: ClassVar[str] = "decision"
    run_id: str
    wall_s: float
    monotonic_s: float
    item_id: int
    frame_time_s: float
    belt_position_mm: float | None = None
    encoder_count: int | None = None
    lateral_mm: float | None = None
    length_mm: float | None = None
    width_mm: float | None = None
    probabilities: Mapping[str, Mapping[str, float]] = field(default_factory=dict, hash=False)
    label: str | None = None
    confidence: float | None = None
    route: str
    reason: str
    abstained: bool | None = None
    novel: bool | None = None
    touching: bool = False
    views: int = 1
    latency_ms: float
    model_hash: str = ""
    policy_version: str = ""
    crop: bytes | None = field(default=None, repr=False)
    crop_sha256: str | None = None

    checks: ClassVar[Mapping[str, of.Check]] = {
        **_TIMES,
        **_PLACE,
        "item_id": of.whole,
        "frame_time_s": of.real,
        "lateral_mm": of.optional(of.real),
        "length_mm": of.optional(of.real),
        "width_mm": of.optional(of.real),
        "probabilities": of.probabilities,
        "label": of.optional(of.name),
        "confidence": of.optional(of.share),
        "route": of.name,
        "reason": of.name,
        "abstained": of.optional(of.truth),
        "novel": of.optional(of.truth),
        "touching": of.truth,
        "views": of.count,
        "latency_ms": of.real,
        "model_hash": of.text(of.MAX_NAME_CHARS, empty=True),
        "policy_version": of.text(of.MAX_NAME_CHARS, empty=True),
        "crop": of.optional(of.crop_jpeg),
        "crop_sha256": of.optional(of.sha256_hex),
    }

    def __post_init__(self) -> None:
        # Not super(): with slots the class is made twice.
        _Checked.__post_init__(self)
        if self.crop is not None:
            digest = hashlib.sha256(self.crop).hexdigest()
            if self.crop_sha256 not in (None, digest):
                raise StoreError("a decision cannot be stored: crop_sha256 is not the crop's")
            object.__setattr__(self, "crop_sha256", digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRow(_Checked):
    """What became of one command to an actuator; several rows may tell of one command.

    Args:
        run_id, wall_s, monotonic_s: as of :class:`DecisionRow`.
        item_id: whose command it is.
        command_id: unique for ever; None where no command could be made, e.g. too late to plan.
        actuator: its name.
        outcome: ``planned`` (written before it is sent), ``sent``, ``late``, ``unknown``,
            ``refused``, ``fired`` where a PLC reports it, or ``conflict``.
        lanes: of the actuator.
        belt_position_mm: belt position of the item.
        encoder_count: unwrapped count at which the actuator fires.
        end_count: unwrapped count at which it ends.
        raw_fire_count, raw_end_count: what the PLC's own counter shows then; the upper half of 64
            bits as negative numbers.
        text: more, e.g. what the peer said.

    Raises:
        StoreError: a value that cannot be stored, and which.
    """

    kind: ClassVar[str] = "command"
    run_id: str
    wall_s: float
    monotonic_s: float
    item_id: int
    command_id: str | None = None
    actuator: str
    outcome: str
    lanes: tuple[int, ...] = ()
    belt_position_mm: float | None = None
    encoder_count: int | None = None
    end_count: int | None = None
    raw_fire_count: int | None = None
    raw_end_count: int | None = None
    text: str = ""

    checks: ClassVar[Mapping[str, of.Check]] = {
        **_TIMES,
        **_PLACE,
        "item_id": of.whole,
        "command_id": of.optional(of.name),
        "actuator": of.name,
        "outcome": of.one_of(*OUTCOMES),
        "lanes": of.whole_numbers,
        "end_count": of.optional(of.whole),
        "raw_fire_count": of.optional(_raw_count),
        "raw_end_count": of.optional(_raw_count),
        "text": of.long_text,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow(_Checked):
    """Something that happened on the line.

    Args:
        run_id, wall_s, monotonic_s: as of :class:`DecisionRow`.
        event: its kind, e.g. ``line-up``, ``line-down`` (which availability is counted from),
            ``camera-lost``.
        severity: ``info``, ``warning``, ``error`` or ``critical``.
        text: for people.
        data: for programs; what JSON holds, at most 6 deep.

    Raises:
        StoreError: a value that cannot be stored, and which.
    """

    kind: ClassVar[str] = "event"
    run_id: str
    wall_s: float
    monotonic_s: float
    event: str
    severity: str = "info"
    text: str = ""
    data: Mapping[str, Any] = field(default_factory=dict, hash=False)

    checks: ClassVar[Mapping[str, of.Check]] = {
        **_TIMES,
        "event": of.name,
        "severity": of.one_of(*SEVERITIES),
        "text": of.long_text,
        "data": of.plain_data,
    }


Row = DecisionRow | CommandRow | EventRow
_KINDS: Mapping[str, type[Row]] = {made.kind: made for made in (DecisionRow, CommandRow, EventRow)}
KINDS = tuple(_KINDS)


def row_record(row: Row) -> dict[str, Any]:
    """A row as plain values, its kind among them; the crop is left out."""
    names = (part.name for part in fields(row))
    return {"kind": row.kind, **{key: getattr(row, key) for key in names if key != "crop"}}


def canonical_bytes(row: Row) -> bytes:
    """The one form in bytes of a row: JSON in ASCII, keys sorted, no spaces.

    Numbers are written as Python's ``repr`` does, the shortest text that reads back the same.

    Raises:
        StoreError: more than 64 KB.

    Example:
        >>> row = EventRow(run_id="r", wall_s=1.5, monotonic_s=2, event="line-up")
        >>> canonical_bytes(row)[:61]
        b'{"data":{},"event":"line-up","kind":"event","monotonic_s":2.0'
        >>> parse_row(canonical_bytes(row)) == row
        True
    """
    body = json.dumps(
        row_record(row), sort_keys=True, separators=(",", ":"), allow_nan=False
    ).encode("ascii")
    if len(body) > MAX_BODY_BYTES:
        raise StoreError(
            f"a {row.kind} cannot be stored: {len(body):,} bytes, at most {MAX_BODY_BYTES:,}"
        )
    return body


def stored_bytes(body: Any) -> bytes:
    """The bytes of a body as the database gives it.

    Raises:
        StoreError: it is no text.
    """
    if not isinstance(body, str):  # SQLite keeps any type
        raise damaged_row()
    # A flipped bit may have made the text none; the reader keeps its bytes.
    return body.encode("utf-8", "surrogateescape")


def damaged_row() -> StoreError:
    """What is said where a row is not as it was written."""
    return StoreError("a row of the log is damaged; see 'beltsight log verify'")


def parse_record(body: bytes) -> dict[str, Any]:
    """A row's plain values.

    Raises:
        StoreError: it is no row.
    """
    try:
        record = json.loads(body)
        if not isinstance(record, dict) or record.get("kind") not in _KINDS:
            raise ValueError("no kind")
    except (ValueError, TypeError, RecursionError) as error:
        raise damaged_row() from error
    return record


def parse_row(body: bytes) -> Row:
    """The row of its canonical bytes; a decision comes without its crop.

    Raises:
        StoreError: it is no row.
    """
    record = parse_record(body)
    made = _KINDS[record.pop("kind")]
    try:
        return made(**record)
    except (TypeError, StoreError) as error:
        raise damaged_row() from error


def decision_row(
    decision: Decision,
    *,
    task: str = "material",
    **place: Any,
) -> DecisionRow:
    """The row of a Decision; probabilities are kept to 6 digits.

    Args:
        decision: of :meth:`beltsight.decide.Decider.decide`.
        task: whose label is the item's.
        place: the other fields of :class:`DecisionRow`, times and positions.

    Raises:
        StoreError: a value that cannot be stored.
    """
    prediction = decision.prediction
    answer = prediction.tasks.get(task)
    return DecisionRow(
        probabilities={
            key: {label: round(float(p), 6) for label, p in found.probabilities.items()}
            for key, found in prediction.tasks.items()
        },
        label=answer.label if answer else None,
        confidence=round(float(answer.confidence), 6) if answer else None,
        route=decision.route,
        reason=decision.reason,
        abstained=prediction.abstain,
        novel=prediction.novel,
        model_hash=decision.model_hash,
        policy_version=decision.policy_version,
        **place,
    )
