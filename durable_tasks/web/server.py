"""The server: uvicorn around the application, from the first connection to the last answer.

It must not know signals or the command line: whoever serves says when to stop.
"""

import asyncio
import math
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import uvicorn

from durable_tasks.app import DurableTasks
from durable_tasks.errors import ConfigurationError
from durable_tasks.identity import binding
from durable_tasks.settings import Settings
from durable_tasks.web.app import create_app
from durable_tasks.web.callers import Authentication
from durable_tasks.web.connections import Connection, Crowd
from durable_tasks.web.shares import connections

PORT = 8000
_BACKLOG = 2048
_DEAF = 30_000
"""Milliseconds."""
_UNSENT = 32_768
"""Bytes of an answer that the kernel takes before it can send them: of the rest it is seen how fast it is taken."""
_TICKS = 10
"""Tenths of a second between two looks at who says nothing."""


class Server(uvicorn.Server):
    """One that says when it is up, holds silence against nobody but who is silent, and has open answers ended when it
    stops: it would wait for them for ever."""

    def __init__(self, config: uvicorn.Config, leave: Callable[[], None]) -> None:
        self._crowd = Crowd(connections())
        config.backlog = min(_BACKLOG, self._crowd.burst)  # also what asyncio accepts at one go
        config.http = partial(Connection, self._crowd)  # type: ignore[assignment]  # it is only called
        super().__init__(config)
        self.up = asyncio.Event()
        self._leave = leave

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listening in sockets or ():
            listening.listen(_BACKLOG)
        self.up.set()

    async def on_tick(self, counter: int) -> bool:
        if counter % _TICKS == 0:
            self._crowd.sweep(asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._leave()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    tasks: DurableTasks,
    *,
    host: str = "127.0.0.1",
    port: int = PORT,
    authenticate: Authentication | None = None,
    stop: asyncio.Event,
) -> None:
    """Start `tasks` and serve it until `stop` is set. Raises what `serving` raises."""
    async with serving(tasks, host=host, port=port, authenticate=authenticate):
        await stop.wait()


@asynccontextmanager
async def serving(
    tasks: DurableTasks, *, host: str = "127.0.0.1", port: int | None = PORT, authenticate: Authentication | None = None
) -> AsyncIterator[str]:
    """Start `tasks` and serve it at the address that this gives, until the block ends. Port 0: any free one; None: the
    usual one, or any free one while that is taken.

    Without `authenticate` the setting `auth` says who may call; without both only this machine is served. Raises
    ConfigurationError for another host then, or when the address cannot be had; and what `tasks.start` raises."""
    if authenticate is None and tasks.settings.auth is None:
        authenticate = "none"
    check_binding(tasks.settings, host, authenticate)
    app = create_app(tasks, authenticate=authenticate)
    with await (_listen_somewhere(host) if port is None else _listen(host, port)) as listening:
        async with tasks.lifespan():
            config = uvicorn.Config(
                app,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # whoever connects would say himself at which address he is
                ws="none",
                timeout_graceful_shutdown=math.ceil(tasks.settings.shutdown_grace),
            )
            server = Server(config, app.leave)
            async with _running(server, listening):
                yield _url(host, listening.getsockname()[1])


def check_binding(settings: Settings, host: str, authenticate: Authentication | None) -> None:
    """Raises ConfigurationError when others could reach this without saying who they are."""
    if authenticate is None or authenticate == "none":
        binding.check_binding(settings if authenticate is None else settings.model_copy(update={"auth": "none"}), host)


async def _listen_somewhere(host: str) -> socket.socket:
    try:
        return await _listen(host, PORT)
    except ConfigurationError:
        return await _listen(host, 0)


async def _listen(host: str, port: int) -> socket.socket:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        # The protocol must be named: asyncio turns off Nagle's algorithm, 40 ms an answer, for sockets that say TCP.
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(_BACKLOG)
        except BaseException:
            listening.close()
            raise
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen at {_url(host, port)}: {error.strerror}; choose another", setting="port", value=port
        ) from error
    _see_the_deaf(listening)
    return listening


def _see_the_deaf(listening: socket.socket) -> None:
    """Have the kernel drop a connection whose other end takes nothing: closing one waits for what was sent to be taken,
    and stopping waits for that. And have it take no megabytes at a time: a slow reader would look like a deaf one.
    Accepted sockets inherit both."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAF)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@asynccontextmanager
async def _running(server: Server, listening: socket.socket) -> AsyncIterator[None]:
    serving = asyncio.create_task(server.serve(sockets=[listening]), name="durable_tasks http")
    up = asyncio.create_task(server.up.wait())
    try:
        await asyncio.wait({serving, up}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            await serving  # it did not come up; this says why
        yield
    finally:
        up.cancel()
        server.should_exit = True
        await serving
