"""A PLC behind a broker, to try a line's link with: it fires, and prints what it switches.

    python examples/plc_mqtt.py [PORT]

It keeps the rules of docs/mqtt.md by the program that the simulated link runs. A real PLC has an
encoder of its own; this one takes the belt's counter from the line's beats, which is good for a
look and not for aiming.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import aiomqtt

from beltsight.line.actuators import Command
from beltsight.line.actuators.plc import Plc, PlcSettings

TOPIC = "beltsight/line/plc"
COUNTS_PER_S = 25_000  # 2.5 m/s at 0.1 mm a count


class Counter:
    """The belt's counter: that of the last beat, gone on since."""

    def __init__(self) -> None:
        self.seen, self.seen_s = 0, time.monotonic()

    def hear(self, count: int) -> None:
        self.seen, self.seen_s = count, time.monotonic()

    def __call__(self, time_s: float) -> int:
        return (self.seen + round((time_s - self.seen_s) * COUNTS_PER_S)) % 2**32


def command_of(record: dict[str, Any]) -> Command:
    names = ("actuator", "fire_count", "end_count", "raw_fire_count", "raw_end_count", "pulse_ms",
             "latency_ms", "timing")  # fmt: skip
    return Command(
        command_id=record["id"], item_id=record["item"], link="plc", belt_position_mm=0.0,
        issued_s=time.monotonic(), lanes=tuple(record["lanes"]),
        **{name: record[name] for name in names},
    )  # fmt: skip


async def hear(client: aiomqtt.Client, plc: Plc, counter: Counter) -> None:
    """Take commands and beats, and answer them."""
    async for message in client.messages:
        record = json.loads(message.payload)
        if message.topic.matches(f"{TOPIC}/beat"):
            plc.beat(record["state"], time.monotonic())
            counter.hear(record["raw_count"] or 0)
            await client.publish(f"{TOPIC}/beat/ack", json.dumps({"beat": record["beat"]}))
        elif message.topic.matches(f"{TOPIC}/command"):
            plc.take(command_of(record))
            await client.publish(f"{TOPIC}/ack", json.dumps({"id": record["id"]}), qos=1)


async def scan(client: aiomqtt.Client, plc: Plc, counter: Counter) -> None:
    """Look at the counter, switch, and say what became of each command."""
    while True:
        now_s = time.monotonic()
        for switch in plc.scan(counter(now_s), now_s):
            what = "opens " if switch.is_open else "closes"
            print(f"{switch.actuator} lane {switch.lane} {what} at {switch.raw_count}", flush=True)
        for answer in plc.acknowledgements():
            record = {"id": answer.command_id, "outcome": answer.outcome}
            await client.publish(f"{TOPIC}/ack", json.dumps(record), qos=1)
        await asyncio.sleep(0.001)


async def main(port: int) -> None:
    plc, counter = Plc(PlcSettings()), Counter()
    async with aiomqtt.Client("127.0.0.1", port) as client:
        for topic in ("command", "beat"):
            await client.subscribe(f"{TOPIC}/{topic}", qos=1)
        print("the PLC waits for the line", flush=True)
        await asyncio.gather(hear(client, plc, counter), scan(client, plc, counter))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1883))
