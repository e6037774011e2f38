"""With Temporal: tasks and a fan-out of ours beside a bare workflow with activities, on the same server.

It must not start a second server: all peers share one embedded server, one process and every round.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from temporalio.client import Client

from benchmarks.measure import Case, Goal, Options, Reading, Sample, in_flight, measured, rate
from benchmarks.peers import IN_FLIGHT, WORK_QUEUE, Bare, Ours, alternate, started
from durable_tasks.temporal.server import EmbeddedServer

COUNT = 400
WIDE = 300


async def _rounds(options: Options) -> AsyncIterator[list[Reading]]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(dir=options.directory)))
        server = await stack.enter_async_context(EmbeddedServer(database=folder / "temporal.db"))
        client = await Client.connect(server.address)
        bare = Bare(client)
        await bare.enter(stack)
        tasks = await started(stack, folder, client, server.address)
        embedded, external = Ours(tasks, client), Ours(tasks, client, WORK_QUEUE)
        for warm in (bare.round_trip, embedded.round_trip, external.round_trip):
            await in_flight(IN_FLIGHT, 2 * IN_FLIGHT, warm)
        for ours in (embedded, external):
            await ours.settle()
        for _ in range(options.runs):
            yield await _round(bare, embedded, external)


async def _round(bare: Bare, embedded: Ours, external: Ours) -> list[Reading]:
    idle = await alternate(bare.round_trip, embedded.round_trip, external.round_trip)
    with measured(COUNT) as loaded:
        await in_flight(IN_FLIGHT, COUNT, bare.round_trip)
    wide = await _wide(bare.fan_out)
    return [
        rate(f"bare, {IN_FLIGHT} in flight", loaded),
        rate(f"embedded, {IN_FLIGHT} in flight", await _loaded(embedded), loaded),
        rate(f"external, {IN_FLIGHT} in flight", await _loaded(external), loaded),
        Reading("bare, idle round trip", idle[0] * 1e3, "ms"),
        Reading("embedded, idle round trip", idle[1] * 1e3, "ms", ratio=idle[1] / idle[0]),
        Reading("external, idle round trip", idle[2] * 1e3, "ms", ratio=idle[2] / idle[0]),
        rate(f"bare, one fan-out of {WIDE}", wide),
        rate(f"embedded, one fan-out of {WIDE}", await _wide(embedded.fan_out), wide),
        rate(f"external, one fan-out of {WIDE}", await _wide(external.fan_out), wide),
    ]


async def _loaded(ours: Ours) -> Sample:
    """Until the last Temporal workflow is closed too: our callers are answered before that."""
    with measured(COUNT) as sample:
        await in_flight(IN_FLIGHT, COUNT, ours.round_trip)
        await ours.settle()
    return sample


async def _wide(fan_out: Callable[[int], Awaitable[object]]) -> Sample:
    with measured(WIDE) as sample:
        await fan_out(WIDE)
    return sample


TEMPORAL = Case(
    "temporal",
    "tasks and fan-outs of ours beside bare workflows with activities: one process, one server, in turn",
    _rounds,
    (
        Goal(f"embedded, {IN_FLIGHT} in flight", "ratio", 1.5, at_least=True),
        Goal(f"external, {IN_FLIGHT} in flight", "ratio", 0.8, at_least=True),
        Goal("embedded, idle round trip", "ratio", 0.35),
        Goal("external, idle round trip", "ratio", 1.3),
        Goal(f"embedded, one fan-out of {WIDE}", "ratio", 1.0, at_least=True),
    ),
)
