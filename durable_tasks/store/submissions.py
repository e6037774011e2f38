"""Submissions: which generation of a task or group was handed over to Temporal, and how far that has come.

It must not know how errands are sent, nor what a change means for other tasks.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any

from durable_tasks.contracts import GroupRef, Ref, TaskRef, Verdict, group_workflow_id, task_workflow_id
from durable_tasks.errors import NotFound
from durable_tasks.lifecycle import HELD, is_terminal
from durable_tasks.models import TaskState
from durable_tasks.ports import Errand, OutboxKind, Submission
from durable_tasks.store import outbox
from durable_tasks.store.orgs import namespace_of
from durable_tasks.store.rows import TASK, WORKFLOW, Row, readable, task_row, workflow_row
from durable_tasks.store.status import GROUP, group_of, read_status, ref_of, task_of
from durable_tasks.store.transaction import Transaction

_OVER = (Verdict.ENDED, Verdict.SUPERSEDED)
_SUBMISSION = "subject_id, generation, org_id, placement, namespace, workflow_id, run_id, state, updated_at"
_WORKFLOW_ID = _SUBMISSION.split(", ").index("workflow_id")
_NEWEST = (
    "generation = CASE placement WHEN 'group' THEN (SELECT generation FROM dt_workflows WHERE id = s.subject_id)"
    " ELSE (SELECT generation FROM dt_tasks WHERE id = s.subject_id) END"
)


# ----- what a change in SQLite means for the hand-over


def follow(tx: Transaction, row: Row) -> None:
    """After a task of the Temporal engine moved: submit its generation once it is ready, and queue what its
    Temporal workflow must hear. Embedded auto tasks need no sync: their workflow waits on SQLite itself."""
    if is_inner(row):
        _follow_inner(tx, row)
        return
    state = row["state"]
    if state == "pending" and submit_task(tx, row):
        return
    told = tx.asking == row["id"]
    if state == "cancelled":
        outbox.queue(tx, row, OutboxKind.CANCEL)
    elif not told and (row["mode"] == "manual" or (row["placement"] == "external" and is_terminal(state))):
        outbox.queue(tx, row, OutboxKind.SYNC)
    if is_terminal(state):
        self_ending = state != "cancelled" and (told or row["placement"] == "embedded")
        _note_outcome(tx, row, self_ending=self_ending)


def is_inner(row: Row) -> bool:
    """Whether the Temporal workflow of its group drives the task: an auto member has none of its own."""
    return row["workflow_id"] is not None and row["mode"] == "auto"


def driven_by(row: Row) -> str:
    """The task itself, or the group whose Temporal workflow drives it."""
    return str(row["workflow_id"] if is_inner(row) else row["id"])


def _follow_inner(tx: Transaction, row: Row) -> None:
    """Embedded members are run without a word to Temporal. External ones must be begun, or stopped, by the group's
    Temporal workflow; what it did itself it knows."""
    if row["placement"] != "external" or tx.asking == driven_by(row):
        return
    if row["state"] == "pending" or row["stop_by"] is not None:
        group = _group_row(tx, row["workflow_id"])
        outbox.queue(tx, group, OutboxKind.SYNC)


def follow_group(tx: Transaction, group: Row) -> None:
    """After a group ended: its Temporal workflow, if it has one, must hear of it."""
    told = tx.asking == group["id"]
    if group["state"] == "cancelled":
        outbox.queue(tx, group, OutboxKind.CANCEL)
    elif not told:
        outbox.queue(tx, group, OutboxKind.SYNC)
    _note_outcome(tx, group, self_ending=told)


def _note_outcome(tx: Transaction, row: Row, *, self_ending: bool) -> None:
    """Keep how this generation ended. A Temporal workflow that learns of the end by asking needs to be told nothing
    more: once it was started, its submission is closed."""
    tx.run(
        "UPDATE dt_submissions SET outcome = ?, error = ?, updated_at = ?, state = CASE WHEN state = 'open' AND ?"
        " THEN 'closed' ELSE state END WHERE subject_id = ? AND generation = ?",
        (row["state"], row["error"], tx.now, self_ending, row["id"], row["generation"]),
    )


def submit_task(tx: Transaction, row: Row) -> bool:
    """Hand the task's generation over. False when that was done before."""
    return _submit(tx, row, row["placement"], task_workflow_id(row["id"], row["generation"]), row["priority"])


def submit_group(tx: Transaction, group: Row) -> bool:
    """Hand the group's generation over, as urgent as its first member."""
    sql = "SELECT priority FROM dt_tasks WHERE workflow_id = ? ORDER BY position LIMIT 1"
    found = tx.one(sql, (group["id"],))
    priority = 1 if found is None else int(found[0])
    return _submit(tx, group, GROUP, group_workflow_id(group["id"], group["generation"]), priority)


def _submit(tx: Transaction, row: Row, placement: str, workflow_id: str, priority: int) -> bool:
    subject = (row["id"], row["generation"], row["org_id"], placement, namespace_of(tx, row["org_id"]), workflow_id)
    added = tx.run(
        "INSERT OR IGNORE INTO dt_submissions (subject_id, generation, org_id, placement, namespace, workflow_id,"
        " state, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, 'outbox', ?, ?)",
        (*subject, tx.now, tx.now),
    )
    if added.rowcount == 0:
        return False
    outbox.put(tx, row, row["generation"], OutboxKind.START, priority)
    return True


def lane_of(tx: Transaction, row: Row) -> str:
    """Whether executors may begin the ready task at once, or its Temporal workflow asks first."""
    if row["engine"] != "temporal":
        return "open"
    if row["lost_count"] and row["placement"] == "embedded":
        return "open"  # it was asked for before: whoever has a slot goes on with it, and its workflow finds it begun
    if not is_inner(row):
        return "asked"
    found = tx.one(
        "SELECT 1 FROM dt_workflows AS w JOIN dt_submissions AS s ON s.subject_id = w.id"
        " AND s.generation = w.generation WHERE w.id = ? AND s.state = 'open'",
        (row["workflow_id"],),
    )
    return "asked" if found is None else "open"


# ----- who drives


def drives(conn: sqlite3.Connection, row: Row, namespace: str, workflow_id: str) -> bool:
    """Whether that Temporal workflow is the one SQLite handed the newest generation of this task, or of its group,
    to. Its run is not compared: REJECT_DUPLICATE allows one chain of runs per id, and continue-as-new and an
    operator's reset go on in it."""
    if is_inner(row):
        sql = "SELECT id, generation FROM dt_workflows WHERE id = ?"
        subject = conn.execute(sql, (row["workflow_id"],)).fetchone()
    else:
        subject = (row["id"], row["generation"])
    return _is_submitted(conn, subject, namespace, workflow_id)


def drives_group(conn: sqlite3.Connection, group: Row, namespace: str, workflow_id: str) -> bool:
    return _is_submitted(conn, (group["id"], group["generation"]), namespace, workflow_id)


def _is_submitted(conn: sqlite3.Connection, subject: tuple[str, int], namespace: str, workflow_id: str) -> bool:
    found = conn.execute(
        "SELECT namespace, workflow_id FROM dt_submissions WHERE subject_id = ? AND generation = ?", subject
    ).fetchone()
    return bool(found == (namespace, workflow_id))


def require_asker(conn: sqlite3.Connection, ref: Ref, namespace: str, workflow_id: str) -> None:
    """Raise NotFound unless that Temporal workflow was started for this task or group, in whatever generation, or for
    the group of this task: anybody may start workflows in a namespace of his own."""
    subject = _subject_of(workflow_id)
    sql = (
        "SELECT 1 FROM dt_submissions WHERE subject_id = ? AND generation = ? AND workflow_id = ? AND namespace = ?"
        " AND org_id = ?"
    )
    if subject is not None and conn.execute(sql, (*subject, workflow_id, namespace, ref.org_id)).fetchone():
        inner = "SELECT 1 FROM dt_tasks WHERE id = ? AND workflow_id = ?"
        if subject[0] == ref.subject_id or conn.execute(inner, (ref.subject_id, subject[0])).fetchone():
            return
    raise NotFound(f"there is no {ref.subject_id} that {workflow_id} in {namespace} drives", id=ref.subject_id)


# ----- what the reconciler sees and does


def page(
    conn: sqlite3.Connection, now: float, *, states: tuple[str, ...], after: str, limit: int, parked: frozenset[str]
) -> list[Submission]:
    """Submissions of the newest generation, by workflow id above `after`."""
    wanted = ", ".join("?" * len(states))
    # The index of what is not closed serves only a query that says so in its own words.
    unless_closed = "" if "closed" in states else " AND state <> 'closed'"
    sql = (
        f"SELECT {_SUBMISSION} FROM dt_submissions AS s WHERE state IN ({wanted}){unless_closed} AND workflow_id > ?"
        f" AND org_id NOT IN ({', '.join('?' * len(parked))})"
        f" AND {_NEWEST} ORDER BY workflow_id LIMIT ?"
    )
    found: list[Submission] = []
    while not found and (rows := conn.execute(sql, (*states, after, *parked, limit)).fetchall()):
        found = readable(rows, lambda values: _to_submission(conn, values, now))
        after = rows[-1][_WORKFLOW_ID]  # a page of which nothing can be read is not the last
    return found


def settled(conn: sqlite3.Connection, now: float, org_id: str, *, before: float, limit: int) -> list[Submission]:
    """Open ones of an organisation that have not moved since `before` and that nothing is to be sent for. Its
    namespaces lead to them: what others have is not looked at."""
    rows = conn.execute(
        f"SELECT {_SUBMISSION} FROM dt_submissions AS s INDEXED BY dt_submissions_busy"
        " WHERE namespace IN (SELECT namespace FROM dt_orgs WHERE org_id = ?) AND org_id = ? AND state = 'open'"
        f" AND state <> 'closed' AND (updated_at <= ? OR updated_at > ?) AND {_NEWEST}"
        " AND NOT EXISTS (SELECT 1 FROM dt_outbox AS o WHERE o.subject_id = s.subject_id"
        " AND o.generation = s.generation AND o.dead_at IS NULL) LIMIT ?",
        (org_id, org_id, before, now, limit),
    ).fetchall()
    found = readable(rows, lambda values: _to_submission(conn, values, now))
    return [one for one in found if not before < one.updated_at <= now]  # in the future: the clock was set back


def find(conn: sqlite3.Connection, now: float, workflow_ids: Sequence[str]) -> dict[str, Submission]:
    """By Temporal workflow id, whatever the generation; ids that are not ours are left out, as is what
    cannot be read."""
    rows: list[tuple[Any, ...]] = []
    for workflow_id in workflow_ids:
        subject = _subject_of(workflow_id)
        if subject is None:
            continue
        sql = f"SELECT {_SUBMISSION} FROM dt_submissions WHERE subject_id = ? AND generation = ? AND workflow_id = ?"
        rows += conn.execute(sql, (*subject, workflow_id))
    return {one.workflow_id: one for one in readable(rows, lambda values: _to_submission(conn, values, now))}


def subject_of(workflow_id: str) -> str | None:
    """The task or group that a Temporal workflow of ours drives."""
    found = _subject_of(workflow_id)
    return None if found is None else found[0]


def _subject_of(workflow_id: str) -> tuple[str, int] | None:
    parts = workflow_id.split("/")
    if len(parts) != 3 or parts[0] not in ("task", "workflow") or not parts[2].isdecimal() or len(parts[2]) > 15:
        return None
    return parts[1], int(parts[2])


def _to_submission(conn: sqlite3.Connection, values: tuple[Any, ...], now: float) -> Submission:
    subject_id, generation, org_id, placement, namespace, workflow_id, run_id, state, updated_at = values
    ref = ref_of(conn, subject_id, generation, org_id, placement)
    status = read_status(conn, ref, now)
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
        updated_at=max(updated_at, _moved_at(conn, ref)),
        version=status.version,
        status=status,
        pending_errands=pending,
    )


def _moved_at(conn: sqlite3.Connection, ref: Ref) -> float:
    """When the subject last went from one state to another; heartbeats and progress do not count."""
    table = "dt_tasks" if isinstance(ref, TaskRef) else "dt_workflows"
    ready = "ready_at" if isinstance(ref, TaskRef) else "started_at"
    sql = f"SELECT MAX(created_at, COALESCE({ready}, 0), COALESCE(started_at, 0), COALESCE(completed_at, 0))"
    return float(conn.execute(f"{sql} FROM {table} WHERE id = ?", (ref.subject_id,)).fetchone()[0])


def close(tx: Transaction, ref: Ref) -> None:
    set_state(tx, ref, "closed", None)


def set_state(tx: Transaction, ref: Ref, state: str, run_id: str | None) -> None:
    tx.run(
        "UPDATE dt_submissions SET state = ?, run_id = COALESCE(?, run_id), updated_at = ?"
        " WHERE subject_id = ? AND generation = ?",
        (state, run_id, tx.now, ref.subject_id, ref.generation),
    )


def nudge(tx: Transaction, submission: Submission, kind: OutboxKind) -> None:
    """Its Temporal workflow runs though nothing is left for it to do: tell it once more, or end it."""
    ref = submission.ref
    subject = task_of(tx.conn, ref) if isinstance(ref, TaskRef) else group_of(tx.conn, ref)
    if subject["generation"] == ref.generation and not is_terminal(subject["state"]):
        return
    set_state(tx, ref, "open", None)
    outbox.queue(tx, subject, kind, ref.generation)


# ----- errands that were sent


def acknowledge(tx: Transaction, errand: Errand, run_id: str | None) -> None:
    """Sent: forget the errand, unless newer content was coalesced into it."""
    gone = outbox.remove(tx, errand)
    if errand.kind is OutboxKind.START:
        _open(tx, errand.ref, run_id)
        tx.notice.outbox = True  # commands for it were held back until it is there
    elif gone and (errand.kind is OutboxKind.TERMINATE or errand.status.verdict in _OVER):
        close(tx, errand.ref)


def _open(tx: Transaction, ref: Ref, run_id: str | None) -> None:
    """Temporal runs it now. An embedded task that has ended meanwhile needs to be told nothing more; a group's
    embedded members may be begun from now on."""
    tx.run(
        "UPDATE dt_submissions SET state = CASE WHEN placement = 'embedded' AND outcome IN ('completed', 'failed')"
        " THEN 'closed' ELSE 'open' END, run_id = ?, updated_at = ?"
        " WHERE subject_id = ? AND generation = ? AND state <> 'closed'",
        (run_id, tx.now, ref.subject_id, ref.generation),
    )
    if isinstance(ref, GroupRef):
        opened = tx.run(
            "UPDATE dt_tasks SET lane = 'open' WHERE workflow_id = ? AND state = 'pending'"
            " AND placement = 'embedded' AND engine = 'temporal'",
            (ref.workflow_id,),
        )
        tx.notice.ready |= opened.rowcount > 0


def moot(tx: Transaction, errand: Errand) -> None:
    """Its Temporal workflow is closed already."""
    outbox.remove(tx, errand)
    set_state(tx, errand.ref, "closed" if errand.status.verdict in _OVER else "open", None)


def current(tx: Transaction, submission: Submission) -> Row | None:
    """The subject's row, if neither its generation nor its version has moved since the submission was read."""
    ref = submission.ref
    if isinstance(ref, TaskRef):
        found = tx.one(f"SELECT {TASK} FROM dt_tasks WHERE id = ? AND version = ?", (ref.task_id, submission.version))
        row = None if found is None else task_row(found)
    else:
        sql = f"SELECT {WORKFLOW} FROM dt_workflows WHERE id = ? AND version = ?"
        found = tx.one(sql, (ref.workflow_id, submission.version))
        row = None if found is None else workflow_row(found)
    return row if row is not None and row["generation"] == ref.generation else None


def is_held_outside(row: Row) -> bool:
    """Whether an external worker has an attempt of the task."""
    return row["placement"] == "external" and TaskState(row["state"]) in HELD


def _group_row(tx: Transaction, workflow_id: str) -> Row:
    found = tx.one(f"SELECT {WORKFLOW} FROM dt_workflows WHERE id = ?", (workflow_id,))
    assert found is not None
    return workflow_row(found)
