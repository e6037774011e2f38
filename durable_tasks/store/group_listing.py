"""Listing what groups there are, and what was done in one: in pages, with work that is bounded.

It must not know what becomes of them.
"""

import sqlite3
from collections.abc import Sequence

from durable_tasks.models import Attempt, Node, Page, Task, TaskState, Workflow, WorkflowState
from durable_tasks.store import cursors, groups
from durable_tasks.store.pages import ROOM, fill
from durable_tasks.store.rows import ATTEMPT_COLUMNS, load, to_attempt
from durable_tasks.store.text import LOOKED_AT, Budget, Condition, all_of, hits, probe

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
    before = cursors.MAX_INTEGER
    if cursor is not None:
        (last,) = cursors.read(cursor, str)
        before = cursors.seq_of(conn, "dt_workflows", org_id, last, cursor)
    arms = [Condition("org_id = ? AND state = ?", (org_id, state.value)) for state in states or WorkflowState]
    rows = _union(arms, before, space_id, text)
    found: list[int] = []
    budget, stop = Budget(BUDGET, LOOKED_AT), None
    is_asked = space_id is not None or text is not None
    for seq, hit, characters in conn.execute(*hits(rows, text, BUDGET if is_asked else limit + 1)):
        if hit:
            found.append(seq)
        if len(found) > limit:
            stop = found[limit - 1]
            break
        if is_asked and not budget.spend(characters):
            stop = seq
            break
    listed = [groups.by_seq(conn, seq) for seq in found[:limit]]
    return Page(listed, None if stop is None else cursors.make(groups.by_seq(conn, stop).id))


def _union(arms: Sequence[Condition], before: int, space_id: str | None, text: str | None) -> Condition:
    """The arms' rows, newest first, merged by SQLite."""
    fits = Condition("1") if space_id is None else Condition("space_id = ?", (space_id,))
    columns = f"seq AS key, {probe(fits.sql, text, ('name', 'description'))}"
    parts = [all_of((arm, Condition("seq < ?", (before,)))) for arm in arms]
    table = "dt_workflows INDEXED BY dt_workflows_list"
    selects = " UNION ALL ".join(f"SELECT {columns} FROM {table} WHERE {part.sql}" for part in parts)
    values = tuple(value for part in parts for value in (*fits.values, *part.values))
    return Condition(f"{selects} ORDER BY key DESC", values)


def members(
    conn: sqlite3.Connection, org_id: str, workflow_id: str, *, limit: int, cursor: str | None, full: bool
) -> Page[Task]:
    """In input order; fewer than `limit`, though there are more, when the page is full. Raises NotFound."""
    found = _members(conn, org_id, workflow_id, limit + 1, cursor)
    tasks = fill(conn, found[:limit], full=full)
    return Page(tasks, cursors.make(tasks[-1].id) if len(tasks) < len(found) else None)


def nodes(conn: sqlite3.Connection, org_id: str, workflow_id: str, *, limit: int, cursor: str | None) -> Page[Node]:
    """As members."""
    found = _members(conn, org_id, workflow_id, limit + 1, cursor)
    listed: list[Node] = []
    left = ROOM
    for seq in found[:limit]:
        node, characters = _node(conn, seq)
        left -= characters
        if left < 0 and listed:
            break
        listed.append(node)
    return Page(listed, cursors.make(listed[-1].id) if len(listed) < len(found) else None)


def _node(conn: sqlite3.Connection, seq: int) -> tuple[Node, int]:
    sql = "SELECT id, COALESCE(name, id), title, state, depends_on FROM dt_tasks WHERE seq = ?"
    task_id, name, title, state, parents = conn.execute(sql, (seq,)).fetchone()
    depends_on = () if parents == "[]" else tuple(load(parents))
    node = Node(id=task_id, name=name, title=title, state=TaskState(state), depends_on=depends_on)
    return node, len(name) + len(title) + len(parents)


def _members(conn: sqlite3.Connection, org_id: str, workflow_id: str, most: int, cursor: str | None) -> list[int]:
    """Their numbers, found in the index alone. Raises NotFound, and InvalidInput for a cursor of another list."""
    groups.state_of(conn, org_id, workflow_id)
    after = -1
    if cursor is not None:
        (last,) = cursors.read(cursor, str)
        seq = cursors.seq_of(conn, "dt_tasks", org_id, last, cursor)
        sql = "SELECT position FROM dt_tasks WHERE seq = ? AND workflow_id = ?"
        place = conn.execute(sql, (seq, workflow_id)).fetchone()
        if place is None:
            raise cursors.refused(cursor)
        after = place[0]
    sql = (
        "SELECT seq FROM dt_tasks INDEXED BY dt_tasks_member WHERE workflow_id = ? AND position > ?"
        " ORDER BY position LIMIT ?"
    )
    return [seq for (seq,) in conn.execute(sql, (workflow_id, after, most))]


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
