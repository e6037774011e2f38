"""Answers: what operations return where the facade's own value is no object in JSON.

They must not know how they are sent.
"""

from datetime import datetime
from typing import Any, Generic, Literal, Self, TypeVar

from durable_tasks.models import Attempt, Claim, Engine, Event, Frozen, Heartbeat, Node, Page, Task, Workflow

T = TypeVar("T")


class Claimed(Frozen):
    """A task that an agent holds. The token fences every later call of this attempt."""

    task: Task
    token: str
    lease_expires_at: datetime | None

    @classmethod
    def of(cls, claim: Claim) -> Self:
        return cls(task=claim.task, token=claim.token, lease_expires_at=claim.lease_expires_at)


class Beat(Frozen):
    """When the lease now ends, and whether the agent should stop."""

    lease_expires_at: datetime | None
    cancel_requested: bool

    @classmethod
    def of(cls, heartbeat: Heartbeat) -> Self:
        return cls(lease_expires_at=heartbeat.lease_expires_at, cancel_requested=heartbeat.cancel_requested)


class Listed(Frozen, Generic[T]):
    """One page; `next_cursor` is null on the last."""

    items: tuple[T, ...]
    next_cursor: str | None = None

    @classmethod
    def of(cls, page: Page[T]) -> Self:
        return cls(items=tuple(page.items), next_cursor=page.next_cursor)


class Tasks(Frozen):
    items: tuple[Task, ...]


class Attempts(Frozen):
    items: tuple[Attempt, ...]


class Events(Frozen):
    """In order. Ask again with `after` = the last `seq` for what comes next."""

    items: tuple[Event, ...]


class Waited(Frozen):
    """`ended` is false when the time was over first."""

    ended: bool
    task: Task


class WaitedWorkflow(Frozen):
    ended: bool
    workflow: Workflow


class WorkflowWithTasks(Frozen):
    """A workflow and a page of its members, in input order; `next_cursor` is null on the last."""

    workflow: Workflow
    tasks: tuple[Task, ...]
    next_cursor: str | None = None


class Graph(Frozen):
    """The members of a workflow and what they wait for, in input order; `next_cursor` is null on the last page."""

    workflow_id: str
    nodes: tuple[Node, ...]
    next_cursor: str | None = None


class DurableView(Frozen):
    """A task on both sides. `temporal` is RUNNING, COMPLETED, FAILED, CANCELED, TERMINATED, TIMED_OUT, or MISSING."""

    task: Task
    namespace: str
    workflow_id: str
    run_id: str | None
    temporal: str


class Signalled(Frozen):
    signalled: Literal[True] = True
    task_id: str
    signal: str


class Queried(Frozen):
    task_id: str
    query: str
    answer: Any


class TemporalWorkflow(Frozen):
    """A Temporal workflow as the server shows it. `status` is RUNNING, COMPLETED, FAILED, CANCELED, TERMINATED,
    CONTINUED_AS_NEW or TIMED_OUT."""

    namespace: str
    workflow_id: str
    run_id: str
    workflow_type: str
    queue: str
    status: str
    started_at: datetime
    closed_at: datetime | None


class Told(Frozen):
    """The Temporal workflow was told; what becomes of it is seen by looking."""

    told: Literal["signal", "cancel", "terminate"]
    workflow_id: str


class Orgs(Frozen):
    """The organisations that the caller may act in."""

    items: tuple[str, ...]


class Me(Frozen):
    """Who the caller is, and what serves them. Without durable mode `temporal_ui` and `namespace` are null; the first
    also when nobody has said where it is."""

    org: str
    subject: str
    roles: tuple[str, ...]
    groups: tuple[str, ...]
    engine: Engine
    temporal_ui: str | None
    namespace: str | None
    version: str
