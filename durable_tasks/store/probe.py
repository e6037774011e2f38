"""The probe: whether the file takes a write now and gives it back, found out at most once a second.

It must not know who asks, nor how a write is done.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable

from durable_tasks.errors import StoreUnreadable
from durable_tasks.ports import Clock
from durable_tasks.store.transaction import Transaction

FRESH = 1.0
"""Seconds that a success is believed: however many ask, the disk is written to no more often."""


class Probe:
    """Changes a row and reads it back: a full disk or a failing one takes an empty transaction without a word."""

    def __init__(
        self,
        write: Callable[[Callable[[Transaction], str]], Awaitable[str]],
        read: Callable[[Callable[[sqlite3.Connection], str | None]], Awaitable[str | None]],
        clock: Clock,
    ) -> None:
        self._write = write
        self._read = read
        self._clock = clock
        self._at: float | None = None
        self._turn = asyncio.Lock()

    async def __call__(self) -> None:
        """Raises StoreError, Closed."""
        async with self._turn:
            if self._at is not None and abs(self._clock.now() - self._at) < FRESH:
                return
            written = await self._write(_mark)
            found = await self._read(_marked)
            if found is None or float(found) < float(written):  # another process may have written since
                raise StoreUnreadable(f"the file gave back {found!r} where {written!r} was written")
            self._at = self._clock.now()


def _mark(tx: Transaction) -> str:
    tx.run("INSERT OR REPLACE INTO dt_meta VALUES ('probed', ?)", (repr(tx.now),))
    return repr(tx.now)


def _marked(conn: sqlite3.Connection) -> str | None:
    found = conn.execute("SELECT value FROM dt_meta WHERE key = 'probed'").fetchone()
    return None if found is None else str(found[0])
