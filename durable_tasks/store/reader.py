"""The reader: one read-only connection; queries that wait are run in one hop, on one snapshot.

It must not know tasks: it runs plain functions of a connection.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from durable_tasks.errors import Closed
from durable_tasks.store.connection import OF_SQLITE, Connection, connect, explain, fail

T = TypeVar("T")


Query = tuple[Callable[[sqlite3.Connection], T], "asyncio.Future[T]"]


class Reader:
    """A read-only connection in its own thread: it never blocks the writer nor the loop. Queries that wait
    while it is busy are run in one go, on one snapshot that is newer than all of them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = Connection(lambda: connect(path, reading=True))
        self._waiting: list[Query[Any]] = []
        self._reading: asyncio.Task[None] | None = None
        self._closing = False

    async def open(self) -> None:
        await self._connection

    async def close(self) -> None:
        """Answer what waits, then close. Later queries raise Closed."""
        self._closing = True
        if self._reading is not None:
            await self._reading
        await self._connection.close()

    def abandon(self) -> None:
        self._closing = True
        self._connection.abandon()

    async def run(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run `query` on one snapshot of the file. Raises StoreError, Closed, and whatever `query` raises."""
        if self._closing:
            raise Closed("the store is closed; call start() first")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((query, future))
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read(), name="durable_tasks reader")
        return await future

    async def _read(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            await self._read_batch([(query, future) for query, future in batch if not future.cancelled()])

    async def _read_batch(self, batch: "list[Query[Any]]") -> None:
        try:
            answers = await self._connection.run(lambda conn: _on_one_snapshot(conn, batch))
        except Exception as error:
            answers = [(None, error)] * len(batch)
        for (_, future), (result, refusal) in zip(batch, answers, strict=True):
            if refusal is not None:
                fail(future, explain(refusal, self._path) if isinstance(refusal, OF_SQLITE) else refusal)
            elif not future.done():
                future.set_result(result)


def _on_one_snapshot(conn: sqlite3.Connection, batch: "list[Query[Any]]") -> list[tuple[Any, Exception | None]]:
    conn.execute("BEGIN")
    try:
        return [_ask(conn, query) for query, _ in batch]
    finally:
        conn.execute("COMMIT")


def _ask(conn: sqlite3.Connection, query: Callable[[sqlite3.Connection], Any]) -> tuple[Any, Exception | None]:
    try:
        return query(conn), None
    except Exception as error:
        return None, error
