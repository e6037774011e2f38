"""Living processes that look dead: the file locked by another program, an event loop blocked, a row taken away.
It must not reach into the processes: what they did is in the file, in their journals and in what they say.
"""

import asyncio
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from durable_tasks.app import DurableTasks
from durable_tasks.models import TaskState
from durable_tasks.settings import Settings
from tests.faults.checker import faults, journal, most_at_once
from tests.faults.figures import count, keep
from tests.faults.processes import App

SECONDS = 60.0


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"


def tool(db: Path, lease: float) -> DurableTasks:
    """A process that runs no handlers, as `durable-tasks task list` is one."""
    return DurableTasks(Settings(db=db, worker=False, process_lease=lease))


async def test_a_tool_that_starts_while_the_file_is_locked_buries_nobody(db: Path) -> None:
    await lock_and_look(db, times=1)


@pytest.mark.acceptance
async def test_twenty_tools_that_start_while_the_file_is_locked_bury_nobody(db: Path) -> None:
    keep("buried-alive", await lock_and_look(db, times=count("TASKS_ACCEPTANCE_LOCKS", 20)))


async def lock_and_look(db: Path, *, times: int) -> dict[str, float]:
    lease = 1.0
    async with App(db, "serve", name="living", settings={"process_lease": lease}) as app:
        await app.ready()
        async with tool(db, lease) as first:
            task = await first.org().create("held", capability="hold")
        assert await app.line("HOLDING") == task.id
        for _ in range(times):
            with closing(sqlite3.connect(db, isolation_level=None)) as application:
                application.execute("BEGIN IMMEDIATE")
                starting = asyncio.create_task(look(db, task.id, lease))
                await app.lives_for(3 * lease)
                application.execute("COMMIT")
            assert await asyncio.wait_for(starting, SECONDS) == ("running", 1, 0)
        app.tell("release")
        async with tool(db, lease) as last:
            done = await last.org().wait(task.id, timeout=SECONDS)
    assert (done.output, done.attempt, done.lost_count) == ("late", 1, 0)
    assert most_at_once(journal(db.parent / "effects")) == 1
    return {"locks": times, "overlaps": 0}


async def look(db: Path, task_id: str, lease: float) -> tuple[str, int, int]:
    """Start, see how the task stands a few beats later, and leave."""
    async with tool(db, lease) as tasks:
        await tasks.clock.wait_for(asyncio.Event(), lease / 2)
        found = await tasks.org().get(task_id)
        return str(found.state), found.attempt, found.lost_count


async def test_a_handler_that_blocks_its_loop_runs_once(db: Path) -> None:
    """Two processes, and an async handler that blocks for several leases: nobody else begins it meanwhile."""
    settings = {"process_lease": 1.0}
    async with App(db, "serve", name="a", settings=settings) as a, App(db, "serve", name="b", settings=settings) as b:
        await a.ready()
        await b.ready()
        async with tool(db, 1.0) as tasks:
            task = await tasks.org().create("blocks", capability="hog", input=4.0)
            done = await tasks.org().wait(task.id, timeout=SECONDS)
        assert (done.state, done.attempt, done.lost_count) == (TaskState.COMPLETED, 1, 0)
        blocked = a if done.output == "a" else b
        said = await blocked.line("LOG durable_tasks.engine the event loop has been blocked")
        assert f"by the handler of 'hog' (task {task.id}, attempt 1): a blocking call in an async handler" in said
        assert "hog (" in said
        await blocked.line("LOG durable_tasks.engine the event loop runs again")
    assert most_at_once(journal(db.parent / "effects")) == 1
    assert faults(db) == []


async def test_what_a_process_without_a_row_held_is_recovered_when_it_dies(db: Path) -> None:
    """Its row is taken away while it stands still, and it is killed before it can notice."""
    async with App(db, "serve", name="rowless") as app:
        await app.ready()
        async with tool(db, 15.0) as tasks:
            task = await tasks.org().create("held", capability="hold")
            assert await app.line("HOLDING") == task.id
            app.stall()
            with closing(sqlite3.connect(db, timeout=30)) as conn, conn:
                conn.execute("DELETE FROM dt_processes WHERE pid = ?", (app.pid,))
            killed = time.monotonic()
            await app.kill()
            async with App(db, "serve", name="heir") as heir:
                await heir.ready()
                assert await heir.line("HOLDING") == task.id
                took = time.monotonic() - killed
                heir.tell("release")
                done = await tasks.org().wait(task.id, timeout=SECONDS)
    assert (done.output, done.attempt, done.lost_count) == ("late", 2, 1)
    print(f"taken over after {took:.2f} s", file=sys.stderr)
    assert faults(db) == []
