"""Listening to live events: a real server, and a client as a browser is one.

It must not know what is tested.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import httpx
import uvicorn
from starlette.types import Message

from durable_tasks import Event
from durable_tasks.access import Role
from durable_tasks.web.app import Api
from durable_tasks.web.server import Server, _listen
from tests.web.asking import as_caller

DEADLINE = 30.0


class Heard(NamedTuple):
    """One event of a stream."""

    id: str
    kind: str
    event: Event


class Listener:
    """A client that comes back with its last id, as `EventSource` does."""

    def __init__(self, client: httpx.AsyncClient, path: str, *, after: int | None = None, org: str = "acme") -> None:
        self.heard: list[Heard] = []
        self.last_id: str | None = None
        self.opened = asyncio.Event()
        """Set when the server has said from where the stream goes on."""
        self.until: int | None = None
        """The number of the event after which it stops to listen."""
        self._client = client
        self._path = path if after is None else f"{path}?after={after}"
        self._org = org

    @property
    def numbers(self) -> list[int]:
        return [heard.event.seq for heard in self.heard]

    @property
    def satisfied(self) -> bool:
        return self.until is not None and bool(self.heard) and self.heard[-1].event.seq >= self.until

    async def listen(self, *, until: int | None = None) -> None:
        """Until the stream ends, or the event numbered `until` was heard. Raises httpx.TransportError."""
        self.until = until or self.until
        headers = as_caller(self._org, role=Role.VIEWER)
        if self.last_id is not None:
            headers["Last-Event-ID"] = self.last_id
        async with self._client.stream("GET", self._path, headers=headers, timeout=DEADLINE) as response:
            response.raise_for_status()
            fields: dict[str, str] = {}
            async for line in response.aiter_lines():
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                    continue
                self._dispatch(fields)
                fields = {}
                if self.satisfied:
                    return

    def _dispatch(self, fields: dict[str, str]) -> None:
        self.last_id = fields.get("id", self.last_id)
        self.opened.set()
        if "data" in fields:
            self.heard.append(Heard(fields["id"], fields["event"], Event.model_validate_json(fields["data"])))


class Tap:
    """The other end of one ASGI request, without a server: for what takes hours, and for the very bytes."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.ended = asyncio.Event()

    @property
    def heard(self) -> bytes:
        return b"".join(self.sent)

    async def get(self, app: Api, path: str, query: bytes = b"", *, org: str = "acme", **headers: str) -> None:
        """Ask, and take what is sent until the answer ends."""
        given = {
            **as_caller(org, role=Role.VIEWER),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": query,
                 "headers": [(name.lower().encode(), value.encode()) for name, value in given.items()],
                 "http_version": "1.1", "scheme": "http", "root_path": "",
                 "asgi": {"version": "3.0", "spec_version": "2.3"}}  # fmt: skip
        await app(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def _send(self, message: Message) -> None:
        self.sent.append(message.get("body", b""))
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self.ended.set()


@asynccontextmanager
async def served(app: Api, *, port: int = 0, send_buffer: int | None = None) -> AsyncIterator[tuple[Server, str]]:
    """The application, whose DurableTasks runs, on a port of this machine: the server, and its address."""
    listening = await _listen("127.0.0.1", port)
    if send_buffer is not None:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)  # accepted sockets inherit it
    config = uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=2)
    server = Server(config, app.leave)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        await server.up.wait()
        yield server, f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        async with asyncio.timeout(DEADLINE):
            await serving


async def spin_until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until the condition holds."""
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110 (what is waited for has no event)
            await asyncio.sleep(0)
