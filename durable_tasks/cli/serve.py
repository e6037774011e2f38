"""`serve`: the HTTP API, and MCP with it, on a file; run and stopped as one process.

It must not know HTTP: it says where to listen, announces where that is, and stops it on a signal.
"""

import asyncio
import os
import signal
from typing import Annotated

import typer

from durable_tasks.cli.asking import AsJson, Db
from durable_tasks.cli.extras import needing
from durable_tasks.cli.logs import Level, LogJson, LogLevel, begin_logs
from durable_tasks.cli.process import begin_serving
from durable_tasks.cli.talk import announce, failing_plainly, say
from durable_tasks.settings import Settings

Host = Annotated[str, typer.Option(help="Other machines only with authentication.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")]


def serve(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    db: Db = None,
    as_json: AsJson = False,
    log_level: LogLevel = Level.WARNING,
    log_json: LogJson = False,
) -> None:
    """Serve the HTTP API and MCP; Ctrl-C lets requests and handlers finish first."""
    begin_logs(log_level, log_json)
    with failing_plainly():
        settings = Settings(**({} if db is None else {"db": db}))
        asyncio.run(_serve(settings, host, port, as_json))


async def _serve(settings: Settings, host: str, port: int, as_json: bool) -> None:
    # Loaded only here: the web framework is large, and `--help` must stay quick.
    from durable_tasks.app import DurableTasks

    with needing("web"):
        from durable_tasks.web.addresses import addresses
        from durable_tasks.web.server import serving
        from durable_tasks.web.shares import raise_descriptor_limit

    raise_descriptor_limit()
    stop = asyncio.Event()
    _stop_on_signals(stop)
    async with serving(DurableTasks(settings), host=host, port=port) as url:
        begin_serving()
        found = addresses(url)
        if as_json:
            announce({"ready": True, **found, "db": str(settings.db.resolve()), "pid": os.getpid()})
        agents = found["mcp"] or "none, it needs durable-tasks[mcp]"
        say(
            f"READY: {found['api']} serves {settings.db.resolve()}; dashboard: {found['dashboard']};"
            f" documentation: {found['docs']}; MCP: {agents}"
        )
        await stop.wait()
    say("stopped")


def _stop_on_signals(stop: asyncio.Event) -> None:
    """The first signal lets everything finish, the second ends the process at once."""

    def asked(number: signal.Signals) -> None:
        if stop.is_set():
            os._exit(128 + number)  # the file's locks are the kernel's, and free at once
        stop.set()
        say("stopping: requests and handlers may finish first; once more to stop at once")

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, asked, number)
