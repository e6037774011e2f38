"""Beginning ahead: embedded tasks run while Temporal is told of them, unless the application wants its word first.
It must not know how the two are woven together; it holds the server up and looks at what ran.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import pytest

from durable_tasks import DurableTasks, NewTask, Settings, Task, TaskContext
from durable_tasks.contracts import task_workflow_id
from durable_tasks.errors import WaitTimeout
from durable_tasks.models import TaskState
from durable_tasks.temporal.server import EmbeddedServer

SECONDS = 30.0
MUCH_LATER = 3600.0


@asynccontextmanager
async def held_up(
    folder: Path, shared: EmbeddedServer, fallback: Literal["local", "wait"]
) -> AsyncIterator[tuple[DurableTasks, EmbeddedServer]]:
    """An application that knows its server as up, and a server that is stopped: it takes calls, and answers none."""
    async with EmbeddedServer(binary=shared.binary, database=folder / "temporal.db") as server:
        settings = Settings(
            db=folder / "tasks.db", enabled=True, address=server.address, fallback=fallback, fallback_after=MUCH_LATER
        )
        tasks = DurableTasks(settings)

        @tasks.handler("echo")
        async def echo(ctx: TaskContext, task: Task) -> object:
            return task.input

        async with tasks:
            assert tasks.temporal is not None
            await tasks.temporal.wait_connected(SECONDS)
            first = await tasks.org().create("first", capability="echo")
            await tasks.org().wait(first.id, timeout=SECONDS)
            os.kill(server.pid, signal.SIGSTOP)
            try:
                yield tasks, server
            finally:
                os.kill(server.pid, signal.SIGCONT)


async def closes(tasks: DurableTasks, task: Task) -> object:
    """The result of its Temporal workflow, once Temporal has taken it."""
    assert tasks.temporal is not None
    await sent(tasks, [task])
    handle = tasks.temporal.client("default").get_workflow_handle(task_workflow_id(task.id, task.generation))
    async with asyncio.timeout(SECONDS):
        return await handle.result()


async def test_a_task_is_done_before_temporal_has_answered(tmp_path: Path, temporal_server: EmbeddedServer) -> None:
    async with held_up(tmp_path, temporal_server, "local") as (tasks, server):
        task = await tasks.org().create("ahead", capability="echo", input=1)
        done = await tasks.org().wait(task.id, timeout=SECONDS)
        assert (done.state, done.output, done.attempt) == (TaskState.COMPLETED, 1, 1)
        os.kill(server.pid, signal.SIGCONT)
        assert await closes(tasks, task) == 1
        assert (await tasks.org().get(task.id)).version == done.version, "nothing ran again"


async def test_one_that_waits_for_temporals_word_does_not_begin(
    tmp_path: Path, temporal_server: EmbeddedServer
) -> None:
    async with held_up(tmp_path, temporal_server, "wait") as (tasks, server):
        task = await tasks.org().create("not ahead", capability="echo", input=2)
        with pytest.raises(WaitTimeout):
            await tasks.org().wait(task.id, timeout=1.0)
        os.kill(server.pid, signal.SIGCONT)
        assert (await tasks.org().wait(task.id, timeout=SECONDS)).output == 2


async def test_no_more_handlers_run_at_once_than_there_are_slots(
    tmp_path: Path, temporal_server: EmbeddedServer
) -> None:
    tasks = DurableTasks(
        Settings(db=tmp_path / "tasks.db", enabled=True, address=temporal_server.address, max_concurrent=2)
    )
    running: set[str] = set()
    most: list[int] = []
    third = asyncio.Event()

    @tasks.handler("crowd")
    async def crowd(ctx: TaskContext, task: Task) -> None:
        running.add(task.id)
        most.append(len(running))
        if len(most) <= 2:  # the first two hold both slots until all the others have been sent
            await third.wait()
        running.discard(task.id)

    async with tasks:
        assert tasks.temporal is not None
        await tasks.temporal.wait_connected(SECONDS)
        made = await tasks.org().create_many([NewTask(title="one of many", capability="crowd")] * 20)
        await sent(tasks, made[:8])  # two run, and three for each slot wait
        third.set()
        for task in made:
            await tasks.org().wait(task.id, timeout=SECONDS)
    assert len(most) == 20
    assert max(most) <= 2


async def test_what_was_held_back_starts_when_all_that_waited_is_cancelled(
    tmp_path: Path, temporal_server: EmbeddedServer
) -> None:
    tasks = DurableTasks(
        Settings(
            db=tmp_path / "tasks.db", enabled=True, address=temporal_server.address, max_concurrent=1, fallback="wait"
        )
    )
    tidied = asyncio.Event()

    @tasks.handler("stubborn")
    async def stubborn(ctx: TaskContext, task: Task) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await tidied.wait()

    @tasks.handler("quick")
    async def quick(ctx: TaskContext, task: Task) -> None:
        return

    async with tasks:
        assert tasks.temporal is not None
        await tasks.temporal.wait_connected(SECONDS)
        org = tasks.org()
        first = await org.create("runs", capability="stubborn")
        await sent(tasks, [first])
        waiting = await org.create_many([NewTask(title="waits", capability="quick")] * 3)
        await sent(tasks, waiting)
        held_back = await org.create_many([NewTask(title="held back", capability="quick")] * 3)
        for task in [*waiting, first]:
            await org.cancel(task.id)
        await sent(tasks, [await org.create("by hand", mode="manual")])  # the relay has looked, and found no room
        tidied.set()
        for task in held_back:
            assert (await org.wait(task.id, timeout=SECONDS)).state is TaskState.COMPLETED


async def sent(tasks: DurableTasks, made: Sequence[Task]) -> None:
    """Temporal has been told of these, and the relay has heard that it was."""
    ids = [task_workflow_id(task.id, task.generation) for task in made]
    committed = asyncio.Event()
    unsubscribe = tasks.store.subscribe(lambda notice: committed.set())
    async with asyncio.timeout(SECONDS):
        while any(one.state == "outbox" for one in (await tasks.store.find(ids)).values()):
            await committed.wait()
            committed.clear()
    unsubscribe()
