"""Listing what groups there are, and what was done in one: in pages, with work that is bounded.

It must not know what becomes of them.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any

from durable_tasks.models import Attempt, Page, Workflow, WorkflowState
from durable_tasks.store import cursors, groups
from durable_tasks.store.listing import Condition, all_of, containing
from durable_tasks.store.rows import ATTEMPT_COLUMNS, to_attempt

BUDGET = 5_000
"""Groups that one page looks at."""
_ATTEMPT = ", ".join(f"a.{column}" for column in ATTEMPT_COLUMNS)


def page(
    conn: sqlite3.Connection,
    org_id: str,
    *,
    states: Sequence[WorkflowState],
    space_id: str | None,
    text: str | None,
    limit: int,
    cursor: str | None,
) -> Page[Workflow]:
    """Newest first; fewer than `limit`, though there are more, when BUDGET groups had to be looked at."""
    before, floor = cursors.MAX_INTEGER, 0
    if cursor is not None:
        (last,) = cursors.read(cursor, str)
        before = cursors.seq_of(conn, "dt_workflows", org_id, last, cursor)
    asked = [] if space_id is None else [Condition("space_id = ?", (space_id,))]
    asked += [] if text is None else [containing(text, ("name", "description"))]
    arms = [Condition("org_id = ? AND state = ?", (org_id, state.value)) for state in states or WorkflowState]
    if asked:
        union, values = _union(arms, [Condition("seq < ?", (before,))])
        lowest, seen = conn.execute(f"SELECT MIN(seq), COUNT(*) FROM ({union} LIMIT ?)", (*values, BUDGET)).fetchone()
        floor = lowest if seen == BUDGET else 0
    union, values = _union(arms, [Condition("seq < ? AND seq >= ?", (before, floor)), *asked])
    found = [seq for (seq,) in conn.execute(f"{union} LIMIT ?", (*values, limit + 1))]
    stop = found[limit - 1] if len(found) > limit else floor
    listed = [groups.by_seq(conn, seq) for seq in found[:limit]]
    return Page(listed, cursors.make(groups.by_seq(conn, stop).id) if stop else None)


def _union(arms: Sequence[Condition], also: Sequence[Condition]) -> tuple[str, list[Any]]:
    """The numbers of the arms' rows, newest first, merged by SQLite."""
    parts = [all_of((arm, *also)) for arm in arms]
    table = "dt_workflows INDEXED BY dt_workflows_list"
    selects = " UNION ALL ".join(f"SELECT seq FROM {table} WHERE {part.sql}" for part in parts)
    return f"{selects} ORDER BY seq DESC", [value for part in parts for value in part.values]


def attempts(
    conn: sqlite3.Connection, org_id: str, workflow_id: str, *, limit: int, cursor: str | None
) -> Page[Attempt]:
    """Those of all members, oldest first. Raises NotFound."""
    groups.state_of(conn, org_id, workflow_id)
    after: tuple[float, str, int] = (0.0, "", 0)
    if cursor is not None:
        task_id, number = cursors.read(cursor, str, int)
        after = (_claimed_at(conn, workflow_id, task_id, number, cursor), task_id, number)
    rows = conn.execute(
        f"SELECT {_ATTEMPT} FROM dt_tasks AS t INDEXED BY dt_tasks_member JOIN dt_attempts AS a ON a.task_id = t.id"
        " WHERE t.workflow_id = ? AND (a.claimed_at, a.task_id, a.number) > (?, ?, ?)"
        " ORDER BY a.claimed_at, a.task_id, a.number LIMIT ?",
        (workflow_id, *after, limit + 1),
    ).fetchall()
    found = [to_attempt(values) for values in rows[:limit]]
    return Page(found, cursors.make(found[-1].task_id, found[-1].number) if len(rows) > limit else None)


def _claimed_at(conn: sqlite3.Connection, workflow_id: str, task_id: str, number: int, cursor: str) -> float:
    """Raises InvalidInput when the workflow has no such attempt."""
    found = conn.execute(
        "SELECT a.claimed_at FROM dt_attempts AS a JOIN dt_tasks AS t ON t.id = a.task_id"
        " WHERE a.task_id = ? AND a.number = ? AND t.workflow_id = ?",
        (task_id, number, workflow_id),
    ).fetchone()
    if found is None:
        raise cursors.refused(cursor)
    return float(found[0])
