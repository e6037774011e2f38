"""Requests: the arguments of every operation as one model each, as loose as the facade accepts them, and no looser.

They must not know what becomes of them.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt

from durable_tasks.durations import Duration
from durable_tasks.models import (
    DEFAULT_LEASE,
    DEFAULT_SPACE,
    LARGEST_NUMBER,
    LARGEST_PAGE,
    MAX_IDS,
    MAX_LABELS,
    MAX_MEMBERS,
    MAX_NAMES,
    Agent,
    AnyPriority,
    Asked,
    Assignee,
    Capability,
    FailurePolicy,
    Key,
    Label,
    Mode,
    NewTask,
    Several,
    Space,
    TaskError,
    TaskState,
    Text,
    Title,
    WorkflowKind,
    WorkflowState,
)

LONGEST_WAIT = 60.0
"""Seconds that one call waits for an end; who wants to wait longer asks again."""

Id = Annotated[str, Field(min_length=1, max_length=256)]
Token = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=256,
        description="From the claim; fences this attempt. Without it: the attempt that you hold under your own name.",
    ),
]
Limit = Annotated[int, Field(ge=1, le=LARGEST_PAGE)]
Cursor = Annotated[str, Field(max_length=1024, description="`next_cursor` of the page before.")]
Reason = Annotated[str, Field(max_length=8192)]
Lease = Annotated[Duration, Field(gt=0, description="How long it is held without a heartbeat.")]


KEYS = ("idempotency_key", "command_id")
"""Fields under which a request is done once, however often it comes."""


class Request(Asked):
    """Base of all."""

    @property
    def is_keyed(self) -> bool:
        """Whether it is done once, however often it comes."""
        return any(getattr(self, key, None) is not None for key in KEYS)


class Nothing(Request):
    """No arguments."""


# ----- tasks


class CreateTask(NewTask, Request):
    """A task to be."""


class CreateTasks(Request):
    """Tasks to be, all or none; they may depend on each other by name."""

    tasks: Several[NewTask] = Field(min_length=1, max_length=1000)

    @property
    def is_keyed(self) -> bool:
        return all(task.idempotency_key is not None for task in self.tasks)


class OfTask(Request):
    task_id: Id


CommandId = Annotated[Key | None, Field(description="Repeated with the same id a command gets its first answer.")]


class Command(OfTask):
    command_id: CommandId = None


class Fenced(Command):
    token: Token = None


class FilterTasks(Request):
    """Which tasks are meant: those that fit all that is given."""

    state: Several[TaskState] = ()
    space_id: Space | None = None
    assigned_to: Agent | None = None
    priority: Several[AnyPriority] = ()
    labels: Several[Label] = Field((), max_length=MAX_LABELS, description="All of them.")
    workflow_id: Id | None = None
    capability: Capability | None = None
    mode: Mode | None = None
    created_by: Agent | None = None
    parent_task_id: Id | None = None
    ids: Several[Id] = Field((), max_length=MAX_IDS)
    text: Text | None = Field(None, description="In the title or the description, in upper or lower case.")
    waiting_for: Several[Agent] = Field(
        (),
        max_length=MAX_NAMES,
        description="Open manual tasks that one of these holds or alone may take, or that anybody may take now.",
    )
    waiting_for_me: bool = Field(False, description="`waiting_for` the caller and the groups of the caller.")
    overdue: bool | None = Field(
        None, description="Whether the deadline passed without the task being completed or cancelled before."
    )


Full = Annotated[bool, Field(description="With inputs, outputs, forms and the details of errors.")]


class ListTasks(FilterTasks):
    limit: Limit = 100
    cursor: Cursor | None = None
    full: Full = False


class CountTasks(FilterTasks):
    """How many."""


class ChangeTasks(FilterTasks):
    dry_run: StrictBool = Field(False, description="Only say how many there are.")
    limit: Limit = LARGEST_PAGE
    cursor: Cursor | None = None


class CancelTasks(ChangeTasks):
    reason: Reason | None = None


class RetryTasks(ChangeTasks):
    """Run them again."""


class UpdateTask(Command):
    """Only the fields that are given change; null removes `assigned_to`, `deadline` or `timeout`. Assigned to another
    than its holder, a manual task is taken from the holder."""

    title: Title | None = None
    description: str | None = Field(None, max_length=65536)
    priority: AnyPriority | None = None
    labels: Several[Label] | None = Field(None, max_length=64)
    metadata: dict[str, Any] | None = None
    assigned_to: Assignee | None = None
    deadline: Any = None
    max_retries: Annotated[StrictInt, Field(ge=0, le=1_000_000)] | None = None
    timeout: Duration | None = None
    version: StrictInt | None = Field(
        None, le=LARGEST_NUMBER, description="Change nothing unless the task still has this version."
    )


class NextTask(Request):
    agent_id: Agent | None = Field(None, description="Who claims; without it the caller's own name.")
    space_id: Space = DEFAULT_SPACE
    capabilities: Several[Capability] | None = Field(None, max_length=100)
    lease: Lease | None = DEFAULT_LEASE
    command_id: CommandId = None


class ClaimTask(Command):
    agent_id: Agent | None = Field(None, description="Who claims; without it the caller's own name.")
    lease: Lease | None = DEFAULT_LEASE


class StartTask(Fenced):
    """Say that the work has begun."""


class HeartbeatTask(OfTask):
    token: Token = None


class ProgressTask(Fenced):
    percent: Annotated[StrictInt | StrictFloat, Field(ge=0, le=100)]
    message: Annotated[str, Field(max_length=8192)] | None = None


class CompleteTask(Fenced):
    output: Any = None


class FailTask(Fenced):
    error: Annotated[str, Field(min_length=1, max_length=8192)] | TaskError
    retryable: StrictBool = True
    retry_after: Duration | None = None


class ReleaseTask(Fenced):
    """Give it back."""


class CancelTask(Command):
    reason: Reason | None = None


class CommentTask(Command):
    text: Annotated[str, Field(min_length=1, max_length=8192)]


class RetryTask(Command):
    """Run it again."""


class WaitTask(OfTask):
    timeout: Annotated[Duration, Field(ge=0, le=LONGEST_WAIT)] = 30.0


class ListEvents(Request):
    task_id: Id | None = None
    workflow_id: Id | None = None
    after: Annotated[int, Field(ge=0, le=LARGEST_NUMBER)] = 0
    limit: Limit = 100


# ----- workflows


class CreateWorkflow(Request):
    """A group of tasks to be. `join` and `max_parallel` belong to a fan_out."""

    kind: WorkflowKind
    name: Annotated[str, Field(min_length=1, max_length=512)]
    tasks: Several[NewTask] = Field(min_length=1, max_length=MAX_MEMBERS)
    description: str = Field("", max_length=65536)
    space_id: Space = DEFAULT_SPACE
    metadata: dict[str, Any] = Field(default_factory=dict)
    created_by: Agent | None = None
    failure_policy: FailurePolicy | None = Field(None, description="fail_fast for a pipeline, else continue.")
    join: Literal["all", "any"] | Annotated[StrictInt, Field(ge=1, le=LARGEST_NUMBER)] = "all"
    max_parallel: Annotated[StrictInt, Field(ge=1, le=LARGEST_NUMBER)] | None = None
    idempotency_key: Key | None = None


class OfWorkflow(Request):
    workflow_id: Id


class GetWorkflow(OfWorkflow):
    limit: Limit = LARGEST_PAGE
    cursor: Cursor | None = None
    full: Full = False


class GraphWorkflow(OfWorkflow):
    limit: Annotated[int, Field(ge=1, le=MAX_MEMBERS)] = MAX_MEMBERS
    cursor: Cursor | None = None


class ListWorkflowAttempts(OfWorkflow):
    limit: Limit = 100
    cursor: Cursor | None = None


class ListWorkflows(Request):
    state: Several[WorkflowState] = ()
    space_id: Space | None = None
    text: Text | None = Field(None, description="In the name or the description, in upper or lower case.")
    limit: Limit = 100
    cursor: Cursor | None = None


class WorkflowCommand(OfWorkflow):
    command_id: CommandId = None


class AddTasks(WorkflowCommand):
    tasks: Several[NewTask] = Field(min_length=1, max_length=1000)


class CancelWorkflow(WorkflowCommand):
    reason: Reason | None = None


class RetryWorkflow(WorkflowCommand):
    """Run again what failed or was cancelled."""


class WaitWorkflow(OfWorkflow):
    timeout: Annotated[Duration, Field(ge=0, le=LONGEST_WAIT)] = 30.0


# ----- Temporal's side


class SignalTask(OfTask):
    """A signal of the task's Temporal workflow, as people send it there."""

    signal: Literal["claim", "complete", "fail", "progress", "update", "release", "cancel"]
    payload: dict[str, Any] = Field(default_factory=dict)


class QueryTask(OfTask):
    query: Literal["status", "progress", "attempt"]


class OfDeadLetter(Request):
    letter_id: Annotated[Id, Field(description="Of one of the `dead_letters` in the organisation's diagnosis.")]


class OfTemporalWorkflow(Request):
    workflow_id: Annotated[Id, Field(description="Temporal's own id of it, in the organisation's namespace.")]


class StartTemporalWorkflow(OfTemporalWorkflow):
    workflow_type: Annotated[str, Field(min_length=1, max_length=256)]
    queue: Annotated[str, Field(min_length=1, max_length=256, description="The task queue of its worker.")]
    arguments: Several[Any] = Field((), max_length=100)
    timeout: Annotated[Duration, Field(gt=0)] | None = None


class SignalTemporalWorkflow(OfTemporalWorkflow):
    signal: Annotated[str, Field(min_length=1, max_length=256)]
    arguments: Several[Any] = Field((), max_length=100)


class TerminateTemporalWorkflow(OfTemporalWorkflow):
    reason: Reason | None = None


def given(request: Request, *without: str) -> dict[str, Any]:
    """The fields that the caller set, by name."""
    return {name: getattr(request, name) for name in request.model_fields_set if name not in without}


def several(values: Sequence[Any]) -> Sequence[Any] | None:
    """No choice among states, rather than none of them."""
    return values or None
