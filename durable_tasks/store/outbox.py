"""The outbox: errands to Temporal, written in the transaction that makes them necessary, and read in fair order.

It must not know how they are sent, nor what a submission is beyond the row that each belongs to.
"""

import sqlite3
from collections.abc import Mapping
from typing import Any

from durable_tasks.contracts import GroupRef, Ref
from durable_tasks.errors import NotFound
from durable_tasks.models import Placement
from durable_tasks.ports import DeadLetter, Errand, OutboxKind
from durable_tasks.store.rows import Row
from durable_tasks.store.status import read_status, ref_of
from durable_tasks.store.transaction import Transaction

_OUTBOX = "id, subject_id, generation, kind, org_id, priority, request_id, tries"
_DETAILS = 2000


def queue(tx: Transaction, row: Row, kind: OutboxKind, generation: int | None = None) -> None:
    """Queue a command for a generation of a task or group that was submitted and is not closed; coalesced into one
    row."""
    generation = row["generation"] if generation is None else generation
    found = tx.one("SELECT state FROM dt_submissions WHERE subject_id = ? AND generation = ?", (row["id"], generation))
    if found is not None and found[0] != "closed":
        put(tx, row, generation, kind, row.get("priority", 1))


def put(tx: Transaction, row: Row, generation: int, kind: OutboxKind, priority: int) -> None:
    tx.run(
        "INSERT INTO dt_outbox (subject_id, generation, kind, org_id, priority, request_id, tries, due_at, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?) ON CONFLICT (subject_id, generation, kind) DO UPDATE SET"
        " request_id = excluded.request_id, tries = 0, due_at = excluded.due_at, dead_at = NULL, error = NULL",
        (row["id"], generation, kind.value, row["org_id"], priority, tx.ids.task(), tx.now, tx.now),
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
    conn: sqlite3.Connection,
    now: float,
    *,
    limit: int,
    max_open: int,
    underway: Mapping[str, int],
    skip: frozenset[int],
    parked: frozenset[str],
) -> tuple[list[Errand], bool]:
    """Commands first, oldest first; then starts by priority and age, round robin over organisations. The flag:
    due rows were left for want of room."""
    rows = _commands(conn, now, limit, skip, parked)
    full = len(rows) == limit
    starts, held_back = _starts(conn, now, limit - len(rows), max_open, underway, skip, parked)
    return [to_errand(conn, values, now) for values in rows + starts], full or held_back


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


def _starts(
    conn: sqlite3.Connection,
    now: float,
    limit: int,
    max_open: int,
    underway: Mapping[str, int],
    skip: frozenset[int],
    parked: frozenset[str],
) -> tuple[list[tuple[Any, ...]], bool]:
    """Take one of each organisation in turn, until `limit`, or an organisation's bound of embedded tasks."""
    room = {
        org_id: max_open - _open_embedded(conn, org_id) - underway.get(org_id, 0)
        for org_id in _orgs_with_starts(conn)
        if org_id not in parked
    }
    if limit < 1:
        return [], bool(room)
    waiting = {org_id: iter(_starts_of(conn, org_id, now, limit, skip, room[org_id] > 0)) for org_id in room}
    found: list[tuple[Any, ...]] = []
    held_back = any(free <= 0 for free in room.values())
    while waiting and len(found) < limit:
        for org_id in list(waiting):
            values = next(waiting[org_id], None)
            if values is None:
                del waiting[org_id]
                continue
            if values[-1] == Placement.EMBEDDED.value:
                if room[org_id] <= 0:
                    held_back = True
                    continue
                room[org_id] -= 1
            found.append(values[:-1])
            if len(found) >= limit:
                break
    return found, held_back or len(found) >= limit


def _starts_of(
    conn: sqlite3.Connection, org_id: str, now: float, limit: int, skip: frozenset[int], embedded: bool
) -> list[tuple[Any, ...]]:
    unless_embedded = "" if embedded else " AND submission.placement <> 'embedded'"
    rows = conn.execute(
        "SELECT outbox.id, outbox.subject_id, outbox.generation, outbox.kind, outbox.org_id, outbox.priority,"
        " outbox.request_id, outbox.tries, submission.placement FROM dt_outbox AS outbox"
        " JOIN dt_submissions AS submission ON submission.subject_id = outbox.subject_id"
        " AND submission.generation = outbox.generation WHERE outbox.org_id = ? AND outbox.kind = 'start'"
        f" AND outbox.dead_at IS NULL AND outbox.due_at <= ?{unless_embedded}"
        " ORDER BY outbox.priority DESC, outbox.id LIMIT ?",
        (org_id, now, limit + len(skip)),
    )
    return [values for values in rows if values[0] not in skip]


def _orgs_with_starts(conn: sqlite3.Connection) -> list[str]:
    """One index descent per organisation, however many starts wait."""
    sql = "SELECT org_id FROM dt_outbox WHERE kind = 'start' AND dead_at IS NULL AND org_id > ? ORDER BY org_id LIMIT 1"
    orgs: list[str] = []
    found = conn.execute(sql, ("",)).fetchone()
    while found is not None:
        orgs.append(found[0])
        found = conn.execute(sql, (found[0],)).fetchone()
    return orgs


def _open_embedded(conn: sqlite3.Connection, org_id: str) -> int:
    """Embedded tasks handed to Temporal that have not ended in SQLite."""
    sql = (
        "SELECT COUNT(*) FROM dt_orgs AS o JOIN dt_submissions AS s INDEXED BY dt_submissions_busy"
        " ON s.namespace = o.namespace AND s.placement = 'embedded' AND s.state = 'open' AND s.state <> 'closed'"
        " WHERE o.org_id = ?"
    )
    return int(conn.execute(sql, (org_id,)).fetchone()[0])


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


def next_errand_at(conn: sqlite3.Connection, parked: frozenset[str]) -> float | None:
    """When the next deferred row is due."""
    sql = (
        f"SELECT due_at FROM dt_outbox WHERE dead_at IS NULL AND tries > 0 AND org_id NOT IN ({_marks(parked)})"
        " ORDER BY due_at LIMIT 1"
    )
    found = conn.execute(sql, tuple(parked)).fetchone()
    return None if found is None else float(found[0])


# ----- dead letters


def bury(tx: Transaction, errand: Errand, error: str) -> None:
    """Refused for ever: keep the row for people to see, and send it no more."""
    tx.run(
        "UPDATE dt_outbox SET dead_at = ?, error = ? WHERE id = ? AND request_id = ?",
        (tx.now, error[:1000], errand.id, errand.request_id),
    )


def dead_letters(conn: sqlite3.Connection, org_id: str | None) -> list[DeadLetter]:
    """Oldest first; of one organisation, or (None) of all."""
    rows = conn.execute(
        "SELECT id, org_id, subject_id, generation, kind, error, dead_at FROM dt_outbox WHERE dead_at IS NOT NULL"
        " AND (? IS NULL OR org_id = ?) ORDER BY dead_at, id",
        (org_id, org_id),
    )
    return [
        DeadLetter(number, org, subject_id, generation, OutboxKind(kind), error or "", dead_at)
        for number, org, subject_id, generation, kind, error, dead_at in rows
    ]


def dead_letter(tx: Transaction, number: int) -> DeadLetter:
    """Raises NotFound."""
    found = [letter for letter in dead_letters(tx.conn, None) if letter.id == number]
    if not found:
        raise NotFound(f"there is no dead letter {number}", id=number)
    return found[0]


def revive(tx: Transaction, letter: DeadLetter) -> None:
    """Send it again."""
    tx.run(
        "UPDATE dt_outbox SET dead_at = NULL, tries = 0, due_at = ?, error = NULL, request_id = ? WHERE id = ?",
        (tx.now, tx.ids.task(), letter.id),
    )
    tx.notice.outbox = True


def drop(tx: Transaction, letter: DeadLetter) -> None:
    tx.run("DELETE FROM dt_outbox WHERE id = ?", (letter.id,))
