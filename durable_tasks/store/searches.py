"""Searches: a few connections for queries that may look at many rows, so that nobody's keep the others waiting.

They must not know tasks: they run plain functions of a connection.
"""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from durable_tasks.errors import Closed
from durable_tasks.store.connection import fail
from durable_tasks.store.query import LONGEST, Query, QueryConnection
from durable_tasks.store.turns import Turns

T = TypeVar("T")

MOST = 2
"""Connections."""


class Searches:
    """One query at a time on each connection. Organisations take turns, and none has all connections at once."""

    def __init__(self, path: Path, most: int = MOST, longest: float = LONGEST) -> None:
        self._all = [QueryConnection(path, longest) for _ in range(most)]
        self._idle = list(self._all)
        self._waiting: Turns[Query[Any]] = Turns()
        self._running: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    async def open(self) -> None:
        for connection in self._all:
            await connection.open()

    async def close(self) -> None:
        """End what runs and what waits: those callers get Closed, as later ones do."""
        self._closing = True
        while (query := self._waiting.take()) is not None:
            fail(query.answer, _closed())
        for connection in self._all:
            connection.stop()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for connection in self._all:
            await connection.close()

    def abandon(self) -> None:
        self._closing = True
        for connection in self._all:
            connection.stop()
            connection.abandon()

    async def run(self, ask: Callable[[sqlite3.Connection], T], org_id: str) -> T:
        """Run `ask` on one snapshot of the file. Raises StoreError, Closed, QueryTooCostly, and what `ask` raises."""
        if self._closing:
            raise _closed()
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.add(Query(ask, answer, org_id))
        self._begin()
        return await answer

    def _begin(self) -> None:
        while self._idle:
            share = max(1, len(self._all) - 1)
            query = self._waiting.take(skip=[org_id for org_id, count in self._running.items() if count >= share])
            if query is None:
                return
            self._running[query.org_id] += 1
            task = asyncio.create_task(self._search(self._idle.pop(), query), name="durable_tasks search")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _search(self, connection: QueryConnection, query: Query[Any]) -> None:
        try:
            await connection.ask([query])
        finally:
            self._idle.append(connection)
            self._running -= Counter((query.org_id,))  # without those that are at nought
            self._begin()


def _closed() -> Closed:
    return Closed("the store is closed; call start() first")
