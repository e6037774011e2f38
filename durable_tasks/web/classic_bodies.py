"""Bodies of the classic routes: what clients of the older system send, and what they expect to read.

It must not know routes or what becomes of a request.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr, model_validator

from durable_tasks.durations import parse_duration
from durable_tasks.models import DEFAULT_SPACE, Priority, Several, Task, TaskState, Workflow

S = TaskState

CLASSIC_STATES: Mapping[str, tuple[TaskState, ...]] = {
    "pending": (S.BLOCKED, S.SCHEDULED, S.PENDING, S.RETRYING),
    "claimed": (S.CLAIMED,),
    "running": (S.RUNNING, S.WAITING, S.PAUSED),
    "completed": (S.COMPLETED,),
    "failed": (S.FAILED,),
    "cancelled": (S.CANCELLED,),
    "retrying": (),
}
"""The states that old clients know, and ours behind each. No task was ever `retrying`, though they may ask for it."""

_CLASSIC = {state: name for name, states in CLASSIC_STATES.items() for state in states}
_NANOSECONDS = 1_000_000_000


def classic_state(state: TaskState | str) -> str:
    return _CLASSIC[TaskState(state)]


# ----- what they send


class Body(BaseModel):
    """Unknown fields are ignored, and null is the same as nothing: so the older system read its requests."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, values: Any) -> Any:
        return {k: v for k, v in values.items() if v is not None} if isinstance(values, dict) else values


class Spaced(Body):
    """`queue` is another name for `space_id`."""

    space_id: StrictStr = ""
    queue: StrictStr = ""

    @property
    def space(self) -> str:
        return self.space_id or self.queue or DEFAULT_SPACE


class Holder(Body):
    """Who acts. Old clients say nothing; with the token of the claim, or the agent's name, nobody else's attempt
    can be meant."""

    agent_id: StrictStr = ""
    token: StrictStr = ""


class Retry(Body):
    """`max_attempts` counts retries, as it always did here: the first attempt comes on top."""

    max_attempts: StrictInt = 0
    initial_interval: StrictStr = ""
    max_interval: StrictStr = ""
    backoff_coefficient: StrictInt | StrictFloat = 0

    @property
    def policy(self) -> dict[str, Any]:
        """Without intervals a failed task is pending again at once."""
        given = {
            "initial": self.initial_interval or "0s",
            "maximum": self.max_interval or None,
            "coefficient": self.backoff_coefficient or None,
        }
        return {name: value for name, value in given.items() if value is not None}


class NewClassicTask(Spaced):
    """A task to be; as a step of a workflow its space is the workflow's."""

    title: StrictStr = ""
    name: StrictStr = ""
    description: StrictStr = ""
    priority: StrictInt = Priority.LOW.value
    assigned_to: StrictStr = ""
    workflow_id: StrictStr = ""
    parent_task_id: StrictStr = ""
    depends_on: Several[StrictStr] = ()
    labels: Several[StrictStr] = ()
    input: dict[str, Any] | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    max_retries: StrictInt = 0
    retry: Retry = Retry()
    timeout_secs: StrictInt = 0
    timeout: StrictStr = ""

    @property
    def heading(self) -> str:
        return self.title or self.name

    def new(self, created_by: str, **more: Any) -> dict[str, Any]:
        """The fields of a NewTask. Raises InvalidInput for a wrong duration."""
        fields = {
            "title": self.heading,
            "description": self.description,
            "priority": self.priority,
            "space_id": self.space,
            "assigned_to": self.assigned_to or None,
            "created_by": created_by,
            "parent_task_id": self.parent_task_id or None,
            "depends_on": self.depends_on,
            "labels": self.labels,
            "input": self.input,
            "metadata": self.metadata,
            "max_retries": self.max_retries or max(self.retry.max_attempts, 0),
            "retry": self.retry.policy,
            "timeout": self._seconds or None,
        }
        return fields | more

    @property
    def _seconds(self) -> float:
        return float(self.timeout_secs) if self.timeout_secs > 0 else parse_duration(self.timeout or 0)


class NewClassicWorkflow(Spaced):
    """`steps` is another name for `tasks`. One after the other, unless `parallel` or `depends_on` say otherwise."""

    name: StrictStr = ""
    description: StrictStr = ""
    tasks: Several[NewClassicTask] = ()
    steps: Several[NewClassicTask] = ()
    parallel: StrictBool = False
    metadata: dict[str, Any] = Field(default_factory=dict)

    @property
    def members(self) -> tuple[NewClassicTask, ...]:
        return self.tasks or self.steps

    @property
    def kind(self) -> str:
        if any(member.depends_on for member in self.members):
            return "dag"
        return "fan_out" if self.parallel else "pipeline"

    def new(self, created_by: str) -> dict[str, Any]:
        """The fields of a CreateWorkflow. Raises InvalidInput for a wrong duration."""
        return {
            "kind": self.kind,
            "name": self.name,
            "description": self.description,
            "space_id": self.space,
            "metadata": self.metadata,
            "failure_policy": "fail_fast",
            "tasks": [self._step(number, created_by) for number in range(1, len(self.members) + 1)],
        }

    def _step(self, number: int, created_by: str) -> dict[str, Any]:
        member = self.members[number - 1]
        more: dict[str, Any] = {"name": f"step-{number}", "space_id": self.space}
        chained = self.kind == "dag" and not self.parallel and number > 1 and not member.depends_on
        if chained:
            more["depends_on"] = (f"step-{number - 1}",)
        return member.new(created_by, **more)


class Edit(Body):
    title: StrictStr | None = None
    description: StrictStr | None = None
    priority: StrictInt | None = None
    labels: Several[StrictStr] | None = None
    metadata: dict[str, Any] | None = None


class NextWanted(Spaced):
    agent_id: StrictStr = ""


class Completion(Holder):
    output: Any = None


class Failure(Holder):
    error: StrictStr = ""


class Progress(Holder):
    progress: StrictInt = 0

    @property
    def percent(self) -> int:
        return min(max(self.progress, 0), 100)


class Signal(Body):
    name: StrictStr = ""
    data: Any = None


# ----- what they read


def _filled(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is empty: so the older system wrote its answers."""
    return {name: value for name, value in values.items() if value not in (None, "", [], {})}


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


def task_body(task: Task, **more: Any) -> dict[str, Any]:
    return _filled(
        {
            "id": task.id,
            "org_id": task.org_id,
            "space_id": task.space_id,
            "title": task.title,
            "description": task.description,
            "state": classic_state(task.state),
            "priority": task.priority.value,
            "assigned_to": task.assigned_to,
            "created_by": task.created_by,
            "workflow_id": task.workflow_id,
            "parent_task_id": task.parent_task_id,
            "depends_on": list(task.depends_on),
            "labels": list(task.labels),
            "input": task.input,
            "output": task.output,
            "error": None if task.error is None else task.error.message,
            "progress": int(task.progress),
            "max_retries": task.max_retries,
            "retry_count": task.retry_count,
            "timeout": None if task.timeout is None else round(task.timeout * _NANOSECONDS),
            "created_at": _time(task.created_at),
            "updated_at": _time(task.updated_at),
            "started_at": _time(task.started_at),
            "completed_at": _time(task.completed_at),
            "metadata": task.metadata,
        }
    ) | _filled(more)


def workflow_body(workflow: Workflow, task_ids: Sequence[str]) -> dict[str, Any]:
    return _filled(
        {
            "id": workflow.id,
            "org_id": workflow.org_id,
            "space_id": workflow.space_id,
            "name": workflow.name,
            "description": workflow.description,
            "state": workflow.state.value,
            "tasks": list(task_ids),
            "created_by": workflow.created_by,
            "created_at": _time(workflow.created_at),
            "updated_at": _time(workflow.updated_at),
            "completed_at": _time(workflow.completed_at),
            "metadata": workflow.metadata,
        }
    )
