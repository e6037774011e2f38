"""The two peers of the Temporal cases: the SDK as its first example uses it, and durable_tasks, on one server.

It must not know what is measured of them.
"""

import asyncio
import statistics
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

from temporalio.client import Client
from temporalio.worker import Worker

from benchmarks.bare import BareFanOut, BareWorkflow, noop
from benchmarks.load import INPUT
from durable_tasks import DurableTasksPlugin, Handlers
from durable_tasks.app import DurableTasks
from durable_tasks.contracts import group_workflow_id, task_workflow_id
from durable_tasks.handlers import TaskContext
from durable_tasks.models import NewTask, Task
from durable_tasks.settings import Settings

IN_FLIGHT = 50
QUIET = 20
BARE_QUEUE = "bare"
WORK_QUEUE = "work"

RoundTrip = Callable[[], Awaitable[object]]


async def alternate(*peers: RoundTrip) -> list[float]:
    """The median seconds of one round trip of each, in turn, nothing else going on."""
    spent: list[list[float]] = [[] for _ in peers]
    for _ in range(QUIET):
        for peer, times in zip(peers, spent, strict=True):
            started = time.perf_counter()
            await peer()
            times.append(time.perf_counter() - started)
    return [statistics.median(times) for times in spent]


class Bare:
    """The SDK's defaults throughout, the sandbox among them."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def enter(self, stack: AsyncExitStack) -> None:
        worker = Worker(self._client, task_queue=BARE_QUEUE, workflows=[BareWorkflow, BareFanOut], activities=[noop])
        await stack.enter_async_context(worker)

    async def round_trip(self) -> object:
        handle = await self._client.start_workflow(BareWorkflow.run, INPUT, id=str(uuid.uuid4()), task_queue=BARE_QUEUE)
        return await handle.result()

    async def fan_out(self, count: int) -> object:
        handle = await self._client.start_workflow(BareFanOut.run, count, id=str(uuid.uuid4()), task_queue=BARE_QUEUE)
        return await handle.result()


class Ours:
    """create → wait, and the Temporal workflows that may still be open behind it. With a `queue` the tasks are
    executed by an external worker: in this process too, so that both peers have the same cores."""

    def __init__(self, tasks: DurableTasks, client: Client, queue: str | None = None) -> None:
        self._store = tasks.store
        self._org = tasks.org()
        self._client = client
        self._queue = queue
        self._ended: list[str] = []

    async def round_trip(self) -> object:
        created = await self._org.create("translate", capability="noop", queue=self._queue, input=INPUT)
        self._ended.append(task_workflow_id(created.id, created.generation))
        return await self._org.wait(created.id)

    async def fan_out(self, count: int) -> object:
        """Until the Temporal workflow is closed."""
        members = [NewTask(title="m", capability="noop", queue=self._queue, input=INPUT) for _ in range(count)]
        group = await self._org.fan_out("wide", members)
        await self._org.wait_workflow(group.id)
        return await self._client.get_workflow_handle(group_workflow_id(group.id, group.generation)).result()

    async def settle(self) -> None:
        """Wait until Temporal has closed what SQLite has completed; the last few are enough."""
        ended, self._ended = self._ended[-IN_FLIGHT:], []
        await self._sent(ended)
        await asyncio.gather(*(self._client.get_workflow_handle(workflow_id).result() for workflow_id in ended))

    async def _sent(self, workflow_ids: list[str]) -> None:
        """Wait until Temporal has taken the starts: tasks can be done before that."""
        committed = asyncio.Event()
        unsubscribe = self._store.subscribe(lambda notice: committed.set())
        while any(one.state == "outbox" for one in (await self._store.find(workflow_ids)).values()):
            committed.clear()
            await committed.wait()
        unsubscribe()


async def answer(_: TaskContext, __: Task) -> dict[str, int]:
    return {"words": 42}


async def started(stack: AsyncExitStack, folder: Path, client: Client, address: str) -> DurableTasks:
    """durable_tasks with a handler, and an external worker of the same."""
    tasks = DurableTasks(Settings(db=folder / "tasks.db", enabled=True, address=address, max_concurrent=IN_FLIGHT))
    tasks.handlers.add("noop", answer)
    handlers = Handlers()
    handlers.add("noop", answer)
    await stack.enter_async_context(Worker(client, task_queue=WORK_QUEUE, plugins=[DurableTasksPlugin(handlers)]))
    await stack.enter_async_context(tasks)
    engine = tasks.temporal
    if engine is None:
        raise AssertionError("Temporal was turned on")
    await engine.wait_connected(30)
    return tasks
