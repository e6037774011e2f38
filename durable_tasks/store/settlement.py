"""Settlement: what follows from a task's end for its dependants and its group, in the same transaction.

It must not know who ended the task or why.
"""

from durable_tasks.lifecycle import Tally, roll_up
from durable_tasks.models import TaskError, TaskState, WorkflowState
from durable_tasks.store import submissions
from durable_tasks.store.events import append
from durable_tasks.store.moves import move, stop_attempt
from durable_tasks.store.rows import TASK, WORKFLOW, Row, dump, dump_error, task_row, workflow_row
from durable_tasks.store.transaction import Transaction

DEPENDENCY_FAILED = "dependency_failed"


def settle(tx: Transaction) -> None:
    """Follow every end noted in the transaction until nothing more follows: a loop, for chains are long."""
    while tx.ended or tx.groups:
        while tx.ended:
            _tell_dependants(tx, tx.ended.pop())
        if tx.groups:
            workflow_id = next(iter(tx.groups))
            del tx.groups[workflow_id]
            advance(tx, workflow_id)


def _tell_dependants(tx: Transaction, parent_id: str) -> None:
    if tx.one("SELECT 1 FROM dt_dependencies WHERE parent = ? AND met = 0 LIMIT 1", (parent_id,)) is None:
        return  # most tasks: asked by itself, since a statement of all columns costs four times as much
    children = tx.all(
        f"SELECT {_PREFIXED} FROM dt_dependencies AS d JOIN dt_tasks AS t ON t.id = d.child"
        " WHERE d.parent = ? AND d.met = 0",
        (parent_id,),
    )
    found = tx.one("SELECT state FROM dt_tasks WHERE id = ?", (parent_id,))
    if found is None or found[0] not in ("completed", "failed", "cancelled"):
        return
    completed = found[0] == "completed"
    for child in map(task_row, children):
        if child["state"] != TaskState.BLOCKED:
            continue
        if completed or child["on_dependency_failure"] == "run":
            _meet(tx, parent_id, child)
        elif child["on_dependency_failure"] == "cancel":
            cancel(tx, child, DEPENDENCY_FAILED)


_PREFIXED = ", ".join(f"t.{column}" for column in TASK.split(", "))


def _meet(tx: Transaction, parent_id: str, child: Row) -> None:
    tx.run("UPDATE dt_dependencies SET met = 1 WHERE parent = ? AND child = ?", (parent_id, child["id"]))
    child["blocked_by"] -= 1
    tx.run("UPDATE dt_tasks SET blocked_by = ? WHERE seq = ?", (child["blocked_by"], child["seq"]))
    if child["blocked_by"] == 0:
        if _is_limited(tx, child["workflow_id"]):
            tx.groups[child["workflow_id"]] = None
        else:
            unblock(tx, child)


def _is_limited(tx: Transaction, workflow_id: str | None) -> bool:
    if workflow_id is None:
        return False
    found = tx.one("SELECT max_parallel FROM dt_workflows WHERE id = ?", (workflow_id,))
    return found is not None and found[0] is not None


def unblock(tx: Transaction, row: Row) -> None:
    """Nothing is in the task's way any more: pending, or scheduled if its time has not come."""
    not_before = row["not_before"]
    if not_before is not None and not_before > tx.now:
        move(tx, row, TaskState.SCHEDULED, "task.scheduled", wake_at=not_before)
    else:
        move(tx, row, TaskState.PENDING, "task.ready")


def cancel(tx: Transaction, row: Row, reason: str | None) -> None:
    """Cancel an open task; its attempt, if any, is told to stop."""
    held = row["token"] is not None and row["state"] in (TaskState.CLAIMED, TaskState.RUNNING)
    changes = stop_attempt(tx, row) if held else {}
    move(tx, row, TaskState.CANCELLED, "task.cancelled", {"reason": reason}, reason=reason, wake_at=None, **changes)


def advance(tx: Transaction, workflow_id: str) -> None:
    """Roll a group up and release the members whose turn has come."""
    found = tx.one(f"SELECT {WORKFLOW} FROM dt_workflows WHERE id = ?", (workflow_id,))
    if found is None:
        return
    group = workflow_row(found)
    if group["state"] in ("completed", "failed", "cancelled"):
        return
    tally = Tally(
        group["total"], group["completed"], group["failed"], group["cancelled"], moved=group["started_at"] is not None
    )
    required = group["total"] if group["required"] is None else group["required"]
    state, cancel_rest = roll_up(tally, required=required, failure_policy=group["failure_policy"], cancelling=False)
    if state.value != group["state"]:
        finish(tx, group, state)
    if cancel_rest:
        cancel_members(tx, workflow_id, "workflow_" + state.value)
    elif state in (WorkflowState.PENDING, WorkflowState.RUNNING):
        _release(tx, group)


def finish(tx: Transaction, group: Row, state: WorkflowState, error: TaskError | None = None) -> None:
    """Write the group's new state with its event. A failed one without an `error` says why its members made it so."""
    ended = state in (WorkflowState.COMPLETED, WorkflowState.FAILED, WorkflowState.CANCELLED)
    if state is WorkflowState.FAILED and error is None:
        error = _failure(tx, group)
    tx.run(
        "UPDATE dt_workflows SET state = ?, error = ?, version = version + 1, updated_at = ?, completed_at = ?,"
        " started_at = COALESCE(started_at, ?) WHERE id = ?",
        (state.value, dump_error(error), tx.now, tx.now if ended else None, tx.now, group["id"]),
    )
    append(tx, group["org_id"], f"workflow.{state.value}", dump({"state": state.value}), workflow_id=group["id"])
    if ended:
        tx.notice.ended.append(group["id"])
        submissions.follow_group(tx, {**group, "state": state.value, "error": dump_error(error)})


def _failure(tx: Transaction, group: Row) -> TaskError:
    found = tx.one(
        "SELECT name, title, error FROM dt_tasks WHERE workflow_id = ? AND state = 'failed' ORDER BY position LIMIT 1",
        (group["id"],),
    )
    if found is None:
        return TaskError(type="not_enough_completed", message=f"too few of the {group['total']} tasks completed")
    name = found[0] or found[1]
    cause = TaskError.model_validate_json(found[2]) if found[2] else None
    said = f": {cause.message}" if cause else ""
    return TaskError(type=cause.type if cause else "failed", message=f"task {name!r} failed{said}")


def cancel_members(tx: Transaction, workflow_id: str, reason: str) -> None:
    """Cancel every open member. Iterates over a copy: the moves change the index it came from."""
    rows = tx.all(
        f"SELECT {TASK} FROM dt_tasks WHERE workflow_id = ? AND state NOT IN ('completed', 'failed', 'cancelled')"
        " ORDER BY position",
        (workflow_id,),
    )
    for row in map(task_row, rows):
        cancel(tx, row, reason)


def _release(tx: Transaction, group: Row) -> None:
    """Let blocked members go as far as the group's parallel limit allows. Without a limit nothing waits for
    it: each member goes when its last dependency is met."""
    if group["max_parallel"] is None or group["max_parallel"] <= group["active"]:
        return
    free = group["max_parallel"] - group["active"]
    rows = tx.all(
        f"SELECT {TASK} FROM dt_tasks WHERE workflow_id = ? AND state = 'blocked' AND blocked_by = 0"
        " ORDER BY position LIMIT ?",
        (group["id"], free),
    )
    for row in map(task_row, rows):
        unblock(tx, row)
