"""MQTT with JSON against a real mosquitto, and a peer behind it."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.line.actuators.peers import (
    Broker,
    Wire,
    broker,
    command,
    given_up,
    mute_server,
    run,
    until,
)

from beltsight.config import load_config
from beltsight.errors import ConfigError, LinkError
from beltsight.line.actuators import Acknowledgement, LineState
from beltsight.line.actuators.broker import BrokerSettings, TlsSettings, read_password
from beltsight.line.actuators.broker_link import Taken
from beltsight.line.actuators.mqtt import MqttActuator, MqttSettings

pytest.importorskip("aiomqtt", reason="the extra 'industrial' is not installed")
from tests.line.actuators.json_plc import ROOT, JsonPlc

RUNNING = LineState("running", "all well", raw_count=70_000, items=3, commands=2, late=1)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with broker(tmp_path_factory.mktemp("broker")) as made:
        yield made


def link(port: int, **login: Any) -> MqttActuator:
    return MqttActuator(MqttSettings.model_validate({"broker": {"port": port, **login}}))


def test_a_command_and_a_beat_arrive_as_documented(shared: Broker) -> None:
    async def body() -> None:
        async with JsonPlc(shared.port) as plc:
            actuator = link(shared.port)
            await actuator.connect()
            await actuator.send(command(1))
            await until(lambda: plc.commands)
            assert plc.commands == [{
                "schema": 1, "id": "run1-1", "item": 1, "actuator": "air", "lanes": [0, 2],
                "fire_count": 5_000_000_001, "end_count": 5_000_000_401,
                "raw_fire_count": 705_032_705, "raw_end_count": 705_033_105,
                "pulse_ms": 20.0, "latency_ms": 7.5, "timing": "plc",
            }]  # fmt: skip
            assert await actuator.beat(RUNNING) == (Acknowledgement("run1-1", "fired", 77),)
            assert await actuator.beat(RUNNING) == ()
            assert plc.beats[-1] == {
                "schema": 1, "beat": 3, "state": "running", "reason": "all well",
                "raw_count": 70_000, "items": 3, "commands": 2, "late": 1,
            }  # fmt: skip
            assert plc.states[-1] == (
                {"schema": 1, "state": "running", "reason": "all well"}, False,
            )  # fmt: skip
            await actuator.close()

    run(body())


def test_states_are_retained_and_commands_are_not(shared: Broker) -> None:
    async def body() -> None:
        async with JsonPlc(shared.port):
            actuator = link(shared.port)
            await actuator.connect()
            await actuator.beat(RUNNING)
            await actuator.send(command(1))
            await actuator.make_safe("a test")
        async with JsonPlc(shared.port) as late:
            await until(lambda: late.states)
            assert late.states == [({"schema": 1, "state": "safe", "reason": "a test"}, True)]
            await actuator.beat(RUNNING)  # the line goes on, and so says its state again
            await until(lambda: late.states[-1][0]["state"] == "running")
            await actuator.close()
            await until(lambda: late.states[-1][0]["state"] == "stopped")
            assert late.commands == []
            assert late.retained == [f"{ROOT}/state"]

    run(body())


def test_a_burst_arrives_once_each_and_known_ones_are_not_sent_again(shared: Broker) -> None:
    async def body() -> None:
        async with JsonPlc(shared.port) as plc:
            actuator = link(shared.port)
            await actuator.connect()
            await asyncio.gather(*(actuator.send(command(n)) for n in range(1000)))
            await actuator.send(command(500))
            assert await actuator.known(["run1-0", "run1-999"]) == frozenset({"run1-0", "run1-999"})
            assert await actuator.known(["run1-0", "run1-1000"]) is None
            assert len(await actuator.beat(RUNNING)) == 1000
            assert plc.ids == [f"run1-{n}" for n in range(1000)]
            await actuator.close()

    run(body())


def test_a_killed_broker_ends_what_waits_and_replays_nothing(tmp_path: Path) -> None:
    async def body(made: Broker) -> None:
        async with JsonPlc(made.port) as plc:
            actuator = link(made.port)
            await actuator.connect()
            plc.silent = True
            sent = asyncio.create_task(actuator.send(command(1)))
            await until(lambda: plc.ids)
            made.kill()
            with pytest.raises(
                LinkError, match=r"the connection to the broker broke.*connect again"
            ):
                await sent
        with pytest.raises(LinkError, match="connect again"):
            await actuator.beat(RUNNING)
        with pytest.raises(LinkError, match=r"no broker answers: .*is it running"):
            await actuator.connect()
        made.start()
        async with JsonPlc(made.port) as plc:
            await actuator.connect()
            assert await actuator.known(["run1-1"]) is None
            await actuator.send(command(2))
            await actuator.beat(RUNNING)
            assert plc.ids == ["run1-2"]
            await actuator.close()

    with broker(tmp_path) as made:
        run(body(made))


def test_a_broker_that_hangs_is_given_up_and_its_will_tells_the_peer(shared: Broker) -> None:
    async def body() -> None:
        async with JsonPlc(shared.port) as plc, Wire(shared.port) as wire:
            actuator = link(wire.port)
            await actuator.connect()
            await actuator.beat(RUNNING)
            wire.hold()
            await given_up(actuator.beat(RUNNING))
            await given_up(actuator.send(command(1)))
            wire.cut()  # as where the line's computer loses its power
            await until(lambda: plc.states[-1][0]["state"] == "safe")
            assert plc.states[-1][0]["reason"] == "the line's connection to the broker was lost"
            assert plc.ids == []
            await actuator.close()

    run(body())


def test_a_session_that_is_given_up_leaves_its_will(shared: Broker) -> None:
    """Else what is retained says ``running`` for as long as no new one comes about."""

    async def body() -> None:
        async with JsonPlc(shared.port) as plc:
            actuator = link(shared.port)
            await actuator.connect()
            await actuator.beat(RUNNING)
            before, plc.silent = len(plc.states), True
            await given_up(actuator.connect(), lambda: len(plc.states) > before + 1)
            reasons = [state["reason"] for state, _ in plc.states[before:]]
            assert reasons[0] == "the line's connection to the broker was lost"
            await actuator.close()

    run(body())


def test_a_server_that_says_nothing_is_given_up() -> None:
    async def body(port: int) -> None:
        actuator = link(port)
        for _ in range(2):
            await given_up(actuator.connect())
        with pytest.raises(LinkError, match="not connected"):
            await actuator.send(command(1))
        await actuator.close()

    with mute_server() as port:
        run(body(port))


def test_a_silent_peer_is_given_up_and_the_link_stays_usable(shared: Broker) -> None:
    async def body() -> None:
        async with JsonPlc(shared.port) as plc:
            actuator = link(shared.port)
            plc.silent = True
            # The broker alone is not enough.
            await given_up(actuator.connect(), lambda: plc.beats)
            plc.silent = False
            await actuator.connect()
            plc.silent = True
            await given_up(actuator.send(command(1)), lambda: plc.ids)
            await given_up(actuator.beat(RUNNING))
            plc.silent = False
            await actuator.beat(RUNNING)
            await actuator.send(command(2))
            await actuator.close()
            assert plc.ids == ["run1-1", "run1-2"]

    run(body())


@pytest.mark.parametrize(
    ("topic", "payload", "said"),
    [
        ("ack", b"\xff\xfe", "is unreadable"),
        ("ack", b"[" * 5000, "is unreadable"),
        ("ack", b"[1]", "expected a JSON object"),
        ("ack", b'{"id": 7}', "expected a command's id, got 7"),
        ("ack", b'{"id": "x", "outcome": "gone"}', "expected one of fired, late, duplicate"),
        ("ack", b'{"id": "x", "outcome": "late", "raw_count": 1e3}', "raw_count as an integer"),
        ("beat/ack", b'{"beat": true}', "expected beat 2 or an earlier one, got True"),
        ("beat/ack", b'{"beat": 99}', "expected beat 2 or an earlier one, got 99"),
        ("beat/ack", b"9" * 5000, "is unreadable"),
    ],
)
def test_unreadable_answers_end_what_waits(
    topic: str, payload: bytes, said: str, shared: Broker
) -> None:
    async def body() -> None:
        async with JsonPlc(shared.port) as plc:
            actuator = link(shared.port)
            await actuator.connect()
            plc.silent = True
            beat = asyncio.create_task(actuator.beat(RUNNING))
            await until(lambda: len(plc.beats) == 2)
            await plc.say(topic, payload)
            with pytest.raises(LinkError, match=said):
                await beat
            await actuator.close()

    run(body())


def test_retained_and_foreign_answers_answer_nothing(shared: Broker) -> None:
    async def body() -> None:
        async with JsonPlc(shared.port) as plc:
            await plc.say("beat/ack", b'{"beat": 1}', retain=True)
            plc.silent = True
            actuator = link(shared.port)
            # Its first beat is number 1.
            await given_up(actuator.connect(), lambda: plc.beats)
            plc.silent = False
            await plc.say("beat/ack", b"", retain=True)
            await actuator.connect()
            await plc.say("ack", b'{"id": "another-lines-command"}')
            await actuator.send(command(1))
            await actuator.close()

    run(body())


def test_a_wrong_password_is_told_and_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = shutil.which("mosquitto_passwd") or pytest.skip("mosquitto_passwd is not installed")
    passwords = tmp_path / "passwords"
    subprocess.run([program, "-c", "-b", str(passwords), "line", "correct horse"], check=True)
    rights = tmp_path / "rights"
    rights.write_text(f"user line\ntopic {ROOT}/#\n", encoding="utf-8")
    lines = ("allow_anonymous false", f"password_file {passwords}", f"acl_file {rights}")

    async def body(port: int) -> None:
        monkeypatch.setenv("LINE_PASSWORD", "battery staple")
        actuator = link(port, user="line", password_env="LINE_PASSWORD")
        with pytest.raises(LinkError, match=r"refuses user 'line': .*check user and") as caught:
            await actuator.connect()
        shown = f"{caught.value!r} {caught.value.__cause__!r} {actuator._settings!r}"
        assert "staple" not in shown
        with pytest.raises(LinkError, match="refuses user None"):
            await link(port).connect()
        secret = tmp_path / "secret"
        secret.write_text("correct horse\n", encoding="utf-8")
        actuator = link(port, user="line", password_file=str(secret))
        async with JsonPlc(port, username="line", password="correct horse"):
            await actuator.connect()
            await actuator.close()

    with broker(tmp_path, *lines) as made:
        run(body(made.port))


def certificate(folder: Path, name: str, host: str) -> tuple[Path, Path]:
    program = shutil.which("openssl") or pytest.skip("openssl is not installed")
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        [program, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}",
         "-out", str(cert), "-keyout", str(key)],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


def test_tls_checks_who_signed_and_for_whom(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path, "right", "localhost")
    other, _ = certificate(tmp_path, "other", "localhost")
    elsewhere, its_key = certificate(tmp_path, "elsewhere", "plant.example")

    def made(port: int, ca: Path) -> MqttActuator:
        return link(port, host="localhost", tls={"ca_file": str(ca)})

    async def body(port: int, second: int) -> None:
        with pytest.raises(LinkError, match=r"signed by .*other.pem, got: CERTIFICATE_VERIFY_FAIL"):
            await made(port, other).connect()
        with pytest.raises(LinkError, match="expected a certificate for 'localhost'"):
            await made(second, elsewhere).connect()
        actuator = made(port, cert)
        async with JsonPlc(
            port, tls_context=ssl.create_default_context(cafile=cert), hostname="localhost"
        ):
            await actuator.connect()
            await actuator.send(command(1))
            await actuator.close()

    def lines(cert: Path, key: Path) -> tuple[str, ...]:
        return "allow_anonymous true", f"certfile {cert}", f"keyfile {key}"

    first, second = lines(cert, key), lines(elsewhere, its_key)
    with broker(tmp_path, *first) as one, broker(tmp_path, *second) as two:
        run(body(one.port, two.port))


def test_a_subscription_that_the_broker_refuses() -> None:
    """By hand: mosquitto 2.0 grants every subscription, and drops what may not pass."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.read(1024):  # nothing comes from the probe
            writer.write(bytes.fromhex("20020000"))  # CONNACK: accepted
            subscribe = await reader.read(1024)
            writer.write(bytes.fromhex("9004") + subscribe[2:4] + bytes.fromhex("8001"))  # SUBACK
            await reader.read(1024)
        writer.transport.abort()

    async def body() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        actuator = link(server.sockets[0].getsockname()[1])
        with pytest.raises(LinkError, match=f"does not let user None read {ROOT}/ack"):
            await actuator.connect()
        await actuator.close()
        server.close()
        await asyncio.sleep(0.01)

    run(body())


def test_settings_name_what_is_wrong(tmp_path: Path) -> None:
    for settings, said in (
        ({"topic": "a/#"}, "topic: .*pattern"),
        ({"broker": {"password": "x"}}, "unknown key 'broker.password'; did you mean"),
        ({"broker": {"user": "a", "password_env": "A", "password_file": "b"}}, "not both"),
        ({"broker": {"password_env": "A"}}, "a password needs user beside it"),
        ({"broker": {"tls": {"key_file": "a"}}}, "key_file needs cert_file"),
    ):
        with pytest.raises(ConfigError, match=said):
            load_config(MqttSettings, base=settings)


def test_passwords_that_are_not_there(tmp_path: Path) -> None:
    asked = BrokerSettings(user="line", password_env="NOT_SET")
    with pytest.raises(ConfigError, match=r"NOT_SET \(password_env\): expected the password"):
        read_password(asked, {})
    assert read_password(asked, {"NOT_SET": "a"}) == "a"
    assert read_password(BrokerSettings()) is None
    empty = tmp_path / "empty"
    empty.write_text("\n", encoding="utf-8")
    for path in (empty, tmp_path / "none"):
        with pytest.raises(ConfigError, match=r"\(password_file\): expected the password"):
            read_password(BrokerSettings(user="line", password_file=path))
    with pytest.raises(ConfigError, match=r"tls.ca_file .*not readable as PEM"):
        settings = BrokerSettings(tls=TlsSettings(ca_file=empty))
        MqttActuator(MqttSettings(broker=settings))


def test_what_is_remembered_is_bounded() -> None:
    taken = Taken()
    for number in range(10_010):
        taken.add(str(number), "fired")
    assert "9" not in taken and "10" in taken
    assert taken.known(["10", "10009"]) == frozenset({"10", "10009"})
    assert [one.command_id for one in taken.drain()][::9999] == ["10", "10009"]
    assert taken.drain() == ()
