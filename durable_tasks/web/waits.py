"""Waits: requests that are answered late. They are counted, and cut short when the server stops.

It must not know what they wait for.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext

from durable_tasks.access import Principal
from durable_tasks.errors import Closed
from durable_tasks.web.problems import too_many
from durable_tasks.web.shares import give_back, half


class Waits:
    """The waits of one application."""

    def __init__(self, most: int, resting: Callable[[str], AbstractContextManager[object]] = nullcontext) -> None:
        """`most`: waits of one organisation at a time, of which one caller may have half. `resting` is entered for it
        while one waits."""
        self._most = most
        self._resting = resting
        self._limits: set[asyncio.Timeout] = set()
        self._of: Counter[object] = Counter()
        self._closed = False

    def open(self) -> None:
        """Let requests wait again: an application may be started more than once."""
        self._closed = False

    def close(self) -> None:
        """Cut short all that wait, and any later one: a server cannot stop before it has answered. Idempotent."""
        self._closed = True
        now = asyncio.get_running_loop().time()
        for limit in self._limits:
            limit.reschedule(now)

    @asynccontextmanager
    async def waiting(self, principal: Principal) -> AsyncIterator[None]:
        """Raises Closed when the server stops meanwhile, Refusal when caller or organisation waits too often."""
        org_id, caller = principal.org, (principal.org, principal.subject)
        if self._closed:
            raise Closed("the server stops")
        if self._of[org_id] >= self._most:
            raise too_many(f"organisation {org_id!r} waits {self._most} times already; let some end first")
        if self._of[caller] >= half(self._most):
            raise too_many(f"{principal.subject!r} waits {half(self._most)} times already; let some end first")
        self._of.update((org_id, caller))
        try:
            async with asyncio.timeout(None) as limit:
                self._limits.add(limit)
                with self._resting(org_id):
                    yield
        except TimeoutError as error:
            raise Closed("the server stops") from error
        finally:
            self._limits.discard(limit)
            give_back(self._of, org_id, caller)
