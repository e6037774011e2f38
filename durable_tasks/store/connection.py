"""Connections: how we open the file, how SQLite's errors read in our words, and one hop per function.

It must not know transactions or tasks.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite
from aiosqlite.core import _STOP_RUNNING_SENTINEL

from durable_tasks.errors import DurableTasksError, InvalidInput, StoreBusy, StoreCorrupt, StoreUnreadable

T = TypeVar("T")

BUSY_SLICE = 0.5
"""Seconds that SQLite itself waits for a lock before we look whether anybody still wants the answer."""
WAL_SIZE = 4 * 1024 * 1024
"""Bytes of the log written ahead: what is kept of its file when it begins anew, and after how many more a checkpoint
is due (SQLite's own default)."""
REFUSED_VALUES = (
    sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.DataError, OverflowError, UnicodeEncodeError,
)  # fmt: skip
"""What comes of one call's values that SQLite cannot hold; all else concerns the file."""
OF_SQLITE = (sqlite3.Error, *REFUSED_VALUES)


def connect(path: Path, *, reading: bool = False) -> sqlite3.Connection:
    """One connection of ours, with every pragma that the store relies on."""
    conn = sqlite3.connect(path, timeout=BUSY_SLICE, isolation_level=None, cached_statements=512)
    conn.execute("PRAGMA synchronous=FULL")
    conn.execute("PRAGMA foreign_keys=ON")
    conn.execute("PRAGMA trusted_schema=OFF")
    # Before SQLite 3.51.3 two connections that write and checkpoint at once can corrupt the file
    # (the WAL-reset bug). So nobody checkpoints by itself, on any version: `checkpoint` does, under the lock.
    conn.execute("PRAGMA wal_autocheckpoint=0")
    conn.execute(f"PRAGMA journal_size_limit={WAL_SIZE}")
    if reading:
        conn.execute("PRAGMA query_only=ON")
    return conn


def has_reset_bug(version: tuple[int, ...]) -> bool:
    """Whether that SQLite has the WAL-reset bug: 3.7.0 to 3.51.2, but not the backports 3.50.7 and 3.44.6
    (sqlite.org/wal.html#walresetbug)."""
    return (3, 7, 0) <= version < (3, 51, 3) and version not in ((3, 50, 7), (3, 44, 6))


def explain(error: Exception, path: Path) -> DurableTasksError:
    """Our error for SQLite's: a value it cannot hold, busy, corrupt or unreadable."""
    text = str(error)
    if isinstance(error, REFUSED_VALUES):
        return InvalidInput(f"SQLite cannot hold a value of this call: {text}")
    if "locked" in text or "busy" in text:
        return StoreBusy(f"{path} is locked by another connection: {text}", path=str(path))
    if "malformed" in text or "not a database" in text:
        return StoreCorrupt(
            f"{path} is damaged or no SQLite database ({text}); restore it from a backup", path=str(path)
        )
    return StoreUnreadable(f"{path} cannot be used: {text}", path=str(path))


def fail(future: "asyncio.Future[Any]", error: BaseException) -> None:
    """Fail a caller that still waits."""
    if not future.done():
        future.set_exception(error)


class Connection(aiosqlite.Connection):
    """An aiosqlite connection that runs a whole function in its thread: one hop for any number of statements."""

    def __init__(self, connector: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(connector, iter_chunk_size=64)
        # A process that forgets stop() must still exit; what was acknowledged is on disk already.
        self._thread.daemon = True

    def post(self, function: Callable[[sqlite3.Connection], None]) -> None:
        """Run `function` in the connection's thread and tell nobody: it must handle its own errors."""
        self._tx.put_nowait((None, lambda: function(self._conn)))

    def abandon(self) -> None:
        """Close without telling anybody. `stop` would answer to an event loop that may be gone by then."""
        self._running = False

        def close() -> object:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            return _STOP_RUNNING_SENTINEL

        self._tx.put_nowait((None, close))

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run `function` on the raw connection in the connection's thread."""
        if not self._running:
            raise ValueError("the connection is closed")
        loop, conn = asyncio.get_running_loop(), self._conn
        future: asyncio.Future[T] = loop.create_future()

        def call() -> None:
            deliver: Callable[[asyncio.Future[T], Any], None] = _answer
            try:
                answer: Any = function(conn)
            except BaseException as error:
                deliver, answer = fail, error
            # aiosqlite's own delivery would end the thread, with the connection open, if the loop has ended meanwhile.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(deliver, future, answer)

        self._tx.put_nowait((None, call))
        return await future


def _answer(future: "asyncio.Future[Any]", result: Any) -> None:
    if not future.done():
        future.set_result(result)
