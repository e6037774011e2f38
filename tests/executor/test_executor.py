"""The executor: what becomes of an attempt whose end cannot be recorded in a way that nobody foresaw.

It must not test handlers: what they raise and answer is for the tests of runs.
"""

from pathlib import Path
from typing import Any

import pytest

from durable_tasks import DurableTasks, Task, TaskContext, TaskState
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
        failed = await within(org.wait(odd.id))
        assert (failed.state, failed.attempt) == (TaskState.FAILED, 1)
        assert failed.error is not None
        assert failed.error.type == "internal"
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
