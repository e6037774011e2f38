"""Status: what SQLite says of a task or group to the Temporal workflow that was started for one generation of it.

It must not know who asks, nor change anything.
"""

import sqlite3

from durable_tasks.contracts import (
    INLINE_LIMIT,
    GroupRef,
    GroupStatus,
    Ref,
    TaskRef,
    TaskStatus,
    Verdict,
    execution_id,
)
from durable_tasks.errors import NotFound
from durable_tasks.lifecycle import HELD, is_terminal
from durable_tasks.models import Placement, TaskState, WorkflowState
from durable_tasks.store.rows import BROKEN, TASK, WORKFLOW, Row, load, load_error, load_or, task_row, workflow_row

GROUP = "group"
"""What stands for the placement of a submitted group."""


def ref_of(conn: sqlite3.Connection, subject_id: str, generation: int, org_id: str, placement: str) -> Ref:
    """The ref of a submission's subject."""
    if placement == GROUP:
        kind = conn.execute("SELECT kind FROM dt_workflows WHERE id = ?", (subject_id,)).fetchone()[0]
        return GroupRef(workflow_id=subject_id, org_id=org_id, generation=generation, kind=kind)
    priority = conn.execute("SELECT priority FROM dt_tasks WHERE id = ?", (subject_id,)).fetchone()[0]
    return TaskRef(
        task_id=subject_id,
        org_id=org_id,
        generation=generation,
        placement=Placement(placement),
        priority=priority,
    )


def read_status(conn: sqlite3.Connection, ref: Ref, now: float) -> TaskStatus | GroupStatus:
    """Raises NotFound."""
    return read_task_status(conn, ref, now) if isinstance(ref, TaskRef) else read_group_status(conn, ref)


def read_task_status(conn: sqlite3.Connection, ref: TaskRef, now: float) -> TaskStatus:
    """Of the ref's own generation, also when the task has gone on to a newer one. Raises NotFound."""
    row = task_of(conn, ref)
    if ref.generation < row["generation"]:
        return _task_of_older(row, *_outcome(conn, ref))
    return task_status(row, now)


def task_of(conn: sqlite3.Connection, ref: TaskRef) -> Row:
    found = conn.execute(
        f"SELECT {TASK} FROM dt_tasks WHERE id = ? AND org_id = ?", (ref.task_id, ref.org_id)
    ).fetchone()
    if found is None:
        raise NotFound(f"there is no task {ref.task_id} in {ref.org_id}", id=ref.task_id)
    return task_row(found)


def group_of(conn: sqlite3.Connection, ref: GroupRef) -> Row:
    found = conn.execute(
        f"SELECT {WORKFLOW} FROM dt_workflows WHERE id = ? AND org_id = ?", (ref.workflow_id, ref.org_id)
    ).fetchone()
    if found is None:
        raise NotFound(f"there is no workflow {ref.workflow_id} in {ref.org_id}", id=ref.workflow_id)
    return workflow_row(found)


def _outcome(conn: sqlite3.Connection, ref: Ref) -> tuple[str | None, str | None]:
    """How that very generation ended, as far as it was noted."""
    found = conn.execute(
        "SELECT outcome, error FROM dt_submissions WHERE subject_id = ? AND generation = ?",
        (ref.subject_id, ref.generation),
    ).fetchone()
    return (None, None) if found is None else (found[0], found[1])


def task_status(row: Row, now: float) -> TaskStatus:
    """Of the row's own generation."""
    state = TaskState(row["state"])
    output = row["output"]
    large = output is not None and len(output) > INLINE_LIMIT
    inline = BROKEN if large else load_or(output, BROKEN)
    return TaskStatus(
        verdict=_verdict(row, state, now),
        state=state,
        version=row["version"],
        attempt=row["attempt"],
        wait_until=row["wake_at"] if state in (TaskState.SCHEDULED, TaskState.RETRYING) else row["stop_by"],
        output=None if inline is BROKEN else inline,
        output_in_store=inline is BROKEN,
        error=load_error(row["error"]),
        reason=row["reason"],
        progress=row["progress"],
        progress_message=row["progress_message"],
        assigned_to=row["assigned_to"] or row["reserved_for"],
    )


def _task_of_older(row: Row, outcome: str | None, error: str | None) -> TaskStatus:
    return TaskStatus(
        verdict=Verdict.SUPERSEDED if outcome is None else Verdict.ENDED,
        state=TaskState(outcome or row["state"]),
        version=row["version"],
        attempt=row["attempt"],
        error=load_error(error),
    )


def _verdict(row: Row, state: TaskState, now: float) -> Verdict:
    if is_terminal(state):
        return Verdict.ENDED
    if state in HELD or (state is TaskState.PENDING and row["stop_by"] is None):
        return Verdict.LIVE
    if state is TaskState.RETRYING and row["stop_by"] is None and row["wake_at"] <= now:
        return Verdict.LIVE
    return Verdict.WAIT


def read_group_status(conn: sqlite3.Connection, ref: GroupRef) -> GroupStatus:
    """As read_task_status, of a workflow (group). Raises NotFound."""
    row = group_of(conn, ref)
    if ref.generation < row["generation"]:
        outcome, error = _outcome(conn, ref)
        verdict = Verdict.SUPERSEDED if outcome is None else Verdict.ENDED
        state = WorkflowState(outcome or row["state"])
        return GroupStatus(verdict=verdict, state=state, version=row["version"], error=load_error(error))
    return group_status(conn, row)


def group_status(conn: sqlite3.Connection, row: Row) -> GroupStatus:
    state = WorkflowState(row["state"])
    ended = is_terminal(state)
    size = 0
    if state is WorkflowState.COMPLETED:
        for (length,) in conn.execute("SELECT LENGTH(output) FROM dt_tasks WHERE workflow_id = ?", (row["id"],)):
            size += length or 0
            if size > INLINE_LIMIT:  # there may be gigabytes
                break
    inline = state is WorkflowState.COMPLETED and size <= INLINE_LIMIT
    output = _outputs(conn, row["id"]) if inline else None
    return GroupStatus(
        verdict=Verdict.ENDED if ended else Verdict.LIVE,
        state=state,
        version=row["version"],
        ready=0 if ended else _ready_members(conn, row["id"]),
        stop=_stopping_members(conn, row["id"]),
        output=output,
        output_in_store=size > INLINE_LIMIT or (inline and output is None),
        error=load_error(row["error"]),
    )


def _ready_members(conn: sqlite3.Connection, workflow_id: str) -> int:
    sql = (
        "SELECT COUNT(*) FROM dt_tasks WHERE workflow_id = ? AND state = 'pending' AND placement = 'external'"
        " AND stop_by IS NULL"
    )
    return int(conn.execute(sql, (workflow_id,)).fetchone()[0])


def _stopping_members(conn: sqlite3.Connection, workflow_id: str) -> tuple[str, ...]:
    """By the index of what external workers have of it: there is little of that, and many members."""
    sql = (
        "SELECT id, attempt FROM dt_tasks INDEXED BY dt_tasks_remote_members WHERE placement = 'external'"
        " AND token IS NOT NULL AND stop_by IS NOT NULL AND workflow_id = ?"
    )
    return tuple(execution_id(*found) for found in conn.execute(sql, (workflow_id,)))


def _outputs(conn: sqlite3.Connection, workflow_id: str) -> list[object] | None:
    """None when one of them is damaged."""
    sql = "SELECT output FROM dt_tasks WHERE workflow_id = ? ORDER BY position"
    try:
        return [load(output) for (output,) in conn.execute(sql, (workflow_id,))]
    except ValueError:
        return None
