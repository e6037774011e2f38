"""Levels: how much waits and how old it is, for gauges that are read every few seconds.

It must not know who reads them, nor name a single task.
"""

import sqlite3
from dataclasses import dataclass

from durable_tasks.models import TaskState

MOST_TASKS = 500_000
"""Open tasks that are counted: half a second."""
_OPEN = tuple(state.value for state in TaskState if state not in ("completed", "failed", "cancelled"))


@dataclass(frozen=True, slots=True)
class OpenTasks:
    """Those of one capability in one state, of all organisations."""

    capability: str | None
    state: TaskState
    count: int
    ready_since: float | None
    """When the first of them became ready, in unix seconds; None unless they are pending."""


@dataclass(frozen=True, slots=True)
class Levels:
    open_tasks: list[OpenTasks]
    complete: bool
    """False: there are more open tasks than were counted."""
    processes: int
    to_send: int
    """Outbox rows that Temporal has not been told yet."""
    to_send_since: float | None
    dead_letters: int


def read(conn: sqlite3.Connection) -> Levels:
    """What is open is counted row by row as far as MOST_TASKS, what has ended is not looked at."""
    waiting, since, dead = conn.execute(
        "SELECT COALESCE(SUM(dead_at IS NULL), 0), MIN(CASE WHEN dead_at IS NULL THEN created_at END),"
        " COALESCE(SUM(dead_at IS NOT NULL), 0) FROM dt_outbox"
    ).fetchone()
    open_tasks = _open_tasks(conn)
    return Levels(
        open_tasks=open_tasks,
        complete=sum(one.count for one in open_tasks) < MOST_TASKS,
        processes=int(conn.execute("SELECT COUNT(*) FROM dt_processes").fetchone()[0]),
        to_send=int(waiting),
        to_send_since=since,
        dead_letters=int(dead),
    )


def count_open(conn: sqlite3.Connection, org_id: str, most: int) -> int:
    """How many open tasks an organisation has, as far as `most`."""
    sql = (
        "SELECT COUNT(*) FROM (SELECT 1 FROM dt_tasks INDEXED BY dt_tasks_list"
        f" WHERE org_id = ? AND state IN ({', '.join('?' * len(_OPEN))}) LIMIT ?)"
    )
    return int(conn.execute(sql, (org_id, *_OPEN, most)).fetchone()[0])


def _open_tasks(conn: sqlite3.Connection) -> list[OpenTasks]:
    # One descent per organisation finds its name, one per state its open rows.
    sql = (
        "WITH RECURSIVE orgs (id) AS (SELECT MIN(org_id) FROM dt_tasks UNION ALL"
        " SELECT (SELECT MIN(org_id) FROM dt_tasks WHERE org_id > orgs.id) FROM orgs WHERE orgs.id IS NOT NULL)"
        " SELECT capability, state, COUNT(*), MIN(ready_at) FROM"
        " (SELECT t.capability, t.state, t.ready_at FROM orgs CROSS JOIN dt_tasks AS t INDEXED BY dt_tasks_list"
        f" WHERE t.org_id = orgs.id AND t.state IN ({', '.join('?' * len(_OPEN))}) LIMIT ?)"
        " GROUP BY capability, state"
    )
    return [
        OpenTasks(capability, TaskState(state), count, since if state == "pending" else None)
        for capability, state, count, since in conn.execute(sql, (*_OPEN, MOST_TASKS))
    ]
