"""Standing: what is told of how an organisation's work goes: why a task does not run, what waits where, how fast.

It must not know how any of it is found.
"""

from datetime import datetime

from durable_tasks.models import Frozen, Mode, Placement, TaskState


class Explanation(Frozen):
    """How a task stands. `waits_for`: why it is not running, in words; null while it runs, and when it has ended.
    `since`: when it came to stand so. `error`: Temporal's last answer to its start, when it waits for that."""

    task_id: str
    state: TaskState
    waits_for: str | None
    since: datetime
    error: str | None


class QueueDepth(Frozen):
    """Open work of one sort. `ready`: what could begin; `running`: what somebody has, or had begun."""

    mode: Mode
    placement: Placement
    queue: str | None
    """Of workers elsewhere; null: the default one, or it needs none."""
    capability: str | None
    ready: int
    running: int
    oldest_ready_at: datetime | None


class Queues(Frozen):
    """Where the organisation's open work waits, the longest queue first. `complete` false: there is so much that only
    the most urgent of it was counted."""

    items: tuple[QueueDepth, ...]
    complete: bool


class Minute(Frozen):
    """What happened in the minute that began at `at`."""

    at: datetime
    created: int
    completed: int
    failed: int
    cancelled: int


class Latency(Frozen):
    """Seconds. `p50` and `p95` are null when there are none."""

    p50: float | None
    p95: float | None
    count: int


class Activity(Frozen):
    """What happened lately. `minutes`: oldest first, the last hour, or as much of it as the newest events tell; the
    last is not over yet. `wait`: from ready to begun, `run`: from begun to ended, of the tasks that ended last in that
    time, by their last attempt."""

    minutes: tuple[Minute, ...]
    wait: Latency
    run: Latency
