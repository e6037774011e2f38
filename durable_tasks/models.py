"""What users hold in their hands: tasks, workflows, attempts, claims, events, and how to ask for them.

It must not know SQL, Temporal or handlers: data and its validation only.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypedDict, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.errors import PydanticUserError
from pydantic.json_schema import SkipJsonSchema

from durable_tasks.durations import Duration, DurationLike
from durable_tasks.errors import InvalidOrg
from durable_tasks.form_models import form_of
from durable_tasks.instants import Instant, InstantLike

T = TypeVar("T")
Several = Annotated[tuple[T, ...], Field(fail_fast=True)]
"""A list of what comes from outside: the first wrong item is the only one that is told of, whatever follows it."""

MAX_LABELS = 64
MAX_DEPENDENCIES = 10_000
MAX_IDS = 100
LARGEST_PAGE = 1000
LARGEST_NUMBER = 2**63 - 1
"""What SQLite can hold."""
MAX_NAMES = 500
MAX_GROUPS = 500
MAX_MEMBERS = 10_000
"""Tasks of one workflow."""
OF_GROUP = "group:"
"""What comes before a group's name where a task is assigned to it."""
DEFAULT_SPACE = "default"
DEFAULT_LEASE = 3600.0
"""Seconds that a claim lasts without a heartbeat, where no lease is said: people think, and models are slow."""

_UNKNOWN_FIELDS = 20
"""Fields that there are not, of one object, which are told of one by one."""
_ORG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_DIGITS = frozenset("0123")
_RESERVED_ORGS = frozenset({"temporal-system", "all", "null", "none", "undefined"})


class TaskState(StrEnum):
    BLOCKED = "blocked"
    SCHEDULED = "scheduled"
    PENDING = "pending"
    CLAIMED = "claimed"
    RUNNING = "running"
    WAITING = "waiting"
    PAUSED = "paused"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class WorkflowState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class AttemptState(StrEnum):
    RUNNING = "running"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RELEASED = "released"
    LOST = "lost"


class Priority(IntEnum):
    LOW = 0
    NORMAL = 1
    HIGH = 2
    URGENT = 3


class Mode(StrEnum):
    AUTO = "auto"
    MANUAL = "manual"


class Placement(StrEnum):
    EMBEDDED = "embedded"
    EXTERNAL = "external"
    MANUAL = "manual"


class Engine(StrEnum):
    LOCAL = "local"
    TEMPORAL = "temporal"


OnDependencyFailure = Literal["cancel", "run", "wait"]
FailurePolicy = Literal["fail_fast", "continue"]
WorkflowKind = Literal["pipeline", "fan_out", "dag"]


def assignees(groups: Iterable[str]) -> tuple[str, ...]:
    """The groups, as tasks are assigned to them."""
    return tuple(f"{OF_GROUP}{group}" for group in sorted(groups))


def check_org(org: str) -> str:
    """Return `org` unchanged, or raise InvalidOrg. fullmatch: "acme\\n" is refused."""
    if not isinstance(org, str) or not _ORG.fullmatch(org):
        raise InvalidOrg(
            f"{org!r} is not an organisation id; use 1 to 128 of A-Z a-z 0-9 _ . - starting with a letter or digit",
            org=org,
        )
    if org.lower() in _RESERVED_ORGS:
        raise InvalidOrg(f"the organisation id {org!r} is reserved; choose another", org=org)
    return org


def _matches(pattern: str, what: str) -> AfterValidator:
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(f"{value!r} is not a {what}: it must match {pattern}")
        return value

    return AfterValidator(check)


def _parse_priority(value: Any) -> Any:
    if isinstance(value, str):
        if value in _DIGITS:  # a query of a URL has no numbers
            return int(value)
        try:
            return Priority[value.upper()]
        except KeyError:
            raise ValueError(f"{value!r} is not a priority: low, normal, high, urgent or 0 to 3") from None
    if isinstance(value, bool):
        raise ValueError(f"{value!r} is not a priority: low, normal, high, urgent or 0 to 3")
    return value


Capability = Annotated[str, _matches(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,127}", "capability")]
Name = Annotated[str, _matches(r"[A-Za-z0-9_][A-Za-z0-9_.:/ -]{0,127}", "name")]
Space = Annotated[str, _matches(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", "space id")]
Agent = Annotated[str, Field(min_length=1, max_length=256)]
Group = Annotated[str, Field(min_length=1, max_length=256 - len(OF_GROUP))]
Assignee = Annotated[Agent, _matches(f"(?s:(?!{OF_GROUP}$).*)", "person, a program or group:NAME")]
Label = Annotated[str, Field(min_length=1, max_length=128)]
Title = Annotated[str, Field(min_length=1, max_length=512)]
Key = Annotated[str, Field(min_length=1, max_length=256)]
Text = Annotated[str, Field(min_length=1, max_length=256)]
AnyPriority = Annotated[
    Priority,
    BeforeValidator(_parse_priority, json_schema_input_type=Priority | Literal["low", "normal", "high", "urgent"]),
]


def _as_schema(form: Any) -> Any:
    if not (isinstance(form, type) and issubclass(form, BaseModel)):
        return form
    try:
        return form_of(form)
    except PydanticUserError as error:  # a field that is no JSON, such as a function
        raise ValueError(f"{form.__name__} cannot be written as a JSON Schema: {error.message}") from error


Form = Annotated[dict[str, Any] | SkipJsonSchema[type[BaseModel]] | None, AfterValidator(_as_schema)]
"""A JSON Schema, or the pydantic model that stands for one."""


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Asked(Frozen):
    """What comes from outside. What is wrong with it takes no longer to say than what it may have takes to read."""

    @model_validator(mode="before")
    @classmethod
    def _few(cls, values: Any) -> Any:
        if isinstance(values, dict) and len(values) > len(cls.model_fields) + _UNKNOWN_FIELDS:
            raise ValueError(f"there are {len(cls.model_fields)} fields, and not {len(values)}")
        return values


class RetryPolicy(Asked):
    """How long to wait before retry n (1-based): min(maximum, initial * coefficient ** (n - 1)) seconds."""

    initial: Duration = 1.0
    coefficient: Annotated[float, Field(ge=1, le=1000)] = 2.0
    maximum: Duration = 60.0

    @model_validator(mode="after")
    def _ordered(self) -> "RetryPolicy":
        if self.maximum < self.initial:
            raise ValueError(f"retry maximum {self.maximum} is below its initial {self.initial}")
        return self


class TaskError(Asked):
    """Why a task failed. `type` is the exception's class or one of ours: timeout, deadline, poison, …"""

    type: str
    message: str
    details: Any = None


class NewTask(Asked):
    """What a caller says of a task to be. Durations accept "1h30m", ISO 8601 or seconds."""

    title: Title | None = None
    name: Name | None = None
    description: str = Field(default="", max_length=65536)
    capability: Capability | None = None
    mode: Mode | None = None
    input: Any = None
    priority: AnyPriority = Priority.NORMAL
    space_id: Space = DEFAULT_SPACE
    queue: Name | None = None
    assigned_to: Assignee | None = None
    created_by: Agent | None = None
    parent_task_id: Key | None = None
    correlation_id: Key | None = None
    depends_on: Several[Key] = Field(default=(), max_length=MAX_DEPENDENCIES)
    on_dependency_failure: OnDependencyFailure = "cancel"
    labels: Several[Label] = Field(default=(), max_length=MAX_LABELS)
    metadata: dict[str, Any] = Field(default_factory=dict)
    form: Form = Field(None, description="A JSON Schema that the output must fit, of a manual task only.")
    max_retries: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    retry: RetryPolicy = RetryPolicy()
    timeout: Duration | None = None
    delay: Duration | None = None
    not_before: Instant | None = None
    deadline: Instant | None = None
    idempotency_key: Key | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "NewTask":
        if self.title is None and self.name is None:
            raise ValueError("a task needs a title or a name")
        if self.delay is not None and self.not_before is not None:
            raise ValueError("give delay or not_before, not both")
        if self.timeout == 0:
            raise ValueError("timeout must be above 0; leave it out for none")
        return self

    @property
    def heading(self) -> str:
        return self.title or self.name or ""


class TaskFields(TypedDict, total=False):
    """The keyword arguments of `create`: those of NewTask, as loosely typed as it accepts them."""

    name: str | None
    description: str
    capability: str | None
    mode: Mode | str | None
    input: Any
    priority: Priority | int | str
    space_id: str
    queue: str | None
    assigned_to: str | None
    created_by: str | None
    parent_task_id: str | None
    correlation_id: str | None
    depends_on: Sequence[str]
    on_dependency_failure: OnDependencyFailure
    labels: Sequence[str]
    metadata: Mapping[str, Any]
    form: Mapping[str, Any] | type[BaseModel] | None
    max_retries: int
    retry: RetryPolicy
    timeout: DurationLike | None
    delay: DurationLike | None
    not_before: InstantLike | None
    deadline: InstantLike | None
    idempotency_key: str | None


class Actor(Frozen):
    """Who did something: a person or a program. `proved`: it showed a token, or a gateway vouched for it; else the
    name is only what it said."""

    name: str = Field(min_length=1, max_length=256)
    proved: bool = False


class Task(Frozen):
    """One task as SQLite holds it. Times are UTC; durations are seconds; progress is 0 to 100."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    org_id: str
    space_id: str
    title: str
    name: str | None
    description: str
    capability: str | None
    mode: Mode
    placement: Placement
    engine: Engine
    generation: int
    state: TaskState
    priority: Priority
    queue: str | None
    assigned_to: str | None
    created_by: str | None
    workflow_id: str | None
    parent_task_id: str | None
    correlation_id: str | None
    depends_on: tuple[str, ...]
    on_dependency_failure: OnDependencyFailure
    labels: tuple[str, ...]
    metadata: dict[str, Any]
    input: Any
    output: Any
    error: TaskError | None
    reason: str | None
    progress: float
    progress_message: str | None
    max_retries: int
    retry_count: int
    lost_count: int
    retry: RetryPolicy
    timeout: float | None
    not_before: datetime | None
    deadline_at: datetime | None
    lease_expires_at: datetime | None
    attempt: int
    version: int
    idempotency_key: str | None
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    archived_at: datetime | None
    form: dict[str, Any] | None = None
    """JSON Schema that the output must fit."""
    omitted: tuple[str, ...] = ()
    """What this answer leaves out, which is null in it whatever the task has: lists are short unless asked in full."""


class Node(Frozen):
    """A member in the graph of its workflow."""

    id: str
    name: str
    title: str
    state: TaskState
    depends_on: tuple[str, ...]


class Attempt(Frozen):
    """One execution of a task. `state` running covers claimed; cancelling: its executor was told to stop."""

    task_id: str
    number: int
    generation: int
    state: AttemptState
    agent_id: str | None
    claimed_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    lease_expires_at: datetime | None
    error: TaskError | None
    actor: Actor | None = None
    """Who claimed it, perhaps for another agent; None for a handler's or a worker's."""


class Workflow(Frozen):
    """A group of tasks and its roll-up. `counts` holds the members per task state."""

    id: str
    org_id: str
    space_id: str
    kind: WorkflowKind
    name: str
    description: str
    state: WorkflowState
    metadata: dict[str, Any]
    created_by: str | None
    join: int
    max_parallel: int | None
    failure_policy: FailurePolicy
    generation: int
    version: int
    total: int
    counts: dict[TaskState, int]
    error: TaskError | None
    idempotency_key: str | None
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    completed_at: datetime | None


class Event(Frozen):
    """One row of the audit log, numbered per organisation without gaps.

    `data` holds the task's state after the change as far as events record it: state, attempt, counters,
    assignee, priority, output hash. `hash` is SHA-256 over what the event records. `actor` is None where the engine
    did it by itself (time was over, an attempt was lost, something followed from another's end), and where a program
    in the application's own process gave no name."""

    org_id: str
    seq: int
    kind: str
    at: datetime
    task_id: str | None
    workflow_id: str | None
    data: dict[str, Any]
    hash: str
    actor: Actor | None = None


class Claim(NamedTuple):
    """A task that an agent holds. The token fences every later call of this attempt."""

    task: Task
    token: str
    lease_expires_at: datetime | None


class Heartbeat(NamedTuple):
    """The answer to a heartbeat: when the lease now ends, and whether the agent should stop."""

    lease_expires_at: datetime | None
    cancel_requested: bool


class Page(NamedTuple, Generic[T]):
    """One page of a list; `next_cursor` is None on the last."""

    items: list[T]
    next_cursor: str | None


class TaskFilter(Frozen):
    """Which tasks are meant: those that fit all of what is given. None and () are not given."""

    state: Several[TaskState] = ()
    space_id: str | None = None
    assigned_to: str | None = None
    priority: Several[AnyPriority] = ()
    labels: Several[str] = Field(default=(), max_length=MAX_LABELS)
    """All of them."""
    workflow_id: str | None = None
    capability: str | None = None
    mode: Mode | None = None
    created_by: str | None = None
    parent_task_id: str | None = None
    ids: Several[str] = Field(default=(), max_length=MAX_IDS)
    text: Text | None = None
    """In the title or the description, in upper or lower case."""
    waiting_for: Several[str] = Field(default=(), max_length=MAX_NAMES + 1 + MAX_GROUPS)
    """Open manual tasks that one of these holds or alone may take, and those that anybody may take now."""
    overdue: bool | None = None
    """Whether the deadline has passed without the task being completed or cancelled before."""


class FilterFields(TypedDict, total=False):
    """The keyword arguments of `list` and its kin: those of TaskFilter, as loosely typed as it accepts them."""

    state: TaskState | str | Sequence[TaskState | str] | None
    space_id: str | None
    assigned_to: str | None
    priority: Priority | int | str | Sequence[Priority | int | str] | None
    labels: Sequence[str]
    workflow_id: str | None
    capability: str | None
    mode: Mode | str | None
    created_by: str | None
    parent_task_id: str | None
    ids: Sequence[str]
    text: str | None
    waiting_for: Sequence[str]
    overdue: bool | None


class Changed(Frozen):
    """What became of many tasks. Those that were `matched` and not `changed` refused, or had moved meanwhile. `more`:
    there may be others that fit; without `dry_run`, `next_cursor` leads to them."""

    dry_run: bool
    matched: int
    changed: int
    more: bool
    next_cursor: str | None = None


class TaskCounts(Frozen):
    """How many tasks stand where. `complete` is false when there were too many to look at: then it is at least so
    many."""

    counts: dict[TaskState, int]
    complete: bool


class Join(NamedTuple):
    """How many members of a fan-out must complete: all of them, one, or k."""

    wanted: Literal["all", "any"] | int

    def required(self, total: int) -> int:
        if self.wanted == "all":
            return total
        return 1 if self.wanted == "any" else int(self.wanted)
