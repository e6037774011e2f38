"""The executor: what becomes of an attempt whose end cannot be recorded in a way that nobody foresaw.

It must not test handlers: what they raise and answer is for the tests of runs.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from durable_tasks import DurableTasks, Task, TaskContext, TaskState
from durable_tasks.engine.local import AFTER_ERROR
from durable_tasks.errors import StoreBusy
from durable_tasks.testing import ManualClock
from tests.store.support import executor_of, make, opened, spin_until, within


def breaking(tasks: DurableTasks, monkeypatch: pytest.MonkeyPatch, title: str, times: float) -> list[str]:
    """Ends of tasks of that title cannot be recorded so many times. The titles of all that was tried."""
    tried: list[str] = []
    finish = tasks.store.finish

    async def break_down(assignment: Any, *more: Any) -> Any:
        tried.append(assignment.task.title)
        if assignment.task.title == title and tried.count(title) <= times:
            raise AssertionError("a fault of ours")
        return await finish(assignment, *more)

    monkeypatch.setattr(tasks.store, "finish", break_down)
    return tried


def answering(tasks: DurableTasks) -> None:
    @tasks.handler("x")
    async def answer(ctx: TaskContext, task: Task) -> str:
        return task.title


async def test_an_end_that_cannot_be_recorded_costs_its_task_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    async with opened(tmp_path / "app.db", clock, max_concurrent=1) as tasks:
        answering(tasks)
        tried = breaking(tasks, monkeypatch, "odd", times=4)
        org = tasks.org()
        odd = await org.create("odd", capability="x")
        assert (await within(org.wait((await org.create("good", capability="x")).id))).output == "good"
        for rest, count in ((1, 3), (2, 4), (4, 5)):
            await clock.advance(rest)
            await spin_until(lambda count=count: tried.count("odd") == count)  # type: ignore[misc]
        done = await within(org.wait(odd.id))
        assert (done.state, done.attempt, done.output) == (TaskState.COMPLETED, 1, "odd")
        assert executor_of(tasks).free == 1


async def test_what_is_not_recorded_when_the_process_leaves_is_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    async with opened(tmp_path / "app.db", clock) as tasks:
        answering(tasks)
        tried = breaking(tasks, monkeypatch, "odd", times=float("inf"))
        odd = await tasks.org().create("odd", capability="x")
        await spin_until(lambda: len(tried) == 2 and tasks.running_handlers == 0)
    again = make(tmp_path / "app.db", clock)
    answering(again)
    async with again:
        done = await within(again.org().wait(odd.id))
        assert (done.state, done.attempt, done.lost_count) == (TaskState.COMPLETED, 2, 0)


async def test_slots_that_could_not_be_filled_are_filled_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock()
    async with opened(tmp_path / "app.db", clock, max_concurrent=1) as tasks:
        answering(tasks)
        breaking(tasks, monkeypatch, "odd", times=1)  # so that nothing is begun with its end
        take, failing = tasks.store.take, [StoreBusy("the file is busy")]

        async def refuse(*asked: Any) -> Any:
            if failing and tasks.running_handlers == 0 and tried:
                raise failing.pop()
            return await take(*asked)

        tried: list[str] = []
        monkeypatch.setattr(tasks.store, "take", refuse)
        org = tasks.org()
        release = asyncio.Event()

        @tasks.handler("slow")
        async def slow(ctx: TaskContext, task: Task) -> None:
            tried.append(task.id)
            await release.wait()

        await org.create("odd", capability="slow")
        await spin_until(lambda: len(tried) == 1)
        last = await org.create("last", capability="x")
        release.set()
        assert (await within(org.wait(last.id))).output == "last"
        assert failing == []


async def test_a_look_for_stops_that_failed_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock()
    async with opened(tmp_path / "app.db", clock) as tasks:
        assert tasks._running is not None
        looked: list[int] = []

        async def stopping() -> list[tuple[str, str]]:
            looked.append(1)
            if len(looked) == 1:
                raise StoreBusy("the file is busy")
            return []

        monkeypatch.setattr(tasks.store, "stopping", stopping)
        tasks._running.foreign.set()
        await spin_until(lambda: len(looked) == 1)
        await clock.advance(AFTER_ERROR)
        await spin_until(lambda: len(looked) == 2)
