"""The OPC UA address space: names, types and writers, the same whoever is the server.

``docs/actuators.md`` lists it for whoever programs the PLC.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, SecretStr

from beltsight.errors import LinkError
from beltsight.line.actuators.protocol import (
    ACKNOWLEDGED,
    LINE_STATES,
    Acknowledgement,
    Command,
    LineState,
    PeerSettings,
    signed_count,
)

if TYPE_CHECKING:
    from asyncua import ua
    from asyncua.common.node import Node
    from asyncua.server.server import Server

NAMESPACE = "urn:beltsight:line"
ROOT = "Beltsight"
MOST_LANES = 64

HOST = {
    "Session": "UInt32",
    "Beat": "UInt32",
    "State": "UInt16",
    "Reason": "String",
    "RawCount": "Int64",
    "Items": "UInt32",
    "Commands": "UInt32",
    "Late": "UInt32",
}
PLC = {"Run": "UInt32", "Beat": "UInt32", "Tail": "UInt32", "Acked": "UInt32"}
# The sequence is written last and by itself: a PLC that sees it sees the rest.
SLOT = {
    "Id": "String",
    "ItemId": "Int64",
    "Actuator": "String",
    "Lanes": "UInt64",
    "FireCount": "Int64",
    "EndCount": "Int64",
    "PulseMs": "Double",
    "LatencyMs": "Double",
    "Timing": "UInt16",
    "Sequence": "UInt32",
}
ACK = {"Id": "String", "Outcome": "UInt16", "RawCount": "Int64", "Sequence": "UInt32"}


class OpcUaSettings(PeerSettings):
    """Settings that both OPC UA links have.

    Args:
        namespace: URI that the nodes' namespace has.
        slots: commands that the ring holds.
        plc_timeout_ms: ``Plc.Beat`` must change within this.
        hello_ms: time for the PLC's first beats when a connection is made.
        security: of the messages: ``none``, ``sign`` or ``encrypt`` (Basic256Sha256).
        certificate, private_key: files of this side, PEM or DER; needed unless security is none.
        application_uri: as it stands in this side's certificate.
        user, password: that a client logs in with; without a user it is anonymous.
    """

    namespace: str = Field(NAMESPACE, min_length=1)
    slots: int = Field(64, ge=2, le=4096)
    plc_timeout_ms: float = Field(150.0, gt=0, le=60_000)
    hello_ms: float = Field(1000.0, gt=0, le=60_000)
    security: Literal["none", "sign", "encrypt"] = "none"
    certificate: str | None = None
    private_key: str | None = None
    application_uri: str = Field("urn:beltsight:line", min_length=1)
    user: str | None = None
    password: SecretStr | None = None

    def check_login(self) -> None:
        """Each half of a pair needs the other; messages are signed with a certificate.

        Raises:
            ValueError: what is missing.
        """
        if (self.user is None) != (self.password is None):
            raise ValueError("a user needs a password and a password a user")
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("a certificate needs its private key and a key its certificate")
        if self.security != "none" and self.certificate is None:
            raise ValueError(f"security {self.security!r} needs a certificate and a private key")


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable of the space: ``Slots[3].Id``, its type, and whether the PLC writes it."""

    name: str
    kind: str
    plc_writes: bool


def variables(slots: int) -> Iterator[Variable]:
    """All variables of a space with so many slots.

    Example:
        >>> found = {variable.name: variable.kind for variable in variables(2)}
        >>> len(found), found["Host.Beat"], found["Slots[1].FireCount"]
        (40, 'UInt32', 'Int64')
    """
    yield from (Variable(f"Host.{name}", kind, False) for name, kind in HOST.items())
    yield from (Variable(f"Plc.{name}", kind, True) for name, kind in PLC.items())
    for index in range(slots):
        yield from (Variable(f"Slots[{index}].{n}", kind, False) for n, kind in SLOT.items())
        yield from (Variable(f"Acks[{index}].{n}", kind, True) for n, kind in ACK.items())


def first_value(kind: str) -> Any:
    """What a variable holds before anybody has written it."""
    return {"String": "", "Double": 0.0}.get(kind, 0)


class OpcUaSpace:
    """Builds the space in a server of asyncua: this one, or a PLC that is simulated.

    Args:
        namespace: URI of the nodes.
        slots: of the ring.
        plc_is_client: clients may write what the PLC writes; else what the host writes.
    """

    def __init__(self, namespace: str, slots: int, *, plc_is_client: bool) -> None:
        self.ids: dict[str, ua.NodeId] = {}
        self._namespace = namespace
        self._slots = slots
        self._plc_is_client = plc_is_client

    async def build(self, server: Server) -> None:
        """Add all variables under ``Objects/Beltsight``."""
        from asyncua import ua

        index = await server.register_namespace(self._namespace)
        root = await server.nodes.objects.add_object(
            ua.NodeId.from_string(f"ns={index};s={ROOT}"), ua.QualifiedName(ROOT, index)
        )
        folders: dict[str, Node] = {"": root}
        for variable in variables(self._slots):
            parent = variable.name.rpartition(".")[0]
            if parent not in folders:
                folders[parent] = await root.add_object(
                    ua.NodeId.from_string(f"ns={index};s={ROOT}.{parent}"),
                    ua.QualifiedName(parent, index),
                )
            node = await folders[parent].add_variable(
                ua.NodeId.from_string(f"ns={index};s={ROOT}.{variable.name}"),
                ua.QualifiedName(variable.name.rpartition(".")[2], index),
                ua.Variant(first_value(variable.kind), ua.VariantType[variable.kind]),
            )
            if variable.plc_writes == self._plc_is_client:
                await node.set_writable()
            self.ids[variable.name] = node.nodeid
            await asyncio.sleep(0)  # the other links beat meanwhile

    def data(self, kind: str, value: Any) -> ua.DataValue:
        """A value as the server stores it."""
        from asyncua import ua

        return ua.DataValue(
            ua.Variant(value, ua.VariantType[kind]),
            SourceTimestamp=ua.DateTime.now(UTC),
        )


def slot_values(command: Command, sequence: int, slots: int) -> dict[str, Any]:
    """A command as the values of its slot, the sequence last.

    Raises:
        LinkError: a lane that the 64-bit set cannot hold.
    """
    if not command.lanes or max(command.lanes) >= MOST_LANES or min(command.lanes) < 0:
        raise LinkError(
            f"command {command.command_id}: OPC UA carries lanes 0 to {MOST_LANES - 1}, "
            f"got {list(command.lanes)}"
        )
    values = (
        command.command_id, command.item_id, command.actuator,
        sum(1 << lane for lane in command.lanes), signed_count(command.raw_fire_count),
        signed_count(command.raw_end_count), command.pulse_ms, command.latency_ms,
        ("plc", "host").index(command.timing), sequence,
    )  # fmt: skip
    prefix = f"Slots[{sequence % slots}]"
    return {f"{prefix}.{name}": value for name, value in zip(SLOT, values, strict=True)}


def command_of(values: Mapping[str, Any], prefix: str, link: str) -> Command:
    """A slot's values as the command that a PLC's program takes."""
    of = {name: values[f"{prefix}.{name}"] for name in SLOT}
    lanes = tuple(lane for lane in range(MOST_LANES) if of["Lanes"] >> lane & 1)
    return Command(
        of["Id"], of["ItemId"], link, of["Actuator"], lanes, of["FireCount"], of["EndCount"],
        of["FireCount"], of["EndCount"], 0.0, 0.0, of["PulseMs"], of["LatencyMs"],
        "host" if of["Timing"] else "plc",
    )  # fmt: skip


def host_values(state: LineState, beat: int | None) -> dict[str, Any]:
    """What a beat writes; without a number, the state alone."""
    numbers = (state.items, state.commands, state.late)
    values: dict[str, Any] = {
        "Host.State": LINE_STATES.index(state.name),
        "Host.Reason": state.reason[:200],
        "Host.RawCount": -1 if state.raw_count is None else signed_count(state.raw_count),
    }
    names = ("Items", "Commands", "Late")
    values |= {f"Host.{n}": v & 0xFFFFFFFF for n, v in zip(names, numbers, strict=True)}
    return values if beat is None else {**values, "Host.Beat": beat & 0xFFFFFFFF}


def acknowledgement(values: Mapping[str, Any], prefix: str) -> Acknowledgement | None:
    """What the PLC wrote of a command, or None where it makes no sense."""
    outcome, raw = values[f"{prefix}.Outcome"], values[f"{prefix}.RawCount"]
    if not 0 <= outcome < len(ACKNOWLEDGED):
        return None
    return Acknowledgement(values[f"{prefix}.Id"], ACKNOWLEDGED[outcome], raw)


def quiet_library() -> None:
    """Keep asyncua's log from standard error where the program has set up no logging."""
    logger = logging.getLogger("asyncua")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
