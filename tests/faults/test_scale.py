"""What must not slow down when the file grows: taking the next task beside many that wait or have ended.
It must not know indexes; it compares two files in the same run, call by call.
"""

import sqlite3
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

import pytest

from durable_tasks.app import DurableTasks
from durable_tasks.checks import LARGEST_BATCH
from durable_tasks.models import Mode, NewTask, Priority
from durable_tasks.org import Org
from durable_tasks.settings import Settings
from tests.faults.figures import count, keep

FINISHED_RATIO = 1.3
WAITING_RATIO = 1.3
CHUNK = 50_000


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Org]:
    async with DurableTasks(Settings(db=path)) as tasks:
        yield tasks.org()


async def fill_with_finished(path: Path, org: Org, rows: int) -> None:
    """Copies of one finished task. Chunks, with a call of the store between: it moves the log into the file."""
    task = await org.create("finished long ago", mode="manual")
    claim = await org.claim(task.id, agent_id="an agent")
    await org.complete(task.id, "done", token=claim.token)
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        conn.execute("PRAGMA synchronous=OFF")
        conn.execute("PRAGMA wal_autocheckpoint=0")
        columns = [name for _, name, *_ in conn.execute("PRAGMA table_info(dt_tasks)") if name not in ("seq", "id")]
        copy = (
            f"INSERT INTO dt_tasks (id, {', '.join(columns)}) WITH RECURSIVE n(i) AS (SELECT ? UNION ALL"
            f" SELECT i + 1 FROM n WHERE i + 1 < ?) SELECT 'copy-' || i, {', '.join(columns)}"
            " FROM n JOIN dt_tasks WHERE id = ?"
        )
        for first in range(0, rows, CHUNK):
            conn.execute(copy, (first, min(first + CHUNK, rows), task.id))
            await take(org)
    assert (await org.list(state="completed", limit=1)).items


async def fill_with_waiting(org: Org, rows: int) -> None:
    """Urgent tasks that are not ready: half scheduled, half blocked by one that never ends."""
    gate = await org.create("never done", mode="manual", assigned_to="nobody")
    half = rows // 2
    later = NewTask(title="later", mode=Mode.MANUAL, priority=Priority.URGENT, delay=86400)
    blocked = NewTask(title="blocked", mode=Mode.MANUAL, priority=Priority.URGENT, depends_on=(gate.id,))
    for first in range(0, half, LARGEST_BATCH // 2):
        await org.create_many([later, blocked] * min(half - first, LARGEST_BATCH // 2))


async def take(org: Org) -> float:
    """Seconds that `next` takes for the one task that is ready."""
    task = await org.create("ready", mode="manual", priority=0)
    started = time.perf_counter()
    claim = await org.next(agent_id="an agent")
    took = time.perf_counter() - started
    assert claim is not None
    assert claim.task.id == task.id
    await org.complete(task.id, token=claim.token)
    return took


async def compare(small: Org, large: Org, calls: int) -> dict[str, float]:
    """Medians over calls that alternate between the files, and their ratio."""
    for org in (small, large):
        for _ in range(20):
            await take(org)
    took: tuple[list[float], list[float]] = ([], [])
    for _ in range(calls):
        took[0].append(await take(small))
        took[1].append(await take(large))
    first, second = (statistics.median(seconds) * 1e6 for seconds in took)
    return {"calls": calls, "small_us": round(first), "large_us": round(second), "ratio": round(second / first, 3)}


@asynccontextmanager
async def two_files(folder: Path) -> AsyncIterator[tuple[Org, Org]]:
    async with AsyncExitStack() as stack:
        small = await stack.enter_async_context(opened(folder / "small.db"))
        yield small, await stack.enter_async_context(opened(folder / "large.db"))


async def test_next_beside_waiting_and_finished_tasks(tmp_path: Path) -> None:
    async with two_files(tmp_path) as (small, large):
        await fill_with_waiting(large, 200)
        await fill_with_finished(tmp_path / "large.db", large, 1000)
        assert (await compare(small, large, 10))["calls"] == 10


@pytest.mark.acceptance
async def test_next_beside_ten_thousand_urgent_tasks_that_wait(tmp_path: Path) -> None:
    async with two_files(tmp_path) as (small, large):
        rows = count("TASKS_ACCEPTANCE_WAITING", 10_000)
        await fill_with_waiting(large, rows)
        figures = await compare(small, large, 500)
    keep("next-beside-waiting", {"rows": rows, **figures})
    assert figures["ratio"] <= WAITING_RATIO


@pytest.mark.acceptance
async def test_next_beside_a_million_finished_tasks(tmp_path: Path) -> None:
    async with two_files(tmp_path) as (small, large):
        rows = count("TASKS_ACCEPTANCE_FINISHED", 1_000_000)
        await fill_with_finished(tmp_path / "large.db", large, rows)
        figures = await compare(small, large, 500)
        # What is ready now is taken in order, also beside a million rows: priority, then age.
        ready = [NewTask(title=str(n), mode=Mode.MANUAL, priority=Priority(n % 4)) for n in range(40)]
        await large.create_many(ready)
        order = [claim.task.title for claim in await large.next_many(40, agent_id="an agent")]
    keep("next-beside-finished", {"rows": rows, **figures})
    assert order == [str(n) for priority in (3, 2, 1, 0) for n in range(40) if n % 4 == priority]
    assert figures["ratio"] <= FINISHED_RATIO
