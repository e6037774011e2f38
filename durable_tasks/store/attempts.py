"""Attempts: claiming, beginning, keeping, ending and losing them. Each function is one operation of the writer.

It must not know who calls: agents, executors and Temporal's workflows pass through the same guards.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any

from durable_tasks.errors import AlreadyClaimed, Conflict, IllegalMove
from durable_tasks.lifecycle import HELD, TERMINAL, Verb, after_failure, after_loss
from durable_tasks.models import Attempt, Claim, Heartbeat, Mode, Task, TaskError, TaskState, utc
from durable_tasks.ports import Appetite, Assignment, Ending, Outcome
from durable_tasks.store import commands
from durable_tasks.store.database import Transaction
from durable_tasks.store.events import PROGRESS_EVERY, task_event
from durable_tasks.store.moves import (
    attempt_stopped,
    by_seq,
    end_attempt,
    get,
    move,
    open_attempt,
    require,
    require_token,
    save,
    stop_attempt,
)
from durable_tasks.store.rows import ATTEMPT, Row, dump_error, load, load_retry, text_hash, to_attempt, to_task
from durable_tasks.store.settlement import cancel as cancel_row

S = TaskState
_READY = "state = 'pending' AND stop_by IS NULL"
_PROGRESS_FREE = {"progress": 0.0, "progress_message": None, "started_at": None, "assigned_to": None}

# ----- people and agents


def next_claims(
    tx: Transaction,
    org_id: str,
    agent_id: str,
    space_id: str,
    capabilities: tuple[str, ...] | None,
    lease: float | None,
    limit: int,
) -> list[Claim]:
    """Claim the first `limit` ready manual tasks: priority descending, then first in, first out."""
    claims: list[Claim] = []
    while len(claims) < limit:
        seq = _next_claimable(tx, org_id, agent_id, space_id, capabilities)
        if seq is None:
            break
        claims.append(_claim(tx, by_seq(tx, seq), agent_id, lease))
    return claims


def _next_claimable(
    tx: Transaction, org_id: str, agent_id: str, space_id: str, capabilities: tuple[str, ...] | None
) -> int | None:
    """One statement; each of its branches is one descent into an index that holds ready rows only."""
    asks: Sequence[tuple[Any, ...]] = [()] if capabilities is None else [(None,), *((c,) for c in capabilities)]
    index = "dt_tasks_claimable" if capabilities is None else "dt_tasks_claimable_by"
    extra = "" if capabilities is None else " AND capability IS ?"
    branch = (
        f"SELECT * FROM (SELECT seq, priority FROM dt_tasks INDEXED BY {index} WHERE {_READY} AND mode = 'manual'"
        f" AND org_id = ? AND space_id = ? AND reserved_for IS ?{extra} ORDER BY priority DESC, seq LIMIT 1)"
    )
    bound = [value for ask in asks for holder in (None, agent_id) for value in (org_id, space_id, holder, *ask)]
    sql = " UNION ALL ".join([branch] * (2 * len(asks)))
    found = tx.one(f"SELECT seq FROM ({sql}) ORDER BY priority DESC, seq LIMIT 1", bound)
    return None if found is None else int(found[0])


def _claim(tx: Transaction, row: Row, agent_id: str, lease: float | None) -> Claim:
    opened = open_attempt(tx, row, agent_id=agent_id, request=None, started=False)
    expires = None if lease is None else tx.now + lease
    move(
        tx, row, S.CLAIMED, "task.claimed",
        **opened, assigned_to=agent_id, lease=lease, lease_expires_at=expires, error=None, reason=None,
    )  # fmt: skip
    return Claim(to_task(row), row["token"], None if expires is None else utc(expires))


def claim(
    tx: Transaction, org_id: str, task_id: str, agent_id: str, lease: float | None, command_id: str | None
) -> tuple[Claim, bool]:
    """Claim this very task. The answer says whether the claim is new, or the first answer again."""
    row = get(tx, org_id, task_id)
    said = commands.first_answer(tx, task_id, command_id, "claim")
    if said is not None:
        return Claim(Task.model_validate(said["task"]), said["token"], to_task(row).lease_expires_at), False
    if row["mode"] == Mode.AUTO.value:
        raise IllegalMove(
            f"task {task_id} is {row['state']} and runs by a handler; only manual tasks are claimed",
            task_id=task_id,
            state=row["state"],
            verb="claim",
        )
    holder = row["assigned_to"] or row["reserved_for"]
    if holder is not None and (holder != agent_id or S(row["state"]) in HELD) and S(row["state"]) not in TERMINAL:
        raise AlreadyClaimed(
            f"task {task_id} is {row['state']} and belongs to {holder!r}",
            task_id=task_id,
            state=row["state"],
            assigned_to=holder,
        )
    require(row, Verb.CLAIM)
    if row["stop_by"] is not None:
        raise Conflict(
            f"task {task_id} is {row['state']}, but its attempt {row['attempt']} is still stopping; try again",
            task_id=task_id,
            state=row["state"],
        )
    made = _claim(tx, row, agent_id, lease)
    commands.remember_answer(tx, task_id, command_id, "claim", {"task": made.task, "token": made.token})
    return made, True


def undo_claim(tx: Transaction, made: Claim, command_id: str | None) -> None:
    """Give one claim back, and forget its answer: the same command may claim anew."""
    commands.forget_answer(tx, made.task.id, command_id)
    undo_claims(tx, [made])


def undo_claims(tx: Transaction, claims: Sequence[Claim]) -> None:
    """Give back what a cancelled caller never heard of, unless it has moved on meanwhile."""
    for made in claims:
        row = get(tx, made.task.org_id, made.task.id)
        if row["token"] == made.token and S(row["state"]) in HELD:
            _release(tx, row, "undone")


def start(tx: Transaction, org_id: str, task_id: str, token: str) -> Task:
    row = get(tx, org_id, task_id)
    _check(row, Verb.START, token)
    timeout_at = None if row["timeout"] is None else tx.now + row["timeout"]
    tx.run("UPDATE dt_attempts SET started_at = ? WHERE task_id = ? AND number = ?", (tx.now, task_id, row["attempt"]))
    move(tx, row, S.RUNNING, "task.started", started_at=tx.now, timeout_at=timeout_at)
    return to_task(row)


def heartbeat(tx: Transaction, org_id: str, task_id: str, token: str) -> Heartbeat:
    """Renew the lease. A cancelled attempt that is still stopping is told so instead."""
    row = get(tx, org_id, task_id)
    if row["token"] == token and row["stop_by"] is not None:
        return Heartbeat(None, cancel_requested=True)
    _check(row, Verb.HEARTBEAT, token)
    if row["lease"] is None:
        return Heartbeat(None, cancel_requested=False)
    save(tx, row, lease_expires_at=tx.now + row["lease"])
    return Heartbeat(utc(row["lease_expires_at"]), cancel_requested=False)


def progress(tx: Transaction, org_id: str, task_id: str, percent: float, token: str, message: str | None) -> Task:
    row = get(tx, org_id, task_id)
    _check(row, Verb.PROGRESS, token)
    changes: Row = {"progress": percent, "progress_message": message}
    if row["lease"] is not None:
        changes["lease_expires_at"] = tx.now + row["lease"]
    told = row["progress_event_at"]
    if told is None or tx.now - told >= PROGRESS_EVERY:
        changes["progress_event_at"] = tx.now
    save(tx, row, **changes)
    if "progress_event_at" in changes:
        task_event(tx, row, "task.progress", {"progress": percent, "message": message})
    return to_task(row)


def complete(tx: Transaction, org_id: str, task_id: str, output: str | None, token: str) -> Task:
    """End the attempt well. The same token with the same output again returns the task."""
    row = get(tx, org_id, task_id)
    if _is_repeat(tx, row, token, "completed", text_hash(output)):
        return to_task(row)
    _check(row, Verb.COMPLETE, token)
    _complete(tx, row, output)
    return to_task(row)


def _complete(tx: Transaction, row: Row, output: str | None) -> None:
    free = end_attempt(tx, row, "completed", answer_hash=text_hash(output))
    move(tx, row, S.COMPLETED, "task.completed", **free, output=output, error=None, reason=None, progress=100.0)


def fail(
    tx: Transaction, org_id: str, task_id: str, error: TaskError, token: str, retryable: bool, after: float | None
) -> Task:
    """End the attempt badly: SQLite decides whether it is retried. The same again returns the task."""
    row = get(tx, org_id, task_id)
    if _is_repeat(tx, row, token, "failed", text_hash(dump_error(error))):
        return to_task(row)
    _check(row, Verb.FAIL, token)
    _fail(tx, row, error, retryable=retryable, after=after)
    return to_task(row)


def _fail(
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
    ended = (
        stop_attempt(tx, row, error=error)
        if stop
        else end_attempt(tx, row, "failed", error=text, answer_hash=text_hash(text))
    )
    facts = {"error": error.type, "retry_in": onward.delay if onward.state is S.RETRYING else None}
    wake_at = tx.now + onward.delay if onward.state is S.RETRYING else None
    kept = {} if onward.state is S.FAILED else _PROGRESS_FREE
    move(
        tx, row, onward.state, f"task.{onward.state}", facts,
        **{**ended, **kept, "error": text, "retry_count": onward.retry_count, "wake_at": wake_at},
    )  # fmt: skip


def release(tx: Transaction, org_id: str, task_id: str, token: str) -> Task:
    """Give the task back; no retry is used. Also how an agent says that a cancelled attempt has stopped."""
    row = get(tx, org_id, task_id)
    if row["token"] == token and row["stop_by"] is not None:
        attempt_stopped(tx, row)
        return to_task(row)
    _check(row, Verb.RELEASE, token)
    _release(tx, row, "released")
    return to_task(row)


def _release(tx: Transaction, row: Row, why: str) -> None:
    free = end_attempt(tx, row, "released")
    move(tx, row, S.PENDING, "task.released", {"why": why}, **{**free, **_PROGRESS_FREE})


def _check(row: Row, verb: Verb, token: str) -> None:
    """A task that has ended says so. Else the token comes first: who lost an attempt hears the same before
    and after somebody else has taken the next."""
    if S(row["state"]) not in TERMINAL and row["attempt"] > 0:
        require_token(row, token)
    require(row, verb)


def _is_repeat(tx: Transaction, row: Row, token: str, state: str, answer_hash: str | None) -> bool:
    if row["token"] == token:
        return False
    found = tx.one(
        "SELECT answer_hash FROM dt_attempts WHERE task_id = ? AND token = ? AND state = ?", (row["id"], token, state)
    )
    return found is not None and found[0] == answer_hash


# ----- anybody


def cancel(tx: Transaction, org_id: str, task_id: str, reason: str | None) -> Task:
    row = get(tx, org_id, task_id)
    if row["state"] == S.CANCELLED:
        return to_task(row)
    require(row, Verb.CANCEL)
    cancel_row(tx, row, reason)
    return to_task(row)


def retry(tx: Transaction, org_id: str, task_id: str) -> Task:
    """Run a failed or cancelled task again: a new generation with fresh counters."""
    row = get(tx, org_id, task_id)
    require(row, Verb.RETRY)
    found = None
    if row["workflow_id"] is not None:
        found = tx.one("SELECT state, max_parallel FROM dt_workflows WHERE id = ?", (row["workflow_id"],))
        if found is not None and found[0] in ("completed", "failed", "cancelled"):
            raise Conflict(
                f"task {task_id} belongs to workflow {row['workflow_id']}, which is {found[0]}; use retry_workflow",
                task_id=task_id,
                state=row["state"],
            )
    _refuse_failed_parents(tx, row)
    limited = found is not None and found[1] is not None
    if limited:
        tx.groups[row["workflow_id"]] = None  # to be released as far as the group's limit allows
    reopen(tx, row, hold=limited)
    return to_task(row)


def _refuse_failed_parents(tx: Transaction, row: Row) -> None:
    found = tx.one(
        "SELECT t.id, t.state FROM dt_dependencies AS d JOIN dt_tasks AS t ON t.id = d.parent"
        " WHERE d.child = ? AND d.met = 0 AND t.state IN ('failed', 'cancelled') LIMIT 1",
        (row["id"],),
    )
    if found is not None and row["on_dependency_failure"] == "cancel":
        raise Conflict(
            f"task {row['id']} depends on {found[0]}, which is {found[1]}; retry that one first",
            task_id=row["id"],
            state=row["state"],
        )


def reopen(tx: Transaction, row: Row, *, hold: bool = False) -> None:
    """The next generation of an ended task: blocked while a dependency is unfinished or its group holds it,
    else pending."""
    blocked_by = _count_unmet(tx, row)
    state = S.BLOCKED if blocked_by or hold else S.PENDING
    deadline_at = row["deadline_at"]
    if deadline_at is not None and deadline_at <= tx.now:
        deadline_at = None  # it was missed; a retry by hand is not bound by it
    move(
        tx, row, state, "task.retried", None,
        **{**_PROGRESS_FREE, "blocked_by": blocked_by, "generation": row["generation"] + 1, "retry_count": 0,
           "lost_count": 0, "error": None, "reason": None, "output": None, "deadline_at": deadline_at},
    )  # fmt: skip


def _count_unmet(tx: Transaction, row: Row) -> int:
    """Dependencies that the task still waits for. Nobody told it of those that ended while it had ended itself."""
    if row["depends_on"] == "[]":
        return 0
    ended = "'completed', 'failed', 'cancelled'" if row["on_dependency_failure"] == "run" else "'completed'"
    tx.run(
        f"UPDATE dt_dependencies SET met = 1 WHERE child = ? AND met = 0"
        f" AND parent IN (SELECT id FROM dt_tasks WHERE state IN ({ended}))",
        (row["id"],),
    )
    found = tx.one("SELECT COUNT(*) FROM dt_dependencies WHERE child = ? AND met = 0", (row["id"],))
    return 0 if found is None else int(found[0])


# ----- executors


def take(tx: Transaction, appetite: Appetite, after_org: str) -> tuple[list[Assignment], str]:
    """Begin up to `appetite.limit` ready embedded tasks: priority, then first in, first out within an
    organisation, and one organisation after the other. Also answers the last organisation served."""
    taken: list[Assignment] = []
    orgs = _orgs_in_turn(tx, after_org)
    while orgs and len(taken) < appetite.limit:
        share = max(1, (appetite.limit - len(taken)) // len(orgs))
        for org_id in list(orgs):
            found = _ready(tx, org_id, appetite, min(share, appetite.limit - len(taken)))
            if not found:
                orgs.remove(org_id)
                continue
            taken += [begin(tx, by_seq(tx, seq)) for seq in found]
            after_org = org_id
            if len(taken) >= appetite.limit:
                break
    return taken, after_org


def _orgs_in_turn(tx: Transaction, after_org: str) -> list[str]:
    """Organisations with ready embedded tasks, beginning behind the last one served."""
    sql = (
        f"SELECT org_id FROM dt_tasks INDEXED BY dt_tasks_beginnable WHERE {_READY} AND placement = 'embedded'"
        " AND org_id > ? ORDER BY org_id LIMIT 1"
    )
    orgs: list[str] = []
    found = tx.one(sql, ("",))
    while found is not None:
        orgs.append(found[0])
        found = tx.one(sql, (found[0],))
    return [o for o in orgs if o > after_org] + [o for o in orgs if o <= after_org]


def _ready(tx: Transaction, org_id: str, appetite: Appetite, limit: int) -> list[int]:
    sql = (
        f"SELECT priority, seq FROM dt_tasks INDEXED BY dt_tasks_beginnable WHERE {_READY} AND placement = 'embedded'"
        " AND org_id = ? AND engine = ? AND capability IS ?{} ORDER BY priority DESC, seq LIMIT ?"
    )
    asks = [*appetite.capabilities, *((None,) if appetite.unnamed else ())]
    found: list[tuple[int, int]] = []
    for capability in asks:
        found += tx.all(sql.format(""), (org_id, "local", capability, limit))
        if appetite.temporal_before is not None:
            values = (org_id, "temporal", capability, appetite.temporal_before, limit)
            found += tx.all(sql.format(" AND ready_at < ?"), values)
    found.sort(key=lambda key: (-key[0], key[1]))
    return [seq for _, seq in found[:limit]]


def begin(tx: Transaction, row: Row, *, request: str | None = None) -> Assignment:
    """Start an attempt of a ready task in this process's executor."""
    require(row, Verb.BEGIN)
    opened = open_attempt(tx, row, agent_id=None, request=request, started=True)
    timeout_at = None if row["timeout"] is None else tx.now + row["timeout"]
    move(
        tx, row, S.RUNNING, "task.started",
        **opened, process=tx.rules.instance, started_at=tx.now, timeout_at=timeout_at, wake_at=None,
        progress=0.0, progress_message=None, reason=None,
    )  # fmt: skip
    return Assignment(to_task(row), row["token"], timeout_at, prior_outputs(tx, row))


def prior_outputs(tx: Transaction, row: Row) -> dict[str, Any]:
    """Outputs by name (or id) of the pipeline's steps before this one; elsewhere of its dependencies."""
    if row["depends_on"] == "[]":
        return {}
    kind = None
    if row["workflow_id"] is not None:
        kind = tx.one("SELECT kind FROM dt_workflows WHERE id = ?", (row["workflow_id"],))
    if kind is not None and kind[0] == "pipeline":
        sql = (
            "SELECT COALESCE(name, id), output FROM dt_tasks WHERE workflow_id = ? AND state = 'completed'"
            " AND position < ? ORDER BY position"
        )
        rows = tx.all(sql, (row["workflow_id"], row["position"]))
    else:
        sql = (
            "SELECT COALESCE(t.name, t.id), t.output FROM dt_dependencies AS d JOIN dt_tasks AS t ON t.id = d.parent"
            " WHERE d.child = ? AND t.state = 'completed' ORDER BY t.seq"
        )
        rows = tx.all(sql, (row["id"],))
    return {name: load(output) for name, output in rows}


def finish(tx: Transaction, assignment: Assignment, outcome: Outcome, output: str | None) -> Task | None:
    """Record how an executor's attempt ended. None when the row had already ended it: a late result is
    refused, and the executor's stop noted."""
    row = get(tx, assignment.task.org_id, assignment.task.id)
    if row["token"] != assignment.token:
        return None
    if row["stop_by"] is not None:
        attempt_stopped(tx, row)
        return None
    if outcome.ending is Ending.COMPLETED:
        _complete(tx, row, output)
    elif outcome.ending is Ending.RELEASED:
        _release(tx, row, "shutdown")
    else:
        error = outcome.error or TaskError(type="error", message="the handler failed")
        _fail(tx, row, error, retryable=outcome.retryable, after=outcome.retry_after)
    return to_task(row)


def end_process(tx: Transaction, instance: str) -> int:
    """End every attempt of a process that is gone: lost, not retried. One that leaves in good order releases
    what it still had."""
    leaves = instance == tx.rules.instance
    rows = tx.all("SELECT seq FROM dt_tasks WHERE process = ?", (instance,))
    for (seq,) in rows:
        row = by_seq(tx, seq)
        if row["stop_by"] is not None:
            attempt_stopped(tx, row)
        elif S(row["state"]) in HELD:
            if leaves:
                _release(tx, row, "shutdown")
            else:
                _lose(tx, row, "its process is gone")
        else:
            save(tx, row, process=None)
    return len(rows)


def _lose(tx: Transaction, row: Row, why: str) -> None:
    onward = after_loss(retry_count=row["retry_count"], lost_count=row["lost_count"], max_lost=tx.rules.max_lost)
    free = end_attempt(tx, row, "lost")
    if onward.poison:
        error = TaskError(type="poison", message=f"{onward.lost_count} attempts were lost; the last: {why}")
        move(
            tx,
            row,
            S.FAILED,
            "task.failed",
            {"error": "poison"},
            **free,
            lost_count=onward.lost_count,
            error=dump_error(error),
        )
    else:
        move(
            tx, row, S.PENDING, "task.lost", {"why": why}, **{**free, **_PROGRESS_FREE, "lost_count": onward.lost_count}
        )


# ----- the clock


def expire(tx: Transaction, limit: int) -> tuple[int, float | None]:
    """Do what is due: give up stopping attempts, end what is past its deadline, timeout or lease, and wake
    what has slept long enough. Answers how many rows were due, and when the next is."""
    rows = tx.all(
        "SELECT seq FROM dt_tasks WHERE due_at IS NOT NULL AND due_at <= ? ORDER BY due_at LIMIT ?", (tx.now, limit)
    )
    for (seq,) in rows:
        _expire(tx, by_seq(tx, seq))
    found = tx.one("SELECT MIN(due_at) FROM dt_tasks WHERE due_at IS NOT NULL")
    return len(rows), None if found is None else found[0]


def _expire(tx: Transaction, row: Row) -> None:
    state = S(row["state"])
    held = state in HELD
    if _passed(row["stop_by"], tx.now):
        attempt_stopped(tx, row)
    elif state not in TERMINAL and _passed(row["deadline_at"], tx.now):
        _miss_deadline(tx, row, held)
    elif held and _passed(row["timeout_at"], tx.now):
        error = TaskError(type="timeout", message=f"the attempt ran longer than {row['timeout']:g} s")
        _fail(tx, row, error, retryable=True, stop=row["process"] is not None)
    elif held and _passed(row["lease_expires_at"], tx.now):
        _lose(tx, row, "its lease ended without a heartbeat")
    elif state in (S.SCHEDULED, S.RETRYING) and _passed(row["wake_at"], tx.now):
        move(tx, row, S.PENDING, "task.ready")


def _passed(instant: float | None, now: float) -> bool:
    return instant is not None and instant <= now


def _miss_deadline(tx: Transaction, row: Row, held: bool) -> None:
    error = TaskError(type="deadline", message="the deadline passed before the task was completed")
    changes = stop_attempt(tx, row, error=error) if held else {}
    move(
        tx,
        row,
        S.FAILED,
        "task.failed",
        {"error": "deadline"},
        **{**changes, "error": dump_error(error), "wake_at": None},
    )


# ----- reading


def history(conn: sqlite3.Connection, org_id: str, task_id: str) -> list[Attempt]:
    sql = f"SELECT {ATTEMPT} FROM dt_attempts WHERE task_id = ? ORDER BY number"
    return [to_attempt(values) for values in conn.execute(sql, (task_id,))]


def stopping(conn: sqlite3.Connection, instance: str) -> list[tuple[str, str]]:
    """(task id, token) of the attempts of one process that were told to stop."""
    return conn.execute(
        "SELECT id, token FROM dt_tasks WHERE process = ? AND stop_by IS NOT NULL", (instance,)
    ).fetchall()
