"""A host application that reads Sparkplug B by a decoder of its own, for the tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import aiomqtt

from beltsight.line.actuators.sparkplug_payload import (
    INT64,
    STRING,
    UINT64,
    Metric,
    Payload,
    encode,
)


def fields(data: bytes) -> list[tuple[int, Any]]:
    """(number, value) of every field: integers, and bytes for anything with a length."""
    found: list[tuple[int, Any]] = []
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        number, kind = divmod(varint(), 8)
        if kind == 0:
            found.append((number, varint()))
        else:
            size = {1: 8, 5: 4}.get(kind) or varint()
            found.append((number, data[at : at + size]))
            at += size
    return found


VALUES: dict[int, Callable[[Any], Any]] = {
    10: int,
    11: int,
    12: bytes,
    13: bytes,
    14: bool,
    15: bytes.decode,
    16: bytes,
}


def read(data: bytes) -> tuple[dict[int, Any], list[dict[str, Any]]]:
    """The payload's own fields and its metrics."""
    head = {number: value for number, value in fields(data) if number != 2}
    metrics = []
    for number, inner in fields(data):
        if number == 2:
            parts = dict(fields(inner))
            [value] = [VALUES[n](v) for n, v in parts.items() if n in VALUES] or [None]
            name = parts.get(1, b"").decode() or None
            metrics.append({"name": name, "alias": parts.get(2), "type": parts.get(4),
                            "null": parts.get(7), "value": value})  # fmt: skip
    return head, metrics


class Host:
    """A host application: keeps what comes, and answers commands and beats."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.seen: list[tuple[str, dict[int, Any], list[dict[str, Any]]]] = []
        self.names: dict[int, str] = {}
        self.ids: list[str] = []
        self.silent = False
        self.client: Any = None
        self._ready = asyncio.Event()

    async def __aenter__(self) -> Host:
        self._task = asyncio.create_task(self._run())
        await self._ready.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError, aiomqtt.MqttError):
            await self._task

    def of(self, verb: str) -> list[tuple[dict[int, Any], list[dict[str, Any]]]]:
        return [(head, metrics) for one, head, metrics in self.seen if one == verb]

    async def write(self, verb: str, data: bytes) -> None:
        device = "" if verb == "NCMD" else "/actuators"
        await self.client.publish(f"spBv1.0/beltsight/{verb}/line{device}", data, qos=1)

    async def _run(self) -> None:
        async with aiomqtt.Client("127.0.0.1", self._port) as client:
            self.client = client
            await client.subscribe("spBv1.0/#", qos=1)
            self._ready.set()
            async for message in client.messages:
                assert not message.retain
                verb = message.topic.value.split("/")[2]
                if verb in ("NCMD", "DCMD"):
                    continue  # its own
                head, metrics = read(message.payload)
                self.seen.append((verb, head, metrics))
                if verb == "DBIRTH":
                    self.names = {one["alias"]: one["name"] for one in metrics}
                if verb == "DDATA" and not self.silent:
                    await self._answer(metrics)

    async def _answer(self, metrics: list[dict[str, Any]]) -> None:
        values = {self.names[one["alias"]]: one["value"] for one in metrics}
        answers = []
        if "Beat" in values:
            answers.append(Metric(values["Beat"], UINT64, "Ack/Beat"))
        if "Command/Id" in values:
            self.ids.append(values["Command/Id"])
            answers += [
                Metric("fired", STRING, "Ack/Outcome"),
                Metric(-77, INT64, "Ack/Raw Count"),
                Metric(values["Command/Id"], STRING, "Ack/Id"),
            ]
        if answers:
            await self.write("DCMD", encode(Payload(tuple(answers), 1000)))
