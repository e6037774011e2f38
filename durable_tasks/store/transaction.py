"""The transaction that an operation sees, and running a batch of operations inside one.

It must not know what an operation does, nor threads or the event loop.
"""

import sqlite3
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import thread_time
from typing import Any, TypeVar, cast

from durable_tasks.models import Actor
from durable_tasks.ports import Ids, Notice
from durable_tasks.quotas import Allowance
from durable_tasks.settings import Settings
from durable_tasks.store.connection import REFUSED_VALUES, is_undecodable
from durable_tasks.store.rows import dump_actor, dump_said

T = TypeVar("T")

STEP = 50
"""Rows that follow from one operation and are moved with it; others are left to later transactions."""
MOMENT = 0.02
"""Seconds for which a transaction goes on with what is due or was left: whoever comes meanwhile waits for it."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that decide what becomes of a task, and this process's name among the others."""

    instance: str = ""
    max_lost: int = 5
    cancel_grace: float = 30.0
    switch_grace: float = 60.0
    heartbeat: float = 30.0
    """Seconds of silence after which an external worker counts as lost."""
    queue: str = "default"
    """The work queue of external tasks that name none."""
    runs_here: bool = True
    """Whether the file's processes run handlers of tasks that name no other queue."""
    namespace_of: Callable[[str], str] = lambda org_id: "default"
    """organisation → its Temporal namespace"""
    most_tokens: int = 0
    """API tokens of one organisation that count at a time; 0: any number."""

    @classmethod
    def of(cls, settings: Settings, instance: str) -> "Rules":
        """Of a process of this name, with these settings."""
        return cls(
            instance=instance,
            max_lost=settings.max_lost,
            cancel_grace=settings.cancel_grace,
            switch_grace=settings.switch_grace,
            heartbeat=settings.heartbeat_timeout,
            queue=settings.queue,
            runs_here=settings.runs_here,
            namespace_of=settings.namespace_of,
            most_tokens=settings.most("org_tokens"),
        )


@dataclass(slots=True)
class Transaction:
    """What one operation sees: the connection inside an immediate transaction, the time, fresh ids, and
    the notice it fills for those who wait. `ended` and `groups` carry what is to be settled before it ends."""

    conn: sqlite3.Connection
    now: float
    ids: Ids
    rules: Rules = Rules()
    notice: Notice = field(default_factory=Notice)
    last_seq: dict[str, int] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    groups: dict[str, None] = field(default_factory=dict)
    steps: int = STEP
    """How many rows may still be moved for what follows from the operation."""
    careful: bool = False
    """The operation broke once, on what it met in the file: each task is now done by itself."""
    engine: str | None = None
    stands: bool = False
    """This process was found to have its row."""
    has_suspects: bool | None = None
    """Whether any were found; None: nobody looked yet."""
    asking: str | None = None
    """The task or group whose Temporal workflow asked for this operation: it hears the answer itself."""
    actor: Actor | None = None
    """Who does this operation, where somebody acts through an Org of his own."""
    said: str | None = None
    """Else whom the operation names as who does it."""
    names: frozenset[str] | None = None
    """Under which the actor may give away what is reserved or held; None: anybody's."""
    allowance: Allowance | None = None
    """What is left of the quota of what the operation stores; None: any number."""

    def begin(self) -> None:
        """The next operation: nothing is left of the one before but what it has to tell."""
        self.steps = STEP
        self.actor = self.said = self.names = self.allowance = None

    @property
    def actor_name(self) -> str | None:
        return None if self.actor is None else self.actor.name

    @property
    def by(self) -> str | None:
        """Who is recorded as having done what is written now."""
        if self.actor is not None:
            return dump_actor(self.actor)
        return None if self.said is None else dump_said(self.said)

    def make_room(self, wanted: int) -> None:
        """Before so much more is stored of what has a quota. Raises QuotaExceeded."""
        if self.allowance is not None:
            self.allowance.take(wanted)

    @contextmanager
    def acting(self, actor: Actor | None) -> Iterator[None]:
        """What is done meanwhile is the act of `actor`, or nobody's."""
        before = self.actor, self.said
        self.actor, self.said = actor, None
        try:
            yield
        finally:
            self.actor, self.said = before

    @contextmanager
    def undoing(self) -> Iterator[None]:
        """What is done meanwhile is undone when it breaks: what it wrote, what it noted to be settled, and what it told
        those who wait."""
        before = self.notice, self.ended, self.groups
        self.notice, self.ended, self.groups = Notice(), [], {}
        self.run("SAVEPOINT undoing")
        try:
            yield
        except BaseException:
            self.notice, self.ended, self.groups = before
            self.forget()
            if self.conn.in_transaction:
                self.run("ROLLBACK TO undoing")
                self.run("RELEASE undoing")
            raise
        self.run("RELEASE undoing")
        merge(before[0], self.notice)
        before[1].extend(self.ended)
        before[2].update(self.groups)
        self.notice, self.ended, self.groups = before

    def forget(self) -> None:
        """What was found in the file may have been undone."""
        self.last_seq.clear()
        self.stands, self.has_suspects = False, None

    def engine_or(self, fallback: str) -> str:
        """The engine that drives this file now. It is asked here, under the lock: what a process saw when it
        started may have been switched since, and tasks of an engine that nobody runs would be stuck."""
        if self.engine is None:
            found = self.one("SELECT value FROM dt_meta WHERE key = 'engine'")
            self.engine = fallback if found is None else str(found[0])
        return self.engine

    def one(self, sql: str, values: tuple[Any, ...] | list[Any] = ()) -> tuple[Any, ...] | None:
        return cast("tuple[Any, ...] | None", self.conn.execute(sql, values).fetchone())

    def all(self, sql: str, values: tuple[Any, ...] | list[Any] = ()) -> list[tuple[Any, ...]]:
        return self.conn.execute(sql, values).fetchall()

    def run(self, sql: str, values: tuple[Any, ...] | list[Any] = ()) -> sqlite3.Cursor:
        return self.conn.execute(sql, values)


Operation = Callable[[Transaction], T]
Undo = Callable[[Transaction, T], None]
Answer = tuple[Any, Exception | None]


class Spoiled(Exception):
    """An operation failed after it had written: all of its transaction is to be rolled back and run apart."""

    def __init__(self, place: int) -> None:
        super().__init__(place)
        self.place = place


def run_together(tx: Transaction, ops: Sequence[Operation[Any]], apart: Container[int], until: float) -> list[Answer]:
    """Run operations without savepoints: each would copy every page that its operation changes, a third of the
    whole cost. Only those at the places `apart` have one. Once the thread's own clock says `until` no other is begun:
    there are as many answers as were run. Raises Spoiled."""
    answers: list[Answer] = []
    for place, op in enumerate(ops):
        if answers and thread_time() > until:
            break
        if place in apart:
            answers.append(run_apart(tx, op))
            continue
        tx.begin()
        written = tx.conn.total_changes
        try:
            answers.append((op(tx), None))
        except Exception as error:
            raise_fatal(tx.conn, error)
            if tx.conn.total_changes != written:
                raise Spoiled(place) from error
            answers.append(_refused(tx, error))
    return answers


def run_apart(tx: Transaction, op: Operation[Any]) -> Answer:
    """Run one operation in its savepoint: a failing one rolls back alone."""
    tx.begin()
    try:
        with tx.undoing():
            return op(tx), None
    except Exception as error:
        raise_fatal(tx.conn, error)
        return _refused(tx, error)


def raise_fatal(conn: sqlite3.Connection, error: Exception) -> None:
    """Our own errors and SQLite's refusals of a row or value fail their operation alone; an error of the file
    itself (disk full, I/O) ends the whole batch, and perhaps SQLite has rolled it back already."""
    of_one = (sqlite3.IntegrityError, *REFUSED_VALUES)
    alone = not isinstance(error, sqlite3.Error) or isinstance(error, of_one) or is_undecodable(error)
    if not (alone and conn.in_transaction):
        raise error


def _refused(tx: Transaction, error: Exception) -> Answer:
    tx.forget()
    tx.ended.clear()
    tx.groups.clear()
    return None, error


def merge(into: Notice, more: Notice) -> None:
    into.ready |= more.ready
    into.outbox |= more.outbox
    into.foreign |= more.foreign
    if more.due is not None and (into.due is None or more.due < into.due):
        into.due = more.due
    into.buried |= more.buried
    into.suspects |= more.suspects
    into.orgs |= more.orgs
    into.ended += more.ended
    into.stop += more.stop
    into.begun += more.begun
    into.outcomes += more.outcomes
