"""Runs: whatever a handler raises or answers ends its own attempt, once, and nothing else.

It must not test what becomes of the task then.
"""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from durable_tasks import DurableTasks, NonRetryable, RetryAfter, Task, TaskContext, TaskState
from durable_tasks.clock import SystemClock
from durable_tasks.executor.remote import RemoteRunner
from durable_tasks.executor.run import Run, to_outcome
from durable_tasks.handlers import Handlers, dump_output, inspect_handler
from durable_tasks.ports import Assignment, Ending
from durable_tasks.web.examples import _PENDING as TASK
from tests.store.support import opened, within


class Unspeakable:
    def __repr__(self) -> NoReturn:
        raise SystemExit(9)


class Liar(Exception):
    def __str__(self) -> NoReturn:
        raise KeyboardInterrupt

    __repr__ = __str__

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise GeneratorExit


class Late(RetryAfter):
    def __init__(self) -> None:
        pass

    @property
    def seconds(self) -> NoReturn:  # type: ignore[override]
        raise RecursionError


def spoiled() -> NonRetryable:
    error = NonRetryable("x")
    error.facts = [1]  # type: ignore[assignment]
    return error


def misnamed() -> NonRetryable:
    error = NonRetryable("x")
    error.facts = {"half \ud800": 1, Unspeakable(): 2}  # type: ignore[dict-item]
    return error


RAISED: dict[str, tuple[Any, str]] = {
    "SystemExit": (lambda: SystemExit(2), "2"),
    "KeyboardInterrupt": (KeyboardInterrupt, "KeyboardInterrupt()"),
    "GeneratorExit": (GeneratorExit, "GeneratorExit()"),
    "NonRetryable": (lambda: NonRetryable("cannot ship", order=Unspeakable()), "cannot ship"),
    "RetryAfter": (lambda: RetryAfter(10**400), "the handler asked for a later retry"),
    "Liar": (Liar, "<the exception cannot say what it is>"),
    "Late": (Late, "Late()"),
    "BaseExceptionGroup": (lambda: BaseExceptionGroup("g", [SystemExit(2)]), "g (1 sub-exception)"),
}


@pytest.fixture
async def tasks(tmp_path: Path) -> AsyncIterator[DurableTasks]:
    async with opened(tmp_path / "app.db") as started:
        yield started


@pytest.mark.parametrize("kind", RAISED)
@pytest.mark.parametrize("is_async", [True, False])
async def test_what_a_handler_raises_ends_one_attempt_of_its_own(
    tasks: DurableTasks, kind: str, is_async: bool
) -> None:
    make, message = RAISED[kind]
    going = asyncio.Event()

    @tasks.handler("async")
    async def later(ctx: TaskContext, task: Task) -> None:
        await asyncio.sleep(0)
        raise make()

    @tasks.handler("plain")
    def plainly(ctx: TaskContext, task: Task) -> None:
        raise make()

    @tasks.handler("neighbour")
    async def neighbour(ctx: TaskContext, task: Task) -> str:
        await going.wait()
        return "done"

    org = tasks.org()
    beside = await org.create("beside", capability="neighbour")
    failed = await within(org.wait((await org.create("x", capability="async" if is_async else "plain")).id))
    assert failed.error is not None
    assert (failed.state, failed.attempt, failed.error.type) == (TaskState.FAILED, 1, kind)
    assert failed.error.message == message
    going.set()
    assert (await within(org.wait(beside.id))).output == "done"
    assert tasks.running_handlers == 0


@pytest.mark.parametrize("kind", RAISED)
async def test_an_external_worker_says_the_same(kind: str) -> None:
    handlers = Handlers()

    async def handle(ctx: TaskContext, task: Task) -> None:
        raise RAISED[kind][0]()

    handlers.add(None, handle)
    runner = RemoteRunner(handlers, SystemClock(), cancel_grace=1.0)
    outcome = await within(runner.run(Assignment(TASK, "t", None, {}), lambda *_: None, asyncio.Event()))
    assert outcome.ending is Ending.FAILED
    assert outcome.error is not None
    assert (outcome.error.type, outcome.error.message) == (kind, RAISED[kind][1])


def wordy() -> NonRetryable:
    return NonRetryable("x" * 10**6, **{f"f{number}": number for number in range(999)})


@pytest.mark.parametrize("make", [Liar, Late, spoiled, misnamed, wordy])
def test_there_is_an_outcome_of_bounded_size_for_any_exception(make: Callable[[], BaseException]) -> None:
    outcome = to_outcome(make())
    assert outcome.error is not None
    assert len(outcome.error.model_dump_json()) < 64 * 1024


def test_a_facts_name_is_text_that_can_be_stored() -> None:
    error = to_outcome(misnamed()).error
    assert error is not None
    assert error.details["facts"] == {"half ?": "1", "<Unspeakable that cannot be shown>": "2"}


def run_of(function: Any) -> Run:
    return Run(Assignment(TASK, "t", None, {}), inspect_handler(function), lambda *_: None)


async def test_a_handler_that_somebody_else_cancelled_before_it_began_has_failed() -> None:
    async def handle(ctx: TaskContext, task: Task) -> None:
        await asyncio.sleep(0)

    run = run_of(handle)
    run.start()
    for task in asyncio.all_tasks():
        if "handler" in task.get_name():
            task.cancel()
    outcome = await within(run.ended)
    assert outcome is not None
    assert outcome.error.type == "CancelledError"


PRESSED = """
import asyncio, signal, sys
from tests.executor.test_run import run_of

async def pressed(ctx, task):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in a background job of a shell it is ignored
    signal.raise_signal(signal.SIGINT)

async def main():
    run = run_of(pressed)
    run.start()
    await run.ended

if sys.argv[1] == "bare":
    asyncio.new_event_loop().run_until_complete(main())
else:
    asyncio.run(main())
"""


@pytest.mark.parametrize("how", ["bare", "asyncio.run"])
def test_a_real_interrupt_still_ends_the_process(how: str) -> None:
    done = subprocess.run([sys.executable, "-c", PRESSED, how], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGINT, done.stderr
    assert done.stderr.rstrip().endswith("KeyboardInterrupt")


@pytest.mark.parametrize("value", [object(), {"a": [print]}])
def test_an_output_that_is_no_json_is_final(value: Any) -> None:
    with pytest.raises(NonRetryable, match="cannot be stored as JSON"):
        dump_output(value)
