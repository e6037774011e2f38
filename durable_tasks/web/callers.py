"""Callers: who asks, found by the application's own hook before anything else of a request is read.

It must not know how somebody proves who they are.
"""

from typing import Literal

from starlette.requests import Request

from durable_tasks.access import Authenticate
from durable_tasks.app import DurableTasks
from durable_tasks.errors import ConfigurationError
from durable_tasks.identity.authenticator import authenticator
from durable_tasks.identity.local import Local
from durable_tasks.operations.operation import Caller

Authentication = Authenticate | Literal["none"]
"""The hook, or "none": whoever reaches this machine is its administrator."""


class Callers:
    """Finds the caller of a request; a dependency for FastAPI."""

    def __init__(self, tasks: DurableTasks, authentication: Authentication | None) -> None:
        self._tasks = tasks
        self.authenticate = _hook(tasks, authentication)
        """The one hook, for surfaces that want no more than the Principal."""

    async def __call__(self, request: Request) -> Caller:
        """Raises Unauthenticated, Forbidden."""
        return Caller(self._tasks, await self.authenticate(request))


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
