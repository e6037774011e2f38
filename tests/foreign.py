"""What belongs to another organisation, and every way to ask for it: for each operation, arguments that name it.

It must not know surfaces: each turns the arguments into calls of its own, and compares what is said about what another
organisation has with what is said about what nobody has.
"""

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from durable_tasks import DurableTasks, NewTask, Org

SECRET = "secret"
"""In everything that foreigners write: where another organisation reads it, it has read too much."""
_ID = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NO_EVENT = 1_000_000


class Foreign(NamedTuple):
    """What somebody may have seen of an organisation, and tries in another."""

    task: str
    """Claimed by `agent` with `token`, under the command id `command`."""
    done: str
    workflow: str
    """Its last member was added under `command`; it was cancelled, and retried, under those made of it."""
    token: str
    cursor: str
    """Of its list of tasks."""
    workflows_cursor: str
    event: int
    """The number of one of its last events."""
    key: str = "rivals-key"
    command: str = "rivals-command"
    """One took the next task with it too."""
    agent: str = "rivals-agent"
    label: str = "rivals-label"
    capability: str = "rivals-capability"
    space: str = "rivals-space"
    execution: str = "rivals-execution"
    """Temporal's id of a Temporal workflow in its namespace, where a test starts one."""

    @property
    def cancelling(self) -> str:
        return f"{self.command}-cancels"

    @property
    def retrying(self) -> str:
        return f"{self.command}-retries"

    def left_out_of(self, text: str) -> str:
        """What is said, without what it may repeat because it was asked for it."""
        for name, value in self._asdict().items():
            if isinstance(value, str):
                text = text.replace(value, f"<{name}>")
        return text


async def foreign(tasks: DurableTasks, org_id: str = "rival") -> Foreign:
    """An organisation in which a good deal happened: open and ended tasks, claims, keys, workflows."""
    org = tasks.org(org_id)
    words = Foreign("", "", "", "", "", "", 0)
    described: dict[str, Any] = {
        "mode": "manual", "labels": [words.label], "capability": words.capability, "space_id": words.space,
        "input": SECRET, "created_by": SECRET,
    }  # fmt: skip
    task = await org.create(SECRET, idempotency_key=words.key, **described)
    claim = await org.claim(task.id, agent_id=words.agent, lease=None, command_id=words.command)
    done = await _done(org)
    for _ in range(2):  # one is taken, one remains
        await org.create(SECRET, **described)
    await org.next(agent_id=words.agent, space_id=words.space, lease=None, command_id=words.command)
    options = {"space_id": words.space, "description": SECRET}
    workflow = await org.dag(SECRET, [NewTask(name=SECRET)], idempotency_key=words.key, **options)
    await org.add_tasks(workflow.id, [NewTask(name=f"{SECRET} too")], command_id=words.command)
    await org.cancel_workflow(workflow.id, command_id=words.cancelling)
    await org.retry_workflow(workflow.id, command_id=words.retrying)
    await org.pipeline(SECRET, [NewTask(name=SECRET)], **options)
    await org.create(SECRET, mode="manual", assigned_to=SECRET, parent_task_id=task.id)
    cancelled = await org.create(SECRET, assigned_to=words.agent, parent_task_id=task.id, **described)
    await org.cancel(cancelled.id)
    cursor = (await org.list(limit=1)).next_cursor
    workflows_cursor = (await org.list_workflows(limit=1)).next_cursor
    assert cursor is not None
    assert workflows_cursor is not None
    event = (await org.events(limit=1000))[-2].seq
    return Foreign(claim.task.id, done, workflow.id, claim.token, cursor, workflows_cursor, event)


async def _done(org: Org) -> str:
    task = await org.create(SECRET, mode="manual", assigned_to=SECRET)
    claim = await org.claim(task.id, agent_id=SECRET)
    await org.complete(task.id, SECRET, token=claim.token)
    return task.id


def unknown(known: Foreign) -> Foreign:
    """The same in form and length, and nobody has it."""
    words = {name: text.replace("rivals", "nobody") for name, text in known._asdict().items() if name in _WORDS}
    return Foreign(
        task=nobodys(known.task, 1),
        done=nobodys(known.done, 2),
        workflow=nobodys(known.workflow, 3),
        token=known.token[::-1],
        cursor=_elsewhere(known.cursor),
        workflows_cursor=_elsewhere(known.workflows_cursor),
        event=_NO_EVENT,
        **words,
    )


_WORDS = tuple(Foreign._field_defaults)


def nobodys(known_id: str, number: int) -> str:
    """An id like that one."""
    return f"{known_id[:-12]}{number:012}"


def _elsewhere(cursor: str) -> str:
    """A cursor of the same form, after a row that is not there."""
    text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    text = _ID.sub(lambda found: nobodys(found[0].decode(), 4).encode(), text)
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


Arguments = Callable[[Foreign], dict[str, Any]]

_TASK: Mapping[str, Sequence[Arguments]] = {
    name: [lambda its: {"task_id": its.task}]
    for name in ("get_task", "cancel_task", "retry_task", "list_attempts", "describe_task", "explain_task")
}
_HELD: Mapping[str, Sequence[Arguments]] = {
    name: [
        lambda its: {"task_id": its.task, "token": its.token},
        lambda its: {"task_id": its.done, "token": its.token},
    ]
    for name in ("start_task", "heartbeat_task", "complete_task", "release_task")
}
_WORKFLOW: Mapping[str, Sequence[Arguments]] = {
    name: [lambda its: {"workflow_id": its.workflow}]
    for name in ("get_workflow", "graph_workflow", "list_workflow_attempts")
}
_NAMES: Sequence[Arguments] = [
    lambda its: {"labels": [its.label]},
    lambda its: {"capability": its.capability},
    lambda its: {"space_id": its.space},
    lambda its: {"assigned_to": its.agent},
    lambda its: {"parent_task_id": its.task},
]
_IDS: Sequence[Arguments] = [lambda its: {"workflow_id": its.workflow}, lambda its: {"ids": [its.task, its.done]}]
_FILTERS: Sequence[Arguments] = [*_NAMES, *_IDS, lambda its: {"waiting_for": [its.agent]}]
_ONE_STEP = {"kind": "dag", "name": "x"}

CALLS: Mapping[str, Sequence[Arguments]] = {
    **_TASK,
    **_HELD,
    **_WORKFLOW,
    "create_task": [
        lambda its: {"title": "x", "mode": "manual", "depends_on": [its.task]},
        lambda its: {"title": "x", "mode": "manual", "parent_task_id": its.done},
    ],
    "create_tasks": [
        lambda its: {"tasks": [{"title": "x", "mode": "manual", "depends_on": [its.done]}]},
        lambda its: {"tasks": [{"title": "x", "mode": "manual", "parent_task_id": its.task}]},
    ],
    "list_tasks": [*_FILTERS, lambda its: {"cursor": its.cursor}],
    "count_tasks": _FILTERS,
    "cancel_tasks": [*_NAMES, *_IDS, lambda its: {"labels": [its.label], "cursor": its.cursor}],
    "retry_tasks": _NAMES,
    "next_task": [
        lambda its: {"space_id": its.space, "lease": None},
        lambda its: {"space_id": its.space, "capabilities": [its.capability], "agent_id": its.agent, "lease": None},
        lambda its: {"space_id": its.space, "agent_id": its.agent, "lease": None, "command_id": its.command},
    ],
    "update_task": [
        lambda its: {"task_id": its.task, "title": "x"},
        lambda its: {"task_id": its.task, "title": "x", "version": 2},
    ],
    "claim_task": [
        lambda its: {"task_id": its.task},
        lambda its: {"task_id": its.task, "agent_id": its.agent, "command_id": its.command},
    ],
    "comment_task": [
        lambda its: {"task_id": its.task, "text": "x"},
        lambda its: {"task_id": its.done, "text": "x", "command_id": its.command},
    ],
    "progress_task": [lambda its: {"task_id": its.task, "token": its.token, "percent": 1}],
    "fail_task": [lambda its: {"task_id": its.task, "token": its.token, "error": "x"}],
    "wait_task": [lambda its: {"task_id": its.task, "timeout": 0}, lambda its: {"task_id": its.done, "timeout": 0}],
    "list_events": [
        lambda its: {"task_id": its.task},
        lambda its: {"workflow_id": its.workflow},
        lambda its: {"after": its.event},
    ],
    "create_workflow": [
        lambda its: {**_ONE_STEP, "tasks": [{"name": "x", "depends_on": [its.task]}]},
        lambda its: {**_ONE_STEP, "tasks": [{"name": "x", "parent_task_id": its.done}]},
    ],
    "list_workflows": [lambda its: {"cursor": its.workflows_cursor}, lambda its: {"space_id": its.space}],
    "add_tasks": [
        lambda its: {"workflow_id": its.workflow, "tasks": [{"name": "x"}]},
        lambda its: {"workflow_id": its.workflow, "tasks": [{"name": "x"}], "command_id": its.command},
    ],
    "cancel_workflow": [
        lambda its: {"workflow_id": its.workflow},
        lambda its: {"workflow_id": its.workflow, "command_id": its.cancelling},
    ],
    "retry_workflow": [
        lambda its: {"workflow_id": its.workflow},
        lambda its: {"workflow_id": its.workflow, "command_id": its.retrying},
    ],
    "wait_workflow": [lambda its: {"workflow_id": its.workflow, "timeout": 0}],
    "get_me": [lambda its: {}],
    "list_queues": [lambda its: {}],
    "measure_org": [lambda its: {}],
    "list_orgs": [lambda its: {}],
    "diagnose_org": [lambda its: {}],
    "redrive_dead_letter": [lambda its: {"letter_id": f"{its.task}:1:start"}],
    "signal_task": [
        lambda its: {"task_id": its.task, "signal": "progress", "payload": {"token": its.token, "percent": 50}}
    ],
    "query_task": [lambda its: {"task_id": its.task, "query": "status"}],
    "start_temporal_workflow": [
        lambda its: {"workflow_id": its.execution, "workflow_type": "Report", "queue": "reports"}
    ],
    "describe_temporal_workflow": [
        lambda its: {"workflow_id": its.execution},
        lambda its: {"workflow_id": f"task/{its.task}/1"},
    ],
    "signal_temporal_workflow": [lambda its: {"workflow_id": its.execution, "signal": "hurry"}],
    "cancel_temporal_workflow": [lambda its: {"workflow_id": its.execution}],
    "terminate_temporal_workflow": [lambda its: {"workflow_id": its.execution}],
}
"""By operation, each way to name what is another's. A test of each surface knows whether an operation is missing."""
