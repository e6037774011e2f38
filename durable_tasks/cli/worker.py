"""`worker`: a process without the SQLite file that executes an organisation's tasks of one queue.

It must not know Temporal's client nor the handlers: it finds them, starts the worker, and stops it on a signal.
"""

import asyncio
import importlib
import os
import signal
import sys
from operator import attrgetter
from typing import Annotated, Any

import typer

from durable_tasks.cli.logs import Level, LogJson, LogLevel, begin_logs
from durable_tasks.cli.talk import announce, failing_plainly, say
from durable_tasks.clock import SystemClock
from durable_tasks.errors import ConfigurationError
from durable_tasks.models import check_org
from durable_tasks.settings import Settings

Grace = Annotated[
    str | None,
    typer.Option(metavar="DURATION", show_default="TASKS_SHUTDOWN_GRACE or 10s", help="Time to finish when stopped."),
]


def worker(
    source: Annotated[
        str, typer.Argument(metavar="MODULE:NAME", help="Where the handlers are: a Handlers or a DurableTasks.")
    ],
    org: Annotated[str | None, typer.Option(show_default="TASKS_ORG or default")] = None,
    queue: Annotated[str | None, typer.Option(show_default="TASKS_QUEUE or default")] = None,
    namespace: Annotated[str | None, typer.Option(show_default="the organisation's")] = None,
    address: Annotated[str | None, typer.Option(metavar="HOST:PORT", show_default="TASKS_ADDRESS")] = None,
    max_concurrent: Annotated[int | None, typer.Option(min=1, show_default="TASKS_MAX_CONCURRENT or 10")] = None,
    grace: Grace = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout when it is ready.")] = False,
    log_level: LogLevel = Level.WARNING,
    log_json: LogJson = False,
) -> None:
    """Execute tasks of a queue on this machine; Ctrl-C lets handlers finish first."""
    begin_logs(log_level, log_json)
    given = {"queue": queue, "address": address, "max_concurrent": max_concurrent, "shutdown_grace": grace}
    with failing_plainly():
        settings = Settings(**{name: value for name, value in given.items() if value is not None})
        chosen = namespace or settings.namespace_of(check_org(org or settings.org))
        code = asyncio.run(_serve(load(source), settings, chosen, as_json))
    raise typer.Exit(code)


def load(source: str) -> Any:
    """The object that `module:name` names; modules of the working directory count. Raises ConfigurationError."""
    module, _, name = source.partition(":")
    if not module or not name:
        raise ConfigurationError(f"{source!r} does not name an object; write it as module:name", source=source)
    sys.path.insert(0, os.getcwd())
    try:
        return attrgetter(name)(importlib.import_module(module))
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"cannot load {source}: {error}", source=source) from error


async def _serve(source: Any, settings: Settings, namespace: str, as_json: bool) -> int:
    # Loaded only here: the SDK is large, and `--help` must stay quick.
    from durable_tasks.temporal.external import ExternalWorker
    from durable_tasks.temporal.plugin import DurableTasksPlugin

    plugin = DurableTasksPlugin(source, cancel_grace=settings.cancel_grace)
    external = ExternalWorker(
        plugin, settings, namespace=namespace, queue=settings.queue, clock=SystemClock(), tell=say
    )
    serving = asyncio.create_task(external.run(), name="durable-tasks worker")
    announcing = asyncio.create_task(
        _announce(external.polling, plugin.handlers.capabilities, settings, namespace, as_json)
    )
    _stop_on_signals(serving)
    await asyncio.wait({serving})
    announcing.cancel()
    if not serving.cancelled():
        await serving
    say("stopped")
    return 0


async def _announce(
    polling: asyncio.Event, capabilities: tuple[str, ...], settings: Settings, namespace: str, as_json: bool
) -> None:
    await polling.wait()
    if as_json:
        facts = {"address": settings.address, "namespace": namespace, "queue": settings.queue}
        announce({"ready": True, **facts, "capabilities": capabilities, "pid": os.getpid()})
    able = ", ".join(capabilities) or "tasks without a capability"
    say(f"READY: queue {settings.queue}, namespace {namespace} at {settings.address}; handles {able}")


def _stop_on_signals(serving: asyncio.Task[None]) -> None:
    """The first signal lets handlers finish, the second ends the process at once."""
    asked = False

    def stop(number: signal.Signals) -> None:
        nonlocal asked
        if asked:
            os._exit(128 + number)  # Temporal misses the heartbeats and has the tasks run elsewhere
        asked = True
        serving.cancel()
        say("stopping: handlers may finish first; once more to stop at once")

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
