"""What both OPC UA links do: commands and beats through a ring, on whichever side the nodes are."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from beltsight.line.actuators.opcua_ring import Nodes, Ring
from beltsight.line.actuators.opcua_space import OpcUaSettings
from beltsight.line.actuators.protocol import Acknowledgement, Command, LineState


class OpenedNodes(Nodes, Protocol):
    """Nodes that are reached first, and left in the end."""

    async def open(self) -> None:
        """Reach them, and check that they are there."""

    async def close(self) -> None:
        """Leave them."""


class RingLink:
    """An actuator over a ring; the base of the client and the server.

    Args:
        settings: of the link.
        nodes: where the ring is.
        confirms: whether a command is sent only when the PLC has taken it: needed where the nodes
            are this side's.
    """

    def __init__(self, settings: OpcUaSettings, nodes: OpenedNodes, *, confirms: bool) -> None:
        self._name = settings.name
        self._nodes = nodes
        self._ring = Ring(settings, confirms=confirms)

    @property
    def name(self) -> str:
        """Name of the link."""
        return self._name

    async def connect(self) -> None:
        """Reach the nodes, and find the PLC's program running."""
        await self._nodes.open()
        await self._ring.open(self._nodes)

    async def send(self, command: Command) -> None:
        """Returns when the PLC has it: its server, or its program where the nodes are here."""
        await self._ring.send(self._nodes, command)

    async def known(self, command_ids: Collection[str]) -> frozenset[str] | None:
        """What stands in the ring; None where the PLC has lost it."""
        return await self._ring.known(self._nodes, command_ids)

    async def beat(self, state: LineState) -> tuple[Acknowledgement, ...]:
        """Write this side's beat, read the PLC's and its acknowledgements."""
        return await self._ring.beat(self._nodes, state)

    async def make_safe(self, reason: str) -> None:
        """Write the safe state."""
        await self._ring.make_safe(self._nodes, reason)

    async def close(self) -> None:
        """Leave the nodes."""
        await self._nodes.close()
