"""The HTTP server under load, in a process of its own: no request fails, nothing is lost, and its memory does not grow.
It must not know how it serves.
"""

import asyncio
import statistics
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.load import VERBS, Load, load
from benchmarks.served import Memory, Served, connections, served
from durable_tasks import DurableTasks, Settings
from durable_tasks.clock import SystemClock
from tests.faults.figures import count, keep
from tests.store.support import query

CALLERS = 64
GROWTH = 4.0
"""MB between the first minute that counts and the last. All that was done is in the file: what memory keeps are caches
with a limit (SQLite's pages, statements), full within the first minute, pages of libraries that are read late, and what
the allocator does not give back. SQLite's index of its log is mapped too; it is small as long as the log is."""
LOG = 32.0
"""MB that the log may have at the end of a minute or more: readers hold it now and then, but not for ever."""
WARM_UP = 60.0
EVERY = 1.0


async def test_a_few_seconds_of_load_without_one_error(tmp_path: Path) -> None:
    await under_load(tmp_path / "tasks.db", 3.0)


@pytest.mark.acceptance
async def test_a_minute_of_load_without_one_error(tmp_path: Path) -> None:
    keep("http-load", figures_of(await under_load(tmp_path / "tasks.db", count("TASKS_ACCEPTANCE_LOAD", 60))))


async def under_load(db: Path, seconds: float) -> Load:
    """Every loop creates one task and completes one; an answer that is no success ends the test."""
    async with served(db) as server, connections(server, CALLERS) as callers:
        done = await load(callers, seconds)
    assert done.loops >= CALLERS
    assert query(db, "SELECT state, COUNT(*) FROM dt_tasks GROUP BY state") == [("completed", done.loops)]
    async with DurableTasks(Settings(db=db, worker=False)) as tasks:
        assert await tasks.store.audit() == []
    return done


def figures_of(done: Load) -> dict[str, Any]:
    return {
        "connections": CALLERS,
        "seconds": round(done.seconds, 1),
        "operations_per_second": round(done.operations / done.seconds),
        "loops_per_second": round(done.loops / done.seconds),
        **{
            f"{verb}_ms": {name: round(done.quantile(verb, share) * 1e3, 1) for name, share in SHARES.items()}
            for verb in VERBS
        },
    }


SHARES = {"p50": 0.5, "p99": 0.99, "max": 1.0}


@pytest.mark.acceptance
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what another process has in memory")
async def test_memory_does_not_grow_under_load(tmp_path: Path) -> None:
    seconds = WARM_UP + count("TASKS_ACCEPTANCE_LOAD_MEMORY", 600)
    async with served(tmp_path / "tasks.db") as server, connections(server, CALLERS) as callers:
        ended = asyncio.Event()
        watching = asyncio.create_task(watch(server, ended))
        done = await load(callers, seconds)
        log_size = (tmp_path / "tasks.db-wal").stat().st_size / 1e6
        ended.set()
        seen = (await watching)[int(WARM_UP / EVERY) :]
    minute = min(int(60 / EVERY), len(seen) // 2)
    first, last = median_of(seen[:minute]), median_of(seen[-minute:])
    keep(
        "http-memory",
        {
            **figures_of(done),
            "loops": done.loops,
            "first_mb": shown(first),
            "last_mb": shown(last),
            "log_mb": round(log_size, 1),
        },
    )
    assert last.resident - first.resident <= GROWTH
    assert log_size <= LOG


async def watch(server: Served, ended: asyncio.Event) -> list[Memory]:
    clock, seen = SystemClock(), []
    while not await clock.wait_for(ended, EVERY):
        seen.append(server.memory())
    return seen


def median_of(seen: list[Memory]) -> Memory:
    return Memory(*(statistics.median(getattr(one, name) for one in seen) for name in ("anonymous", "file", "shared")))


def shown(memory: Memory) -> dict[str, float]:
    names = ("resident", "anonymous", "file", "shared")
    return {name: round(getattr(memory, name), 1) for name in names}
