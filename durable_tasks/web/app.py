"""The application: operations, MCP, health and all else that HTTP offers, under one ASGI callable.

It must not know the application that it may be mounted in, nor the server that runs it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from durable_tasks.app import DurableTasks
from durable_tasks.web.agents import Agents
from durable_tasks.web.callers import Authentication, Callers
from durable_tasks.web.classic import classic_routes
from durable_tasks.web.dashboard import BUILT, Dashboard
from durable_tasks.web.document import complete
from durable_tasks.web.envelope import Envelope
from durable_tasks.web.health import health_routes
from durable_tasks.web.live import Live, live_routes
from durable_tasks.web.metrics import Scrapes
from durable_tasks.web.problems import handle_problems
from durable_tasks.web.reading import document_routes
from durable_tasks.web.routes import operation_routes
from durable_tasks.web.shares import Shares
from durable_tasks.web.sites import Sites
from durable_tasks.web.stopping import told_to_stop
from durable_tasks.web.visit import Visits
from durable_tasks.web.waits import Waits

DESCRIPTION = "Durable tasks: create them, claim them, work on them, watch them. Errors are problem details (RFC 9457)."


class Api(FastAPI):
    """The ASGI application of one DurableTasks. Mounted elsewhere it does not start it: `tasks.lifespan` does."""

    def __init__(self, tasks: DurableTasks, authentication: Authentication | None, *, dashboard: Path = BUILT) -> None:
        super().__init__(
            title="durable_tasks",
            version="1",
            description=DESCRIPTION,
            lifespan=tasks.lifespan,
            redirect_slashes=False,
            openapi_url=None,  # made anew for every request, whoever asks
            docs_url=None,  # FastAPI's own page would run another host's script beside the dashboard
            redoc_url=None,
        )
        self.state.durable_tasks = tasks
        shares = Shares(tasks.settings, tasks.clock)
        self._waits, self.live = Waits(shares.long_most, shares.resting), Live(tasks, shares.long_most)
        caller_of = Callers(tasks, authentication)
        scrapes, agents = Scrapes(tasks, caller_of), Agents(tasks, caller_of.authenticate, self._waits)
        self.add_middleware(Sites)
        self.add_middleware(Visits, shares=shares)
        self.add_middleware(
            Envelope, largest=tasks.settings.max_body, make_id=tasks.ids.token, steady=tasks.clock.steady
        )
        handle_problems(self)
        # Their own routes, not the routers: an included one is looked through twice for every request.
        for router in (
            operation_routes(caller_of, self._waits),
            live_routes(self.live, caller_of),
            classic_routes(tasks, caller_of),
            health_routes(tasks),
            scrapes.router,
        ):
            self.router.routes += router.routes
        self.router.routes += [*document_routes(self.openapi), agents.route, *Dashboard(dashboard).routes]
        tasks.surfaces += [agents.running, self.running, self.live.running, scrapes.running]

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = complete(super().openapi())
        return self.openapi_schema

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """What is open while the DurableTasks runs, until whoever serves it is told to stop."""
        self._waits.open()
        try:
            with told_to_stop(self.leave):
                yield
        finally:
            self.leave()

    def leave(self) -> None:
        """Answer whatever is kept open: a server waits for its connections before it stops. Idempotent."""
        self._waits.close()
        self.live.close()


def create_app(tasks: DurableTasks, *, authenticate: Authentication | None = None) -> Api:
    """The HTTP API as an ASGI application: /v1, /api/tasks, /healthz, /readyz, /metrics, /openapi.json,
    /docs; MCP at /mcp, for the same callers; and the dashboard at /dashboard.

    `authenticate` says who asks; "none" makes everybody on this machine the administrator of `TASKS_ORG`.
    Raises ConfigurationError without either."""
    return Api(tasks, authenticate)
