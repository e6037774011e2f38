"""Connections: how we open the file, how SQLite's errors read in our words, and one hop per function.

It must not know transactions or tasks.
"""

import asyncio
import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import aiosqlite
from aiosqlite.core import _STOP_RUNNING_SENTINEL

from durable_tasks.errors import (
    DurableTasksError,
    InvalidInput,
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreUnreadable,
)

T = TypeVar("T")

BUSY_SLICE = 0.5
"""Seconds that SQLite itself waits for a lock before we look whether anybody still wants the answer."""
WAL_SIZE = 4 * 1024 * 1024
"""Bytes of the log written ahead: what is kept of its file when it begins anew, and after how many more a checkpoint
is due (SQLite's own default)."""
ROOM = 256 * 1024
"""Bytes below which a disk counts as full: a small WAL and its index."""
_FOR_WANT_OF_ROOM = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
REFUSED_VALUES = (
    sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.DataError, OverflowError, UnicodeEncodeError,
)  # fmt: skip
"""What comes of one call's values that SQLite cannot hold; all else concerns the file."""
OF_SQLITE = (sqlite3.Error, *REFUSED_VALUES)


class Damaged(str):
    """Text in the file that is no UTF-8 any more, with its broken characters replaced."""

    __slots__ = ()


def is_undecodable(error: BaseException) -> bool:
    """Whether one row's text is no UTF-8: no trouble of the whole file."""
    return isinstance(error, sqlite3.OperationalError) and "decode to UTF-8" in str(error)


def is_cut_short(error: sqlite3.Error) -> bool:
    """Whether the log lacks what its index names: a read past the end of the file itself is no error to SQLite."""
    return getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_IOERR_SHORT_READ


@contextmanager
def replacing(conn: sqlite3.Connection) -> Iterator[None]:
    """Meanwhile text that is no UTF-8 can be read, as Damaged. Slower, so only where some was met."""
    conn.text_factory = _decoded
    try:
        yield
    finally:
        conn.text_factory = str


def forgiving(conn: sqlite3.Connection, ask: Callable[[sqlite3.Connection], T]) -> T:
    """The answer to a query, also where it meets text that is no UTF-8."""
    try:
        return ask(conn)
    except sqlite3.OperationalError as error:
        if not is_undecodable(error):
            raise
    with replacing(conn):
        return ask(conn)


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return Damaged(raw.decode(errors="replace"))


def connect(path: Path, *, reading: bool = False) -> sqlite3.Connection:
    """One connection of ours to a file that exists, with every pragma that the store relies on. Raises StoreUnreadable
    for a file of several names, and SQLite's errors."""
    _refuse_names(path)
    # Not created: a file that was deleted meanwhile must not come back empty.
    place = f"file:{quote(os.fsencode(path))}?mode=rw"
    conn = sqlite3.connect(place, uri=True, timeout=BUSY_SLICE, isolation_level=None, cached_statements=512)
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


def _refuse_names(path: Path) -> None:
    """SQLite names its log after the file: by two names two programs would write one file past each other."""
    try:
        names = path.stat().st_nlink
    except OSError:
        return  # SQLite says what it is
    if names > 1:
        raise StoreUnreadable(
            f"{path} has {names} names (hard links), and SQLite would keep a log for each: remove the others, or copy"
            " the file",
            path=str(path),
        )


def has_reset_bug(version: tuple[int, ...]) -> bool:
    """Whether that SQLite has the WAL-reset bug: 3.7.0 to 3.51.2, but not the backports 3.50.7 and 3.44.6
    (sqlite.org/wal.html#walresetbug)."""
    return (3, 7, 0) <= version < (3, 51, 3) and version not in ((3, 50, 7), (3, 44, 6))


def explain(error: Exception, path: Path) -> DurableTasksError:
    """Our error for SQLite's: a value it cannot hold, busy, corrupt, full or unreadable."""
    text = str(error)
    if isinstance(error, REFUSED_VALUES):
        return InvalidInput(f"SQLite cannot hold a value of this call: {text}")
    if "locked" in text or "busy" in text:
        return StoreBusy(f"{path} is locked by another connection: {text}", path=str(path))
    if "malformed" in text or "not a database" in text:
        return StoreCorrupt(
            f"{path} is damaged or no SQLite database ({text}); restore it from a backup", path=str(path)
        )
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL or (code in _FOR_WANT_OF_ROOM and not _has_room(path)):
        return _full(path, text)
    return StoreUnreadable(f"{path} cannot be used: {text}", path=str(path))


def explain_os(error: OSError, path: Path) -> StoreError:
    """The same for the operating system's errors about a file of ours."""
    text = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return _full(path, text)
    return StoreUnreadable(f"{path} cannot be used: {text}", path=str(path))


def _full(path: Path, said: str) -> StoreFull:
    return StoreFull(
        f"there is no room for {path} ({said}); nothing was stored: make room on the disk of {path.parent}"
        ", then call again",
        path=str(path),
    )


def _has_room(path: Path) -> bool:
    """SQLite says SQLITE_FULL of a page that does not fit, but "disk I/O error" of its index of the WAL, and "unable to
    open" where the WAL itself cannot be created."""
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return True
    return disk.f_bavail * disk.f_frsize >= ROOM and (disk.f_files == 0 or disk.f_favail > 0)


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
