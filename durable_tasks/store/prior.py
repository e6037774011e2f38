"""Prior outputs: what the handler of a task sees of the tasks before it.

It must not know handlers, nor hold the write lock.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from durable_tasks.store.connection import connect, explain
from durable_tasks.store.rows import load

AT_ONCE = 1024 * 1024
"""Bytes of JSON that are read before the handler is called. Above that each output is read when it is asked for."""


def read(conn: sqlite3.Connection, path: Path, task_id: str) -> Mapping[str, Any]:
    """Outputs by name (or id) of the steps before this one in its pipeline; elsewhere of its dependencies."""
    found = sources(conn, task_id)
    texts = within(conn, found, AT_ONCE)
    return PriorOutputs(path, found) if texts is None else {name: load(text) for name, text in texts.items()}


def sources(conn: sqlite3.Connection, task_id: str) -> dict[str, str]:
    """Names (or ids) to ids of the completed tasks whose outputs it sees, in their order."""
    group_id, position, kind = conn.execute(
        "SELECT t.workflow_id, t.position, w.kind FROM dt_tasks AS t"
        " LEFT JOIN dt_workflows AS w ON w.id = t.workflow_id WHERE t.id = ?",
        (task_id,),
    ).fetchone()
    if kind == "pipeline":
        sql = (
            "SELECT COALESCE(name, id), id FROM dt_tasks WHERE workflow_id = ? AND state = 'completed'"
            " AND position < ? ORDER BY position"
        )
        return dict(conn.execute(sql, (group_id, position)).fetchall())
    sql = (
        "SELECT COALESCE(t.name, t.id), t.id FROM dt_dependencies AS d JOIN dt_tasks AS t ON t.id = d.parent"
        " WHERE d.child = ? AND t.state = 'completed' ORDER BY t.seq"
    )
    return dict(conn.execute(sql, (task_id,)).fetchall())


def within(conn: sqlite3.Connection, found: Mapping[str, str], limit: int) -> dict[str, str | None] | None:
    """The outputs as JSON by name; None when they are more than `limit` bytes together, of which no more is read."""
    texts: dict[str, str | None] = {}
    for name, task_id in found.items():
        texts[name] = text = _output(conn, task_id)
        limit -= len((text or "").encode())
        if limit < 0:
            return None
    return texts


def _output(conn: sqlite3.Connection, task_id: str) -> str | None:
    values = conn.execute("SELECT output FROM dt_tasks WHERE id = ?", (task_id,)).fetchone()
    return None if values is None else values[0]


class PriorOutputs(Mapping[str, Any]):
    """Many or large outputs: the names are known, each value is read from the file whenever it is asked for, from
    whatever thread, and kept nowhere. Raises StoreError."""

    def __init__(self, path: Path, found: Mapping[str, str]) -> None:
        self._path = path
        self._found = dict(found)

    def __getitem__(self, name: str) -> Any:
        task_id = self._found[name]
        try:
            with closing(connect(self._path, reading=True)) as conn:
                return load(_output(conn, task_id))
        except sqlite3.Error as error:
            raise explain(error, self._path) from error

    def __contains__(self, name: object) -> bool:
        return name in self._found

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        return f"<{len(self)} prior outputs, read from the file when they are asked for>"
