"""A session with an MQTT broker that can be cut off at any moment and leaves nothing behind.

aiomqtt is thin, and three of its ways are wrong for an actuator: paho connects in a thread that
cannot be cancelled, a connection that was given up keeps its socket, and a client that connects
again sends again what it still holds. So every session probes the broker first, drops its client
by force, and never uses one twice.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from beltsight.errors import ConfigError, LinkError, MissingExtraError
from beltsight.line.actuators.cancel import heed_cancel
from beltsight.strict import Strict

if TYPE_CHECKING:
    import aiomqtt

# The peer answers with a few dozen bytes; what waits beyond this is a flood and is dropped.
_MOST_WAITING = 1_000
_LARGEST_BYTES = 65_536
# Without it Python prints the library's complaints where no log is set up; they come as LinkError.
logging.getLogger("mqtt").addHandler(logging.NullHandler())


class TlsSettings(Strict):
    """Encryption. The broker's certificate and its host name are always checked.

    Args:
        ca_file: certificates that may sign the broker's (PEM); the system's by default.
        cert_file: this line's own certificate (PEM), where the broker asks for one.
        key_file: the key of ``cert_file``.
    """

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    @model_validator(mode="after")
    def _a_pair(self) -> Self:
        if self.key_file and not self.cert_file:
            raise ValueError("key_file needs cert_file beside it")
        return self


class BrokerSettings(Strict):
    """How to reach a broker. A password stands in no settings file: name where it is.

    Args:
        host: name or address; with ``tls`` the name that the broker's certificate is for.
        port: 1883, and by custom 8883 with ``tls``.
        user: the name to log in with.
        password_env: environment variable that holds the password.
        password_file: file whose first line is the password.
        tls: encryption; none by default.
        client_id: must differ from every other client's of the broker; a second one with the
            same name cuts the first off.
        keepalive_s: silence after which the broker takes the line for dead and publishes its
            will, at the latest after one and a half times this.
    """

    host: str = Field("127.0.0.1", min_length=1)
    port: int = Field(1883, ge=1, le=65535)
    user: str | None = None
    password_env: str | None = None
    password_file: Path | None = None
    tls: TlsSettings | None = None
    client_id: str | None = Field(None, min_length=1, max_length=64)
    keepalive_s: int = Field(5, ge=1, le=3600)

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        if self.password_env and self.password_file:
            raise ValueError("give password_env or password_file, not both")
        if (self.password_env or self.password_file) and not self.user:
            raise ValueError("a password needs user beside it")
        return self


def read_password(settings: BrokerSettings, env: Mapping[str, str] | None = None) -> str | None:
    """The password, or None where the settings name none. It is never part of a message.

    Raises:
        ConfigError: the variable is not set or empty, or the file cannot be read.
    """
    if settings.password_env:
        password = (os.environ if env is None else env).get(settings.password_env)
        where = f"environment variable {settings.password_env} (password_env)"
    elif settings.password_file:
        where = f"{settings.password_file} (password_file)"
        try:
            with settings.password_file.open(encoding="utf-8") as file:
                password = file.readline(4096).rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"{where}: expected the password in its first line: {error}"
            ) from error
    else:
        return None
    if not password:
        raise ConfigError(f"{where}: expected the password, found nothing; set it")
    return password


def check_broker(settings: BrokerSettings) -> None:
    """Whether all is there that a connection needs of this machine.

    Raises:
        MissingExtraError: aiomqtt is not installed.
        ConfigError: the password or a certificate file is missing.
    """
    try:
        import aiomqtt  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("a link over MQTT", "industrial") from error
    read_password(settings)
    if settings.tls:
        tls_context(settings.tls)


def tls_context(settings: TlsSettings) -> ssl.SSLContext:
    """A context that checks the broker's certificate and host name.

    Raises:
        ConfigError: a file is missing or holds no certificate or key.
    """
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"tls.ca_file {settings.ca_file}: not readable as PEM: {error}"
        ) from error
    if settings.cert_file:
        try:
            # An empty password: a locked key must fail here and not ask on the terminal.
            context.load_cert_chain(settings.cert_file, settings.key_file, password="")
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"tls.cert_file {settings.cert_file}: expected a certificate and, there or in "
                f"key_file, its key without a password (PEM): {error}"
            ) from error
    return context


@dataclass(frozen=True, slots=True)
class Note:
    """One message to or from the broker."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False


class Replies:
    """Who waits for which answer. An answer that none waits for is dropped."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    @asynccontextmanager
    async def expected(self, key: str) -> AsyncIterator[asyncio.Future[None]]:
        """Wait from here on: an answer may come before what it answers is known to be sent."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(key, [])
        waiting.append(future)
        try:
            yield future
        finally:
            waiting.remove(future)
            if not waiting:
                self._waiting.pop(key, None)
            if not future.cancel() and not future.cancelled():
                future.exception()  # looked at: the loop need not complain of it

    def take(self, key: str) -> None:
        """An answer came."""
        for future in self._waiting.get(key, ()):
            if not future.done():
                future.set_result(None)

    def fail(self, reason: str) -> None:
        """No answer will come, or one that nobody can read."""
        for waiting in self._waiting.values():
            for future in waiting:
                if not future.done():
                    future.set_exception(LinkError(reason))


class Session:
    """One connection to a broker, from connect to close; a new one for each attempt.

    Args:
        settings: the broker.
        label: who speaks, for messages, e.g. ``mqtt link 'plc'``.
        on_note: called in the loop with every message that came; what it raises as LinkError
            ends what waits in ``answers``.
    """

    def __init__(
        self, settings: BrokerSettings, label: str, on_note: Callable[[Note], Awaitable[None]]
    ) -> None:
        self._settings = settings
        self._place = f"{label} ({settings.host}:{settings.port})"
        self._on_note = on_note
        self._client: aiomqtt.Client | None = None
        self._reader: asyncio.Task[None] | None = None
        self._lost: str | None = None
        self.answers = Replies()

    @property
    def place(self) -> str:
        """Who speaks to which broker, for messages."""
        return self._place

    async def open(self, will: Note, topics: Sequence[tuple[str, int]]) -> None:
        """Connect and subscribe.

        Args:
            will: what the broker publishes when this connection dies.
            topics: topic and QoS of each subscription.

        Raises:
            LinkError: the broker is not there, refuses, or is not what its certificate should be.
            ConfigError: the password or a certificate file has gone since the start.
        """
        import aiomqtt

        tls = self._settings.tls
        # Reading the system's authorities takes long enough to hold up other links.
        context = await asyncio.to_thread(tls_context, tls) if tls else None
        password = read_password(self._settings)
        await self._probe(context)
        client = aiomqtt.Client(
            self._settings.host,
            self._settings.port,
            username=self._settings.user,
            password=password,
            identifier=self._settings.client_id,
            will=aiomqtt.Will(will.topic, will.payload, will.qos, will.retain),
            clean_session=True,  # the broker keeps nothing that it could deliver after a restart
            keepalive=self._settings.keepalive_s,
            tls_context=context,
            max_queued_incoming_messages=_MOST_WAITING,
            max_queued_outgoing_messages=_MOST_WAITING,
            max_inflight_messages=_MOST_WAITING,
            timeout=60,  # who calls sets the limit that counts
        )
        client.pending_calls_threshold = _MOST_WAITING
        try:
            await heed_cancel(client.__aenter__())
            granted = await heed_cancel(client.subscribe(list(topics)))
        except aiomqtt.MqttError as error:
            await _drop(client)
            raise LinkError(self._refused(error)) from error
        except BaseException:
            await _drop(client)
            raise
        if any(getattr(code, "value", code) >= 0x80 for code in granted):
            await _drop(client)
            raise LinkError(
                f"{self._place}: the broker does not let user {self._settings.user!r} read "
                f"{', '.join(topic for topic, _ in topics)}; allow it in the broker's access list"
            )
        self._client = client
        self._reader = asyncio.create_task(self._read(client), name=f"{self._place} reader")

    async def publish(self, note: Note) -> None:
        """Returns when the broker has it (QoS 1) or when it is written to the socket (QoS 0).

        Raises:
            LinkError: not connected, or the connection broke.
        """
        from aiomqtt import MqttError

        if self._client is None or self._lost:
            raise LinkError(f"{self._place}: {self._lost or 'not connected'}; connect again")
        try:
            sent = self._client.publish(note.topic, note.payload, note.qos, note.retain)
            await heed_cancel(sent)
        except (MqttError, ValueError, OSError) as error:
            raise LinkError(f"{self._place}: could not publish {note.topic}: {error}") from error

    async def close(self, last: Note | None = None) -> None:
        """Say good-bye where the connection still stands, then drop it whatever comes.

        Args:
            last: published before, since the broker keeps the will to itself after a good-bye.
        """
        client, reader = self._client, self._reader
        self._client = self._reader = None
        self.answers.fail(f"{self._place}: closed")
        if client is None:
            return
        try:
            if not self._lost:
                with suppress(Exception):
                    if last:
                        await client.publish(last.topic, last.payload, last.qos, last.retain)
                    await client.__aexit__(None, None, None)
        finally:
            if reader:
                reader.cancel()
            await _drop(client)

    async def give_up(self) -> None:
        """Drop the connection without a good-bye, so that the broker publishes the will."""
        client, reader = self._client, self._reader
        self._client = self._reader = None
        self.answers.fail(f"{self._place}: given up")
        if reader:
            reader.cancel()
        if client is not None:
            await _drop(client)

    async def _probe(self, context: ssl.SSLContext | None) -> None:
        """Connect and hang up: unlike paho's thread this can be cut off, and leaks no socket."""
        host, port = self._settings.host, self._settings.port
        try:
            _, writer = await asyncio.open_connection(host, port, ssl=context)
        except ssl.SSLError as error:
            raise LinkError(
                f"{self._place}: expected a certificate for {host!r} signed by "
                f"{self._settings.tls and (self._settings.tls.ca_file or 'a known authority')}, "
                f"got: {error.reason or error}; check tls.ca_file, host and port"
            ) from error
        except (OSError, UnicodeError) as error:  # the latter: what is no name of a host
            raise LinkError(
                f"{self._place}: no broker answers: {error}; is it running, and are host and port "
                "right?"
            ) from error
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()

    def _refused(self, error: Exception) -> str:
        code = getattr(error, "rc", None)
        if getattr(code, "value", code) in (4, 5, 134, 135):
            user = self._settings.user
            return (
                f"{self._place}: the broker refuses user {user!r}: {error}; check user and "
                "password (password_env or password_file)"
            )
        return f"{self._place}: expected an MQTT broker to accept the connection, got: {error}"

    async def _read(self, client: aiomqtt.Client) -> None:
        from aiomqtt import MqttError

        try:
            async for message in client.messages:
                # A retained answer belongs to the past: it would answer what nobody has asked yet.
                if message.retain or len(message.payload) > _LARGEST_BYTES:
                    continue
                try:
                    await self._on_note(Note(message.topic.value, bytes(message.payload)))
                except LinkError as error:
                    self.answers.fail(str(error))
        except MqttError as error:
            cause = error.__cause__ or error
            self._lost = f"the connection to the broker broke: {cause}"
            self.answers.fail(f"{self._place}: {self._lost}; connect again")


async def _drop(client: aiomqtt.Client) -> None:
    """Close the socket whatever state the client is in. paho has no public call that does."""
    paho = client._client

    def refuse(_client: object, _data: object, _socket: object) -> None:
        paho._sock_close()  # its thread was still connecting

    paho.on_socket_open = refuse
    try:
        await asyncio.sleep(0)  # let the loop register what paho has asked for, so it can undo it
    finally:
        paho._sock_close()
