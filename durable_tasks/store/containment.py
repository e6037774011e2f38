"""Containment: one task that cannot be read, begun or moved is set aside, and everything else goes on.

It must not know what is done with a task.
"""

import logging
import sqlite3
from collections.abc import Callable
from typing import TypeVar

from durable_tasks.lifecycle import is_terminal
from durable_tasks.models import TaskError
from durable_tasks.store.connection import Damaged
from durable_tasks.store.endings import end_refused
from durable_tasks.store.moves import by_seq
from durable_tasks.store.rows import UNREADABLE, Row, dump_error
from durable_tasks.store.transaction import Transaction
from durable_tasks.wording import shown

T = TypeVar("T")
log = logging.getLogger("durable_tasks.store")

AFTER_FAILURE = 60.0


def apart(tx: Transaction, seq: int, work: Callable[[], T]) -> T | None:
    """Do `work` of one task; `contained` when an operation has broken once and is done carefully. A savepoint for each
    task would cost a third of all speed, and what breaks is rare."""
    return contained(tx, seq, work) if tx.careful else work()


def contained(tx: Transaction, seq: int, work: Callable[[], T]) -> T | None:
    """Do `work` of one task. If that breaks, what it wrote is undone, the task is set aside, and None the answer."""
    ended = len(tx.ended)
    tx.run("SAVEPOINT one")
    try:
        return work()
    except sqlite3.Error:
        raise
    except Exception as error:
        log.exception("a task could not be read or moved and is set aside", extra={"seq": seq})
        tx.run("ROLLBACK TO one")
        tx.last_seq.clear()
        del tx.ended[ended:]
        set_aside(tx, seq, error)
        return None
    finally:
        if tx.conn.in_transaction:
            tx.run("RELEASE one")


def require_sound(row: Row) -> None:
    """Raise ValueError when some text of the row is not what was once written."""
    damaged = [column for column, value in row.items() if isinstance(value, Damaged)]
    if damaged:
        raise ValueError(f"no UTF-8: {', '.join(damaged)}")


def set_aside(tx: Transaction, seq: int, error: Exception) -> None:
    """The task has failed, with an event, and no retry. One that has ended, or cannot even be failed as others are, is
    looked at again a minute later."""
    failure = TaskError(type=UNREADABLE, message=f"it cannot be read or moved: {shown(error, 1000)}")
    tx.run("SAVEPOINT aside")
    try:
        row = by_seq(tx, seq)
        if is_terminal(row["state"]):
            _look_later(tx, seq)
        else:
            end_refused(tx, row, failure)
    except sqlite3.Error:
        raise
    except Exception:
        log.exception("a task could not be set aside as others are", extra={"seq": seq})
        tx.run("ROLLBACK TO aside")
        tx.last_seq.clear()
        tx.run(
            "UPDATE dt_tasks SET state = 'failed', completed_at = ?, error = ?, due_at = NULL, version = version + 1"
            " WHERE seq = ? AND completed_at IS NULL",
            (tx.now, dump_error(failure), seq),
        )
    tx.run("RELEASE aside")


def _look_later(tx: Transaction, seq: int) -> None:
    tx.run("UPDATE dt_tasks SET due_at = ? WHERE seq = ? AND due_at IS NOT NULL", (tx.now + AFTER_FAILURE, seq))
