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
AT_ONCE = 0.0


class ClockWheel:
    """One task that sleeps until the next instant. A commit with an earlier one wakes it; the store is asked
    only when an instant has come, or somebody else has changed the file."""

    def __init__(self, expire: Callable[[], Awaitable[tuple[int, float | None]]], clock: Clock) -> None:
        self._expire = expire
        self._clock = clock
        self._until: float | None = AT_ONCE
        self._sooner = asyncio.Event()

    def heed(self, notice: Notice) -> None:
        self._expect(AT_ONCE if notice.foreign else notice.due)

    def _expect(self, instant: float | None) -> None:
        if instant is not None and (self._until is None or instant < self._until):
            self._until = instant
            self._sooner.set()

    async def turn(self) -> None:
        """Run until cancelled. Begun again after an unforeseen error, it asks at once."""
        self._until = AT_ONCE
        while True:
            self._sooner.clear()
            if await self._clock.wait(self._sooner, self._until):
                continue
            self._until = None  # what commits announce while the store is asked must not be lost
            try:
                self._expect(await self._next())
            except StoreError as error:
                log.warning("the clock could not do what is due", extra={"error": error.code, "said": error.message})
                self._expect(self._clock.now() + AFTER_ERROR)

    async def _next(self) -> float | None:
        while True:
            count, until = await self._expire()
            if count == 0:
                return until
