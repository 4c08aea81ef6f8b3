"""Settings and space of the OPC UA links, without a peer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("asyncua", reason="the extra 'industrial' is not installed")
from tests.line.actuators.opcua_peers import url

from beltsight.config import load_config
from beltsight.errors import ConfigError, MissingExtraError
from beltsight.line.actuators import open_actuator, read_peer
from beltsight.line.actuators.opcua_client import OpcUaClientSettings
from beltsight.line.actuators.opcua_server import OpcUaServerSettings
from beltsight.line.actuators.opcua_space import variables


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        (OpcUaServerSettings, {"host": "0.0.0.0"}, "anybody on the network could write"),
        (OpcUaServerSettings, {"host": "plc-net", "user": "a", "password": "b"}, "in the clear"),
        (OpcUaServerSettings, {"user": "a"}, "a user needs a password"),
        (OpcUaServerSettings, {"security": "encrypt"}, "needs a certificate"),
        (OpcUaServerSettings, {"certificate": "a.pem"}, "its private key"),
        (OpcUaServerSettings, {"trusted": ["a.pem"]}, "checked with security"),
        (OpcUaServerSettings, {"prot": 4840}, "did you mean 'port'"),
        (OpcUaClientSettings, {"url": "http://plc"}, "url: String should match"),
        (OpcUaClientSettings, {"url": "opc.tcp://user:word@plc"}, "url: String should match"),
        (OpcUaClientSettings, {"url": "opc.tcp://plc", "nodes": {"Beat": "i=1"}}, "not in the sp"),
        (OpcUaClientSettings, {"url": "opc.tcp://plc", "security": "sign", "certificate": "a",
                               "private_key": "b"}, "the PLC's own"),
    ],
)  # fmt: skip
def test_unsafe_settings_are_refused(kind: Any, values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config(kind, base=values)


def test_a_password_is_not_shown() -> None:
    settings = OpcUaServerSettings.model_validate({"user": "line", "password": "a long word"})
    assert "a long word" not in f"{settings!r} {settings} {settings.model_dump_json()}"


@pytest.mark.parametrize("kind", ["opcua-server", "opcua-client"])
def test_a_missing_library_is_one_sentence(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncua", None)
    settings = read_peer({"kind": kind, **({"url": url(1)} if kind == "opcua-client" else {})})
    with pytest.raises(MissingExtraError, match=r"pip install 'beltsight\[industrial\]'"):
        open_actuator(settings)


def test_the_space_is_the_documented_one() -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "actuators.md"
    documented = page.read_text(encoding="utf-8")
    for variable in variables(1):
        folder, _, name = variable.name.partition(".")
        assert f"`{folder.replace('[0]', '[i]')}.{name}` | {variable.kind}" in documented
