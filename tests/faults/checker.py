"""What must hold of a file after anything that was done to its processes, told by the journals beside it.
It must not know what was done, and changes nothing: it looks at a copy.
"""

import json
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from durable_tasks.store import audit

MOVING = "('task.started', 'task.claimed', 'task.completed', 'task.failed', 'task.cancelled')"


class Snapshot(NamedTuple):
    """The file at an instant at which nobody had it open."""

    last_seq: int
    open: frozenset[str]
    interrupted: dict[str, int]
    """Handlers under way: task id and attempt."""


@contextmanager
def copied(db: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a copy of the file with its log: opening the file itself would recover it for the app."""
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("", "-wal"):
            source = db.with_name(db.name + suffix)
            if source.exists():
                shutil.copy(source, Path(folder) / ("copy.db" + suffix))
        with closing(sqlite3.connect(Path(folder) / "copy.db")) as conn:
            yield conn


def snapshot(db: Path) -> Snapshot:
    with copied(db) as conn:
        (last,) = conn.execute("SELECT COALESCE(MAX(seq), 0) FROM dt_events").fetchone()
        unfinished = conn.execute("SELECT id, state, mode, attempt FROM dt_tasks WHERE completed_at IS NULL").fetchall()
    interrupted = {name: attempt for name, state, mode, attempt in unfinished if (state, mode) == ("running", "auto")}
    return Snapshot(last, frozenset(name for name, *_ in unfinished), interrupted)


def moves_since(db: Path, before: Snapshot) -> tuple[float | None, float | None]:
    """When the first task that was open moved again, and when the last interrupted handler had begun anew."""
    with copied(db) as conn:
        rows = conn.execute(
            f"SELECT task_id, at FROM dt_events WHERE seq > ? AND kind IN {MOVING} ORDER BY seq", (before.last_seq,)
        ).fetchall()
    first: dict[str, float] = {}
    for task_id, at in rows:
        if task_id in before.open:
            first.setdefault(task_id, at)
    whole = before.interrupted and before.interrupted.keys() <= first.keys()
    return (
        min(first.values(), default=None),
        max(first[task_id] for task_id in before.interrupted) if whole else None,
    )


def journal(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def most_at_once(effects: list[dict[str, Any]]) -> int:
    """The most runs of one task at any instant, by what its handlers noted while no process was killed."""
    now: Counter[str] = Counter()
    most = 0
    for fact in effects:
        now[fact["id"]] += 1 if fact["op"] == "began" else -1
        most = max(most, now[fact["id"]])
    return most


def faults(db: Path, journals: Path | None = None) -> list[str]:
    """Every promise that the file breaks, in words. `journals`: their folder, if not the file's."""
    journals = journals or db.parent
    acknowledged = journal(journals / "acknowledged")
    with copied(db) as conn:
        (integrity,) = conn.execute("PRAGMA integrity_check").fetchone()
        found = [] if integrity == "ok" else [f"integrity: {integrity}"]
        found += _disagreements(conn)
        found += _lost(conn, acknowledged)
        found += _twice(conn, acknowledged, journal(journals / "effects"))
    return found


def _disagreements(conn: sqlite3.Connection) -> Iterator[str]:
    place: audit.Place | None = audit.Place()
    while place is not None:
        found, place = audit.page(conn, place)
        yield from found


def _lost(conn: sqlite3.Connection, acknowledged: list[dict[str, Any]]) -> Iterator[str]:
    """What was acknowledged and is not there."""
    columns = "id, state, output, attempt, token, progress, idempotency_key"
    tasks = {row[0]: row for row in conn.execute(f"SELECT {columns} FROM dt_tasks")}
    attempts = dict(conn.execute("SELECT token, state FROM dt_attempts").fetchall())
    for fact in acknowledged:
        if fact["op"] == "creating":
            continue
        if fact["id"] not in tasks:
            yield f"gone: {fact}"
            continue
        _, state, output, attempt, token, progress, key = tasks[fact["id"]]
        match fact["op"]:
            case "created" if fact["key"] is not None:
                kept = key == fact["key"]
            case "completed":
                kept = state == "completed" and json.loads(output or "null") == fact["output"]
                kept &= attempts.get(fact.get("token"), "completed") == "completed"
                kept &= fact.get("attempt", attempt) == attempt
            case "failed" if "token" in fact:
                kept = state == "failed" and attempts.get(fact["token"]) == "failed"
            case "failed" | "cancelled":
                kept = state == fact["op"]
            case "released":
                kept = attempts.get(fact["token"]) == "released"
            case "progress":
                kept = token != fact["token"] or progress >= fact["percent"]
            case "claimed" | "started":
                kept = fact["token"] in attempts
            case _:
                kept = True
        if not kept:
            yield f"lost: {fact}, the row is {tasks[fact['id']]}"


def _twice(
    conn: sqlite3.Connection, acknowledged: list[dict[str, Any]], effects: list[dict[str, Any]]
) -> Iterator[str]:
    """What happened more than once."""
    claims = Counter((fact["id"], fact["attempt"]) for fact in acknowledged if fact["op"] == "claimed")
    runs = Counter((fact["op"], fact["id"], fact["attempt"]) for fact in effects)
    creations: dict[str, set[str]] = {}
    for fact in acknowledged:
        if fact["op"] == "created" and fact["key"] is not None:
            creations.setdefault(fact["key"], set()).add(fact["id"])
    yield from (f"claimed {count} times: {claim}" for claim, count in claims.items() if count > 1)
    yield from (f"ran {count} times: {run}" for run, count in runs.items() if count > 1)
    yield from (f"one key made {ids}" for key, ids in creations.items() if len(ids) > 1)
    for task_id, count in conn.execute(
        "SELECT task_id, COUNT(*) FROM dt_attempts WHERE state = 'completed' GROUP BY task_id HAVING COUNT(*) > 1"
    ):
        yield f"completed in {count} attempts: {task_id}"
    for task_id, count in conn.execute(
        "SELECT task_id, COUNT(*) FROM dt_events WHERE kind = 'task.completed' GROUP BY task_id HAVING COUNT(*) > 1"
    ):
        yield f"completed {count} times: {task_id}"
    for task_id, count in conn.execute(
        "SELECT task_id, COUNT(*) FROM dt_attempts WHERE state IN ('running', 'cancelling') GROUP BY task_id"
        " HAVING COUNT(*) > 1"
    ):
        yield f"{count} attempts at once: {task_id}"
