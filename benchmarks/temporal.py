"""With Temporal: our embedded auto tasks beside a bare workflow with one activity, on the same server.

It must not start a second server: both peers share one embedded server, one process and every round.
"""

import asyncio
import statistics
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from temporalio.client import Client
from temporalio.worker import Worker

from benchmarks.bare import BareWorkflow, noop
from benchmarks.local import INPUT
from benchmarks.measure import Case, Goal, Options, Reading, Sample, in_flight, measured, rate
from durable_tasks.app import DurableTasks
from durable_tasks.contracts import task_workflow_id
from durable_tasks.handlers import TaskContext
from durable_tasks.models import Task
from durable_tasks.settings import Settings
from durable_tasks.temporal.server import EmbeddedServer

IN_FLIGHT = 50
COUNT = 400
QUIET = 20
BARE_QUEUE = "bare"

RoundTrip = Callable[[], Awaitable[object]]


async def _rounds(options: Options) -> AsyncIterator[list[Reading]]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(dir=options.directory)))
        server = await stack.enter_async_context(EmbeddedServer(database=folder / "temporal.db"))
        client = await Client.connect(server.address)
        bare = await _bare(stack, client)
        ours = await _ours(stack, folder, server.address)
        for warm in (bare, ours.round_trip):
            await in_flight(IN_FLIGHT, 2 * IN_FLIGHT, warm)
        await ours.settle(client)
        for _ in range(options.runs):
            yield await _round(client, bare, ours)


async def _round(client: Client, bare: RoundTrip, ours: "_Ours") -> list[Reading]:
    idle_bare, idle_ours = await _alternate(bare, ours.round_trip)
    with measured(COUNT) as loaded_bare:
        await in_flight(IN_FLIGHT, COUNT, bare)
    loaded_ours = await _loaded(client, ours)
    return [
        rate(f"bare, {IN_FLIGHT} in flight", loaded_bare),
        rate(f"embedded, {IN_FLIGHT} in flight", loaded_ours, loaded_bare),
        Reading("bare, idle round trip", idle_bare * 1e3, "ms"),
        Reading("embedded, idle round trip", idle_ours * 1e3, "ms", ratio=idle_ours / idle_bare),
    ]


async def _loaded(client: Client, ours: "_Ours") -> Sample:
    """Until the last Temporal workflow is closed too: our callers are answered before that."""
    with measured(COUNT) as sample:
        await in_flight(IN_FLIGHT, COUNT, ours.round_trip)
        await ours.settle(client)
    return sample


async def _alternate(*peers: RoundTrip) -> list[float]:
    """The median seconds of one round trip of each, in turn, nothing else going on."""
    spent: list[list[float]] = [[] for _ in peers]
    for _ in range(QUIET):
        for peer, times in zip(peers, spent, strict=True):
            started = time.perf_counter()
            await peer()
            times.append(time.perf_counter() - started)
    return [statistics.median(times) for times in spent]


async def _bare(stack: AsyncExitStack, client: Client) -> RoundTrip:
    """The SDK's defaults throughout, the sandbox among them."""
    await stack.enter_async_context(Worker(client, task_queue=BARE_QUEUE, workflows=[BareWorkflow], activities=[noop]))

    async def round_trip() -> object:
        handle = await client.start_workflow(BareWorkflow.run, INPUT, id=str(uuid.uuid4()), task_queue=BARE_QUEUE)
        return await handle.result()

    return round_trip


class _Ours:
    """create → wait, and the Temporal workflows that may still be open behind it."""

    def __init__(self, tasks: DurableTasks) -> None:
        self._org = tasks.org()
        self._ended: list[str] = []

    async def round_trip(self) -> object:
        created = await self._org.create("translate", capability="noop", input=INPUT)
        self._ended.append(task_workflow_id(created.id, created.generation))
        return await self._org.wait(created.id)

    async def settle(self, client: Client) -> None:
        """Wait until Temporal has closed what SQLite has completed; the last few are enough."""
        ended, self._ended = self._ended[-IN_FLIGHT:], []
        await asyncio.gather(*(client.get_workflow_handle(workflow_id).result() for workflow_id in ended))


async def _ours(stack: AsyncExitStack, folder: Path, address: str) -> _Ours:
    settings = Settings(db=folder / "tasks.db", enabled=True, address=address, max_concurrent=IN_FLIGHT)
    tasks = DurableTasks(settings)

    @tasks.handler("noop")
    async def handle(_: TaskContext, __: Task) -> dict[str, int]:
        return {"words": 42}

    await stack.enter_async_context(tasks)
    engine = tasks.temporal
    if engine is None:
        raise AssertionError("Temporal was turned on")
    await engine.wait_connected(30)
    return _Ours(tasks)


TEMPORAL = Case(
    "temporal",
    "an embedded task beside a bare workflow with one activity: one process, one server, in turn",
    _rounds,
    (
        Goal(f"embedded, {IN_FLIGHT} in flight", "ratio", 1.5, at_least=True),
        Goal("embedded, idle round trip", "ratio", 0.35),
    ),
)
