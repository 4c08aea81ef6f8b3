"""The event store: every decision, command and event of a line, in one chained log.

Written by one thread that never makes the line wait; read while it is written. What is acknowledged
is on disk. Who changes, removes or inserts a row is found out by :func:`verify`.
"""

from beltsight.store.backlog import Ticket
from beltsight.store.chain import Chain, read_key
from beltsight.store.commanded import Commanded, recent_commands
from beltsight.store.event_store import (
    EventStore,
    StoreState,
    Unkept,
    open_store,
    open_with_settings,
)
from beltsight.store.export import export_log, export_records
from beltsight.store.heads import Head, HeadFile, read_heads
from beltsight.store.misclassification import Confusion, confusion_of, fit_shares
from beltsight.store.oee import ShiftFigures, oee_per_shift, up_times
from beltsight.store.reader import LogReader, Span, open_log
from beltsight.store.report import LogReport, report_log
from beltsight.store.rows import (
    LINE_DOWN,
    LINE_UP,
    CommandRow,
    DecisionRow,
    EventRow,
    Row,
    canonical_bytes,
    decision_row,
    parse_row,
)
from beltsight.store.settings import StoreSettings
from beltsight.store.shifts import Shifts, load_shifts, shift_times
from beltsight.store.stream import (
    AnswerCounts,
    Estimate,
    RouteFigures,
    StreamFigures,
    Targets,
    count_answers,
    policy_targets,
    stream_figures,
    usual_targets,
)
from beltsight.store.throughput import Bucket, Latency, LateShare, late_share, latency, throughput
from beltsight.store.verify import BadRow, Verification, verify
from beltsight.store.writer import Failure

__all__ = [
    "LINE_DOWN",
    "LINE_UP",
    "AnswerCounts",
    "BadRow",
    "Bucket",
    "Chain",
    "CommandRow",
    "Commanded",
    "Confusion",
    "DecisionRow",
    "Estimate",
    "EventRow",
    "EventStore",
    "Failure",
    "Head",
    "HeadFile",
    "LateShare",
    "Latency",
    "LogReader",
    "LogReport",
    "RouteFigures",
    "Row",
    "ShiftFigures",
    "Shifts",
    "Span",
    "StoreSettings",
    "StoreState",
    "StreamFigures",
    "Targets",
    "Ticket",
    "Unkept",
    "Verification",
    "canonical_bytes",
    "confusion_of",
    "count_answers",
    "decision_row",
    "export_log",
    "export_records",
    "fit_shares",
    "late_share",
    "latency",
    "load_shifts",
    "oee_per_shift",
    "open_log",
    "open_store",
    "open_with_settings",
    "parse_row",
    "policy_targets",
    "read_heads",
    "read_key",
    "recent_commands",
    "report_log",
    "shift_times",
    "stream_figures",
    "throughput",
    "up_times",
    "usual_targets",
    "verify",
]
