"""What is due: deadlines, timeouts, leases, backoffs and delays whose instant has come.

It must not know the clock; it is called with a transaction's time.
"""

import logging
import sqlite3

from durable_tasks.lifecycle import HELD, TERMINAL, Loss
from durable_tasks.models import TaskError, TaskState
from durable_tasks.store.endings import end_failed, end_lost, end_refused
from durable_tasks.store.moves import attempt_stopped, by_seq, move
from durable_tasks.store.rows import Row
from durable_tasks.store.settlement import go_on
from durable_tasks.store.transaction import Transaction

S = TaskState
log = logging.getLogger("durable_tasks.store")

AFTER_FAILURE = 60.0


def expire(tx: Transaction, limit: int) -> tuple[int, float | None]:
    """Do what is due: go on with what follows from earlier ends; give up stopping attempts, end what is past its
    deadline, timeout or lease, and wake what has slept long enough. Answers how many rows were due, and when the next
    is."""
    went_on = go_on(tx)
    rows = tx.all(
        "SELECT seq FROM dt_tasks WHERE due_at IS NOT NULL AND due_at <= ? ORDER BY due_at LIMIT ?", (tx.now, limit)
    )
    for (seq,) in rows:
        _contained(tx, seq)
    found = tx.one("SELECT MIN(due_at) FROM dt_tasks WHERE due_at IS NOT NULL")
    return len(rows) + went_on, None if found is None else found[0]


def _contained(tx: Transaction, seq: int) -> None:
    """Do what is due for one row. If that breaks, only this row is late: the file's clock must not stop with it."""
    ended = len(tx.ended)
    tx.run("SAVEPOINT due")
    try:
        _expire(tx, by_seq(tx, seq))
    except sqlite3.Error:
        raise
    except Exception:
        log.exception("what is due for one task broke and is tried again later", extra={"seq": seq})
        tx.run("ROLLBACK TO due")
        tx.last_seq.clear()
        del tx.ended[ended:]
        tx.run("UPDATE dt_tasks SET due_at = ? WHERE seq = ?", (tx.now + AFTER_FAILURE, seq))
    tx.run("RELEASE due")


def _expire(tx: Transaction, row: Row) -> None:
    state = S(row["state"])
    held = state in HELD
    if _passed(row["stop_by"], tx.now):
        attempt_stopped(tx, row)
    elif state not in TERMINAL and _passed(row["deadline_at"], tx.now):
        error = TaskError(type="deadline", message="the deadline passed before the task was completed")
        end_refused(tx, row, error)
    elif held and _passed(row["timeout_at"], tx.now):
        error = TaskError(type="timeout", message=f"the attempt ran longer than its timeout, {row['timeout']} s")
        end_failed(tx, row, error, retryable=True, stop=row["process"] is not None)
    elif held and _passed(row["lease_expires_at"], tx.now):
        end_lost(tx, row, "its lease ended without a heartbeat", Loss.BLAMELESS)
    elif state in (S.SCHEDULED, S.RETRYING) and _passed(row["wake_at"], tx.now):
        move(tx, row, S.PENDING, "task.ready")


def _passed(instant: float | None, now: float) -> bool:
    return instant is not None and instant <= now
