"""How links beat, wait and come back."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from beltsight.strict import Strict


class LinksSettings(Strict):
    """Times and bounds of all links.

    A peer that fails between two beats is found out after ``beat_ms + timeout_ms`` at the latest,
    and the other peers hear of it at once: 150 ms and one beat as it stands.

    Args:
        beat_ms: from one beat to the next.
        timeout_ms: a beat or command that is not answered by then means that the link is down.
        connect_ms: the time a connection may take.
        retry_first_ms: wait before the second attempt to connect; doubled after each.
        retry_most_ms: the longest wait.
        jitter: share of a wait that is random, so that lines do not return all at once.
        queue: commands that may wait at one link; more are refused.
        in_flight: commands that may be on their way to one peer at a time.
        quality_over: beats over which the quality of a link is taken.
        degraded_below: a link of a lower quality is ``degraded``.
        safe: ``any-down``: the line is in its safe state unless every link is up. ``stated``: only
            where it is told so.
        recover: ``automatic``: the line leaves a safe state that a link has caused when that link
            is back. ``reset``: when :meth:`Links.reset` is called after that.
    """

    beat_ms: float = Field(50.0, gt=0, le=60_000)
    timeout_ms: float = Field(100.0, gt=0, le=60_000)
    connect_ms: float = Field(3000.0, gt=0, le=600_000)
    retry_first_ms: float = Field(100.0, gt=0, le=600_000)
    retry_most_ms: float = Field(5000.0, gt=0, le=600_000)
    jitter: float = Field(0.5, ge=0, le=1)
    queue: int = Field(1024, ge=1, le=1_000_000)
    in_flight: int = Field(8, ge=1, le=256)
    quality_over: int = Field(200, ge=1, le=100_000)
    degraded_below: float = Field(0.95, ge=0, le=1)
    safe: Literal["any-down", "stated"] = "any-down"
    recover: Literal["automatic", "reset"] = "automatic"
