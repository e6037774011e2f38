"""`events`: the audit log, a page of it or as it is written.

It must not know where the events are.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

import typer

from durable_tasks.cli.asking import Tasks, asking
from durable_tasks.models import Event


def add_to(app: typer.Typer) -> None:
    """Make `events` a command of `app`."""
    asking(app)(events)


async def events(
    tasks: Tasks,
    task: Annotated[str | None, typer.Option(metavar="ID", help="Only this task's.")] = None,
    workflow: Annotated[str | None, typer.Option(metavar="ID", help="Only this workflow's, and its tasks'.")] = None,
    after: Annotated[int | None, typer.Option(min=0, metavar="SEQ", help="Only what comes after this event.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what happens, until Ctrl-C.")] = False,
) -> AsyncIterator[Event]:
    """What has happened, oldest first; with --follow what happens. With --json one event on each line."""
    if follow:
        async with aclosing(tasks.watch(task_id=task, workflow_id=workflow, after=after)) as following:
            async for event in following:
                yield event
        return
    for event in await tasks.events(task_id=task, workflow_id=workflow, after=after or 0, limit=limit):
        yield event
