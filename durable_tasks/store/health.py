"""Health: what an operator asks of the file: what waits and why, how old the outbox is, what SQLite warns of.

It must not know Temporal's side, nor change anything.
"""

import sqlite3
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from durable_tasks.instants import utc
from durable_tasks.lifecycle import is_terminal
from durable_tasks.models import Placement, TaskState
from durable_tasks.store.connection import has_reset_bug
from durable_tasks.store.processes import Workforce, workforce
from durable_tasks.store.rows import Row

S = TaskState
_WAITING = (S.CLAIMED, S.RETRYING, S.PENDING, S.SCHEDULED, S.BLOCKED)
"""States in which nothing runs; first those that somebody has, or had, in hand."""
_STATES = ", ".join(f"'{state.value}'" for state in _WAITING)
_ENDED = ", ".join(f"'{state.value}'" for state in S if is_terminal(state))
_OPEN = ", ".join(f"'{state.value}'" for state in S if not is_terminal(state))
_COLUMNS = (
    "id", "org_id", "title", "state", "updated_at", "stop_by", "attempt", "wake_at", "placement", "assigned_to",
    "reserved_for", "engine", "queue", "capability", "workflow_id", "mode", "blocked_by",
)  # fmt: skip
"""What is asked of a waiting task: not its input, which may be large."""


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
    error: str | None
    """Temporal's last answer to its start."""
    placement: Placement
    queue: str | None
    """Of workers elsewhere; None: the default one, or it needs none."""


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


@dataclass(frozen=True, slots=True)
class OrgHealth:
    sqlite: str
    engine: str
    workforce: Workforce
    tasks: dict[str, int]
    """Open tasks by state."""
    outbox: Outbox
    waiting: list[WaitingTask]
    more_waiting: bool
    """There are more than are listed."""
    warnings: list[str]


def examine(conn: sqlite3.Connection, *, before: float, limit: int) -> StoreHealth:
    """`waiting` lists at most `limit` tasks that have not moved since `before`, oldest first."""
    return StoreHealth(
        sqlite=sqlite3.sqlite_version,
        engine=_engine(conn),
        tasks=dict(conn.execute(f"SELECT state, COUNT(*) FROM dt_tasks WHERE state NOT IN ({_ENDED}) GROUP BY state")),
        processes=int(conn.execute("SELECT COUNT(*) FROM dt_processes").fetchone()[0]),
        outboxes=_outboxes(conn),
        waiting=_waiting(conn, before, limit),
        warnings=_warnings(),
    )


def examine_org(conn: sqlite3.Connection, org_id: str, *, now: float, before: float, limit: int) -> OrgHealth:
    """Of one organisation. Neither its finished tasks nor those of others are looked at. `waiting` lists at most
    `limit` tasks that have not moved since `before`, by state, the most urgent first."""
    waiting = _waiting_of(conn, org_id, before, limit + 1)
    sql = (
        f"SELECT state, COUNT(*) FROM dt_tasks INDEXED BY dt_tasks_list WHERE org_id = ? AND state IN ({_OPEN})"
        " GROUP BY state"
    )
    return OrgHealth(
        sqlite=sqlite3.sqlite_version,
        engine=_engine(conn),
        workforce=workforce(conn, now),
        tasks=dict(conn.execute(sql, (org_id,))),
        outbox=_outbox_of(conn, org_id),
        waiting=waiting[:limit],
        more_waiting=len(waiting) > limit,
        warnings=_warnings(),
    )


def _engine(conn: sqlite3.Connection) -> str:
    found = conn.execute("SELECT value FROM dt_meta WHERE key = 'engine'").fetchone()
    return "local" if found is None else str(found[0])


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


def _outbox_of(conn: sqlite3.Connection, org_id: str) -> Outbox:
    """Starts, which may be many, are counted in an index; commands and dead letters are gone through, those of all."""
    waiting, oldest = 0, None
    for index, kind in (("dt_outbox_starts", "kind = 'start'"), ("dt_outbox_commands", "kind <> 'start'")):
        count, first = conn.execute(
            f"SELECT COUNT(*), MIN(id) FROM dt_outbox INDEXED BY {index}"
            f" WHERE org_id = ? AND {kind} AND dead_at IS NULL",
            (org_id,),
        ).fetchone()
        waiting += count
        oldest = first if oldest is None else min(oldest, first or oldest)
    sql = "SELECT COUNT(*) FROM dt_outbox INDEXED BY dt_outbox_dead WHERE dead_at IS NOT NULL AND org_id = ?"
    dead = conn.execute(sql, (org_id,)).fetchone()[0]
    return Outbox(org_id, waiting, _queued_at(conn, oldest), dead, _last_error(conn, org_id))


def _queued_at(conn: sqlite3.Connection, number: int | None) -> datetime | None:
    found = conn.execute("SELECT created_at FROM dt_outbox WHERE id = ?", (number,)).fetchone()
    return None if found is None else utc(found[0])


def _last_error(conn: sqlite3.Connection, org_id: str) -> str | None:
    sql = (
        "SELECT error FROM dt_outbox INDEXED BY dt_outbox_deferred WHERE org_id = ? AND dead_at IS NULL AND tries > 0"
        " AND error IS NOT NULL ORDER BY id LIMIT 1"
    )
    found = conn.execute(sql, (org_id,)).fetchone()
    return None if found is None else str(found[0])


def _waiting(conn: sqlite3.Connection, before: float, limit: int) -> list[WaitingTask]:
    sql = (
        f"SELECT {', '.join(_COLUMNS)} FROM dt_tasks WHERE state IN ({_STATES}) AND updated_at <= ?"
        " ORDER BY updated_at LIMIT ?"
    )
    return [_to_waiting(conn, values) for values in conn.execute(sql, (before, limit)).fetchall()]


def _waiting_of(conn: sqlite3.Connection, org_id: str, before: float, limit: int) -> list[WaitingTask]:
    """In the order of an index, so that looking ends with the last that is listed."""
    sql = (
        f"SELECT {', '.join(_COLUMNS)} FROM dt_tasks INDEXED BY dt_tasks_list WHERE org_id = ? AND state = ?"
        " AND updated_at <= ? ORDER BY priority DESC, seq LIMIT ?"
    )
    found: list[WaitingTask] = []
    for state in _WAITING:
        rows = conn.execute(sql, (org_id, state.value, before, limit - len(found))).fetchall()
        found += [_to_waiting(conn, values) for values in rows]
    return found


def _to_waiting(conn: sqlite3.Connection, values: tuple[Any, ...]) -> WaitingTask:
    row: Row = dict(zip(_COLUMNS, values, strict=True))
    reason, error = why(conn, row)
    return WaitingTask(
        org_id=row["org_id"],
        task_id=row["id"],
        title=row["title"],
        state=S(row["state"]),
        since=utc(row["updated_at"]),
        why=reason,
        error=error,
        placement=Placement(row["placement"]),
        queue=row["queue"],
    )


def why(conn: sqlite3.Connection, row: Row) -> tuple[str, str | None]:
    """What an open task waits for, in words, and Temporal's last answer when it waits for that to take it."""
    is_ready = row["state"] == S.PENDING and row["stop_by"] is None
    if is_ready and row["engine"] == "temporal" and row["placement"] != "manual":
        return _why_asked(conn, row)
    return _why(conn, row), None


def _why(conn: sqlite3.Connection, row: Row) -> str:
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
    if row["blocked_by"] == 1:
        return f"its dependency {found[0]}, which is {found[1]}"
    return f"{row['blocked_by']} unfinished dependencies, such as {found[0]}, which is {found[1]}"


def _why_asked(conn: sqlite3.Connection, row: Row) -> tuple[str, str | None]:
    subject = row["workflow_id"] if row["workflow_id"] is not None and row["mode"] == "auto" else row["id"]
    sql = (
        "SELECT kind, tries, error, dead_at FROM dt_outbox WHERE subject_id = ? AND kind = 'start'"
        " ORDER BY generation DESC LIMIT 1"
    )
    found = conn.execute(sql, (subject,)).fetchone()
    if found is not None:
        tried = f", tried {found[1]} times" if found[1] else ""
        return f"its start to be sent to Temporal{tried}", found[2]
    if row["placement"] == "external":
        return f"its Temporal workflow to hand it to the queue {_queue(row)!r}", None
    return f"its Temporal workflow to ask, and a free slot of a process with a handler for {row['capability']!r}", None


def _queue(row: Row) -> str:
    return row["queue"] or "default"


def _time(instant: float) -> str:
    return utc(instant).isoformat(timespec="seconds")
