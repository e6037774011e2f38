"""The clock wheel: wakes when the store's earliest instant comes, and has the store do what is due.

It must not know what is due: deadlines, leases, timeouts, backoffs and delays are one instant to it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from durable_tasks.errors import StoreError
from durable_tasks.ports import Clock, Notice

log = logging.getLogger("durable_tasks.engine")

AFTER_ERROR = 1.0


class ClockWheel:
    """One task that sleeps until the next instant. A commit with an earlier one wakes it."""

    def __init__(self, expire: Callable[[], Awaitable[tuple[int, float | None]]], clock: Clock) -> None:
        self._expire = expire
        self._clock = clock
        self._until: float | None = None
        self._sooner = asyncio.Event()

    def heed(self, notice: Notice) -> None:
        if notice.foreign or (notice.due is not None and (self._until is None or notice.due < self._until)):
            self._sooner.set()

    async def turn(self) -> None:
        """Run until cancelled."""
        while True:
            self._sooner.clear()
            try:
                self._until = await self._next()
            except StoreError as error:
                log.warning("the clock could not do what is due", extra={"error": error.code, "said": error.message})
                self._until = self._clock.now() + AFTER_ERROR
            await self._clock.wait(self._sooner, self._until)

    async def _next(self) -> float | None:
        while True:
            count, until = await self._expire()
            if count == 0:
                return until
