"""A backlog after an outage: it drains, and what is urgent still starts first.
It must not know how starts are ordered; it looks at when handlers were called.
"""

import asyncio
import time
from pathlib import Path

import pytest

from durable_tasks import DurableTasks, NewTask, Settings, Task, TaskContext
from durable_tasks.models import Priority
from durable_tasks.temporal.server import EmbeddedServer
from tests.faults.figures import count, keep

WITHIN = 60.0
SLOTS = 10
SENDERS = 32
CLOSED_PER_SECOND = 20


async def drain(folder: Path, backlog: int) -> None:
    """`backlog` tasks wait for a server that is not there yet; it comes, and a few urgent ones with it."""
    server = EmbeddedServer(database=folder / "temporal.db")
    called: list[str] = []
    async with server:
        address = server.address
    # The port is free again: the application starts without anybody there.
    tasks = DurableTasks(
        Settings(db=folder / "app.db", enabled=True, address=address, fallback="wait", max_concurrent=SLOTS)
    )

    @tasks.handler("note")
    async def note(ctx: TaskContext, task: Task) -> None:
        called.append(task.title)

    async with tasks:
        org = tasks.org()
        for first in range(0, backlog, 1000):
            many = range(first, min(first + 1000, backlog))
            await org.create_many([NewTask(title=f"waiting {n}", capability="note") for n in many])
        assert called == []
        port = int(address.rpartition(":")[2])
        async with EmbeddedServer(port=port, database=folder / "temporal.db"):
            assert tasks.temporal is not None
            await tasks.temporal.wait_connected(WITHIN)
            urgent = await org.create_many(
                [NewTask(title=f"urgent {n}", capability="note", priority=Priority.URGENT) for n in range(5)]
            )
            ahead, began = len(called), time.perf_counter()
            for task in urgent:
                await org.wait(task.id, timeout=WITHIN)
            between = max(place for place, title in enumerate(called) if title.startswith("urgent")) - ahead
            await ended(tasks, backlog + 5)
            assert len(called) == len(set(called)) == backlog + 5
            drained = time.perf_counter()
            # Tasks run without waiting for their Temporal workflows, which a development server closes more slowly.
            async with asyncio.timeout(WITHIN + backlog / CLOSED_PER_SECOND):
                while (await tasks.temporal.client("default").count_workflows("ExecutionStatus = 'Running'")).count:
                    await tasks.clock.wait_for(asyncio.Event(), 1.0)
                while await tasks.temporal.drift():  # counts lag behind
                    await tasks.clock.wait_for(asyncio.Event(), 1.0)
            agreed = time.perf_counter()
    figures = {"backlog": backlog, "begun_between_urgent_created_and_last_urgent": between}
    keep("backlog", figures | {"drained_s": round(drained - began, 1), "agreed_after_s": round(agreed - drained, 1)})
    # Ahead of them is only what was handed over before they came, four per slot, and what overtakes them on its way.
    assert between <= 4 * SLOTS + 4 * SENDERS, "urgent tasks had to wait for the backlog"


async def ended(tasks: DurableTasks, wanted: int) -> None:
    org = tasks.org()
    after, seen = 0, 0
    async with asyncio.timeout(20 * WITHIN):
        while seen < wanted:
            page = await org.events(after=after, limit=1000)
            seen += sum(event.kind == "task.completed" for event in page)
            after = page[-1].seq if page else after
            if not page:
                await tasks.clock.wait_for(asyncio.Event(), 0.1)


async def test_a_backlog_drains_and_urgent_tasks_start_first(tmp_path: Path) -> None:
    await drain(tmp_path, 600)


@pytest.mark.acceptance
async def test_a_backlog_of_ten_thousand_drains_and_urgent_tasks_start_first(tmp_path: Path) -> None:
    await drain(tmp_path, count("TASKS_ACCEPTANCE_BACKLOG", 10_000))
