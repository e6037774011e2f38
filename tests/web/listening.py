"""Listening to live events: an application to serve, a real server, and a client as a browser is one.

It must not know what is tested.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import httpx
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from durable_tasks import DurableTasks, Event, errors
from durable_tasks.access import Principal, Role
from durable_tasks.operations.operation import Caller
from durable_tasks.web.live import Live, live_routes

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
        headers = {"x-org": self._org, **({} if self.last_id is None else {"last-event-id": self.last_id})}
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


def application(tasks: DurableTasks, live: Live) -> FastAPI:
    """Only what streams need; who asks is said by headers."""
    app = FastAPI()

    async def caller_of(request: Request) -> Caller:
        roles = frozenset(Role[name] for name in request.headers.get("x-roles", "VIEWER").split(",") if name)
        return Caller(tasks, Principal(org=request.headers["x-org"], subject="ann", roles=roles))

    async def refuse(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, errors.DurableTasksError)
        status = {errors.NotFound: 404, errors.Forbidden: 403}[type(error)]
        return JSONResponse({"code": error.code}, status_code=status)

    app.add_exception_handler(errors.DurableTasksError, refuse)
    app.include_router(live_routes(live, caller_of))
    return app


class Server(uvicorn.Server):
    """Ends its streams before it waits for them."""

    def __init__(self, config: uvicorn.Config, live: Live) -> None:
        super().__init__(config)
        self._live = live

    def stop(self) -> None:
        self._live.close()
        self.should_exit = True


def config(app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=2)


@asynccontextmanager
async def served(app: FastAPI, live: Live, *, send_buffer: int | None = None) -> AsyncIterator[tuple[Server, str]]:
    """The application on a free port of this machine: the server, and its address."""
    listening = socket.create_server(("127.0.0.1", 0))
    if send_buffer is not None:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)  # accepted sockets inherit it
    server = Server(config(app), live)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield server, f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.stop()
        async with asyncio.timeout(DEADLINE):
            await serving


async def spin_until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until the condition holds."""
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110 (what is waited for has no event)
            await asyncio.sleep(0)
