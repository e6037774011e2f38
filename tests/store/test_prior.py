"""What handlers see of the tasks before theirs: read outside the writer, and, when it is much, one by one."""

import asyncio
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from durable_tasks import DurableTasks, NewTask, TaskContext
from durable_tasks.errors import StoreError
from durable_tasks.models import Task
from durable_tasks.ports import Assignment
from durable_tasks.store import prior
from durable_tasks.store.store import Store
from tests.store.support import within

LARGE = 700 * 1024
NAMES = ("a", "b", "c")


def joining(tasks: DurableTasks, size: int) -> None:
    @tasks.handler("part")
    async def part(ctx: TaskContext, task: Task) -> str:
        return str(task.name) * size


async def joined(tasks: DurableTasks) -> Task:
    org = tasks.org()
    parts = [NewTask(name=name, capability="part") for name in NAMES]
    made = await org.dag("join", [*parts, NewTask(name="join", capability="join", depends_on=NAMES)])
    await within(org.wait_workflow(made.id))
    return (await org.workflow_tasks(made.id))[-1]


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_much_is_read_value_by_value_and_only_when_asked(
    tasks: DurableTasks, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []

    def connect_and_count(path: Path, *, reading: bool = False) -> sqlite3.Connection:
        opened.append(path)
        return prior_connect(path, reading=reading)

    prior_connect = prior.connect  # type: ignore[attr-defined]
    monkeypatch.setattr(prior, "connect", connect_and_count)
    joining(tasks, LARGE)

    def look(ctx: TaskContext) -> list[Any]:
        known = (len(ctx.prior), list(ctx.prior), "b" in ctx.prior, "x" in ctx.prior, ctx.prior.get("x"))
        before = len(opened)
        value = ctx.prior["b"]
        return [known, before, value == "b" * LARGE, len(opened)]

    if kind == "async":

        @tasks.handler("join")
        async def join(ctx: TaskContext, task: Task) -> list[Any]:
            return look(ctx)
    else:

        @tasks.handler("join")
        def join_in_thread(ctx: TaskContext, task: Task) -> list[Any]:
            return look(ctx)

    ended = await joined(tasks)
    assert ended.output == [[3, ["a", "b", "c"], True, False, None], 0, True, 1]


async def test_few_are_at_hand_before_the_handler_begins(tasks: DurableTasks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prior, "connect", None)
    joining(tasks, 1000)

    @tasks.handler("join")
    async def join(ctx: TaskContext, task: Task) -> bool:
        return dict(ctx.prior) == {name: name * 1000 for name in NAMES}

    assert (await joined(tasks)).output is True


@pytest.mark.parametrize("size", [1, 300 * 1024])
async def test_they_can_be_handed_on(tasks: DurableTasks, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prior, "AT_ONCE", 1024)
    joining(tasks, size)

    @tasks.handler("join")
    async def join(ctx: TaskContext, task: Task) -> dict[str, Any]:
        return {"prior": ctx.prior}

    assert (await joined(tasks)).output == {"prior": {name: name * size for name in NAMES}}


async def test_an_attempt_whose_prior_outputs_cannot_be_read_has_failed(
    tasks: DurableTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(store: Store, assignment: Assignment) -> Mapping[str, Any]:
        raise StoreError("the disk has gone")

    monkeypatch.setattr(Store, "prior", broken)
    joining(tasks, 1)

    @tasks.handler("join")
    async def join(ctx: TaskContext, task: Task) -> None:
        raise AssertionError("it must not be called")

    org = tasks.org()
    part = await org.create("part", name="a", capability="part")
    ended = await within(org.wait((await org.create("join", capability="join", depends_on=(part.id,))).id))
    assert (ended.state, ended.error and ended.error.message) == ("failed", "the disk has gone")


async def test_a_task_cancelled_while_they_are_read_is_not_begun(
    tasks: DurableTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, go_on = asyncio.Event(), asyncio.Event()

    async def slow(store: Store, assignment: Assignment) -> Mapping[str, Any]:
        reading.set()
        await go_on.wait()
        return {}

    monkeypatch.setattr(Store, "prior", slow)
    joining(tasks, 1)
    called: list[str] = []

    @tasks.handler("join")
    async def join(ctx: TaskContext, task: Task) -> None:
        called.append(task.id)

    org = tasks.org()
    part = await org.create("part", name="a", capability="part")
    task = await org.create("join", capability="join", depends_on=(part.id,))
    await within(reading.wait())
    await org.cancel(task.id)
    go_on.set()
    await tasks.stop()
    assert called == []
    await tasks.start()
    assert (await org.get(task.id)).state == "cancelled"
