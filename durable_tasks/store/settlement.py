"""Settlement: what follows from a task's end for its dependants and its group: in the same transaction, or, of what is
much, in the next ones.

It must not know who ended the task or why.
"""

import logging
from functools import partial
from time import monotonic

from durable_tasks.lifecycle import Tally, is_terminal, roll_up
from durable_tasks.models import TaskError, TaskState, WorkflowState
from durable_tasks.store import remainders, submissions
from durable_tasks.store.containment import apart, careful
from durable_tasks.store.endings import reopen
from durable_tasks.store.events import append
from durable_tasks.store.moves import move, stop_attempt
from durable_tasks.store.remainders import Remainder, Work
from durable_tasks.store.rows import TASK, WORKFLOW, Row, dump, dump_error, load_error, task_row, workflow_row
from durable_tasks.store.transaction import STEP, Transaction, raise_fatal

log = logging.getLogger("durable_tasks.store")

DEPENDENCY_FAILED = "dependency_failed"


def settle(tx: Transaction) -> None:
    """Follow every end noted in the transaction until nothing more follows: a loop, for chains are long. What would
    keep others waiting for the lock is left to later transactions, which `go_on`."""
    while tx.ended or tx.groups:
        while tx.ended:
            _follow(tx, Remainder(tx.ended.pop(), Work.DEPENDANTS))
        if tx.groups:
            workflow_id = next(iter(tx.groups))
            del tx.groups[workflow_id]
            _follow(tx, Remainder(workflow_id, Work.ADVANCE))


def _follow(tx: Transaction, work: Remainder) -> None:
    if tx.careful:
        _attempt(tx, work)
    else:
        _resume(tx, work)


def go_on(tx: Transaction, until: float) -> int:
    """Do what earlier transactions have left, in steps, until the steady instant `until` or for one step. Answers how
    many that were."""
    done = 0
    while (done == 0 or monotonic() < until) and (left := remainders.take(tx)) is not None:
        try:
            with tx.undoing():
                _take_step(tx, left)
        except Exception as error:
            raise_fatal(tx.conn, error)
            log.exception("what follows from an end broke and is done once more, each task by itself")
            tx.steps = STEP
            with careful(tx):
                _attempt(tx, left)
                settle(tx)
        done += 1
    return done


def _take_step(tx: Transaction, left: Remainder) -> None:
    tx.steps = STEP
    with tx.acting(left.actor):
        _resume(tx, left)
    settle(tx)


def _attempt(tx: Transaction, work: Remainder) -> None:
    """Do what follows from an end. If it breaks it is undone and put off: it holds up nobody and nothing else."""
    try:
        with tx.undoing(), tx.acting(work.actor):
            _resume(tx, work)
    except Exception as error:
        raise_fatal(tx.conn, error)
        log.exception("what follows from an end broke and is put off", extra={"id": work.subject_id, "work": work.work})
        remainders.put_off(tx, work)


def _resume(tx: Transaction, left: Remainder) -> None:
    match left.work:
        case Work.DEPENDANTS:
            _tell_dependants(tx, left.subject_id, after=left.after)
        case Work.CANCEL:
            cancel_members(tx, left.subject_id, left.reason)
        case Work.REOPEN:
            reopen_members(tx, left.subject_id, after=int(left.after))
        case Work.ADVANCE:
            advance(tx, left.subject_id)


def _tell_dependants(tx: Transaction, parent_id: str, *, after: str = "") -> None:
    if tx.one(_HAS_WAITING, (parent_id, after)) is None:
        return  # most tasks: asked by itself, since a statement of all columns costs four times as much
    found = tx.one("SELECT state FROM dt_tasks WHERE id = ?", (parent_id,))
    if found is None or not is_terminal(found[0]):
        return
    if tx.steps <= 0:
        remainders.leave(tx, parent_id, Work.DEPENDANTS, after=after)
        return
    children = tx.all(
        f"SELECT {_PREFIXED} FROM dt_dependencies AS d JOIN dt_tasks AS t ON t.id = d.child"
        " WHERE d.parent = ? AND d.child > ? AND d.met = 0 ORDER BY d.child LIMIT ?",
        (parent_id, after, tx.steps),
    )
    if len(children) == tx.steps:
        remainders.leave(tx, parent_id, Work.DEPENDANTS, after=task_row(children[-1])["id"])
    tx.steps -= len(children)
    completed = found[0] == "completed"
    for child in map(task_row, children):
        if child["state"] != TaskState.BLOCKED:
            continue
        if completed or child["on_dependency_failure"] == "run":
            apart(tx, child["seq"], partial(_meet, tx, parent_id, child), must=True)
        elif child["on_dependency_failure"] == "cancel":
            apart(tx, child["seq"], partial(cancel, tx, child, DEPENDENCY_FAILED), must=True)


_HAS_WAITING = (
    "SELECT 1 FROM dt_dependencies AS d JOIN dt_tasks AS t ON t.id = d.child"
    " WHERE d.parent = ? AND d.child > ? AND d.met = 0 AND t.state = 'blocked' LIMIT 1"
)
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
    """Roll a group up and release the members whose turn has come; not before all members of a retried one are
    reopened: those that are not would count as failed again."""
    reopening = f"EXISTS (SELECT 1 FROM dt_remainders WHERE subject_id = id AND work = '{Work.REOPEN}')"
    found = tx.one(f"SELECT {WORKFLOW}, {reopening} FROM dt_workflows WHERE id = ?", (workflow_id,))
    if found is None or found[-1]:
        return
    group = workflow_row(found[:-1])
    if is_terminal(group["state"]):
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
    """Write the group's new state with its event: nothing that was left to be done so that it goes on is done any more.
    A failed one without an `error` says why its members made it so."""
    ended = is_terminal(state)
    if state is WorkflowState.FAILED and error is None:
        error = _failure(tx, group)
    tx.run(
        "UPDATE dt_workflows SET state = ?, error = ?, version = version + 1, updated_at = ?, completed_at = ?,"
        " started_at = COALESCE(started_at, ?) WHERE id = ?",
        (state.value, dump_error(error), tx.now, tx.now if ended else None, tx.now, group["id"]),
    )
    append(tx, group["org_id"], f"workflow.{state.value}", dump({"state": state.value}), workflow_id=group["id"])
    if ended:
        remainders.drop(tx, group["id"], Work.REOPEN, Work.ADVANCE)
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
    cause = load_error(found[2])
    said = f": {cause.message}" if cause else ""
    return TaskError(type=cause.type if cause else "failed", message=f"task {name!r} failed{said}")


def cancel_members(tx: Transaction, workflow_id: str, reason: str | None) -> None:
    """Cancel every open member of a group that has ended: first what runs or could begin. None of those that are left
    to later transactions can begin meanwhile; see `ended_with_group`."""
    for state in _OPEN:
        if tx.steps > 0:
            rows = tx.all(
                f"SELECT {TASK} FROM dt_tasks WHERE workflow_id = ? AND state = ? ORDER BY position LIMIT ?",
                (workflow_id, state.value, tx.steps),
            )
            tx.steps -= len(rows)
            for row in map(task_row, rows):
                apart(tx, row["seq"], partial(cancel, tx, row, reason), must=True)
    if tx.steps <= 0:
        remainders.leave(tx, workflow_id, Work.CANCEL, reason=reason)


_OPEN = (
    TaskState.RUNNING, TaskState.CLAIMED, TaskState.PENDING, TaskState.RETRYING, TaskState.SCHEDULED,
    TaskState.WAITING, TaskState.PAUSED, TaskState.BLOCKED,
)  # fmt: skip


def reopen_members(tx: Transaction, workflow_id: str, *, after: int = 0) -> None:
    """Reopen the failed and cancelled members of a group that is retried, parents before their children: in the order
    in which they were inserted."""
    found = tx.one("SELECT max_parallel, state FROM dt_workflows WHERE id = ?", (workflow_id,))
    if found is None or is_terminal(found[1]):
        return
    if tx.steps <= 0:
        remainders.leave(tx, workflow_id, Work.REOPEN, after=str(after))
        return
    rows = tx.all(
        f"SELECT {TASK} FROM dt_tasks WHERE seq IN (SELECT seq FROM dt_tasks WHERE workflow_id = ?"
        " AND state IN ('failed', 'cancelled') AND seq > ? ORDER BY seq LIMIT ?) ORDER BY seq",
        (workflow_id, after, tx.steps),
    )
    if len(rows) == tx.steps:
        remainders.leave(tx, workflow_id, Work.REOPEN, after=str(task_row(rows[-1])["seq"]))
    else:
        tx.groups[workflow_id] = None
    tx.steps -= len(rows)
    for row in map(task_row, rows):
        _await_again(tx, row)
        reopen(tx, row, hold=found[0] is not None)


def _await_again(tx: Transaction, row: Row) -> None:
    """Whoever was told of a member's end that is now taken back waits for it again."""
    if row["depends_on"] != "[]":
        tx.run(
            "UPDATE dt_dependencies SET met = 0 WHERE child = ? AND met = 1 AND EXISTS (SELECT 1 FROM dt_tasks AS t"
            " WHERE t.id = parent AND t.workflow_id = ? AND t.state NOT IN ('completed', 'failed', 'cancelled'))",
            (row["id"], row["workflow_id"]),
        )


def ended_with_group(tx: Transaction, row: Row) -> bool:
    """Whether the ready task belongs to a group that has ended: then it must not begin, and is cancelled here."""
    if row["workflow_id"] is None:
        return False
    left = remainders.find(tx, row["workflow_id"], Work.CANCEL)
    if left is not None and tx.steps > 0:
        tx.steps -= 1
        with tx.acting(left.actor):
            cancel(tx, row, left.reason)
    return left is not None


def _release(tx: Transaction, group: Row) -> None:
    """Let blocked members go as far as the group's parallel limit allows. Without a limit nothing waits for
    it: each member goes when its last dependency is met."""
    if group["max_parallel"] is None or group["max_parallel"] <= group["active"]:
        return
    free = group["max_parallel"] - group["active"]
    wanted = min(free, max(tx.steps, 0))
    rows = tx.all(
        f"SELECT {TASK} FROM dt_tasks WHERE workflow_id = ? AND state = 'blocked' AND blocked_by = 0"
        " ORDER BY position LIMIT ?",
        (group["id"], wanted),
    )
    if len(rows) == wanted < free:
        remainders.leave(tx, group["id"], Work.ADVANCE)
    tx.steps -= len(rows)
    for row in map(task_row, rows):
        unblock(tx, row)
