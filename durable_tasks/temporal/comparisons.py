"""Comparisons: the latest of each organisation, shared by all who ask for it within seconds.
They must not know what is compared, nor who asks.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from durable_tasks.errors import Closed
from durable_tasks.ports import Clock, Drift

_FRESH = 10.0
"""Seconds that one is good for: dashboards ask every few, and each comparison is dozens of calls to the server."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was found of one organisation, and in how many looks."""

    drift: list[Drift]
    compared: int


@dataclass(frozen=True, slots=True)
class _Made:
    until: float
    task: "asyncio.Task[Comparison]"


class Comparisons:
    """One of an organisation is made at a time. It goes on when who asked for it has given up: the next may use it."""

    def __init__(self, compare: Callable[[str], Awaitable[Comparison]], clock: Clock) -> None:
        self._compare = compare
        self._clock = clock
        self._made: dict[str, _Made] = {}

    async def of(self, org_id: str) -> Comparison:
        """Raises what comparing raises, and Closed when this is stopped meanwhile."""
        now = self._clock.steady()
        self._made = {org: made for org, made in self._made.items() if made.until > now or not made.task.done()}
        if org_id not in self._made:
            self._made[org_id] = _Made(now + _FRESH, self._begin(org_id))
        task = self._made[org_id].task
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise Closed("the Temporal engine is stopped") from None
            raise

    async def stop(self) -> None:
        """Give up those under way."""
        stopping, self._made = [made.task for made in self._made.values()], {}
        for task in stopping:
            task.cancel()
        await asyncio.gather(*stopping, return_exceptions=True)

    def _begin(self, org_id: str) -> "asyncio.Task[Comparison]":
        task = asyncio.create_task(self._make(org_id), name="temporal comparison")
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be waiting any more
        return task

    async def _make(self, org_id: str) -> Comparison:
        try:
            return await self._compare(org_id)
        except Exception:
            self._made.pop(org_id, None)  # a failure is for those who wait now: the next shall try again
            raise
