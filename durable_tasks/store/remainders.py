"""Remainders: what still follows from an end and is left to later transactions, so that nobody waits long for the lock.

It must not know how any of it is done, nor when the next transaction comes.
"""

from enum import StrEnum
from typing import Any, NamedTuple

from durable_tasks.models import Actor
from durable_tasks.store.rows import dump_actor, load_actor
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
    after: str = ""
    """How far it has come: the id or number of the last row that was done."""
    reason: str | None = None
    actor: Actor | None = None
    """Who asked for it; None: it follows from an end."""


_REMAINDER = "subject_id, work, after, reason, actor"

AFTER_FAILURE = 60.0
"""Seconds before what broke is tried again."""
_PUT_OFF = "(not_before > ?1 AND not_before <= ?1 + ?2)"  # farther away it was never put: the clock was set back since


def leave(tx: Transaction, subject_id: str, work: Work, *, after: str = "", reason: str | None = None) -> None:
    """Leave it to a later transaction, behind what others have left: a long one holds up no short one. It stays the
    act of whoever acts now. It takes the place of what was left of the same work."""
    tx.run(
        f"INSERT OR REPLACE INTO dt_remainders ({_REMAINDER}) VALUES (?, ?, ?, ?, ?)",
        (subject_id, work.value, after, reason, tx.by),
    )
    _announce(tx, tx.now)


def put_off(tx: Transaction, left: Remainder) -> None:
    """Leave what broke to a transaction a minute later."""
    actor = None if left.actor is None else dump_actor(left.actor)
    not_before = tx.now + AFTER_FAILURE
    tx.run(
        f"INSERT OR REPLACE INTO dt_remainders ({_REMAINDER}, not_before) VALUES (?, ?, ?, ?, ?, ?)",
        (left.subject_id, left.work.value, left.after, left.reason, actor, not_before),
    )
    _announce(tx, not_before)


def _announce(tx: Transaction, instant: float) -> None:
    tx.notice.due = instant if tx.notice.due is None else min(tx.notice.due, instant)


def take(tx: Transaction) -> Remainder | None:
    """Take out what was left first."""
    sql = f"SELECT {_REMAINDER} FROM dt_remainders WHERE {_PUT_OFF} IS NOT 1 ORDER BY seq LIMIT 1"
    found = tx.one(sql, (tx.now, AFTER_FAILURE))
    if found is None:
        return None
    drop(tx, found[0], Work(found[1]))
    return _remainder(found)


def next_at(tx: Transaction) -> float | None:
    """When the first is tried again of those that are put off."""
    found = tx.one("SELECT MIN(not_before) FROM dt_remainders")
    return None if found is None else found[0]


def drop(tx: Transaction, subject_id: str, *works: Work) -> None:
    """What is left of these kinds of work is not done any more."""
    for work in works:
        tx.run("DELETE FROM dt_remainders WHERE subject_id = ? AND work = ?", (subject_id, work.value))


def find(tx: Transaction, subject_id: str, work: Work) -> Remainder | None:
    """What is left of this work, if anything."""
    sql = f"SELECT {_REMAINDER} FROM dt_remainders WHERE subject_id = ? AND work = ?"
    found = tx.one(sql, (subject_id, work.value))
    return None if found is None else _remainder(found)


def _remainder(values: tuple[Any, ...]) -> Remainder:
    subject_id, work, after, reason, actor = values
    return Remainder(subject_id, Work(work), after, reason, load_actor(actor))
