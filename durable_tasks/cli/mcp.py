"""`mcp`: the tools for agents, over the standard streams, on a file that other processes may have open too.

It must not know the tools; it opens the file, serves until the input ends or a signal comes, and closes.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from durable_tasks.access import Principal, Role
from durable_tasks.cli.asking import Db, OrgId
from durable_tasks.cli.extras import needing
from durable_tasks.cli.talk import failing_plainly, say
from durable_tasks.errors import InvalidInput
from durable_tasks.models import check_org

if TYPE_CHECKING:
    from durable_tasks.app import DurableTasks
    from durable_tasks.diagnosis import OrgDiagnosis
    from durable_tasks.models import Actor, Engine
    from durable_tasks.operations.operation import Host
    from durable_tasks.org import Org
    from durable_tasks.ports import DeadLetter
    from durable_tasks.settings import Settings
    from durable_tasks.temporal.durable import DurableStore
    from durable_tasks.temporal.engine import TemporalEngine

_ROLES = ", ".join(role.name.lower() for role in Role)


def mcp(
    db: Db = None,
    org: OrgId = None,
    agent: Annotated[str, typer.Option(help="The name under which tasks are created and claimed.")] = "mcp",
    role: Annotated[str, typer.Option(help=f"Which tools there are: {_ROLES}.")] = "agent",
    tools: Annotated[
        str | None, typer.Option(metavar="NAMES", show_default="all", help="Of these only those, with commas between.")
    ] = None,
) -> None:
    """Serve MCP on stdin and stdout, for an agent on this machine. Handlers run in the application, not here."""
    with failing_plainly():
        asyncio.run(_serve(db, org, agent, _parse(role), tools))


def _parse(role: str) -> Role:
    try:
        return Role[role.upper()]
    except KeyError:
        raise InvalidInput(f"{role!r} is not a role; choose one of {_ROLES}", role=role) from None


async def _serve(db: Path | None, org: str | None, agent: str, role: Role, tools: str | None) -> None:
    # Loaded only here: MCP and the store are not needed for `--help`, and loading MCP takes a second.
    from durable_tasks.checks import build
    from durable_tasks.settings import Settings

    chosen: dict[str, Any] = {} if db is None else {"db": db}
    settings = Settings(worker=False, **chosen)
    principal = build(
        Principal, org=check_org(org or settings.org), subject=agent, roles=frozenset({role}), proved=False
    )

    with needing("mcp"):
        from durable_tasks.mcp_server.server import mcp_server
        from durable_tasks.mcp_server.stdio import private_streams, serve_stdio
        from durable_tasks.mcp_server.tools import TOOLS

    chosen_tools = TOOLS if tools is None else [name.strip() for name in tools.split(",")]
    with private_streams() as (source, sink):
        async with _opened(settings, principal) as host:
            server = mcp_server(host, lambda context: principal, tools=chosen_tools)
            serving = asyncio.create_task(
                serve_stdio(server, source, sink, grace=settings.shutdown_grace), name="durable-tasks mcp"
            )
            _stop_on_signals(serving)
            say(f"MCP on {settings.db}: organisation {principal.org}, {role.name.lower()} {agent}")
            await asyncio.wait({serving})
            if not serving.cancelled():
                await serving


@asynccontextmanager
async def _opened(settings: "Settings", principal: Principal) -> "AsyncIterator[Host]":
    """The file as a tool opens it, which drives nothing; with durable mode on, operators look at Temporal too."""
    from durable_tasks.app import DurableTasks
    from durable_tasks.console import looking

    async with DurableTasks(settings.model_copy(update={"enabled": False})) as tasks:
        if not settings.enabled or tasks.store.displaced is not None or not principal.may(Role.OPERATOR):
            yield tasks
            return
        async with looking(settings, tasks.store, tasks.clock) as engine:
            yield _Beside(tasks, engine)


class _Beside:
    """A file whose tasks other processes drive, and Temporal as it is seen from here."""

    def __init__(self, tasks: "DurableTasks", engine: "TemporalEngine") -> None:
        self.settings = tasks.settings
        self._tasks = tasks
        self._engine = engine

    @property
    def engine(self) -> "Engine":
        return self._tasks.engine

    def org(self, org_id: str | None = None) -> "Org":
        return self._tasks.org(org_id)

    @property
    def durable(self) -> "DurableStore":
        from durable_tasks.temporal.durable import DurableStore

        return DurableStore(self._tasks, self._engine)

    async def diagnose(self, org: str | None = None) -> "OrgDiagnosis":
        from durable_tasks.diagnosis import diagnose_org

        tasks = self._tasks
        return await diagnose_org(tasks.store, self._engine, tasks.settings, tasks.clock, tasks.org(org).id)

    async def redrive(self, letter_id: str, *, org: str | None = None, by: "Actor | None" = None) -> "DeadLetter":
        return await self._tasks.redrive(letter_id, org=org, by=by)


def _stop_on_signals(serving: asyncio.Task[None]) -> None:
    """The first signal closes the file in order, the second ends the process at once."""
    asked = False

    def stop(number: signal.Signals) -> None:
        nonlocal asked
        if asked:
            os._exit(128 + number)
        asked = True
        serving.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
