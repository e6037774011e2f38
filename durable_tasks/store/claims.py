"""Claims: what people and agents do to tasks, each verb one operation fenced by its token.

It must not know executors or Temporal.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from durable_tasks.errors import AlreadyClaimed, Conflict, IllegalMove
from durable_tasks.forms import FormDue
from durable_tasks.instants import utc
from durable_tasks.lifecycle import HELD, TERMINAL, Verb
from durable_tasks.models import Attempt, Claim, Heartbeat, Mode, Task, TaskError, TaskState
from durable_tasks.store import commands, remainders
from durable_tasks.store.containment import apart, require_sound
from durable_tasks.store.endings import end_completed, end_failed, end_released, reopen
from durable_tasks.store.events import PROGRESS_EVERY, task_event
from durable_tasks.store.moves import (
    attempt_stopped,
    by_seq,
    get,
    move,
    open_attempt,
    require,
    require_token,
    touch,
)
from durable_tasks.store.ownership import require_own
from durable_tasks.store.remainders import Work
from durable_tasks.store.rows import (
    ATTEMPT,
    READY,
    STATES,
    Row,
    canonical_hash,
    dump_error,
    text_hash,
    to_attempt,
    to_task,
    whole_task,
)
from durable_tasks.store.settlement import cancel as cancel_row
from durable_tasks.store.settlement import ended_with_group
from durable_tasks.store.transaction import Transaction
from durable_tasks.wording import shown

S = TaskState
HISTORY = 1000
"""Attempts of a task that are shown."""

SEARCHES = 5_000
"""Descents into an index, of a microsecond or two each, that one transaction makes for what it claims."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an agent takes: ready manual tasks of a space that it is able to do, and for how long."""

    agent_id: str
    space_id: str
    capabilities: tuple[str, ...] | None
    """Tasks that name one of them or none; None: any."""
    lease: float | None
    groups: tuple[str, ...] = ()
    """Those of the agent, as tasks are assigned to them."""

    @property
    def at_once(self) -> int:
        """How many may be taken in one transaction: each is searched for by holder and capability."""
        return max(1, SEARCHES // ((2 + len(self.groups)) * (1 + len(self.capabilities or (None,)))))

    @property
    def asked(self) -> str:
        """Of what two calls have in common that ask for the same; groups say only who asks."""
        return canonical_hash([self.agent_id, self.space_id, self.capabilities, self.lease])


def next_claims(tx: Transaction, org_id: str, wanted: Wanted, limit: int) -> list[Claim]:
    """Claim the first `limit` ready manual tasks: priority descending, then first in, first out."""
    claims: list[Claim] = []
    while len(claims) < limit and tx.steps > 0:
        seq = _next_claimable(tx, org_id, wanted)
        if seq is None:
            break
        row = by_seq(tx, seq)
        if not ended_with_group(tx, row):
            made = apart(tx, seq, partial(_claim, tx, row, wanted.agent_id, wanted.lease))
            claims += [] if made is None else [made]
    return claims


def next_once(tx: Transaction, org_id: str, wanted: Wanted, command_id: str) -> tuple[list[Claim], bool]:
    """As next_claims for one task. The answer says whether the claim is new, or the first answer again: a caller
    who did not hear it would else leave a task held by nobody until its lease is over."""
    asked = commands.Command(_next(command_id), "next", wanted.asked)
    known = commands.known_key(tx, org_id, "next", command_id, asked.content)
    if known is not None:
        said = commands.first_answer(tx, known, asked)
        return [_claim_again(get(tx, org_id, known), said)], False
    claims = next_claims(tx, org_id, wanted, 1)
    for made in claims:
        commands.remember_key(tx, org_id, "next", command_id, asked.content, made.task.id)
        commands.remember_answer(tx, made.task.id, asked, _kept_claim(made))
    return claims, True


def _next(command_id: str) -> str:
    """Among the commands of the task that was found: its own may bear the same id."""
    return f"{commands.NEXT}{command_id}"


def undo_next(tx: Transaction, claims: Sequence[Claim], command_id: str) -> None:
    """As undo_claim for what `next_once` claimed."""
    for made in claims:
        commands.forget_key(tx, made.task.org_id, "next", command_id)
        undo_claim(tx, made, _next(command_id))


def _next_claimable(tx: Transaction, org_id: str, wanted: Wanted) -> int | None:
    """One statement: for each whom a task may wait for, and each capability, one descent into an index that holds
    ready rows only."""
    holders, able = (None, wanted.agent_id, *wanted.groups), wanted.capabilities or ()
    sql = _next_sql(len(holders), None if wanted.capabilities is None else len(able))
    found = tx.one(sql, (*holders, *able, org_id, wanted.space_id))
    return None if found is None else int(found[0])


@lru_cache(maxsize=64)
def _next_sql(holders: int, able: int | None) -> str:
    tables, branches = [f"holders (holder) AS (VALUES {_marks(1, holders)})"], [f"{_PLAIN} FROM holders"]
    if able is None:
        branches.append(f"{_ANY} FROM holders")
    elif able:
        tables.append(f"able (capability) AS (VALUES {_marks(1 + holders, able)})")
        branches.append(f"{_BY} FROM holders, able")
    last = holders + (able or 0)
    found = " UNION ALL ".join(branches).replace(":org", f"?{last + 1}").replace(":space", f"?{last + 2}")
    return (
        f"WITH {', '.join(tables)} SELECT seq FROM dt_tasks WHERE seq IN ({found}) ORDER BY priority DESC, seq LIMIT 1"
    )


def _marks(first: int, count: int) -> str:
    return ", ".join(f"(?{number})" for number in range(first, first + count))


def _branch(index: str, condition: str) -> str:
    return (
        f"SELECT (SELECT seq FROM dt_tasks INDEXED BY {index} WHERE {READY} AND mode = 'manual' AND org_id = :org"
        f" AND space_id = :space AND reserved_for IS holder AND {condition} ORDER BY priority DESC, seq LIMIT 1)"
    )


_PLAIN = _branch("dt_tasks_claimable", "capability IS NULL")
_ANY = _branch("dt_tasks_claimable_any", "capability IS NOT NULL")
_BY = _branch("dt_tasks_claimable_by", "dt_tasks.capability IS NOT NULL AND dt_tasks.capability = able.capability")


def _claim(tx: Transaction, row: Row, agent_id: str, lease: float | None) -> Claim:
    if tx.careful:
        require_sound(row)
    tx.said = agent_id
    opened = open_attempt(tx, row, agent_id=agent_id, request=None, started=False)
    expires = None if lease is None else tx.now + lease
    move(
        tx, row, S.CLAIMED, "task.claimed",
        **opened, assigned_to=agent_id, lease=lease, lease_expires_at=expires, error=None, reason=None,
    )  # fmt: skip
    return Claim(whole_task(row), row["token"], None if expires is None else utc(expires))


def claim(
    tx: Transaction,
    org_id: str,
    task_id: str,
    agent_id: str,
    lease: float | None,
    asked: commands.Command | None,
    *,
    groups: tuple[str, ...] = (),
) -> tuple[Claim, bool]:
    """Claim this very task. The answer says whether the claim is new, or the first answer again."""
    row = get(tx, org_id, task_id)
    said = commands.first_answer(tx, task_id, asked)
    if said is not None:
        if asked is not None and said["task"]["assigned_to"] != agent_id:  # of an earlier release, which kept no caller
            raise commands.conflict(task_id, asked)
        return _claim_again(row, said), False
    if row["mode"] == Mode.AUTO.value:
        raise IllegalMove(
            f"task {task_id} is {row['state']} and runs by a handler; only manual tasks are claimed",
            task_id=task_id,
            state=row["state"],
            verb="claim",
        )
    holder, names = row["assigned_to"] or row["reserved_for"], (None, agent_id, *groups)
    belongs = holder not in names or (holder is not None and S(row["state"]) in HELD)
    if belongs and S(row["state"]) not in TERMINAL:
        raise AlreadyClaimed(
            f"task {task_id} is {row['state']} and belongs to {holder!r}",
            task_id=task_id,
            state=row["state"],
            assigned_to=holder,
        )
    require(row, Verb.CLAIM)
    if row["workflow_id"] is not None and remainders.find(tx, row["workflow_id"], Work.CANCEL) is not None:
        raise IllegalMove(
            f"task {task_id} is being cancelled with its workflow {row['workflow_id']}, which has ended",
            task_id=task_id,
            state=row["state"],
            verb="claim",
        )
    if row["stop_by"] is not None:
        raise Conflict(
            f"task {task_id} is {row['state']}, but its attempt {row['attempt']} is still stopping; try again",
            task_id=task_id,
            state=row["state"],
        )
    made = _claim_sound(tx, row, agent_id, lease)
    commands.remember_answer(tx, task_id, asked, _kept_claim(made))
    return made, True


def _claim_sound(tx: Transaction, row: Row, agent_id: str, lease: float | None) -> Claim:
    try:
        return _claim(tx, row, agent_id, lease)
    except (ValueError, TypeError) as error:
        raise Conflict(
            f"task {row['id']} is damaged in the file ({shown(error)}) and cannot be worked on; cancel or repair it",
            task_id=row["id"],
            state=row["state"],
        ) from error


def _kept_claim(made: Claim) -> dict[str, Any]:
    return {"task": kept(made.task), "token": made.token}


def _claim_again(row: Row, said: Any) -> Claim:
    """The first answer, with the lease as it stands if the attempt is still the one that was claimed."""
    task = again(row, said["task"])
    current = row["token"] == said["token"]
    return Claim(task, said["token"], to_task(row).lease_expires_at if current else task.lease_expires_at)


def kept(task: Task) -> dict[str, Any]:
    """What an answer to a command keeps of a task: input and form, which never change, stand in its row."""
    return task.model_dump(mode="json", exclude={"input", "form"})


def again(row: Row, said: Any) -> Task:
    """The task as it was answered first."""
    now = to_task(row)
    return Task.model_validate({**said, "input": now.input, "form": now.form})


def undo_claim(tx: Transaction, made: Claim, command_id: str | None) -> None:
    """Give one claim back, and forget its answer: the same command may claim anew."""
    commands.forget_answer(tx, made.task.id, command_id)
    undo_claims(tx, [made])


def undo_claims(tx: Transaction, claims: Sequence[Claim]) -> None:
    """Give back what a cancelled caller never heard of, unless it has moved on meanwhile."""
    for made in claims:
        row = get(tx, made.task.org_id, made.task.id)
        if row["token"] == made.token and S(row["state"]) in HELD:
            end_released(tx, row, "undone")


def held_token(
    conn: sqlite3.Connection, org_id: str, task_id: str, agent_id: str, modes: tuple[Mode, ...] = tuple(Mode)
) -> str:
    """The token of the attempt that the agent holds, or has still to stop; empty when there is none of those modes."""
    found = conn.execute(
        "SELECT token, mode FROM dt_tasks WHERE id = ? AND org_id = ? AND assigned_to = ? AND token IS NOT NULL",
        (task_id, org_id, agent_id),
    ).fetchone()
    if found is not None and found[1] not in modes:
        return ""
    return "" if found is None else str(found[0])


def start(tx: Transaction, org_id: str, task_id: str, token: str) -> Task:
    row = get(tx, org_id, task_id)
    _check(tx, row, Verb.START, token)
    timed = row["timeout"] is not None and row["placement"] != "external"  # Temporal times what runs elsewhere
    timeout_at = tx.now + row["timeout"] if timed else None
    tx.run("UPDATE dt_attempts SET started_at = ? WHERE task_id = ? AND number = ?", (tx.now, task_id, row["attempt"]))
    move(tx, row, S.RUNNING, "task.started", started_at=tx.now, timeout_at=timeout_at)
    return to_task(row)


def heartbeat(tx: Transaction, org_id: str, task_id: str, token: str) -> Heartbeat:
    """Renew the lease. A cancelled attempt that is still stopping is told so instead."""
    row = get(tx, org_id, task_id)
    if row["token"] == token and row["stop_by"] is not None:
        return Heartbeat(None, cancel_requested=True)
    _check(tx, row, Verb.HEARTBEAT, token)
    if row["lease"] is None:
        return Heartbeat(None, cancel_requested=False)
    touch(tx, row, lease_expires_at=tx.now + row["lease"])
    return Heartbeat(utc(row["lease_expires_at"]), cancel_requested=False)


def progress(tx: Transaction, org_id: str, task_id: str, percent: float, token: str, message: str | None) -> Task:
    row = get(tx, org_id, task_id)
    _check(tx, row, Verb.PROGRESS, token)
    changes: Row = {"progress": percent, "progress_message": message}
    if row["lease"] is not None:
        changes["lease_expires_at"] = tx.now + row["lease"]
    told = row["progress_event_at"]
    if told is None or not 0 <= tx.now - told < PROGRESS_EVERY:  # below 0: the clock was set back
        changes["progress_event_at"] = tx.now
    touch(tx, row, updated_at=tx.now, **changes)
    if "progress_event_at" in changes:
        task_event(tx, row, "task.progress", {"progress": percent, "message": message})
    return to_task(row)


def complete(tx: Transaction, org_id: str, task_id: str, output: str | None, token: str, *, fits: bool = False) -> Task:
    """End the attempt well. The same token with the same output again returns the task. Raises FormDue when the task
    has a form and nobody says that the output `fits`: checking it here would keep all other writers waiting."""
    row = get(tx, org_id, task_id)
    if _is_repeat(tx, row, token, "completed", output):
        return to_task(row)
    _check(tx, row, Verb.COMPLETE, token)
    if row["form"] is not None and not fits:
        raise FormDue(row["form"])
    end_completed(tx, row, output)
    return to_task(row)


def fail(
    tx: Transaction, org_id: str, task_id: str, error: TaskError, token: str, retryable: bool, after: float | None
) -> Task:
    """End the attempt badly: SQLite decides whether it is retried. The same again returns the task."""
    row = get(tx, org_id, task_id)
    if _is_repeat(tx, row, token, "failed", dump_error(error)):
        return to_task(row)
    _check(tx, row, Verb.FAIL, token)
    end_failed(tx, row, error, retryable=retryable, after=after)
    return to_task(row)


def release(tx: Transaction, org_id: str, task_id: str, token: str) -> Task:
    """Give the task back; no retry is used. Also how an agent says that a cancelled attempt has stopped."""
    row = get(tx, org_id, task_id)
    if row["token"] == token and row["stop_by"] is not None:
        attempt_stopped(tx, row)
        return to_task(row)
    _check(tx, row, Verb.RELEASE, token)
    end_released(tx, row, "released")
    return to_task(row)


def _check(tx: Transaction, row: Row, verb: Verb, token: str) -> None:
    """A task that has ended says so. Else the token comes first: who lost an attempt hears the same before
    and after somebody else has taken the next. Whoever has the token is taken for the holder, unless he says who
    he is."""
    if STATES[row["state"]] not in TERMINAL and row["attempt"] > 0:
        require_token(row, token)
    require(row, verb)
    tx.said = row["assigned_to"]


def _is_repeat(tx: Transaction, row: Row, token: str, state: str, answer: str | None) -> bool:
    if row["token"] == token:
        return False
    found = tx.one(
        "SELECT answer_hash FROM dt_attempts WHERE task_id = ? AND token = ? AND state = ?", (row["id"], token, state)
    )
    return found is not None and found[0] == text_hash(answer)


def cancel(tx: Transaction, org_id: str, task_id: str, reason: str | None) -> Task:
    row = get(tx, org_id, task_id)
    if row["state"] == S.CANCELLED:
        return to_task(row)
    require(row, Verb.CANCEL)
    require_own(tx, row, Verb.CANCEL)
    cancel_row(tx, row, reason)
    return to_task(row)


def retry(tx: Transaction, org_id: str, task_id: str) -> Task:
    """Run a failed or cancelled task again: a new generation with fresh counters."""
    row = get(tx, org_id, task_id)
    require(row, Verb.RETRY)
    require_own(tx, row, Verb.RETRY)
    tx.make_room(1)
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


def history(conn: sqlite3.Connection, org_id: str, task_id: str) -> list[Attempt]:
    """The newest HISTORY of them, oldest first."""
    sql = f"SELECT {ATTEMPT} FROM dt_attempts WHERE task_id = ? ORDER BY number DESC LIMIT ?"
    return [to_attempt(values) for values in conn.execute(sql, (task_id, HISTORY)).fetchall()[::-1]]
