"""`workflow …`: creating groups of tasks, following them, and calling them off or running them again.

It must not know where the tasks are, nor how they run.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any

import typer

from durable_tasks.cli.asking import Tasks, asking
from durable_tasks.cli.talk import FAILED
from durable_tasks.cli.talk import progress as progress_bar
from durable_tasks.cli.task import Id, Timeout, parsed
from durable_tasks.errors import InvalidInput
from durable_tasks.lifecycle import is_terminal
from durable_tasks.models import Attempt, Event, NewTask, Page, Workflow, WorkflowState
from durable_tasks.operations.answers import Graph

app = typer.Typer(no_args_is_help=True, help="Create workflows, follow them, call them off, run them again.")

_KINDS = ("pipeline", "fan_out", "dag")


@asking(app)
async def create(
    tasks: Tasks,
    kind: Annotated[str, typer.Argument(metavar="|".join(_KINDS))],
    name: Annotated[str, typer.Argument()],
    members: Annotated[
        typer.FileText,
        typer.Option("--tasks", metavar="FILE", help="A JSON list of tasks, as the API takes them; -: stdin."),
    ],
    join: Annotated[str, typer.Option(help="Of a fan_out: all, any, or how many must complete.")] = "all",
    max_parallel: Annotated[int | None, typer.Option(min=1, help="Of a fan_out: at most so many at once.")] = None,
    failure_policy: Annotated[str | None, typer.Option(metavar="fail_fast|continue")] = None,
    description: Annotated[str, typer.Option()] = "",
    space: Annotated[str, typer.Option()] = "default",
    key: Annotated[str | None, typer.Option(help="Used before, it gives the workflow it made.")] = None,
) -> Workflow:
    """Create a workflow from a file of tasks."""
    options = {
        "description": description,
        "space_id": space,
        "failure_policy": failure_policy,
        "idempotency_key": key,
    }
    made = _members(members)
    if kind == "pipeline":
        return await tasks.pipeline(name, made, **options)
    if kind == "dag":
        return await tasks.dag(name, made, **options)
    if kind != "fan_out":
        raise InvalidInput(f"a workflow is one of {', '.join(_KINDS)}, not {kind!r}", kind=kind)
    wanted: Any = int(join) if join.isdecimal() else join
    return await tasks.fan_out(name, made, join=wanted, max_parallel=max_parallel, **options)


def _members(file: typer.FileText) -> list[NewTask]:
    # Loaded only here: the store's checks are not needed for `--help`.
    from durable_tasks.checks import validated

    try:
        text = file.read()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"--tasks is not text in {error.encoding}: {error.reason} at byte {error.start}") from error
    said = parsed(text, "--tasks")
    if not isinstance(said, list):
        raise InvalidInput("--tasks is a JSON list of tasks")
    return [validated(NewTask, one) for one in said]


@asking(app, "list")
async def list_workflows(
    tasks: Tasks,
    state: Annotated[list[str] | None, typer.Option(help="May be repeated.")] = None,
    space: Annotated[str | None, typer.Option()] = None,
    text: Annotated[str | None, typer.Option(help="In the name or the description.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    cursor: Annotated[str | None, typer.Option(help="Where the last page ended.")] = None,
) -> Page[Workflow]:
    """A page of workflows, newest first."""
    return await tasks.list_workflows(state=state, space_id=space, text=text, limit=limit, cursor=cursor)


@asking(app)
async def get(tasks: Tasks, workflow_id: Id) -> Workflow:
    """One workflow; `task list --workflow ID` lists its tasks."""
    return await tasks.get_workflow(workflow_id)


@asking(app)
async def graph(tasks: Tasks, workflow_id: Id) -> Graph:
    """The graph of a workflow, as Mermaid text, or as JSON with --json."""
    page = await tasks.workflow_nodes(workflow_id)
    nodes = page.items
    while page.next_cursor is not None:
        page = await tasks.workflow_nodes(workflow_id, cursor=page.next_cursor)
        nodes += page.items
    return Graph(workflow_id=workflow_id, nodes=tuple(nodes))


@asking(app)
async def attempts(
    tasks: Tasks,
    workflow_id: Id,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    cursor: Annotated[str | None, typer.Option(help="Where the last page ended.")] = None,
) -> Page[Attempt]:
    """Every execution of a workflow's tasks, oldest first."""
    return await tasks.workflow_attempts(workflow_id, limit=limit, cursor=cursor)


@asking(app)
async def cancel(tasks: Tasks, workflow_id: Id, reason: Annotated[str | None, typer.Option()] = None) -> Workflow:
    """Cancel a workflow and its open tasks."""
    return await tasks.cancel_workflow(workflow_id, reason=reason)


@asking(app)
async def retry(tasks: Tasks, workflow_id: Id) -> Workflow:
    """Run what failed or was cancelled again."""
    return await tasks.retry_workflow(workflow_id)


@asking(app)
async def wait(tasks: Tasks, workflow_id: Id, timeout: Timeout = None) -> Workflow:
    """Wait for the end of a workflow, with a bar that shows how far its tasks are."""
    with progress_bar("tasks") as bar:
        following = asyncio.create_task(_follow(tasks, workflow_id, bar))
        try:
            return await tasks.wait_workflow(workflow_id, timeout=timeout)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


async def _follow(tasks: Tasks, workflow_id: str, bar: Any) -> None:
    bar(*_ended_of(await tasks.get_workflow(workflow_id)))
    async with aclosing(tasks.watch(workflow_id=workflow_id)) as events:
        async for event in events:
            if event.kind in _MEMBER_ENDS:
                bar(*_ended_of(await tasks.get_workflow(workflow_id)))


def _ended_of(workflow: Workflow) -> tuple[int, int]:
    return sum(count for state, count in workflow.counts.items() if is_terminal(state)), workflow.total


@asking(app)
async def watch(tasks: Tasks, workflow_id: Id) -> AsyncIterator[Event]:
    """Everything that has happened to a workflow and its tasks and happens, until it ends. Exit code 1: it did not
    end well."""
    async with aclosing(tasks.watch(workflow_id=workflow_id, after=0)) as events:
        async for event in events:
            yield event
            if event.kind in _ENDS:
                workflow = await tasks.get_workflow(workflow_id)
                # It may have been retried since: the events up to now are still coming.
                if workflow.completed_at is not None and event.at >= workflow.completed_at:
                    break
    if workflow.state is not WorkflowState.COMPLETED:
        raise typer.Exit(FAILED)


_MEMBER_ENDS = frozenset({"task.completed", "task.failed", "task.cancelled"})
_ENDS = frozenset({"workflow.completed", "workflow.failed", "workflow.cancelled"})
