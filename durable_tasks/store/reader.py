"""The reader: one connection for queries of few rows, asked together in one hop on one snapshot.

It must not know tasks: it runs plain functions of a connection.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from durable_tasks.errors import Closed
from durable_tasks.store.query import Query, QueryConnection
from durable_tasks.store.turns import Turns

T = TypeVar("T")

MOST = 64
"""Queries in one hop."""
SLICE = 0.01
"""Seconds after which a hop begins no other query: whoever came meanwhile has a turn."""


class Reader:
    """It never blocks the writer nor the loop. Queries that wait while it is busy are run in one go, on one snapshot
    that is newer than all of them; organisations take turns."""

    def __init__(self, path: Path) -> None:
        self._connection = QueryConnection(path)
        self._waiting: Turns[Query[Any]] = Turns()
        self._reading: asyncio.Task[None] | None = None
        self._closing = False

    async def open(self) -> None:
        await self._connection.open()

    async def close(self) -> None:
        """Answer what waits, then close. Later queries raise Closed."""
        self._closing = True
        if self._reading is not None:
            await asyncio.wait({self._reading})  # a cancelled caller must not cancel it
        await self._connection.close()

    def abandon(self) -> None:
        self._closing = True
        self._connection.abandon()

    async def run(self, ask: Callable[[sqlite3.Connection], T], org_id: str = "") -> T:
        """Run `ask` on one snapshot of the file. Raises StoreError, Closed, QueryTooCostly, and what `ask` raises."""
        if self._closing:
            raise Closed("the store is closed; call start() first")
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.add(Query(ask, answer, org_id))
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read(), name="durable_tasks reader")
        return await answer

    async def _read(self) -> None:
        while batch := self._waiting.take_many(MOST):
            self._waiting.put_back(batch, await self._connection.ask(batch, SLICE))
