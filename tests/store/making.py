"""Rows and stores for tests."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from beltsight.store import (
    CommandRow,
    DecisionRow,
    EventRow,
    EventStore,
    Row,
    Ticket,
    open_store,
)

KEY = b"a key of more than 16 bytes"
NOON = 1_795_262_400.0  # 2026-11-21 12:00 UTC
MODEL = "ab" * 32


def decision(item: int = 1, **changes: Any) -> DecisionRow:
    values: dict[str, Any] = {
        "run_id": "run-1",
        "wall_s": NOON + item,
        "monotonic_s": float(item),
        "item_id": item,
        "frame_time_s": item - 0.02,
        "belt_position_mm": 100.0 * item,
        "encoder_count": 1000 * item,
        "lateral_mm": 250.0,
        "length_mm": 90.0,
        "width_mm": 60.0,
        "probabilities": {"material": {"glass": 0.75, "metal": 0.25}},
        "label": "glass",
        "confidence": 0.75,
        "route": "glass",
        "reason": "confident",
        "latency_ms": 20.0,
        "model_hash": MODEL,
        "policy_version": "default@1+00000000",
    }
    return DecisionRow(**{**values, **changes})


def command(item: int = 1, **changes: Any) -> CommandRow:
    values: dict[str, Any] = {
        "run_id": "run-1",
        "wall_s": NOON + item,
        "monotonic_s": float(item),
        "item_id": item,
        "command_id": f"run-1-{item}",
        "actuator": "jet",
        "outcome": "sent",
        "lanes": (2, 3),
        "belt_position_mm": 100.0 * item,
        "encoder_count": 1000 * item + 6000,
    }
    return CommandRow(**{**values, **changes})


def event(at_s: float = 0.0, kind: str = "line-up", **changes: Any) -> EventRow:
    values = {"run_id": "run-1", "wall_s": NOON + at_s, "monotonic_s": at_s, "event": kind}
    return EventRow(**{**values, **changes})


def fill(path: Path | str, rows: int, key: bytes | None = KEY, **options: Any) -> None:
    """A store of decisions on line ``north``."""
    with open_store(path, "north", key, **options) as store:
        for item in range(1, rows + 1):
            store.append([decision(item)])


def append_at_once(store: EventStore, row: Row) -> Ticket:
    """Append while somebody holds the database: a call that waited for it would not return."""
    tickets: list[Ticket] = []
    thread = threading.Thread(target=lambda: tickets.append(store.append([row])), daemon=True)
    thread.start()
    thread.join(20)
    assert tickets, "append waits for the database"
    return tickets[0]


def wait_for(store: EventStore, *, healthy: bool, seconds: float = 20.0) -> None:
    """Wait until the store's state is so."""
    import time

    end_s = time.monotonic() + seconds
    while store.state().healthy is not healthy:
        assert time.monotonic() < end_s, store.state()
        time.sleep(0.01)


@contextmanager
def tampering(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection of somebody who may write the file; what protects from accidents is off."""
    connection = sqlite3.connect(path)
    try:
        connection.execute("DROP TRIGGER IF EXISTS log_no_update")
        connection.execute("DROP TRIGGER IF EXISTS log_no_delete")
        yield connection
        connection.commit()
    finally:
        connection.close()
