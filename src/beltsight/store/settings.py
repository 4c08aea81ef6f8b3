"""How a line's log is written: the table ``[store]`` of a line's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from beltsight.strict import Strict


class StoreSettings(Strict):
    """Where the log lies and how it is written.

    Args:
        url: a path, ``sqlite:///PATH``, or ``postgresql+psycopg://USER@HOST/DATABASE``.
        key_file: of the chain's key; without it the environment variable ``BELTSIGHT_LOG_KEY``,
            and without that no key.
        heads_file: the second place, on another disk or machine; None publishes no heads.
        head_interval_s: how often a head is published: what may be cut off without trace.
        synchronous: how SQLite brings a commit to disk; below ``full`` a power cut may lose rows
            that were acknowledged.
        batch_rows: rows per transaction, at most.
        batch_ms: how long the first row of a transaction waits for more; 0 waits for none, and
            what comes during a commit makes the next.
        queue_rows, queue_mb: what may wait for the database; more is refused.
        retry_first_ms, retry_most_ms: waiting times after failures, doubling from first to most.
        crops_days, crops_mb: crops that are older, or beyond so many MB, are removed, the oldest
            first; 0 knows no such limit.
    """

    url: str = "beltsight.db"
    key_file: Path | None = None
    heads_file: Path | None = None
    head_interval_s: float = Field(60.0, gt=0, le=86_400, allow_inf_nan=False)
    synchronous: Literal["normal", "full", "extra"] = "full"
    batch_rows: int = Field(500, ge=1, le=10_000)
    batch_ms: float = Field(0.0, ge=0, le=10_000, allow_inf_nan=False)
    queue_rows: int = Field(20_000, ge=1, le=10_000_000)
    queue_mb: float = Field(64.0, gt=0, le=100_000, allow_inf_nan=False)
    retry_first_ms: float = Field(20.0, gt=0, le=60_000, allow_inf_nan=False)
    retry_most_ms: float = Field(1_000.0, gt=0, le=600_000, allow_inf_nan=False)
    crops_days: float | None = Field(30.0, ge=0, allow_inf_nan=False)
    crops_mb: float | None = Field(2_000.0, ge=0, allow_inf_nan=False)

    @field_validator("crops_days", "crops_mb")
    @classmethod
    def _no_limit(cls, value: float | None) -> float | None:
        return value or None
