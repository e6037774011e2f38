"""Without Temporal: creating, claiming and completing, the local engine, and `next` among many rows.

It must not know Temporal; every ratio is to raw SQLite, or to an empty table, in the same round.
"""

import asyncio
import sqlite3
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.load import INPUT
from benchmarks.measure import Case, Goal, Options, Reading, Sample, in_flight, measured, rate
from benchmarks.raw import commits, raw_creates, raw_cycles, raw_pairs
from durable_tasks.app import DurableTasks
from durable_tasks.handlers import TaskContext
from durable_tasks.models import NewTask, Task
from durable_tasks.org import Org
from durable_tasks.settings import Settings


@asynccontextmanager
async def opened(directory: Path, *, max_concurrent: int = 10) -> AsyncIterator[DurableTasks]:
    """A new file with one no-op handler, gone afterwards."""
    with TemporaryDirectory(dir=directory) as folder:
        tasks = DurableTasks(Settings(db=Path(folder) / "tasks.db", enabled=False, max_concurrent=max_concurrent))

        @tasks.handler("noop")
        async def noop(_: TaskContext, __: Task) -> dict[str, int]:
            return {"words": 42}

        async with tasks:
            yield tasks


# ----- create


async def creates(directory: Path, callers: int, count: int) -> Sample:
    async with opened(directory) as tasks:
        org = tasks.org()
        await in_flight(callers, callers, lambda: org.create("warm up"))
        with measured(count) as sample:
            await in_flight(callers, count, lambda: org.create("translate", input=INPUT))
    return sample


async def _create(options: Options) -> AsyncIterator[list[Reading]]:
    for _ in range(options.runs):
        raw = raw_creates(options.directory)
        one = await creates(options.directory, 1, 500)
        many = await creates(options.directory, 64, 6400)
        yield [
            commits(raw, 1),
            rate("raw create", raw),
            rate("create, 1 caller", one, raw),
            rate("create, 64 callers", many, raw),
        ]


CREATE = Case(
    "create",
    "creates per second beside raw SQLite's",
    _create,
    (
        Goal("create, 64 callers", "ratio", 2.2, at_least=True, against_raw=True),
        Goal("create, 64 callers", "cpu_us", 90),
    ),
)


# ----- claim and complete


async def pairs(directory: Path, workers: int, count: int) -> Sample:
    """`next` and `complete` by so many workers, each its own agent, on a queue filled before."""
    async with opened(directory) as tasks:
        org = tasks.org()
        await org.create_many([NewTask(title="translate", input=INPUT)] * (count + workers))
        agents = iter(range(count + workers))

        async def pair() -> None:
            await claim_and_complete(org, f"agent {next(agents) % workers}")

        await in_flight(workers, workers, pair)
        with measured(count) as sample:
            await in_flight(workers, count, pair)
    return sample


async def claim_and_complete(org: Org, agent: str) -> None:
    claim = await org.next(agent_id=agent)
    if claim is None:
        raise AssertionError("the queue was filled with too few tasks")
    await org.complete(claim.task.id, {"words": 42}, token=claim.token)


async def _claim(options: Options) -> AsyncIterator[list[Reading]]:
    for _ in range(options.runs):
        raw = raw_pairs(options.directory)
        readings = [commits(raw, 2), rate("raw claim + complete", raw)]
        for workers, count in ((1, 500), (8, 3200), (64, 6400)):
            sample = await pairs(options.directory, workers, count)
            readings.append(rate(f"next + complete, {workers} workers", sample, raw))
        yield readings


CLAIM = Case(
    "claim",
    "pairs of claim and complete per second beside raw SQLite's",
    _claim,
    (
        Goal("next + complete, 8 workers", "ratio", 1.5, at_least=True, against_raw=True),
        Goal("next + complete, 8 workers", "cpu_us", 120),
        Goal("next + complete, 64 workers", "ratio", 2.5, at_least=True, against_raw=True),
    ),
)


# ----- the local engine


async def cycles(directory: Path, count: int) -> Sample:
    """Create, run by the handler, wait for the end: 64 in flight on 64 slots."""
    async with opened(directory, max_concurrent=64) as tasks:
        org = tasks.org()

        async def cycle() -> None:
            task = await org.create("translate", capability="noop", input=INPUT)
            await org.wait(task.id)

        await in_flight(64, 64, cycle)
        with measured(count) as sample:
            await in_flight(64, count, cycle)
    return sample


async def _engine(options: Options) -> AsyncIterator[list[Reading]]:
    for _ in range(options.runs):
        raw = raw_cycles(options.directory)
        ours = await cycles(options.directory, 3200)
        yield [commits(raw, 3), rate("raw full cycle", raw), rate("create → handler → wait, 64 in flight", ours, raw)]


ENGINE = Case(
    "engine",
    "tasks per second from create through a handler to the waiting caller, beside raw SQLite's full cycles",
    _engine,
    (Goal("create → handler → wait, 64 in flight", "ratio", 1.0, at_least=True, against_raw=True),),
)


# ----- next among many rows


async def _depth(options: Options) -> AsyncIterator[list[Reading]]:
    finished = 1_000_000 if options.full else 100_000
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(dir=options.directory)))
        orgs = {
            "next, empty table": await _filled(stack, folder / "empty.db", 0),
            f"next, {finished:,} finished rows": await _filled(stack, folder / "deep.db", finished),
            "next, 10,000 urgent ones not ready": await _crowded(stack, folder / "crowded.db"),
        }
        for _ in range(options.runs):
            medians = await _alternate(list(orgs.values()), 200)
            yield [
                Reading(name, median * 1e6, "µs", ratio=median / medians[0])
                for name, median in zip(orgs, medians, strict=True)
            ]


async def _filled(stack: AsyncExitStack, path: Path, finished: int) -> Org:
    """A file with so many finished tasks: one is made by the package, the others are copies of it."""
    async with DurableTasks(Settings(db=path, enabled=False)) as tasks:
        org = tasks.org()
        await org.create("finished", input=INPUT)
        await claim_and_complete(org, "agent")
    conn = sqlite3.connect(path, isolation_level=None)
    conn.execute("BEGIN IMMEDIATE")
    for table, key in (("dt_tasks", "id"), ("dt_attempts", "task_id"), ("dt_events", "task_id")):
        _copy(conn, table, key, finished)
    conn.execute("COMMIT")
    conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    conn.close()
    return await _started(stack, path)


def _copy(conn: sqlite3.Connection, table: str, key: str, count: int) -> None:
    """Copy the first row `count` times. A copy has its number in its id, and in `seq` if there is one."""
    columns = [values[1] for values in conn.execute(f"PRAGMA table_info({table})")]
    values = {key: f"printf('%s-%d', {key}, n)", "seq": "n + 100" if table != "dt_events" else "n + 3"}
    listed = ", ".join(values.get(column, column) for column in columns)
    conn.execute(
        f"WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)"
        f" INSERT INTO {table} SELECT {listed} FROM (SELECT * FROM {table} LIMIT 1), numbers WHERE n <= ?",
        (count, count),
    )


async def _crowded(stack: AsyncExitStack, path: Path) -> Org:
    """5,000 blocked and 5,000 scheduled tasks, all urgent, before the ready ones."""
    org = await _started(stack, path)
    first = await org.create("in the way", capability="nobody")
    blocked = NewTask(title="blocked", priority=3, mode="manual", depends_on=(first.id,))  # type: ignore[arg-type]
    scheduled = NewTask(title="scheduled", priority=3, delay=3600)  # type: ignore[arg-type]
    await org.create_many([blocked] * 5000 + [scheduled] * 5000)
    return org


async def _started(stack: AsyncExitStack, path: Path) -> Org:
    tasks = await stack.enter_async_context(DurableTasks(Settings(db=path, enabled=False)))
    checks = [task for task in asyncio.all_tasks() if task.get_name() == "durable_tasks integrity"]
    await asyncio.gather(*checks)  # of a large file it goes on after the start, and would be measured too
    return tasks.org()


async def _alternate(orgs: list[Org], count: int) -> list[float]:
    """The median seconds of one `next` in each, called in turn; each finds `count` ready tasks or more."""
    spent: list[list[float]] = [[] for _ in orgs]
    for org in orgs:
        await org.create_many([NewTask(title="ready", input=INPUT)] * count)
    for _ in range(count):
        for org, times in zip(orgs, spent, strict=True):
            started = time.perf_counter()
            claim = await org.next(agent_id="agent", lease=None)
            times.append(time.perf_counter() - started)
            if claim is None:
                raise AssertionError("there was a ready task, and next did not find it")
    return [statistics.median(times) for times in spent]


NEXT_DEPTH = Case(
    "next_depth",
    "does `next` slow down with finished rows, or behind urgent rows that are not ready?",
    _depth,
    (
        Goal("next, 100,000 finished rows", "ratio", 1.3),
        Goal("next, 1,000,000 finished rows", "ratio", 1.3),
        Goal("next, 10,000 urgent ones not ready", "ratio", 1.3),
    ),
)
