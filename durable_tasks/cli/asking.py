"""Asking: commands over one organisation's tasks, in a file beside its application or on a server.

It must not know the commands, nor how their answers look.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from inspect import Parameter, Signature, isasyncgenfunction, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, Union

import typer

from durable_tasks.cli.show import show
from durable_tasks.cli.talk import failing_plainly
from durable_tasks.errors import ConfigurationError, StoreUnreadable

if TYPE_CHECKING:
    from durable_tasks.client import Client
    from durable_tasks.org import Org

Tasks = Union["Org", "Client"]
"""What a command is given: both have the same verbs."""
F = TypeVar("F", bound=Callable[..., Any])

Db = Annotated[Path | None, typer.Option(dir_okay=False, show_default="TASKS_DB or tasks.db", help="The SQLite file.")]
OrgId = Annotated[str | None, typer.Option("--org", show_default="TASKS_ORG or default")]
Url = Annotated[
    str | None,
    typer.Option(metavar="URL", envvar="TASKS_URL", help="Ask the server there instead of a file."),
]
ApiToken = Annotated[
    str | None,
    typer.Option(metavar="TOKEN", envvar="TASKS_API_TOKEN", help="Who asks the server; better in the environment."),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]

_WHERE = {"db": (Db, None), "org": (OrgId, None), "url": (Url, None), "api_token": (ApiToken, None)}


def asking(app: typer.Typer, name: str | None = None) -> Callable[[F], F]:
    """Make `async def f(tasks, …)` a command of `app`: it also takes the options that say where the tasks are, and
    its answer is shown. One that yields shows each thing as it comes."""

    def register(function: F) -> F:
        def command(*, db: Path | None, org: str | None, url: str | None, api_token: str | None, **given: Any) -> None:
            as_json = given.pop("as_json")
            with failing_plainly():
                asyncio.run(_run(function, opened(db, org, url, api_token), given, as_json))

        own = [*signature(function).parameters.values()][1:]
        options = {**_WHERE, "as_json": (AsJson, False)}
        where = [
            Parameter(option, Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
            for option, (annotation, default) in options.items()
        ]
        ours = [parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in own]
        command.__signature__ = Signature([*ours, *where])  # type: ignore[attr-defined]
        command.__annotations__ = {}
        command.__doc__ = function.__doc__
        app.command(name or function.__name__)(command)
        return function

    return register


async def _run(function: Callable[..., Any], opening: Any, given: dict[str, Any], as_json: bool) -> None:
    async with opening as tasks:
        if isasyncgenfunction(function):
            async for answer in function(tasks, **given):
                show(answer, as_json)
        else:
            show(await function(tasks, **given), as_json)


@asynccontextmanager
async def opened(db: Path | None, org: str | None, url: str | None, api_token: str | None) -> AsyncIterator[Tasks]:
    """The tasks that the options mean. Raises ConfigurationError when they contradict each other."""
    # Loaded only here: neither the store nor HTTP is needed for `--help`.
    if url is not None:
        if db is not None or org is not None:
            raise ConfigurationError(
                "--url asks a server, which knows its own file, and the organisation by the token; leave out --db and"
                " --org",
                setting="url",
                value=url,
            )
        from durable_tasks.client import Client

        async with Client(url, api_token) as client:
            yield client
        return
    from durable_tasks.app import DurableTasks
    from durable_tasks.settings import Settings

    settings = Settings(enabled=False, worker=False, **({} if db is None else {"db": db}))
    if not settings.db.exists():  # opening would create it, and a slip of the pen would look like an empty file
        raise StoreUnreadable(f"there is no file {settings.db}; name one with --db", path=str(settings.db))
    async with DurableTasks(settings) as tasks:
        yield tasks.org(org)
