"""A link that writes to a PLC's own OPC UA server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from beltsight.errors import LinkError, MissingExtraError
from beltsight.line.actuators.opcua_link import RingLink
from beltsight.line.actuators.opcua_space import OpcUaSettings, quiet_library, variables

if TYPE_CHECKING:
    from asyncua import ua
    from asyncua.client.client import Client

_REQUEST_S = 2.0
_SESSION_MS = 60_000  # a PLC has few sessions: it forgets those of a lost connection after that
_MOST_IN_REQUEST = 500  # nodes: small PLCs refuse larger ones


class OpcUaClientSettings(OpcUaSettings):
    """A PLC whose OPC UA server holds the space.

    Args:
        kind: ``opcua-client``.
        url: ``opc.tcp://host:port/path``; user and password do not belong into it.
        node_id: the nodes' ids; ``{namespace}`` is the index of ``namespace`` on that server,
            ``{name}`` a name such as ``Slots[3].Id``, ``{quoted}`` the same as Siemens writes it,
            ``"Slots"[3]."Id"``.
        nodes: ids of single names that do not follow ``node_id``.
        peer_certificate: the PLC's certificate; any other is refused. Needed unless security is
            none.
    """

    kind: Literal["opcua-client"] = "opcua-client"
    url: str = Field(pattern=r"^opc\.tcp://[^@\s]+$")
    node_id: str = Field("ns={namespace};s=Beltsight.{name}", min_length=1)
    nodes: dict[str, str] = Field(default_factory=dict)
    peer_certificate: str | None = None

    @model_validator(mode="after")
    def _login_is_whole(self) -> Self:
        self.check_login()
        if self.security != "none" and self.peer_certificate is None:
            raise ValueError(f"security {self.security!r} needs 'peer_certificate', the PLC's own")
        known = {variable.name for variable in variables(self.slots)}
        unknown = sorted(set(self.nodes) - known)
        if unknown:
            raise ValueError(f"'nodes' names {unknown[0]!r}, which is not in the space")
        return self

    def id_of(self, name: str, namespace: int) -> str:
        """The node id of a name.

        Example:
            >>> plc = OpcUaClientSettings(url="opc.tcp://plc:4840", node_id="ns=3;s={quoted}")
            >>> plc.id_of("Slots[3].Id", 2)
            'ns=3;s="Slots"[3]."Id"'
        """
        quoted = ".".join(
            f'"{part.partition("[")[0]}"{"".join(part.partition("[")[1:])}'
            for part in name.split(".")
        )
        template = self.nodes.get(name, self.node_id)
        return (
            template.replace("{namespace}", str(namespace))
            .replace("{name}", name)
            .replace("{quoted}", quoted)
        )


class RemoteNodes:
    """The space in another machine's server, by name.

    Raises:
        MissingExtraError: asyncua is not installed.
    """

    def __init__(self, settings: OpcUaClientSettings) -> None:
        try:
            import asyncua  # noqa: F401
        except ImportError as error:
            raise MissingExtraError("the OPC UA link", "industrial") from error
        quiet_library()
        self.settings = settings
        self._kinds = {one.name: one.kind for one in variables(settings.slots)}
        self._client: Client | None = None
        self._ids: dict[str, ua.NodeId] = {}
        self._dropping: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Log in, and check that every node is there with its type.

        Raises:
            LinkError: what is not as it should be.
        """
        from asyncua.client.client import Client

        self.drop()
        settings = self.settings
        client = Client(settings.url, timeout=_REQUEST_S, watchdog_intervall=3600.0)
        self._client = client
        client.application_uri = settings.application_uri
        client.session_timeout = _SESSION_MS
        if settings.user is not None and settings.password is not None:
            client.set_user(settings.user)
            client.set_password(settings.password.get_secret_value())
        try:
            await self._secure(client)
            await client.connect()
            namespaces = await client.get_namespace_array()
        except Exception as error:
            raise self._told("cannot be reached", error) from error
        if settings.namespace not in namespaces and self._needs_namespace():
            raise LinkError(
                f"{settings.url}: expected the namespace {settings.namespace!r}, the server has "
                f"{', '.join(namespaces)}; set 'namespace' or 'node_id'"
            )
        index = namespaces.index(settings.namespace) if settings.namespace in namespaces else 0
        await self._find_nodes(index)

    def drop(self) -> None:
        """Leave the connection to end by itself: a peer that hangs says no goodbye."""
        client, self._client = self._client, None
        if client is None:
            return
        task = asyncio.create_task(_disconnect(client))
        self._dropping.add(task)
        task.add_done_callback(self._dropping.discard)

    async def close(self) -> None:
        """End the connection and whatever is left of former ones."""
        self.drop()
        await asyncio.gather(*self._dropping, return_exceptions=True)

    async def read(self, names: Iterable[str]) -> dict[str, Any]:
        """Values by name; see :class:`beltsight.line.actuators.opcua_ring.Nodes`."""
        wanted = list(names)
        found = {}
        for name, answer in zip(wanted, await self._read(wanted), strict=True):
            found[name] = answer.Value.Value if answer.Value else None
            if not isinstance(found[name], str | int | float):
                raise LinkError(f"{self.settings.url}: {name} has no value any more")
        return found

    async def write(self, values: Mapping[str, Any]) -> None:
        """Write values by name; see :class:`beltsight.line.actuators.opcua_ring.Nodes`."""
        from asyncua import ua

        client = self._connected()
        items = list(values.items())
        for begin in range(0, len(items), _MOST_IN_REQUEST):
            part = items[begin : begin + _MOST_IN_REQUEST]
            # Without times: many PLCs refuse to be told them.
            data = [
                ua.DataValue(ua.Variant(value, ua.VariantType[self._kinds[name]]))
                for name, value in part
            ]
            try:
                answers = await client.uaclient.write_attributes(
                    [self._ids[name] for name, _ in part], data
                )
            except Exception as error:
                raise self._told("does not take what is written", error) from error
            for (name, _), status in zip(part, answers, strict=True):
                if not status.is_good():
                    raise LinkError(f"{self.settings.url}: {name} was not written: {status.name}")

    async def _read(self, names: list[str]) -> list[ua.DataValue]:
        from asyncua.ua.attribute_ids import AttributeIds

        client, answers = self._connected(), []
        for begin in range(0, len(names), _MOST_IN_REQUEST):
            ids = [self._ids[name] for name in names[begin : begin + _MOST_IN_REQUEST]]
            try:
                answers += await client.uaclient.read_attributes(ids, AttributeIds.Value)
            except Exception as error:
                raise self._told("does not answer", error) from error
        return answers

    async def _secure(self, client: Client) -> None:
        settings = self.settings
        if settings.security == "none":
            return
        from asyncua import ua
        from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256

        modes = {"sign": ua.MessageSecurityMode.Sign,
                 "encrypt": ua.MessageSecurityMode.SignAndEncrypt}  # fmt: skip
        await client.set_security(
            SecurityPolicyBasic256Sha256,
            str(settings.certificate),
            str(settings.private_key),
            server_certificate=str(settings.peer_certificate),
            mode=modes[settings.security],
        )

    def _needs_namespace(self) -> bool:
        return "{namespace}" in self.settings.node_id + "".join(self.settings.nodes.values())

    async def _find_nodes(self, namespace: int) -> None:
        from asyncua import ua

        ids = {name: self.settings.id_of(name, namespace) for name in self._kinds}
        try:
            self._ids = {name: ua.NodeId.from_string(text) for name, text in ids.items()}
        except Exception as error:
            raise self._told("has node ids of another form", error) from error
        names = list(self._kinds)
        wrong = []
        for name, answer in zip(names, await self._read(names), strict=True):
            if answer.StatusCode is not None and not answer.StatusCode.is_good():
                wrong.append(f"{ids[name]} is not there ({answer.StatusCode.name})")
            elif answer.Value is None or answer.Value.VariantType.name != self._kinds[name]:
                found = answer.Value.VariantType.name if answer.Value else "empty"
                wrong.append(f"{ids[name]} is {found}, expected {self._kinds[name]}")
        if wrong:
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            raise LinkError(f"{self.settings.url}: the node {wrong[0]}{more}")

    def _connected(self) -> Client:
        if self._client is None:
            raise LinkError(f"{self.settings.url}: not connected")
        return self._client

    def _told(self, what: str, error: Exception) -> LinkError:
        said = str(error) or type(error).__name__
        return LinkError(f"{self.settings.url}: the PLC {what}: {said}")


class OpcUaClient(RingLink):
    """Writes commands and beats into a PLC's server, and reads its answers.

    Args:
        settings: of the link.

    Raises:
        MissingExtraError: asyncua is not installed.
    """

    def __init__(self, settings: OpcUaClientSettings) -> None:
        super().__init__(settings, RemoteNodes(settings), confirms=False)
        self.settings = settings


async def _disconnect(client: Client) -> None:
    """End a connection's tasks and its socket, whatever state they are in."""
    try:
        async with asyncio.timeout(0.5):
            await client.disconnect()
    except Exception:  # noqa: S110 - it is given up in any case
        pass
    finally:
        protocol = client.uaclient.protocol
        if protocol is not None and protocol.transport is not None:
            protocol.transport.abort()
        client.disconnect_socket()
