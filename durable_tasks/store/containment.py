"""Containment: one task that cannot be read, begun or moved is set aside, and everything else goes on.

It must not know what is done with a task.
"""

import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from durable_tasks.errors import DurableTasksError, InvalidInput
from durable_tasks.lifecycle import is_terminal
from durable_tasks.models import TaskError, TaskState
from durable_tasks.store.connection import Damaged, replacing
from durable_tasks.store.endings import end_refused
from durable_tasks.store.events import task_event
from durable_tasks.store.moves import by_seq
from durable_tasks.store.rows import UNREADABLE, Row, dump_error
from durable_tasks.store.transaction import Transaction
from durable_tasks.wording import shown

T = TypeVar("T")
log = logging.getLogger("durable_tasks.store")

AFTER_FAILURE = 60.0


def apart(tx: Transaction, seq: int, work: Callable[[], T], *, must: bool = False) -> T | None:
    """Do `work` of one task; `contained` when an operation has broken once and is done carefully. A savepoint for each
    task would cost a third of all speed, and what breaks is rare."""
    return contained(tx, seq, work, must=must) if tx.careful else work()


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


def contained(tx: Transaction, seq: int, work: Callable[[], T], *, must: bool = False) -> T | None:
    """Do `work` of one task. If that breaks, what it wrote and told is undone, the task is set aside, and the answer is
    None. A task that is no worse than others is only put off for a minute; with `must`, for work that would be lost,
    the error is raised."""
    try:
        with tx.undoing():
            return work()
    except sqlite3.Error:
        raise
    except Exception as error:
        if _is_of_data(error):
            log.exception("a task could not be read or moved and is set aside", extra={"seq": seq})
            set_aside(tx, seq, error)
        elif must:
            raise
        else:
            log.exception("a task could not be moved and is put off", extra={"seq": seq})
            _look_later(tx, seq)
        return None


def _is_of_data(error: Exception) -> bool:
    """Whether what the row holds may be the cause: not memory that is short, a setting that contradicts another, or a
    refusal of ours."""
    if isinstance(error, DurableTasksError):
        return isinstance(error, InvalidInput)
    return not isinstance(error, (MemoryError, OSError, AssertionError))


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
        _fail_plainly(tx, seq, failure)


def _fail_plainly(tx: Transaction, seq: int, failure: TaskError) -> None:
    """Fail a task whatever its row holds; its attempt, its group and its dependants learn of it all the same."""
    row: Row = {column: None if isinstance(value, Damaged) else value for column, value in by_seq(tx, seq).items()}
    if row["completed_at"] is not None:
        return
    task_id, workflow_id, error = row["id"], row["workflow_id"], dump_error(failure)
    tx.run(_FAIL, (tx.now, tx.now, error, seq))
    tx.run(
        "UPDATE dt_attempts SET state = 'failed', ended_at = ?, error = ? WHERE task_id = ? AND ended_at IS NULL",
        (tx.now, error, task_id),
    )
    task_event(tx, {**row, "state": TaskState.FAILED.value}, "task.failed", {"error": failure.type})
    if row["token"] is not None:
        tx.notice.stop.append((task_id, row["token"]))
    tx.notice.ended.append(task_id)
    tx.ended.append(task_id)
    if workflow_id is not None:
        tx.run(_RECOUNT, (workflow_id,))
        tx.groups[workflow_id] = None


_FAIL = (
    "UPDATE dt_tasks SET state = 'failed', completed_at = ?, updated_at = ?, error = ?, due_at = NULL, wake_at = NULL,"
    " token = NULL, process = NULL, lease = NULL, lease_expires_at = NULL, timeout_at = NULL, stop_by = NULL,"
    " version = version + 1 WHERE seq = ?"
)
_RECOUNT = (
    "UPDATE dt_workflows SET (active, completed, failed, cancelled) = (SELECT"
    " SUM(state NOT IN ('completed', 'failed', 'cancelled', 'blocked')), SUM(state = 'completed'),"
    " SUM(state = 'failed'), SUM(state = 'cancelled') FROM dt_tasks WHERE workflow_id = dt_workflows.id)"
    " WHERE id = ?"
)


def _look_later(tx: Transaction, seq: int) -> None:
    tx.run("UPDATE dt_tasks SET due_at = ? WHERE seq = ? AND due_at IS NOT NULL", (tx.now + AFTER_FAILURE, seq))
