"""The writer: one connection that writes, with group commit, checkpoints and a look at others' commits.

It must not know tasks: it runs plain functions `op(transaction) -> result` and nothing else.
"""

import asyncio
import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from durable_tasks.errors import Closed, DurableTasksError, StoreBusy
from durable_tasks.ports import Clock, Ids, Notice
from durable_tasks.store.connection import (
    OF_SQLITE,
    REFUSED_VALUES,
    WAL_SIZE,
    Connection,
    connect,
    explain,
    fail,
    is_cut_short,
)
from durable_tasks.store.timekeeping import Timekeeper
from durable_tasks.store.transaction import (
    Answer,
    Operation,
    Rules,
    Spoiled,
    Transaction,
    Undo,
    run_apart,
    run_together,
)
from durable_tasks.store.turns import Turns
from durable_tasks.store.watch import Watch

T = TypeVar("T")
log = logging.getLogger("durable_tasks.store")

BATCH = 256
HOLD = 0.02
"""Seconds of work after which a transaction begins no other operation: whoever came meanwhile has a turn. They are the
thread's own: on a busy machine shorter transactions would only be more of them."""
WARY = 1000
"""Calls of an organisation that are run apart after one of it has spoiled a transaction: it, and nobody else, pays."""
LOOK_EVERY = 0.1
"""Seconds between looks at PRAGMA data_version."""
RIDE = 0.05
"""Seconds that an operation nobody waits for looks for a transaction to join: it saves a commit of its own."""
CHECKPOINT_OPERATIONS = 1000
"""A checkpoint is due after so many operations, or when the WAL grew by WAL_SIZE."""


@dataclass(slots=True, eq=False)
class _Call(Generic[T]):
    op: Operation[T]
    undo: Undo[T] | None
    answer: "asyncio.Future[T]"
    deadline: float
    """Monotonic: how long to wait for another connection's lock."""
    org_id: str
    """Whose turn it takes; empty for the process's own affairs."""


class Writer:
    """The only connection that writes. Calls queue up; a leader runs those that wait in one transaction, organisations
    in turn and for a moment only, commits once, and only then answers them. A failing call rolls back alone."""

    def __init__(
        self,
        path: Path,
        *,
        watch: Watch,
        clock: Clock,
        ids: Ids,
        rules: Rules,
        publish: Callable[[Notice], None],
        patience: float,
    ) -> None:
        self._path = path
        self._watch = watch
        self.rules = rules
        self._times = Timekeeper(clock)
        self._now = 0.0
        self._jumped = False
        """The wall clock has, and nobody was told yet."""
        self._ids = ids
        self._publish = publish
        self._patience = patience
        self._queue: Turns[_Call[Any]] = Turns()
        self._riders: list[_Call[Any]] = []
        self._patient: deque[_Call[Any]] = deque()
        self._others_were = False
        """The last transaction was theirs who are not patient."""
        self._wake = asyncio.Event()
        self._connection = Connection(lambda: connect(path))
        self._pump: asyncio.Task[None] | None = None
        self._closing = False
        self._version: int | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._checkpointer: sqlite3.Connection | None = None
        self._operations = 0
        self._wary: dict[str, int] = {}
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
            await asyncio.wait({self._pump})  # a cancelled caller must not cancel it
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
        self,
        op: Operation[T],
        *,
        undo: Undo[T] | None = None,
        patience: float | None = None,
        rides: bool = False,
        yields: bool = False,
        org_id: str = "",
    ) -> T:
        """Run `op` in a transaction and return its result after the commit.

        If the caller is cancelled before the commit, the call is dropped; after it, `undo` takes back what only
        the caller could have used. With `rides` nobody waits for it: it joins the next transaction, or makes its
        own a little later. With `yields` it takes a while, and has a transaction of its own: after one of those who
        wait, whoever they are. `org_id`: whose turn it takes.

        Raises StoreBusy, StoreError, Closed, and whatever `op` raises."""
        if self._closing:
            raise Closed("the store is closed; call start() first")
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        deadline = time.monotonic() + (self._patience if patience is None else patience)
        call = _Call(op, undo, answer, deadline, org_id)
        if yields:
            self._patient.append(call)
            self._wake.set()
        elif rides and not self._queue:
            self._ride(call)
        else:
            self._submit(call)
        try:
            return await answer
        except asyncio.CancelledError:
            if undo is not None and answer.done() and not answer.cancelled() and answer.exception() is None:
                self.take_back(undo, answer.result(), org_id)
            raise

    def post(self, change: Callable[[sqlite3.Connection], None]) -> None:
        """Make a small change between two transactions, asked for from any thread and answered to nobody."""

        def apply(conn: sqlite3.Connection) -> None:
            try:
                change(conn)
            except sqlite3.Error as error:
                log.warning("a change beside the event loop failed", extra={"said": str(error)})

        self._connection.post(apply)

    def _look(self) -> None:
        """Ask ten times a second whether another connection has committed: SQLite has no way to be told. An
        idle process must cost nothing, so the answer comes back to the event loop only when it is yes."""
        loop = asyncio.get_running_loop()
        self._looking = loop.call_later(LOOK_EVERY, self._look)
        self._connection.post(lambda conn: self._compare(conn, loop))

    def _submit(self, call: _Call[Any]) -> None:
        self._queue.add(call)
        self._wake.set()

    def _ride(self, call: _Call[Any]) -> None:
        if not self._riders:
            asyncio.get_running_loop().call_later(RIDE, self._board)
        self._riders.append(call)

    def _board(self) -> None:
        for call in self._riders:
            self._queue.add(call)
        self._riders.clear()
        self._wake.set()

    def take_back(self, undo: Undo[T], result: T, org_id: str) -> None:
        """Undo what a cancelled caller will not hear of. Nobody waits for that."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        # Nobody awaits an undo; a failure must not pass in silence either.
        future.add_done_callback(_log_failed_undo)
        # Ahead of what its organisation waits for: a repeat of the cancelled command must not be given what is being
        # taken back.
        deadline = time.monotonic() + self._patience
        self._queue.put_back([_Call(lambda tx: undo(tx, result), None, future, deadline, org_id)])
        self._wake.set()

    async def _lead(self) -> None:
        try:
            while self._queue or self._patient or not self._closing:
                if not (self._queue or self._patient):
                    self._wake.clear()
                    await self._wake.wait()
                    continue
                self._board()
                if batch := self._take_batch():
                    await self._run_batch(batch)
                    # Let the callers just answered queue their next call: larger batches, fewer commits.
                    await asyncio.sleep(0)
        except asyncio.CancelledError:
            # Only the end of the event loop cancels the leader: close at once, answer nobody.
            self.abandon()
            raise

    def _take_batch(self) -> list[_Call[Any]]:
        batch: list[_Call[Any]] = []
        if not (self._patient and self._others_were):
            batch = self._queue.take_many(BATCH)
        self._others_were = bool(batch)
        while not batch and self._patient:
            call = self._patient.popleft()
            batch = [] if call.answer.done() else [call]
        return batch

    async def _run_batch(self, batch: list[_Call[Any]]) -> None:
        try:
            answers, notice = await self._connection.run(lambda conn: self._commit(conn, batch))
        except Exception as error:  # whatever it was, the leader must live on: a dead one would leave callers waiting
            for call in batch:
                fail(call.answer, explain(error, self._path) if isinstance(error, OF_SQLITE) else error)
            return
        finally:
            self._watch.report()
        self._queue.put_back(batch, len(answers))
        # Instants that the commit does not name have moved: as after a foreign one, everybody looks again.
        notice.operations, notice.foreign, self._jumped = len(answers), self._jumped, False
        for call, (result, failure) in zip(batch, answers, strict=False):
            if failure is not None:
                fail(call.answer, explain(failure, self._path) if isinstance(failure, REFUSED_VALUES) else failure)
                continue
            if not call.answer.done():
                call.answer.set_result(result)
            elif call.undo is not None:
                self.take_back(call.undo, result, call.org_id)
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

    def _commit(self, conn: sqlite3.Connection, batch: list[_Call[Any]]) -> tuple[list[Answer], Notice]:
        self._watch.refuse()
        try:
            return self._transact(conn, batch)
        except sqlite3.Error as error:
            self._watch.look()  # which tells more of a file that is gone than SQLite
            if is_cut_short(error):
                self._watch.lose_log()
            raise

    def _transact(self, conn: sqlite3.Connection, batch: list[_Call[Any]]) -> tuple[list[Answer], Notice]:
        try:
            self._begin(conn, batch)
            if self._watch.inspect_log() and self._checkpoint() != (0, 0):
                self._watch.lose_log()  # one that SQLite has emptied begins anew, with nothing in it
            if self._checkpoint_if_due(conn):
                # Only a transaction that begins after a checkpoint can begin the WAL anew; this one would add to it,
                # and so would every later one: under load the WAL would grow for ever.
                conn.execute("ROLLBACK")
                self._begin(conn, batch)
            answers, notice = self._run(conn, batch)
            self._operations += len(answers)
            conn.execute("COMMIT")
        except BaseException:
            if conn.in_transaction:
                conn.execute("ROLLBACK")
            raise
        # Now, not before: what is acknowledged was in the file at its path after it was on the disk.
        self._watch.confirm()
        return answers, notice

    def _run(self, conn: sqlite3.Connection, batch: list[_Call[Any]]) -> tuple[list[Answer], Notice]:
        """Run the first of the batch that there is time for; alone each, when one of them spoils the transaction."""
        ops, tx = [call.op for call in batch], self._transaction(conn)
        try:
            return run_together(tx, ops, self._apart(batch), time.thread_time() + HOLD), tx.notice
        except Spoiled as spoiled:
            conn.execute("ROLLBACK")
            self._begin(conn, batch)
            tx = self._transaction(conn)
            self._wary[batch[spoiled.place].org_id] = WARY
            return [run_apart(tx, op) for op in ops[: spoiled.place + 1]], tx.notice

    def _apart(self, batch: list[_Call[Any]]) -> frozenset[int]:
        """The places of those whose organisation has spoiled a transaction lately."""
        if not self._wary:
            return frozenset()
        places = frozenset(place for place, call in enumerate(batch) if call.org_id in self._wary)
        for place in places:
            org_id = batch[place].org_id
            self._wary[org_id] -= 1
        self._wary = {org_id: calls for org_id, calls in self._wary.items() if calls > 0}
        return places

    def _transaction(self, conn: sqlite3.Connection) -> Transaction:
        return Transaction(conn, self._now, self._ids, self.rules)

    def _begin(self, conn: sqlite3.Connection, batch: list[_Call[Any]]) -> None:
        """Take the lock, and then read the time: a lease that began before a long wait would be over too soon."""
        patience = max(call.deadline for call in batch)
        self._lock(conn, patience)
        while (now := self._times.now()) is None:
            self._jumped |= self._times.tell(conn)
            self._lock(conn, patience)
        self._now = now

    def _lock(self, conn: sqlite3.Connection, patience: float) -> None:
        while True:
            try:
                conn.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if not isinstance(explain(error, self._path), StoreBusy):
                    raise
                if time.monotonic() >= patience:
                    raise

    def _checkpoint_if_due(self, conn: sqlite3.Connection) -> bool:
        """Move the WAL into the file while we hold the write lock, from a second connection (a connection
        cannot checkpoint inside its own transaction). Nobody else can write or reset the WAL meanwhile.
        Answers whether all of it was moved: not what somebody reads from before its end."""
        if not self.owns_checkpoints or not self._checkpoint_due():
            return False
        self._watch.look()  # the log of one file must not be moved into another
        self._operations = 0
        try:
            in_wal, moved = self._checkpoint()
            return moved == in_wal
        except sqlite3.Error as error:  # the writer itself is healthy: a longer WAL must not refuse anybody
            log.warning("the file could not be checkpointed", extra={"said": str(error)})
            self._close_checkpointer(conn)
        return False

    def _checkpoint(self) -> tuple[int, int]:
        """How many pages the WAL has, and how many of them are in the file now."""
        if self._checkpointer is None:
            self._checkpointer = connect(self._path)
        busy, in_wal, moved = self._checkpointer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        log.debug("checkpoint", extra={"busy": busy, "wal_pages": in_wal, "moved_pages": moved})
        return in_wal, moved

    def _checkpoint_due(self) -> bool:
        size = self._watch.wal_size
        self._wal_size = min(self._wal_size, size)  # it has begun anew
        if self._operations < CHECKPOINT_OPERATIONS and size - self._wal_size < WAL_SIZE:
            return False
        self._wal_size = size
        return True

    def _close_checkpointer(self, _: sqlite3.Connection) -> None:
        if self._checkpointer is not None:
            self._checkpointer.close()
            self._checkpointer = None


def _log_failed_undo(future: "asyncio.Future[None]") -> None:
    error = future.exception()
    if error is not None:
        code = error.code if isinstance(error, DurableTasksError) else type(error).__name__
        log.warning("a cancelled call could not be undone; its lease will end it", extra={"error": code})
