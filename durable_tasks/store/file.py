"""The open file: one writer, the readers, the notices of commits, and the file's own identity.

It must not know what is run inside (a function over a transaction or a connection), but that what follows from it for
others is settled with it.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Self, TypeVar

from durable_tasks.errors import DurableTasksError, StoreCorrupt, StoreError
from durable_tasks.models import Actor
from durable_tasks.ports import Clock, Ids, Listener, Notice
from durable_tasks.quotas import Allowance
from durable_tasks.store import identity, schema
from durable_tasks.store.beside import real_path
from durable_tasks.store.connection import Connection, connect, explain, forgiving
from durable_tasks.store.containment import careful
from durable_tasks.store.identity import Witness
from durable_tasks.store.probe import Probe
from durable_tasks.store.reader import Reader
from durable_tasks.store.searches import Searches
from durable_tasks.store.settlement import settle
from durable_tasks.store.transaction import Rules, Transaction
from durable_tasks.store.watch import Watch
from durable_tasks.store.writer import Writer

T = TypeVar("T")
log = logging.getLogger("durable_tasks.store")

CHECK_EVERY = 3600.0
"""Seconds between checks of the whole file because it became smaller."""

asked_by: ContextVar[str | None] = ContextVar("asked_by", default=None)
"""The task or group whose Temporal workflow gave the command that is being obeyed."""


class StoreFile:
    """One SQLite file. Methods raise what their operations raise, and StoreError for the file's own troubles."""

    def __init__(self, path: Path, *, clock: Clock, ids: Ids, rules: Rules, patience: float) -> None:
        self.path = path = real_path(path)
        self._clock = clock
        self._patience = patience
        self._listeners: list[Listener] = []
        self._rules = rules
        self._watch = Watch(path)
        self._watch.on_trouble = lambda: self.on_lost()
        self._watch.on_log_cut = self._witness_loss
        self._watch.on_shrinking = self._check_soon
        self._writer = Writer(
            path, watch=self._watch, clock=clock, ids=ids, rules=rules, publish=self._publish, patience=patience
        )
        self._reader, self._searches, self._gate = Reader(path), Searches(path), Reader(path)
        self._probe = Probe(self._writer.run, self.read, clock)
        self._file_uuid = ""
        self._ending: asyncio.Task[None] | None = None
        self._checking: asyncio.Task[None] | None = None
        self._check_due = float("-inf")
        self.on_lost: Callable[[], None] = lambda: None
        """Called once when the file is not the one at its path any more."""
        self._actor: Actor | None = None
        self._names: frozenset[str] | None = None
        self._allowance: Allowance | None = None
        self.unchecked = False
        """The integrity check of the start ran out of time; `check` finishes it."""
        self.displaced: str | None = None
        """Why this file cannot be the one that was handed over to Temporal: a copy, or an older state of it."""

    # ----- life

    async def open(self) -> None:
        """Create, check and migrate the file, then connect."""
        now = self._clock.now()
        self.unchecked = await asyncio.to_thread(schema.prepare, self.path, now=now, patience=self._patience)
        try:
            self._watch.begin()
            for part in (self._reader, self._searches, self._gate):
                await part.open()
            await self._writer.open()
            self._watch.look()
            self._file_uuid = await self.read(schema.read_uuid)
            self.displaced = await asyncio.to_thread(identity.displacement, self.path)
        except BaseException:
            self.abandon()
            raise

    async def close(self) -> None:
        """Finish what is queued, then close: also when the caller is cancelled meanwhile."""
        if self._ending is None:
            self._ending = asyncio.create_task(self._end(), name="durable_tasks file end")
        await asyncio.shield(self._ending)

    async def _end(self) -> None:
        if self._checking is not None:
            self._checking.cancel()
            await asyncio.gather(self._checking, return_exceptions=True)
        await self._writer.close()
        for part in (self._searches, self._reader, self._gate):
            await part.close()

    def abandon(self) -> None:
        """Close without waiting: the event loop is going away."""
        self._writer.abandon()
        for part in (self._reader, self._searches, self._gate):
            part.abandon()

    async def check(self) -> None:
        """The whole integrity check. Raises StoreCorrupt."""
        await self.read_apart(lambda conn: schema.check_integrity(conn, self.path, budget=None))

    @property
    def lost(self) -> str | None:
        """What has become of the file under this process, which writes nothing more; None while all is well."""
        return self._watch.trouble

    async def _testify(self, seen: Witness | None) -> None:
        """Note beside the file what was just written in it, so that an older state of it is known for one."""
        if seen is None or self.displaced is not None:
            return
        try:
            await asyncio.to_thread(identity.write_witness, self.path, seen)
        except StoreError as error:
            log.warning("the file has no witness now", extra={"error": error.code, "said": error.message})

    def _witness_loss(self) -> None:
        """Have the next opening know that something is missing."""
        try:
            identity.witness_loss(self.path)
        except StoreError as error:
            log.warning("nothing witnesses the loss", extra={"error": error.code, "said": error.message})

    def _check_soon(self) -> None:
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._check_size(), name="durable_tasks file size")

    async def _check_size(self) -> None:
        """A file shrinks when it is vacuumed, by itself too: only one that is smaller than it says is checked as a
        whole, and not all the time."""
        try:
            if not await self.read(lambda conn: schema.is_short(conn, self.path)):
                return
            await self._clock.wait_for(asyncio.Event(), self._check_due - self._clock.steady())
            self._check_due = self._clock.steady() + CHECK_EVERY
            await self.check()
        except StoreCorrupt:
            self._watch.trouble = "was cut off"
            self._watch.report()
        except StoreError as error:
            log.warning("a file that shrank could not be checked", extra={"error": error.code, "said": error.message})

    @property
    def instance(self) -> str:
        """What this process is called among the others of the file."""
        return self._rules.instance

    def rename(self, instance: str) -> None:
        self._rules = self._writer.rules = replace(self._rules, instance=instance)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` after every commit, on the event loop. The answer ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _publish(self, notice: Notice) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(notice)
            except Exception:  # one listener's fault must not cost the others their news, nor the writer its life
                log.exception("a listener to commits failed")

    async def read(self, query: Callable[[sqlite3.Connection], T], org_id: str = "") -> T:
        """For what looks at few rows: many such queries share a hop. `org_id`: whose turn it is."""
        return await self._reader.run(query, org_id)

    async def search(self, query: Callable[[sqlite3.Connection], T], org_id: str = "") -> T:
        """For what may look at many rows: nobody waits for it but its caller's own organisation."""
        return await self._searches.run(query, org_id)

    async def admit(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """For what says who asks: it waits for nobody's other queries."""
        return await self._gate.run(query)

    async def read_apart(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """For what the host itself wants and may take minutes: on a connection of its own, on one snapshot."""

        def on_one_snapshot(conn: sqlite3.Connection) -> T:
            conn.execute("BEGIN")  # closing the connection ends it
            return forgiving(conn, query)

        connection = Connection(lambda: connect(self.path, reading=True))
        await connection
        try:
            return await connection.run(on_one_snapshot)
        except asyncio.CancelledError:
            await connection.interrupt()
            raise
        except sqlite3.Error as error:
            raise explain(error, self.path) from error
        finally:
            await connection.close()

    async def _write(
        self,
        op: Callable[[Transaction], T],
        undo: Callable[[Transaction, T], None] | None = None,
        *,
        org_id: str = "",
        yields: bool = False,
    ) -> T:
        done = op if (subject_id := asked_by.get()) is None else asked(op, subject_id)
        actor, names, allowance, undo = self._actor, self._names, self._allowance, undo and _settling(undo)

        def act(tx: Transaction) -> T:
            tx.actor, tx.names, tx.allowance = actor, names, allowance
            return settled(tx, done)

        try:
            return await self._writer.run(act, undo=undo, org_id=org_id, yields=yields)
        except DurableTasksError:
            raise
        except Exception:
            log.exception("an operation broke on what it met and is done once more, each task by itself")
        try:
            return await self._writer.run(lambda tx: carefully(tx, act), undo=undo, org_id=org_id)
        except sqlite3.Error as error:
            raise explain(error, self.path) from error

    def by(self, actor: Actor | None, names: frozenset[str] | None = None, allowance: Allowance | None = None) -> Self:
        """The open file as `actor` uses it for one call: what is written through the answer is recorded as his.
        `names`, `allowance`: see Transaction."""
        if actor is None:
            return self
        used = object.__new__(type(self))
        used.__dict__.update(self.__dict__)
        used._actor, used._names, used._allowance = actor, names, allowance
        return used

    def _take_back(self, undo: Callable[[Transaction, T], None], result: T, org_id: str) -> None:
        """Undo what a cancelled caller will not hear of. Nobody waits for that."""
        self._writer.take_back(_settling(undo), result, org_id)


def asked(op: Callable[[Transaction], T], subject_id: str) -> Callable[[Transaction], T]:
    """An operation that this task's or group's Temporal workflow asked for: it needs no sync about it."""

    def asking(tx: Transaction) -> T:
        tx.asking = subject_id
        try:
            return settled(tx, op)
        finally:
            tx.asking = None

    return asking


class Unsettled(Exception):
    """What follows from an operation broke: it is done once more, carefully."""


def settled(tx: Transaction, op: Callable[[Transaction], T]) -> T:
    """Run `op` and all that follows from it for other tasks: that is nobody's act."""
    result = op(tx)
    if tx.ended or tx.groups:
        try:
            with tx.acting(None):
                settle(tx)
        except DurableTasksError as error:  # it is no answer to who asked for `op`
            raise Unsettled from error
    return result


def carefully(tx: Transaction, op: Callable[[Transaction], T]) -> T:
    """Settle `op` so that what is damaged costs its own task only; see containment."""
    with careful(tx):
        return settled(tx, op)


def _settling(undo: Callable[[Transaction, T], None]) -> Callable[[Transaction, T], None]:
    def undo_and_settle(tx: Transaction, result: T) -> None:
        undo(tx, result)
        settle(tx)

    return undo_and_settle
