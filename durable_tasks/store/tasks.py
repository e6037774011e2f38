"""Creating, reading and editing tasks.

It must not know how attempts begin: who runs a task is told in claims.py and dispatch.py.
"""

import sqlite3
from collections.abc import Mapping, Sequence

from durable_tasks.errors import DependencyCycle, InvalidInput, NotFound, VersionConflict
from durable_tasks.instants import seconds_at
from durable_tasks.lifecycle import HELD, Verb, find_cycle
from durable_tasks.models import Mode, Task, TaskState
from durable_tasks.store import commands
from durable_tasks.store.drafts import Draft
from durable_tasks.store.endings import end_released
from durable_tasks.store.inserts import Inserts
from durable_tasks.store.moves import get, move, require
from durable_tasks.store.ownership import require_own
from durable_tasks.store.rows import (
    TASK,
    Row,
    canonical_hash,
    task_row,
    to_task,
)
from durable_tasks.store.transaction import Transaction

_ENDED = ("completed", "failed", "cancelled")


def create(tx: Transaction, org_id: str, drafted: Draft) -> Task:
    """Insert one task, or return the one that its idempotency key already made."""
    key = drafted.new.idempotency_key
    known = commands.known_key(tx, org_id, "create", key, drafted.content)
    if known is not None:
        return to_task(get(tx, org_id, known))
    inserts = Inserts(tx, org_id)
    row = inserts.add(drafted)
    inserts.write()
    commands.remember_key(tx, org_id, "create", key, drafted.content, row["id"])
    return to_task(row)


def create_many(tx: Transaction, org_id: str, drafts: Sequence[Draft]) -> list[Row]:
    """Insert all or none; answer in the order given. They may depend on each other by name, whatever it is: names
    become ids first, and cycles are refused."""
    ids = {drafted.new.name: tx.ids.task() for drafted in drafts if drafted.new.name is not None}
    inserts = Inserts(tx, org_id)
    rows: dict[int, Row] = {}
    for place in in_order(drafts):
        drafted = drafts[place]
        key = drafted.new.idempotency_key
        known = commands.known_key(tx, org_id, "create", key, drafted.content)
        if known is not None:
            rows[place] = inserts.rows.get(known) or get(tx, org_id, known)
            if drafted.new.name is not None:
                ids[drafted.new.name] = known
            continue
        parents = [ids.get(parent, parent) for parent in drafted.new.depends_on]
        row = rows[place] = inserts.add(drafted, task_id=ids.get(drafted.new.name or ""), parents=parents)
        commands.remember_key(tx, org_id, "create", key, drafted.content, row["id"])
    inserts.write()
    return [rows[place] for place in range(len(drafts))]


def in_order(drafts: Sequence[Draft], *, chained: bool = False) -> Sequence[int]:
    """The drafts' places as given, if every reference points back; else sorted so that they do. `chained`: each
    depends on the one before it too. Raises DependencyCycle, and InvalidInput for a name given twice."""
    places: dict[str, int] = {}
    for place, drafted in enumerate(drafts):
        name = drafted.new.name
        if name is not None and places.setdefault(name, place) != place:
            raise InvalidInput(f"two tasks have the name {name!r}; names are unique within one call", name=name)
    edges = {
        place: [places[parent] for parent in drafted.new.depends_on if parent in places]
        for place, drafted in enumerate(drafts)
    }
    if all(parent < place for place, parents in edges.items() for parent in parents):
        return range(len(drafts))
    if chained:
        for place in range(1, len(drafts)):
            edges[place].append(place - 1)
    return _sorted(edges, drafts)


def _sorted(edges: Mapping[int, Sequence[int]], drafts: Sequence[Draft]) -> list[int]:
    waiting = {place: len(set(parents)) for place, parents in edges.items()}
    children: dict[int, list[int]] = {}
    for place, parents in edges.items():
        for parent in set(parents):
            children.setdefault(parent, []).append(place)
    ready = [place for place, count in waiting.items() if count == 0]
    done: list[int] = []
    while ready:
        place = ready.pop(0)
        done.append(place)
        for child in children.get(place, ()):
            waiting[child] -= 1
            if waiting[child] == 0:
                ready.append(child)
    if len(done) < len(drafts):
        _raise_cycle(edges, drafts)
    return done


def _raise_cycle(edges: Mapping[int, Sequence[int]], drafts: Sequence[Draft]) -> None:
    found = find_cycle({str(place): map(str, parents) for place, parents in edges.items()}) or []
    cycle = [drafts[int(place)].new.name or drafts[int(place)].new.heading for place in found]
    raise DependencyCycle(f"the dependencies form a cycle: {' → '.join(cycle)}", cycle=cycle)


EDITABLE = frozenset(
    {"title", "description", "priority", "labels", "metadata", "assigned_to", "deadline", "max_retries", "timeout"}
)


def update(tx: Transaction, org_id: str, task_id: str, fields: Row, version: int | None) -> Task:
    """Edit an open task. `fields` are columns already checked; the event has a hash of them as they are stored: what
    a person looks at is not exchanged without a trace. A manual task that is assigned to another than its
    holder is taken from the holder. Raises NotFound, IllegalMove, VersionConflict, Forbidden."""
    row = get(tx, org_id, task_id)
    require(row, Verb.UPDATE)
    require_own(tx, row, Verb.UPDATE)
    if version is not None and row["version"] != version:
        raise VersionConflict(
            f"task {task_id} has version {row['version']}, the edit was made on version {version}; read it again",
            task_id=task_id,
            version=row["version"],
            expected=version,
        )
    changes = dict(fields)
    if "deadline" in changes:
        changes["deadline_at"] = seconds_at(changes.pop("deadline"), tx.now)
    said = {"fields": sorted(fields), "values_hash": canonical_hash(changes)}
    if "assigned_to" in changes:
        changes["reserved_for"] = changes.pop("assigned_to")
        if _is_taken(row) and changes["reserved_for"] != row["assigned_to"]:
            end_released(tx, row, "reassigned")
    if "timeout" in changes and TaskState(row["state"]) in HELD and row["started_at"] is not None:
        changes["timeout_at"] = None if changes["timeout"] is None else _begun_at(row) + changes["timeout"]
    move(tx, row, TaskState(row["state"]), "task.updated", said, **changes)
    return to_task(row)


def _begun_at(row: Row) -> float:
    """When the attempt's time began to run: a timeout that it has moved along when the clock was set since."""
    timed = row["timeout_at"] is not None and row["timeout"] is not None
    return float(row["timeout_at"] - row["timeout"] if timed else row["started_at"])


def _is_taken(row: Row) -> bool:
    return row["mode"] == Mode.MANUAL.value and TaskState(row["state"]) in HELD


# ----- reading


def read(conn: sqlite3.Connection, org_id: str, task_id: str) -> Task:
    found = conn.execute(f"SELECT {TASK} FROM dt_tasks WHERE id = ? AND org_id = ?", (task_id, org_id)).fetchone()
    if found is None:
        raise NotFound(f"there is no task {task_id!r} in organisation {org_id!r}", id=task_id, org=org_id)
    return to_task(task_row(found))


def read_ended(conn: sqlite3.Connection, org_id: str, task_id: str) -> Task | None:
    """The task once it is terminal. Whoever waits asks at least once before: one column, not all of them."""
    found = conn.execute("SELECT state FROM dt_tasks WHERE id = ? AND org_id = ?", (task_id, org_id)).fetchone()
    return None if found is not None and found[0] not in _ENDED else read(conn, org_id, task_id)


def has_active(conn: sqlite3.Connection, org_id: str, agent_id: str) -> bool:
    sql = "SELECT 1 FROM dt_tasks WHERE org_id = ? AND assigned_to = ? AND state IN ('claimed', 'running') LIMIT 1"
    return conn.execute(sql, (org_id, agent_id)).fetchone() is not None
