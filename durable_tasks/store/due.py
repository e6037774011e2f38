"""What is due: deadlines, timeouts, leases, backoffs and delays whose instant has come.

It must not know the clock; it is called with a transaction's time.
"""

from functools import partial
from time import monotonic

from durable_tasks.lifecycle import HELD, TERMINAL, Loss
from durable_tasks.models import TaskError, TaskState
from durable_tasks.store import remainders
from durable_tasks.store.containment import contained
from durable_tasks.store.endings import end_failed, end_lost, end_refused
from durable_tasks.store.moves import attempt_stopped, by_seq, due_at, move
from durable_tasks.store.settlement import go_on
from durable_tasks.store.transaction import MOMENT, Transaction

S = TaskState


def expire(tx: Transaction, limit: int) -> tuple[int, float | None]:
    """Do what is due, for a moment: go on with what follows from earlier ends; give up stopping attempts, end what is
    past its deadline, timeout or lease, and wake what has slept long enough. Answers how much was done, nothing only
    when nothing was due, and when the next is."""
    begun = monotonic()
    done = go_on(tx, begun + MOMENT / 2)
    rows = tx.all(
        "SELECT seq FROM dt_tasks WHERE due_at IS NOT NULL AND due_at <= ? ORDER BY due_at LIMIT ?", (tx.now, limit)
    )
    for (seq,) in rows:
        contained(tx, seq, partial(_expire, tx, seq))
        done += 1
        if monotonic() > begun + MOMENT:
            break
    found = tx.one("SELECT MIN(due_at) FROM dt_tasks WHERE due_at IS NOT NULL")
    instants = (remainders.next_at(tx), None if found is None else found[0])
    return done, min((instant for instant in instants if instant is not None), default=None)


def _expire(tx: Transaction, seq: int) -> None:
    row = by_seq(tx, seq)
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
    else:  # nothing was due, whatever the row said: it would be looked at for ever
        tx.run("UPDATE dt_tasks SET due_at = ? WHERE seq = ?", (due_at(row), seq))


def _passed(instant: float | None, now: float) -> bool:
    return instant is not None and instant <= now
