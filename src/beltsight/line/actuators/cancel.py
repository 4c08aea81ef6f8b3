"""Cancellation that does not get lost in a library."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

Answer = TypeVar("Answer")


async def heed_cancel(work: Awaitable[Answer]) -> Answer:
    """Await a library's work; a cancellation that it passed over is raised behind it.

    Before Python 3.12 ``asyncio.wait_for``, which the libraries use inside, returns the answer
    where answer and cancellation come together. What was given up would then go on: a command
    would be written after its link was declared down.

    Raises:
        asyncio.CancelledError: the task was cancelled meanwhile.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    answer = await work
    if task and task.cancelling() > before:
        raise asyncio.CancelledError
    return answer
