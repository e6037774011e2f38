"""The audit log: appending events, and reading pages of them.

It must not know why something happened.
"""

import hashlib
import sqlite3
from collections.abc import Iterable
from typing import Any

from durable_tasks.models import Event
from durable_tasks.store.rows import EVENT, Row, dump, text_hash, to_event
from durable_tasks.store.transaction import Transaction

PROGRESS_EVERY = 1.0
"""At most one progress event per so many seconds and task."""


def append(
    tx: Transaction, org_id: str, kind: str, data: str, *, task_id: str | None = None, workflow_id: str | None = None
) -> None:
    """Append one event with the organisation's next number, as done by whoever does the operation. `data` is its
    JSON."""
    tx.run(_INSERT, _next(tx, org_id, kind, data, task_id, workflow_id, tx.by))


def append_created(tx: Transaction, org_id: str, rows: Iterable[tuple[Row, str | None]]) -> None:
    """The first event of each of these tasks, and by whom."""
    tx.conn.executemany(
        _INSERT,
        [
            _next(tx, org_id, "task.created", dump(recorded(row) | kept(row)), row["id"], row["workflow_id"], actor)
            for row, actor in rows
        ],
    )


def _next(
    tx: Transaction, org_id: str, kind: str, data: str, task_id: str | None, workflow_id: str | None, actor: str | None
) -> tuple[Any, ...]:
    """The values of the organisation's next event."""
    seq = tx.last_seq.get(org_id)
    if seq is None:
        found = tx.one("SELECT MAX(seq) FROM dt_events WHERE org_id = ?", (org_id,))
        seq = 0 if found is None or found[0] is None else found[0]
    tx.last_seq[org_id] = seq = seq + 1
    tx.notice.orgs.add(org_id)
    digest = event_hash(org_id, seq, kind, tx.now, task_id, workflow_id, data, actor)
    return org_id, seq, kind, tx.now, task_id, workflow_id, data, digest, actor


_INSERT = f"INSERT INTO dt_events ({EVENT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"


def event_hash(
    org_id: str,
    seq: int,
    kind: str,
    at: float,
    task_id: str | None,
    workflow_id: str | None,
    data: str,
    actor: str | None = None,
) -> str:
    """Events of earlier releases, and of the engine, have no actor in it."""
    text = f"{org_id}\n{seq}\n{kind}\n{at!r}\n{task_id}\n{workflow_id}\n{data}"
    return hashlib.sha256((text if actor is None else f"{text}\n{actor}").encode()).hexdigest()


def task_event(tx: Transaction, row: Row, kind: str, facts: dict[str, Any] | None = None) -> None:
    """One event of a task: what events record of its row after the change, and facts of this change."""
    data = recorded(row)
    if facts:
        data |= facts
    append(tx, row["org_id"], kind, dump(data), task_id=row["id"], workflow_id=row["workflow_id"])


def recorded(row: Row) -> dict[str, Any]:
    """What events record of a task: replaying the last event of each task gives these columns back."""
    return {
        "state": row["state"],
        "generation": row["generation"],
        "attempt": row["attempt"],
        "retry_count": row["retry_count"],
        "lost_count": row["lost_count"],
        "assigned_to": row["assigned_to"] or row["reserved_for"],
        "priority": row["priority"],
        "output": text_hash(row["output"]),
    }


def kept(row: Row) -> dict[str, Any]:
    """What the first event records besides, of what never changes, where there is any."""
    return {field: text_hash(row[field]) for field in ("input", "form") if row[field] is not None}


def by_seq(tx: Transaction, org_id: str, seq: int) -> Event:
    """The event of this number, which exists."""
    found = tx.one(f"SELECT {EVENT} FROM dt_events WHERE org_id = ? AND seq = ?", (org_id, seq))
    assert found is not None
    return to_event(found)


def page(
    conn: sqlite3.Connection,
    org_id: str,
    *,
    after: int,
    limit: int,
    task_id: str | None = None,
    workflow_id: str | None = None,
) -> list[Event]:
    if task_id is not None:
        sql = f"SELECT {EVENT} FROM dt_events WHERE task_id = ? AND org_id = ? AND seq > ? ORDER BY seq LIMIT ?"
        return [to_event(values) for values in conn.execute(sql, (task_id, org_id, after, limit))]
    if workflow_id is not None:
        sql = f"SELECT {EVENT} FROM dt_events WHERE org_id = ? AND seq > ? AND workflow_id = ? ORDER BY seq LIMIT ?"
        return [to_event(values) for values in conn.execute(sql, (org_id, after, workflow_id, limit))]
    sql = f"SELECT {EVENT} FROM dt_events WHERE org_id = ? AND seq > ? ORDER BY seq LIMIT ?"
    return [to_event(values) for values in conn.execute(sql, (org_id, after, limit))]


def last_seq(conn: sqlite3.Connection, org_id: str) -> int:
    found = conn.execute("SELECT MAX(seq) FROM dt_events WHERE org_id = ?", (org_id,)).fetchone()[0]
    return 0 if found is None else int(found)
