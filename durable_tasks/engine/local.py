"""The local engine: fills the executor whenever a commit makes work ready or a slot becomes free.

It must not know Temporal; it is only told from when on Temporal's ready tasks may be begun here.
"""

import asyncio
import logging
import math
from typing import Protocol

from durable_tasks.errors import StoreError
from durable_tasks.executor.executor import Executor
from durable_tasks.ports import Clock, Notice

log = logging.getLogger("durable_tasks.engine")

FALLBACK_LOOK = 1.0
AFTER_ERROR = 1.0


class EngineStore(Protocol):
    """What the local engine needs of SQLite."""

    async def stopping(self) -> list[tuple[str, str]]: ...


class LocalEngine:
    """Picks ready work. With Temporal on it still begins, at once, what was ready when this process started or
    when another died, and later whatever Temporal has left lying for `fallback_after` seconds."""

    def __init__(
        self, store: EngineStore, executor: Executor, clock: Clock, *, temporal: bool, fallback_after: float | None
    ) -> None:
        self._store = store
        self._executor = executor
        self._clock = clock
        self._temporal = temporal
        self._fallback_after = fallback_after
        self._ready = asyncio.Event()
        self._recovered = clock.steady()
        self._dry_until = 0.0
        self._suspects_wait = False
        self._heard_of_suspects = False
        self.fall_back = True
        """Whether Temporal's tasks may be begun here at all."""
        executor.temporal_before = self._temporal_before
        executor.unfilled = self._ready.set

    def heed(self, notice: Notice) -> None:
        if notice.ready or notice.foreign:
            self._ready.set()
        if notice.suspects:
            self._heard_of_suspects = True
            if not self._suspects_wait:  # from now on it is looked for their turn, every second
                self._suspects_wait = True
                self._ready.set()
        if notice.stop:
            self._executor.stop(notice.stop)

    def recover(self) -> None:
        """A process died: begin at once what it had, without waiting for Temporal to notice."""
        self._recovered = self._clock.steady()
        self._dry_until = 0.0
        self._ready.set()

    def _temporal_before(self) -> float | None:
        if not (self._temporal and self.fall_back):
            return None
        steady = self._clock.steady()
        if steady < self._dry_until:
            return None
        ago = steady - self._recovered
        return self._clock.now() - (ago if self._fallback_after is None else min(ago, self._fallback_after))

    async def pick(self) -> None:
        """Fill the executor until cancelled."""
        self._ready.set()
        while True:
            looks = self._temporal or self._suspects_wait
            await self._clock.wait_for(self._ready, FALLBACK_LOOK if looks else math.inf)
            self._ready.clear()
            self._heard_of_suspects = False
            try:
                await self._fill()
                self._suspects_wait = self._heard_of_suspects
            except StoreError as error:
                log.warning("ready work could not be taken", extra={"error": error.code, "said": error.message})
                self._ready.set()
                await self._clock.wait_for(asyncio.Event(), AFTER_ERROR)

    async def _fill(self) -> None:
        """Looking for what Temporal left lying walks over all that still waits for it: not again at every end of a
        handler when there was none just now."""
        looks = self._executor.free > 0
        if await self._executor.fill() == 0 and looks:
            self._dry_until = self._clock.steady() + FALLBACK_LOOK / 2

    async def heed_others(self, changed: asyncio.Event) -> None:
        """After another process's commit: stop what it has ended, until cancelled."""
        while True:
            await changed.wait()
            changed.clear()
            try:
                self._executor.stop(await self._store.stopping())
            except Exception as error:
                changed.set()  # what it said is still to be looked at
                if not isinstance(error, StoreError):
                    raise
                log.warning("the file could not be read", extra={"error": error.code, "said": error.message})
                await self._clock.wait_for(asyncio.Event(), AFTER_ERROR)
