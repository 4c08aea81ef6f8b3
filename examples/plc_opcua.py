"""A PLC that is a client of the line's OPC UA server, to try the link with.

    python examples/plc_opcua.py [URL]

It keeps the rules of docs/actuators.md, and prints what it switches. A real PLC has an encoder of
its own; this one takes the belt's counter from the line's server, which is good for a look and not
for aiming.
"""

from __future__ import annotations

import asyncio
import sys
import time

from beltsight.errors import LinkError
from beltsight.line.actuators.opcua_client import OpcUaClientSettings, RemoteNodes
from beltsight.line.actuators.opcua_plc import OpcUaPlc
from beltsight.line.actuators.plc import Plc, PlcSettings, Switch

COUNTS_PER_S = 25_000  # 2.5 m/s at 0.1 mm a count


class Counter:
    """The belt's counter: what the line's server shows, gone on since."""

    def __init__(self) -> None:
        self.seen, self.seen_s = 0, time.monotonic()

    def hear(self, count: int) -> None:
        if count not in (-1, self.seen):
            self.seen, self.seen_s = count, time.monotonic()

    def __call__(self, time_s: float) -> int:
        return (self.seen + round((time_s - self.seen_s) * COUNTS_PER_S)) % 2**32


def say(switch: Switch) -> None:
    what = "opens " if switch.is_open else "closes"
    print(f"{switch.actuator} lane {switch.lane} {what} at {switch.raw_count}", flush=True)


async def main(url: str) -> None:
    print("the PLC waits for the line", flush=True)
    while True:
        nodes, counter = RemoteNodes(OpcUaClientSettings(url=url)), Counter()
        plc = OpcUaPlc(Plc(PlcSettings()), nodes, counter, on_switch=say)
        try:
            await nodes.open()
            while True:
                counter.hear((await nodes.read(["Host.RawCount"]))["Host.RawCount"])
                await plc.cycle()
                await asyncio.sleep(0.01)
        except LinkError as error:
            print(f"{error}; trying again", flush=True)
            await asyncio.sleep(1.0)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "opc.tcp://127.0.0.1:4840/beltsight/"))
