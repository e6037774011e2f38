"""Callers: who asks, found by the application's own hook before anything else of a request is read.

It must not know how somebody proves who they are.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal

from starlette.requests import Request

from durable_tasks.access import Authenticate, Principal
from durable_tasks.app import DurableTasks
from durable_tasks.errors import ConfigurationError, DurableTasksError, Unauthenticated
from durable_tasks.identity.authenticator import authenticator
from durable_tasks.identity.local import Local
from durable_tasks.operations.operation import Caller
from durable_tasks.web.visit import Visit

_PATIENCE = 10.0
"""Seconds that proving again may take, in which an answer stands still."""

Authentication = Authenticate | Literal["none"]
"""The hook, or "none": whoever reaches this machine is its administrator."""

Proving = Callable[[Request], Awaitable[Principal]]
"""Whose a request is, once it may be worked on. Raises Unauthenticated, Forbidden, RateLimited."""


class Callers:
    """Finds the caller of a request; a dependency for FastAPI."""

    def __init__(self, tasks: DurableTasks, authentication: Authentication | None) -> None:
        self._tasks = tasks
        self._hook = _hook(tasks, authentication)

    async def __call__(self, request: Request) -> Caller:
        """Raises Unauthenticated, Forbidden, RateLimited."""
        return Caller(self._tasks, await self.authenticate(request))

    async def authenticate(self, request: Request) -> Principal:
        """The same for surfaces that want no more than the Principal. It answers when it is the caller's turn."""
        visit = Visit.of(request.scope)
        try:
            principal = await self._hook(request)
        except Unauthenticated:
            await visit.disproved()
            raise
        await visit.proved(principal)
        return principal

    async def still(self, request: Request, principal: Principal) -> bool:
        """Whether what proved that a request is this principal's proves that now: for answers that go on and on."""
        try:
            async with asyncio.timeout(_PATIENCE):
                return await self._hook(request) == principal
        except (DurableTasksError, TimeoutError):
            return False


def _hook(tasks: DurableTasks, authentication: Authentication | None) -> Authenticate:
    """What the application gives; else what the settings ask for. Raises ConfigurationError when neither does."""
    given = tasks.settings.auth if authentication is None else authentication
    if given is None:
        raise ConfigurationError(
            "nothing says who may call; set TASKS_AUTH, or pass authenticate=…: a hook of your own, or"
            ' "none" on a machine of your own',
            setting="authenticate",
            value=None,
        )
    if given == "none":
        return Local(tasks.settings.org)
    return authenticator(tasks) if isinstance(given, str) else given
