"""Agents: the place /mcp of the application, where MCP answers. It is loaded when the application first starts.

It must not know MCP: without its package there is nothing at the place but a word on what to install.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from durable_tasks.access import Principal
from durable_tasks.app import DurableTasks
from durable_tasks.errors import Closed, Conflict
from durable_tasks.web.callers import Proving
from durable_tasks.web.leaving import Leaving, Looks
from durable_tasks.web.problems import Refusal, caller_left, nothing_here
from durable_tasks.web.waits import Waits

log = logging.getLogger("durable_tasks.web")

PATH = "/mcp"
MISSING = "MCP is not served here; where the server runs: pip install 'durable-tasks[mcp]'"


class Agents:
    """MCP of one application, for whoever `authenticate` believes."""

    def __init__(self, tasks: DurableTasks, authenticate: Proving, waits: Waits) -> None:
        self._tasks = tasks
        self._authenticate = authenticate
        self._waits = waits
        self._looks = Looks()
        self._app: ASGIApp = _closed
        self.route = Route(PATH, self, methods=["POST"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While agents are answered."""
        async with AsyncExitStack() as entered:
            self._app = await entered.enter_async_context(self._served()) if available() else _missing
            try:
                yield
            finally:
                self._app = _closed

    @asynccontextmanager
    async def _served(self) -> AsyncIterator[ASGIApp]:
        from durable_tasks.mcp_server.http import HttpEndpoint
        from durable_tasks.web.mcp import Guarded

        # Any Host: a page that rebinds its name to this machine has no proof of who it is. Where settings ask for
        # none that it could not write, identity.pages looks at Host and Origin; a hook of one's own has to itself.
        endpoint = HttpEndpoint(self._tasks, hosts=None, largest=self._tasks.settings.max_body, waiting=self._waiting)
        async with endpoint.running():
            yield Guarded(endpoint, self._authenticate)

    @asynccontextmanager
    async def _waiting(self, principal: Principal, request: Request) -> AsyncIterator[None]:
        try:
            async with self._waits.waiting(principal):
                with Leaving(request, self._looks) as leaving:
                    yield
                if leaving.gone:
                    raise caller_left()
        except Refusal as error:  # one that only HTTP knows; a tool refuses in its own way
            raise Conflict(error.detail) from error


def available() -> bool:
    """Whether MCP can be loaded. If so it is."""
    try:
        # Loaded only here, and by what runs: it takes most of a second.
        import durable_tasks.web.mcp  # noqa: F401
    except ImportError as error:  # there is none, or another release, which the application needs for something else
        log.info("MCP is not served", extra={"error": str(error)})
        return False
    return True


async def _closed(scope: Scope, receive: Receive, send: Send) -> None:
    raise Closed("MCP is not served before the lifespan is entered")


async def _missing(scope: Scope, receive: Receive, send: Send) -> None:
    raise nothing_here(MISSING)
