"""Strays: attempts that run in this process as the file has it, and that nobody runs: the answer to who began them was
lost after the commit. They are given back.

It must not know how an answer gets lost, nor how attempts are begun.
"""

import asyncio
import logging
from collections.abc import Collection
from typing import Protocol

from durable_tasks.errors import StoreError
from durable_tasks.executor.executor import Executor
from durable_tasks.ports import Clock

log = logging.getLogger("durable_tasks.executor")


class StrayStore(Protocol):
    """What is needed of SQLite."""

    async def held_here(self) -> list[str]: ...

    async def give_back(self, tokens: Collection[str]) -> None: ...


class Strays:
    """An attempt is a stray when nobody here has it, and all has ended that was under way when that was first seen: who
    takes attempts has them some time after the commit."""

    def __init__(self, store: StrayStore, executor: Executor, clock: Clock) -> None:
        self._store = store
        self._executor = executor
        self._clock = clock
        self._seen: set[str] = set()
        self._under_way: set[object] = set()

    async def watch(self, every: float) -> None:
        """Look for them until cancelled."""
        while True:
            await self._clock.wait_for(asyncio.Event(), every)
            try:
                await self.look()
            except StoreError as error:
                log.warning("strays could not be given back", extra={"error": error.code, "said": error.message})

    async def look(self) -> None:
        held = await self._store.held_here()
        unknown = {token for token in held if not self._executor.has(token)}
        under_way = self._executor.under_way()
        if self._under_way & under_way:
            return
        strays, self._seen, self._under_way = unknown & self._seen, unknown, under_way
        if strays:
            log.error("attempts that nobody runs are given back", extra={"attempts": len(strays)})
            await self._store.give_back(strays)
