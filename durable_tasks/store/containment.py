"""Containment: one task that cannot be read, begun or moved is set aside, and everything else goes on.

It must not know what is done with a task.
"""

import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from durable_tasks.lifecycle import is_terminal
from durable_tasks.models import TaskError
from durable_tasks.store.connection import Damaged, replacing
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


@contextmanager
def careful(tx: Transaction) -> Iterator[None]:
    """Meanwhile each task is done by itself, and text that is no UTF-8 can be read."""
    if tx.careful:
        yield
        return
    tx.careful = True
    try:
        with replacing(tx.conn):
            yield
    finally:
        tx.careful = False


def contained(tx: Transaction, seq: int, work: Callable[[], T]) -> T | None:
    """Do `work` of one task. If that breaks, what it wrote and told is undone, the task is set aside, and the answer is
    None."""
    try:
        with tx.undoing():
            return work()
    except sqlite3.Error:
        raise
    except Exception as error:
        log.exception("a task could not be read or moved and is set aside", extra={"seq": seq})
        set_aside(tx, seq, error)
        return None


def require_sound(row: Row) -> None:
    """Raise ValueError when some text of the row is not what was once written."""
    damaged = [column for column, value in row.items() if isinstance(value, Damaged)]
    if damaged:
        raise ValueError(f"no UTF-8: {', '.join(damaged)}")


def set_aside(tx: Transaction, seq: int, error: Exception) -> None:
    """The task has failed, with an event, and no retry. One that has ended, or cannot even be failed as others are, is
    looked at again a minute later."""
    failure = TaskError(type=UNREADABLE, message=f"it cannot be read or moved: {shown(error, 1000)}")
    try:
        with tx.undoing():
            row = by_seq(tx, seq)
            if is_terminal(row["state"]):
                _look_later(tx, seq)
            else:
                end_refused(tx, row, failure)
    except sqlite3.Error:
        raise
    except Exception:
        log.exception("a task could not be set aside as others are", extra={"seq": seq})
        tx.run(
            "UPDATE dt_tasks SET state = 'failed', completed_at = ?, error = ?, due_at = NULL, version = version + 1"
            " WHERE seq = ? AND completed_at IS NULL",
            (tx.now, dump_error(failure), seq),
        )


def _look_later(tx: Transaction, seq: int) -> None:
    tx.run("UPDATE dt_tasks SET due_at = ? WHERE seq = ? AND due_at IS NOT NULL", (tx.now + AFTER_FAILURE, seq))
