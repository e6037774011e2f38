"""MCP over streamable HTTP: stateless, one JSON answer for each POST, as the principal that the caller has proved.

It must not know who proves what or how, nor HTTP's status codes.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from mcp.server.streamable_http_manager import DEFAULT_MAX_REQUEST_BODY_SIZE, StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from durable_tasks.access import Principal
from durable_tasks.errors import Closed, ConfigurationError
from durable_tasks.mcp_server.server import Context, Waiting, freely, mcp_server
from durable_tasks.operations.operation import Host

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
"""Names of this machine. A web page that has rebound its own name to this address is refused by them."""

_PRINCIPAL = "durable_tasks.principal"


class HttpEndpoint:
    """Serves requests while `running()` is entered."""

    def __init__(
        self,
        host: Host,
        *,
        hosts: Sequence[str] | None = LOOPBACK,
        origins: Sequence[str] | None = None,
        largest: int = DEFAULT_MAX_REQUEST_BODY_SIZE,
        waiting: Waiting = freely,
    ) -> None:
        """`hosts`: the names under which it is reached, on any port unless one is given; None: whichever. `origins`:
        of the web pages that may call it; without them those of `hosts`. `largest`: the bytes of a request.
        Raises ConfigurationError for origins without hosts."""
        self._server = mcp_server(host, _proved, waiting)
        self._security = _security(hosts, origins)
        self._largest = largest
        self._manager: StreamableHTTPSessionManager | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        manager = StreamableHTTPSessionManager(
            self._server,
            json_response=True,
            stateless=True,
            security_settings=self._security,
            max_request_body_size=self._largest,
        )
        up, over = asyncio.Event(), asyncio.Event()
        # A task of its own: the manager must be left by the task that entered it, and a lifespan need not be.
        runs = asyncio.create_task(_run(manager, up, over), name="durable_tasks mcp")
        runs.add_done_callback(lambda _: up.set())
        try:
            await up.wait()
            if runs.done():
                await runs  # it did not come up; this says why
            self._manager = manager
            yield
        finally:
            self._manager = None
            over.set()
            await runs

    async def serve(self, principal: Principal, scope: Scope, receive: Receive, send: Send) -> None:
        """One request of `principal`. Raises Closed when this is not running, and ClientDisconnect when whoever asks
        hangs up before all of it is there."""
        if self._manager is None:
            raise Closed("MCP is not running here; enter its lifespan first")
        await self._manager.handle_request({**scope, _PRINCIPAL: principal}, _whole(receive), send)


async def _run(manager: StreamableHTTPSessionManager, up: asyncio.Event, over: asyncio.Event) -> None:
    async with manager.run():
        up.set()
        await over.wait()


def _whole(receive: Receive) -> Receive:
    """The request, or ClientDisconnect: MCP takes half of one for an error of its own, and logs it as that."""
    is_whole = False

    async def received() -> Message:
        nonlocal is_whole
        message = await receive()
        if message["type"] == "http.disconnect" and not is_whole:
            raise ClientDisconnect
        is_whole = is_whole or not message.get("more_body", False)
        return message

    return received


def _proved(context: Context) -> Principal:
    principal: Principal = context.request.scope[_PRINCIPAL]  # type: ignore[union-attr]  # HTTP always has one
    return principal


def _security(hosts: Sequence[str] | None, origins: Sequence[str] | None) -> TransportSecuritySettings:
    if hosts is None:
        if origins is not None:
            raise ConfigurationError("origins are looked at only with hosts", setting="origins", value=origins)
        return TransportSecuritySettings(enable_dns_rebinding_protection=False)
    return TransportSecuritySettings(
        allowed_hosts=[address for name in hosts for address in _any_port(name)],
        allowed_origins=list(origins) if origins is not None else _origins_of(hosts),
    )


def _any_port(name: str) -> tuple[str, ...]:
    has_port = ":" in name.rpartition("]")[2]
    return (name,) if has_port else (name, f"{name}:*")


def _origins_of(hosts: Sequence[str]) -> list[str]:
    return [f"{scheme}://{name}" for host in hosts for name in _any_port(host) for scheme in ("http", "https")]
