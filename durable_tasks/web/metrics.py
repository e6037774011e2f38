"""Metrics over HTTP, for operators of the application's own organisation: the numbers are of all organisations.

It must not know what is measured.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from durable_tasks.access import Role
from durable_tasks.app import DurableTasks
from durable_tasks.errors import Closed, Forbidden
from durable_tasks.operations.operation import Caller
from durable_tasks.telemetry.metrics import CONTENT_TYPE, Metrics
from durable_tasks.web.document import SECURITY, refused


class Scrapes:
    """What is counted while the DurableTasks runs, and who may see it."""

    def __init__(self, tasks: DurableTasks, caller_of: Callable[[Request], Awaitable[Caller]]) -> None:
        self._tasks = tasks
        self._metrics: Metrics | None = None
        self.router = APIRouter(tags=["health"])

        @self.router.get(
            "/metrics",
            operation_id="metrics",
            response_class=Response,
            responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **refused(401, 403, 500, 503)},
            openapi_extra={"security": SECURITY},
        )
        async def metrics(caller: Annotated[Caller, Depends(caller_of)]) -> Response:
            """How the whole application stands, for Prometheus; for operators of its own organisation."""
            return Response(await self._render(caller), media_type=CONTENT_TYPE)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        metrics = Metrics(self._tasks)
        with metrics.counting():
            self._metrics = metrics
            try:
                yield
            finally:
                self._metrics = None

    async def _render(self, caller: Caller) -> bytes:
        """Raises Forbidden, Closed, StoreError."""
        own = self._tasks.settings.org
        if not caller.principal.may(Role.OPERATOR) or caller.principal.org != own:
            raise Forbidden("metrics are for operators of the application's own organisation", role="operator")
        if self._metrics is None:
            raise Closed("nothing is counted before the lifespan is entered")
        return await self._metrics.render()
