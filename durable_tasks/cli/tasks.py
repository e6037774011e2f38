"""`tasks …`: looking at tasks in a file, and doing what a person does with them.

It must not know how tasks run: it opens the file beside the application, executes nothing and switches nothing.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from durable_tasks.cli.talk import failing_plainly, put, put_json, say
from durable_tasks.errors import InvalidInput, StoreUnreadable
from durable_tasks.models import Claim, Page, Task
from durable_tasks.org import Org

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, help="List, read, claim, complete and cancel tasks of a file.")

Db = Annotated[Path | None, typer.Option(dir_okay=False, show_default="TASKS_DB or tasks.db", help="The SQLite file.")]
OrgId = Annotated[str | None, typer.Option("--org", show_default="TASKS_ORG or default")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Id = Annotated[str, typer.Argument(metavar="ID")]


@app.command("list")
def list_tasks(
    state: Annotated[list[str] | None, typer.Option(help="May be repeated.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    cursor: Annotated[str | None, typer.Option(help="Where the last page ended.")] = None,
    db: Db = None,
    org: OrgId = None,
    as_json: AsJson = False,
) -> None:
    """A page of tasks: the most urgent first, then the oldest."""
    page: Page[Task] = _ask(db, org, lambda tasks: tasks.list(state=state, limit=limit, cursor=cursor))
    if as_json:
        put_json({"items": [_plain(task) for task in page.items], "next_cursor": page.next_cursor})
        return
    for task in page.items:
        put(_line(task))
    if page.next_cursor is not None:
        say(f"more: --cursor {page.next_cursor}")


@app.command()
def get(task_id: Id, db: Db = None, org: OrgId = None, as_json: AsJson = False) -> None:
    """One task."""
    _show(_ask(db, org, lambda tasks: tasks.get(task_id)), as_json)


@app.command()
def claim(
    task_id: Id,
    agent: Annotated[str, typer.Option(help="Who claims it.")],
    lease: Annotated[str, typer.Option(help="How long it is held without a heartbeat.")] = "1h",
    db: Db = None,
    org: OrgId = None,
    as_json: AsJson = False,
) -> None:
    """Claim a manual task. The answer holds the token that `complete` asks for."""
    made: Claim = _ask(db, org, lambda tasks: tasks.claim(task_id, agent_id=agent, lease=lease))
    if as_json:
        put_json({"task": _plain(made.task), "token": made.token})
    else:
        put(f"{_line(made.task)}\ntoken {made.token}")


@app.command()
def complete(
    task_id: Id,
    token: Annotated[str | None, typer.Option(help="From `claim`.")] = None,
    agent: Annotated[str | None, typer.Option(help="Instead of a token: claim it first, as this agent.")] = None,
    output: Annotated[str, typer.Option(metavar="JSON")] = "null",
    db: Db = None,
    org: OrgId = None,
    as_json: AsJson = False,
) -> None:
    """Complete a manual task."""
    if (token is None) == (agent is None):
        raise typer.BadParameter("give --token or --agent")

    async def work(tasks: Org) -> Task:
        said, held = _parse(output), token
        if agent is not None:
            held = (await tasks.claim(task_id, agent_id=agent)).token
        return await tasks.complete(task_id, said, token=held or "")

    _show(_ask(db, org, work), as_json)


@app.command()
def cancel(
    task_id: Id,
    reason: Annotated[str | None, typer.Option()] = None,
    db: Db = None,
    org: OrgId = None,
    as_json: AsJson = False,
) -> None:
    """Cancel a task."""
    _show(_ask(db, org, lambda tasks: tasks.cancel(task_id, reason=reason)), as_json)


def _ask(db: Path | None, org: str | None, work: Callable[[Org], Awaitable[T]]) -> T:
    with failing_plainly():
        return asyncio.run(_open_and(db, org, work))


async def _open_and(db: Path | None, org: str | None, work: Callable[[Org], Awaitable[T]]) -> T:
    from durable_tasks.app import DurableTasks
    from durable_tasks.settings import Settings

    chosen: dict[str, Any] = {} if db is None else {"db": db}
    settings = Settings(enabled=False, worker=False, **chosen)
    if not settings.db.exists():  # opening would create it, and a slip of the pen would look like an empty file
        raise StoreUnreadable(f"there is no file {settings.db}; name one with --db", path=str(settings.db))
    async with DurableTasks(settings) as tasks:
        return await work(tasks.org(org))


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"--output is not JSON: {error}", value=text) from error


def _show(task: Task, as_json: bool) -> None:
    if as_json:
        put_json(_plain(task))
        return
    put(_line(task))
    if task.error is not None:
        put(f"error {task.error.type}: {task.error.message}")
    if task.output is not None:
        put(f"output {json.dumps(task.output, ensure_ascii=False)}")


def _plain(task: Task) -> dict[str, Any]:
    return task.model_dump(mode="json")


def _line(task: Task) -> str:
    holder = f"  ({task.assigned_to})" if task.assigned_to else ""
    return f"{task.id}  {task.state:<9}  {task.title}{holder}"
