"""One connection to the holding registers of a Modbus server, which can be cut off at any moment.

pymodbus sends a write again where its answer is late, connects again by itself, and lets a request
wait whose connection has broken. For an actuator all three are wrong.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from beltsight.errors import LinkError, MissingExtraError
from beltsight.line.actuators.cancel import heed_cancel

if TYPE_CHECKING:
    from pymodbus.client import AsyncModbusTcpClient
    from pymodbus.pdu import ModbusPDU

_LIMIT_S = 10.0  # who calls sets the limits that count; this ends what nobody waits for any more
# The server says by these that it has done nothing; by others it may have, or a gateway answers
# for a device that may have.
_NOTHING_DONE = (1, 2, 3, 6)
_EXCEPTIONS = {
    1: "illegal function: the PLC needs functions 3 and 16",
    2: "illegal data address: declare the registers of docs/modbus.md, and check base",
    3: "illegal data value",
    4: "device failure",
    6: "device busy",
    10: "gateway path unavailable",
    11: "gateway target does not respond: check device_id",
}
# Without it Python prints the library's complaints where no log is set up; they come as LinkError.
logging.getLogger("pymodbus").addHandler(logging.NullHandler())


def check_library() -> None:
    """Whether pymodbus is there.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import pymodbus.client  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("a link over Modbus", "industrial") from error


class RefusedError(LinkError):
    """The server answered, and did not do what it was asked."""


class Registers:
    """Holding registers, counted from ``base``; a new object for each connection.

    Args:
        place: who speaks to whom, for messages.
        host: of the server.
        port: of the server.
        device_id: behind a gateway; 1 else.
        base: the register that is called 0 here.
    """

    def __init__(self, place: str, host: str, port: int, device_id: int, base: int) -> None:
        self._place = place
        self._host, self._port = host, port
        self._device_id = device_id
        self._base = base
        self._client: AsyncModbusTcpClient | None = None
        self._turn = asyncio.Lock()  # one request at a time, and none where the connection is gone

    async def open(self) -> None:
        """Connect.

        Raises:
            LinkError: nothing answers.
        """
        from pymodbus.client import AsyncModbusTcpClient

        client: AsyncModbusTcpClient = AsyncModbusTcpClient(
            self._host,
            port=self._port,
            timeout=_LIMIT_S,
            retries=0,  # a write is never sent twice
            reconnect_delay=0,
            trace_connect=lambda up: None if up else _end_request(client, "the PLC has ended it"),
        )
        self._client = client
        nothing = (
            f"{self._place}: nothing answers; is the PLC's Modbus server on, and are host and "
            "port right?"
        )
        try:
            if not await heed_cancel(client.connect()):
                raise LinkError(nothing)
        except UnicodeError as error:  # what is no name of a host
            raise LinkError(f"{nothing} ({error})") from error

    async def read(self, at: int, count: int) -> list[int]:
        """So many registers from one on.

        Raises:
            RefusedError: the server answered with an exception.
            LinkError: the connection broke, or another number of registers came.
        """
        first = at + self._base
        what = f"reading {count} registers from {first}"
        answer = await self._ask(
            lambda client: client.read_holding_registers(
                first, count=count, device_id=self._device_id
            ),
            what,
        )
        if len(answer.registers) != count:
            self.drop()
            raise LinkError(f"{self._place}: {what}: got {len(answer.registers)}; see its manual")
        return list(answer.registers)

    async def write(self, at: int, values: list[int]) -> None:
        """Registers from one on, in one request.

        Raises:
            RefusedError: the server answered with an exception, and has written nothing.
            LinkError: the connection broke, or the server answered that it failed on the way: it
                may have written them or not.
        """
        first = at + self._base
        await self._ask(
            lambda client: client.write_registers(first, values, device_id=self._device_id),
            f"writing {len(values)} registers from {first}",
        )

    def drop(self) -> None:
        """Hang up at once; what is not sent yet never will be."""
        client, self._client = self._client, None
        if client:
            transport = client.ctx.transport
            client.close()
            _end_request(client, "the line has given it up")
            if isinstance(transport, asyncio.Transport):
                transport.abort()

    async def _ask(
        self, request: Callable[[AsyncModbusTcpClient], Awaitable[ModbusPDU]], what: str
    ) -> ModbusPDU:
        from pymodbus.exceptions import ModbusException

        async with self._turn:
            client = self._client
            if client is None or not client.connected:
                raise LinkError(f"{self._place}: {what}: not connected; connect again")
            try:
                answer = await heed_cancel(request(client))
            except (ModbusException, OSError, ValueError, IndexError, struct.error) as error:
                self.drop()
                raise LinkError(
                    f"{self._place}: {what}: {_reason(error)}; connect again"
                ) from error
            except BaseException:
                self.drop()  # its answer may still come, and be taken for that of the next request
                raise
        if answer.isError():
            code = getattr(answer, "exception_code", 0)
            text = (
                f"{self._place}: {what}: the PLC answers exception {code} "
                f"({_EXCEPTIONS.get(code, 'see its manual')})"
            )
            if code in _NOTHING_DONE:
                raise RefusedError(text)
            self.drop()
            raise LinkError(f"{text}; connect again")
        return answer


def _end_request(client: AsyncModbusTcpClient, why: str) -> None:
    """End the request that waits for an answer on a connection that is gone."""
    from pymodbus.exceptions import ConnectionException

    waiting = client.ctx.response_future
    if not waiting.done():
        waiting.set_exception(ConnectionException(why))
        waiting.exception()  # looked at: nobody may be waiting


def _reason(error: Exception) -> str:
    return str(error).removeprefix("Modbus Error: ").replace("[Connection]", "the connection:")
