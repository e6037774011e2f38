"""What crosses into Temporal: names of workflows, activities, signals, updates, queries and queues, and their payloads.

It must not know SQL or clients. Append-only: fields and names are added, never renamed or removed.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from durable_tasks.models import Placement, Task, TaskError, TaskState, WorkflowKind, WorkflowState

TASK_WORKFLOW = "AgentTaskWorkflow"
PIPELINE_WORKFLOW = "PipelineWorkflow"
FAN_OUT_WORKFLOW = "FanOutWorkflow"
DAG_WORKFLOW = "DagWorkflow"
GROUP_WORKFLOWS: Mapping[WorkflowKind, str] = {
    "pipeline": PIPELINE_WORKFLOW,
    "fan_out": FAN_OUT_WORKFLOW,
    "dag": DAG_WORKFLOW,
}

SYNC_SIGNAL = "sync"
STATUS_QUERY = "status"
PROGRESS_QUERY = "progress"
ATTEMPT_QUERY = "attempt"

# Local activities, on the store queue: each is one question to SQLite.
RUN_TASK = "run_task"
READ_TASK = "read_task"
CANCEL_TASK = "cancel_task"
BEGIN_TASK = "begin_task"
RECORD_TASK = "record_task"
COMMAND_TASK = "command_task"
RUN_GROUP = "run_group"
READ_GROUP = "read_group"
CANCEL_GROUP = "cancel_group"
BEGIN_MEMBERS = "begin_members"
# A normal activity, on the store queue.
JOIN_TASK = "join_task"
# A normal activity, on a work queue: what external workers register.
EXECUTE = "execute"

MEMO_FILE = "durable_tasks_file"
MEMO_ID = "durable_tasks_id"
MEMO_GENERATION = "durable_tasks_generation"

INLINE_LIMIT = 256 * 1024
"""Bytes of JSON above which an outcome stays in SQLite and is referenced from histories."""
EXECUTION_LIMIT = 1536 * 1024
"""Bytes of JSON of input and prior outputs that an external worker can be given."""


class CommandVerb(StrEnum):
    """The signals and updates that people send straight to Temporal; each has the name of its verb."""

    CLAIM = "claim"
    COMPLETE = "complete"
    FAIL = "fail"
    PROGRESS = "progress"
    UPDATE = "update"
    RELEASE = "release"
    CANCEL = "cancel"


STORE_QUEUES = "dt-store-"
"""How the names of all store queues begin."""
_OURS = re.compile(r"(?:task|workflow)/.+/\d+", re.DOTALL)


def store_queue(file_uuid: str) -> str:
    """The Temporal task queue of the processes that own the SQLite file."""
    return f"{STORE_QUEUES}{file_uuid}"


def task_workflow_id(task_id: str, generation: int) -> str:
    return f"task/{task_id}/{generation}"


def group_workflow_id(workflow_id: str, generation: int) -> str:
    return f"workflow/{workflow_id}/{generation}"


def drives_ours(temporal_workflow_id: str) -> bool:
    """Whether a Temporal workflow of this id drives a task or a workflow (group), of whichever file."""
    return _OURS.fullmatch(temporal_workflow_id) is not None


def execution_id(task_id: str, attempt: int) -> str:
    """The id of the `execute` activity of one attempt, by which it is found among its workflow's pending ones."""
    return f"{task_id}/{attempt}"


class Payload(BaseModel):
    """Base of everything in a history: unknown fields are ignored, so that older workers read newer payloads."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class TaskRef(Payload):
    """The input of AgentTaskWorkflow: which task, which generation, and where it runs."""

    task_id: str
    org_id: str
    generation: int
    placement: Placement
    priority: int = 1
    """As it was when the task was submitted: which of the waiting ones is begun first."""

    @property
    def subject_id(self) -> str:
        return self.task_id

    @property
    def workflow_type(self) -> str:
        return TASK_WORKFLOW


class GroupRef(Payload):
    """The input of PipelineWorkflow, FanOutWorkflow and DagWorkflow: which workflow (group), which generation."""

    workflow_id: str
    org_id: str
    generation: int
    kind: WorkflowKind

    @property
    def subject_id(self) -> str:
        return self.workflow_id

    @property
    def workflow_type(self) -> str:
        return GROUP_WORKFLOWS[self.kind]


Ref = TaskRef | GroupRef


def is_embedded(ref: Ref) -> bool:
    """Whether the executors of the file's own processes run it."""
    return isinstance(ref, TaskRef) and ref.placement is Placement.EMBEDDED


class Verdict(StrEnum):
    """What SQLite answers to a workflow that asks to run a task or a group."""

    ENDED = "ended"
    """It is terminal; the outcome is in the status."""
    LIVE = "live"
    """An attempt is queued or under way here or elsewhere; join it. A group: members are open."""
    WAIT = "wait"
    """Not ready; ask again at `wait_until`, or after a sync when that is None."""
    NOT_HERE = "not_here"
    """This process has no handler for it; ask again later."""
    SUPERSEDED = "superseded"
    """A newer generation drives it; this workflow has nothing left to do."""


class TaskStatus(Payload):
    """What SQLite says of a task: enough to wait on, and the outcome once it is terminal."""

    verdict: Verdict
    state: TaskState
    version: int
    attempt: int
    wait_until: float | None = None
    """Unix seconds."""
    output: Any = None
    output_in_store: bool = False
    """The output exceeds INLINE_LIMIT and is to be read from SQLite."""
    error: TaskError | None = None
    reason: str | None = None
    progress: float = 0.0
    progress_message: str | None = None
    assigned_to: str | None = None


class GroupStatus(Payload):
    """What SQLite says of a workflow (group). `output`: the members' outputs in input order."""

    verdict: Verdict
    state: WorkflowState
    version: int
    ready: int = 0
    """External members that wait to be begun."""
    stop: tuple[str, ...] = ()
    """Execution ids of attempts that have been ended in SQLite: their activities are to be cancelled."""
    output: Any = None
    output_in_store: bool = False
    error: TaskError | None = None
    reason: str | None = None


class RunRequest(Payload):
    """One ask of a workflow to run its task. `request` is `<run id>/<n>`: asking twice starts one attempt."""

    ref: TaskRef
    request: str


class MembersRequest(Payload):
    """One ask of a group's workflow for external members to execute, at most `limit`. `request` as in RunRequest:
    asking twice begins the same members."""

    ref: GroupRef
    request: str
    limit: int


class Execution(Payload):
    """The input of `execute`: one attempt of a task, with all that its handler may see."""

    task: dict[str, Any]
    """A Task as JSON; fields that an older worker does not know are dropped."""
    token: str
    prior: dict[str, Any] = {}
    heartbeat: float = 30.0
    """Seconds without a heartbeat after which the worker counts as lost."""

    def to_task(self) -> Task:
        return Task.model_validate({name: value for name, value in self.task.items() if name in Task.model_fields})


class Begun(Payload):
    """The answer to `begin_task`: what to execute on which work queue, or (None) how the task stands."""

    ref: TaskRef
    status: TaskStatus
    execution: Execution | None = None
    queue: str = ""
    timeout: float | None = None
    """Seconds from the activity's start; None: no limit."""


class Batch(Payload):
    """The answer to `begin_members`."""

    status: GroupStatus
    begun: tuple[Begun, ...] = ()


class AttemptEnding(StrEnum):
    """How `execute` ended, as its workflow saw it."""

    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    """It ran longer than the task's timeout."""
    LOST = "lost"
    """Its worker was not heard of for the heartbeat timeout."""
    RELEASED = "released"
    """It stopped without a result: its worker was shut down, or it was cancelled."""


class AttemptEnd(Payload):
    """What `record_task` writes down; the token fences it."""

    ref: TaskRef
    token: str
    ending: AttemptEnding
    output: Any = None
    error: TaskError | None = None
    retryable: bool = True
    retry_after: float | None = None


class Command(Payload):
    """A signal or update of a person, as it came: SQLite's side checks `arguments`."""

    org_id: str
    task_id: str
    verb: CommandVerb
    command_id: str
    """Repeated with the same id a command gets its first answer."""
    arguments: dict[str, Any] = {}


class CommandAnswer(Payload):
    """How the task stands after an accepted command; `token` fences the attempt that a claim began."""

    status: TaskStatus
    token: str | None = None


class Shown(Payload):
    """The last details of a heartbeat of `execute`: the handler's progress."""

    progress: float
    message: str | None = None
