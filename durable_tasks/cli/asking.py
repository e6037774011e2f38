"""Asking: commands over one organisation's tasks, in a file beside its application or on a server.

It must not know the commands, nor how their answers look.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, fields, replace
from inspect import Parameter, Signature, isasyncgenfunction, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, Union

import typer

from durable_tasks.cli.extras import needing
from durable_tasks.cli.login import logged_in
from durable_tasks.cli.show import show
from durable_tasks.cli.talk import failing_plainly
from durable_tasks.errors import ConfigurationError, StoreUnreadable
from durable_tasks.wording import without_credentials

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

Patience = Annotated[
    str, typer.Option(metavar="DURATION", help="How long a server that does not answer is asked again.")
]

_OPTIONS: dict[str, tuple[Any, Any]] = {
    "db": (Db, None),
    "org": (OrgId, None),
    "url": (Url, None),
    "api_token": (ApiToken, None),
    "patience": (Patience, "30s"),
    "as_json": (AsJson, False),
}


@dataclass(frozen=True, slots=True)
class Where:
    """What the options say of where the tasks are."""

    db: Path | None
    org: str | None
    url: str | None
    api_token: str | None
    patience: str


def asking(app: typer.Typer, name: str | None = None) -> Callable[[F], F]:
    """Make `async def f(tasks, …)` a command of `app`: it also takes the options that say where the tasks are, and
    its answer is shown. One that yields shows each thing as it comes."""

    def register(function: F) -> F:
        def command(*, context: typer.Context, as_json: bool, **given: Any) -> None:
            where = meant(context, Where(**{option.name: given.pop(option.name) for option in fields(Where)}))
            with failing_plainly():
                asyncio.run(_run(function, where, given, as_json))

        own = [*signature(function).parameters.values()][1:]
        parameters = [Parameter("context", Parameter.KEYWORD_ONLY, annotation=typer.Context)]
        parameters += [parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in own]
        parameters += [
            Parameter(option, Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
            for option, (annotation, default) in _OPTIONS.items()
        ]
        command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {}
        command.__doc__ = function.__doc__
        app.command(name or function.__name__)(command)
        return function

    return register


def meant(context: typer.Context, where: Where) -> Where:
    """A file that is named now beats a server that was exported once."""
    source = context.get_parameter_source("url")
    exported = source is not None and source.name == "ENVIRONMENT"
    return replace(where, url=None) if where.db is not None and exported else where


async def _run(function: Callable[..., Any], where: Where, given: dict[str, Any], as_json: bool) -> None:
    async with opened(where) as tasks:
        if isasyncgenfunction(function):
            async with aclosing(function(tasks, **given)) as answers:
                async for answer in answers:
                    show(answer, as_json)
        else:
            show(await function(tasks, **given), as_json)


@asynccontextmanager
async def connected(where: Where, url: str) -> "AsyncIterator[Client]":
    """A client of the server there. Raises ConfigurationError when a file is meant too."""
    if where.db is not None or where.org is not None:
        raise ConfigurationError(
            "--url (or TASKS_URL) asks a server, which knows its own file, and the organisation by the token; leave"
            " out --db and --org",
            setting="url",
            value=without_credentials(url),
        )
    with needing("client"):
        from durable_tasks.client import Client

    async with Client(url, where.api_token, patience=where.patience) as client:
        yield client


@asynccontextmanager
async def opened(where: Where) -> AsyncIterator[Tasks]:
    """The tasks that the options mean. Raises ConfigurationError when they contradict each other."""
    # Loaded only here: neither the store nor HTTP is needed for `--help`.
    if where.url is not None:
        async with connected(where, where.url) as client:
            yield client
        return
    from durable_tasks.app import DurableTasks
    from durable_tasks.settings import Settings

    settings = Settings(enabled=False, worker=False, **({} if where.db is None else {"db": where.db}))
    if not settings.db.exists():  # opening would create it, and a slip of the pen would look like an empty file
        raise StoreUnreadable(f"there is no file {settings.db}; name one with --db", path=str(settings.db))
    async with DurableTasks(settings) as tasks:
        yield tasks.org(where.org).by(logged_in())
