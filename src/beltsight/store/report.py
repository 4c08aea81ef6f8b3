"""All figures of a time in one record, for the command line and for programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from beltsight.store.export import utc_text
from beltsight.store.misclassification import Confusion
from beltsight.store.oee import ShiftFigures, oee_per_shift
from beltsight.store.reader import LogReader, Span
from beltsight.store.shifts import Shifts
from beltsight.store.stream import (
    Estimate,
    StreamFigures,
    Targets,
    count_answers,
    stream_figures,
)
from beltsight.store.throughput import Bucket, Latency, LateShare, late_share, latency, throughput


@dataclass(frozen=True, slots=True)
class LogReport:
    """The figures of a time.

    Args:
        line: whose log.
        span: of wall time.
        bucket_s: length of a piece of time.
        throughput: by pieces.
        latency: of decisions.
        late: share of items, and how many were not sent.
        stream: composition, purity and recovery.
        shifts: each with its OEE; empty where none are given.
    """

    line: str
    span: Span
    bucket_s: float
    throughput: tuple[Bucket, ...]
    latency: Latency
    late: LateShare
    stream: StreamFigures
    shifts: tuple[ShiftFigures, ...]

    def to_record(self) -> dict[str, Any]:
        """All of it as JSON holds it; shares are 0 to 1, of nothing None."""
        stream = self.stream
        return {
            "line": self.line,
            "from": None if self.span.start_s is None else utc_text(self.span.start_s),
            "until": None if self.span.end_s is None else utc_text(self.span.end_s),
            "items": self.late.items,
            "bucket_s": self.bucket_s,
            "throughput": [
                {"start": utc_text(b.start_s), "items": b.items, "items_s": b.items_s,
                 "routes": dict(b.routes)}
                for b in self.throughput
            ],
            "latency_ms": {
                **{f"p{p:g}": value for p, value in self.latency.percentiles.items()},
                "most": self.latency.most,
            },
            "late": {"items": self.late.late, **_share(self.late.share)},
            "not_sent": self.late.not_sent,
            "unanswered": stream.unanswered,
            "corrected": stream.corrected,
            "notes": list(stream.notes),
            "composition": {name: _share(share) for name, share in stream.composition.items()},
            "routes": {
                one.route: {
                    "items": one.items,
                    "purity": _share(one.purity),
                    "recovery": _share(one.recovery),
                }
                for one in stream.routes
            },
            "right": _share(stream.right),
            "shifts": [_shift_record(shift) for shift in self.shifts],
        }  # fmt: skip


def report_log(
    reader: LogReader,
    span: Span,
    now_s: float,
    *,
    bucket_s: float = 3600.0,
    confusions: Mapping[str, Confusion | str] | None = None,
    targets: Targets | None = None,
    shifts: Shifts | None = None,
) -> LogReport:
    """Compute all figures of a time.

    Args:
        reader: of the line.
        span: of wall time.
        now_s: seconds since 1970; a shift that goes on ends now.
        bucket_s: length of a piece of time.
        confusions, targets: see :func:`beltsight.store.stream_figures`.
        shifts: of the plant, for OEE.

    Raises:
        ConfigError: too many pieces of time, or too long ones.
        StoreError: the database fails.
    """
    known = confusions or {}
    return LogReport(
        reader.line,
        span,
        bucket_s,
        throughput(reader, span, bucket_s),
        latency(reader, span),
        late_share(reader, span),
        stream_figures(count_answers(reader, span), known, targets),
        oee_per_shift(reader, shifts, span, now_s, known, targets) if shifts else (),
    )


def _share(share: Estimate) -> dict[str, float | None]:
    return {"share": share.value, "low": share.low, "high": share.high}


def _shift_record(shift: ShiftFigures) -> dict[str, Any]:
    record = asdict(shift)
    start_s, end_s = record.pop("start_s"), record.pop("end_s")
    record["day"] = shift.day.isoformat()
    return {**record, "start": utc_text(start_s), "end": utc_text(end_s)}
