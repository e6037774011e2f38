"""Beginning ahead: embedded tasks run while Temporal is told of them, unless the application wants its word first.
It must not know how the two are woven together; it holds the server up and looks at what ran.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import pytest

from durable_tasks import DurableTasks, Settings, Task, TaskContext
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
    workflow_id = task_workflow_id(task.id, task.generation)
    committed = asyncio.Event()
    unsubscribe = tasks.store.subscribe(lambda notice: committed.set())
    async with asyncio.timeout(SECONDS):
        while (await tasks.store.find([workflow_id]))[workflow_id].state == "outbox":
            await committed.wait()
            committed.clear()
        unsubscribe()
        return await tasks.temporal.client("default").get_workflow_handle(workflow_id).result()


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
