"""How much went over the line, how fast it was decided, and what came too late."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sqlalchemy as sa

from beltsight.errors import ConfigError
from beltsight.metrics import wilson_interval
from beltsight.store.reader import ALWAYS, LogReader, Span
from beltsight.store.stream import Estimate
from beltsight.store.tables import log, microseconds

MAX_BUCKETS = 100_000
MAX_BUCKET_S = 10 * 366 * 86_400.0
# Outcomes of a command that did not go out, or not without a neighbour's pulse on its item. One
# that is unknown may have gone out.
NOT_SENT = ("refused", "conflict")


@dataclass(frozen=True, slots=True)
class Bucket:
    """A piece of time.

    Args:
        start_s: seconds since 1970, a multiple of the bucket's length.
        items: decided in it.
        items_s: the same per second; of the first and the last piece only the part between the
            first item and the last one counts, as a line seldom begins on the hour, where two
            items or more lie in it: the time to one alone says nothing of a rate.
        routes: items by route.
    """

    start_s: float
    items: int
    items_s: float
    routes: Mapping[str, int] = field(hash=False)


@dataclass(frozen=True, slots=True)
class Latency:
    """How long decisions took, in milliseconds, from the last view; None of nothing.

    Args:
        items: decisions.
        percentiles: such as ``{50: 21.4, 99: 38.0}``; the value of an item, not between two.
        most: the longest.
    """

    items: int
    percentiles: Mapping[float, float | None] = field(hash=False)
    most: float | None


@dataclass(frozen=True, slots=True)
class LateShare:
    """Items whose command came too late, of all that were decided.

    Args:
        late: of them, too late.
        items: decided.
        share: of those too late.
        not_sent: of them, those with a command that was refused or in conflict with another.
        failed: late, not sent or both, each item once.
    """

    late: int
    items: int
    share: Estimate
    not_sent: int = 0
    failed: int = 0


def throughput(
    reader: LogReader, span: Span = ALWAYS, bucket_s: float = 3600.0
) -> tuple[Bucket, ...]:
    """Items decided by pieces of time, those without any among them.

    Args:
        reader: of the line.
        span: of wall time.
        bucket_s: length of a piece, from a millisecond to ten years.

    Raises:
        ConfigError: more than 100,000 pieces, or one of over ten years.
        StoreError: the database fails.
    """
    if not math.isfinite(bucket_s) or bucket_s > MAX_BUCKET_S:
        raise ConfigError(
            f"pieces of {bucket_s:g} s; expected a millisecond to ten years, {MAX_BUCKET_S:.0f} s"
        )
    length_us = max(1_000, microseconds(max(0.0, bucket_s)))
    number = (log.c.wall_us // length_us).label("number")
    query = (
        sa.select(number, log.c.route, sa.func.count())
        .where(log.c.line_id == reader.line_id, log.c.kind == "decision", *span.conditions())
        .group_by(number, log.c.route)
    )
    ends = sa.select(sa.func.min(log.c.wall_us), sa.func.max(log.c.wall_us)).where(
        log.c.line_id == reader.line_id, log.c.kind == "decision", *span.conditions()
    )
    first_us, last_us = reader.fetch(ends)[0]
    if first_us is None:
        return ()
    first, last = first_us // length_us, last_us // length_us
    if last - first >= MAX_BUCKETS:
        raise ConfigError(
            f"{last - first + 1:,} pieces of {bucket_s:g} s, at most {MAX_BUCKETS:,}; ask for "
            "longer pieces or a shorter time"
        )
    found: dict[int, dict[str, int]] = {}
    for place, route, n in reader.fetch(query):
        found.setdefault(int(place), {})[route] = int(n)
    places = range(int(first), int(last) + 1)
    return tuple(
        _bucket(place * length_us, length_us, (first_us, last_us), found.get(place, {}))
        for place in places
    )


def latency(
    reader: LogReader, span: Span = ALWAYS, percentiles: Sequence[float] = (50, 95, 99)
) -> Latency:
    """Percentiles of the time from the last answered view of an item to its decision.

    Args:
        reader: of the line.
        span: of wall time.
        percentiles: over 0, to 100.

    Raises:
        StoreError: the database fails.
    """
    query = sa.select(log.c.latency_ms).where(
        log.c.line_id == reader.line_id,
        log.c.kind == "decision",
        log.c.latency_ms.is_not(None),
        *span.conditions(),
    )
    # 8 bytes per item: 80 MB for ten million.
    chunks = [np.array([row[0] for row in some], np.float64) for some in reader.stream(query)]
    values = np.sort(np.concatenate(chunks)) if chunks else np.empty(0)
    n = len(values)
    return Latency(
        n,
        {p: float(values[max(0, math.ceil(p / 100 * n) - 1)]) if n else None for p in percentiles},
        float(values[-1]) if n else None,
    )


def late_share(reader: LogReader, span: Span = ALWAYS) -> LateShare:
    """The share of items whose command was late, with its 95 % interval (Wilson).

    Raises:
        StoreError: the database fails.
    """
    is_late = sa.case((log.c.code == "late", 1), else_=0)
    # An item has a row for each thing that became of its commands.
    each = (
        sa.select(sa.func.max(is_late).label("late"), sa.func.max(1 - is_late).label("not_sent"))
        .where(log.c.line_id == reader.line_id, *span.conditions())
        .where(log.c.kind == "command", log.c.code.in_(("late", *NOT_SENT)))
        .group_by(log.c.run_id, log.c.item_id)
        .subquery()
    )
    sums: list[sa.ColumnElement[Any]] = [
        sa.func.sum(each.c.late), sa.func.sum(each.c.not_sent), sa.func.count()
    ]  # fmt: skip
    counts = [int(n or 0) for n in reader.fetch(sa.select(*sums).select_from(each))[0]]
    items = count_items(reader, span)
    if items == 0:
        return LateShare(counts[0], 0, Estimate(None), *counts[1:])
    # The decision of a command at the span's border may lie outside.
    late, not_sent, failed = (min(n, items) for n in counts)
    share = Estimate(late / items, *wilson_interval(late, items))
    return LateShare(late, items, share, not_sent, failed)


def count_items(reader: LogReader, span: Span = ALWAYS) -> int:
    """Items decided.

    Raises:
        StoreError: the database fails.
    """
    query = sa.select(sa.func.count()).where(
        log.c.line_id == reader.line_id, log.c.kind == "decision", *span.conditions()
    )
    return int(reader.fetch(query)[0][0])


def _bucket(
    start_us: int, length_us: int, ends_us: tuple[int, int], routes: Mapping[str, int]
) -> Bucket:
    items = sum(routes.values())
    # Of the first and the last piece only what lies between the first item and the last.
    used_us = min(start_us + length_us, ends_us[1]) - max(start_us, ends_us[0])
    per_s = items / ((used_us if used_us > 0 and items > 1 else length_us) / 1e6)
    return Bucket(start_us / 1e6, items, per_s, dict(sorted(routes.items())))
