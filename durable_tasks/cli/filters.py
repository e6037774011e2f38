"""Filters: the options by which commands say which tasks they mean.

It must not know the commands, nor what the options do to a list.
"""

from collections.abc import Awaitable, Callable
from functools import wraps
from inspect import Parameter, signature
from typing import Annotated, Any

import typer

_AGAIN = "May be repeated."
_Many = list[str] | None
_One = str | None
_OPTIONS: dict[str, Any] = {
    "state": Annotated[_Many, typer.Option(help=_AGAIN)],
    "space": Annotated[_One, typer.Option()],
    "assigned_to": Annotated[_One, typer.Option()],
    "priority": Annotated[_Many, typer.Option(help=_AGAIN)],
    "label": Annotated[_Many, typer.Option(help="May be repeated: all of them.")],
    "workflow": Annotated[_One, typer.Option(metavar="ID")],
    "capability": Annotated[_One, typer.Option()],
    "mode": Annotated[_One, typer.Option(metavar="auto|manual")],
    "created_by": Annotated[_One, typer.Option()],
    "parent": Annotated[_One, typer.Option(metavar="ID")],
    "id": Annotated[_Many, typer.Option(metavar="ID", help=_AGAIN)],
    "text": Annotated[_One, typer.Option(help="In the title or the description.")],
    "waiting_for": Annotated[
        _Many, typer.Option(metavar="NAME", help="What it holds or may take. May be repeated: one of them.")
    ],
    "overdue": Annotated[bool | None, typer.Option("--overdue/--not-overdue", help="Past its deadline.")],
}
_MEANT = {"space": "space_id", "label": "labels", "workflow": "workflow_id", "parent": "parent_task_id", "id": "ids"}
"""Options that are called otherwise than the filters that they make."""


def filtering(function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Make `async def f(tasks, filters, …)` a function that takes each filter as an option instead."""

    @wraps(function)
    async def filtered(tasks: Any, **given: Any) -> Any:
        said = {name: given.pop(name) for name in _OPTIONS}
        filters = {_MEANT.get(name, name): value for name, value in said.items() if value is not None}
        return await function(tasks, filters, **given)

    own = signature(function)
    tasks, _, *rest = own.parameters.values()
    options = (
        Parameter(name, Parameter.KEYWORD_ONLY, annotation=annotation, default=None)
        for name, annotation in _OPTIONS.items()
    )
    named = (parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in rest)
    filtered.__signature__ = own.replace(parameters=[tasks, *options, *named])  # type: ignore[attr-defined]
    return filtered
