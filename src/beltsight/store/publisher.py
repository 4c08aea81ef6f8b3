"""Publishes the log's head at an interval, on its own thread: a slow second place delays no row."""

from __future__ import annotations

import threading
from collections.abc import Callable

from beltsight.store.heads import Head, Publish


class HeadPublisher:
    """Calls ``publish`` with the newest head, where there is a newer one.

    Args:
        publish: takes a head; what it raises is kept in ``problem`` and tried again.
        newest: gives the head of what is committed, or None where nothing is.
        interval_s: between two heads.
    """

    def __init__(
        self, publish: Publish, newest: Callable[[], Head | None], interval_s: float
    ) -> None:
        self.problem: str | None = None
        self.last: Head | None = None
        self._publish, self._newest, self._interval_s = publish, newest, interval_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-heads", daemon=True)
        self._thread.start()

    def close(self, timeout_s: float) -> None:
        """Publish the last head and end."""
        self._stop.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._publish_newest()
        self._publish_newest()

    def _publish_newest(self) -> None:
        head = self._newest()
        if head is None or (self.last is not None and head.sequence == self.last.sequence):
            return
        try:
            self._publish(head)
        except Exception as error:  # whatever the second place does, the line goes on
            self.problem = f"{type(error).__name__}: {error}"
        else:
            self.last, self.problem = head, None
