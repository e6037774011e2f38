"""`mcp`: the tools for agents, over the standard streams, on a file that other processes may have open too.

It must not know the tools; it opens the file, serves until the input ends or a signal comes, and closes.
"""

import asyncio
import os
import signal
from pathlib import Path
from typing import Annotated, Any

import typer

from durable_tasks.access import Principal, Role
from durable_tasks.cli.talk import failing_plainly, say
from durable_tasks.cli.tasks import Db, OrgId
from durable_tasks.errors import InvalidInput
from durable_tasks.models import check_org

_ROLES = ", ".join(role.name.lower() for role in Role)


def mcp(
    db: Db = None,
    org: OrgId = None,
    agent: Annotated[str, typer.Option(help="The name under which tasks are created and claimed.")] = "mcp",
    role: Annotated[str, typer.Option(help=f"Which tools there are: {_ROLES}.")] = "agent",
) -> None:
    """Serve MCP on stdin and stdout, for an agent on this machine. Handlers run in the application, not here."""
    with failing_plainly():
        asyncio.run(_serve(db, org, agent, _parse(role)))


def _parse(role: str) -> Role:
    try:
        return Role[role.upper()]
    except KeyError:
        raise InvalidInput(f"{role!r} is not a role; choose one of {_ROLES}", role=role) from None


async def _serve(db: Path | None, org: str | None, agent: str, role: Role) -> None:
    # Loaded only here: MCP and the store are not needed for `--help`, and loading MCP takes a second.
    from durable_tasks.checks import build
    from durable_tasks.settings import Settings

    chosen: dict[str, Any] = {} if db is None else {"db": db}
    settings = Settings(enabled=False, worker=False, **chosen)
    principal = build(Principal, org=check_org(org or settings.org), subject=agent, roles=frozenset({role}))

    from durable_tasks.app import DurableTasks
    from durable_tasks.mcp_server.server import mcp_server
    from durable_tasks.mcp_server.stdio import private_streams, serve_stdio

    with private_streams() as (source, sink):
        async with DurableTasks(settings) as tasks:
            server = mcp_server(tasks, lambda context: principal)
            serving = asyncio.create_task(
                serve_stdio(server, source, sink, grace=settings.shutdown_grace), name="durable-tasks mcp"
            )
            _stop_on_signals(serving)
            say(f"MCP on {settings.db}: organisation {principal.org}, {role.name.lower()} {agent}")
            await asyncio.wait({serving})
            if not serving.cancelled():
                await serving


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
