"""`task …`: creating tasks, looking at them, and doing what a person or a script does with them.

It must not know where the tasks are, nor how they run.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from durable_tasks.cli.asking import Tasks, asking
from durable_tasks.cli.filters import filtering
from durable_tasks.cli.talk import FAILED, say
from durable_tasks.durations import parse_duration
from durable_tasks.errors import Conflict, DurableTasksError, InvalidInput
from durable_tasks.models import (
    DEFAULT_LEASE,
    Attempt,
    Changed,
    Claim,
    Event,
    FilterFields,
    Heartbeat,
    Page,
    Task,
    TaskCounts,
    TaskFields,
    TaskState,
)
from durable_tasks.standing import Explanation

app = typer.Typer(no_args_is_help=True, help="Create tasks, look at them, claim them and work on them.")

Id = Annotated[str, typer.Argument(metavar="ID")]
Agent = Annotated[str, typer.Option(help="Who claims it.")]
Groups = Annotated[
    list[str] | None,
    typer.Option("--group", help="One that the agent belongs to; may be repeated. A server knows those of the token."),
]
Lease = Annotated[str, typer.Option(metavar="DURATION", help="How long it is held without a heartbeat.")]
Token = Annotated[str, typer.Option(help="From `claim` or `next`.")]
EitherToken = Annotated[str | None, typer.Option("--token", help="From `claim` or `next`.")]
EitherAgent = Annotated[str | None, typer.Option("--agent", help="Instead of a token: claim it first, as this agent.")]
Json = Annotated[str | None, typer.Option(metavar="JSON")]
Timeout = Annotated[
    str | None, typer.Option(metavar="DURATION", help="Exit code 124 when it is over first.", show_default="none")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say how many there are.")]
_LEASE = f"{DEFAULT_LEASE / 3600:g}h"


@asking(app)
async def create(
    tasks: Tasks,
    title: Annotated[str, typer.Argument()],
    capability: Annotated[str | None, typer.Option(help="What its executor must be able to do.")] = None,
    mode: Annotated[str | None, typer.Option(help="auto: a handler runs it; manual: somebody claims it.")] = None,
    input: Json = None,
    description: Annotated[str | None, typer.Option()] = None,
    priority: Annotated[str | None, typer.Option(help="low, normal, high or urgent.")] = None,
    space: Annotated[str | None, typer.Option(help="The project within the organisation.")] = None,
    queue: Annotated[str | None, typer.Option(help="Of workers elsewhere.")] = None,
    assigned_to: Annotated[str | None, typer.Option(help="Nobody else may claim it.")] = None,
    depends_on: Annotated[list[str] | None, typer.Option(metavar="ID", help="May be repeated.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="May be repeated.")] = None,
    max_retries: Annotated[int | None, typer.Option(min=0)] = None,
    timeout: Annotated[str | None, typer.Option(metavar="DURATION", help="Of each attempt.")] = None,
    delay: Annotated[str | None, typer.Option(metavar="DURATION", help="It is not ready before.")] = None,
    deadline: Annotated[str | None, typer.Option(metavar="DURATION", help="It fails after.")] = None,
    metadata: Json = None,
    form: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A JSON Schema that the output must fit; of a manual task.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="Used before, it gives the task it made.")] = None,
) -> Task:
    """Create a task."""
    fields = {
        "capability": capability,
        "mode": mode,
        "input": None if input is None else parsed(input, "--input"),
        "description": description,
        "priority": priority,
        "space_id": space,
        "queue": queue,
        "assigned_to": assigned_to,
        "depends_on": depends_on,
        "labels": label,
        "max_retries": max_retries,
        "timeout": timeout,
        "delay": delay,
        "deadline": deadline,
        "metadata": None if metadata is None else parsed(metadata, "--metadata"),
        "form": None if form is None else parsed(_text_of(form), "--form"),
        "idempotency_key": key,
    }
    given: TaskFields = {name: value for name, value in fields.items() if value is not None}  # type: ignore[assignment]
    return await tasks.create(title, **given)


@asking(app, "list")
@filtering
async def list_tasks(
    tasks: Tasks,
    filters: FilterFields,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    cursor: Annotated[str | None, typer.Option(help="Where the last page ended.")] = None,
    full: Annotated[
        bool, typer.Option("--full", help="With --json: inputs, outputs, forms and the details of errors too.")
    ] = False,
) -> Page[Task]:
    """A page of tasks: the most urgent first, then the oldest."""
    return await tasks.list(limit=limit, cursor=cursor, full=full, **filters)


@asking(app)
@filtering
async def count(tasks: Tasks, filters: FilterFields) -> TaskCounts:
    """How many tasks there are, by state."""
    return await tasks.count(**filters)


@asking(app)
async def get(tasks: Tasks, task_id: Id) -> Task:
    """One task."""
    return await tasks.get(task_id)


@asking(app)
async def update(
    tasks: Tasks,
    task_id: Id,
    title: Annotated[str | None, typer.Option()] = None,
    description: Annotated[str | None, typer.Option()] = None,
    priority: Annotated[str | None, typer.Option(help="low, normal, high or urgent.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="May be repeated; these replace the others.")] = None,
    assigned_to: Annotated[str | None, typer.Option(help='"" for nobody.')] = None,
    deadline: Annotated[str | None, typer.Option(metavar="DURATION", help='From now; "" for none.')] = None,
    timeout: Annotated[str | None, typer.Option(metavar="DURATION", help='Of each attempt; "" for none.')] = None,
    max_retries: Annotated[int | None, typer.Option(min=0)] = None,
    version: Annotated[int | None, typer.Option(help="Only if nobody edited it since.")] = None,
) -> Task:
    """Edit an open task."""
    fields: dict[str, Any] = {
        "title": title,
        "description": description,
        "priority": priority,
        "labels": label,
        "assigned_to": assigned_to,
        "deadline": deadline,
        "timeout": timeout,
        "max_retries": max_retries,
    }
    removable = ("assigned_to", "deadline", "timeout")
    given = {
        name: None if value == "" and name in removable else value
        for name, value in fields.items()
        if value is not None
    }
    return await tasks.update(task_id, version=version, **given)


@asking(app)
async def next(
    tasks: Tasks,
    agent: Agent,
    space: Annotated[str, typer.Option()] = "default",
    capability: Annotated[
        list[str] | None, typer.Option(help="Only tasks that name one of these, or none; may be repeated.")
    ] = None,
    group: Groups = None,
    lease: Lease = _LEASE,
) -> Claim | None:
    """Claim the most urgent, then oldest, ready manual task. Nothing is printed when there is none."""
    claim = await tasks.next(agent_id=agent, space_id=space, capabilities=capability, groups=group or (), lease=lease)
    if claim is None:
        say("nothing is ready")
    return claim


@asking(app)
async def claim(tasks: Tasks, task_id: Id, agent: Agent, group: Groups = None, lease: Lease = _LEASE) -> Claim:
    """Claim a manual task. The answer holds the token that the other commands ask for."""
    return await tasks.claim(task_id, agent_id=agent, groups=group or (), lease=lease)


@asking(app)
async def start(tasks: Tasks, task_id: Id, token: Token) -> Task:
    """Say that the work on a claimed task has begun."""
    return await tasks.start(task_id, token=token)


@asking(app)
async def heartbeat(tasks: Tasks, task_id: Id, token: Token) -> Heartbeat:
    """Hold a claimed task for longer; learn whether it was cancelled."""
    return await tasks.heartbeat(task_id, token=token)


@asking(app)
async def progress(
    tasks: Tasks,
    task_id: Id,
    percent: Annotated[float, typer.Argument(min=0, max=100)],
    token: Token,
    message: Annotated[str | None, typer.Option()] = None,
) -> Task:
    """Report progress."""
    return await tasks.progress(task_id, percent, token=token, message=message)


@asking(app)
async def complete(
    tasks: Tasks, task_id: Id, token: EitherToken = None, agent: EitherAgent = None, output: Json = None
) -> Task:
    """Complete a manual task."""
    said = None if output is None else parsed(output, "--output")
    async with _held(tasks, task_id, token, agent) as held:
        return await tasks.complete(task_id, said, token=held)


@asking(app)
async def fail(
    tasks: Tasks,
    task_id: Id,
    reason: Annotated[str, typer.Argument()],
    token: EitherToken = None,
    agent: EitherAgent = None,
    final: Annotated[bool, typer.Option("--final", help="Not to be retried, whatever retries remain.")] = False,
    retry_after: Annotated[str | None, typer.Option(metavar="DURATION", help="Not before.")] = None,
) -> Task:
    """Fail a manual task: it is retried while retries remain."""
    after = None if retry_after is None else parse_duration(retry_after)
    async with _held(tasks, task_id, token, agent) as held:
        return await tasks.fail(task_id, reason, token=held, retryable=not final, retry_after=after)


@asynccontextmanager
async def _held(tasks: Tasks, task_id: str, token: str | None, agent: str | None) -> AsyncIterator[str]:
    """The token to act with. What was claimed only for that is given back when the act is refused."""
    if (token is None) == (agent is None):
        raise InvalidInput("give --token or --agent", token=token, agent=agent)
    if token is not None:
        yield token
        return
    claim = await tasks.claim(task_id, agent_id=str(agent))
    try:
        yield claim.token
    except (InvalidInput, Conflict):
        with suppress(DurableTasksError):  # the refusal is what the caller must hear of
            await tasks.release(task_id, token=claim.token)
        raise


@asking(app)
async def release(tasks: Tasks, task_id: Id, token: Token) -> Task:
    """Give a claimed task back."""
    return await tasks.release(task_id, token=token)


@asking(app)
async def cancel(tasks: Tasks, task_id: Id, reason: Annotated[str | None, typer.Option()] = None) -> Task:
    """Cancel a task."""
    return await tasks.cancel(task_id, reason=reason)


@asking(app)
async def retry(tasks: Tasks, task_id: Id) -> Task:
    """Run a failed or cancelled task again."""
    return await tasks.retry(task_id)


@asking(app, "cancel-many")
@filtering
async def cancel_many(
    tasks: Tasks, filters: FilterFields, dry_run: DryRun = False, reason: Annotated[str | None, typer.Option()] = None
) -> Changed:
    """Cancel every open task that fits."""

    async def change(cursor: str | None) -> Changed:
        return await tasks.cancel_many(dry_run=dry_run, cursor=cursor, reason=reason, **filters)

    return await _page_by_page(change)


@asking(app, "retry-many")
@filtering
async def retry_many(tasks: Tasks, filters: FilterFields, dry_run: DryRun = False) -> Changed:
    """Run every failed or cancelled task that fits again."""

    async def change(cursor: str | None) -> Changed:
        return await tasks.retry_many(dry_run=dry_run, cursor=cursor, **filters)

    return await _page_by_page(change)


async def _page_by_page(change: Callable[[str | None], Awaitable[Changed]]) -> Changed:
    """The answers as one."""
    answer = await change(None)
    while answer.next_cursor is not None:
        last, more = answer, await change(answer.next_cursor)
        summed = {"matched": last.matched + more.matched, "changed": last.changed + more.changed}
        answer = more.model_copy(update=summed)
    return answer


@asking(app)
async def comment(
    tasks: Tasks,
    task_id: Id,
    text: Annotated[str, typer.Argument()],
    author: Annotated[str | None, typer.Option(help="Who says it. A server knows that of the token.")] = None,
) -> Event:
    """Say something about a task, also after its end."""
    return await tasks.comment(task_id, text, author=author)


@asking(app)
async def wait(tasks: Tasks, task_id: Id, timeout: Timeout = None) -> Task:
    """Wait for the end of a task."""
    return await tasks.wait(task_id, timeout=timeout)


@asking(app)
async def attempts(tasks: Tasks, task_id: Id) -> Sequence[Attempt]:
    """Every execution of a task, oldest first."""
    return await tasks.attempts(task_id)


@asking(app)
async def explain(tasks: Tasks, task_id: Id) -> Explanation:
    """Why a task is not running."""
    return await tasks.explain(task_id)


@asking(app)
async def watch(tasks: Tasks, task_id: Id) -> AsyncIterator[Event]:
    """Everything that has happened to a task and happens, until it ends. Exit code 1: it did not end well."""
    async with aclosing(tasks.watch(task_id=task_id, after=0)) as events:
        async for event in events:
            yield event
            if event.kind in _ENDS:
                task = await tasks.get(task_id)
                # It may have been retried since: the events up to now are still coming.
                if task.completed_at is not None and event.at >= task.completed_at:
                    break
    if task.state is not TaskState.COMPLETED:
        raise typer.Exit(FAILED)


_ENDS = frozenset({"task.completed", "task.failed", "task.cancelled"})


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}", path=str(path)) from error


def parsed(text: str, what: str) -> Any:
    """The value of JSON text. Raises InvalidInput."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"{what} is not JSON: {error}", value=text) from error
    except RecursionError as error:
        raise InvalidInput(f"{what} is nested too deeply", value=text) from error
