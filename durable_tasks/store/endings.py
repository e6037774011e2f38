"""Endings: what a task's row becomes when its attempt ends, by whatever hand, and when it is opened again.

It must not know who ended it; callers have checked that they may.
"""

from durable_tasks.lifecycle import HELD, SUSPECT_AFTER, Loss, after_failure, after_loss
from durable_tasks.models import TaskError, TaskState
from durable_tasks.store import suspects
from durable_tasks.store.moves import (
    end_attempt,
    move,
    replaced,
    stop_attempt,
)
from durable_tasks.store.rows import Row, dump_error, load_retry, text_hash
from durable_tasks.store.transaction import Transaction

S = TaskState

UNTOUCHED = {"progress": 0.0, "progress_message": None, "started_at": None, "assigned_to": None}
"""The columns of a task that nobody works on."""


def end_completed(tx: Transaction, row: Row, output: str | None) -> None:
    free = end_attempt(tx, row, "completed", answer_hash=text_hash(output))
    move(tx, row, S.COMPLETED, "task.completed", **free, output=output, error=None, reason=None, progress=100.0)


def end_failed(
    tx: Transaction, row: Row, error: TaskError, *, retryable: bool, after: float | None = None, stop: bool = False
) -> None:
    onward = after_failure(
        retry_count=row["retry_count"],
        max_retries=row["max_retries"],
        lost_count=row["lost_count"],
        policy=load_retry(row["retry"]),
        retryable=retryable,
        after=after,
    )
    text = dump_error(error)
    if not stop:
        suspects.acquit(tx, row)
    ended = (
        stop_attempt(tx, row, error=error)
        if stop
        else end_attempt(tx, row, "failed", error=text, answer_hash=text_hash(text))
    )
    facts = {"error": error.type, "retry_in": onward.delay if onward.state is S.RETRYING else None}
    wake_at = tx.now + onward.delay if onward.state is S.RETRYING else None
    kept = {} if onward.state is S.FAILED else UNTOUCHED
    move(
        tx, row, onward.state, f"task.{onward.state}", facts,
        **{**ended, **kept, "error": text, "retry_count": onward.retry_count, "wake_at": wake_at},
    )  # fmt: skip


def end_released(tx: Transaction, row: Row, why: str) -> None:
    free = end_attempt(tx, row, "released")
    move(tx, row, S.PENDING, "task.released", {"why": why}, **{**free, **UNTOUCHED})


def end_lost(tx: Transaction, row: Row, why: str, loss: Loss) -> None:
    onward = after_loss(
        retry_count=row["retry_count"],
        lost_count=row["lost_count"],
        alone=suspects.times_alone(tx, row),
        loss=loss,
        max_lost=tx.rules.max_lost,
    )
    free = end_attempt(tx, row, "lost")
    if onward.poison:
        times = f"{onward.alone} attempts were lost while nothing ran beside them"
        if loss is Loss.ELSEWHERE:
            times = f"{onward.lost_count} attempts were lost"
        error = dump_error(TaskError(type="poison", message=f"{times}; the last: {why}"))
        move(tx, row, S.FAILED, "task.failed", {"error": "poison"}, **free, lost_count=onward.lost_count, error=error)
        return
    told: Row = {"why": why}
    if onward.delay:
        told["retry_in"], free["wake_at"] = onward.delay, tx.now + onward.delay
    move(tx, row, onward.state, "task.lost", told, **{**free, **UNTOUCHED, "lost_count": onward.lost_count})
    if onward.lost_count >= SUSPECT_AFTER and loss in (Loss.TOGETHER, Loss.ALONE):
        suspects.suspect(tx, row, onward.alone)


def end_refused(tx: Transaction, row: Row, error: TaskError) -> None:
    """Fail an open task at once, whatever retries it has left; its attempt, if any, is told to stop."""
    held = TaskState(row["state"]) in HELD
    stopped = stop_attempt(tx, row, error=error) if held else {}
    changes = {**stopped, "error": dump_error(error), "wake_at": None}
    move(tx, row, S.FAILED, "task.failed", {"error": error.type}, **changes)


def reopen(tx: Transaction, row: Row, *, hold: bool = False) -> None:
    """The next generation of an ended task: blocked while a dependency is unfinished or its group holds it,
    else pending."""
    blocked_by = _count_unmet(tx, row)
    state = S.BLOCKED if blocked_by or hold else S.PENDING
    deadline_at = row["deadline_at"]
    if deadline_at is not None and deadline_at <= tx.now:
        deadline_at = None  # it was missed; a retry by hand is not bound by it
    engine = tx.engine_or(row["engine"])
    move(
        tx, row, state, "task.retried", None,
        **{**UNTOUCHED, "engine": engine, "placement": replaced(tx, row, engine), "blocked_by": blocked_by,
           "generation": row["generation"] + 1, "retry_count": 0, "lost_count": 0, "error": None, "reason": None,
           "output": None, "deadline_at": deadline_at},
    )  # fmt: skip


def _count_unmet(tx: Transaction, row: Row) -> int:
    """Dependencies that the task still waits for. Nobody told it of those that ended while it had ended itself."""
    if row["depends_on"] == "[]":
        return 0
    ended = "'completed', 'failed', 'cancelled'" if row["on_dependency_failure"] == "run" else "'completed'"
    tx.run(
        "UPDATE dt_dependencies SET met = 1 WHERE child = ? AND met = 0"
        f" AND EXISTS (SELECT 1 FROM dt_tasks AS t WHERE t.id = parent AND t.state IN ({ended}))",
        (row["id"],),
    )
    found = tx.one("SELECT COUNT(*) FROM dt_dependencies WHERE child = ? AND met = 0", (row["id"],))
    return 0 if found is None else int(found[0])
