"""External workers on a real server: every way an attempt ends, its heartbeats, and the plugin in a user's worker.
It must not know SQLite: a small workflow of the tests' own asks for `execute`.
"""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from pydantic import BaseModel
from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import CancelledError, TimeoutError, TimeoutType
from temporalio.worker import Worker

from durable_tasks import DurableTasksPlugin, Handlers, NonRetryable, RetryAfter, Settings, Task
from durable_tasks.errors import ConfigurationError, InvalidInput, NotFound
from durable_tasks.executor.remote import RemoteRunner
from durable_tasks.handlers import TaskContext
from durable_tasks.ports import Assignment, Ending, Outcome
from durable_tasks.temporal.server import EmbeddedServer
from durable_tasks.testing import ManualClock
from tests.temporal.asking import DEADLINE, Desk, asking, cause_of, task_of

SOON = 15.0
"""Well below the 24 s for which the SDK alone would hold back a heartbeat, and with it news both ways."""


class Page(BaseModel):
    """A typed input."""

    number: int


class Stage:
    """Handlers, and what they did."""

    def __init__(self) -> None:
        self.handlers = Handlers()
        self.entered = asyncio.Event()
        self.leave = threading.Event()
        self.stopped = threading.Event()
        self.seen: list[Any] = []
        self._loop = asyncio.get_running_loop()
        for function in (self.echo, self.square, self.wait, self.count, self.broken, self.final, self.later, self.big):
            self.handlers.handler(function.__name__)(function)
        self.handlers.handler("stubborn")(self.stubborn)

    async def echo(self, ctx: TaskContext, task: Task) -> Any:
        self.seen.append((ctx.attempt, dict(ctx.prior), ctx.task.org_id))
        return task.input

    def square(self, ctx: TaskContext, page: Page) -> int:
        self.seen.append(threading.current_thread() is threading.main_thread())
        return page.number**2

    async def wait(self, ctx: TaskContext, task: Task) -> str:
        self.entered.set()
        try:
            await asyncio.to_thread(self.leave.wait, DEADLINE)
        except asyncio.CancelledError:
            assert ctx.cancelled
            self.stopped.set()
            raise
        return "waited"

    def stubborn(self, ctx: TaskContext, task: Task) -> str:
        """Ignores that it is to stop until it is let go."""
        self._loop.call_soon_threadsafe(self.entered.set)
        self.leave.wait(DEADLINE)
        self.stopped.set() if ctx.cancelled else None
        return "late"

    def count(self, ctx: TaskContext, task: Task) -> str:
        for percent in range(100):
            ctx.progress(percent, f"{percent} of 100\ud800")
        self.leave.wait(DEADLINE)
        return "counted"

    async def broken(self, ctx: TaskContext, task: Task) -> None:
        raise ValueError(task.input)

    def final(self, ctx: TaskContext, task: Task) -> None:
        raise NonRetryable("no such file", path="/x")

    async def later(self, ctx: TaskContext, task: Task) -> None:
        raise RetryAfter(90, "busy")

    async def big(self, ctx: TaskContext, task: Task) -> Any:
        values: dict[str, Any] = {
            "large": "x" * (1024 * 1024 - 1),
            "fits": "x" * (1024 * 1024 - 2),
            "nan": [float("nan")],
        }
        deep: Any = []
        for _ in range(250):
            deep = [deep]
        return (values | {"deep": deep})[task.input]


@pytest_asyncio.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    yield stage
    stage.leave.set()


@asynccontextmanager
async def serving(
    client: Client, stage: Stage, *, grace: float = 0.0, cancel_grace: float = 30.0
) -> AsyncIterator[Desk]:
    plugin = DurableTasksPlugin(stage.handlers, cancel_grace=cancel_grace)
    async with asking(client) as desk, worker(client, desk.queue, plugin, grace):
        yield desk


def worker(client: Client, queue: str, plugin: DurableTasksPlugin, grace: float = 0.0) -> Worker:
    return Worker(client, task_queue=queue, plugins=[plugin], graceful_shutdown_timeout=timedelta(seconds=grace))


async def test_async_and_plain_handlers_give_their_output(client: Client, stage: Stage) -> None:
    async with serving(client, stage) as desk:
        for value in (None, 7, "text", [1, {"a": None}], {"k": "\u00e9"}):
            assert await desk.output("echo", value, prior={"before": [1]}) == value
        assert stage.seen == [(1, {"before": [1]}, "acme")] * 5
        assert await desk.output("square", {"number": 12}) == 144
        assert stage.seen[-1] is False  # a thread of its own: the loop is free for others


async def test_an_input_that_does_not_fit_fails_for_good(client: Client, stage: Stage) -> None:
    async with serving(client, stage) as desk:
        failure = await desk.failure("square", {"number": "twelve"})
    assert (failure.type, failure.non_retryable) == ("NonRetryable", True)


async def test_a_failure_keeps_its_type_message_and_details(client: Client, stage: Stage) -> None:
    async with serving(client, stage) as desk:
        plain = await desk.failure("broken", "of no use")
        assert (plain.type, plain.message, plain.non_retryable) == ("ValueError", "of no use", False)
        (facts,) = plain.details
        assert (facts["error"]["type"], facts["error"]["message"], facts["retry_after"]) == (
            "ValueError",
            "of no use",
            None,
        )
        assert "in broken" in facts["error"]["details"]["traceback"]

        final = await desk.failure("final")
        assert (final.type, final.message, final.non_retryable) == ("NonRetryable", "no such file", True)
        assert final.details[0]["error"]["details"]["facts"] == {"path": "'/x'"}

        later = await desk.failure("later")
        assert (later.type, later.non_retryable) == ("RetryAfter", False)
        assert (later.details[0]["retry_after"], later.next_retry_delay) == (90.0, timedelta(seconds=90))


async def test_a_failure_that_bears_the_name_of_a_release_is_a_failure(client: Client, stage: Stage) -> None:
    """A release would be run again at once, and no retry be used."""

    @stage.handlers.handler("liar")
    async def lie(ctx: TaskContext, task: Task) -> None:
        raise type("released", (Exception,), {})("not by the worker")

    async with serving(client, stage) as desk:
        failure = await desk.failure("liar")
    assert (failure.type, failure.non_retryable) == ("exception released", False)


async def test_a_long_failure_is_cut_to_what_every_server_takes(client: Client, stage: Stage) -> None:
    async with serving(client, stage) as desk:
        failure = await desk.failure("broken", "é" * 100_000)
    assert len(failure.message.encode()) == 8 * 1024
    assert failure.details[0]["error"]["message"] == failure.message


@pytest.mark.parametrize(
    ("what", "kind"), [("large", "payload_too_large"), ("nan", "invalid_input"), ("deep", "invalid_input")]
)
async def test_an_output_that_cannot_be_sent_fails_for_good(client: Client, stage: Stage, what: str, kind: str) -> None:
    async with serving(client, stage) as desk:
        failure = await desk.failure("big", what)
    assert (failure.type, failure.non_retryable) == (kind, True)
    assert failure.details[0]["error"]["type"] == kind


async def test_an_output_of_one_mebibyte_fits(client: Client, stage: Stage) -> None:
    async with serving(client, stage) as desk:
        assert len(await desk.output("big", "fits")) == 1024 * 1024 - 2


@pytest.mark.parametrize("capability", ["unheard-of", None])
async def test_a_capability_without_handler_is_a_failure_that_may_be_retried(
    client: Client, stage: Stage, capability: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(client, stage) as desk:
        failure = await desk.failure(capability)
    assert (failure.type, failure.non_retryable) == ("no_handler", False)
    assert "'echo', 'square'" in failure.message
    assert failure.message in caplog.text


async def test_progress_is_seen_in_the_heartbeats_soon(client: Client, stage: Stage) -> None:
    async with serving(client, stage) as desk:
        handle = await desk.ask("count")
        async with asyncio.timeout(SOON):
            shown = await desk.shown(handle, lambda said: said["progress"] == 99)
        assert shown == {"progress": 99.0, "message": "99 of 100?"}
        stage.leave.set()
        assert await handle.result() == "counted"


async def test_a_silent_handler_is_kept_alive_by_heartbeats(client: Client, stage: Stage) -> None:
    async with serving(client, stage) as desk:
        handle = await desk.ask("wait", heartbeat=1.0)
        async with asyncio.timeout(DEADLINE):
            await stage.entered.wait()
        await asyncio.wait({asyncio.ensure_future(handle.result())}, timeout=2.5)
        stage.leave.set()
        assert await handle.result() == "waited"


async def test_what_runs_too_long_is_timed_out_and_stopped(client: Client, stage: Stage) -> None:
    async with serving(client, stage) as desk:
        cause = await cause_of(await desk.ask("wait", timeout=1.0))
        assert isinstance(cause, TimeoutError)
        assert cause.type is TimeoutType.START_TO_CLOSE
        assert await asyncio.to_thread(stage.stopped.wait, DEADLINE)


async def test_a_cancellation_reaches_the_handler(client: Client, stage: Stage) -> None:
    async with serving(client, stage) as desk:
        handle = await desk.ask("wait")
        async with asyncio.timeout(DEADLINE):
            await stage.entered.wait()
        await handle.cancel()
        async with asyncio.timeout(SOON):
            assert isinstance(await cause_of(handle), CancelledError)
    assert stage.stopped.is_set()


async def test_a_handler_that_ignores_its_cancellation_is_given_up(client: Client, stage: Stage) -> None:
    async with serving(client, stage, cancel_grace=2.0) as desk:
        handle = await desk.ask("stubborn", heartbeat=1.0)  # it would be lost if heartbeats ended meanwhile
        async with asyncio.timeout(DEADLINE):
            await stage.entered.wait()
        await handle.cancel()
        assert isinstance(await cause_of(handle), CancelledError)
    assert not stage.stopped.is_set()


async def test_a_worker_that_stops_lets_its_handler_finish(client: Client, stage: Stage) -> None:
    async with asking(client) as desk:
        async with worker(client, desk.queue, DurableTasksPlugin(stage.handlers), grace=DEADLINE):
            handle = await desk.ask("wait")
            async with asyncio.timeout(DEADLINE):
                await stage.entered.wait()
            asyncio.get_running_loop().call_later(0.5, stage.leave.set)
        assert await handle.result() == "waited"


@pytest.mark.parametrize("capability", ["wait", "stubborn"])
async def test_a_worker_whose_grace_is_over_releases(
    client: Client, stage: Stage, capability: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("durable_tasks.activities.execute._LEAVING", 1.0)
    async with asking(client) as desk:
        async with worker(client, desk.queue, DurableTasksPlugin(stage.handlers), grace=0.2):
            handle = await desk.ask(capability)
            async with asyncio.timeout(DEADLINE):
                await stage.entered.wait()
        cause = await cause_of(handle)
    assert (getattr(cause, "type", cause), getattr(cause, "non_retryable", cause)) == ("released", True)


async def test_the_plugin_serves_beside_a_users_own_activities_on_a_plain_client(
    temporal_server: EmbeddedServer, client: Client, stage: Stage
) -> None:
    @activity.defn
    async def of_the_user() -> str:
        return "mine"

    plain = await Client.connect(temporal_server.address)  # no pydantic converter, no plugin
    async with (
        asking(client) as desk,
        Worker(
            plain,
            task_queue=desk.queue,
            activities=[of_the_user],
            plugins=[DurableTasksPlugin(stage.handlers)],
        ) as served,
    ):
        assert len(served.config(active_config=True)["activities"]) == 2
        assert not served.config(active_config=True)["workflows"]
        assert await desk.output("square", {"number": 3}, prior={"a": None}) == 9
        assert await desk.output("echo", {"k": [1.5, None]}) == {"k": [1.5, None]}
        assert (await desk.failure("final")).details[0]["error"]["message"] == "no such file"
        handle = await desk.ask("count")
        assert (await desk.shown(handle, lambda said: said["progress"] == 99))["progress"] == 99
        stage.leave.set()
        assert await handle.result() == "counted"


async def test_the_plugin_may_be_given_to_the_client_instead(
    temporal_server: EmbeddedServer, client: Client, stage: Stage
) -> None:
    given = await Client.connect(temporal_server.address, plugins=[DurableTasksPlugin(stage.handlers)])
    async with asking(client) as desk, Worker(given, task_queue=desk.queue):
        assert await desk.output("echo", 1) == 1


def test_the_plugin_takes_what_has_handlers(tmp_path: Path) -> None:
    from durable_tasks import DurableTasks  # here only: a worker of Handlers does without it

    tasks = DurableTasks(Settings(db=tmp_path / "never.db"))
    with pytest.raises(ConfigurationError, match="no handler is registered"):
        DurableTasksPlugin(tasks)
    tasks.handler("a")(lambda ctx, task: None)
    assert DurableTasksPlugin(tasks).handlers is tasks.handlers
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigurationError, match="not 7"):
        DurableTasksPlugin(7)  # type: ignore[arg-type]


def test_handlers_are_registered_as_on_durable_tasks() -> None:
    handlers = Handlers()

    @handlers.handler("a")
    def a(ctx: TaskContext, task: Task) -> None: ...

    @handlers.default_handler
    def anything(ctx: TaskContext, task: Task) -> None: ...

    assert (handlers.capabilities, handlers.has_default) == (("a",), True)
    with pytest.raises(InvalidInput, match="has a handler already"):
        handlers.handler("a")(a)
    with pytest.raises(ValueError, match="capability"):
        handlers.handler("")


def test_a_worker_of_handlers_alone_loads_no_sqlite() -> None:
    code = (
        "import sys; from durable_tasks import DurableTasksPlugin, Handlers; handlers = Handlers()\n"
        "handlers.handler('a')(lambda ctx, task: None); DurableTasksPlugin(handlers)\n"
        "print([name for name in sys.modules if 'sqlite' in name or name.startswith('durable_tasks.store')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"


# ----- the runner, by a clock that stands still


def assignment(capability: str | None, timeout: float | None = None) -> Assignment:
    return Assignment(task_of(capability, timeout=5.0), "token", timeout, {})


def running(runner: RemoteRunner, given: Assignment, cancelled: asyncio.Event) -> asyncio.Task[Outcome]:
    return asyncio.create_task(runner.run(given, lambda percent, message: None, cancelled))


async def test_the_runner_stops_a_handler_at_its_timeout(stage: Stage) -> None:
    clock = ManualClock()
    runner = RemoteRunner(stage.handlers, clock, cancel_grace=30)
    ended = running(runner, assignment("wait", 5), asyncio.Event())
    await stage.entered.wait()
    await clock.advance(4.9)
    assert not stage.stopped.is_set()
    await clock.advance(0.1)
    outcome = await ended
    assert outcome.error is not None
    assert (outcome.ending, outcome.error.type, outcome.retryable) == (Ending.FAILED, "timeout", True)
    assert stage.stopped.is_set()


async def test_the_runner_gives_up_a_handler_after_the_grace(stage: Stage) -> None:
    clock = ManualClock()
    cancelled = asyncio.Event()
    ended = running(RemoteRunner(stage.handlers, clock, cancel_grace=30), assignment("stubborn"), cancelled)
    await stage.entered.wait()
    cancelled.set()
    await clock.advance(29)
    assert not ended.done()
    await clock.advance(1)
    assert (await ended).ending is Ending.RELEASED


async def test_a_cancelled_runner_leaves_nothing_behind(stage: Stage) -> None:
    ended = running(RemoteRunner(stage.handlers, ManualClock(), cancel_grace=30), assignment("wait"), asyncio.Event())
    await stage.entered.wait()
    ended.cancel()
    assert isinstance((await asyncio.gather(ended, return_exceptions=True))[0], asyncio.CancelledError)
    assert await asyncio.to_thread(stage.stopped.wait, DEADLINE)


async def test_the_runner_names_what_it_can_run(stage: Stage) -> None:
    runner = RemoteRunner(Handlers(), ManualClock(), cancel_grace=30)
    with pytest.raises(NotFound, match="no handler for the capability 'x'; its capabilities: none"):
        await running(runner, assignment("x"), asyncio.Event())
