"""MQTT with Sparkplug B: the line is an edge node with one device, the peer a host application.

Commands go out as device data, and the host answers by device commands (``docs/mqtt.md``).

Source: Eclipse Sparkplug 3.0, chapters 4 to 6.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field

from beltsight.errors import LinkError
from beltsight.line.actuators.broker import BrokerSettings, Note, Session, check_broker
from beltsight.line.actuators.broker_link import BrokerLink
from beltsight.line.actuators.protocol import (
    Command,
    LineState,
    PeerSettings,
    greeting,
    signed_count,
)
from beltsight.line.actuators.sparkplug_payload import (
    BOOLEAN,
    INT64,
    STRING,
    UINT64,
    Metric,
    Payload,
    Value,
    decode,
    encode,
)

_Id = Annotated[str, Field(pattern=r"^[^/+#\x00]+$", max_length=100)]
REBIRTH = "Node Control/Rebirth"
BDSEQ = "bdSeq"

# Every metric of the device; its place here, from 1, is its alias. The id comes last: a host that
# reads metric by metric has the whole command when the id changes.
DEVICE: tuple[tuple[str, int], ...] = (
    ("Beat", UINT64),
    ("State", STRING),
    ("State/Reason", STRING),
    ("State/Raw Count", INT64),
    ("State/Items", UINT64),
    ("State/Commands", UINT64),
    ("State/Late", UINT64),
    ("Command/Item", INT64),
    ("Command/Actuator", STRING),
    ("Command/Lanes", UINT64),
    ("Command/Raw Fire Count", INT64),
    ("Command/Raw End Count", INT64),
    ("Command/Fire Count", INT64),
    ("Command/End Count", INT64),
    ("Command/Pulse us", UINT64),
    ("Command/Latency us", UINT64),
    ("Command/Timing", STRING),
    ("Command/Id", STRING),
    ("Ack/Beat", UINT64),
    ("Ack/Outcome", STRING),
    ("Ack/Raw Count", INT64),
    ("Ack/Id", STRING),
)
_TYPES = dict(DEVICE)
_ALIASES = {name: number for number, (name, _) in enumerate(DEVICE, 1)}
_NAMES = {number: name for name, number in _ALIASES.items()}


class SparkplugSettings(PeerSettings):
    """A link over MQTT with Sparkplug B.

    Args:
        group: the plant or area.
        node: this line, unique in the group.
        device: the actuators of this link.
        broker: host, login and encryption.
    """

    kind: Literal["mqtt-sparkplug"] = "mqtt-sparkplug"
    group: _Id = "beltsight"
    node: _Id = "line"
    device: _Id = "actuators"
    broker: BrokerSettings = BrokerSettings()


class SparkplugActuator(BrokerLink):
    """A host application that reads device data and answers by device commands.

    Args:
        settings: broker and names.
        clock: seconds since 1970, for timestamps.

    Raises:
        ConfigError: the password or a certificate file is missing.
        MissingExtraError: aiomqtt or protobuf is not installed.
    """

    def __init__(self, settings: SparkplugSettings, clock: Callable[[], float] = time.time) -> None:
        super().__init__(settings.name, "sparkplug")
        check_broker(settings.broker)
        encode(Payload(()))  # protobuf is there
        self._settings = settings
        self._clock = clock
        self._turn = asyncio.Lock()  # births come together, and numbers in the order of sending
        # Nothing is kept over restarts: the clock makes a session unlike the one before.
        self._bdseq = int(clock()) % 256
        self._seq = 0

    async def connect(self) -> None:
        """Log in, publish the births, and wait until the host has answered a beat.

        Raises:
            LinkError: no broker, a refused login, a wrong certificate, or an unreadable answer.
            ConfigError: the password or a certificate file has gone since the start.
        """
        await self._give_up()
        self._state = greeting(self._state)
        settings = self._settings
        broker = settings.broker
        if broker.client_id is None:
            client_id = f"beltsight-{settings.group}-{settings.node}"[-64:]
            broker = broker.model_copy(update={"client_id": client_id})
        self._bdseq = (self._bdseq + 1) % 256
        session = Session(broker, self._told_as, self._heard)
        commands = [(self._topic("NCMD"), 1), (self._topic("DCMD"), 1)]
        await session.open(self._death(), commands)
        self._session = session
        await self._give_birth(session)
        await self._beat_once(self._state)

    async def make_safe(self, reason: str) -> None:
        """Publish the safe state.

        Raises:
            LinkError: not connected, or the connection broke.
        """
        self._state = LineState("safe", reason)
        values = _known_by_alias(state_values(self._state))
        await self._publish(self._connected(), "DDATA", values)

    async def close(self) -> None:
        """Publish the death certificate and end the connection; never raises."""
        await self._end(self._death() if self._session else None)

    async def _publish_command(self, session: Session, command: Command) -> None:
        await self._publish(session, "DDATA", _known_by_alias(command_values(command)))

    async def _publish_beat(self, session: Session, beat: int, state: LineState) -> None:
        values = _known_by_alias({"Beat": beat, **state_values(state)})
        await self._publish(session, "DDATA", values)

    def _topic(self, verb: str) -> str:
        settings = self._settings
        node = f"spBv1.0/{settings.group}/{verb}/{settings.node}"
        return node if verb.startswith("N") else f"{node}/{settings.device}"

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)

    def _death(self) -> Note:
        """Tells the host that all values are stale, and with them that the line is not there."""
        born = Metric(self._bdseq, UINT64, BDSEQ)
        return Note(self._topic("NDEATH"), self._encode(Payload((born,), self._now_ms())), qos=1)

    async def _give_birth(self, session: Session) -> None:
        """Node, then device. No command is part of it: a host that reads it again does nothing."""
        node = (Metric(self._bdseq, UINT64, BDSEQ), Metric(False, BOOLEAN, REBIRTH))
        values: dict[str, Value] = {**state_values(self._state), "Beat": self._beats}
        device = (Metric(values.get(name), kind, name, _ALIASES[name]) for name, kind in DEVICE)
        async with self._turn:
            self._seq = 0
            await self._publish_next(session, "NBIRTH", node)
            await self._publish_next(session, "DBIRTH", device)

    async def _publish(self, session: Session, verb: str, metrics: Iterable[Metric]) -> None:
        async with self._turn:
            await self._publish_next(session, verb, metrics)

    async def _publish_next(self, session: Session, verb: str, metrics: Iterable[Metric]) -> None:
        payload = Payload(tuple(metrics), self._now_ms(), self._seq)
        note = Note(self._topic(verb), self._encode(payload))
        self._seq = (self._seq + 1) % 256
        await session.publish(note)

    def _encode(self, payload: Payload) -> bytes:
        try:
            return encode(payload)
        except (ValueError, TypeError) as error:
            raise LinkError(f"{self._told_as}: cannot be written: {error}") from error

    async def _heard(self, note: Note) -> None:
        session = self._session
        try:
            metrics = [_named(metric) for metric in decode(note.payload).metrics]
            if note.topic == self._topic("NCMD"):
                reborn = any(one.name == REBIRTH and one.value is True for one in metrics)
                if reborn and session:
                    await self._give_birth(session)
                return
            keys = self._read_answers(metrics)
        except ValueError as error:
            raise LinkError(
                f"{self._told_as}: the host's command on {note.topic} is unreadable: "
                f"{error}; see docs/mqtt.md for what it has to write"
            ) from error
        for key in keys:
            if session:
                session.answers.take(key)

    def _read_answers(self, metrics: Iterable[Metric]) -> list[str]:
        """What was waited for. An ``Ack/Id`` takes the outcome and count that stand before it."""
        keys = []
        said: dict[str, Any] = {}
        for metric in metrics:
            if metric.name == "Ack/Beat":
                if type(metric.value) is not int or not 0 < metric.value <= self._beats:
                    raise ValueError(f"expected beat {self._beats} or before, got {metric.value!r}")
                keys.append(f"beat {metric.value}")
            elif metric.name == "Ack/Id":
                self._taken.add(metric.value, said.get("Ack/Outcome"), said.get("Ack/Raw Count"))
                keys.append(f"command {metric.value!s}")
                said = {}
            elif metric.name is not None:
                said[metric.name] = metric.value
        return keys


def command_values(command: Command) -> dict[str, Value]:
    """The metrics of a command; lane ``i`` is bit ``i`` of ``Command/Lanes``.

    Raises:
        LinkError: a lane over 63.
    """
    if any(not 0 <= lane < 64 for lane in command.lanes):
        raise LinkError(
            f"command {command.command_id}: expected lanes 0 to 63 over Sparkplug, got "
            f"{list(command.lanes)}; split the actuator in two"
        )
    return {
        "Command/Item": command.item_id,
        "Command/Actuator": command.actuator,
        "Command/Lanes": sum(1 << lane for lane in command.lanes),
        "Command/Raw Fire Count": signed_count(command.raw_fire_count),
        "Command/Raw End Count": signed_count(command.raw_end_count),
        "Command/Fire Count": command.fire_count,
        "Command/End Count": command.end_count,
        "Command/Pulse us": round(command.pulse_ms * 1000),
        "Command/Latency us": round(command.latency_ms * 1000),
        "Command/Timing": command.timing,
        "Command/Id": command.command_id,
    }


def state_values(state: LineState) -> dict[str, Value]:
    """The metrics of the line's state."""
    return {
        "State": state.name,
        "State/Reason": state.reason,
        "State/Raw Count": None if state.raw_count is None else signed_count(state.raw_count),
        "State/Items": state.items,
        "State/Commands": state.commands,
        "State/Late": state.late,
    }


def _known_by_alias(values: dict[str, Value]) -> list[Metric]:
    return [Metric(value, _TYPES[name], alias=_ALIASES[name]) for name, value in values.items()]


def _named(metric: Metric) -> Metric:
    """The metric with the name that its alias stands for."""
    if metric.name is not None or metric.alias is None:
        return metric
    return replace(metric, name=_NAMES.get(metric.alias))
