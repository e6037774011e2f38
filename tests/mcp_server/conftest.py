"""A DurableTasks on a real file, as an application beside the agents has it.

It must not know transports.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from durable_tasks import DurableTasks, Settings, Task, TaskContext


@pytest_asyncio.fixture
async def tasks(tmp_path: Path) -> AsyncIterator[DurableTasks]:
    tasks = DurableTasks(Settings(db=tmp_path / "tasks.db"))

    @tasks.handler("double")
    async def double(ctx: TaskContext, task: Task) -> int:
        return int(task.input) * 2

    async with tasks:
        yield tasks
