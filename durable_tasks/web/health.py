"""Health: whether this process lives, and whether it can serve.

It must not know callers: whoever watches over the process has no identity here.
"""

import asyncio
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from durable_tasks.app import DurableTasks
from durable_tasks.errors import Closed, StoreError, StoreFull

_PATIENCE = 2.0
"""Seconds in which the file has to take a write: who waits longer than that is not ready."""


StoreState = Literal["writable", "busy", "full", "unusable", "closed"]


class Alive(BaseModel):
    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Temporal is shown, not judged: without it tasks are still taken, and most of them run. `failing`: parts of the
    process that have failed three times in a row, and are run again."""

    ready: bool
    store: StoreState
    temporal: Literal["off", "connected", "unreachable"]
    failing: tuple[str, ...] = ()


def health_routes(tasks: DurableTasks) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/healthz", operation_id="healthz")
    async def healthz() -> Alive:
        """Whether the process lives."""
        return Alive()

    @router.get("/readyz", operation_id="readyz", response_model=Readiness, responses={503: {"model": Readiness}})
    async def readyz() -> Response:
        """Whether the process can serve: its file is open and takes writes, and none of its parts keeps failing."""
        store, failing = await _store_state(tasks), tasks.parts.failing
        ready = store == "writable" and not failing
        found = Readiness(ready=ready, store=store, temporal=_temporal_state(tasks), failing=failing)
        return JSONResponse(found.model_dump(), status_code=200 if found.ready else 503)

    for path, endpoint in (("/healthz", healthz), ("/readyz", readyz)):
        router.add_api_route(path, endpoint, methods=["HEAD"], include_in_schema=False, response_model=None)
    return router


async def _store_state(tasks: DurableTasks) -> StoreState:
    try:
        async with asyncio.timeout(_PATIENCE):
            await tasks.store.probe()
    except Closed:
        return "closed"
    except TimeoutError:
        return "busy"
    except StoreFull:
        return "full"
    except StoreError:
        return "unusable"
    return "writable"


def _temporal_state(tasks: DurableTasks) -> Literal["off", "connected", "unreachable"]:
    if tasks.temporal is None:
        return "off"
    return "connected" if tasks.temporal.connected else "unreachable"
