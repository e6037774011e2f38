"""What the tests of this folder share: opening tasks on a file, raw looks at it, and bringing tasks into states.

It must not assert what a test is about.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from durable_tasks import Claim, DurableTasks, NewTask, Org, Settings, Task
from durable_tasks.executor.executor import Executor
from durable_tasks.ports import Clock
from durable_tasks.testing import ManualClock

DEADLINE = 30.0
AGENT = "agent-1"


def make(path: Path, clock: Clock | None = None, **settings: Any) -> DurableTasks:
    return DurableTasks(Settings(db=path, **{"enabled": False, "org": "acme", **settings}), clock=clock)


@asynccontextmanager
async def opened(path: Path, clock: Clock | None = None, **settings: Any) -> AsyncIterator[DurableTasks]:
    async with make(path, clock, **settings) as tasks:
        yield tasks


def executor_of(tasks: DurableTasks) -> Executor:
    """What runs its handlers: no part of the public API, but where races are made."""
    assert tasks._running is not None
    return tasks._running.executor


def time_of(tasks: DurableTasks) -> ManualClock:
    assert isinstance(tasks.clock, ManualClock)
    return tasks.clock


def query(path: Path, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """What another program would read from the file."""
    with closing(sqlite3.connect(path)) as conn:
        return conn.execute(sql, values).fetchall()


def everything(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table of ours that a call can change."""
    tables = (
        "tasks", "workflows", "dependencies", "attempts", "events", "idempotency", "commands", "outbox", "submissions",
        "orgs", "tokens",
    )  # fmt: skip
    return {table: query(path, f"SELECT * FROM dt_{table}") for table in tables}


async def read_all(tasks: DurableTasks) -> int:
    """Read every task, workflow and event of every organisation back, and make JSON of it; how many there were."""
    read, owners = 0, query(tasks.store.path, "SELECT org_id FROM dt_tasks UNION SELECT org_id FROM dt_workflows")
    for org in [tasks.org(name) for (name,) in owners]:
        cursor: str | None = ""
        while cursor is not None:
            page = await org.list(limit=200, cursor=cursor or None)
            for task in page.items:
                (await org.get(task.id)).model_dump_json()
            read, cursor = read + len(page.items), page.next_cursor
        cursor = ""
        while cursor is not None:
            groups = await org.list_workflows(limit=200, cursor=cursor or None)
            for group in groups.items:
                (await org.get_workflow(group.id)).model_dump_json()
            read, cursor = read + len(groups.items), groups.next_cursor
        after = 0
        while events := await org.events(after=after, limit=1000):
            for event in events:
                event.model_dump_json()
            read, after = read + len(events), events[-1].seq
    return read


async def claimed(org: Org, *, agent: str = AGENT, lease: float | None = 60.0, **fields: Any) -> Claim:
    """A new manual task, claimed."""
    task = await org.create("claimed", **fields)
    return await org.claim(task.id, agent_id=agent, lease=lease)


async def within(awaitable: Awaitable[Any]) -> Any:
    async with asyncio.timeout(DEADLINE):
        return await awaitable


async def spin_until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until the condition holds."""
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110 (what is waited for has no event)
            await asyncio.sleep(0)


async def nothing_remains(tasks: DurableTasks) -> None:
    """Wait until all has been done that follows from earlier calls."""
    committed = asyncio.Event()
    forget = tasks.store.subscribe(lambda notice: committed.set())
    async with asyncio.timeout(2 * DEADLINE):
        while query(tasks.store.path, "SELECT 1 FROM dt_remainders LIMIT 1"):
            await committed.wait()
            committed.clear()
    forget()


def steps(*names: str, **fields: Any) -> list[NewTask]:
    return [NewTask(name=name, **fields) for name in names]


def states(tasks: list[Task] | Any) -> list[str]:
    return [task.state.value for task in tasks]
