"""Examples: what the OpenAPI document shows of requests and answers.

They must not be needed to serve anything.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic_core import to_jsonable_python

from durable_tasks.diagnosis import OrgDiagnosis, TemporalSide, Workers
from durable_tasks.models import (
    Attempt,
    AttemptState,
    Changed,
    Engine,
    Event,
    Mode,
    Node,
    Placement,
    Priority,
    RetryPolicy,
    Task,
    TaskCounts,
    TaskState,
    Workflow,
    WorkflowState,
)
from durable_tasks.operations import answers
from durable_tasks.ports import DeadLetter, OutboxKind, Queue
from durable_tasks.standing import Activity, Explanation, Latency, Minute, QueueDepth, Queues
from durable_tasks.store.health import Outbox, WaitingTask

_ID = "019ab3c4-5d6e-7f80-9a1b-2c3d4e5f6071"
_GROUP = "019ab3c4-5d6e-7f80-9a1b-2c3d4e5f6070"
_CURSOR = "WzIsICIwMTlhYjNjNC01ZDZlLTdmODAtOWExYi0yYzNkNGU1ZjYwNzEiXQ"
_TOKEN = "5f0c1d9e7a3b2c4d6e8f0a1b"
_AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)

_PENDING = Task(
    id=_ID, org_id="acme", space_id="legal", title="Read the contract", name="read", description="",
    capability=None, mode=Mode.MANUAL, placement=Placement.MANUAL, engine=Engine.LOCAL, generation=1,
    state=TaskState.PENDING, priority=Priority.HIGH, queue=None, assigned_to=None, created_by="ann", workflow_id=None,
    parent_task_id=None, correlation_id=None, depends_on=(), on_dependency_failure="cancel", labels=("contract",),
    metadata={}, input={"document": "C-17"}, output=None, error=None, reason=None, progress=0.0,
    progress_message=None, max_retries=1, retry_count=0, lost_count=0, retry=RetryPolicy(), timeout=None,
    not_before=None, deadline_at=None, lease_expires_at=None, attempt=0, version=1, idempotency_key=None,
    created_at=_AT, updated_at=_AT, started_at=None, completed_at=None, archived_at=None,
)  # fmt: skip
_CLAIMED = _PENDING.model_copy(
    update={
        "state": TaskState.CLAIMED, "assigned_to": "bob", "attempt": 1, "version": 2,
        "lease_expires_at": _AT + timedelta(minutes=1),
    }
)  # fmt: skip
_DONE = _CLAIMED.model_copy(
    update={
        "state": TaskState.COMPLETED, "output": {"risks": 2}, "progress": 100.0, "version": 4,
        "lease_expires_at": None, "completed_at": _AT + timedelta(minutes=1),
    }
)  # fmt: skip
_ATTEMPT = Attempt(
    task_id=_ID, number=1, generation=1, state=AttemptState.COMPLETED, agent_id="bob", claimed_at=_AT,
    started_at=_AT, ended_at=_AT + timedelta(minutes=1), lease_expires_at=None, error=None,
)  # fmt: skip
_EVENT = Event(
    org_id="acme", seq=1, kind="task.created", at=_AT, task_id=_ID, workflow_id=None,
    data={"state": "pending", "attempt": 0}, hash="0" * 64,
)  # fmt: skip
_WORKFLOW = Workflow(
    id=_GROUP, org_id="acme", space_id="legal", kind="pipeline", name="review", description="",
    state=WorkflowState.PENDING, metadata={}, created_by="ann", join=2, max_parallel=None, failure_policy="fail_fast",
    generation=1, version=1, total=2, counts={TaskState.PENDING: 1, TaskState.BLOCKED: 1}, error=None,
    idempotency_key=None, created_at=_AT, updated_at=_AT, started_at=None, completed_at=None,
)  # fmt: skip
_NODE = Node(id=_ID, name="read", title="Read the contract", state=TaskState.PENDING, depends_on=())
_CLAIM = answers.Claimed(task=_CLAIMED, token=_TOKEN, lease_expires_at=_CLAIMED.lease_expires_at)
_LETTER = DeadLetter(
    id=f"{_ID}:1:start", org_id="acme", subject_id=_ID, generation=1, kind=OutboxKind.START,
    error="Blob data size exceeds limit.", dead_at=_AT,
)  # fmt: skip
_WAITING = WaitingTask(
    org_id="acme", task_id=_GROUP, title="Sign it", state=TaskState.PENDING, since=_AT, why="a claim", error=None,
    placement=Placement.MANUAL, queue=None,
)  # fmt: skip
_DIAGNOSIS = OrgDiagnosis(
    org_id="acme", healthy=False, engine=Engine.TEMPORAL, sqlite="3.53.0", warnings=(), displaced=False,
    workers=Workers(processes=2, capabilities=("render",), without_capability=False, led=True),
    tasks={TaskState.PENDING: 1},
    waiting=(_WAITING,), more_waiting=False, outbox=Outbox("acme", 0, None, 1, None), dead_letters=(_LETTER,),
    temporal=TemporalSide(
        namespace="acme", server_version="1.31.0", capabilities=("eager_workflow_start",), up=True,
        queues=(Queue("acme", "gpu", 2),), drift=(), compared=1,
    ),
)  # fmt: skip
_SAID: Mapping[str, Any] = {
    "create_task": _PENDING,
    "create_tasks": answers.Tasks(items=(_PENDING,)),
    "list_tasks": answers.Listed[Task](items=(_PENDING,), next_cursor=_CURSOR),
    "count_tasks": TaskCounts(counts={TaskState.PENDING: 12, TaskState.RUNNING: 1}, complete=True),
    "cancel_tasks": Changed(dry_run=True, matched=12, changed=0, more=False),
    "retry_tasks": Changed(dry_run=False, matched=1000, changed=998, more=True, next_cursor=_CURSOR),
    "next_task": _CLAIM,
    "get_task": _PENDING,
    "update_task": _PENDING.model_copy(update={"version": 2}),
    "claim_task": _CLAIM,
    "start_task": _CLAIMED.model_copy(update={"state": TaskState.RUNNING, "version": 3, "started_at": _AT}),
    "heartbeat_task": answers.Beat(lease_expires_at=_AT + timedelta(minutes=2), cancel_requested=False),
    "progress_task": _CLAIMED.model_copy(update={"progress": 50.0, "progress_message": "page 4 of 8"}),
    "complete_task": _DONE,
    "fail_task": _PENDING.model_copy(update={"state": TaskState.RETRYING, "retry_count": 1, "version": 4}),
    "release_task": _PENDING.model_copy(update={"attempt": 1, "version": 3}),
    "cancel_task": _PENDING.model_copy(update={"state": TaskState.CANCELLED, "reason": "not needed", "version": 2}),
    "retry_task": _PENDING.model_copy(update={"version": 3}),
    "comment_task": _EVENT.model_copy(
        update={"kind": "task.commented", "data": {**_EVENT.data, "text": "Page 5 is missing.", "by": "ann"}}
    ),
    "wait_task": answers.Waited(ended=True, task=_DONE),
    "list_attempts": answers.Attempts(items=(_ATTEMPT,)),
    "list_events": answers.Events(items=(_EVENT,)),
    "create_workflow": _WORKFLOW,
    "list_workflows": answers.Listed[Workflow](items=(_WORKFLOW,)),
    "list_workflow_attempts": answers.Listed[Attempt](items=(_ATTEMPT,), next_cursor=_CURSOR),
    "get_workflow": answers.WorkflowWithTasks(workflow=_WORKFLOW, tasks=(_PENDING,)),
    "graph_workflow": answers.Graph(workflow_id=_GROUP, nodes=(_NODE,)),
    "add_tasks": answers.Tasks(items=(_PENDING,)),
    "cancel_workflow": _WORKFLOW.model_copy(update={"state": WorkflowState.CANCELLED, "version": 2}),
    "retry_workflow": _WORKFLOW.model_copy(update={"version": 3}),
    "wait_workflow": answers.WaitedWorkflow(ended=False, workflow=_WORKFLOW),
    "get_me": answers.Me(
        org="acme", subject="ann", roles=("agent",), groups=("legal",), engine=Engine.TEMPORAL,
        temporal_ui="http://127.0.0.1:8233", namespace="acme", version="0.1.0",
    ),
    "list_orgs": answers.Orgs(items=("acme",)),
    "explain_task": Explanation(
        task_id=_ID, state=TaskState.PENDING, waits_for="a claim", since=_AT, error=None
    ),
    "list_queues": Queues(
        items=(
            QueueDepth(
                mode=Mode.AUTO, placement=Placement.EXTERNAL, queue="gpu", capability="render", ready=12, running=2,
                oldest_ready_at=_AT,
            ),
        ),
        complete=True,
    ),
    "measure_org": Activity(
        minutes=(Minute(at=_AT, created=3, completed=2, failed=0, cancelled=1),),
        wait=Latency(p50=0.4, p95=31.0, count=2), run=Latency(p50=2.5, p95=4.0, count=2),
    ),
    "diagnose_org": _DIAGNOSIS,
    "redrive_dead_letter": _LETTER,
}  # fmt: skip

ANSWERS: Mapping[str, Any] = {name: to_jsonable_python(answer) for name, answer in _SAID.items()}
"""By operation."""

_TWO_STEPS = [{"name": "read", "title": "Read the contract"}, {"name": "sign", "title": "Sign it"}]

BODIES: Mapping[str, Any] = {
    "cancel_tasks": {"state": ["pending"], "labels": ["contract"], "dry_run": True},
    "retry_tasks": {"state": ["failed"], "capability": "scan"},
    "create_task": {"title": "Read the contract", "priority": "high", "input": {"document": "C-17"}, "max_retries": 1},
    "create_tasks": {"tasks": [{"name": "read"}, {"name": "sign", "depends_on": ["read"]}]},
    "next_task": {"space_id": "legal", "lease": 60},
    "update_task": {"priority": "urgent", "labels": ["contract"]},
    "claim_task": {"lease": 300},
    "start_task": {"token": _TOKEN},
    "heartbeat_task": {"token": _TOKEN},
    "progress_task": {"token": _TOKEN, "percent": 50, "message": "page 4 of 8"},
    "complete_task": {"token": _TOKEN, "output": {"risks": 2}},
    "fail_task": {"token": _TOKEN, "error": "page 5 is missing", "retryable": True},
    "release_task": {"token": _TOKEN},
    "cancel_task": {"reason": "not needed"},
    "comment_task": {"text": "Page 5 is missing."},
    "create_workflow": {"kind": "pipeline", "name": "review", "tasks": _TWO_STEPS},
    "add_tasks": {"tasks": [{"name": "file", "title": "File it"}]},
    "cancel_workflow": {"reason": "not needed"},
    "signal_task": {"signal": "cancel", "payload": {"reason": "not needed"}},
}
"""By operation."""
