"""Health: what an operator asks of the file: what waits and why, how old the outbox is, what SQLite warns of.

It must not know Temporal's side, nor change anything.
"""

import sqlite3
from dataclasses import dataclass
from datetime import datetime

from durable_tasks.models import TaskState, utc
from durable_tasks.store.connection import has_reset_bug
from durable_tasks.store.rows import TASK, Row, task_row

S = TaskState
_ENDED = "('completed', 'failed', 'cancelled')"


@dataclass(frozen=True, slots=True)
class Outbox:
    """What one organisation's Temporal workflows are still to be told."""

    org_id: str
    waiting: int
    oldest_at: datetime | None
    dead_letters: int
    error: str | None
    """Why the oldest that was tried has not arrived."""


@dataclass(frozen=True, slots=True)
class WaitingTask:
    """An open task that does not run, and what it waits for."""

    org_id: str
    task_id: str
    title: str
    state: TaskState
    since: datetime
    why: str


@dataclass(frozen=True, slots=True)
class StoreHealth:
    sqlite: str
    engine: str
    tasks: dict[str, int]
    """Open tasks by state."""
    processes: int
    outboxes: list[Outbox]
    waiting: list[WaitingTask]
    warnings: list[str]


def examine(conn: sqlite3.Connection, *, before: float, limit: int) -> StoreHealth:
    """`waiting` lists at most `limit` tasks that have not moved since `before`, oldest first."""
    found = conn.execute("SELECT value FROM dt_meta WHERE key = 'engine'").fetchone()
    return StoreHealth(
        sqlite=sqlite3.sqlite_version,
        engine="local" if found is None else str(found[0]),
        tasks=dict(conn.execute(f"SELECT state, COUNT(*) FROM dt_tasks WHERE state NOT IN {_ENDED} GROUP BY state")),
        processes=int(conn.execute("SELECT COUNT(*) FROM dt_processes").fetchone()[0]),
        outboxes=_outboxes(conn),
        waiting=_waiting(conn, before, limit),
        warnings=_warnings(),
    )


def _warnings() -> list[str]:
    if not has_reset_bug(sqlite3.sqlite_version_info):
        return []
    return [
        f"SQLite {sqlite3.sqlite_version} can damage a file when two connections checkpoint at once; durable_tasks"
        " avoids that, but other programs that write to the file may not: use SQLite 3.51.3 or newer in them"
    ]


def _outboxes(conn: sqlite3.Connection) -> list[Outbox]:
    rows = conn.execute(
        "SELECT org_id, SUM(dead_at IS NULL), MIN(CASE WHEN dead_at IS NULL THEN created_at END),"
        " SUM(dead_at IS NOT NULL) FROM dt_outbox GROUP BY org_id ORDER BY org_id"
    ).fetchall()
    return [
        Outbox(org_id, waiting, None if oldest is None else utc(oldest), dead, _last_error(conn, org_id))
        for org_id, waiting, oldest, dead in rows
    ]


def _last_error(conn: sqlite3.Connection, org_id: str) -> str | None:
    sql = "SELECT error FROM dt_outbox WHERE org_id = ? AND dead_at IS NULL AND error IS NOT NULL ORDER BY id LIMIT 1"
    found = conn.execute(sql, (org_id,)).fetchone()
    return None if found is None else str(found[0])


def _waiting(conn: sqlite3.Connection, before: float, limit: int) -> list[WaitingTask]:
    sql = (
        f"SELECT {TASK} FROM dt_tasks WHERE state IN ('blocked', 'scheduled', 'pending', 'claimed', 'retrying')"
        " AND updated_at <= ? ORDER BY updated_at LIMIT ?"
    )
    rows = [task_row(values) for values in conn.execute(sql, (before, limit))]
    return [
        WaitingTask(r["org_id"], r["id"], r["title"], S(r["state"]), utc(r["updated_at"]), why(conn, r)) for r in rows
    ]


def why(conn: sqlite3.Connection, row: Row) -> str:
    """What an open task waits for, in words."""
    if row["stop_by"] is not None:
        return f"its attempt {row['attempt']} to stop, at most until {_time(row['stop_by'])}"
    match S(row["state"]):
        case S.BLOCKED:
            return _why_blocked(conn, row)
        case S.SCHEDULED | S.RETRYING:
            return f"its time, {_time(row['wake_at'])}"
        case S.CLAIMED if row["placement"] == "external":
            return f"a worker of the queue {_queue(row)!r}"
        case S.CLAIMED:
            return f"{row['assigned_to']!r}, who has claimed it, to start"
        case S.PENDING if row["placement"] == "manual":
            return "a claim" if row["reserved_for"] is None else f"a claim by {row['reserved_for']!r}"
        case S.PENDING if row["engine"] == "temporal":
            return _why_asked(conn, row)
        case S.PENDING if row["placement"] == "external":
            return f"Temporal: only there has it a queue {_queue(row)!r}, and durable mode is off"
        case S.PENDING:
            return f"a free slot of a process with a handler for {row['capability']!r}"
    return f"{row['assigned_to'] or 'its handler'} to end it"


def _why_blocked(conn: sqlite3.Connection, row: Row) -> str:
    sql = (
        "SELECT t.id, t.state FROM dt_dependencies AS d JOIN dt_tasks AS t ON t.id = d.parent"
        " WHERE d.child = ? AND d.met = 0 LIMIT 1"
    )
    found = conn.execute(sql, (row["id"],)).fetchone()
    if found is None:
        return f"its turn in workflow {row['workflow_id']}"
    return f"{row['blocked_by']} unfinished dependencies, such as {found[0]}, which is {found[1]}"


def _why_asked(conn: sqlite3.Connection, row: Row) -> str:
    subject = row["workflow_id"] if row["workflow_id"] is not None and row["mode"] == "auto" else row["id"]
    sql = (
        "SELECT kind, tries, error, dead_at FROM dt_outbox WHERE subject_id = ? AND kind = 'start'"
        " ORDER BY generation DESC LIMIT 1"
    )
    found = conn.execute(sql, (subject,)).fetchone()
    if found is not None:
        said = f"; tried {found[1]} times, the last answer: {found[2]}" if found[1] else ""
        return f"its start to be sent to Temporal{said}"
    if row["placement"] == "external":
        return f"its Temporal workflow to hand it to the queue {_queue(row)!r}"
    return f"its Temporal workflow to ask, and a free slot of a process with a handler for {row['capability']!r}"


def _queue(row: Row) -> str:
    return row["queue"] or "default"


def _time(instant: float) -> str:
    return utc(instant).isoformat(timespec="seconds")
