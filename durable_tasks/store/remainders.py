"""Remainders: what still follows from an end and is left to later transactions, so that nobody waits long for the lock.

It must not know how any of it is done, nor when the next transaction comes.
"""

from enum import StrEnum
from typing import Any, NamedTuple

from durable_tasks.models import Actor
from durable_tasks.store.rows import load_actor
from durable_tasks.store.transaction import Transaction


class Work(StrEnum):
    DEPENDANTS = "dependants"
    """Tell the dependants of a task that has ended."""
    CANCEL = "cancel"
    """Cancel the open members of a group that has ended."""
    REOPEN = "reopen"
    """Reopen the ended members of a group that is retried."""
    ADVANCE = "advance"
    """Roll a group up."""


class Remainder(NamedTuple):
    subject_id: str
    work: Work
    after: str
    """How far it has come: the id or number of the last row that was done."""
    reason: str | None
    actor: Actor | None
    """Who asked for it; None: it follows from an end."""


_REMAINDER = "subject_id, work, after, reason, actor"


def leave(tx: Transaction, subject_id: str, work: Work, *, after: str = "", reason: str | None = None) -> None:
    """Leave it to a later transaction, behind what others have left: a long one holds up no short one. It stays the
    act of whoever acts now."""
    tx.run(
        f"INSERT OR REPLACE INTO dt_remainders ({_REMAINDER}) VALUES (?, ?, ?, ?, ?)",
        (subject_id, work.value, after, reason, tx.by),
    )
    tx.notice.due = tx.now if tx.notice.due is None else min(tx.notice.due, tx.now)


def take(tx: Transaction) -> Remainder | None:
    """Take out what was left first."""
    found = tx.one(f"SELECT {_REMAINDER} FROM dt_remainders ORDER BY seq LIMIT 1")
    if found is None:
        return None
    drop(tx, found[0])
    return _remainder(found)


def drop(tx: Transaction, subject_id: str) -> None:
    tx.run("DELETE FROM dt_remainders WHERE subject_id = ?", (subject_id,))


def exists(tx: Transaction) -> bool:
    return tx.one("SELECT 1 FROM dt_remainders LIMIT 1") is not None


def find(tx: Transaction, subject_id: str, work: Work) -> Remainder | None:
    """What is left of this work, if anything."""
    sql = f"SELECT {_REMAINDER} FROM dt_remainders WHERE subject_id = ? AND work = ?"
    found = tx.one(sql, (subject_id, work.value))
    return None if found is None else _remainder(found)


def _remainder(values: tuple[Any, ...]) -> Remainder:
    subject_id, work, after, reason, actor = values
    return Remainder(subject_id, Work(work), after, reason, load_actor(actor))
