"""The outbox: errands to Temporal, written in the transaction that makes them necessary, and read in fair order.

It must not know how they are sent, nor what a submission is beyond the row that each belongs to.
"""

import json
import sqlite3
import sys
from collections.abc import Collection
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from durable_tasks.contracts import GroupRef, Ref
from durable_tasks.errors import NotFound
from durable_tasks.instants import utc
from durable_tasks.models import Placement
from durable_tasks.ports import DeadLetter, Due, Errand, OutboxKind, Room
from durable_tasks.store.rows import READY, Row, readable
from durable_tasks.store.status import read_status, ref_of
from durable_tasks.store.transaction import Transaction

_OUTBOX = "id, subject_id, generation, kind, org_id, priority, request_id, tries"
_LETTER = "org_id, subject_id, generation, kind, error, dead_at"
_THIS = "subject_id = ? AND generation = ? AND kind = ?"
_DETAILS = 2000
_NO_SLOT = ""
"""The line of starts that need no slot of an executor: of groups, manual and external tasks."""
_SLOT = "="
"""Before the capability of embedded tasks, whose starts wait in a line of their own."""


def queue(tx: Transaction, row: Row, kind: OutboxKind, generation: int | None = None) -> None:
    """Queue a command for a generation of a task or group that was submitted and is not closed; coalesced into one
    row."""
    generation = row["generation"] if generation is None else generation
    found = tx.one("SELECT state FROM dt_submissions WHERE subject_id = ? AND generation = ?", (row["id"], generation))
    if found is not None and found[0] != "closed":
        put(tx, row, generation, kind, row.get("priority", 1))


def put(tx: Transaction, row: Row, generation: int, kind: OutboxKind, priority: int) -> None:
    tx.run(
        "INSERT INTO dt_outbox (subject_id, generation, kind, org_id, line, priority, request_id, tries, due_at,"
        " created_at) VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, ?) ON CONFLICT (subject_id, generation, kind) DO UPDATE SET"
        " request_id = excluded.request_id, tries = 0, due_at = excluded.due_at, dead_at = NULL, error = NULL",
        (
            *(row["id"], generation, kind.value, row["org_id"], _line_of(row, kind)),
            priority,
            tx.ids.task(),
            tx.now,
            tx.now,
        ),
    )
    tx.notice.outbox = True


def remove(tx: Transaction, errand: Errand) -> bool:
    """False when newer content was coalesced into the row, which stays."""
    gone = tx.run("DELETE FROM dt_outbox WHERE id = ? AND request_id = ?", (errand.id, errand.request_id))
    return gone.rowcount > 0


def remove_all(tx: Transaction, subject_id: str, generation: int) -> None:
    tx.run("DELETE FROM dt_outbox WHERE subject_id = ? AND generation = ?", (subject_id, generation))


def defer(tx: Transaction, errand: Errand, *, until: float, error: str) -> None:
    tx.run(
        "UPDATE dt_outbox SET tries = tries + 1, due_at = ?, error = ? WHERE id = ? AND request_id = ?",
        (until, error[:1000], errand.id, errand.request_id),
    )


# ----- what is due


def errands(
    conn: sqlite3.Connection, now: float, *, limit: int, room: Room, skip: frozenset[int], parked: frozenset[str]
) -> Due:
    """Commands first, oldest first; then starts by priority and age, round robin over organisations."""
    rows = _commands(conn, now, limit, skip, parked)
    starts, held_back = _starts(conn, now, limit - len(rows), room, skip, parked)
    due = rows + starts
    found = readable(due, lambda values: to_errand(conn, values, now))
    read = {errand.id for errand in found}
    unreadable = tuple(values[0] for values in due if values[0] not in read)
    return Due(found, held_back or len(due) == limit, _next_at(conn, parked, now), unreadable)


def _commands(
    conn: sqlite3.Connection, now: float, limit: int, skip: frozenset[int], parked: frozenset[str]
) -> list[tuple[Any, ...]]:
    rows = conn.execute(
        f"SELECT {_OUTBOX} FROM dt_outbox AS command WHERE kind <> 'start' AND dead_at IS NULL AND due_at <= ?"
        f" AND org_id NOT IN ({_marks(parked)})"
        " AND NOT EXISTS (SELECT 1 FROM dt_outbox AS start WHERE start.subject_id = command.subject_id"
        " AND start.generation = command.generation AND start.kind = 'start' AND start.dead_at IS NULL)"
        " ORDER BY due_at, id LIMIT ?",
        (now, *parked, limit + len(skip)),
    )
    return [values for values in rows if values[0] not in skip][:limit]


@dataclass(slots=True)
class _Left:
    """How many more may be started of those that share it."""

    count: int


class _Line:
    """The starts of one organisation that wait for the same slots, the most urgent and oldest at its head."""

    def __init__(self, rows: list[tuple[Any, ...]], left: _Left) -> None:
        self._rows = iter(rows)
        self._left = left
        self.head: tuple[Any, ...] | None = next(self._rows, None)

    @property
    def is_held_back(self) -> bool:
        return self.head is not None and self._left.count < 1

    @property
    def rank(self) -> tuple[int, int] | None:
        """What comes first has the lowest; None when nothing may be started."""
        return None if self.head is None or self._left.count < 1 else (-self.head[5], self.head[0])

    def pop(self) -> tuple[Any, ...]:
        assert self.head is not None
        values, self.head = self.head, next(self._rows, None)
        self._left.count -= 1
        return values


def _starts(
    conn: sqlite3.Connection, now: float, limit: int, room: Room, skip: frozenset[int], parked: frozenset[str]
) -> tuple[list[tuple[Any, ...]], bool]:
    """Take one of each organisation in turn, until `limit` or until nobody has room."""
    orgs = [org_id for org_id in _orgs_with_starts(conn) if org_id not in parked]
    if limit < 1:
        return [], bool(orgs)
    lines: dict[str, list[_Line]] = {}
    found: list[tuple[Any, ...]] = []
    turns = [one for one in orgs if one > room.after] + [one for one in orgs if one <= room.after]
    while turns and len(found) < limit:
        served = []
        for org_id in turns:
            if len(found) == limit:
                break
            if org_id not in lines:
                lines[org_id] = _lines_of(conn, org_id, now, limit, room, skip)
            if line := _foremost(lines[org_id]):
                found.append(line.pop())
                served.append(org_id)
        turns = served
    return found, any(line.is_held_back for held in lines.values() for line in held)


def _foremost(lines: list[_Line]) -> _Line | None:
    ready = [(line.rank, line) for line in lines if line.rank is not None]
    return min(ready, key=itemgetter(0))[1] if ready else None


def _lines_of(
    conn: sqlite3.Connection, org_id: str, now: float, limit: int, room: Room, skip: frozenset[int]
) -> list[_Line]:
    """Those for which this process has handlers share its slots; each of the others waits for somebody else's."""
    waiting = _waiting(conn, room.waiting.get(org_id, ()))
    ours = _Left(room.most - sum(count for capability, count in waiting.items() if room.can_run(capability)))
    lines = []
    for name in _line_names(conn, org_id):
        capability = _capability_of(name)
        if name == _NO_SLOT:
            left = _Left(sys.maxsize)
        elif room.can_run(capability):
            left = ours
        else:
            asking = _asking_in_vain(conn, org_id, capability, room.most)
            left = _Left(room.most - asking - waiting.get(capability, 0))
        # One more than can be taken shows whether any is held back.
        rows = _head_of(conn, org_id, name, now, skip, max(min(left.count, limit), 0) + 1)
        lines.append(_Line(rows, left))
    return lines


def _head_of(
    conn: sqlite3.Connection, org_id: str, line: str, now: float, skip: frozenset[int], count: int
) -> list[tuple[Any, ...]]:
    rows = conn.execute(
        f"SELECT {_OUTBOX} FROM dt_outbox INDEXED BY dt_outbox_starts WHERE org_id = ? AND line = ?"
        " AND kind = 'start' AND dead_at IS NULL AND due_at <= ? ORDER BY priority DESC, id LIMIT ?",
        (org_id, line, now, count + len(skip)),
    ).fetchall()
    return [values for values in rows if values[0] not in skip]


def _waiting(conn: sqlite3.Connection, task_ids: Collection[str]) -> dict[str | None, int]:
    """How many of these are still to be begun, by capability."""
    if not task_ids:
        return {}
    sql = (
        "SELECT capability, COUNT(*) FROM json_each(?) AS one CROSS JOIN dt_tasks AS task ON task.id = one.value"
        f" WHERE {READY} GROUP BY capability"
    )
    return dict(conn.execute(sql, (json.dumps([*task_ids]),)).fetchall())


def _line_of(row: Row, kind: OutboxKind) -> str:
    embedded = kind is OutboxKind.START and row.get("placement") == Placement.EMBEDDED.value
    return f"{_SLOT}{row['capability'] or ''}" if embedded else _NO_SLOT


def _capability_of(line: str) -> str | None:
    return line.removeprefix(_SLOT) or None


def _orgs_with_starts(conn: sqlite3.Connection) -> list[str]:
    return _distinct(conn, "org_id", "TRUE", ())


def _line_names(conn: sqlite3.Connection, org_id: str) -> list[str]:
    return _distinct(conn, "line", "org_id = ?", (org_id,))


def _distinct(conn: sqlite3.Connection, column: str, where: str, values: tuple[str, ...]) -> list[str]:
    """One index descent for each, however many starts wait."""
    sql = (
        f"SELECT {column} FROM dt_outbox INDEXED BY dt_outbox_starts WHERE kind = 'start' AND dead_at IS NULL"
        f" AND {where} AND {column} > ? ORDER BY {column} LIMIT 1"
    )
    found: list[str] = []
    one = conn.execute(sql.replace("> ?", ">= ?"), (*values, "")).fetchone()
    while one is not None:
        found.append(one[0])
        one = conn.execute(sql, (*values, one[0])).fetchone()
    return found


def _asking_in_vain(conn: sqlite3.Connection, org_id: str, capability: str | None, limit: int) -> int:
    """Tasks whose Temporal workflow runs and finds no handler, as far as they are among the first `limit` in order.
    Members have none of their own: their group's counts once, whatever it asks for."""
    sql = (
        f"SELECT COUNT(*) FROM (SELECT id, generation FROM dt_tasks INDEXED BY dt_tasks_beginnable WHERE {READY}"
        " AND placement = 'embedded' AND org_id = ? AND lane = 'asked' AND capability IS ? AND workflow_id IS NULL"
        " ORDER BY priority DESC, seq LIMIT ?) AS task JOIN dt_submissions AS submission"
        " ON submission.subject_id = task.id AND submission.generation = task.generation"
        " WHERE submission.state = 'open'"
    )
    return int(conn.execute(sql, (org_id, capability, limit)).fetchone()[0])


def _marks(values: frozenset[str]) -> str:
    return ", ".join("?" * len(values))


def to_errand(conn: sqlite3.Connection, values: tuple[Any, ...], now: float) -> Errand:
    number, subject_id, generation, kind, org_id, priority, request_id, tries = values
    placement, namespace, workflow_id, run_id = conn.execute(
        "SELECT placement, namespace, workflow_id, run_id FROM dt_submissions WHERE subject_id = ? AND generation = ?",
        (subject_id, generation),
    ).fetchone()
    ref = ref_of(conn, subject_id, generation, org_id, placement)
    title, details = _described(conn, ref)
    return Errand(
        id=number,
        kind=OutboxKind(kind),
        request_id=request_id,
        ref=ref,
        title=title,
        details=details,
        priority=priority,
        namespace=namespace,
        workflow_id=workflow_id,
        run_id=run_id,
        tries=tries,
        status=read_status(conn, ref, now),
    )


def _described(conn: sqlite3.Connection, ref: Ref) -> tuple[str, str]:
    """The subject's title, and a few lines for people who look at it in Temporal."""
    if isinstance(ref, GroupRef):
        sql = "SELECT name, description, total, space_id FROM dt_workflows WHERE id = ?"
        title, description, total, space_id = conn.execute(sql, (ref.workflow_id,)).fetchone()
        facts = f"{ref.kind} of {total} tasks, organisation {ref.org_id}, space {space_id}"
    else:
        sql = "SELECT title, description, capability, space_id FROM dt_tasks WHERE id = ?"
        title, description, capability, space_id = conn.execute(sql, (ref.task_id,)).fetchone()
        facts = f"{ref.placement} task, capability {capability or 'none'}, organisation {ref.org_id}, space {space_id}"
    return title, f"{facts}\n\n{description[:_DETAILS]}".strip()


def _next_at(conn: sqlite3.Connection, parked: frozenset[str], now: float) -> float | None:
    """When the next of the deferred rows that are not due yet will be."""
    sql = (
        "SELECT due_at FROM dt_outbox WHERE dead_at IS NULL AND tries > 0 AND due_at > ?"
        f" AND org_id NOT IN ({_marks(parked)}) ORDER BY due_at LIMIT 1"
    )
    found = conn.execute(sql, (now, *parked)).fetchone()
    return None if found is None else float(found[0])


# ----- dead letters


def bury(tx: Transaction, errand: Errand, error: str) -> None:
    """Refused for ever: keep the row for people to see, and send it no more."""
    tx.run(
        "UPDATE dt_outbox SET dead_at = ?, error = ? WHERE id = ? AND request_id = ?",
        (tx.now, error[:1000], errand.id, errand.request_id),
    )


def bury_unreadable(tx: Transaction, number: int) -> tuple[str, int, str] | None:
    """The same of a row that cannot be read. Its subject, generation and kind."""
    tx.run("UPDATE dt_outbox SET dead_at = ?, error = 'it cannot be read' WHERE id = ?", (tx.now, number))
    tx.notice.outbox = True
    return tx.one("SELECT subject_id, generation, kind FROM dt_outbox WHERE id = ?", (number,))


def dead_letters(conn: sqlite3.Connection, org_id: str | None, limit: int | None = None) -> list[DeadLetter]:
    """Oldest first; of one organisation, or (None) of all."""
    rows = conn.execute(
        f"SELECT {_LETTER} FROM dt_outbox WHERE dead_at IS NOT NULL AND (? IS NULL OR org_id = ?)"
        " ORDER BY dead_at, id LIMIT ?",
        (org_id, org_id, -1 if limit is None else limit),
    )
    return [_to_letter(values) for values in rows]


def dead_letter(tx: Transaction, letter_id: str, org_id: str | None) -> DeadLetter:
    """Of one organisation, or (None) of any. Raises NotFound."""
    found = tx.one(
        f"SELECT {_LETTER} FROM dt_outbox WHERE {_THIS} AND dead_at IS NOT NULL AND (? IS NULL OR org_id = ?)",
        (*_parts_of(letter_id), org_id, org_id),
    )
    if found is None:
        raise NotFound(f"there is no dead letter {letter_id}", id=letter_id)
    return _to_letter(found)


def _to_letter(values: tuple[Any, ...]) -> DeadLetter:
    org_id, subject_id, generation, kind, error, dead_at = values
    return DeadLetter(
        id=f"{subject_id}:{generation}:{kind}",
        org_id=org_id,
        subject_id=subject_id,
        generation=generation,
        kind=OutboxKind(kind),
        error=error or "",
        dead_at=utc(dead_at),
    )


def _parts_of(letter_id: str) -> tuple[str, str, str]:
    """Subject, generation and kind; of what is no id, parts that no row has."""
    subject_id, _, rest = letter_id.partition(":")
    generation, _, kind = rest.partition(":")
    return subject_id, generation, kind


def revive(tx: Transaction, letter: DeadLetter) -> None:
    """Send it again."""
    tx.run(
        f"UPDATE dt_outbox SET dead_at = NULL, tries = 0, due_at = ?, error = NULL, request_id = ? WHERE {_THIS}",
        (tx.now, tx.ids.task(), letter.subject_id, letter.generation, letter.kind.value),
    )
    tx.notice.outbox = True


def drop(tx: Transaction, letter: DeadLetter) -> None:
    tx.run(f"DELETE FROM dt_outbox WHERE {_THIS}", (letter.subject_id, letter.generation, letter.kind.value))
