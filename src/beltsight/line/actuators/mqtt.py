"""MQTT with plain JSON: commands, beats and the line's state on five topics (``docs/mqtt.md``).

Only the state is retained. A command never is, and the broker holds no session for the line, so
that nothing is executed again after a restart.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import Field

from beltsight.errors import LinkError
from beltsight.line.actuators.broker import BrokerSettings, Note, Session, check_broker
from beltsight.line.actuators.broker_link import BrokerLink
from beltsight.line.actuators.protocol import (
    Command,
    LineState,
    PeerSettings,
    greeting,
)

SCHEMA = 1


class MqttSettings(PeerSettings):
    """A link over MQTT with JSON.

    Args:
        topic: all topics begin with it, e.g. ``beltsight/line1``; the link's name follows.
        broker: host, login and encryption.
    """

    kind: Literal["mqtt"] = "mqtt"
    topic: str = Field(
        "beltsight/line", pattern=r"^[^/+#$\x00][^+#\x00]*[^/+#\x00]$", max_length=200
    )
    broker: BrokerSettings = BrokerSettings()


class MqttActuator(BrokerLink):
    """A peer behind a broker that reads and answers JSON.

    Args:
        settings: broker and topics.

    Raises:
        ConfigError: the password or a certificate file is missing.
        MissingExtraError: aiomqtt is not installed.
    """

    def __init__(self, settings: MqttSettings) -> None:
        super().__init__(settings.name, "mqtt")
        check_broker(settings.broker)
        self._settings = settings
        root = f"{settings.topic}/{settings.name}"
        self._command, self._ack = f"{root}/command", f"{root}/ack"
        self._beat, self._beat_ack = f"{root}/beat", f"{root}/beat/ack"
        self._state_topic = f"{root}/state"
        self._published: LineState | None = None

    async def connect(self) -> None:
        """Log in, subscribe, and wait until the peer behind the broker has answered a beat.

        Raises:
            LinkError: no broker, a refused login, a wrong certificate, or an unreadable answer.
            ConfigError: the password or a certificate file has gone since the start.
        """
        await self._give_up()
        self._state = greeting(self._state)
        settings = self._settings
        broker = settings.broker
        if broker.client_id is None:
            client_id = f"beltsight-{settings.topic}-{settings.name}".replace("/", "-")[-64:]
            broker = broker.model_copy(update={"client_id": client_id})
        session = Session(broker, self._told_as, self._heard)
        lost = LineState("safe", "the line's connection to the broker was lost")
        self._published = None
        await session.open(self._state_note(lost), [(self._ack, 1), (self._beat_ack, 0)])
        self._session = session
        await self._beat_once(self._state)

    async def make_safe(self, reason: str) -> None:
        """Publish the safe state, retained; returns when the broker has it.

        Raises:
            LinkError: not connected, or the connection broke.
        """
        self._state = LineState("safe", reason)
        await self._publish_state(self._connected(), self._state)

    async def close(self) -> None:
        """Publish that the line has stopped and end the connection; never raises."""
        await self._end(self._state_note(LineState("stopped", "the line has closed the link")))

    async def _publish_command(self, session: Session, command: Command) -> None:
        await session.publish(Note(self._command, _dump(command_record(command)), qos=1))

    async def _beat_once(self, state: LineState) -> None:
        shown = LineState(state.name, state.reason)
        if shown != self._published:
            await self._publish_state(self._connected(), shown)
        await super()._beat_once(state)

    async def _publish_beat(self, session: Session, beat: int, state: LineState) -> None:
        record = {"schema": SCHEMA, "beat": beat, **state_record(state)}
        await session.publish(Note(self._beat, _dump(record)))

    async def _publish_state(self, session: Session, state: LineState) -> None:
        self._published = None
        await session.publish(self._state_note(state))
        self._published = state

    def _state_note(self, state: LineState) -> Note:
        record = {"schema": SCHEMA, "state": state.name, "reason": state.reason}
        return Note(self._state_topic, _dump(record), qos=1, retain=True)

    async def _heard(self, note: Note) -> None:
        session = self._session
        try:
            record = _load(note.payload)
            if note.topic == self._ack:
                self._taken.add(record.get("id"), record.get("outcome"), record.get("raw_count"))
                key = f"command {record['id']}"
            else:
                key = f"beat {self._beat_number(record.get('beat'))}"
        except (ValueError, RecursionError) as error:
            raise LinkError(
                f"{self._told_as}: the peer's answer on {note.topic} is unreadable: "
                f"{error}; see docs/mqtt.md for what it has to publish there"
            ) from error
        if session:
            session.answers.take(key)

    def _beat_number(self, beat: Any) -> int:
        if type(beat) is not int or not 0 < beat <= self._beats:
            raise ValueError(f"expected beat {self._beats} or an earlier one, got {beat!r:.40}")
        return beat


def command_record(command: Command) -> dict[str, Any]:
    """What is published of a command; times of the host's own clock are left out.

    Example:
        >>> made = Command("r1-7", 3, "plc", "air", (0, 1), 900, 940, 900, 940, 81.5, 12.0)
        >>> command_record(made)["id"], command_record(made)["lanes"]
        ('r1-7', [0, 1])
    """
    return {
        "schema": SCHEMA,
        "id": command.command_id,
        "item": command.item_id,
        "actuator": command.actuator,
        "lanes": list(command.lanes),
        "fire_count": command.fire_count,
        "end_count": command.end_count,
        "raw_fire_count": command.raw_fire_count,
        "raw_end_count": command.raw_end_count,
        "pulse_ms": command.pulse_ms,
        "latency_ms": command.latency_ms,
        "timing": command.timing,
    }


def state_record(state: LineState) -> dict[str, Any]:
    """What a beat tells of the line."""
    return {
        "state": state.name,
        "reason": state.reason,
        "raw_count": state.raw_count,
        "items": state.items,
        "commands": state.commands,
        "late": state.late,
    }


def _dump(record: dict[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":"), allow_nan=False).encode()


def _load(payload: bytes) -> dict[str, Any]:
    record = json.loads(payload)
    if not isinstance(record, dict):
        raise ValueError(f"expected a JSON object, got {payload[:40]!r}")
    return record
