"""A Modbus server with the program that docs/modbus.md asks of a PLC; run by the tests.

    python modbus_plc.py PORT [registers=352] [slots=8] [layout=1]

Orders come on standard input, one a line, and each is answered by a line of JSON: ``taken N``
(all slots but the first N), ``count`` of them, ``registers``, ``report`` (all of that),
``freeze``, ``thaw``, ``refuse N`` (so many writes), ``slow MS`` (before each answer), ``lose`` (do
what is asked, and answer as a gateway that got no answer), ``cut-before`` and ``cut-after`` (break
the connection instead of, or after, writing the number of the next command), ``restart``, and
``poke A V``.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

WRITTEN, RING = 88, 96


class Program:
    """What the PLC does in each turn, and what the test wants to go wrong."""

    def __init__(self, slots: int, layout: int) -> None:
        self.slots, self.layout = slots, layout
        self.registers: list[int] = []
        self.server: Any = None
        self.taken: list[list[int]] = []
        self.known: set[tuple[int, ...]] = set()
        self.frozen = False
        self.refuse = 0
        self.loses = False
        self.slow_s = 0.0
        self.cut = ""

    def start(self) -> None:
        """What a PLC's memory holds after power comes back."""
        self.registers[:] = [0] * len(self.registers)
        self.registers[0:2] = [self.layout, self.slots]
        self.known.clear()

    async def asked(
        self, code: int, _start: int, at: int, count: int, registers: list[int], values: Any
    ) -> ExcCodes | None:
        """Called before each request is served."""
        if registers is not self.registers:
            self.registers = registers
            self.start()
        await asyncio.sleep(self.slow_s)
        if values and self.refuse:
            self.refuse -= 1
            return ExcCodes.DEVICE_BUSY
        if values and at == WRITTEN and self.loses:
            self.loses, registers[WRITTEN] = False, values[0]
            return ExcCodes.GATEWAY_NO_RESPONSE
        if values and at == WRITTEN and self.cut:
            if self.cut == "cut-after":
                registers[WRITTEN] = values[0]
            else:
                values[0] = registers[WRITTEN]
            self.cut = ""
            for one in list(self.server.active_connections.values()):
                one.transport.abort()
        return None

    def turn(self) -> None:
        """One cycle of the PLC's program."""
        plc = self.registers
        if self.frozen or len(plc) <= RING:
            return
        plc[2], plc[5] = plc[80], plc[87]
        while 0 < (plc[WRITTEN] - plc[3]) % 65536 <= self.slots:
            number = (plc[3] + 1) % 65536
            at = RING + number % self.slots * 16
            slot = plc[at : at + 16]
            plc[3] = number
            if slot[0] != number:
                continue
            self.taken.append(slot)
            outcome = 2 if tuple(slot[1:5]) in self.known else 0
            self.known.add(tuple(slot[1:5]))
            place = 8 + plc[4] % self.slots * 4
            plc[place : place + 4] = [number, outcome, 0, 77]
            plc[4] = (plc[4] + 1) % 65536

    def obey(self, order: str, *words: str) -> Any:
        if order == "report":
            return {"taken": self.taken, "registers": self.registers}
        if order == "taken":
            return self.taken[int(words[0]) :]
        if order == "count":
            return len(self.taken)
        if order == "registers":
            return self.registers
        if order in ("freeze", "thaw"):
            self.frozen = order == "freeze"
        elif order == "refuse":
            self.refuse = int(words[0])
        elif order == "slow":
            self.slow_s = float(words[0]) / 1000
        elif order == "lose":
            self.loses = True
        elif order == "restart":
            self.start()
        elif order == "poke":
            self.registers[int(words[0])] = int(words[1])
        else:
            self.cut = order
        return "done"


async def serve(port: int, registers: int = 352, slots: int = 8, layout: int = 1) -> None:
    program = Program(slots, layout)
    device = SimDevice(
        id=1,
        simdata=[SimData(0, count=registers, values=0, datatype=DataType.REGISTERS)],
        action=program.asked,
    )
    program.server = ModbusTcpServer(device, address=("127.0.0.1", port))
    await program.server.serve_forever(background=True)
    orders: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin, lambda: orders.put_nowait(sys.stdin.readline()))
    while True:
        while not orders.empty():
            line = orders.get_nowait()
            if not line:
                return
            print(json.dumps(program.obey(*line.split())), flush=True)
        program.turn()
        await asyncio.sleep(0.001)


if __name__ == "__main__":
    options = dict(one.split("=") for one in sys.argv[2:])
    asyncio.run(serve(int(sys.argv[1]), **{name: int(value) for name, value in options.items()}))
