"""Several processes on one file: hammering, dying, stalling, starting at once, leaving, and doing nothing.
It must not reach into the processes: what they did is in the file and in what they say.
"""

import asyncio
import json
import os
import resource
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from durable_tasks.app import DurableTasks
from durable_tasks.handlers import TaskContext
from durable_tasks.models import AttemptState, Task, TaskState
from durable_tasks.settings import Settings
from tests.faults.checker import faults
from tests.faults.figures import count, keep
from tests.faults.processes import App

SECONDS = 60.0


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"


def second_process(db: Path, **settings: Any) -> DurableTasks:
    """The test itself as another process on the file."""
    tasks = DurableTasks(Settings(db=db, **settings))

    @tasks.handler("hold")
    async def hold(ctx: TaskContext, task: Task) -> str:
        return "taken over"

    return tasks


async def test_four_processes_hammer_one_file(db: Path) -> None:
    await hammer(db, processes=4, callers=8, each=6)


@pytest.mark.acceptance
async def test_four_processes_hammer_one_file_for_long(db: Path) -> None:
    keep("hammer", await hammer(db, processes=4, callers=8, each=count("TASKS_ACCEPTANCE_HAMMER", 250)))


async def hammer(db: Path, *, processes: int, callers: int, each: int) -> dict[str, Any]:
    started = time.monotonic()
    apps = [App(db, "hammer", name=f"app-{n}", clients=callers, count=each) for n in range(processes)]
    claims: list[tuple[str, str]] = []
    async with asyncio.TaskGroup() as group:
        for app in apps:
            group.create_task(app.start())
    try:
        for app in apps:
            claims += json.loads(await app.line("CLAIMS"))
            assert await app.ends() == 0, app.stderr
    finally:
        for app in apps:
            await app.__aexit__(None, None, None)
    seconds = time.monotonic() - started
    total = processes * callers * each
    assert len({task_id for task_id, _ in claims}) == len(claims) == total
    assert [app.stderr for app in apps] == [""] * processes
    with closing(sqlite3.connect(db)) as conn:
        assert conn.execute("SELECT state, COUNT(*) FROM dt_tasks GROUP BY state").fetchall() == [("completed", total)]
        assert conn.execute("SELECT COUNT(*) FROM dt_processes").fetchone() == (0,)
    assert faults(db) == []
    return {"tasks": total, "seconds": round(seconds, 1), "errors": 0, "double_claims": 0}


async def test_the_attempts_and_the_leadership_of_a_killed_process_are_taken_over(db: Path) -> None:
    async with App(db, "serve") as app:
        await app.ready()
        async with second_process(db, worker=False) as watcher:
            task = await watcher.org().create("held by the one that dies", capability="hold")
            assert await app.line("HOLDING") == task.id
            assert await leader(watcher) == app.pid
        async with second_process(db) as tasks:
            await app.kill()
            killed = time.monotonic()
            done = await tasks.org().wait(task.id, timeout=SECONDS)
            took = time.monotonic() - killed
            await led_by(tasks, os.getpid())
    assert (done.state, done.output, done.attempt, done.lost_count) == (TaskState.COMPLETED, "taken over", 2, 1)
    assert took < 5
    print(f"taken over after {took:.2f} s")
    assert faults(db) == []


async def leader(tasks: DurableTasks) -> int | None:
    sql = "SELECT pid FROM dt_meta JOIN dt_processes ON instance = value WHERE key = 'leader'"
    found = await tasks.store.read(lambda conn: conn.execute(sql).fetchone())
    return None if found is None else int(found[0])


async def led_by(tasks: DurableTasks, pid: int) -> None:
    """Wait until that process leads: each commit may have made it so."""
    committed = asyncio.Event()
    unsubscribe = tasks.store.subscribe(lambda notice: committed.set())
    async with asyncio.timeout(SECONDS):
        while await leader(tasks) != pid:
            committed.clear()
            await committed.wait()
    unsubscribe()


async def test_a_process_stalled_past_its_lease_is_fenced_and_comes_back(db: Path) -> None:
    async with App(db, "serve", name="stalled", also=["only-there"], settings={"process_lease": 1.0}) as app:
        await app.ready()
        async with second_process(db, worker=False, process_lease=1.0) as watcher:
            task = await watcher.org().create("held by the one that stalls", capability="hold")
            assert await app.line("HOLDING") == task.id
            app.stall()
        async with second_process(db, process_lease=1.0) as tasks:
            org = tasks.org()
            done = await org.wait(task.id, timeout=SECONDS)
            app.tell("release")
            app.signal(signal.SIGCONT)
            await app.line("LOG durable_tasks.executor a late result was refused")
            assert (await org.get(task.id)) == done
            assert [attempt.state for attempt in await org.attempts(task.id)] == [
                AttemptState.LOST,
                AttemptState.COMPLETED,
            ]
            # It is a process like any other again: nobody takes its work for that of a dead one.
            again = await org.create("longer than a few beats", capability="only-there")
            ended = await org.wait(again.id, timeout=SECONDS)
            assert (ended.output, ended.attempt, ended.lost_count) == ("stalled", 1, 0)
    assert done.output == "taken over"


async def test_processes_that_start_at_once_on_a_new_file(tmp_path: Path) -> None:
    for number in range(3):
        db = tmp_path / str(number) / "tasks.db"
        db.parent.mkdir()
        async with App(db, "create", name="one") as one, App(db, "create", name="other") as other:
            assert [await one.ends(), await other.ends()] == [0, 0], one.stderr + other.stderr
        with closing(sqlite3.connect(db)) as conn:
            assert conn.execute("SELECT COUNT(*) FROM dt_tasks").fetchone() == (2,)


@pytest.mark.parametrize("forget_stop", [False, True], ids=["stopped", "forgotten"])
async def test_a_process_that_only_creates_tasks_ends_by_itself(
    db: Path, settings: dict[str, Any], forget_stop: bool
) -> None:
    await leave(db, 2, forget_stop, settings)


@pytest.mark.acceptance
@pytest.mark.parametrize("forget_stop", [False, True], ids=["stopped", "forgotten"])
async def test_fifty_of_fifty_end_by_themselves(db: Path, forget_stop: bool) -> None:
    seconds = await leave(db, 50, forget_stop, {})
    keep(f"exits-{'forgotten' if forget_stop else 'stopped'}", {"processes": 50, "seconds": seconds})


async def leave(db: Path, times: int, forget_stop: bool, settings: dict[str, Any]) -> list[float]:
    took = []
    for number in range(times):
        started = time.monotonic()
        async with App(db, "create", name=f"app-{number}", forget_stop=forget_stop, settings=settings) as app:
            assert (await app.ends(), app.stderr) == (0, "")
        took.append(round(time.monotonic() - started, 2))
    with closing(sqlite3.connect(db)) as conn:
        assert conn.execute("SELECT COUNT(*) FROM dt_tasks").fetchone() == (times,)
    return took


async def test_an_idle_process_is_small(db: Path) -> None:
    async with App(db, "serve") as app:
        await app.ready()
        assert resident(app.pid) <= 50


@pytest.mark.acceptance
async def test_an_idle_process_uses_next_to_nothing(db: Path) -> None:
    async with App(db, "serve") as app:
        await app.ready()
        await app.lives_for(2)
        before = cpu(app.pid)
        await app.lives_for(30)
        percent = (cpu(app.pid) - before) / 30 * 100
        keep("idle", {"rss_mb": round(resident(app.pid), 1), "cpu_percent": round(percent, 3), "seconds": 30})
        assert percent <= 0.5
        assert resident(app.pid) <= 50


def resident(pid: int) -> float:
    """MB in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def cpu(pid: int) -> float:
    """Seconds of processor time, of all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
