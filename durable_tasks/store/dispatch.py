"""Dispatch: handing ready tasks to executors, and taking their ends back.

It must not know handlers; an executor is its process's instance name.
"""

import sqlite3
from collections.abc import Collection
from dataclasses import replace
from functools import partial

from durable_tasks.lifecycle import HELD, Loss, Verb
from durable_tasks.models import TaskError, TaskState
from durable_tasks.ports import Appetite, Assignment, Ending, Outcome
from durable_tasks.store import suspects
from durable_tasks.store.containment import apart, require_sound
from durable_tasks.store.endings import end_completed, end_failed, end_lost, end_released
from durable_tasks.store.moves import (
    attempt_stopped,
    by_seq,
    get,
    move,
    open_attempt,
    require,
    save,
)
from durable_tasks.store.processes import stands
from durable_tasks.store.rows import READY, Row, whole_task
from durable_tasks.store.settlement import ended_with_group
from durable_tasks.store.transaction import Transaction

S = TaskState


def take(tx: Transaction, appetite: Appetite, after_org: str, *, lent: bool = False) -> tuple[list[Assignment], str]:
    """Begin up to `appetite.limit` ready embedded tasks: priority, then first in, first out within an
    organisation, and one organisation after the other. Also answers the last organisation served. `lent`: the file
    is a copy, and Temporal's tasks are with the original until somebody says whose they are."""
    taken: list[Assignment] = []
    if not stands(tx):
        return taken, after_org
    aside = suspects.any_are_known(tx)
    if aside and (turn := _take_alone(tx, appetite, lent)) is not None:
        return turn, after_org
    orgs = _orgs_in_turn(tx, after_org)
    while orgs and len(taken) < appetite.limit:
        share = max(1, (appetite.limit - len(taken)) // len(orgs))
        for org_id in list(orgs):
            found = _ready(tx, org_id, appetite, min(share, appetite.limit - len(taken)), lent, aside=aside)
            if not found:
                orgs.remove(org_id)
                continue
            rows = [by_seq(tx, seq) for seq in found]
            begun = [_begin_apart(tx, row) for row in rows if not ended_with_group(tx, row)]
            taken += [one for one in begun if one is not None]
            after_org = org_id
            if tx.steps <= 0:
                tx.notice.ready = True  # there may be more
                return taken, after_org
            if len(taken) >= appetite.limit:
                break
    return taken, after_org


def _take_alone(tx: Transaction, appetite: Appetite, lent: bool) -> list[Assignment] | None:
    """A suspect for an executor that rests; nothing, so that it may come to rest; or None: take as ever."""
    seq, turn = suspects.next_in_turn(tx, appetite, lent=lent)
    if seq is None:
        return None
    tx.notice.suspects = True
    if appetite.rests:
        row = by_seq(tx, seq)
        if ended_with_group(tx, row):
            return []
        begun = _begin_apart(tx, row)
        return [] if begun is None else [replace(begun, alone_for=suspects.probation(row["lost_count"]))]
    return [] if turn else None


def _orgs_in_turn(tx: Transaction, after_org: str) -> list[str]:
    """Organisations with ready embedded tasks, beginning behind the last one served."""
    sql = (
        f"SELECT org_id FROM dt_tasks INDEXED BY dt_tasks_beginnable WHERE {READY} AND placement = 'embedded'"
        " AND org_id > ? ORDER BY org_id LIMIT 1"
    )
    orgs: list[str] = []
    found = tx.one(sql, ("",))
    while found is not None:
        orgs.append(found[0])
        found = tx.one(sql, (found[0],))
    return [o for o in orgs if o > after_org] + [o for o in orgs if o <= after_org]


def _ready(tx: Transaction, org_id: str, appetite: Appetite, limit: int, lent: bool, *, aside: bool) -> list[int]:
    sql = (
        f"SELECT priority, seq FROM dt_tasks INDEXED BY dt_tasks_beginnable WHERE {READY} AND placement = 'embedded'"
        " AND org_id = ? AND lane = ? AND capability IS ?{} ORDER BY priority DESC, seq LIMIT ?"
    )
    others, since = (suspects.ELSEWHERE, (suspects.company_before(tx),)) if aside else ("", ())
    asks = [*appetite.capabilities, *((None,) if appetite.unnamed else ())]
    found: list[tuple[int, int]] = []
    for capability in asks:
        values = (org_id, "open", capability, *since, limit)
        found += tx.all(sql.format(others + (" AND engine = 'local'" if lent else "")), values)
        if appetite.temporal_before is not None:
            # Ready in the future: the clock was set back since.
            values = (org_id, "asked", capability, *since, appetite.temporal_before, tx.now, limit)
            found += tx.all(sql.format(others + " AND (ready_at < ? OR ready_at > ?)"), values)
    found.sort(key=lambda key: (-key[0], key[1]))
    return [seq for _, seq in found[:limit]]


def _begin_apart(tx: Transaction, row: Row) -> Assignment | None:
    return apart(tx, row["seq"], lambda: begin(tx, row))


def begin(tx: Transaction, row: Row, *, request: str | None = None) -> Assignment:
    """Start an attempt of a ready task in this process's executor."""
    require(row, Verb.BEGIN)
    if tx.careful:
        require_sound(row)
    opened = open_attempt(tx, row, agent_id=None, request=request, started=True)
    timeout_at = None if row["timeout"] is None else tx.now + row["timeout"]
    move(
        tx, row, S.RUNNING, "task.started",
        **opened, process=tx.rules.instance, started_at=tx.now, timeout_at=timeout_at, wake_at=None,
        progress=0.0, progress_message=None, reason=None,
    )  # fmt: skip
    return Assignment(whole_task(row), row["token"], row["timeout"], {} if row["depends_on"] == "[]" else None)


def finish(tx: Transaction, assignment: Assignment, outcome: Outcome, output: str | None) -> bool:
    """Record how an executor's attempt ended. False when the row had already ended it: a late result is
    refused, and the executor's stop noted."""
    row = get(tx, assignment.task.org_id, assignment.task.id)
    if row["token"] != assignment.token:
        return False
    if row["stop_by"] is not None:
        attempt_stopped(tx, row)
        return False
    apart(tx, row["seq"], lambda: _end(tx, row, outcome, output), must=True)
    return True


def _end(tx: Transaction, row: Row, outcome: Outcome, output: str | None) -> None:
    if outcome.ending is Ending.COMPLETED:
        end_completed(tx, row, output)
    elif outcome.ending is Ending.RELEASED:
        end_released(tx, row, "shutdown")
    else:
        error = outcome.error or TaskError(type="error", message="the handler failed")
        end_failed(tx, row, error, retryable=outcome.retryable, after=outcome.retry_after)


def end_process(tx: Transaction, instance: str) -> int:
    """End every attempt of a process that is gone: lost, not retried. One that leaves in good order releases
    what it still had."""
    leaves = instance == tx.rules.instance
    rows = tx.all("SELECT seq FROM dt_tasks WHERE process = ?", (instance,))
    loss = Loss.ALONE if len(rows) == 1 else Loss.TOGETHER
    for (seq,) in rows:
        apart(tx, seq, partial(_end_of_process, tx, seq, leaves, loss))
    return len(rows)


def _end_of_process(tx: Transaction, seq: int, leaves: bool, loss: Loss) -> None:
    row = by_seq(tx, seq)
    if row["stop_by"] is not None:
        attempt_stopped(tx, row)
    elif S(row["state"]) not in HELD:
        save(tx, row, process=None)
    elif leaves:
        end_released(tx, row, "shutdown")
    else:
        end_lost(tx, row, "its process is gone", loss)


def held(conn: sqlite3.Connection, instance: str) -> list[str]:
    """The tokens of the attempts that one process runs."""
    sql = "SELECT token FROM dt_tasks WHERE process = ? AND stop_by IS NULL"
    return [token for (token,) in conn.execute(sql, (instance,))]


def give_back(tx: Transaction, tokens: Collection[str]) -> None:
    """Release those of this process's attempts that nobody runs."""
    for seq, token in tx.all("SELECT seq, token FROM dt_tasks WHERE process = ?", (tx.rules.instance,)):
        if token in tokens:
            apart(tx, seq, partial(_end_of_process, tx, seq, True, Loss.BLAMELESS))


def stopping(conn: sqlite3.Connection, instance: str) -> list[tuple[str, str]]:
    """(task id, token) of the attempts of one process that were told to stop."""
    return conn.execute(
        "SELECT id, token FROM dt_tasks WHERE process = ? AND stop_by IS NOT NULL", (instance,)
    ).fetchall()
