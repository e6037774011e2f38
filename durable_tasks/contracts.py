"""What crosses into Temporal: names of workflows, activities, signals and queues, and their payloads.

It must not know SQL or clients. Append-only: fields and names are added, never renamed or removed.
"""

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from durable_tasks.models import Placement, TaskError, TaskState

TASK_WORKFLOW = "AgentTaskWorkflow"
SYNC_SIGNAL = "sync"
STATUS_QUERY = "status"

RUN_TASK = "run_task"
JOIN_TASK = "join_task"
READ_TASK = "read_task"
CANCEL_TASK = "cancel_task"

MEMO_FILE = "durable_tasks_file"
MEMO_ID = "durable_tasks_id"
MEMO_GENERATION = "durable_tasks_generation"

INLINE_LIMIT = 256 * 1024
"""Bytes of JSON above which an outcome stays in SQLite and is referenced from histories."""


def store_queue(file_uuid: str) -> str:
    """The Temporal task queue of the processes that own the SQLite file."""
    return f"dt-store-{file_uuid}"


def task_workflow_id(task_id: str, generation: int) -> str:
    return f"task/{task_id}/{generation}"


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


class Verdict(StrEnum):
    """What SQLite answers to a workflow that asks to run a task."""

    ENDED = "ended"
    """The task is terminal; the outcome is in the status."""
    LIVE = "live"
    """An attempt is queued or under way here or elsewhere; join it."""
    WAIT = "wait"
    """Not ready; ask again at `wait_until`, or after a sync when that is None."""
    NOT_HERE = "not_here"
    """This process has no handler for it; ask again later."""
    SUPERSEDED = "superseded"
    """A newer generation drives the task; this workflow has nothing left to do."""


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


class RunRequest(Payload):
    """One ask of a workflow to run its task. `request` is `<run id>/<n>`: asking twice starts one attempt."""

    ref: TaskRef
    request: str
