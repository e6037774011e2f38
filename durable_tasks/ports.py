"""The seams: what each layer needs from the one below, as Protocols, with their meaning and their errors.

It must not know any implementation; SQLite and Temporal stand behind these names.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from durable_tasks.contracts import (
    AttemptEnd,
    Batch,
    Begun,
    Command,
    CommandAnswer,
    GroupRef,
    GroupStatus,
    MembersRequest,
    Ref,
    RunRequest,
    TaskRef,
    TaskStatus,
)
from durable_tasks.models import Actor, Task, TaskError, TaskState, WorkflowState

TEMPORAL = Actor(name="temporal")
"""Who did what somebody asked of Temporal: whoever reaches the namespace may, and need not say who it was."""


class Clock(Protocol):
    """Time. Everything that waits for an instant or for a while waits here, so that tests can move it. What people
    planned for an instant goes by `now`, which is set and may jump; how long something takes goes by `steady`."""

    def now(self) -> float:
        """What the wall clock says: unix seconds, UTC."""
        ...

    def steady(self) -> float:
        """Seconds since some instant, which nobody sets: they never jump nor go back."""
        ...

    def boot(self) -> str:
        """Names that instant: what two clocks call `steady` can be compared when these are equal, as they are for
        all processes since the machine started."""
        ...

    async def wait(self, event: asyncio.Event, until: float | None) -> bool:
        """Wait for `event`, at most until `now` is `until` (None: for ever). True when the event came. A jump of the
        wall clock is noticed, after seconds."""
        ...

    async def wait_for(self, event: asyncio.Event, seconds: float) -> bool:
        """Wait for `event`, at most `seconds` (inf: for ever), whatever the wall clock does. True when it came."""
        ...


class Ids(Protocol):
    """Fresh names."""

    def task(self) -> str:
        """A UUIDv7: unique, and ascending within this process."""
        ...

    def token(self) -> str:
        """A fence for one attempt: unique, not a credential."""
        ...


@dataclass(slots=True)
class Notice:
    """What one commit changed, for those who wait. A notice is a hint; the rows are the truth."""

    ready: bool = False
    """An auto task became ready to begin."""
    outbox: bool = False
    """There is something to tell Temporal."""
    due: float | None = None
    """The earliest new instant at which the store's clock has work (unix seconds)."""
    orgs: set[str] = field(default_factory=set)
    """Organisations with new events."""
    ended: list[str] = field(default_factory=list)
    """Ids of tasks whose attempt or life ended, and of workflows that ended."""
    stop: list[tuple[str, str]] = field(default_factory=list)
    """(task id, token) of attempts whose executor must stop."""
    foreign: bool = False
    """Somebody else changed the file: anything may have happened."""
    begun: list[tuple[str | None, float]] = field(default_factory=list)
    """(capability, seconds since the task was ready) of each attempt that was opened."""
    outcomes: list[tuple[str | None, str, float | None]] = field(default_factory=list)
    """(capability, what became of it, seconds since it started if it did) of each attempt that ended."""
    operations: int = 0
    """How many operations share the commit."""
    suspects: bool = False
    """Work that must run alone waits for an executor to come to rest."""
    buried: bool = False
    """Work was asked for while this process has no row: another declared it dead."""


Listener = Callable[[Notice], None]


@dataclass(frozen=True, slots=True)
class Peer:
    """Another process on the file."""

    instance: str
    beat: tuple[int, float] | None
    """Changes with each renewal of its lease. None: it has no row, only attempts."""
    lease: float | None
    """Seconds for which its beat may stand still; None: it does not say."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """One attempt for an executor to run: the task as it stands, and the token that fences its result."""

    task: Task
    token: str
    timeout: float | None
    """Seconds that the attempt may take."""
    prior: Mapping[str, Any] | None
    """Outputs of the steps before it in its pipeline, by name; of its dependencies in other groups. None: they are
    still to be read."""
    alone_for: float | None = None
    """Seconds for which nothing else may begin in the process."""


class Ending(StrEnum):
    COMPLETED = "completed"
    FAILED = "failed"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended, as its executor saw it."""

    ending: Ending
    output: Any = None
    error: TaskError | None = None
    retryable: bool = True
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Appetite:
    """Which ready tasks an executor takes: its capabilities, whether tasks without one, and how many."""

    capabilities: tuple[str, ...]
    unnamed: bool
    limit: int
    temporal_before: float | None = None
    """Take tasks of the Temporal engine too when they became ready before this instant (None: never)."""
    rests: bool = False
    """Nothing runs there: it may be given what must run alone."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A Temporal workflow's wish that its task be begun: who asks, and under which request id."""

    ref: TaskRef
    request: str
    namespace: str
    workflow_id: str


class OutboxKind(StrEnum):
    START = "start"
    SYNC = "sync"
    CANCEL = "cancel"
    TERMINATE = "terminate"


@dataclass(frozen=True, slots=True)
class Errand:
    """One outbox row, with all that sending it needs. `request_id` names this very content: it changes
    when a newer change is coalesced into the row, so that an old acknowledgement cannot swallow the new one."""

    id: int
    kind: OutboxKind
    request_id: str
    ref: Ref
    title: str
    details: str
    """A few lines for people who look at it in Temporal."""
    priority: int
    namespace: str
    workflow_id: str
    run_id: str | None
    tries: int
    status: TaskStatus | GroupStatus
    """The task or group as it stands now: the payload of a sync."""


class Due(NamedTuple):
    """What is to be sent now."""

    errands: list[Errand]
    held_back: bool
    """More is due than there was room for."""
    next_at: float | None
    """When the next of the deferred rows will be due (unix seconds)."""
    unreadable: tuple[int, ...] = ()
    """Rows that are due and cannot be read."""


@dataclass(frozen=True, slots=True)
class Room:
    """How many embedded tasks may be started though no slot is free: those would only lose their order of priority.
    A capability that no handler here serves has as much room of its own: some other process may take it."""

    most: int
    """Of one organisation, those that wait already included."""
    waiting: Mapping[str, Collection[str]]
    """Organisation → ids of tasks that wait for a slot here, or whose start is being sent. Those that were begun
    meanwhile, ahead or by another process, take no room."""
    can_run: Callable[[str | None], bool]
    after: str = ""
    """The organisation that was served last."""


@dataclass(frozen=True, slots=True)
class Submission:
    """One hand-over of a task or group to Temporal, as SQLite remembers it."""

    ref: Ref
    namespace: str
    workflow_id: str
    run_id: str | None
    state: str
    """outbox (not yet started), open (started), closed (its end was seen or told)."""
    updated_at: float
    version: int
    """Of the task or group: the guard of what is done about it."""
    status: TaskStatus | GroupStatus
    pending_errands: int


@dataclass(frozen=True, slots=True)
class Tenant:
    """An organisation with its namespace, and whether something of it is handed over and not ended."""

    org_id: str
    namespace: str
    busy: bool


@dataclass(frozen=True, slots=True)
class RemoteAttempt:
    """An attempt that an external worker executes, or will; `execution_id` names its activity."""

    org_id: str
    task_id: str
    token: str
    started: bool
    namespace: str
    workflow_id: str
    execution_id: str
    moved_at: float
    """When the task last changed, progress included (unix seconds)."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An errand that Temporal refuses for ever, kept for people to see and to send again."""

    id: str
    """Made of its parts: the number of its row would say how much others have to send."""
    org_id: str
    subject_id: str
    generation: int
    kind: OutboxKind
    error: str
    dead_at: datetime


@dataclass(frozen=True, slots=True)
class Drift:
    """A task or group on which the two sides disagree."""

    org_id: str
    subject_id: str
    generation: int
    sqlite_state: TaskState | WorkflowState
    temporal_status: str
    """RUNNING, COMPLETED, FAILED, CANCELED, TERMINATED, TIMED_OUT, or MISSING."""


@dataclass(frozen=True, slots=True)
class Queue:
    """One task queue of a Temporal namespace."""

    namespace: str
    queue: str
    workers: int | None
    """Those of all processes that asked within the last minutes. None: Temporal does not say."""


class SubmissionStore(Protocol):
    """What the Temporal side needs of SQLite. Every method may raise StoreError."""

    @property
    def file_uuid(self) -> str:
        """The file's own name; the store queue and memos carry it."""
        ...

    async def errands(
        self,
        now: float,
        *,
        limit: int,
        room: Room,
        skip: frozenset[int],
        parked: frozenset[str],
    ) -> Due:
        """Of organisations not in `parked` what is due, rows in `skip` left out: commands first, then starts by
        priority, FIFO, round robin over organisations, as far as there is room."""
        ...

    async def tenants(self) -> list[Tenant]:
        """Every (organisation, namespace) that anything was ever handed over for."""
        ...

    async def acknowledge(self, errand: Errand, *, run_id: str | None = None) -> None:
        """Sent. A start opens its submission under `run_id`. Does nothing if newer content was coalesced in."""
        ...

    async def moot(self, errand: Errand) -> None:
        """The Temporal workflow is already closed: drop the row and close its submission."""
        ...

    async def defer(self, errand: Errand, *, until: float, error: str) -> None:
        """Not sent; try again at `until`."""
        ...

    async def reject(self, errand: Errand, *, error: str) -> None:
        """Temporal will never take it: fail the task or group as `submit_rejected`, and keep the row as a dead
        letter."""
        ...

    async def submissions(
        self, *, states: tuple[str, ...], after: str, limit: int, parked: frozenset[str] = frozenset()
    ) -> list[Submission]:
        """A page of submissions of the newest generation in the given states, by workflow id above `after`,
        without those of organisations in `parked`."""
        ...

    async def settled(self, org_id: str, *, before: float, limit: int) -> list[Submission]:
        """At most `limit` open submissions of one organisation, of the newest generation, that have not moved since
        `before` and that nothing is to be sent for."""
        ...

    async def find(self, workflow_ids: Sequence[str]) -> dict[str, Submission]:
        """The submissions of any generation that carry these Temporal workflow ids; unknown ones are left out."""
        ...

    async def resubmit(self, submission: Submission) -> bool:
        """Start again as the next generation, if neither generation nor version has moved. True if so.
        External attempts of the old generation are lost."""
        ...

    async def close_submission(self, submission: Submission) -> None:
        """Its Temporal workflow is closed and the task or group is terminal: nothing is left to do."""
        ...

    async def nudge(self, submission: Submission, kind: OutboxKind) -> None:
        """Its Temporal workflow is open though its task or group is terminal, or has gone on to another
        generation: queue `kind` for it, and count it as open until that is sent."""
        ...

    async def remote_attempts(self, *, after: str, limit: int) -> list[RemoteAttempt]:
        """A page of the attempts that external workers have, by task id above `after`."""
        ...

    async def observe(self, attempt: RemoteAttempt, percent: float | None, message: str | None) -> None:
        """Temporal says that the attempt was started, and (not None) how far it is. Ignored when it has ended."""
        ...


class Intake(Protocol):
    """What the relay needs of this process's executor: embedded tasks are begun when Temporal is told of them."""

    def can_run(self, capability: str | None) -> bool:
        """Whether this process has a handler for it. Called from other threads too."""
        ...

    def waiting(self) -> dict[str, set[str]]:
        """Organisation → ids of its tasks that wait for a slot here."""
        ...

    def on_room(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` whenever a task has ceased to wait for a slot here. Answers how to end that."""
        ...

    async def begin_ahead(self, errand: Errand) -> bool:
        """Begin the task while its start is being sent, when a slot is free: waiting for Temporal's word would only
        cost time. Its workflow finds the attempt under way, or over. False when it was not begun. Raises StoreError."""
        ...

    async def begin_started(self, errand: Errand, run_id: str) -> None:
        """Temporal has taken the start: acknowledge it, and begin the task in the same operation when a slot is
        free; else it waits for one here. Raises StoreError."""
        ...


class TaskBridge(Protocol):
    """What activities ask of the process that owns the SQLite file. SQLite alone decides; every answer is its.
    `namespace` and `workflow_id` say which Temporal workflow asks: one that drives nothing any more changes nothing.
    Every method may raise StoreError, and NotFound when the file knows no such task or group."""

    async def run(self, request: RunRequest, *, namespace: str, workflow_id: str, run_id: str) -> TaskStatus:
        """Admit the task to this process's executor and wait about a second for its end.
        Idempotent by `request.request`."""
        ...

    async def join(self, ref: TaskRef, *, namespace: str, workflow_id: str, patience: float) -> TaskStatus:
        """Wait until the attempt under way has ended, at most `patience` seconds. A cancelled join cancels nothing."""
        ...

    async def read(self, ref: TaskRef, *, namespace: str, workflow_id: str) -> TaskStatus:
        """The task as it stands."""
        ...

    async def cancel(self, ref: TaskRef, *, namespace: str, workflow_id: str, reason: str) -> TaskStatus:
        """Somebody cancelled the Temporal workflow: cancel the task if that workflow drives it and it has not
        ended; say how it stands."""
        ...

    async def begin(self, request: RunRequest, *, namespace: str, workflow_id: str) -> Begun:
        """Begin an attempt of an external task, for its workflow to have executed on the work queue.
        Idempotent by `request.request`."""
        ...

    async def record(self, end: AttemptEnd, *, namespace: str, workflow_id: str) -> TaskStatus:
        """Write down how an external attempt ended; a late or repeated end changes nothing."""
        ...

    async def command(self, command: Command, *, namespace: str, workflow_id: str) -> CommandAnswer:
        """Do what a person asked of Temporal. Raises what the same verb of the facade raises: the refusal."""
        ...

    async def run_group(self, ref: GroupRef, *, namespace: str, workflow_id: str) -> GroupStatus:
        """Wait about a second for the group's end; embedded members run meanwhile. Says how it stands."""
        ...

    async def read_group(self, ref: GroupRef, *, namespace: str, workflow_id: str) -> GroupStatus:
        """The group as it stands."""
        ...

    async def cancel_group(self, ref: GroupRef, *, namespace: str, workflow_id: str, reason: str) -> GroupStatus:
        """Somebody cancelled the Temporal workflow: cancel the group, as `cancel` does a task."""
        ...

    async def begin_members(self, request: MembersRequest, *, namespace: str, workflow_id: str) -> Batch:
        """Begin external members of a group, urgent ones first. Idempotent by `request.request`."""
        ...


class HandlerRunner(Protocol):
    """What an external worker's `execute` needs: a handler called for one attempt."""

    async def run(
        self, assignment: Assignment, report: Callable[[float, str | None], None], cancelled: asyncio.Event
    ) -> Outcome:
        """Call the handler and say how it ended. When `cancelled` is set the handler is told to stop; a handler
        that does not is given up after its grace and counts as released. `report` is called on the event loop.
        Raises NotFound when no handler is registered for the capability."""
        ...


Subscribe = Callable[[Listener], Callable[[], None]]
"""Register a listener; the answer unregisters it."""
