"""Moving one task: the guarded row change with its event, its attempt row and its outbox row.

It must not know what the move means for other tasks; it notes them in the transaction to be settled.
"""

from functools import cache
from typing import Any

from durable_tasks.errors import IllegalMove, NotFound, StaleToken
from durable_tasks.lifecycle import HELD, TERMINAL, Verb, allows, can_transition, placement_of
from durable_tasks.models import Mode, TaskError, TaskState
from durable_tasks.store import submissions, suspects
from durable_tasks.store.events import append, task_event
from durable_tasks.store.rows import STATES, TASK, Row, dump_error, task_row
from durable_tasks.store.transaction import Transaction

_BY_ID = f"SELECT {TASK} FROM dt_tasks WHERE id = ? AND org_id = ?"
_BY_SEQ = f"SELECT {TASK} FROM dt_tasks WHERE seq = ?"

_FREE = {"token": None, "process": None, "lease_expires_at": None, "lease": None, "timeout_at": None, "stop_by": None}
"""The columns of a row without a current attempt."""


def get(tx: Transaction, org_id: str, task_id: str) -> Row:
    """The task's row. Raises NotFound, also for another organisation's task."""
    found = tx.one(_BY_ID, (task_id, org_id))
    if found is None:
        raise NotFound(f"there is no task {task_id!r} in organisation {org_id!r}", id=task_id, org=org_id)
    return task_row(found)


def by_seq(tx: Transaction, seq: int) -> Row:
    found = tx.one(_BY_SEQ, (seq,))
    if found is None:
        raise NotFound(f"there is no task number {seq}", id=seq)
    return task_row(found)


def require(row: Row, verb: Verb) -> None:
    """Raise IllegalMove unless the row's state allows `verb`."""
    if not allows(verb, STATES[row["state"]]):
        raise IllegalMove(
            f"task {row['id']} is {row['state']}; it cannot be {_PARTICIPLE.get(verb, verb.value + 'd')}",
            task_id=row["id"],
            state=row["state"],
            verb=verb.value,
        )


_PARTICIPLE = {
    Verb.CLAIM: "claimed",
    Verb.BEGIN: "begun",
    Verb.START: "started",
    Verb.HEARTBEAT: "kept by a heartbeat",
    Verb.PROGRESS: "given progress",
    Verb.FAIL: "failed",
    Verb.CANCEL: "cancelled",
    Verb.RETRY: "retried",
    Verb.LOSE: "lost",
}


def require_token(row: Row, token: str) -> None:
    """Raise StaleToken unless `token` is that of the current attempt."""
    if not token:
        whose = "nobody does" if row["assigned_to"] is None else f"{row['assigned_to']!r} does"
        raise StaleToken(
            f"you hold no attempt of task {row['id']}, which is {row['state']}; {whose}",
            task_id=row["id"],
            state=row["state"],
        )
    if row["token"] != token:
        raise StaleToken(
            f"the token is not that of attempt {row['attempt']} of task {row['id']}, which is {row['state']};"
            " the attempt was ended or given to somebody else",
            task_id=row["id"],
            state=row["state"],
        )


def move(
    tx: Transaction, row: Row, state: TaskState, kind: str, facts: dict[str, Any] | None = None, /, **changes: Any
) -> None:
    """Change the row to `state` with `changes`, and write all that belongs to it in this transaction."""
    before = STATES[row["state"]]
    if state is not before:
        if not can_transition(before, state):
            raise IllegalMove(
                f"task {row['id']} cannot go from {before} to {state}", task_id=row["id"], state=str(before), verb=kind
            )
        changes["state"] = state.value
        if state is TaskState.PENDING:
            changes |= {"ready_at": tx.now, "wake_at": None, "lane": submissions.lane_of(tx, {**row, **changes})}
        changes["completed_at"] = tx.now if state in TERMINAL else None
    save(tx, row, **changes)
    task_event(tx, row, kind, facts)
    if row["engine"] == "temporal":
        submissions.follow(tx, row)
    if state is before:
        return
    if row["workflow_id"] is not None:
        _count_member(tx, row, before, state)
    if state in TERMINAL:
        suspects.acquit(tx, row)
        tx.ended.append(row["id"])
    if state in TERMINAL or (before in HELD and state not in HELD):
        tx.notice.ended.append(row["id"])
    if state is TaskState.PENDING:
        announce(tx, row)


def replaced(tx: Transaction, row: Row, engine: str) -> str:
    """The row's placement with `engine`: as it is, unless that engine is new to it and the processes run otherwise."""
    if engine == row["engine"]:
        return str(row["placement"])
    rules = tx.rules
    return placement_of(Mode(row["mode"]), row["queue"], own_queue=rules.queue, runs_here=rules.runs_here).value


def announce(tx: Transaction, row: Row) -> None:
    """Say that a pending auto task can be begun, unless its last attempt is still stopping. Temporal asks for
    its own; what it leaves lying is looked for by the clock."""
    if row["stop_by"] is None and row["mode"] == "auto" and submissions.lane_of(tx, row) == "open":
        tx.notice.ready = True


def save(tx: Transaction, row: Row, **changes: Any) -> None:
    """Write `changes` to the row: guarded by its version, which rises."""
    touch(tx, row, updated_at=tx.now, version=row["version"] + 1, **changes)


def touch(tx: Transaction, row: Row, **changes: Any) -> None:
    """Write what is no edit, a lease or progress: the version stays, so that it never costs an editor a conflict."""
    version = row["version"]
    row.update(changes)
    due = due_at(row)
    if due != row["due_at"]:
        row["due_at"] = changes["due_at"] = due
        if due is not None and (tx.notice.due is None or due < tx.notice.due):
            tx.notice.due = due
    done = tx.run(_update_sql(tuple(changes)), (*changes.values(), row["seq"], version))
    if done.rowcount != 1:
        raise AssertionError(f"task {row['id']} changed under the write lock")


@cache
def _update_sql(columns: tuple[str, ...]) -> str:
    sets = ", ".join(f"{column} = ?" for column in columns)
    return f"UPDATE dt_tasks SET {sets} WHERE seq = ? AND version = ?"


def due_at(row: Row) -> float | None:
    """The earliest instant at which the clock has something to do with the row."""
    state = STATES[row["state"]]
    instants = [row["stop_by"]]
    if state not in TERMINAL:
        instants.append(row["deadline_at"])
    if state in (TaskState.SCHEDULED, TaskState.RETRYING):
        instants.append(row["wake_at"])
    if state in HELD:
        instants += (row["lease_expires_at"], row["timeout_at"])
    known = [instant for instant in instants if instant is not None]
    return min(known) if known else None


def _count_member(tx: Transaction, row: Row, before: TaskState, after: TaskState) -> None:
    """Keep the group's counters, and mark it to be rolled up when something follows from the change."""
    active = (after not in TERMINAL and after is not TaskState.BLOCKED) - (
        before not in TERMINAL and before is not TaskState.BLOCKED
    )
    ends = {s: (after is s) - (before is s) for s in (TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED)}
    if active or any(ends.values()):
        tx.run(
            "UPDATE dt_workflows SET active = active + ?, completed = completed + ?, failed = failed + ?,"
            " cancelled = cancelled + ?, updated_at = ? WHERE id = ?",
            (active, *ends.values(), tx.now, row["workflow_id"]),
        )
    if after in TERMINAL:
        tx.groups[row["workflow_id"]] = None
    elif after in HELD:
        started = tx.run(
            "UPDATE dt_workflows SET state = 'running', started_at = ?, updated_at = ?, version = version + 1"
            " WHERE id = ? AND state = 'pending'",
            (tx.now, tx.now, row["workflow_id"]),
        )
        if started.rowcount:
            append(tx, row["org_id"], "workflow.running", '{"state":"running"}', workflow_id=row["workflow_id"])


# ----- attempts: the rows beside a task's own


def open_attempt(
    tx: Transaction, row: Row, *, agent_id: str | None, request: str | None, started: bool
) -> dict[str, Any]:
    """Insert the next attempt; the answer holds the columns that make it the task's current one."""
    number, token = row["attempt"] + 1, tx.ids.token()
    ready_at = tx.now if row["ready_at"] is None else row["ready_at"]
    tx.run(
        "INSERT INTO dt_attempts (task_id, number, generation, state, token, agent_id, request, claimed_at, started_at,"
        " actor) VALUES (?, ?, ?, 'running', ?, ?, ?, ?, ?, ?)",
        (
            row["id"],
            number,
            row["generation"],
            token,
            agent_id,
            request,
            tx.now,
            tx.now if started else None,
            tx.by,
        ),
    )
    tx.notice.begun.append((row["capability"], max(tx.now - ready_at, 0.0)))
    return {"attempt": number, "token": token}


def end_attempt(
    tx: Transaction, row: Row, state: str, *, error: str | None = None, answer_hash: str | None = None
) -> dict[str, Any]:
    """Close the current attempt; the answer holds the columns of a row without one."""
    _count_end(tx, row, state)
    tx.run(
        "UPDATE dt_attempts SET state = ?, ended_at = ?, error = ?, answer_hash = ?, lease_expires_at = ?"
        " WHERE task_id = ? AND number = ?",
        (state, tx.now, error, answer_hash, row["lease_expires_at"], row["id"], row["attempt"]),
    )
    return dict(_FREE)


def stop_attempt(tx: Transaction, row: Row, *, error: TaskError | None = None) -> dict[str, Any]:
    """Tell the current attempt's executor to stop: no new attempt begins before it has, or is given up."""
    tx.run(
        "UPDATE dt_attempts SET state = 'cancelling', error = ? WHERE task_id = ? AND number = ?",
        (dump_error(error), row["id"], row["attempt"]),
    )
    tx.notice.stop.append((row["id"], row["token"]))
    return {"stop_by": tx.now + tx.rules.cancel_grace, "lease_expires_at": None, "timeout_at": None}


def attempt_stopped(tx: Transaction, row: Row) -> None:
    """The executor of an ended attempt has stopped, or was given up: a pending task can begin again."""
    _count_end(tx, row, "stopped")
    tx.run(
        "UPDATE dt_attempts SET state = CASE WHEN error IS NULL THEN 'cancelled' ELSE 'failed' END, ended_at = ?"
        " WHERE task_id = ? AND number = ?",
        (tx.now, row["id"], row["attempt"]),
    )
    save(tx, row, **_FREE)
    if row["state"] == TaskState.PENDING:
        announce(tx, row)
        if row["engine"] == "temporal":
            submissions.follow(tx, row)  # only now can its Temporal workflow begin it


def _count_end(tx: Transaction, row: Row, outcome: str) -> None:
    started_at = row["started_at"]
    took = None if started_at is None else max(tx.now - started_at, 0.0)
    tx.notice.outcomes.append((row["capability"], outcome, took))
