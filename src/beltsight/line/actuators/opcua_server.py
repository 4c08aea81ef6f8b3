"""A link that a PLC reads: this side is the OPC UA server."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import socket
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from pydantic import Field, model_validator

from beltsight.errors import LinkError, MissingExtraError
from beltsight.line.actuators.opcua_link import RingLink
from beltsight.line.actuators.opcua_space import (
    OpcUaSettings,
    OpcUaSpace,
    quiet_library,
    variables,
)

if TYPE_CHECKING:
    from asyncua.server.server import Server


class OpcUaServerSettings(OpcUaSettings):
    """This side's OPC UA server.

    Args:
        kind: ``opcua-server``.
        host: address to listen on; others than this machine's own need a user or certificates.
        port: to listen on.
        path: of the endpoint's URL.
        trusted: certificates of clients; where there are any, no other may connect.
    """

    kind: Literal["opcua-server"] = "opcua-server"
    host: str = Field("127.0.0.1", min_length=1)
    port: int = Field(4840, ge=1, le=65_535)
    path: str = Field("/beltsight/", pattern=r"^/[\w/.-]*$")
    trusted: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _open_to_known_peers_only(self) -> Self:
        self.check_login()
        if self.trusted and self.security == "none":
            raise ValueError("'trusted' certificates are checked with security sign or encrypt")
        if self.user is None and not self.trusted and not _is_loopback(self.host):
            raise ValueError(
                f"listening on {self.host} anybody on the network could write to the line; set "
                "'user' and 'password', or 'security' and 'trusted', or the host 127.0.0.1"
            )
        if self.user is not None and self.security == "none" and not _is_loopback(self.host):
            raise ValueError("a password would go over the network in the clear; set 'security'")
        return self

    @property
    def url(self) -> str:
        """Where a PLC finds it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"opc.tcp://{host}:{self.port}{self.path}"


class LocalNodes:
    """The space in a server of this process, by name.

    Args:
        settings: of the server.
        plc_is_client: whether clients write the PLC's part of the space, or the host's.

    Raises:
        MissingExtraError: asyncua is not installed.
    """

    def __init__(self, settings: OpcUaServerSettings, *, plc_is_client: bool = True) -> None:
        try:
            import asyncua  # noqa: F401
        except ImportError as error:
            raise MissingExtraError("the OPC UA link", "industrial") from error
        quiet_library()
        self.settings = settings
        self._kinds = {one.name: one.kind for one in variables(settings.slots)}
        self._space = OpcUaSpace(settings.namespace, settings.slots, plc_is_client=plc_is_client)
        self._server: Server | None = None
        self._starting: asyncio.Task[Server] | None = None

    async def open(self) -> None:
        """Listen; nothing happens where it listens already.

        Raises:
            LinkError: the port is taken, or a certificate cannot be read.
        """
        starting = self._starting
        # One that was ready after the last attempt gave up serves this one: it holds the port.
        if starting is None or (starting.done() and starting.exception() is not None):
            starting = self._starting = asyncio.create_task(self._start())
        # Building the space takes about a second, longer than a connection may take.
        self._server = await asyncio.shield(starting)

    async def close(self) -> None:
        """Stop listening."""
        starting, self._starting, self._server = self._starting, None, None
        if starting is None:
            return
        try:
            server = await starting
            await server.stop()
        except Exception:  # noqa: S110 - it never listened, or is given up in any case
            pass

    async def read(self, names: Iterable[str]) -> dict[str, Any]:
        """Values by name; see :class:`beltsight.line.actuators.opcua_ring.Nodes`."""
        server, found = self._listening(), {}
        for name in names:
            value = server.iserver.read_attribute_value(self._space.ids[name]).Value
            found[name] = value.Value if value is not None else None
            if not isinstance(found[name], str | int | float):
                raise LinkError(f"{self.settings.url}: a client has emptied {name}")
        return found

    async def write(self, values: Mapping[str, Any]) -> None:
        """Write values by name, in this order."""
        server = self._listening()
        for name, value in values.items():
            data = self._space.data(self._kinds[name], value)
            await server.iserver.write_attribute_value(self._space.ids[name], data)

    def _listening(self) -> Server:
        if self._server is None:
            raise LinkError(f"{self.settings.url}: not listening")
        return self._server

    async def _start(self) -> Server:
        from asyncua.server.server import Server

        settings = self.settings
        try:
            server = Server(user_manager=cast(Any, await _Users.of(settings)))
            # What can be wrong comes first: building the space takes a second.
            _check_port(settings.host, settings.port)
            await self._secure(server)
            server.disable_clock()  # its task would hold up the end by a second
            await server.init()
            await server.set_application_uri(settings.application_uri)
            server.set_endpoint(settings.url)
            server.set_server_name("Beltsight")
            await self._space.build(server)
            await server.start()
        except Exception as error:
            said = str(error) or type(error).__name__
            raise LinkError(f"{settings.url}: cannot listen: {said}") from error
        return server

    async def _secure(self, server: Server) -> None:
        from asyncua import ua

        settings = self.settings
        policies = {"none": ua.SecurityPolicyType.NoSecurity,
                    "sign": ua.SecurityPolicyType.Basic256Sha256_Sign,
                    "encrypt": ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt}  # fmt: skip
        server.set_security_policy([policies[settings.security]])
        tokens = [ua.AnonymousIdentityToken if settings.user is None else ua.UserNameIdentityToken]
        server.set_identity_tokens(list(tokens))
        if settings.certificate is not None and settings.private_key is not None:
            await server.load_certificate(settings.certificate)
            await server.load_private_key(settings.private_key)


class OpcUaServer(RingLink):
    """Holds the space for a PLC that reads commands and writes its beat and acknowledgements.

    The server goes on between connections: to connect means that a PLC beats.

    Args:
        settings: of the link.

    Raises:
        MissingExtraError: asyncua is not installed.
    """

    def __init__(self, settings: OpcUaServerSettings) -> None:
        super().__init__(settings, LocalNodes(settings), confirms=True)
        self.settings = settings


class _Users:
    """Who may log in: those with the password, over a channel with a trusted certificate."""

    def __init__(self, settings: OpcUaServerSettings, trusted: frozenset[bytes]) -> None:
        self._settings = settings
        self._trusted = trusted

    @classmethod
    async def of(cls, settings: OpcUaServerSettings) -> _Users:
        """Reads the trusted certificates."""
        from asyncua.crypto import uacrypto
        from cryptography.hazmat.primitives.serialization import Encoding

        certificates = [await uacrypto.load_certificate(path) for path in settings.trusted]
        return cls(settings, frozenset(one.public_bytes(Encoding.DER) for one in certificates))

    def get_user(
        self,
        iserver: Any,
        username: str | None = None,
        password: str | None = None,
        certificate: bytes | None = None,
    ) -> Any:
        """A user without rights over the space's form, or None.

        The certificate is the channel's own, whose key the client has shown to hold.
        """
        from asyncua.crypto.permission_rules import User, UserRole

        wanted = self._settings
        if self._trusted and certificate not in self._trusted:
            return None
        if wanted.user is not None and wanted.password is not None:
            secret = wanted.password.get_secret_value()
            same_user = hmac.compare_digest((username or "").encode(), wanted.user.encode())
            same_word = hmac.compare_digest((password or "").encode(), secret.encode())
            if not (same_user and same_word):
                return None
        return User(role=UserRole.User, name=username or "plc")


def _check_port(host: str, port: int) -> None:
    """Raises OSError where the server could not listen."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as asyncio's servers do
        trial.bind(address)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
