"""`up`: the embedded Temporal server, the engine, the HTTP API and the demo, run and supervised as one process.

It must not know how any of them works: it starts, restarts and stops them, and says so.
"""

import asyncio
import json
import math
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from durable_tasks.app import DurableTasks
from durable_tasks.cli.extras import needing
from durable_tasks.cli.process import begin_serving
from durable_tasks.cli.talk import announce, progress, put, put_json, say
from durable_tasks.demo import survey
from durable_tasks.errors import ConfigurationError, DurableTasksError, TemporalUnavailable
from durable_tasks.settings import Settings
from durable_tasks.temporal.engine import TemporalEngine
from durable_tasks.temporal.server import EmbeddedServer

_CONNECT = 30.0
_SETTLE = 15.0
"""Seconds without coming closer after which a disagreement of the two sides is one."""
_MANY = 1000
_LOOK_AGAIN = 0.1
_LONGEST_REST = 30.0


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asked of `up`."""

    db: Path | None
    port: int | None
    temporal_port: int | None
    temporal_ui_port: int | None
    persist: bool
    demo: Path | None
    exit: bool
    json: bool


async def supervise(options: Options) -> int:
    """Run `up` until it is done or told to stop; the exit code. Raises DurableTasksError, DemoFailed."""
    return await _Supervisor(options).run()


class _Supervisor:
    """One run of `up`. The first signal drains and stops everything, the second ends the process at once."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._stop = asyncio.Event()
        self._facts: dict[str, Any] = {}
        """What runs where, as --json prints it."""

    async def run(self) -> int:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._asked_to_stop)
        # What was started is stopped by this task, which nothing cancels; only the work is cut short.
        async with AsyncExitStack() as started:
            work = asyncio.create_task(self._work(started))
            stopping = asyncio.create_task(self._stop.wait())
            await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
            work.cancel()
            stopping.cancel()
            outcome, _ = await asyncio.gather(work, stopping, return_exceptions=True)
        if isinstance(outcome, asyncio.CancelledError):
            say("stopped")
            return 0
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def _asked_to_stop(self) -> None:
        if self._stop.is_set():
            os._exit(128 + signal.SIGINT)  # the server's guard sees us go and ends the server
        self._stop.set()
        say("stopping: handlers may finish first; once more to stop at once")

    async def _work(self, started: AsyncExitStack) -> int:
        begun = time.monotonic()
        settings = Settings(**({} if self._options.db is None else {"db": self._options.db}))
        server = await started.enter_async_context(self._server(settings))
        await started.enter_async_context(_kept_alive(server))
        settings = settings.embedded(server.address)
        tasks = DurableTasks(settings.model_copy(update={"worker": True, "temporal_ui": server.ui_url}))
        survey.register(tasks)
        found = await self._start(tasks, started)
        engine = _engine(tasks)
        await engine.wait_connected(_CONNECT)
        temporal = {"address": server.address, "namespace": settings.namespace, "ui": server.ui_url}
        self._facts = {"db": str(settings.db.resolve()), **temporal, **found}
        self._introduce()
        if self._options.demo is not None:
            await self._try_demo(tasks, engine, self._options.demo, begun)
        elif self._options.json:
            announce(self._facts)
        if not self._options.exit:
            await _narrate(tasks)
        return 0

    def _server(self, settings: Settings) -> EmbeddedServer:
        options = self._options
        # In memory: the SQLite file has everything that is needed to fill an empty server again.
        database = settings.db.with_name(f"{settings.db.name}-temporal.db") if options.persist else None
        return EmbeddedServer(
            port=options.temporal_port,
            ui_port=options.temporal_ui_port,
            database=database,
            namespaces=(settings.namespace,),
        )

    async def _start(self, tasks: DurableTasks, started: AsyncExitStack) -> dict[str, str | None]:
        """Start `tasks`, served over HTTP where that is installed. A script that is to end has no use for it, unless
        it says a port. Answers the addresses."""
        if not self._options.exit or self._options.port is not None:
            try:
                with needing("web"):  # loaded only here: an installation may lack it
                    from durable_tasks.web.addresses import addresses
                    from durable_tasks.web.server import serving
                    from durable_tasks.web.shares import raise_descriptor_limit
            except ConfigurationError as error:
                say(f"no API:   {error.message}")
            else:
                raise_descriptor_limit()
                url = await started.enter_async_context(serving(tasks, port=self._options.port))
                begin_serving()
                return addresses(url)
        await started.enter_async_context(tasks)
        return {}

    def _introduce(self) -> None:
        facts = self._facts
        say(f"tasks     {facts['db']}")
        if "url" in facts:
            say(f"dashboard {facts['dashboard']}")
            say(f"API       {facts['api']}, documentation at {facts['docs']}")
            say(f"MCP       {facts['mcp'] or 'needs durable-tasks[mcp]'}")
            say(f"events    {facts['events']}")
            say(f"metrics   {facts['metrics']}")
        say(f"Temporal  {facts['address']}, namespace {facts['namespace']}")
        if facts["ui"] is not None:
            say(f"web UI    {facts['ui']}")
        if not self._options.exit:
            say("Ctrl-C stops everything")

    async def _try_demo(self, tasks: DurableTasks, engine: TemporalEngine, folder: Path, begun: float) -> None:
        try:
            await self._demo(tasks, engine, folder, begun)
        except survey.DemoFailed as error:
            if self._options.exit:
                raise
            say(f"error: {error}")  # a rejected report ends the demo, not what else is served here

    async def _demo(self, tasks: DurableTasks, engine: TemporalEngine, folder: Path, begun: float) -> None:
        org = tasks.org()
        begin = await survey.begin(org, folder)
        say(f"demo      {begin.name}, run {begin.metadata['run']}")
        with progress("files counted") as show:
            run = await survey.follow(org, begin, show)
        if self._options.exit:
            await survey.approve(org, run.approval)
        else:
            self._ask_for_approval(tasks, run)
        run = await survey.approved(org, run)
        figures = survey.summary(run)
        figures |= {"engine": run.approval.engine.value, "drift": await _drift(tasks, engine)}
        figures |= {"seconds": round(time.monotonic() - begun, 3)}
        self._put_summary(figures, run.report["failed"])

    def _ask_for_approval(self, tasks: DurableTasks, run: survey.Run) -> None:
        report = run.report
        say(f"counted {report['files']} files, {report['lines']} lines, {report['words']} words")
        page = self._facts.get("dashboard")
        if page is not None:
            say("The report waits for a person. Approve it in the browser:")
            say(f"  {page}#/inbox/{run.approval.id}")
        say("or in another terminal:" if page else "The report waits for a person. Approve it in another terminal:")
        output, db = json.dumps({"approved": True}), str(tasks.settings.db.resolve())
        complete = ["task", "complete", run.approval.id, "--agent", "you", "--output", output, "--db", db]
        say(f"  {shlex.join([*_this_command(), *complete])}")

    def _put_summary(self, figures: dict[str, Any], failed: list[str]) -> None:
        for path in failed:
            say(f"could not be counted: {path}")
        if self._options.json:
            put_json(figures | self._facts)
            return
        states = ", ".join(f"{count} {state}" for state, count in figures["tasks"].items())
        put(f"{figures['files']} files, {figures['lines']} lines, {figures['words']} words")
        put(f"{figures['workflows']} workflows; tasks: {states}; in {figures['seconds']} s")
        put(f"engine {figures['engine']}; SQLite and Temporal disagree on {figures['drift']} tasks")


def _this_command() -> list[str]:
    """How this program was called, so that what we print can be pasted: it need not be on the PATH."""
    called = sys.argv[0]
    if called.endswith(".py"):
        return [sys.executable, "-m", "durable_tasks"]
    name = os.path.basename(called)
    return [name if shutil.which(name) == called else called]


def _engine(tasks: DurableTasks) -> TemporalEngine:
    engine = tasks.temporal
    assert engine is not None, "durable mode is on"
    return engine


@asynccontextmanager
async def _kept_alive(server: EmbeddedServer) -> AsyncIterator[None]:
    """Start the server again whenever it ends by itself, at the same address, so that clients reconnect."""
    keeper = asyncio.create_task(_keep_alive(server))
    try:
        yield
    finally:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)


async def _keep_alive(server: EmbeddedServer) -> None:
    failures = 0
    while True:
        if failures == 0:
            code = await server.wait_exit()
            say(f"the Temporal server ended (exit code {code}); starting it again at {server.address}")
        try:
            await server.start()
            failures = 0
            say("the Temporal server runs again")
        except DurableTasksError as error:
            failures += 1
            say(error.message)
            await _rest(min(2.0**failures, _LONGEST_REST))


async def _drift(tasks: DurableTasks, engine: TemporalEngine) -> int:
    """On how many tasks the two sides disagree, once they have had time to agree: after a crash Temporal has
    thousands to catch up with, so time only runs out when they come no closer. Raises TemporalUnavailable."""
    fewest, until = math.inf, time.monotonic() + _SETTLE
    while True:
        begun = time.monotonic()
        count = await _differences(tasks, engine, patient=begun < until)
        if count == 0 or (count >= fewest and begun > until):
            return int(count)
        if count < fewest:
            fewest, until = count, time.monotonic() + _SETTLE
        # A look asks Temporal about every task: it must not be what keeps the server busy.
        await _rest(max(_LOOK_AGAIN, 2 * (time.monotonic() - begun)))


async def _differences(tasks: DurableTasks, engine: TemporalEngine, *, patient: bool) -> float:
    try:
        unsent = await tasks.store.submissions(states=("outbox",), after="", limit=_MANY)
        return len(unsent) + len(await engine.drift())
    except TemporalUnavailable:
        if patient:  # perhaps it is being started again
            return math.inf
        raise


async def _narrate(tasks: DurableTasks) -> None:
    """Say what happens to the organisation's tasks, until cancelled."""
    async for event in tasks.org().watch():
        say(f"{event.at:%H:%M:%S}  {event.kind}  {event.task_id or event.workflow_id}")


async def _rest(seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await asyncio.Event().wait()
    except TimeoutError:
        return
