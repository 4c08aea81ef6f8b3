"""A PLC with OPC UA in a process of its own, so that a test can stop, kill and restart it.

    python opcua_plc.py '{"role": "server", "settings": {...}}'

It prints ``ready`` once it beats and a line of JSON for every lane that it opens. Its belt stands
until a line on standard input names a count; then it goes there, ``step`` counts with every look at
the counter, however slow the machine is.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from typing import Any

from beltsight.errors import LinkError
from beltsight.line.actuators.opcua_client import OpcUaClientSettings, RemoteNodes
from beltsight.line.actuators.opcua_plc import OpcUaPlc
from beltsight.line.actuators.opcua_server import LocalNodes, OpcUaServerSettings
from beltsight.line.actuators.plc import Plc, PlcSettings, Switch

STEP = 100


class Belt:
    """A counter that goes to where it is sent."""

    def __init__(self, start: int, step: int) -> None:
        self.count = self.target = start
        self.step = step

    def __call__(self, time_s: float) -> int:
        self.count += min(self.step, self.target - self.count)
        return self.count

    def listen(self) -> None:
        for line in sys.stdin:
            self.target = int(line)


def say(switch: Switch) -> None:
    if switch.is_open:
        print(json.dumps([switch.command_id, switch.lane, switch.raw_count]), flush=True)


async def main(order: dict[str, Any]) -> None:
    nodes: LocalNodes | RemoteNodes
    if order["role"] == "server":
        settings = OpcUaServerSettings.model_validate(order["settings"])
        nodes = LocalNodes(settings, plc_is_client=False)
    else:
        nodes = RemoteNodes(OpcUaClientSettings.model_validate(order["settings"]))
    # A busy machine may hold the host up for long; the watchdog has tests of its own.
    program = Plc(PlcSettings(watchdog_ms=60_000))
    belt = Belt(order["start"], order["step"])
    threading.Thread(target=belt.listen, daemon=True).start()
    plc = OpcUaPlc(program, nodes, belt, on_switch=say)
    while True:
        try:
            await nodes.open()
            await plc.cycle()
            print("ready", flush=True)
            await plc.run()
        except LinkError:
            await asyncio.sleep(0.05)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
