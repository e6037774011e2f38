"""Creating, reading and editing tasks.

It must not know how attempts begin: who runs a task is told in claims.py and dispatch.py.
"""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from durable_tasks.errors import DependencyCycle, Forbidden, InvalidInput, NotFound, UnknownDependency, VersionConflict
from durable_tasks.forms import FORM_LIMIT, check_form
from durable_tasks.instants import seconds_at
from durable_tasks.lifecycle import HELD, Verb, find_cycle
from durable_tasks.models import Engine, Mode, NewTask, Placement, Task, TaskState
from durable_tasks.store import commands, submissions
from durable_tasks.store.endings import end_released
from durable_tasks.store.events import kept, task_event
from durable_tasks.store.moves import announce, get, move, require
from durable_tasks.store.orgs import namespace_of
from durable_tasks.store.rows import (
    DETAIL_LIMIT,
    TASK,
    TASK_COLUMNS,
    Row,
    canonical_hash,
    dump_payload,
    dump_retry,
    task_row,
    to_task,
)
from durable_tasks.store.transaction import Transaction

_ENDED = ("completed", "failed", "cancelled")


class Draft(NamedTuple):
    """A new task checked and turned into JSON outside the write lock, with where it is to run."""

    new: NewTask
    mode: Mode
    placement: Placement
    engine: Engine
    input: str | None
    labels: str
    metadata: str
    retry: str
    form: str | None
    content: str
    """Hash of the explicitly set fields: the same key with other content is a conflict."""


def draft(new: NewTask, *, mode: Mode, placement: Placement, engine: Engine) -> Draft:
    """Check the payloads of `new`. Raises InvalidInput, PayloadTooLarge."""
    return Draft(
        new=new,
        mode=mode,
        placement=placement,
        engine=engine,
        input=dump_payload(new.input, "input"),
        labels=json.dumps(new.labels, ensure_ascii=False) if new.labels else "[]",
        metadata=(dump_payload(new.metadata, "metadata", DETAIL_LIMIT) or "{}") if new.metadata else "{}",
        retry=dump_retry(new.retry),
        form=_form(new, mode),
        content=canonical_hash(new.model_dump(mode="json", exclude_unset=True)) if new.idempotency_key else "",
    )


def _form(new: NewTask, mode: Mode) -> str | None:
    if new.form is None:
        return None
    if mode is not Mode.MANUAL:
        raise InvalidInput("form: only a manual task has one; what a handler answers is its own affair", field="form")
    text = dump_payload(new.form, "form", FORM_LIMIT)
    if text is not None:
        check_form(text)
    return text


def create(tx: Transaction, org_id: str, drafted: Draft) -> Task:
    """Insert one task, or return the one that its idempotency key already made."""
    key = drafted.new.idempotency_key
    known = commands.known_key(tx, org_id, "create", key, drafted.content)
    if known is not None:
        return to_task(get(tx, org_id, known))
    row = insert(tx, org_id, drafted)
    commands.remember_key(tx, org_id, "create", key, drafted.content, row["id"])
    return to_task(row)


def create_many(tx: Transaction, org_id: str, drafts: Sequence[Draft]) -> list[Task]:
    """Insert all or none; answer in the order given. They may depend on each other by name, whatever it is."""
    return [to_task(row) for row in insert_all(tx, org_id, drafts)]


def insert_all(tx: Transaction, org_id: str, drafts: Sequence[Draft], **group: Any) -> list[Row]:
    """Insert drafts that may name each other: names become ids first, and cycles are refused."""
    ids = {drafted.new.name: tx.ids.task() for drafted in drafts if drafted.new.name is not None}
    rows: dict[int, Row] = {}
    for place in in_order(drafts):
        drafted = drafts[place]
        key = drafted.new.idempotency_key
        known = commands.known_key(tx, org_id, "create", key, drafted.content)
        if known is not None:
            rows[place] = get(tx, org_id, known)
            if drafted.new.name is not None:
                ids[drafted.new.name] = known
            continue
        parents = tuple(ids.get(parent, parent) for parent in drafted.new.depends_on)
        row = insert(tx, org_id, drafted, task_id=ids.get(drafted.new.name or ""), parents=parents, **group)
        commands.remember_key(tx, org_id, "create", key, drafted.content, row["id"])
        rows[place] = row
    return [rows[place] for place in range(len(drafts))]


def in_order(drafts: Sequence[Draft], *, chained: bool = False) -> Sequence[int]:
    """The drafts' places as given, if every reference points back; else sorted so that they do. `chained`: each
    depends on the one before it too. Raises DependencyCycle, and InvalidInput for a name given twice."""
    places: dict[str, int] = {}
    for place, drafted in enumerate(drafts):
        name = drafted.new.name
        if name is not None and places.setdefault(name, place) != place:
            raise InvalidInput(f"two tasks have the name {name!r}; names are unique within one call", name=name)
    edges = {
        place: [places[parent] for parent in drafted.new.depends_on if parent in places]
        for place, drafted in enumerate(drafts)
    }
    if all(parent < place for place, parents in edges.items() for parent in parents):
        return range(len(drafts))
    if chained:
        for place in range(1, len(drafts)):
            edges[place].append(place - 1)
    return _sorted(edges, drafts)


def _sorted(edges: Mapping[int, Sequence[int]], drafts: Sequence[Draft]) -> list[int]:
    waiting = {place: len(set(parents)) for place, parents in edges.items()}
    children: dict[int, list[int]] = {}
    for place, parents in edges.items():
        for parent in set(parents):
            children.setdefault(parent, []).append(place)
    ready = [place for place, count in waiting.items() if count == 0]
    done: list[int] = []
    while ready:
        place = ready.pop(0)
        done.append(place)
        for child in children.get(place, ()):
            waiting[child] -= 1
            if waiting[child] == 0:
                ready.append(child)
    if len(done) < len(drafts):
        _raise_cycle(edges, drafts)
    return done


def _raise_cycle(edges: Mapping[int, Sequence[int]], drafts: Sequence[Draft]) -> None:
    found = find_cycle({str(place): map(str, parents) for place, parents in edges.items()}) or []
    cycle = [drafts[int(place)].new.name or drafts[int(place)].new.heading for place in found]
    raise DependencyCycle(f"the dependencies form a cycle: {' → '.join(cycle)}", cycle=cycle)


def insert(
    tx: Transaction,
    org_id: str,
    drafted: Draft,
    *,
    task_id: str | None = None,
    parents: tuple[str, ...] | None = None,
    workflow_id: str | None = None,
    position: int | None = None,
    hold: bool = False,
) -> Row:
    """Insert one task with its event, dependencies and outbox row. `hold` keeps it blocked by its group."""
    new = drafted.new
    if new.created_by is not None:
        tx.said = new.created_by
    row = _blank(tx, org_id, drafted, task_id or tx.ids.task())
    row |= {"workflow_id": workflow_id, "position": position}
    parents = tuple(dict.fromkeys(new.depends_on if parents is None else parents))
    if new.parent_task_id is not None:
        get(tx, org_id, new.parent_task_id)
    failed = _link(tx, row, parents) if parents else None
    _place(tx, row, hold=hold)
    if failed is not None:
        row |= {
            "state": "cancelled",
            "reason": "dependency_failed",
            "completed_at": tx.now,
            "wake_at": None,
            "ready_at": None,
        }
    if row["engine"] == "temporal":
        row["lane"] = submissions.lane_of(tx, row)
        namespace_of(tx, org_id)  # refused now rather than when its time has come
    row["due_at"] = (
        None if failed else min((t for t in (row["wake_at"], row["deadline_at"]) if t is not None), default=None)
    )
    given = {column: value for column, value in row.items() if value is not None}
    row["seq"] = tx.run(_insert_sql(tuple(given)), tuple(given.values())).lastrowid
    task_event(tx, row, "task.created", kept(row))
    _announce_new(tx, row)
    return row


@cache
def _insert_sql(columns: tuple[str, ...]) -> str:
    """Only what is not NULL is named: binding all columns costs more than storing them."""
    return f"INSERT INTO dt_tasks ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


def _announce_new(tx: Transaction, row: Row) -> None:
    if row["due_at"] is not None and (tx.notice.due is None or row["due_at"] < tx.notice.due):
        tx.notice.due = row["due_at"]
    if row["state"] == "pending":
        announce(tx, row)
        if row["engine"] == "temporal":
            submissions.follow(tx, row)
    elif row["state"] == "cancelled":
        tx.notice.ended.append(row["id"])


def _blank(tx: Transaction, org_id: str, drafted: Draft, task_id: str) -> Row:
    new = drafted.new
    row: Row = dict.fromkeys(TASK_COLUMNS)
    row |= {
        "id": task_id, "org_id": org_id, "space_id": new.space_id, "title": new.heading, "name": new.name,
        "description": new.description, "capability": new.capability, "mode": drafted.mode.value,
        "placement": drafted.placement.value, "engine": tx.engine_or(drafted.engine.value), "generation": 1,
        "priority": new.priority.value, "queue": new.queue, "reserved_for": new.assigned_to,
        "created_by": new.created_by or tx.actor_name, "parent_task_id": new.parent_task_id,
        "correlation_id": new.correlation_id,
        "depends_on": "[]", "on_dependency_failure": new.on_dependency_failure, "blocked_by": 0,
        "labels": drafted.labels, "metadata": drafted.metadata, "max_retries": new.max_retries, "retry_count": 0,
        "lost_count": 0, "retry": drafted.retry, "timeout": new.timeout, "attempt": 0, "version": 1,
        "idempotency_key": new.idempotency_key, "progress": 0.0, "created_at": tx.now, "updated_at": tx.now,
        "input": drafted.input, "form": drafted.form,
    }  # fmt: skip
    if new.delay is not None:
        row |= {"not_before": tx.now + new.delay, "delayed": 1}
    else:
        row["not_before"] = seconds_at(new.not_before, tx.now)
    row["deadline_at"] = seconds_at(new.deadline, tx.now)
    return row


def _link(tx: Transaction, row: Row, parents: tuple[str, ...]) -> str | None:
    """Write the dependencies; the answer is a parent whose failure cancels the task at once. Nothing is written when
    one of them does not exist."""
    row["depends_on"] = json.dumps(parents)
    states = dict(tx.all(_PARENTS, (row["depends_on"], row["org_id"])))
    failed, links = None, []
    for parent in parents:
        state = states.get(parent)
        if state is None:
            raise UnknownDependency(
                f"task {row['title']!r} depends on {parent!r}, which is no task of organisation {row['org_id']!r}"
                " and no name in this call",
                dependency=parent,
            )
        met = state == "completed" or (state in _ENDED and row["on_dependency_failure"] == "run")
        if state in ("failed", "cancelled") and row["on_dependency_failure"] == "cancel":
            failed = parent
        row["blocked_by"] += not met
        links.append((parent, row["id"], int(met)))
    tx.conn.executemany("INSERT INTO dt_dependencies (parent, child, met) VALUES (?, ?, ?)", links)
    return failed


_PARENTS = "SELECT t.id, t.state FROM json_each(?) AS p CROSS JOIN dt_tasks AS t ON t.id = p.value WHERE t.org_id = ?"


def _place(tx: Transaction, row: Row, *, hold: bool) -> None:
    if row["blocked_by"] or hold:
        row["state"] = TaskState.BLOCKED.value
    elif row["not_before"] is not None and row["not_before"] > tx.now:
        row |= {"state": TaskState.SCHEDULED.value, "wake_at": row["not_before"]}
    else:
        row |= {"state": TaskState.PENDING.value, "ready_at": tx.now}


EDITABLE = frozenset(
    {"title", "description", "priority", "labels", "metadata", "assigned_to", "deadline", "max_retries", "timeout"}
)


def update(tx: Transaction, org_id: str, task_id: str, fields: Row, version: int | None) -> Task:
    """Edit an open task. `fields` are columns already checked. A manual task that is assigned to another than its
    holder is taken from the holder. Raises NotFound, IllegalMove, VersionConflict, Forbidden."""
    row = get(tx, org_id, task_id)
    require(row, Verb.UPDATE)
    if version is not None and row["version"] != version:
        raise VersionConflict(
            f"task {task_id} has version {row['version']}, the edit was made on version {version}; read it again",
            task_id=task_id,
            version=row["version"],
            expected=version,
        )
    changes = dict(fields)
    if "deadline" in changes:
        changes["deadline_at"] = seconds_at(changes.pop("deadline"), tx.now)
    if "assigned_to" in changes:
        _require_own(tx, row)
        changes["reserved_for"] = changes.pop("assigned_to")
        if _is_taken(row) and changes["reserved_for"] != row["assigned_to"]:
            end_released(tx, row, "reassigned")
    if "timeout" in changes and TaskState(row["state"]) in HELD and row["started_at"] is not None:
        changes["timeout_at"] = None if changes["timeout"] is None else _begun_at(row) + changes["timeout"]
    move(tx, row, TaskState(row["state"]), "task.updated", {"fields": sorted(fields)}, **changes)
    return to_task(row)


def _begun_at(row: Row) -> float:
    """When the attempt's time began to run: a timeout that it has moved along when the clock was set since."""
    timed = row["timeout_at"] is not None and row["timeout"] is not None
    return float(row["timeout_at"] - row["timeout"] if timed else row["started_at"])


def _require_own(tx: Transaction, row: Row) -> None:
    """Raise Forbidden when the actor may give away only what is his own, or his groups', and this is not."""
    holder = row["assigned_to"] or row["reserved_for"]
    if tx.names is None or holder is None or holder in tx.names:
        return
    how = "reserved for" if row["assigned_to"] is None else "held by"
    raise Forbidden(
        f"task {row['id']} is {how} {holder!r}; only {holder!r} or an operator may give it to somebody else",
        operation="update",
        role="operator",
        task_id=row["id"],
    )


def _is_taken(row: Row) -> bool:
    return row["mode"] == Mode.MANUAL.value and TaskState(row["state"]) in HELD


# ----- reading


def read(conn: sqlite3.Connection, org_id: str, task_id: str) -> Task:
    found = conn.execute(f"SELECT {TASK} FROM dt_tasks WHERE id = ? AND org_id = ?", (task_id, org_id)).fetchone()
    if found is None:
        raise NotFound(f"there is no task {task_id!r} in organisation {org_id!r}", id=task_id, org=org_id)
    return to_task(task_row(found))


def read_ended(conn: sqlite3.Connection, org_id: str, task_id: str) -> Task | None:
    """The task once it is terminal. Whoever waits asks at least once before: one column, not all of them."""
    found = conn.execute("SELECT state FROM dt_tasks WHERE id = ? AND org_id = ?", (task_id, org_id)).fetchone()
    return None if found is not None and found[0] not in _ENDED else read(conn, org_id, task_id)


def has_active(conn: sqlite3.Connection, org_id: str, agent_id: str) -> bool:
    sql = "SELECT 1 FROM dt_tasks WHERE org_id = ? AND assigned_to = ? AND state IN ('claimed', 'running') LIMIT 1"
    return conn.execute(sql, (org_id, agent_id)).fetchone() is not None
