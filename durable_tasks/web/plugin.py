"""The plugin: durable_tasks inside an application that somebody else wrote.

It must not know what the host does; of FastAPI and Starlette it only knows mounts and lifespans.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import HTTPConnection

from durable_tasks.app import DurableTasks
from durable_tasks.errors import ConfigurationError
from durable_tasks.web.app import Api, create_app
from durable_tasks.web.callers import Authentication

__all__ = ["create_app", "get_tasks", "install"]


def install(
    tasks: DurableTasks, app: Starlette, *, path: str = "/tasks", authenticate: Authentication | None = None
) -> Api:
    """Mount the API at `path` of a FastAPI or Starlette application, and start and stop `tasks` with it.

    The host's own lifespan runs inside: its tasks can be created there. Raises ConfigurationError."""
    if not path.startswith("/") or path.endswith("/"):
        raise ConfigurationError(
            f"path begins with a slash and does not end with one, unlike {path!r}", setting="path", value=path
        )
    api = create_app(tasks, authenticate=authenticate)
    app.mount(path, api)
    app.state.durable_tasks = tasks
    hosts = app.router.lifespan_context

    @asynccontextmanager
    async def both(host: Any) -> AsyncIterator[Any]:
        async with tasks.lifespan(host), hosts(host) as state:
            yield state

    app.router.lifespan_context = both
    return api


def get_tasks(within: Starlette | HTTPConnection) -> DurableTasks:
    """The DurableTasks of an application, or of the one that a request belongs to; with several, the last installed.

    Raises ConfigurationError when there is none."""
    app = within if isinstance(within, Starlette) else within.app
    tasks = getattr(app.state, "durable_tasks", None)
    if not isinstance(tasks, DurableTasks):
        raise ConfigurationError("no DurableTasks is installed in this application", setting="install", value=None)
    return tasks
