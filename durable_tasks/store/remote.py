"""Remote: attempts that external workers execute, begun and recorded for the Temporal workflow that drives them.

It must not know workers or queues beyond their names; such an attempt has no lease: only its recorded end, or the end
of its Temporal workflow, ends it.
"""

import sqlite3
from functools import partial

from durable_tasks.contracts import (
    EXECUTION_LIMIT,
    AttemptEnd,
    AttemptEnding,
    Batch,
    Begun,
    Execution,
    MembersRequest,
    RunRequest,
    TaskRef,
    TaskStatus,
    Verdict,
    execution_id,
)
from durable_tasks.errors import InvalidInput
from durable_tasks.lifecycle import HELD, Loss, Verb, is_terminal
from durable_tasks.models import Placement, TaskError, TaskState
from durable_tasks.ports import RemoteAttempt
from durable_tasks.store import claims, prior
from durable_tasks.store.containment import apart, require_sound
from durable_tasks.store.endings import end_completed, end_failed, end_lost, end_released
from durable_tasks.store.moves import attempt_stopped, move, open_attempt, require
from durable_tasks.store.rows import TASK, Row, dump_error, dump_payload, load, readable, task_row, whole_task
from durable_tasks.store.settlement import settle
from durable_tasks.store.status import group_of, group_status, read_group_status, read_task_status, task_of, task_status
from durable_tasks.store.submissions import drives, drives_group
from durable_tasks.store.transaction import Transaction

S = TaskState

BATCH_LIMIT = 256 * 1024
"""Bytes after which a batch takes no further member: with one more of the largest size it still fits a message."""


# ----- beginning


def begin(tx: Transaction, request: RunRequest, namespace: str, workflow_id: str) -> Begun:
    """Claim the task for its work queue. The same request again gives the same attempt."""
    ref = request.ref
    row = task_of(tx.conn, ref)
    if ref.generation != row["generation"] or not drives(tx.conn, row, namespace, workflow_id):
        status = read_task_status(tx.conn, ref, tx.now)
        if status.verdict is not Verdict.ENDED:
            status = status.model_copy(update={"verdict": Verdict.SUPERSEDED})
        return Begun(ref=ref, status=status)
    _lose_of_other_runs(tx, [row], request.request)
    if S(row["state"]) in HELD and _request_of(tx, row) == request.request:
        return _begun(tx, row)
    status = task_status(row, tx.now)
    if status.verdict is not Verdict.LIVE or S(row["state"]) in HELD:
        return Begun(ref=ref, status=status)
    begun = apart(tx, row["seq"], lambda: _begin(tx, row, request.request))
    return begun or Begun(ref=ref, status=read_task_status(tx.conn, ref, tx.now))


def begin_members(tx: Transaction, request: MembersRequest, namespace: str, workflow_id: str) -> Batch:
    """Claim ready external members, urgent ones first, as many as one answer can carry."""
    ref = request.ref
    group = group_of(tx.conn, ref)
    if ref.generation != group["generation"] or not drives_group(tx.conn, group, namespace, workflow_id):
        status = read_group_status(tx.conn, ref)
        if status.verdict is not Verdict.ENDED:
            status = status.model_copy(update={"verdict": Verdict.SUPERSEDED})
        return Batch(status=status)
    held = _held_members(tx, group["id"])
    _lose_of_other_runs(tx, held, request.request)
    begun = [_begun(tx, row) for row in held if S(row["state"]) in HELD and _request_of(tx, row) == request.request]
    size = sum(_size(one) for one in begun)
    for row in [] if begun or is_terminal(group["state"]) else _ready_members(tx, group["id"], request.limit):
        one = apart(tx, row["seq"], partial(_begin, tx, row, request.request))
        if one is None:
            continue
        begun.append(one)
        size += _size(one)
        if size > BATCH_LIMIT:
            break
    settle(tx)  # a member that cannot be begun has failed, and may have ended the group
    return Batch(status=group_status(tx.conn, group_of(tx.conn, ref)), begun=tuple(begun))


def _held_members(tx: Transaction, workflow_id: str) -> list[Row]:
    sql = (
        f"SELECT {TASK} FROM dt_tasks INDEXED BY dt_tasks_remote_members WHERE placement = 'external'"
        " AND token IS NOT NULL AND workflow_id = ? ORDER BY position"
    )
    return [task_row(values) for values in tx.all(sql, (workflow_id,))]


def _ready_members(tx: Transaction, workflow_id: str, limit: int) -> list[Row]:
    sql = (
        f"SELECT {TASK} FROM dt_tasks WHERE workflow_id = ? AND state = 'pending' AND placement = 'external'"
        " AND stop_by IS NULL ORDER BY priority DESC, position LIMIT ?"
    )
    return [task_row(values) for values in tx.all(sql, (workflow_id, limit))]


def _lose_of_other_runs(tx: Transaction, rows: list[Row], request: str) -> None:
    """An attempt that an earlier run of this Temporal workflow began has nobody left to record it: that run is
    closed (an operator's reset), for one workflow id has one open run."""
    run_id = request.partition("/")[0]
    for row in rows:
        # One with a lease is of a time when Temporal was off; it may still run, until its time is over.
        if S(row["state"]) in HELD and row["stop_by"] is None and row["lease_expires_at"] is None:
            before = _request_of(tx, row)
            if before is not None and before.partition("/")[0] != run_id:
                end_lost(tx, row, "the run of the Temporal workflow that began it was closed", Loss.BLAMELESS)


def _request_of(tx: Transaction, row: Row) -> str | None:
    sql = "SELECT request FROM dt_attempts WHERE task_id = ? AND number = ?"
    found = tx.one(sql, (row["id"], row["attempt"]))
    return None if found is None else found[0]


def _begin(tx: Transaction, row: Row, request: str) -> Begun:
    require(row, Verb.BEGIN)
    if tx.careful:
        require_sound(row)
    if _prior(tx, row) is None:
        error = TaskError(
            type="payload_too_large",
            message=f"input and prior outputs are more than the {EXECUTION_LIMIT} bytes of JSON that an external worker"
            " can be given; store them elsewhere and pass references",
        )
        move(tx, row, S.FAILED, "task.failed", {"error": error.type}, error=dump_error(error), wake_at=None)
        return Begun(ref=_ref(row), status=task_status(row, tx.now))
    queue = row["queue"] or tx.rules.queue
    opened = open_attempt(tx, row, agent_id=f"queue:{queue}", request=request, started=False)
    move(
        tx, row, S.CLAIMED, "task.claimed",
        **opened, assigned_to=f"queue:{queue}", wake_at=None, progress=0.0, progress_message=None, reason=None,
    )  # fmt: skip
    return _begun(tx, row)


def _begun(tx: Transaction, row: Row) -> Begun:
    task = whole_task(row).model_dump(mode="json", exclude={"output"})
    return Begun(
        ref=_ref(row),
        status=task_status(row, tx.now),
        execution=Execution(
            task={**task, "output": None},
            token=row["token"],
            prior={name: load(text) for name, text in (_prior(tx, row) or {}).items()},
            heartbeat=tx.rules.heartbeat,
        ),
        queue=row["queue"] or tx.rules.queue,
        timeout=row["timeout"],
    )


def _prior(tx: Transaction, row: Row) -> dict[str, str | None] | None:
    """None when they are, with the input, more than an external worker can be given."""
    room = EXECUTION_LIMIT - _bytes(row["input"] or "")
    found = {} if row["depends_on"] == "[]" else prior.sources(tx.conn, row["id"])
    return prior.within(tx.conn, found, room)


def _size(begun: Begun) -> int:
    return _bytes(begun.model_dump_json())


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _ref(row: Row) -> TaskRef:
    return TaskRef(
        task_id=row["id"],
        org_id=row["org_id"],
        generation=row["generation"],
        placement=Placement.EXTERNAL,
        priority=row["priority"],
    )


# ----- ending


def record(tx: Transaction, end: AttemptEnd, namespace: str, workflow_id: str) -> TaskStatus:
    """Write down how the attempt ended. What comes late, again, or from a workflow that drives nothing any more
    changes nothing."""
    row = task_of(tx.conn, end.ref)
    if row["token"] == end.token and drives(tx.conn, row, namespace, workflow_id):
        if row["stop_by"] is not None:
            attempt_stopped(tx, row)
        elif S(row["state"]) in HELD:
            apart(tx, row["seq"], lambda: _end(tx, row, end), must=True)
    return read_task_status(tx.conn, end.ref, tx.now)


def _end(tx: Transaction, row: Row, end: AttemptEnd) -> None:
    match end.ending:
        case AttemptEnding.COMPLETED:
            _complete(tx, row, end)
        case AttemptEnding.FAILED:
            error = end.error or TaskError(type="error", message="the handler failed")
            end_failed(tx, row, error, retryable=end.retryable, after=end.retry_after)
        case AttemptEnding.TIMEOUT:
            error = TaskError(type="timeout", message=f"the attempt ran longer than its timeout, {row['timeout']} s")
            end_failed(tx, row, error, retryable=True)
        case AttemptEnding.LOST:
            end_lost(tx, row, "its worker was not heard of", Loss.ELSEWHERE)
        case AttemptEnding.RELEASED:
            end_released(tx, row, "its worker stopped")


def _complete(tx: Transaction, row: Row, end: AttemptEnd) -> None:
    try:
        output = dump_payload(end.output, "output")
    except InvalidInput as refusal:  # what the worker let pass, the store does not
        error = TaskError(type=refusal.code, message=refusal.message)
        end_failed(tx, row, error, retryable=False)
    else:
        end_completed(tx, row, output)


# ----- watching


def attempts(conn: sqlite3.Connection, *, after: str, limit: int) -> list[RemoteAttempt]:
    """What external workers have, by task id above `after`."""
    rows = conn.execute(
        f"SELECT {TASK} FROM dt_tasks INDEXED BY dt_tasks_remote WHERE placement = 'external' AND token IS NOT NULL"
        " AND id > ? AND engine = 'temporal' AND stop_by IS NULL ORDER BY id LIMIT ?",
        (after, limit),
    )
    found = readable(rows, lambda values: _attempt(conn, task_row(values)))
    return [attempt for attempt in found if attempt is not None]


def _attempt(conn: sqlite3.Connection, row: Row) -> RemoteAttempt | None:
    sql = (
        "SELECT s.namespace, s.workflow_id FROM dt_submissions AS s WHERE s.subject_id = ? AND s.generation ="
        " COALESCE((SELECT generation FROM dt_workflows WHERE id = ?), ?)"
    )
    subject = row["workflow_id"] or row["id"]
    found = conn.execute(sql, (subject, row["workflow_id"], row["generation"])).fetchone()
    if found is None or TaskState(row["state"]) not in HELD:
        return None
    return RemoteAttempt(
        org_id=row["org_id"],
        task_id=row["id"],
        token=row["token"],
        started=row["state"] == S.RUNNING,
        namespace=found[0],
        workflow_id=found[1],
        execution_id=execution_id(row["id"], row["attempt"]),
        moved_at=row["updated_at"],
    )


def observe(tx: Transaction, attempt: RemoteAttempt, percent: float | None, message: str | None) -> None:
    """A worker has the attempt: running, and as far as it says. What has ended meanwhile stays as it is."""
    sql = f"SELECT {TASK} FROM dt_tasks WHERE id = ? AND org_id = ? AND token = ? AND stop_by IS NULL"
    found = tx.one(sql, (attempt.task_id, attempt.org_id, attempt.token))
    if found is None:
        return
    row = task_row(found)
    if row["state"] == S.CLAIMED:
        claims.start(tx, row["org_id"], row["id"], attempt.token)
    news = (percent, message) != (row["progress"], row["progress_message"])
    if percent is not None and news:
        claims.progress(tx, row["org_id"], row["id"], min(max(percent, 0.0), 100.0), attempt.token, message)
