"""Generated results and failures of handlers: each ends its own attempt, and all that is stored can be read back.

It must not name odd values: those are next door.
"""

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from durable_tasks import DurableTasks, Handlers, NewTask, Org, Task, TaskContext
from durable_tasks.activities.execute import _result
from durable_tasks.clock import SystemClock
from durable_tasks.executor.remote import RemoteRunner
from durable_tasks.ports import Assignment, Outcome
from durable_tasks.temporal.converter import CONVERTER
from durable_tasks.web.examples import _PENDING as TASK
from tests.executor import odd
from tests.faults.figures import count, keep
from tests.store.support import make, read_all

AT_ONCE = 200
PATIENCE = 120.0


def answer(number: int) -> Any:
    """What the handler of that number answers, unless it raises."""
    rng = random.Random(number)
    if number % 2:
        return odd.value(rng)
    raise odd.exception(rng)


def handle_all(handlers: Handlers | DurableTasks) -> None:
    @handlers.handler("loop")
    async def on_loop(ctx: TaskContext, task: Task) -> Any:
        if task.input % 3 == 0:
            await asyncio.sleep(0)
        return answer(task.input)

    @handlers.handler("thread")
    def in_thread(ctx: TaskContext, task: Task) -> Any:
        if task.input % 3 == 0:
            ctx.progress(task.input, odd.SAID[task.input % len(odd.SAID)])
        return answer(task.input)


async def test_hundreds(tmp_path: Path) -> None:
    await run(tmp_path, 400)


@pytest.mark.acceptance
async def test_as_many_results_as_are_asked_for(tmp_path: Path) -> None:
    keep("odd-results", await run(tmp_path, count("TASKS_ACCEPTANCE_RESULTS", 20_000)))


async def run(folder: Path, total: int) -> dict[str, int]:
    """How many ended how."""
    ended: dict[str, int] = {}
    async with make(folder / "app.db") as tasks:
        handle_all(tasks)
        org = tasks.org()
        for start in range(0, total, AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, total))
            for task in await ends(org, numbers):
                json.dumps(task.model_dump(mode="json"))
                ended[task.state] = ended.get(task.state, 0) + 1
        assert await tasks.store.audit() == []
        assert sum(ended.values()) == total
        assert await read_all(tasks) >= total
        assert tasks.running_handlers == 0
    return ended


async def ends(org: Org, numbers: range) -> list[Task]:
    """Each after one attempt, read back one by one."""
    found = []
    made = await org.create_many(
        [
            NewTask(title=str(number), capability="thread" if number % 5 == 0 else "loop", input=number,
                    max_retries=0)
            for number in numbers
        ]
    )  # fmt: skip
    for task in made:
        async with asyncio.timeout(PATIENCE):
            await org.wait(task.id)
        read = await org.get(task.id)
        assert (read.attempt, read.state in ("completed", "failed")) == (1, True), read
        assert (read.error is None) == (read.state == "completed"), read
        found.append(read)
    return found


async def test_an_external_worker_can_say_all_of_it_to_temporal() -> None:
    handlers = Handlers()
    handle_all(handlers)
    runner = RemoteRunner(handlers, SystemClock(), cancel_grace=1.0)
    for number in range(400):
        named = TASK.model_copy(update={"capability": "loop", "input": number})
        given = Assignment(named, "token", None, {})
        running = asyncio.create_task(runner.run(given, lambda *_: None, asyncio.Event()))
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait({running})
        for payload in await CONVERTER.encode(said_of(running, given)):
            assert len(payload.data) < 2 * 2**20
            json.loads(payload.data or b"null")


def said_of(running: asyncio.Task[Outcome], given: Assignment) -> list[Any]:
    """What the attempt's activity says at its end."""
    try:
        return [_result(running, given)]
    except ApplicationError as error:
        ended = error
    assert ended.type != "released"
    return [ended.message, ended.type, *ended.details]
