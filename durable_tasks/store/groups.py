"""Workflows (groups of tasks): creating, growing, cancelling, reopening, reading and listing them.

It must not know how members run; their roll-up is in settlement.py.
"""

import json
import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from durable_tasks.errors import Conflict, IllegalMove, InvalidInput, NotFound
from durable_tasks.lifecycle import is_terminal
from durable_tasks.models import MAX_MEMBERS, TaskState, Workflow, WorkflowState
from durable_tasks.store import commands, remainders, submissions
from durable_tasks.store.drafts import Draft
from durable_tasks.store.events import append
from durable_tasks.store.inserts import Inserts
from durable_tasks.store.ownership import require_own_workflow
from durable_tasks.store.remainders import Work
from durable_tasks.store.rows import (
    TASK_COLUMNS,
    WORKFLOW,
    WORKFLOW_COLUMNS,
    Row,
    dump,
    task_row,
    to_workflow,
    workflow_row,
)
from durable_tasks.store.settlement import advance, cancel_members, finish, reopen_members, settle
from durable_tasks.store.tasks import in_order as in_dependency_order
from durable_tasks.store.transaction import Transaction

_COLUMNS = WORKFLOW_COLUMNS[1:]
_INSERT = f"INSERT INTO dt_workflows ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"


class GroupDraft(NamedTuple):
    """A workflow checked outside the write lock. `required` None: all members must complete."""

    kind: str
    name: str
    description: str
    space_id: str
    metadata: str
    created_by: str | None
    required: int | None
    max_parallel: int | None
    failure_policy: str
    idempotency_key: str | None
    content: str
    members: tuple[Draft, ...]


def create(tx: Transaction, org_id: str, drafted: GroupDraft) -> Workflow:
    """Insert the workflow and all its members, or return the one that its idempotency key already made."""
    known = commands.known_key(tx, org_id, drafted.kind, drafted.idempotency_key, drafted.content)
    if known is not None:
        return _workflow(tx.conn, _get(tx, org_id, known))
    tx.make_room(len(drafted.members))  # before anything is written: what is to be undone costs others too
    tx.said = drafted.created_by
    group = _blank(tx, org_id, drafted)
    group["seq"] = tx.run(_INSERT, [group[column] for column in _COLUMNS]).lastrowid
    append(tx, org_id, "workflow.created", dump({"state": "pending", "kind": drafted.kind}), workflow_id=group["id"])
    _insert_members(tx, group, drafted.members, first=0)
    if tx.engine_or(drafted.members[0].engine.value) == "temporal":
        submissions.submit_group(tx, group)
    commands.remember_key(tx, org_id, drafted.kind, drafted.idempotency_key, drafted.content, group["id"])
    advance(tx, group["id"])
    return _workflow(tx.conn, _get(tx, org_id, group["id"]))


def _blank(tx: Transaction, org_id: str, drafted: GroupDraft) -> Row:
    group: Row = dict.fromkeys(WORKFLOW_COLUMNS)
    group |= {
        "id": tx.ids.task(), "org_id": org_id, "space_id": drafted.space_id, "kind": drafted.kind, "name": drafted.name,
        "description": drafted.description, "state": WorkflowState.PENDING.value, "metadata": drafted.metadata,
        "created_by": drafted.created_by or tx.actor_name, "required": drafted.required,
        "max_parallel": drafted.max_parallel,
        "failure_policy": drafted.failure_policy, "generation": 1, "version": 1, "total": 0, "active": 0,
        "completed": 0, "failed": 0, "cancelled": 0, "idempotency_key": drafted.idempotency_key,
        "created_at": tx.now, "updated_at": tx.now,
    }  # fmt: skip
    return group


def _insert_members(tx: Transaction, group: Row, members: Sequence[Draft], *, first: int) -> list[Row]:
    """Members may depend on each other and on earlier members by name, and on any task by id."""
    if group["total"] + len(members) > MAX_MEMBERS:
        raise InvalidInput(
            f"a workflow has at most {MAX_MEMBERS} tasks; this one would have {group['total'] + len(members)}: make"
            " several, or have a task make the next",
            limit=MAX_MEMBERS,
        )
    names = _names(tx, group["id"])
    previous = _last_member(tx, group["id"]) if group["kind"] == "pipeline" else None
    inserts = Inserts(tx, group["org_id"])
    rows: dict[int, Row] = {}
    for place in in_dependency_order(members, chained=group["kind"] == "pipeline"):
        drafted = members[place]
        parents = [names.get(parent, parent) for parent in drafted.new.depends_on]
        if previous is not None:
            parents.insert(0, previous)
        row = inserts.add(
            drafted, parents=parents, workflow_id=group["id"], position=first + place,
            hold=group["max_parallel"] is not None,
        )  # fmt: skip
        if drafted.new.name is not None:
            names[drafted.new.name] = row["id"]
        previous = row["id"] if group["kind"] == "pipeline" else None
        rows[place] = row
    inserts.write()
    inserted = [rows[place] for place in range(len(members))]
    _count_new(tx, group["id"], inserted)
    return inserted


def _names(tx: Transaction, workflow_id: str) -> dict[str, str]:
    return dict(tx.all("SELECT name, id FROM dt_tasks WHERE workflow_id = ? AND name IS NOT NULL", (workflow_id,)))


def _last_member(tx: Transaction, workflow_id: str) -> str | None:
    found = tx.one("SELECT id FROM dt_tasks WHERE workflow_id = ? ORDER BY position DESC LIMIT 1", (workflow_id,))
    return None if found is None else str(found[0])


def _count_new(tx: Transaction, workflow_id: str, rows: Sequence[Row]) -> None:
    cancelled = sum(row["state"] == "cancelled" for row in rows)
    active = sum(row["state"] in ("pending", "scheduled") for row in rows)
    tx.run(
        "UPDATE dt_workflows SET total = total + ?, active = active + ?, cancelled = cancelled + ?, updated_at = ?"
        " WHERE id = ?",
        (len(rows), active, cancelled, tx.now, workflow_id),
    )


def add(
    tx: Transaction, org_id: str, workflow_id: str, members: Sequence[Draft], asked: commands.Command | None = None
) -> list[Row]:
    """Add members to an open workflow. Raises Conflict when it has ended. Repeated with the same command: those that
    it added, as they stand now."""
    group = _get(tx, org_id, workflow_id)
    added = commands.first_answer(tx, workflow_id, asked)
    if added is not None:
        return _members(tx, org_id, added["ids"])
    if is_terminal(group["state"]):
        raise Conflict(
            f"workflow {workflow_id} is {group['state']}; no task can be added", id=workflow_id, state=group["state"]
        )
    rows = _insert_members(tx, group, members, first=group["total"])
    tx.run("UPDATE dt_workflows SET version = version + 1 WHERE id = ?", (workflow_id,))
    advance(tx, workflow_id)
    ids = [row["id"] for row in rows]
    commands.remember_answer(tx, workflow_id, asked, {"ids": ids})
    return _members(tx, org_id, ids)


def _members(tx: Transaction, org_id: str, ids: Sequence[str]) -> list[Row]:
    return [task_row(values) for values in tx.all(_MEMBERS, (json.dumps(ids), org_id))]


_COLUMNS_OF_TASK = ", ".join(f"t.{column}" for column in TASK_COLUMNS)
_MEMBERS = (
    f"SELECT {_COLUMNS_OF_TASK} FROM json_each(?) AS wanted CROSS JOIN dt_tasks AS t ON t.id = wanted.value"
    " WHERE t.org_id = ? ORDER BY wanted.key"
)


def cancel(tx: Transaction, org_id: str, workflow_id: str, reason: str | None) -> Workflow:
    """Cancel the workflow and every open member."""
    group = _get(tx, org_id, workflow_id)
    if group["state"] == WorkflowState.CANCELLED.value:
        return _workflow(tx.conn, group)
    if is_terminal(group["state"]):
        raise IllegalMove(
            f"workflow {workflow_id} is {group['state']}; it cannot be cancelled",
            id=workflow_id,
            state=group["state"],
            verb="cancel",
        )
    require_own_workflow(tx, group, "cancel")
    finish(tx, group, WorkflowState.CANCELLED)
    cancel_members(tx, workflow_id, reason or "workflow_cancelled")
    return _workflow(tx.conn, _get(tx, org_id, workflow_id))


def retry(tx: Transaction, org_id: str, workflow_id: str) -> Workflow:
    """Reopen the failed and cancelled members of a failed or cancelled workflow as its next generation."""
    group = _get(tx, org_id, workflow_id)
    if group["state"] not in ("failed", "cancelled"):
        raise IllegalMove(
            f"workflow {workflow_id} is {group['state']}; only a failed or cancelled one is retried",
            id=workflow_id,
            state=group["state"],
            verb="retry",
        )
    require_own_workflow(tx, group, "retry")
    tx.make_room(group["failed"] + group["cancelled"])
    tx.run(
        "UPDATE dt_workflows SET state = 'running', error = NULL, completed_at = NULL, generation = generation + 1,"
        " version = version + 1, updated_at = ? WHERE id = ?",
        (tx.now, workflow_id),
    )
    append(tx, org_id, "workflow.retried", '{"state":"running"}', workflow_id=workflow_id)
    if tx.engine_or("local") == "temporal":
        submissions.submit_group(tx, _get(tx, org_id, workflow_id))
    remainders.drop(tx, workflow_id, Work.CANCEL)  # members that were still to be cancelled go on instead
    reopen_members(tx, workflow_id)
    settle(tx)
    return _workflow(tx.conn, _get(tx, org_id, workflow_id))


def _get(tx: Transaction, org_id: str, workflow_id: str) -> Row:
    return _find(tx.conn, org_id, workflow_id)


def _find(conn: sqlite3.Connection, org_id: str, workflow_id: str) -> Row:
    found = conn.execute(
        f"SELECT {WORKFLOW} FROM dt_workflows WHERE id = ? AND org_id = ?", (workflow_id, org_id)
    ).fetchone()
    if found is None:
        raise NotFound(f"there is no workflow {workflow_id!r} in organisation {org_id!r}", id=workflow_id, org=org_id)
    return workflow_row(found)


def _workflow(conn: sqlite3.Connection, group: Row) -> Workflow:
    sql = "SELECT state, COUNT(*) FROM dt_tasks WHERE workflow_id = ? GROUP BY state"
    return to_workflow(group, {TaskState(state): count for state, count in conn.execute(sql, (group["id"],))})


def read(conn: sqlite3.Connection, org_id: str, workflow_id: str) -> Workflow:
    return _workflow(conn, _find(conn, org_id, workflow_id))


def state_of(conn: sqlite3.Connection, org_id: str, workflow_id: str) -> WorkflowState:
    return WorkflowState(_find(conn, org_id, workflow_id)["state"])


def by_seq(conn: sqlite3.Connection, seq: int) -> Workflow:
    values = conn.execute(f"SELECT {WORKFLOW} FROM dt_workflows WHERE seq = ?", (seq,)).fetchone()
    return _workflow(conn, workflow_row(values))
