"""Inserts: new tasks of one call, each checked where it stands among the others, then written together.

It must not know which call it is, nor how the drafts were checked before.
"""

import json
from collections.abc import Sequence
from functools import cache
from operator import itemgetter

from durable_tasks.errors import UnknownDependency
from durable_tasks.instants import seconds_at
from durable_tasks.models import TaskState
from durable_tasks.store import submissions
from durable_tasks.store.drafts import Draft
from durable_tasks.store.events import append_created
from durable_tasks.store.moves import announce, get
from durable_tasks.store.orgs import namespace_of
from durable_tasks.store.rows import Row
from durable_tasks.store.transaction import Transaction

_ENDED = ("completed", "failed", "cancelled")
_PARENTS = "SELECT t.id, t.state FROM json_each(?) AS p CROSS JOIN dt_tasks AS t ON t.id = p.value WHERE t.org_id = ?"


class Inserts:
    """A statement for each row costs as much as all else of it, and nobody can write meanwhile."""

    def __init__(self, tx: Transaction, org_id: str) -> None:
        self.rows: dict[str, Row] = {}
        self._tx = tx
        self._org_id = org_id
        self._states: dict[str, str] = {}
        """Of the tasks that others of the call depend on, as far as they are known."""
        self._links: list[tuple[str, str, bool]] = []
        self._actors: list[str | None] = []

    def add(
        self,
        drafted: Draft,
        *,
        task_id: str | None = None,
        parents: Sequence[str] | None = None,
        workflow_id: str | None = None,
        position: int | None = None,
        hold: bool = False,
    ) -> Row:
        """One more row, which is not written before `write`. `hold` keeps it blocked by its group. Raises NotFound,
        UnknownDependency, InvalidOrg."""
        tx, new = self._tx, drafted.new
        if new.created_by is not None:
            tx.said = new.created_by
        row: Row = {
            **drafted.columns,
            "id": task_id or tx.ids.task(),
            "org_id": self._org_id,
            "engine": tx.engine_or(drafted.engine.value),
            "workflow_id": workflow_id,
            "position": position,
            "created_by": new.created_by or tx.actor_name,
            "created_at": tx.now,
            "updated_at": tx.now,
            "not_before": seconds_at(new.not_before, tx.now) if new.delay is None else tx.now + new.delay,
            "deadline_at": seconds_at(new.deadline, tx.now),
        }
        if new.parent_task_id is not None:
            get(tx, self._org_id, new.parent_task_id)
        parents = new.depends_on if parents is None else parents
        is_futile = bool(parents) and self._link(row, tuple(dict.fromkeys(parents)))
        self._place(row, hold=hold, is_futile=is_futile)
        if row["engine"] == "temporal":
            row["lane"] = submissions.lane_of(tx, row)
            namespace_of(tx, self._org_id)  # refused now rather than when its time has come
        self.rows[row["id"]] = row
        self._states[row["id"]] = row["state"]
        self._actors.append(tx.by)
        return row

    def write(self) -> None:
        """Insert the rows with their dependencies, events and what Temporal is to hear. Raises QuotaExceeded."""
        tx, rows = self._tx, list(self.rows.values())
        tx.make_room(len(rows))
        if rows:
            self._insert(rows)
        if self._links:
            tx.conn.executemany("INSERT INTO dt_dependencies (parent, child, met) VALUES (?, ?, ?)", self._links)
        append_created(tx, self._org_id, zip(rows, self._actors, strict=True))
        for row in rows:
            _announce(tx, row)

    def _insert(self, rows: Sequence[Row]) -> None:
        if len(rows) == 1:
            given = {column: value for column, value in rows[0].items() if value is not None}
            rows[0]["seq"] = self._tx.run(_insert_sql(tuple(given)), tuple(given.values())).lastrowid
            return
        columns = tuple(column for column in rows[0] if any(row[column] is not None for row in rows))
        self._tx.conn.executemany(_insert_sql(columns), map(itemgetter(*columns), rows))
        found = self._tx.one("SELECT last_insert_rowid()")
        assert found is not None
        # Numbers follow one another: nobody else writes meanwhile.
        for seq, row in enumerate(rows, start=found[0] - len(rows) + 1):
            row["seq"] = seq

    def _link(self, row: Row, parents: Sequence[str]) -> bool:
        """Note the dependencies. Answers whether one has failed already, and the task with it."""
        row["depends_on"] = json.dumps(parents)
        states = self._states
        if not states.keys() >= set(parents):
            states.update(self._tx.all(_PARENTS, (row["depends_on"], self._org_id)))
        is_futile = False
        for parent in parents:
            state = states.get(parent)
            if state is None:
                raise UnknownDependency(
                    f"task {row['title']!r} depends on {parent!r}, which is no task of organisation {self._org_id!r}"
                    " and no name in this call",
                    dependency=parent,
                )
            met = state == "completed" or (state in _ENDED and row["on_dependency_failure"] == "run")
            is_futile |= state in ("failed", "cancelled") and row["on_dependency_failure"] == "cancel"
            row["blocked_by"] += not met
            self._links.append((parent, row["id"], met))
        return is_futile

    def _place(self, row: Row, *, hold: bool, is_futile: bool) -> None:
        """Its first state, and when the clock has something to do with it."""
        now, due = self._tx.now, row["deadline_at"]
        if is_futile:
            row |= {"state": TaskState.CANCELLED.value, "reason": "dependency_failed", "completed_at": now}
            return
        if row["blocked_by"] or hold:
            row["state"] = TaskState.BLOCKED.value
        elif row["not_before"] is not None and row["not_before"] > now:
            row |= {"state": TaskState.SCHEDULED.value, "wake_at": row["not_before"]}
            due = row["wake_at"] if due is None else min(row["wake_at"], due)
        else:
            row |= {"state": TaskState.PENDING.value, "ready_at": now}
        row["due_at"] = due


@cache
def _insert_sql(columns: tuple[str, ...]) -> str:
    """Only columns are named that have something: binding all of them costs more than storing them."""
    return f"INSERT INTO dt_tasks ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


def _announce(tx: Transaction, row: Row) -> None:
    if row["due_at"] is not None and (tx.notice.due is None or row["due_at"] < tx.notice.due):
        tx.notice.due = row["due_at"]
    if row["state"] == "pending":
        announce(tx, row)
        if row["engine"] == "temporal":
            submissions.follow(tx, row)
    elif row["state"] == "cancelled":
        tx.notice.ended.append(row["id"])
