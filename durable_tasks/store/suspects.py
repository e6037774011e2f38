"""Suspects: tasks whose attempts were lost with their process more than once, and which run alone until one of them
ends by itself.

It must not know executors, nor when a loss makes a task fail; that is in lifecycle.py.
"""

from typing import Any

from durable_tasks.lifecycle import SUSPECT_AFTER
from durable_tasks.ports import Appetite
from durable_tasks.store.rows import READY, Row
from durable_tasks.store.transaction import Transaction

PROBATION, LONGEST_PROBATION = 5.0, 60.0
TURN_BEGINS, TURN_ENDS, TURNS = 5.0, 35.0, 300.0
COMPANY_AFTER = 600.0
"""Seconds after which a suspect that found no executor at rest runs beside others."""
ELSEWHERE = (
    " AND seq NOT IN (SELECT s.seq FROM dt_suspects AS s JOIN dt_tasks AS t ON t.seq = s.seq WHERE t.ready_at > ?)"
)
"""Of ready tasks those that may run beside others, with the instant of `company_before` as its value."""


def company_before(tx: Transaction) -> float:
    """A suspect that has been ready since before this instant found no process at rest: it runs beside others."""
    return tx.now - COMPANY_AFTER


def any_are_known(tx: Transaction) -> bool:
    if tx.has_suspects is None:
        tx.has_suspects = tx.one("SELECT 1 FROM dt_suspects LIMIT 1") is not None
    return tx.has_suspects


def times_alone(tx: Transaction, row: Row) -> int:
    """How many attempts of the task were lost while nothing else ran in their process."""
    if row["lost_count"] < SUSPECT_AFTER:
        return 0
    found = tx.one("SELECT alone FROM dt_suspects WHERE seq = ?", (row["seq"],))
    return 0 if found is None else int(found[0])


def suspect(tx: Transaction, row: Row, alone: int) -> None:
    tx.run("INSERT OR REPLACE INTO dt_suspects (seq, alone) VALUES (?, ?)", (row["seq"], alone))
    tx.has_suspects = True


def acquit(tx: Transaction, row: Row) -> None:
    """An attempt has ended by itself, or the task is over."""
    if row["lost_count"] >= SUSPECT_AFTER:
        tx.run("DELETE FROM dt_suspects WHERE seq = ?", (row["seq"],))
        tx.has_suspects = None


def must_wait(tx: Transaction, row: Row) -> bool:
    """Whether the ready task may not begin just like others."""
    if row["lost_count"] < SUSPECT_AFTER or row["ready_at"] <= company_before(tx):
        return False
    return tx.one("SELECT 1 FROM dt_suspects WHERE seq = ?", (row["seq"],)) is not None


def next_in_turn(tx: Transaction, appetite: Appetite, *, lent: bool) -> tuple[int | None, bool]:
    """The suspect that has been ready for longest among those that this executor can run, or None; and whether others
    should wait, so that the executor comes to rest and can take it."""
    marks = ", ".join("?" for _ in appetite.capabilities)
    unnamed = " OR t.capability IS NULL" if appetite.unnamed else ""
    ours = " AND t.engine = 'local'" if lent else ""
    sql = (
        "SELECT t.seq, t.ready_at FROM dt_suspects AS s JOIN dt_tasks AS t ON t.seq = s.seq"
        f" WHERE t.{READY.replace(' AND ', ' AND t.')} AND t.placement = 'embedded' AND t.lane = 'open'{ours}"
        f" AND (t.capability IN ({marks}){unnamed}) ORDER BY t.ready_at, t.seq LIMIT 1"
    )
    values: tuple[Any, ...] = appetite.capabilities
    found = tx.one(sql, values)
    return (None, False) if found is None else (int(found[0]), is_their_turn(tx.now - found[1]))


def probation(lost_count: int) -> float:
    """Seconds for which a suspect runs alone: with each loss they double, up to a minute, for everybody else waits."""
    return min(PROBATION * 2.0 ** min(max(lost_count - SUSPECT_AFTER, 0), 16), LONGEST_PROBATION)


def is_their_turn(waited: float) -> bool:
    """Whether an executor should take nothing else, so that it comes to rest for a suspect that has been ready for
    `waited` seconds: half a minute in five. What else is to be done must not wait longer for it than that."""
    return TURN_BEGINS <= waited % TURNS < TURN_ENDS
