"""A cancellation that comes together with the answer."""

from __future__ import annotations

import asyncio

import pytest
from tests.line.actuators.peers import run

from beltsight.line.actuators.cancel import heed_cancel


async def swallow(answer: asyncio.Future[str]) -> str:
    """As ``asyncio.wait_for`` of Python 3.11 where both come in one turn of the loop."""
    try:
        return await answer
    except asyncio.CancelledError:
        return "answer"


def test_a_cancellation_that_a_library_passes_over_is_raised() -> None:
    async def body() -> None:
        task = asyncio.create_task(heed_cancel(swallow(asyncio.Future())))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(body())


def test_what_was_cancelled_before_may_still_say_goodbye() -> None:
    async def last_words() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return await heed_cancel(asyncio.sleep(0, "goodbye"))
        return "never"

    async def body() -> None:
        task = asyncio.create_task(last_words())
        await asyncio.sleep(0)
        task.cancel()
        assert await task == "goodbye"

    run(body())
