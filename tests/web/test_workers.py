"""Several worker processes of uvicorn on one file: all serve, each task is done once, one of them leads.

It must not know how processes agree; it looks at their answers and at the file.
"""

import asyncio
import os
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import httpx
import pytest

from tests.cli.running import environment, free_port
from tests.web.asking import as_caller

WORKERS = 4
TASKS = 60
DEADLINE = 120.0


@asynccontextmanager
async def workers(db: Path) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uvicorn", "--factory", "tests.web.host_app:create", "--port", str(port)),
        *("--workers", str(WORKERS), "--timeout-worker-healthcheck", "60"),
        env={**environment(), "TASKS_DB": str(db), "TASKS_PROCESS_LEASE": "2s"}, stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    try:
        for _ in range(WORKERS):
            await hear(process, "Application startup complete")
        yield f"http://127.0.0.1:{port}", process
    finally:
        if process.returncode is None:
            # The whole group: workers outlive a supervisor that is killed, and they hold the pipe that is read here.
            os.killpg(process.pid, signal.SIGKILL)
            await process.communicate()


async def hear(process: asyncio.subprocess.Process, wanted: str) -> None:
    assert process.stderr is not None
    heard = ""
    async with asyncio.timeout(DEADLINE):
        while line := (await process.stderr.readline()).decode():
            heard += line
            if wanted in line:
                return
    raise AssertionError(f"ended without saying {wanted!r}:\n{heard}")


async def pids(url: str) -> set[int]:
    """Who answers, each asked on a connection of its own until all have."""
    seen: set[int] = set()
    async with asyncio.timeout(DEADLINE):
        while len(seen) < WORKERS:
            async with httpx.AsyncClient(base_url=url) as client:
                answers = await asyncio.gather(*(client.get("/pid") for _ in range(8)))
            seen |= {answer.json() for answer in answers}
    return seen


async def done(client: httpx.AsyncClient, number: int) -> str:
    """Have a task done, and give back its id."""
    body = {"name": f"task {number}", "capability": "note", "input": f"note {number}"}
    made = (await client.post("/tasks/v1/tasks", json=body)).json()
    async with asyncio.timeout(DEADLINE):
        while not (waited := (await client.get(f"/tasks/v1/tasks/{made['id']}/wait")).json())["ended"]:
            pass
    assert waited["task"]["state"] == "completed", waited
    return str(made["id"])


def look(db: Path, query: str) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(db)) as connection:
        return connection.execute(query).fetchall()


def leader(db: Path) -> int | None:
    """The process id of the one that leads, if its row still stands."""
    found = look(db, "SELECT p.pid FROM dt_meta m JOIN dt_processes p ON p.instance = m.value WHERE m.key = 'leader'")
    return int(found[0][0]) if found else None


@pytest.mark.timeout(600)
async def test_all_serve_each_task_is_done_once_and_one_leads(tmp_path: Path) -> None:
    db = tmp_path / "tasks.db"
    async with workers(db) as (url, process):
        serving = await pids(url)
        assert {int(pid) for (pid,) in look(db, "SELECT pid FROM dt_processes")} == serving
        first = leader(db)
        assert first in serving

        async with httpx.AsyncClient(base_url=url, headers=as_caller(), timeout=DEADLINE) as client:
            ids = await asyncio.gather(*(done(client, number) for number in range(TASKS)))
            assert len(set(ids)) == TASKS
            noted = Counter((tmp_path / "executions").read_text(encoding="utf-8").splitlines())
            assert noted == {f"note {number}": 1 for number in range(TASKS)}

            os.kill(first, signal.SIGKILL)
            await hear(process, "Application startup complete")  # uvicorn starts another in its place
            async with asyncio.timeout(DEADLINE):
                while leader(db) in (None, first):
                    await done(client, TASKS)
        assert leader(db) in await pids(url)

        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(DEADLINE):
            await process.communicate()
        assert look(db, "SELECT pid FROM dt_processes") == []
