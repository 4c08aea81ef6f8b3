"""A PLC with OPC UA in a process of its own, so that a test can stop, kill and restart it.

    python opcua_plc.py '{"role": "server", "settings": {...}}'

It prints ``ready`` once it beats and a line of JSON for every lane that it opens; its counter
shows the machine's monotonic clock, 25,000 counts a second.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from beltsight.errors import LinkError
from beltsight.line.actuators.opcua_client import OpcUaClientSettings, RemoteNodes
from beltsight.line.actuators.opcua_plc import OpcUaPlc
from beltsight.line.actuators.opcua_server import LocalNodes, OpcUaServerSettings
from beltsight.line.actuators.plc import Plc, PlcSettings, Switch

COUNTS_PER_S = 25_000


def counter(time_s: float) -> int:
    return int(time_s * COUNTS_PER_S) % 2**32


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
    # A busy machine may hold the host up for a second; the watchdog has tests of its own.
    program = Plc(PlcSettings(watchdog_ms=order.get("watchdog_ms", 10_000)))
    plc = OpcUaPlc(program, nodes, counter, on_switch=say)
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
