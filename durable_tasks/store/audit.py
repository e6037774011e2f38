"""The audit: whether what is stored is what was stored, by the events' hashes and by replaying them against the rows.

It must not know why something happened, nor hold a snapshot of the file for long: it goes through it page by page.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from durable_tasks.store.events import event_hash, kept, recorded
from durable_tasks.store.rows import EVENT, TASK, Row, load, task_row

PAGE = 2000
"""Rows."""
MOST = 1000
"""Disagreements after which nobody looks on."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins: after this event; when those are through, after this task; at last, after this workflow."""

    org_id: str = ""
    seq: int = 0
    task: int | None = None
    workflow: int | None = None


def page(conn: sqlite3.Connection, place: Place) -> tuple[list[str], Place | None]:
    """The disagreements of one page, in words, and where the next one begins; None after the last.

    Gaps between events, events that do not fit their hash, tasks that are not what their events say, input, form and
    output among that, and workflows that do not count their members right. Files of earlier releases have no hash of
    inputs and forms: those are not compared. Nor is what no event tells, as titles, descriptions, metadata, deadlines,
    errors and dependencies."""
    # A flipped bit may leave what is no text: it is to be found, not to end the search.
    conn.text_factory = lambda raw: raw.decode(errors="replace")
    if place.workflow is not None:
        return _workflows(conn, place.workflow)
    return _events(conn, place) if place.task is None else _tasks(conn, place.task)


def structure(conn: sqlite3.Connection) -> list[str]:
    """What SQLite itself finds: damaged pages and indexes, references to nothing. It reads the whole file."""
    said = [str(line) for (line,) in conn.execute(f"PRAGMA integrity_check({MOST})")]
    found = [] if said == ["ok"] else said
    for table, row, parent, _ in conn.execute("PRAGMA foreign_key_check"):
        if len(found) == MOST:
            break
        found.append(f"row {row} of {table} refers to a row of {parent} that is not there")
    return found


def _events(conn: sqlite3.Connection, place: Place) -> tuple[list[str], Place]:
    found: list[str] = []
    org, last, count = place.org_id, place.seq, 0
    for org_id, seq, kind, at, task_id, workflow_id, data, digest, actor in conn.execute(
        f"SELECT {EVENT} FROM dt_events WHERE (org_id, seq) > (?, ?) ORDER BY org_id, seq LIMIT ?", (org, last, PAGE)
    ):
        expected = last + 1 if org_id == org else 1
        if seq != expected:
            found.append(f"{org_id}: event {seq} follows {expected - 1}")
        if event_hash(org_id, seq, kind, at, task_id, workflow_id, data, actor) != digest:
            found.append(f"{org_id}: event {seq} does not match its hash")
        org, last, count = org_id, seq, count + 1
    return found, Place(org, last) if count == PAGE else Place(task=0)


def _tasks(conn: sqlite3.Connection, after: int) -> tuple[list[str], Place]:
    found: list[str] = []
    count = 0
    for values in conn.execute(f"SELECT {TASK} FROM dt_tasks WHERE seq > ? ORDER BY seq LIMIT ?", (after, PAGE)):
        row = task_row(values)
        found += _differences(conn, row)
        after, count = row["seq"], count + 1
    return found, Place(task=after) if count == PAGE else Place(workflow=0)


_COUNTED = "printf('%d members, %d active, %d completed, %d failed, %d cancelled', "
_MEMBERS = (
    f"SELECT {_COUNTED} COUNT(*), SUM(state NOT IN ('completed', 'failed', 'cancelled', 'blocked')),"
    " SUM(state = 'completed'), SUM(state = 'failed'), SUM(state = 'cancelled'))"
    " FROM dt_tasks INDEXED BY dt_tasks_member WHERE workflow_id = dt_workflows.id"
)
_WORKFLOWS = (
    f"SELECT seq, id, {_COUNTED} total, active, completed, failed, cancelled), ({_MEMBERS}),"
    " state = 'completed' AND completed < COALESCE(required, total)"
    " FROM dt_workflows WHERE seq > ? ORDER BY seq LIMIT ?"
)


def _workflows(conn: sqlite3.Connection, after: int) -> tuple[list[str], Place | None]:
    found: list[str] = []
    count = 0
    for seq, workflow_id, said, members, early in conn.execute(_WORKFLOWS, (after, PAGE)):
        if said != members:
            found.append(f"{workflow_id}: it counts {said}; its tasks are {members}")
        if early:
            found.append(f"{workflow_id}: it is completed, with {said}")
        after, count = seq, count + 1
    return found, Place(workflow=after) if count == PAGE else None


def _differences(conn: sqlite3.Connection, row: Row) -> Iterator[str]:
    last, first = _said(conn, row["id"], "1 ORDER BY seq DESC"), _said(conn, row["id"], "kind = 'task.created'")
    for field, value in recorded(row).items():
        if last.get(field) != value:
            yield f"{row['id']}: {field} is {value!r}, its events say {last.get(field)!r}"
    now = kept(row)
    for field in ("input", "form"):
        if field in first and first[field] != now.get(field):
            yield f"{row['id']}: {field} is {now.get(field)!r}, its first event says {first[field]!r}"


def _said(conn: sqlite3.Connection, task_id: str, which: str) -> dict[str, Any]:
    sql = f"SELECT data FROM dt_events INDEXED BY dt_events_task WHERE task_id = ? AND {which} LIMIT 1"
    found = conn.execute(sql, (task_id,)).fetchone()
    try:
        said = load(found[0]) if found is not None else {}
    except ValueError:  # its hash does not fit either
        return {}
    return said if isinstance(said, dict) else {}
