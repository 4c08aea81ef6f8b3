"""The kinds of links there are, and how one is made from its settings."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, cast

from pydantic import BeforeValidator, SerializeAsAny

from beltsight.config import load_config, nearest
from beltsight.errors import ConfigError
from beltsight.line.actuators.protocol import Actuator, PeerSettings


@dataclass(frozen=True, slots=True)
class Kind:
    """Where a kind's settings and actuator stand; imported when it is asked for."""

    module: str
    settings: str
    actuator: str


KINDS: Mapping[str, Kind] = {
    "simulated": Kind("simulated", "SimulatedSettings", "SimulatedActuator"),
    "opcua-server": Kind("opcua_server", "OpcUaServerSettings", "OpcUaServer"),
    "opcua-client": Kind("opcua_client", "OpcUaClientSettings", "OpcUaClient"),
    "modbus": Kind("modbus", "ModbusSettings", "ModbusActuator"),
    "mqtt": Kind("mqtt", "MqttSettings", "MqttActuator"),
    "mqtt-sparkplug": Kind("sparkplug", "SparkplugSettings", "SparkplugActuator"),
}


def _part(kind: str, name: str) -> Any:
    module = importlib.import_module(f"beltsight.line.actuators.{KINDS[kind].module}")
    return getattr(module, name)


def read_peer(value: Any) -> PeerSettings:
    """A table such as ``{"kind": "modbus", "host": "10.0.0.5"}`` -> settings of that kind.

    Raises:
        ValueError: no such kind, or a setting is wrong.
    """
    if isinstance(value, PeerSettings):
        return value
    if not isinstance(value, Mapping):
        raise ValueError(f"expected a table with the key 'kind', got {type(value).__name__}")
    kind = value.get("kind")
    if kind not in KINDS:
        raise ValueError(f"unknown kind of link {kind!r}; {nearest(str(kind), KINDS)}")
    settings = _part(str(kind), KINDS[str(kind)].settings)
    try:
        return cast(PeerSettings, load_config(settings, base=value))
    except ConfigError as error:
        raise ValueError(str(error).removeprefix("settings: ")) from error


# For settings that hold links: each table is read as its own kind.
LinkTable = Annotated[SerializeAsAny[PeerSettings], BeforeValidator(read_peer)]


def open_actuator(
    settings: PeerSettings, encoder: Callable[[float], int | None] | None = None
) -> Actuator:
    """The actuator of these settings; nothing is connected yet.

    Args:
        settings: of any kind.
        encoder: monotonic time, not after now -> the raw count of a simulated PLC's own encoder
            then; that kind alone needs it.

    Raises:
        ConfigError: unknown kind, or a simulated PLC without an encoder.
        MissingExtraError: the kind's library is not installed.
    """
    if settings.kind not in KINDS:
        raise ConfigError(
            f"unknown kind of link {settings.kind!r}; {nearest(settings.kind, KINDS)}"
        )
    made = _part(settings.kind, KINDS[settings.kind].actuator)
    if settings.kind != "simulated":
        return cast(Actuator, made(settings))
    if encoder is None:
        raise ConfigError(
            f"the simulated link {settings.name!r} needs an encoder to fire on: it works in "
            "'beltsight line simulate' alone; name your PLC's kind"
        )
    return cast(Actuator, made(settings, encoder))
