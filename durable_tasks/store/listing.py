"""Listing: which tasks a filter means, in pages and in numbers, with work that is bounded however many there are.

It must not know what becomes of them.
"""

import sqlite3
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from durable_tasks.models import Page, Priority, Task, TaskCounts, TaskFilter, TaskState
from durable_tasks.store import cursors
from durable_tasks.store.pages import fill
from durable_tasks.store.text import LOOKED_AT, Budget, Condition, all_of, hits, probe

BUDGET = 5_000
"""Rows that one page looks at."""
COUNT_BUDGET = 10_000
"""Rows that a count looks at in each state."""
_KEY_BUDGET = 50_000
"""Of a count that needs nothing but an index."""


class _Key(NamedTuple):
    """A place in a list: priority descending, then first in, first out."""

    priority: int
    seq: int


class _Source(NamedTuple):
    """Where the rows of a filter are found, and what is then asked of each."""

    table: str
    """With the index that is right: SQLite would guess from how many rows there are."""
    arms: tuple[Condition, ...]
    """Each finds a part of them by that index."""
    ordered: bool
    """Whether the index has each part in the order of a list. Else there are few, and they are sorted."""
    asked: tuple[Condition, ...]
    text: str | None
    priorities: tuple[int, ...]
    """Those that are wanted, descending."""


_START = _Key(max(Priority) + 1, 0)
_EVERY_PRIORITY = tuple(sorted(map(int, Priority), reverse=True))
_HOLDER = "COALESCE(assigned_to, reserved_for)"
_SEARCHED = ("title", "description")


def page(
    conn: sqlite3.Connection,
    org_id: str,
    wanted: TaskFilter,
    *,
    now: float,
    limit: int,
    cursor: str | None,
    full: bool,
) -> Page[Task]:
    """At most `limit` tasks; fewer, though there are more, when so much had to be looked at, or the page is full."""
    found, more = _page(conn, _source(org_id, wanted, now), org_id, limit, cursor)
    tasks = fill(conn, [key.seq for key in found], full=full)
    if len(tasks) < len(found):
        more = cursors.make(found[len(tasks) - 1].priority, tasks[-1].id)
    return Page(tasks, more)


def ids(
    conn: sqlite3.Connection, org_id: str, wanted: TaskFilter, *, now: float, limit: int, cursor: str | None
) -> Page[str]:
    """As page, when their ids are enough."""
    found, more = _page(conn, _source(org_id, wanted, now), org_id, limit, cursor)
    return Page([_id_of(conn, key.seq) for key in found], more)


def count(conn: sqlite3.Connection, org_id: str, wanted: TaskFilter, *, now: float) -> TaskCounts:
    """How many there are by state, as far as the budget goes."""
    source = _source(org_id, wanted, now)
    return _count_text(conn, source) if source.text is not None else _count(conn, source)


def _count(conn: sqlite3.Connection, source: _Source) -> TaskCounts:
    asked = _fits(source)
    budget = COUNT_BUDGET if source.asked else _KEY_BUDGET
    counts: dict[TaskState, int] = {}
    complete = True
    for arm in source.arms:
        rows = conn.execute(
            f"SELECT state, COUNT(*), COALESCE(SUM(hit), 0) FROM (SELECT state, {asked.sql} AS hit"
            f" FROM {source.table} WHERE {arm.sql} LIMIT ?) GROUP BY state",
            (*asked.values, *arm.values, budget),
        ).fetchall()
        complete = complete and sum(seen for _, seen, _ in rows) < budget
        counts |= {TaskState(state): hits for state, _, hits in rows if hits}
    return TaskCounts(counts=counts, complete=complete)


def _count_text(conn: sqlite3.Connection, source: _Source) -> TaskCounts:
    """State by state, until so much text was looked at."""
    counts = Counter[TaskState]()
    budget = Budget(COUNT_BUDGET * len(TaskState), LOOKED_AT)
    complete, fits = True, _fits(source)
    for arm in source.arms:
        rows = Condition(
            f"SELECT state AS key, {probe(fits.sql, source.text, _SEARCHED)} FROM {source.table} WHERE {arm.sql}",
            (*fits.values, *arm.values),
        )
        seen = 0
        for state, hit, characters in conn.execute(*hits(rows, source.text, COUNT_BUDGET)):
            seen += 1
            counts[TaskState(state)] += hit
            if not budget.spend(characters):
                return TaskCounts(counts=dict(+counts), complete=False)
        complete = complete and seen < COUNT_BUDGET
    return TaskCounts(counts=dict(+counts), complete=complete)


def _fits(source: _Source) -> Condition:
    """What the filter asks of a row, its text left out."""
    priorities = source.priorities if len(source.priorities) < len(_EVERY_PRIORITY) else ()
    asked = all_of((*source.asked, *_one_of("priority", priorities)))
    return Condition(asked.sql or "1", asked.values)


def _page(
    conn: sqlite3.Connection, source: _Source, org_id: str, limit: int, cursor: str | None
) -> tuple[list[_Key], str | None]:
    """The keys of a page, and the cursor of the next."""
    after = _START
    if cursor is not None:
        priority, last = cursors.read(cursor, int, str)
        after = _Key(priority, cursors.seq_of(conn, "dt_tasks", org_id, last, cursor))
    find = _walk if source.ordered else _sorted
    found, stop = find(conn, source, after, limit)
    return found, None if stop is None else cursors.make(stop.priority, _id_of(conn, stop.seq))


def _walk(conn: sqlite3.Connection, source: _Source, after: _Key, limit: int) -> tuple[list[_Key], _Key | None]:
    """The keys of a page, and where it ends when that is not the end of the list."""
    found: list[_Key] = []
    budget = Budget(BUDGET, LOOKED_AT)
    is_asked = bool(source.asked) or source.text is not None  # else no row is looked at in vain
    for priority in source.priorities:
        if priority > after.priority:
            continue
        first = after.seq if priority == after.priority else 0
        rows = hits(_union(source, priority, first), source.text, BUDGET if is_asked else limit + 1)
        for seq, hit, characters in conn.execute(*rows):
            if hit:
                found.append(_Key(priority, seq))
                if len(found) > limit:
                    return found[:limit], found[limit - 1]
            if is_asked and not budget.spend(characters):
                return found, _Key(priority, seq)
    return found, None


def _union(source: _Source, priority: int, first: int) -> Condition:
    """The arms' rows behind `first` in order: SQLite merges the arms, and reads no more of each than is asked for."""
    fits = all_of(source.asked)
    columns = f"seq AS key, {probe(fits.sql or '1', source.text, _SEARCHED)}"
    here = (Condition("priority = ?", (priority,)), Condition("seq > ?", (first,)))
    parts = [all_of((arm, *here)) for arm in source.arms]
    selects = " UNION ALL ".join(f"SELECT {columns} FROM {source.table} WHERE {part.sql}" for part in parts)
    return Condition(
        f"{selects} ORDER BY key", tuple(value for part in parts for value in (*fits.values, *part.values))
    )


def _sorted(conn: sqlite3.Connection, source: _Source, after: _Key, limit: int) -> tuple[list[_Key], _Key | None]:
    """As _walk, of few rows."""
    (arm,) = source.arms
    behind = Condition("(priority < ? OR (priority = ? AND seq > ?))", (after.priority, after.priority, after.seq))
    where = all_of((arm, behind, _fits(source)))
    sql = f"SELECT priority, seq FROM {source.table} WHERE {where.sql} ORDER BY priority DESC, seq LIMIT ?"
    most = limit + 1 if source.text is None else -1
    found: list[_Key] = []
    budget = Budget(BUDGET, LOOKED_AT)
    for key in [_Key(*values) for values in conn.execute(sql, (*where.values, most))]:
        hit, characters = (True, 0) if source.text is None else _has_text(conn, key.seq, source.text)
        if hit:
            found.append(key)
            if len(found) > limit:
                return found[:limit], found[limit - 1]
        if source.text is not None and not budget.spend(characters):
            return found, key
    return found, None


def _has_text(conn: sqlite3.Connection, seq: int, text: str) -> tuple[bool, int]:
    row = Condition(f"SELECT seq AS key, {probe('1', text, _SEARCHED)} FROM dt_tasks WHERE seq = ?", (seq,))
    _, hit, characters = conn.execute(*hits(row, text, 1)).fetchone()
    return hit, characters


def _id_of(conn: sqlite3.Connection, seq: int) -> str:
    return str(conn.execute("SELECT id FROM dt_tasks WHERE seq = ?", (seq,)).fetchone()[0])


# ----- what a filter means


def _source(org_id: str, wanted: TaskFilter, now: float) -> _Source:
    asked = _asked(wanted, now)
    priorities = tuple(p for p in _EVERY_PRIORITY if p in wanted.priority) if wanted.priority else _EVERY_PRIORITY
    states = tuple(dict.fromkeys(wanted.state))
    narrow = _narrow(org_id, wanted)
    if narrow is not None:
        table, arm, ordered = narrow
        return _Source(table, (arm,), ordered, (*_one_of("state", states), *asked), wanted.text, priorities)
    arms = (Condition("org_id = ? AND state = ?", (org_id, state.value)) for state in states or TaskState)
    return _Source("dt_tasks INDEXED BY dt_tasks_list", tuple(arms), True, asked, wanted.text, priorities)


def _narrow(org_id: str, wanted: TaskFilter) -> tuple[str, Condition, bool] | None:
    """An index that is narrower than that by state, what finds the rows by it, and whether it has the list's order."""
    own = Condition("org_id = ?", (org_id,))
    if wanted.ids:
        kept = Condition("+org_id = ?", (org_id,))  # with the plus no index is sought by it: there are few ids
        return "dt_tasks", all_of((*_one_of("id", wanted.ids), kept)), False
    if wanted.parent_task_id is not None:
        parent = Condition("parent_task_id = ?", (wanted.parent_task_id,))
        return "dt_tasks INDEXED BY dt_tasks_children", all_of((parent, own)), True
    if wanted.workflow_id is not None:
        group = Condition("workflow_id = ?", (wanted.workflow_id,))
        return "dt_tasks INDEXED BY dt_tasks_member", all_of((group, own)), False
    if wanted.waiting_for:
        open_ones = Condition("mode = 'manual' AND completed_at IS NULL")
        return "dt_tasks INDEXED BY dt_tasks_inbox", all_of((open_ones, own)), True
    return None


def _asked(wanted: TaskFilter, now: float) -> tuple[Condition, ...]:
    """What the filter asks of a row, state, priority and text left out."""
    found: list[Condition] = []
    for column in ("space_id", "workflow_id", "capability", "mode", "created_by", "parent_task_id"):
        value = getattr(wanted, column)
        if value is not None:
            found.append(Condition(f"{column} IS ?", (str(value),)))
    if wanted.assigned_to is not None:
        found.append(Condition(f"{_HOLDER} IS ?", (wanted.assigned_to,)))
    for label in wanted.labels:
        found.append(Condition("EXISTS (SELECT 1 FROM json_each(labels) WHERE value = ?)", (label,)))
    if wanted.waiting_for:
        found.append(_waiting(wanted.waiting_for))
    if wanted.overdue is not None:
        found.append(Condition(f"{_OVERDUE} IS ?", (now, wanted.overdue)))
    return tuple(found)


_OVERDUE = (
    "(deadline_at IS NOT NULL AND deadline_at <= ?"
    " AND (completed_at IS NULL OR (state = 'failed' AND completed_at >= deadline_at)))"
)


def _waiting(names: Sequence[str]) -> Condition:
    marks = ", ".join("?" * len(names))
    free = f"({_HOLDER} IS NULL AND state = 'pending' AND stop_by IS NULL)"
    return Condition(f"mode = 'manual' AND completed_at IS NULL AND ({_HOLDER} IN ({marks}) OR {free})", tuple(names))


def _one_of(column: str, values: Sequence[Any]) -> tuple[Condition, ...]:
    """Nothing, when there is no choice."""
    if not values:
        return ()
    return (Condition(f"{column} IN ({', '.join('?' * len(values))})", tuple(values)),)
