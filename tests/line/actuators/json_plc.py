"""A peer behind a broker that does what docs/mqtt.md asks of a PLC, for the tests."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import aiomqtt

ROOT = "beltsight/line/plc"


class JsonPlc:
    """Takes commands, drops those that it knows, echoes beats; it can be told to be silent."""

    def __init__(self, port: int, **login: Any) -> None:
        self._login = {"hostname": "127.0.0.1", "port": port, **login}
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self.client: aiomqtt.Client | None = None
        self.silent = False
        self.ids: list[str] = []
        self.commands: list[dict[str, Any]] = []
        self.beats: list[dict[str, Any]] = []
        self.states: list[tuple[dict[str, Any], bool]] = []
        self.retained: list[str] = []

    async def __aenter__(self) -> JsonPlc:
        self._task = asyncio.create_task(self._run())
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait({ready, self._task}, return_when=asyncio.FIRST_COMPLETED)
        assert self._ready.is_set(), self._task.exception()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task
        self._task.cancel()
        with suppress(asyncio.CancelledError, aiomqtt.MqttError):
            await self._task

    async def say(self, topic: str, payload: bytes | str, retain: bool = False) -> None:
        assert self.client
        await self.client.publish(f"{ROOT}/{topic}", payload, qos=1, retain=retain)

    async def _run(self) -> None:
        async with aiomqtt.Client(**self._login) as client:
            self.client = client
            await client.subscribe(f"{ROOT}/#", qos=1)
            self._ready.set()
            async for message in client.messages:
                if message.retain:
                    self.retained.append(message.topic.value)
                await self._take(message.topic.value.removeprefix(f"{ROOT}/"), message)

    async def _take(self, topic: str, message: aiomqtt.Message) -> None:
        if topic not in ("command", "beat", "state"):
            return
        assert isinstance(message.payload, bytes)
        record = json.loads(message.payload)
        if topic == "state":
            self.states.append((record, message.retain))
        elif topic == "beat":
            self.beats.append(record)
            if not self.silent:
                await self._client().publish(f"{ROOT}/beat/ack", json.dumps(record))
        else:
            again = record["id"] in self.ids
            self.commands += [] if again else [record]
            self.ids.append(record["id"])
            if not self.silent:
                outcome = "duplicate" if again else "fired"
                answer = {"id": record["id"], "outcome": outcome, "raw_count": 77}
                await self._client().publish(f"{ROOT}/ack", json.dumps(answer), qos=1)

    def _client(self) -> aiomqtt.Client:
        assert self.client
        self.client.pending_calls_threshold = 10_000
        return self.client
