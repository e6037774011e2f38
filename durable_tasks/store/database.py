"""Connections: one writer with group commit, one reader, and the transaction that an operation sees.

It must not know tasks: it runs plain functions `op(transaction) -> result` and nothing else.
"""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import aiosqlite
from aiosqlite.core import _STOP_RUNNING_SENTINEL

from durable_tasks.errors import (
    Closed,
    DurableTasksError,
    InvalidInput,
    StoreBusy,
    StoreCorrupt,
    StoreUnreadable,
)
from durable_tasks.ports import Clock, Ids, Notice

T = TypeVar("T")
log = logging.getLogger("durable_tasks.store")

BATCH = 256
LOOK_EVERY = 0.1
"""Seconds between looks at PRAGMA data_version."""
RIDE = 0.05
"""Seconds that an operation nobody waits for looks for a transaction to join: it saves a commit of its own."""
BUSY_SLICE = 0.5
"""Seconds that SQLite itself waits for a lock before we look whether anybody still wants the answer."""
CHECKPOINT_OPERATIONS = 1000
CHECKPOINT_GROWTH = 4 * 1024 * 1024
"""A checkpoint is due after so many operations, or when the WAL grew by so many bytes (SQLite's own default)."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that decide what becomes of a task, and this process's name among the others."""

    instance: str = ""
    namespace: str = "default"
    max_lost: int = 5
    cancel_grace: float = 30.0


@dataclass(slots=True)
class Transaction:
    """What one operation sees: the connection inside an immediate transaction, the time, fresh ids, and
    the notice it fills for those who wait. `touched` carries what is still to be settled before it ends."""

    conn: sqlite3.Connection
    now: float
    ids: Ids
    rules: Rules = Rules()
    notice: Notice = field(default_factory=Notice)
    last_seq: dict[str, int] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    groups: dict[str, None] = field(default_factory=dict)

    def one(self, sql: str, values: tuple[Any, ...] | list[Any] = ()) -> tuple[Any, ...] | None:
        return cast("tuple[Any, ...] | None", self.conn.execute(sql, values).fetchone())

    def all(self, sql: str, values: tuple[Any, ...] | list[Any] = ()) -> list[tuple[Any, ...]]:
        return self.conn.execute(sql, values).fetchall()

    def run(self, sql: str, values: tuple[Any, ...] | list[Any] = ()) -> sqlite3.Cursor:
        return self.conn.execute(sql, values)


Operation = Callable[[Transaction], T]
Undo = Callable[[Transaction, T], None]


@dataclass(slots=True, eq=False)
class _Call(Generic[T]):
    op: Operation[T]
    undo: Undo[T] | None
    future: "asyncio.Future[T]"
    deadline: float
    """Monotonic: how long to wait for another connection's lock."""


def connect(path: Path, *, reading: bool = False) -> sqlite3.Connection:
    """One connection of ours, with every pragma that the store relies on."""
    conn = sqlite3.connect(path, timeout=BUSY_SLICE, isolation_level=None, cached_statements=512)
    conn.execute("PRAGMA synchronous=FULL")
    conn.execute("PRAGMA foreign_keys=ON")
    conn.execute("PRAGMA trusted_schema=OFF")
    # Before SQLite 3.51.3 two connections that write and checkpoint at once can corrupt the file
    # (the WAL-reset bug). So nobody checkpoints by itself, on any version: `checkpoint` does, under the lock.
    conn.execute("PRAGMA wal_autocheckpoint=0")
    conn.execute("PRAGMA journal_size_limit=67108864")
    if reading:
        conn.execute("PRAGMA query_only=ON")
    return conn


REFUSED_VALUES = (
    sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.DataError, OverflowError, UnicodeEncodeError,
)  # fmt: skip
"""What comes of one call's values that SQLite cannot hold; all else concerns the file."""


_OF_SQLITE = (sqlite3.Error, *REFUSED_VALUES)


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
        # The one use of a protected method: aiosqlite has no public call for many statements in one hop.
        return cast(T, await self._execute(function, self._conn))  # type: ignore[no-untyped-call]


class Writer:
    """The only connection that writes. Calls queue up; a leader runs all that wait in one transaction, commits
    once, and only then answers them. A failing call rolls back alone."""

    def __init__(
        self, path: Path, *, clock: Clock, ids: Ids, rules: Rules, publish: Callable[[Notice], None], patience: float
    ) -> None:
        self._path = path
        self._rules = rules
        self._clock = clock
        self._ids = ids
        self._publish = publish
        self._patience = patience
        self._queue: list[_Call[Any]] = []
        self._riders: list[_Call[Any]] = []
        self._wake = asyncio.Event()
        self._connection = Connection(lambda: connect(path))
        self._pump: asyncio.Task[None] | None = None
        self._closing = False
        self._version: int | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._checkpointer: sqlite3.Connection | None = None
        self._operations = 0
        self._wal_size = 0
        self.owns_checkpoints = False
        """Set while this process is the leader: one process checkpoints, the others never."""

    async def open(self) -> None:
        await self._connection
        self._pump = asyncio.create_task(self._lead(), name="durable_tasks writer")
        self._look()

    async def close(self) -> None:
        """Finish what is queued, then close. Later calls raise Closed."""
        if self._closing:
            return
        self._closing = True
        self._stop_looking()
        self._board()
        if self._pump is not None:
            await self._pump
        await self._connection.run(self._close_checkpointer)
        await self._connection.close()

    def abandon(self) -> None:
        """Close without waiting, when the event loop goes away under us."""
        self._closing = True
        self._stop_looking()
        self._connection.abandon()

    def _stop_looking(self) -> None:
        if self._looking is not None:
            self._looking.cancel()

    async def run(
        self, op: Operation[T], *, undo: Undo[T] | None = None, patience: float | None = None, rides: bool = False
    ) -> T:
        """Run `op` in a transaction and return its result after the commit.

        If the caller is cancelled before the commit, the call is dropped; after it, `undo` takes back what only
        the caller could have used. With `rides` nobody waits for it: it joins the next transaction, or makes its
        own a little later. Raises StoreBusy, StoreError, Closed, and whatever `op` raises."""
        if self._closing:
            raise Closed("the store is closed; call start() first")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        deadline = time.monotonic() + (self._patience if patience is None else patience)
        call = _Call(op, undo, future, deadline)
        if rides and not self._queue:
            self._ride(call)
        else:
            self._submit(call)
        try:
            return await future
        except asyncio.CancelledError:
            if undo is not None and future.done() and not future.cancelled() and future.exception() is None:
                self._take_back(undo, future.result())
            raise

    def _look(self) -> None:
        """Ask ten times a second whether another connection has committed: SQLite has no way to be told. An
        idle process must cost nothing, so the answer comes back to the event loop only when it is yes."""
        loop = asyncio.get_running_loop()
        self._looking = loop.call_later(LOOK_EVERY, self._look)
        self._connection.post(lambda conn: self._compare(conn, loop))

    def _submit(self, call: _Call[Any]) -> None:
        self._queue.append(call)
        self._wake.set()

    def _ride(self, call: _Call[Any]) -> None:
        if not self._riders:
            asyncio.get_running_loop().call_later(RIDE, self._board)
        self._riders.append(call)

    def _board(self) -> None:
        self._queue += self._riders
        self._riders.clear()
        self._wake.set()

    def _take_back(self, undo: Undo[T], result: T) -> None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        # Nobody awaits an undo; a failure must not pass in silence either.
        future.add_done_callback(_log_failed_undo)
        # Ahead of what waits: a repeat of the cancelled command must not be given what is being taken back.
        self._queue.insert(0, _Call(lambda tx: undo(tx, result), None, future, time.monotonic() + self._patience))
        self._wake.set()

    async def _lead(self) -> None:
        try:
            while self._queue or not self._closing:
                if not self._queue:
                    self._wake.clear()
                    await self._wake.wait()
                    continue
                self._board()
                batch = [call for call in self._queue[:BATCH] if not call.future.cancelled()]
                del self._queue[:BATCH]
                if batch:
                    await self._run_batch(batch)
                    # Let the callers just answered queue their next call: larger batches, fewer commits.
                    await asyncio.sleep(0)
        except asyncio.CancelledError:
            # Only the end of the event loop cancels the leader: close at once, answer nobody.
            self.abandon()
            raise

    async def _run_batch(self, batch: list[_Call[Any]]) -> None:
        now = self._clock.now()
        try:
            answers = await self._connection.run(lambda conn: self._commit(conn, batch, now))
        except Exception as error:  # whatever it was, the leader must live on: a dead one would leave callers waiting
            for call in batch:
                _fail(call.future, explain(error, self._path) if isinstance(error, _OF_SQLITE) else error)
            return
        notice = Notice()
        for call, (result, failure, changed) in zip(batch, answers, strict=True):
            if failure is not None:
                _fail(call.future, explain(failure, self._path) if isinstance(failure, REFUSED_VALUES) else failure)
                continue
            merge(notice, changed)
            if not call.future.done():
                call.future.set_result(result)
            elif call.undo is not None:
                self._take_back(call.undo, result)
        self._publish(notice)

    # ----- below: in the connection's thread

    def _compare(self, conn: sqlite3.Connection, loop: asyncio.AbstractEventLoop) -> None:
        try:
            version = conn.execute("PRAGMA data_version").fetchone()[0]
            if self._version is not None and version != self._version:
                loop.call_soon_threadsafe(self._publish, Notice(foreign=True))
            self._version = version
        except (sqlite3.Error, RuntimeError) as error:  # the file is in trouble, or the loop has closed
            log.warning("another connection's commits cannot be noticed now", extra={"said": str(error)})

    def _commit(self, conn: sqlite3.Connection, batch: list[_Call[Any]], now: float) -> "list[_Answer]":
        self._begin(conn, batch)
        try:
            self._checkpoint_if_due(conn)
            self._operations += len(batch)
            answers = _run_together(Transaction(conn, now, self._ids, self._rules), batch)
            if answers is None:
                conn.execute("ROLLBACK")
                self._begin(conn, batch)
                tx = Transaction(conn, now, self._ids, self._rules)
                answers = [_run_apart(tx, call.op) for call in batch]
            conn.execute("COMMIT")
        except BaseException:
            if conn.in_transaction:
                conn.execute("ROLLBACK")
            raise
        return answers

    def _begin(self, conn: sqlite3.Connection, batch: list[_Call[Any]]) -> None:
        patience = max(call.deadline for call in batch)
        while True:
            try:
                conn.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if not isinstance(explain(error, self._path), StoreBusy):
                    raise
                if time.monotonic() >= patience:
                    raise

    def _checkpoint_if_due(self, conn: sqlite3.Connection) -> None:
        """Move the WAL into the file while we hold the write lock, from a second connection (a connection
        cannot checkpoint inside its own transaction). Nobody else can write or reset the WAL meanwhile."""
        if not self.owns_checkpoints or not self._checkpoint_due():
            return
        if self._checkpointer is None:
            self._checkpointer = connect(self._path)
        busy, in_wal, moved = self._checkpointer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        self._operations = 0
        log.debug("checkpoint", extra={"busy": busy, "wal_pages": in_wal, "moved_pages": moved})

    def _checkpoint_due(self) -> bool:
        try:
            size = self._path.with_name(self._path.name + "-wal").stat().st_size
        except FileNotFoundError:
            return False
        grown = size - self._wal_size
        if self._operations < CHECKPOINT_OPERATIONS and grown < CHECKPOINT_GROWTH:
            return False
        self._wal_size = size
        return True

    def _close_checkpointer(self, _: sqlite3.Connection) -> None:
        if self._checkpointer is not None:
            self._checkpointer.close()
            self._checkpointer = None


class Reader:
    """A read-only connection in its own thread: it never blocks the writer nor the loop. Queries that wait
    while it is busy are run in one go, on one snapshot that is newer than all of them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = Connection(lambda: connect(path, reading=True))
        self._waiting: list[_Query[Any]] = []
        self._reading: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await self._connection

    async def close(self) -> None:
        await self._connection.close()

    def abandon(self) -> None:
        self._connection.abandon()

    async def run(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run `query` on one snapshot of the file. Raises StoreError, and whatever `query` raises."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((query, future))
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read(), name="durable_tasks reader")
        return await future

    async def _read(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            await self._read_batch([(query, future) for query, future in batch if not future.cancelled()])

    async def _read_batch(self, batch: "list[_Query[Any]]") -> None:
        try:
            answers = await self._connection.run(lambda conn: _on_one_snapshot(conn, batch))
        except Exception as error:
            answers = [(None, error)] * len(batch)
        for (_, future), (result, refusal) in zip(batch, answers, strict=True):
            if refusal is not None:
                _fail(future, explain(refusal, self._path) if isinstance(refusal, _OF_SQLITE) else refusal)
            elif not future.done():
                future.set_result(result)


_Query = tuple[Callable[[sqlite3.Connection], T], "asyncio.Future[T]"]


def _on_one_snapshot(conn: sqlite3.Connection, batch: "list[_Query[Any]]") -> list[tuple[Any, Exception | None]]:
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


_Answer = tuple[Any, Exception | None, Notice]


def _run_together(tx: Transaction, batch: "list[_Call[Any]]") -> list[_Answer] | None:
    """Run operations without savepoints: each would copy every page that its operation changes, a third of the
    whole cost. None when one failed after it had written: then all are to be rolled back and run apart."""
    answers: list[_Answer] = []
    for call in batch:
        tx.notice = Notice()
        written = tx.conn.total_changes
        try:
            answers.append((call.op(tx), None, tx.notice))
        except Exception as error:
            _raise_fatal(tx.conn, error)
            if tx.conn.total_changes != written:
                return None
            answers.append(_refused(tx, error))
    return answers


def _run_apart(tx: Transaction, op: Operation[Any]) -> _Answer:
    """Run one operation in its savepoint: a failing one rolls back alone."""
    tx.notice = Notice()
    tx.conn.execute("SAVEPOINT op")
    try:
        result = op(tx)
    except Exception as error:
        _raise_fatal(tx.conn, error)
        tx.conn.execute("ROLLBACK TO op")
        tx.conn.execute("RELEASE op")
        return _refused(tx, error)
    tx.conn.execute("RELEASE op")
    return result, None, tx.notice


def _raise_fatal(conn: sqlite3.Connection, error: Exception) -> None:
    """Our own errors and SQLite's refusals of a row or value fail their operation alone; an error of the file
    itself (disk full, I/O) ends the whole batch, and perhaps SQLite has rolled it back already."""
    alone = not isinstance(error, sqlite3.Error) or isinstance(error, (sqlite3.IntegrityError, *REFUSED_VALUES))
    if not (alone and conn.in_transaction):
        raise error


def _refused(tx: Transaction, error: Exception) -> _Answer:
    tx.last_seq.clear()
    tx.ended.clear()
    tx.groups.clear()
    return None, error, Notice()


def merge(into: Notice, more: Notice) -> None:
    into.ready |= more.ready
    into.claimable |= more.claimable
    into.outbox |= more.outbox
    into.foreign |= more.foreign
    if more.due is not None and (into.due is None or more.due < into.due):
        into.due = more.due
    into.orgs |= more.orgs
    into.ended += more.ended
    into.stop += more.stop


def _fail(future: "asyncio.Future[Any]", error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


def _log_failed_undo(future: "asyncio.Future[None]") -> None:
    error = future.exception()
    if error is not None:
        code = error.code if isinstance(error, DurableTasksError) else type(error).__name__
        log.warning("a cancelled call could not be undone; its lease will end it", extra={"error": code})
