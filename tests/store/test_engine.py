"""Handlers on the local engine: how they are called, retried, stopped, shared out and drained.

It must not know agents, groups or Temporal. Time is moved by hand; waits are on events with a deadline.
"""

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from durable_tasks import (
    DurableTasks,
    NewTask,
    NonRetryable,
    Org,
    Priority,
    RetryAfter,
    RetryPolicy,
    Task,
    TaskContext,
    errors,
)
from durable_tasks.engine.wheel import ClockWheel
from durable_tasks.testing import ManualClock
from tests.store.support import DEADLINE, make, opened, query, spin_until, time_of, within


class Order(BaseModel):
    item: str
    count: int = 1


@dataclass
class Gate:
    """A handler that says when it has begun and ends when it is let go."""

    begun: asyncio.Event
    go: asyncio.Event
    runs: int = 0

    async def __call__(self, ctx: TaskContext, task: Task) -> str:
        self.runs += 1
        self.begun.set()
        await self.go.wait()
        return "done"


def gate(tasks: DurableTasks, capability: str = "gate") -> Gate:
    made = Gate(asyncio.Event(), asyncio.Event())
    tasks.handler(capability)(made)
    return made


async def run(org: Org, capability: str | None = "x", **fields: Any) -> Task:
    task = await org.create("task", capability=capability, mode="auto", **fields)
    return await within(org.wait(task.id))  # type: ignore[no-any-return]


async def reaches(org: Org, task: Task, state: str) -> Task:
    """The task in that state, seen after some commit."""
    async with asyncio.timeout(DEADLINE):
        async for _ in org.watch(after=0):
            found = await org.get(task.id)
            if found.state == state:
                return found
    raise AssertionError


# ----- calling


async def test_an_async_handler_gets_the_task(tasks: DurableTasks, org: Org) -> None:
    @tasks.handler("x")
    async def handle(ctx: TaskContext, task: Task) -> Any:
        return [task.input, ctx.task.id == task.id, ctx.attempt]

    done = await run(org, input={"a": [1, None, "é"]})
    assert (done.state, done.output, done.progress) == ("completed", [{"a": [1, None, "é"]}, True, 1], 100.0)


async def test_a_sync_handler_runs_in_a_thread_of_its_own(tasks: DurableTasks, org: Org) -> None:
    variable = contextvars.ContextVar("variable", default="unset")

    @tasks.handler("x")
    def handle(ctx, task):  # type: ignore[no-untyped-def]
        thread = threading.current_thread()
        return [thread is not threading.main_thread(), thread.daemon, variable.get(), task.title]

    assert (await run(org)).output == [True, True, "unset", "task"]


async def test_annotated_input_is_validated_and_models_come_out_as_json(tasks: DurableTasks, org: Org) -> None:
    @tasks.handler("x")
    async def handle(ctx: TaskContext, order: Order) -> Order:
        return Order(item=order.item.upper(), count=order.count + ctx.attempt)

    assert (await run(org, input={"item": "tea"})).output == {"item": "TEA", "count": 2}
    refused = await run(org, input={"item": "tea", "count": "many"}, max_retries=5)
    assert refused.error is not None
    assert (refused.state, refused.attempt, refused.error.type) == ("failed", 1, "NonRetryable")
    assert "count" in refused.error.message


async def test_the_default_handler_takes_tasks_without_a_capability(tasks: DurableTasks, org: Org) -> None:
    tasks.default_handler(lambda ctx, task: task.title)
    task = await org.create("plain")
    assert task.mode == "auto"
    assert (await within(org.wait(task.id))).output == "plain"
    assert (await org.create("other", capability="unknown")).state == "pending"


async def test_what_is_no_handler_is_refused(tasks: DurableTasks) -> None:
    with pytest.raises(errors.InvalidInput, match=r"cannot be called with \(ctx, task\)"):
        tasks.handler("one")(lambda ctx: None)
    tasks.handler("two")(lambda ctx, task: None)
    with pytest.raises(errors.InvalidInput, match="'two' has a handler already"):
        tasks.handler("two")(lambda ctx, task: None)
    with pytest.raises(ValueError, match="bad capability"):
        tasks.handler("bad capability")


async def test_two_instances_have_their_own_handlers(db: Path, tmp_path: Path) -> None:
    async with opened(db) as one, opened(tmp_path / "two.db") as two:
        one.handler("x")(lambda ctx, task: "one")
        two.handler("x")(lambda ctx, task: "two")
        assert [(await run(side.org())).output for side in (one, two)] == ["one", "two"]


# ----- failing


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("raised", "kind", "message"),
    [
        (ValueError("what"), "ValueError", "what"),
        (KeyError(), "KeyError", "KeyError()"),
        (SystemExit(3), "SystemExit", "3"),
        (asyncio.CancelledError(), "CancelledError", "CancelledError"),
        (ValueError("half a pair: \ud800"), "ValueError", "half a pair: ?"),
        (Unspeakable(), "Unspeakable", ""),
        (ValueError("x" * 100_000), "ValueError", "x" * 8192),
    ],
)
@pytest.mark.parametrize("is_async", [False, True])
async def test_what_a_handler_raises_is_its_error(
    tasks: DurableTasks, org: Org, is_async: bool, raised: BaseException, kind: str, message: str
) -> None:
    async def slow(ctx: TaskContext, task: Task) -> None:
        raise raised

    def quick(ctx: TaskContext, task: Task) -> None:
        raise raised

    tasks.handler("x")(slow if is_async else quick)
    failed = await run(org)
    assert failed.error is not None
    assert (failed.state, failed.error.type) == ("failed", kind)
    assert message in failed.error.message or failed.error.message == "the handler was cancelled"
    assert tasks.running_handlers == 0


@pytest.mark.parametrize("output", [float("nan"), object(), {1: 2}, {"a": [{1: 2, "1": 3}]}, "x" * 2_000_000, "\ud800"])
async def test_an_output_that_cannot_be_stored_fails_the_task(tasks: DurableTasks, org: Org, output: Any) -> None:
    tasks.handler("x")(lambda ctx, task: output)
    failed = await run(org, max_retries=3)
    if output == {1: 2}:
        assert failed.output == {"1": 2}
        return
    assert failed.error is not None
    assert (failed.state, failed.error.type, failed.attempt) == ("failed", "NonRetryable", 1)
    assert "output" in failed.error.message


async def test_non_retryable_ends_at_once(tasks: DurableTasks, org: Org) -> None:
    @tasks.handler("x")
    async def handle(ctx: TaskContext, task: Task) -> None:
        raise NonRetryable("hopeless", why="bad address")

    failed = await run(org, max_retries=5)
    assert failed.error is not None
    assert (failed.state, failed.attempt, failed.retry_count, failed.error.message) == ("failed", 1, 0, "hopeless")
    assert failed.error.details["facts"] == {"why": "'bad address'"}
    assert "raise NonRetryable" in failed.error.details["traceback"]


async def test_retries_wait_their_backoff(tasks: DurableTasks, org: Org) -> None:
    attempts: list[int] = []

    @tasks.handler("x")
    async def handle(ctx: TaskContext, task: Task) -> None:
        attempts.append(ctx.attempt)
        raise ValueError("again")

    task = await org.create("task", capability="x", max_retries=3, retry=RetryPolicy(initial=10, maximum=30))
    for number, delay in enumerate((10, 20, 30), start=1):
        assert (await reaches(org, task, "retrying")).retry_count == number
        await time_of(tasks).advance(delay - 0.5)
        assert attempts == list(range(1, number + 1))
        await time_of(tasks).advance(0.5)
    failed = await within(org.wait(task.id))
    assert (failed.state, failed.attempt, attempts) == ("failed", 4, [1, 2, 3, 4])


async def test_retry_after_names_the_delay(tasks: DurableTasks, org: Org) -> None:
    @tasks.handler("x")
    async def handle(ctx: TaskContext, task: Task) -> str:
        if ctx.attempt == 1:
            raise RetryAfter(3600)
        return "second"

    task = await org.create("task", capability="x", max_retries=1)
    await reaches(org, task, "retrying")
    await time_of(tasks).advance(3599)
    assert (await org.get(task.id)).state == "retrying"
    await time_of(tasks).advance(1)
    assert (await within(org.wait(task.id))).output == "second"


async def test_retry_after_makes_no_retries(tasks: DurableTasks, org: Org) -> None:
    @tasks.handler("x")
    async def handle(ctx: TaskContext, task: Task) -> None:
        raise RetryAfter(1)

    assert (await run(org)).state == "failed"


# ----- time


async def test_a_delayed_task_runs_in_its_time(tasks: DurableTasks, org: Org) -> None:
    tasks.handler("x")(lambda ctx, task: "ran")
    task = await org.create("task", capability="x", delay="1h")
    assert task.state == "scheduled"
    await time_of(tasks).advance(3599)
    assert (await org.get(task.id)).attempt == 0
    await time_of(tasks).advance(1)
    assert (await within(org.wait(task.id))).output == "ran"


async def test_a_timeout_stops_the_handler_and_counts_as_a_failure(tasks: DurableTasks, org: Org) -> None:
    made = gate(tasks)
    task = await org.create("task", capability="gate", timeout=5, max_retries=1)
    await within(made.begun.wait())
    await time_of(tasks).advance(4.9)
    assert (await org.get(task.id)).state == "running"
    made.begun.clear()
    await time_of(tasks).advance(0.2)
    retrying = await org.get(task.id)
    assert retrying.error is not None
    assert (retrying.state, retrying.error.type, retrying.retry_count) == ("retrying", "timeout", 1)
    await spin_until(lambda: tasks.running_handlers == 0)
    await time_of(tasks).advance(1)
    await within(made.begun.wait())
    made.go.set()
    assert (await within(org.wait(task.id))).state == "completed"
    assert [one.state.value for one in await org.attempts(task.id)] == ["failed", "completed"]


async def test_a_deadline_ends_a_task_in_any_state(tasks: DurableTasks, org: Org) -> None:
    made = gate(tasks)
    running = await org.create("running", capability="gate", deadline=100)
    waiting = await org.create("waiting", deadline=100)
    later = await org.create("later", deadline=100, delay=200)
    child = await org.create("child", depends_on=[waiting.id], deadline=100)
    await within(made.begun.wait())
    await time_of(tasks).advance(100)
    for task in (running, waiting, later):
        ended = await org.get(task.id)
        assert ended.error is not None
        assert (ended.state, ended.error.type) == ("failed", "deadline")
    assert (await org.get(child.id)).state in ("failed", "cancelled")
    await spin_until(lambda: tasks.running_handlers == 0)


async def test_a_missed_deadline_does_not_bind_a_retry(tasks: DurableTasks, org: Org) -> None:
    task = await org.create("task", deadline=10)
    await time_of(tasks).advance(10)
    again = await org.retry(task.id)
    assert (again.state, again.deadline_at) == ("pending", None)


# ----- stopping


async def test_a_cancel_reaches_an_async_handler(tasks: DurableTasks, org: Org) -> None:
    made = gate(tasks)
    task = await org.create("task", capability="gate")
    await within(made.begun.wait())
    assert (await org.cancel(task.id)).state == "cancelled"
    await spin_until(lambda: tasks.running_handlers == 0)
    assert [one.state.value for one in await org.attempts(task.id)] == ["cancelled"]


async def test_a_cancel_reaches_a_sync_handler(tasks: DurableTasks, org: Org) -> None:
    begun, saw = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    look = threading.Event()

    @tasks.handler("x")
    def handle(ctx: TaskContext, task: Task) -> str:
        loop.call_soon_threadsafe(begun.set)
        look.wait(DEADLINE)
        if ctx.cancelled:
            loop.call_soon_threadsafe(saw.set)
        return "too late"

    task = await org.create("task", capability="x")
    await within(begun.wait())
    await org.cancel(task.id, reason="stop")
    look.set()
    await within(saw.wait())
    await spin_until(lambda: tasks.running_handlers == 0)
    ended = await org.get(task.id)
    assert (ended.state, ended.output, ended.reason) == ("cancelled", None, "stop")


@pytest.fixture
async def let_go() -> AsyncIterator[asyncio.Event]:
    """Frees stubborn handlers whatever becomes of the test: the loop could not end otherwise."""
    event = asyncio.Event()
    yield event
    event.set()


async def test_a_handler_that_ignores_its_cancellation_is_given_up(
    db: Path, clock: ManualClock, let_go: asyncio.Event
) -> None:
    """Its slot serves others after the grace, and stop() does not wait for it."""
    asked = asyncio.Event()
    async with opened(db, clock, max_concurrent=1) as tasks:

        @tasks.handler("stubborn")
        async def stubborn(ctx: TaskContext, task: Task) -> None:
            while not let_go.is_set():
                try:
                    await let_go.wait()
                except asyncio.CancelledError:
                    asked.set()

        tasks.handler("x")(lambda ctx, task: "ran")
        org = tasks.org()
        first = await org.create("first", capability="stubborn")
        await reaches(org, first, "running")
        await org.cancel(first.id)
        await within(asked.wait())
        second = await org.create("second", capability="x")
        await clock.advance(29.9)
        assert (await org.get(second.id)).state == "pending"
        await clock.advance(0.2)
        assert (await within(org.wait(second.id))).output == "ran"


async def test_a_stubborn_thread_does_not_hold_stop(db: Path, clock: ManualClock) -> None:
    begun, let_go = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    tasks = make(db, clock)

    @tasks.handler("x")
    def stubborn(ctx: TaskContext, task: Task) -> None:
        loop.call_soon_threadsafe(begun.set)
        let_go.wait(DEADLINE)

    await tasks.start()
    task = await tasks.org().create("task", capability="x")
    await within(begun.wait())
    await stop_after_grace(tasks, clock)
    let_go.set()
    assert query(db, "SELECT state, retry_count, lost_count FROM dt_tasks WHERE id = ?", task.id) == [("pending", 0, 0)]


async def stop_after_grace(tasks: DurableTasks, clock: ManualClock) -> None:
    stopping = asyncio.create_task(tasks.stop())
    async with asyncio.timeout(DEADLINE):
        while not stopping.done():
            await asyncio.sleep(0)
            await clock.advance(1, settle=0.2)
    await stopping


async def test_stop_lets_handlers_finish(db: Path, clock: ManualClock) -> None:
    tasks = make(db, clock)
    made = gate(tasks)
    await tasks.start()
    task = await tasks.org().create("task", capability="gate")
    await within(made.begun.wait())
    stopping = asyncio.create_task(tasks.stop())
    await asyncio.sleep(0)
    made.go.set()
    await within(stopping)
    assert query(db, "SELECT state, output FROM dt_tasks WHERE id = ?", task.id) == [("completed", '"done"')]


async def test_stop_releases_what_outlives_the_grace(db: Path, clock: ManualClock) -> None:
    tasks = make(db, clock)
    made = gate(tasks)
    await tasks.start()
    task = await tasks.org().create("task", capability="gate", max_retries=1)
    await within(made.begun.wait())
    await stop_after_grace(tasks, clock)
    async with opened(db, clock) as again:
        org = again.org()
        released = await org.get(task.id)
        assert (released.state, released.retry_count, released.lost_count) == ("pending", 0, 0)
        assert [one.state.value for one in await org.attempts(task.id)] == ["released"]
        assert await again.store.audit() == []


async def test_stop_while_work_is_being_taken_loses_nothing(db: Path, clock: ManualClock) -> None:
    for turns in range(12):
        tasks = make(db, clock)
        tasks.handler("x")(lambda ctx, task: "ran")
        await tasks.start()
        creating = asyncio.create_task(tasks.org().create(f"t{turns}", capability="x"))
        await creating
        for _ in range(turns):
            await asyncio.sleep(0)
        await within(tasks.stop())
    found = query(db, "SELECT DISTINCT state, lost_count, retry_count FROM dt_tasks")
    assert {row[1:] for row in found} == {(0, 0)}
    assert {row[0] for row in found} <= {"pending", "completed"}


# ----- sharing out


async def test_no_more_handlers_run_than_there_are_slots(db: Path) -> None:
    now, most = 0, 0
    async with opened(db, max_concurrent=3) as tasks:

        @tasks.handler("x")
        async def handle(ctx: TaskContext, task: Task) -> None:
            nonlocal now, most
            now += 1
            most = max(most, now)
            await asyncio.sleep(0)
            now -= 1

        made = await tasks.org().fan_out("many", [NewTask(title=f"t{n}", capability="x") for n in range(50)])
        assert (await within(tasks.org().wait_workflow(made.id))).state == "completed"
    assert most == 3


async def order_of(tasks: DurableTasks, create: Callable[[], Awaitable[None]], count: int) -> list[str]:
    """The titles of tasks in the order they begin, with one slot, all of them ready at once."""
    first, order, done = gate(tasks, "first"), [], asyncio.Event()

    @tasks.handler("x")
    async def handle(ctx: TaskContext, task: Task) -> None:
        order.append(task.title)
        if len(order) == count:
            done.set()

    await tasks.org("first").create("first", capability="first")
    await within(first.begun.wait())
    await create()
    first.go.set()
    await within(done.wait())
    return order


async def test_within_an_organisation_priority_then_age(db: Path) -> None:
    async with opened(db, max_concurrent=1) as tasks:

        async def create() -> None:
            for number, priority in enumerate((1, 0, 3, 1, 3)):
                await tasks.org().create(f"{priority}{number}", capability="x", priority=Priority(priority))

        assert await order_of(tasks, create, 5) == ["32", "34", "10", "13", "01"]


async def test_organisations_take_turns(db: Path) -> None:
    async with opened(db, max_concurrent=1) as tasks:

        async def create() -> None:
            for name, count in (("a", 6), ("b", 3), ("c", 1)):
                await tasks.org(name).create_many([NewTask(title=name, capability="x")] * count)

        order = await order_of(tasks, create, 10)
    assert sorted(order[:3]) == ["a", "b", "c"]
    assert sorted(order[3:5]) == ["a", "b"]
    assert sorted(order[5:7]) == ["a", "b"]
    assert order[7:] == ["a"] * 3


async def test_slots_are_shared_between_organisations(db: Path) -> None:
    async with opened(db, max_concurrent=4) as tasks:
        await tasks.org("a").create_many([NewTask(title="a", capability="gate")] * 20)
        await tasks.org("b").create_many([NewTask(title="b", capability="gate")] * 20)
    async with make_with_gate(db) as tasks:
        running = (await tasks.org("a").list(state="running")).items, (await tasks.org("b").list(state="running")).items
        assert [len(part) for part in running] == [2, 2]


class make_with_gate:
    """Opens with a gate registered before the start, and waits until the slots are full."""

    def __init__(self, db: Path) -> None:
        self._tasks = make(db, max_concurrent=4)
        self._gate = gate(self._tasks)

    async def __aenter__(self) -> DurableTasks:
        await self._tasks.start()
        await spin_until(lambda: self._gate.runs == 4)
        return self._tasks

    async def __aexit__(self, *_: object) -> None:
        self._gate.go.set()
        await within(self._tasks.stop())


async def test_a_process_without_a_worker_executes_nothing(db: Path) -> None:
    async with opened(db, worker=False) as idle, opened(db) as busy:
        idle.handler("x")(lambda ctx, task: "idle")
        task = await idle.org().create("task", capability="x")
        assert task.mode == "auto"
        busy.handler("x")(lambda ctx, task: "busy")
        await busy.org().create("nudge", capability="x")
        assert (await within(idle.org().wait(task.id))).output == "busy"


# ----- progress


async def test_progress_is_coalesced_and_the_last_one_counts(tasks: DurableTasks, org: Org, db: Path) -> None:
    writes: list[float] = []
    report = tasks.store.report

    async def counted(assignment: Any, percent: float, message: str | None) -> None:
        writes.append(percent)
        await report(assignment, percent, message)

    tasks.store.report = counted  # type: ignore[method-assign]
    go = asyncio.Event()

    @tasks.handler("x")
    async def handle(ctx: TaskContext, task: Task) -> None:
        for percent in range(101):
            ctx.progress(percent, f"at {percent}")
        await go.wait()

    task = await org.create("task", capability="x")
    await spin_until(lambda: writes[-1:] == [100])
    await org.create("marker")
    found = await org.get(task.id)
    assert (found.progress, found.progress_message) == (100.0, "at 100")
    assert len(writes) <= 3
    assert len([e for e in await org.events(task_id=task.id) if e.kind == "task.progress"]) == 1
    go.set()
    await within(org.wait(task.id))


async def test_progress_comes_from_threads_and_refuses_nonsense(tasks: DurableTasks, org: Org) -> None:
    @tasks.handler("x")
    def handle(ctx: TaskContext, task: Task) -> list[str]:
        ctx.progress(50)
        said = []
        for nonsense in (-1, 100.1, float("nan"), "half", True, None):
            try:
                ctx.progress(nonsense)  # type: ignore[arg-type]
            except errors.InvalidInput as error:
                said.append(error.message)
        return said

    done = await run(org)
    assert [message.rsplit(" ", 1)[1] for message in done.output] == ["-1", "100.1", "nan", "'half'", "True", "None"]


# ----- other processes


async def test_a_stalled_process_loses_its_attempt_and_its_late_result(db: Path) -> None:
    """The first instance's clock stands still: it never renews its lease. The second sees that for a whole lease,
    buries it and runs the task."""
    late, fresh = ManualClock(), ManualClock()
    async with opened(db, late) as stalled:
        made = gate(stalled)
        task = await stalled.org().create("task", capability="gate")
        await within(made.begun.wait())
        second = make(db, fresh)
        second.handler("gate")(lambda ctx, task: "second")
        await second.start()
        await watch_for_a_lease(fresh)
        done = await within(second.org().wait(task.id))
        made.go.set()
        await spin_until(lambda: stalled.running_handlers == 0)
        after = await second.org().get(task.id)
        assert (done.output, done.lost_count, after) == ("second", 1, done)
        assert [one.state.value for one in await second.org().attempts(task.id)] == ["lost", "completed"]
        await within(second.stop())


async def watch_for_a_lease(clock: ManualClock) -> None:
    for _ in range(6):
        await clock.advance(3)


async def test_a_clock_begun_again_after_an_unforeseen_error_asks_at_once(clock: ManualClock) -> None:
    asked = 0

    async def expire() -> tuple[int, float | None]:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise RuntimeError("nobody foresaw this")
        return 0, None

    wheel = ClockWheel(expire, clock)
    with pytest.raises(RuntimeError, match="foresaw"):
        await wheel.turn()
    turning = asyncio.create_task(wheel.turn())
    await spin_until(lambda: asked == 2)
    turning.cancel()
