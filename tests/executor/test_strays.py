"""Attempts that the file says run here, and that nobody runs.

It must not know how an answer gets lost.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from durable_tasks import Task, TaskContext
from durable_tasks.errors import StoreUnreadable
from durable_tasks.testing import ManualClock
from tests.store.support import executor_of, make, query, spin_until, time_of, within

LEASE = 30.0


async def test_what_was_begun_after_all_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is lost after the commit. What really runs, and what is being taken, is left alone."""
    tasks = make(tmp_path / "app.db", ManualClock(), process_lease=LEASE, max_concurrent=3)
    begun, go = list[str](), asyncio.Event()

    @tasks.handler("x")
    async def work(ctx: TaskContext, task: Task) -> None:
        begun.append(f"{task.title} {task.attempt}")
        await go.wait()

    async with tasks:
        org, take, lost = tasks.org(), tasks.store.take, list[str]()
        await org.create("runs", capability="x")
        await spin_until(lambda: begun == ["runs 1"])

        async def losing(*asked: Any) -> Any:
            taken, after = await take(*asked)
            if any(one.task.title == "lost" for one in taken) and not lost:
                lost.append("lost")
                raise StoreUnreadable("the file could not be looked at")
            return taken, after

        monkeypatch.setattr(tasks.store, "take", losing)
        task = await org.create("lost", capability="x")
        await spin_until(lambda: bool(lost))
        await spin_until(lambda: not executor_of(tasks).under_way())
        for state in ("running", "running"):
            assert (await org.get(task.id)).state == state
            await time_of(tasks).advance(LEASE + 1)
        await spin_until(lambda: begun == ["runs 1", "lost 2"])
        go.set()
        done = await within(org.wait(task.id))
    assert (done.state, done.attempt, done.lost_count) == ("completed", 2, 0)
    assert query(tmp_path / "app.db", "SELECT COUNT(*) FROM dt_events WHERE kind = 'task.released'") == [(1,)]


async def test_what_is_being_taken_is_no_stray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = make(tmp_path / "app.db", ManualClock(), process_lease=LEASE)
    begun, held, go = list[int](), asyncio.Event(), asyncio.Event()

    @tasks.handler("x")
    async def work(ctx: TaskContext, task: Task) -> None:
        begun.append(task.attempt)

    async with tasks:
        org, take = tasks.org(), tasks.store.take

        async def slow(*asked: Any) -> Any:
            answer = await take(*asked)
            if answer[0]:
                held.set()
                await go.wait()
            return answer

        monkeypatch.setattr(tasks.store, "take", slow)
        task = await org.create("slow", capability="x")
        await within(held.wait())
        for _ in range(4):
            await time_of(tasks).advance(LEASE + 1)
        go.set()
        done = await within(org.wait(task.id))
    assert (done.state, begun) == ("completed", [1])
