"""Standing: why a task does not run, what waits where, and how fast it goes, each at a bounded cost.

It must not change anything, nor know who asks.
"""

import sqlite3
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from durable_tasks.errors import NotFound
from durable_tasks.instants import utc
from durable_tasks.lifecycle import is_terminal
from durable_tasks.models import Mode, Placement, TaskState
from durable_tasks.standing import Activity, Explanation, Latency, Minute, QueueDepth, Queues
from durable_tasks.store.health import why
from durable_tasks.store.rows import TASK, Row, task_row

S = TaskState
MOST_TASKS = 20_000
"""Open tasks of one state that are counted."""
MOST_EVENTS = 10_000
"""The newest, which are looked at for what happened."""
MOST_TIMED = 1000
"""Ended tasks whose times are compared."""
_HOUR, _MINUTE = 3600.0, 60.0
_RUNNING = (S.CLAIMED, S.RUNNING)
_SINCE = {S.PENDING: "ready_at", S.RUNNING: "started_at"}
_COUNTED = ("created", "completed", "failed", "cancelled")


def explain(conn: sqlite3.Connection, org_id: str, task_id: str) -> Explanation:
    """Raises NotFound."""
    found = conn.execute(f"SELECT {TASK} FROM dt_tasks WHERE id = ? AND org_id = ?", (task_id, org_id)).fetchone()
    if found is None:
        raise NotFound(f"there is no task {task_id}", id=task_id)
    row = task_row(found)
    state = S(row["state"])
    waits = state is not S.RUNNING and not is_terminal(state)
    reason, error = why(conn, row) if waits else (None, None)
    return Explanation(task_id=task_id, state=state, waits_for=reason, since=utc(_since(row, state)), error=error)


def _since(row: Row, state: TaskState) -> float:
    at = row["completed_at"] if is_terminal(state) else row[_SINCE.get(state, "updated_at")]
    return float(row["updated_at"] if at is None else at)


# ----- queues


class _Sort(NamedTuple):
    mode: str
    placement: str
    queue: str | None
    capability: str | None


def queues(conn: sqlite3.Connection, org_id: str) -> Queues:
    """Open work by sort: of each state only the first so many in the order in which it is taken."""
    ready, oldest, running = Counter[_Sort](), dict[_Sort, float](), Counter[_Sort]()
    complete = True
    for state in (S.PENDING, *_RUNNING):
        seen = 0
        for *values, every, count, first in conn.execute(_SORTS, (org_id, state.value, MOST_TASKS)):
            sort, seen = _Sort(*values), seen + every
            if state is S.PENDING and count:
                ready[sort], oldest[sort] = count, first
            elif state is not S.PENDING:
                running[sort] += count
        complete = complete and seen < MOST_TASKS
    depths = [_depth(sort, ready[sort], running[sort], oldest.get(sort)) for sort in {*ready, *running}]
    depths.sort(key=lambda one: (-one.ready, -one.running, one.mode, one.queue or "", one.capability or ""))
    return Queues(items=tuple(depths), complete=complete)


_SORTS = (
    "SELECT mode, placement, queue, capability, COUNT(*), SUM(stop_by IS NULL), MIN(ready_at) FROM"
    " (SELECT mode, placement, queue, capability, ready_at, stop_by FROM dt_tasks INDEXED BY dt_tasks_list"
    " WHERE org_id = ? AND state = ? ORDER BY priority DESC, seq LIMIT ?)"
    " GROUP BY mode, placement, queue, capability"
)


def _depth(sort: _Sort, ready: int, running: int, oldest: float | None) -> QueueDepth:
    return QueueDepth(
        mode=Mode(sort.mode),
        placement=Placement(sort.placement),
        queue=sort.queue,
        capability=sort.capability,
        ready=ready,
        running=running,
        oldest_ready_at=None if oldest is None else utc(oldest),
    )


# ----- activity


def measure(conn: sqlite3.Connection, org_id: str, now: float) -> Activity:
    """Of the last hour, or of as much of it as the newest events tell."""
    unseen = conn.execute(_UNSEEN, (org_id, MOST_EVENTS)).fetchone()
    begin = now - _HOUR if unseen is None else max(now - _HOUR, unseen[0])
    ended = [task_id for (task_id,) in conn.execute(_ENDED, (org_id, MOST_EVENTS, now - _HOUR, MOST_TIMED))]
    waits, runs = _times(conn, [*dict.fromkeys(ended)])
    return Activity(minutes=_minutes(conn, org_id, begin, now), wait=_latency(waits), run=_latency(runs))


_UNSEEN = "SELECT at FROM dt_events WHERE org_id = ? ORDER BY seq DESC LIMIT 1 OFFSET ?"
_EVENTS = "(SELECT kind, at, task_id FROM dt_events WHERE org_id = ? ORDER BY seq DESC LIMIT ?)"
_ENDED = f"SELECT task_id FROM {_EVENTS} WHERE at >= ? AND kind IN ('task.completed', 'task.failed') LIMIT ?"
_BY_MINUTE = (
    f"SELECT CAST(at / 60 AS INTEGER), kind, COUNT(*) FROM {_EVENTS} WHERE at >= ? AND kind IN"
    " ('task.created', 'task.completed', 'task.failed', 'task.cancelled') GROUP BY 1, 2"
)


def _minutes(conn: sqlite3.Connection, org_id: str, begin: float, now: float) -> tuple[Minute, ...]:
    """Whole ones, but for the last, which is not over; not that of `begin`, of which some is not known."""
    first, last = int(begin // _MINUTE) + 1, int(now // _MINUTE)
    rows = conn.execute(_BY_MINUTE, (org_id, MOST_EVENTS, begin))
    counted = {(minute, kind.removeprefix("task.")): count for minute, kind, count in rows}
    return tuple(
        Minute(at=utc(number * _MINUTE), **{kind: counted.get((number, kind), 0) for kind in _COUNTED})
        for number in range(first, last + 1)
    )


def _times(conn: sqlite3.Connection, task_ids: Sequence[str]) -> tuple[list[float], list[float]]:
    """Seconds of waiting and of running, of the last attempt of each. One that began while the task was not ready, at
    once after the one before it, has not waited."""
    sql = (
        "SELECT a.claimed_at - t.ready_at, a.ended_at - a.claimed_at, a.claimed_at >= t.ready_at AND"
        " COALESCE(p.ended_at <= t.ready_at, 1) FROM dt_tasks AS t"
        " JOIN dt_attempts AS a ON a.task_id = t.id AND a.number = t.attempt"
        " LEFT JOIN dt_attempts AS p ON p.task_id = t.id AND p.number = t.attempt - 1"
        f" WHERE t.id IN ({', '.join('?' * len(task_ids))}) AND a.ended_at IS NOT NULL"
    )
    found = conn.execute(sql, task_ids).fetchall()
    return [wait for wait, _, waited in found if waited], [run for _, run, _ in found]


def _latency(seconds: list[float]) -> Latency:
    seconds.sort()
    return Latency(p50=_percentile(seconds, 50), p95=_percentile(seconds, 95), count=len(seconds))


def _percentile(ordered: Sequence[float], percent: int) -> float | None:
    """The nearest rank: one that was really seen."""
    if not ordered:
        return None
    return round(ordered[-(-len(ordered) * percent // 100) - 1], 6)
