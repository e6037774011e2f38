"""Show: how the command line shows what it was answered, as columns for people and as JSON for programs.

It must not know which command was answered.
"""

from collections.abc import Sequence
from functools import singledispatch
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from durable_tasks.cli.talk import json_text, put, put_columns, put_json, say
from durable_tasks.models import (
    Actor,
    Attempt,
    Changed,
    Claim,
    Event,
    Heartbeat,
    Page,
    Task,
    TaskCounts,
    TaskState,
    Workflow,
)
from durable_tasks.operations import mermaid
from durable_tasks.operations.answers import Graph
from durable_tasks.standing import Explanation


def show(answer: Any, as_json: bool) -> None:
    """Nothing for None: a command whose answer may be nothing says so itself."""
    if as_json:
        put_json(_plain(answer))
    elif answer is not None:
        _show(answer)


def _plain(answer: Any) -> Any:
    if isinstance(answer, Claim | Heartbeat | Page):
        return {name: _plain(value) for name, value in answer._asdict().items()}
    if isinstance(answer, list | tuple):
        return [_plain(one) for one in answer]
    return answer.model_dump(mode="json") if isinstance(answer, BaseModel) else to_jsonable_python(answer)


@singledispatch
def _show(answer: Any) -> None:
    put(str(answer))


@_show.register
def _(answer: Task) -> None:
    put_columns([_task_cells(answer)])
    if answer.error is not None:
        put(f"error {answer.error.type}: {answer.error.message}")
    if answer.output is not None:
        put(f"output {json_text(answer.output)}")


@_show.register
def _(answer: TaskCounts) -> None:
    put_columns([state, str(count)] for state, count in answer.counts.items())
    if not answer.complete:
        say("at least; there are too many to count")


@_show.register
def _(answer: Explanation) -> None:
    put(f"{answer.state} since {answer.since:%Y-%m-%dT%H:%M:%SZ}")
    if answer.waits_for is not None:
        put(f"waits for {answer.waits_for}")
    if answer.error is not None:
        put(f"error {answer.error}")


@_show.register
def _(answer: Changed) -> None:
    if answer.dry_run:
        put(f"{answer.matched} tasks{' at least' if answer.more else ''}")
    else:
        put(f"{answer.changed} of {answer.matched} tasks")


@_show.register
def _(answer: Claim) -> None:
    put_columns([_task_cells(answer.task)])
    put(f"token {answer.token}")


@_show.register
def _(answer: Heartbeat) -> None:
    until = "released" if answer.lease_expires_at is None else f"{answer.lease_expires_at:%Y-%m-%dT%H:%M:%SZ}"
    put("cancelled: stop, and release it" if answer.cancel_requested else f"held until {until}")


@_show.register
def _(answer: Workflow) -> None:
    put_columns([_workflow_cells(answer)])
    if answer.error is not None:
        put(f"error {answer.error.type}: {answer.error.message}")


@_show.register
def _(answer: Graph) -> None:
    for line in mermaid.flowchart(answer).rstrip().split("\n"):
        put(line)


@_show.register
def _(answer: Event) -> None:
    put_columns([_event_cells(answer)])


@_show.register(list)
@_show.register(tuple)
def _(answer: Sequence[Any]) -> None:
    put_columns(map(_cells, answer))


def _page(answer: Page[Any]) -> None:
    put_columns(map(_cells, answer.items))
    if answer.next_cursor is not None:
        say(f"more: --cursor {answer.next_cursor}")


_show.register(Page, _page)


@singledispatch
def _cells(one: Any) -> list[str]:
    return [str(one)]


@_cells.register
def _task_cells(task: Task) -> list[str]:
    return [task.id, task.state, task.title + (f" ({task.assigned_to})" if task.assigned_to else "")]


@_cells.register
def _workflow_cells(workflow: Workflow) -> list[str]:
    ended = sum(workflow.counts.get(state, 0) for state in (TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED))
    return [workflow.id, workflow.state, workflow.kind, f"{ended}/{workflow.total}", workflow.name]


@_cells.register
def _event_cells(event: Event) -> list[str]:
    return [
        str(event.seq),
        f"{event.at:%Y-%m-%dT%H:%M:%SZ}",
        event.kind,
        event.task_id or str(event.workflow_id),
        *(_comment(event) or _who(event.actor)),
    ]


def _who(actor: Actor | None) -> list[str]:
    if actor is None:
        return []
    return [f"by {actor.name}" if actor.proved else f"said to be by {actor.name}"]


def _comment(event: Event) -> list[str]:
    """What somebody said; who did, besides, where he spoke for another."""
    if event.kind != "task.commented":
        return []
    by, actor = event.data["by"], event.actor
    beside = [] if actor is None or actor.name == by else _who(actor)
    return [*beside, event.data["text"] if by is None else f"{by}: {event.data['text']}"]


@_cells.register
def _attempt_cells(attempt: Attempt) -> list[str]:
    ended = "" if attempt.ended_at is None else f"{(attempt.ended_at - attempt.claimed_at).total_seconds():.3f} s"
    why = "" if attempt.error is None else f"{attempt.error.type}: {attempt.error.message}"
    return [
        str(attempt.number),
        attempt.state,
        f"{attempt.claimed_at:%Y-%m-%dT%H:%M:%SZ}",
        ended,
        " ".join(filter(None, [attempt.agent_id, *_who(attempt.actor)])),
        why,
    ]
