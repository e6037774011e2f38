"""Submissions and the outbox: what Temporal is to be told, written in the transaction that changes a task.

It must not know how it is sent, nor what a change means for other tasks.
"""

import logging
import sqlite3
from typing import Any

from durable_tasks.contracts import INLINE_LIMIT, TaskRef, TaskStatus, Verdict, task_workflow_id
from durable_tasks.errors import NotFound
from durable_tasks.lifecycle import HELD, is_terminal
from durable_tasks.models import Engine, Placement, TaskState
from durable_tasks.ports import Errand, OutboxKind, Submission
from durable_tasks.store.events import task_event
from durable_tasks.store.rows import TASK, Row, load, load_error, task_row
from durable_tasks.store.transaction import Transaction

log = logging.getLogger("durable_tasks.store")

_SUBMISSION = "subject_id, generation, org_id, placement, namespace, workflow_id, run_id, state, updated_at"
# An embedded workflow learns of these ends by asking; once it was started there is nothing left to tell it.
_SELF_ENDING = "placement = 'embedded' AND {outcome} IN ('completed', 'failed')"
_OUTBOX = "id, subject_id, generation, kind, org_id, priority, request_id, tries"


def follow(tx: Transaction, row: Row) -> None:
    """After a task of the Temporal engine moved: submit its generation once it is ready, and queue what its
    Temporal workflow must hear. Embedded auto tasks need no sync: their workflow waits on SQLite itself."""
    state = row["state"]
    if state == "pending" and _submit(tx, row):
        return
    if state == "cancelled":
        queue(tx, row, OutboxKind.CANCEL)
    elif row["mode"] == "manual":
        queue(tx, row, OutboxKind.SYNC)
    if is_terminal(state):
        tx.run(
            "UPDATE dt_submissions SET outcome = ?, error = ?, updated_at = ?, state = CASE WHEN state = 'open' AND"
            f" {_SELF_ENDING.format(outcome='?')} THEN 'closed' ELSE state END WHERE subject_id = ? AND generation = ?",
            (state, row["error"], tx.now, state, row["id"], row["generation"]),
        )


def _submit(tx: Transaction, row: Row) -> bool:
    generation = row["generation"]
    workflow_id = task_workflow_id(row["id"], generation)
    subject = (row["id"], generation, row["org_id"], row["placement"], tx.rules.namespace, workflow_id)
    added = tx.run(
        "INSERT OR IGNORE INTO dt_submissions (subject_id, generation, org_id, placement, namespace, workflow_id,"
        " state, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, 'outbox', ?, ?)",
        (*subject, tx.now, tx.now),
    )
    if added.rowcount == 0:
        return False
    _put(tx, row, generation, OutboxKind.START)
    return True


def queue(tx: Transaction, row: Row, kind: OutboxKind, generation: int | None = None) -> None:
    """Queue a command for a generation that was submitted and is not closed; coalesced into one row."""
    generation = row["generation"] if generation is None else generation
    found = tx.one("SELECT state FROM dt_submissions WHERE subject_id = ? AND generation = ?", (row["id"], generation))
    if found is not None and found[0] != "closed":
        _put(tx, row, generation, kind)


def _put(tx: Transaction, row: Row, generation: int, kind: OutboxKind) -> None:
    tx.run(
        "INSERT INTO dt_outbox (subject_id, generation, kind, org_id, priority, request_id, tries, due_at, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?) ON CONFLICT (subject_id, generation, kind) DO UPDATE SET"
        " request_id = excluded.request_id, tries = 0, due_at = excluded.due_at, dead_at = NULL, error = NULL",
        (row["id"], generation, kind.value, row["org_id"], row["priority"], tx.ids.task(), tx.now, tx.now),
    )
    tx.notice.outbox = True


def status_of(row: Row, ref: TaskRef, outcome: str | None, outcome_error: str | None, now: float) -> TaskStatus:
    """What SQLite says of `ref`: of its own generation, also when the task has gone on to a newer one."""
    if ref.generation < row["generation"]:
        return _status_of_older(row, outcome, outcome_error)
    state = TaskState(row["state"])
    output = row["output"]
    large = output is not None and len(output) > INLINE_LIMIT
    return TaskStatus(
        verdict=_verdict(row, state, now),
        state=state,
        version=row["version"],
        attempt=row["attempt"],
        wait_until=row["wake_at"] if state in (TaskState.SCHEDULED, TaskState.RETRYING) else row["stop_by"],
        output=None if large else load(output),
        output_in_store=large,
        error=load_error(row["error"]),
        reason=row["reason"],
    )


def _status_of_older(row: Row, outcome: str | None, error: str | None) -> TaskStatus:
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


def read_status(conn: sqlite3.Connection, ref: TaskRef, now: float) -> TaskStatus:
    row, outcome, error = _row_and_outcome(conn, ref)
    return status_of(row, ref, outcome, error, now)


def _row_and_outcome(conn: sqlite3.Connection, ref: TaskRef) -> tuple[Row, str | None, str | None]:
    found = conn.execute(
        f"SELECT {TASK} FROM dt_tasks WHERE id = ? AND org_id = ?", (ref.task_id, ref.org_id)
    ).fetchone()
    if found is None:
        raise NotFound(f"there is no task {ref.task_id} in {ref.org_id}", id=ref.task_id)
    ended = conn.execute(
        "SELECT outcome, error FROM dt_submissions WHERE subject_id = ? AND generation = ?",
        (ref.task_id, ref.generation),
    ).fetchone()
    return task_row(found), *(ended or (None, None))


def is_driver(conn: sqlite3.Connection, ref: TaskRef, namespace: str, workflow_id: str) -> bool:
    """Whether that Temporal workflow is the one SQLite handed this generation to. Its run is not compared:
    REJECT_DUPLICATE allows one chain of runs per id, and continue-as-new and an operator's reset go on in it."""
    found = conn.execute(
        "SELECT namespace, workflow_id FROM dt_submissions WHERE subject_id = ? AND generation = ?",
        (ref.task_id, ref.generation),
    ).fetchone()
    return bool(found == (namespace, workflow_id))


def errands(conn: sqlite3.Connection, now: float, *, limit: int, starts: int, skip: frozenset[int]) -> list[Errand]:
    """Commands first, oldest first; then starts by priority and age, round robin over organisations."""
    rows = [
        values
        for values in conn.execute(
            f"SELECT {_OUTBOX} FROM dt_outbox AS command WHERE kind <> 'start' AND dead_at IS NULL AND due_at <= ?"
            " AND NOT EXISTS (SELECT 1 FROM dt_outbox AS start WHERE start.subject_id = command.subject_id"
            " AND start.generation = command.generation AND start.kind = 'start') ORDER BY due_at, id LIMIT ?",
            (now, limit + len(skip)),
        )
        if values[0] not in skip
    ][:limit]
    rows += _starts(conn, now, limit - len(rows), starts, skip)
    return [_to_errand(conn, values, now) for values in rows]


def _starts(
    conn: sqlite3.Connection, now: float, limit: int, embedded: int, skip: frozenset[int]
) -> list[tuple[Any, ...]]:
    """Take one of each organisation in turn, until `limit`, or the `embedded` starts allowed, are reached."""
    kinds = "" if embedded > 0 else " AND submission.placement <> 'embedded'"
    waiting = [iter(_starts_of(conn, org_id, now, limit, skip, kinds)) for org_id in _orgs_with_starts(conn)]
    found: list[tuple[Any, ...]] = []
    while waiting and len(found) < limit:
        for org in list(waiting):
            values = next(org, None)
            if values is None:
                waiting.remove(org)
            elif values[-1] != Placement.EMBEDDED.value:
                found.append(values[:-1])
            elif embedded > 0:
                embedded -= 1
                found.append(values[:-1])
            if len(found) >= limit:
                break
    return found


def _starts_of(
    conn: sqlite3.Connection, org_id: str, now: float, limit: int, skip: frozenset[int], kinds: str
) -> list[tuple[Any, ...]]:
    rows = conn.execute(
        "SELECT outbox.id, outbox.subject_id, outbox.generation, outbox.kind, outbox.org_id, outbox.priority,"
        " outbox.request_id, outbox.tries, submission.placement FROM dt_outbox AS outbox"
        " JOIN dt_submissions AS submission ON submission.subject_id = outbox.subject_id"
        " AND submission.generation = outbox.generation WHERE outbox.org_id = ? AND outbox.kind = 'start'"
        " AND outbox.dead_at IS NULL AND outbox.due_at <= ?"
        f"{kinds} ORDER BY outbox.priority DESC, outbox.id LIMIT ?",
        (org_id, now, limit + len(skip)),
    )
    return [values for values in rows if values[0] not in skip]


def _orgs_with_starts(conn: sqlite3.Connection) -> list[str]:
    """One index descent per organisation, however many starts wait."""
    sql = "SELECT org_id FROM dt_outbox WHERE kind = 'start' AND dead_at IS NULL AND org_id > ? ORDER BY org_id LIMIT 1"
    orgs: list[str] = []
    found = conn.execute(sql, ("",)).fetchone()
    while found is not None:
        orgs.append(found[0])
        found = conn.execute(sql, (found[0],)).fetchone()
    return orgs


def _to_errand(conn: sqlite3.Connection, values: tuple[Any, ...], now: float) -> Errand:
    number, subject_id, generation, kind, org_id, priority, request_id, tries = values
    placement, namespace, workflow_id, run_id = conn.execute(
        "SELECT placement, namespace, workflow_id, run_id FROM dt_submissions WHERE subject_id = ? AND generation = ?",
        (subject_id, generation),
    ).fetchone()
    ref = TaskRef(
        task_id=subject_id, org_id=org_id, generation=generation, placement=Placement(placement), priority=priority
    )
    row, outcome, error = _row_and_outcome(conn, ref)
    return Errand(
        id=number,
        kind=OutboxKind(kind),
        request_id=request_id,
        ref=ref,
        title=row["title"],
        priority=priority,
        namespace=namespace,
        workflow_id=workflow_id,
        run_id=run_id,
        tries=tries,
        status=status_of(row, ref, outcome, error, now),
    )


def next_errand_at(conn: sqlite3.Connection) -> float | None:
    found = conn.execute("SELECT MIN(due_at) FROM dt_outbox WHERE dead_at IS NULL AND tries > 0").fetchone()[0]
    return None if found is None else float(found)


def open_embedded(conn: sqlite3.Connection, namespace: str) -> int:
    """Submissions handed to Temporal whose task has not ended in SQLite."""
    sql = "SELECT COUNT(*) FROM dt_submissions WHERE state = 'open' AND placement = 'embedded' AND namespace = ?"
    return int(conn.execute(sql, (namespace,)).fetchone()[0])


def acknowledge(tx: Transaction, errand: Errand, run_id: str | None) -> None:
    gone = tx.run("DELETE FROM dt_outbox WHERE id = ? AND request_id = ?", (errand.id, errand.request_id))
    if errand.kind is OutboxKind.START:
        tx.run(
            f"UPDATE dt_submissions SET state = CASE WHEN {_SELF_ENDING.format(outcome='outcome')} THEN 'closed'"
            " ELSE 'open' END, run_id = ?, updated_at = ?"
            " WHERE subject_id = ? AND generation = ? AND state <> 'closed'",
            (run_id, tx.now, errand.ref.task_id, errand.ref.generation),
        )
        tx.notice.outbox = True  # commands for it were held back until it is there
    elif gone.rowcount and (errand.kind is OutboxKind.TERMINATE or is_terminal(errand.status.state)):
        _set_state(tx, errand.ref, "closed", None)


def moot(tx: Transaction, errand: Errand) -> None:
    tx.run("DELETE FROM dt_outbox WHERE id = ? AND request_id = ?", (errand.id, errand.request_id))
    _set_state(tx, errand.ref, "closed" if is_terminal(errand.status.state) else "open", None)


def _set_state(tx: Transaction, ref: TaskRef, state: str, run_id: str | None) -> None:
    tx.run(
        "UPDATE dt_submissions SET state = ?, run_id = COALESCE(?, run_id), updated_at = ?"
        " WHERE subject_id = ? AND generation = ?",
        (state, run_id, tx.now, ref.task_id, ref.generation),
    )


def defer(tx: Transaction, errand: Errand, *, until: float, error: str) -> None:
    tx.run(
        "UPDATE dt_outbox SET tries = tries + 1, due_at = ?, error = ? WHERE id = ? AND request_id = ?",
        (until, error[:1000], errand.id, errand.request_id),
    )


def bury(tx: Transaction, errand: Errand, error: str) -> None:
    """Refused for ever: keep the row for people to see, and send it no more."""
    tx.run(
        "UPDATE dt_outbox SET dead_at = ?, error = ? WHERE id = ? AND request_id = ?",
        (tx.now, error[:1000], errand.id, errand.request_id),
    )
    if errand.kind is OutboxKind.START:
        _set_state(tx, errand.ref, "closed", None)


def page(conn: sqlite3.Connection, now: float, *, states: tuple[str, ...], after: str, limit: int) -> list[Submission]:
    wanted = ", ".join("?" * len(states))
    # The index of what is not closed serves only a query that says so in its own words.
    unless_closed = "" if "closed" in states else " AND state <> 'closed'"
    rows = conn.execute(
        f"SELECT {_SUBMISSION} FROM dt_submissions AS s WHERE state IN ({wanted}){unless_closed} AND workflow_id > ?"
        " AND generation = (SELECT generation FROM dt_tasks WHERE id = s.subject_id) ORDER BY workflow_id LIMIT ?",
        (*states, after, limit),
    ).fetchall()
    return [_to_submission(conn, values, now) for values in rows]


def _to_submission(conn: sqlite3.Connection, values: tuple[Any, ...], now: float) -> Submission:
    subject_id, generation, org_id, placement, namespace, workflow_id, run_id, state, updated_at = values
    ref = TaskRef(task_id=subject_id, org_id=org_id, generation=generation, placement=Placement(placement))
    row, outcome, error = _row_and_outcome(conn, ref)
    pending = conn.execute(
        "SELECT COUNT(*) FROM dt_outbox WHERE subject_id = ? AND generation = ? AND dead_at IS NULL",
        (subject_id, generation),
    ).fetchone()[0]
    return Submission(
        ref=ref,
        namespace=namespace,
        workflow_id=workflow_id,
        run_id=run_id,
        state=state,
        updated_at=max(updated_at, row["updated_at"]),
        task_version=row["version"],
        status=status_of(row, ref, outcome, error, now),
        pending_errands=pending,
    )


def close(tx: Transaction, submission: Submission) -> None:
    _set_state(tx, submission.ref, "closed", None)


def resubmit(tx: Transaction, submission: Submission) -> bool:
    """Start again as the next generation: only if the row is as the reconciler saw it."""
    row = _current(tx, submission)
    if row is None or is_terminal(row["state"]):
        return False
    _set_state(tx, submission.ref, "closed", None)
    generation = row["generation"] + 1
    tx.run("UPDATE dt_tasks SET generation = ? WHERE seq = ?", (generation, row["seq"]))
    row["generation"] = generation
    task_event(tx, row, "task.resubmitted")
    _submit(tx, row)
    return True


def nudge(tx: Transaction, submission: Submission) -> None:
    """The task has ended but its Temporal workflow has not: tell it once more."""
    row = _current(tx, submission)
    if row is not None and is_terminal(row["state"]):
        queue(tx, row, OutboxKind.CANCEL if row["state"] == "cancelled" else OutboxKind.SYNC)


def _current(tx: Transaction, submission: Submission) -> Row | None:
    found = tx.one(
        f"SELECT {TASK} FROM dt_tasks WHERE id = ? AND version = ?", (submission.ref.task_id, submission.task_version)
    )
    if found is None:
        return None
    row = task_row(found)
    return row if row["generation"] == submission.ref.generation else None


def settle_engine(tx: Transaction, wanted: Engine | None) -> Engine:
    """Record the engine of the file and hand it the open tasks of the other one."""
    found = tx.one("SELECT value FROM dt_meta WHERE key = 'engine'")
    if wanted is None:
        return Engine.LOCAL if found is None else Engine(found[0])
    tx.run("INSERT OR REPLACE INTO dt_meta VALUES ('engine', ?)", (wanted.value,))
    tx.engine = wanted.value
    if found is not None and found[0] != wanted.value:
        adopted = _adopt(tx, wanted)
        log.warning("durable mode was switched", extra={"engine": wanted.value, "tasks": adopted})
    return wanted


def _adopt(tx: Transaction, engine: Engine) -> int:
    """Durable mode was switched: open tasks of the other engine go on with this one. What Temporal still runs
    of them is terminated when it is next reachable; commands of older generations are refused anyway."""
    states = ", ".join(f"'{state.value}'" for state in TaskState if not is_terminal(state))
    rows = tx.all(f"SELECT {TASK} FROM dt_tasks WHERE state IN ({states}) AND engine <> ?", (engine.value,))
    for row in map(task_row, rows):
        if row["engine"] == Engine.TEMPORAL.value:
            _give_up_generation(tx, row)
        row |= {"engine": engine.value, "generation": row["generation"] + 1}
        tx.run(
            "UPDATE dt_tasks SET engine = ?, generation = ?, version = version + 1 WHERE seq = ?",
            (row["engine"], row["generation"], row["seq"]),
        )
        task_event(tx, row, "task.switched", {"engine": engine.value})
        if engine is Engine.TEMPORAL and row["state"] not in ("blocked", "scheduled"):
            _submit(tx, row)
    return len(rows)


def _give_up_generation(tx: Transaction, row: Row) -> None:
    started = tx.one(
        "SELECT 1 FROM dt_submissions WHERE subject_id = ? AND generation = ? AND state = 'open'",
        (row["id"], row["generation"]),
    )
    tx.run("DELETE FROM dt_outbox WHERE subject_id = ? AND generation = ?", (row["id"], row["generation"]))
    if started is not None:
        queue(tx, row, OutboxKind.TERMINATE)
    else:
        _close_generation(tx, row["id"], row["generation"])


def _close_generation(tx: Transaction, task_id: str, generation: int) -> None:
    tx.run(
        "UPDATE dt_submissions SET state = 'closed', updated_at = ? WHERE subject_id = ? AND generation = ?",
        (tx.now, task_id, generation),
    )
