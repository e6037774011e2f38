"""Temporal absent, forgetful, switched off and on, or flooded: every task ends, once, and both sides agree.
It must not know relay or reconciler; it looks at SQLite and at the server.
"""

import asyncio
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import Client, WorkflowExecutionStatus

from durable_tasks.app import DurableTasks
from durable_tasks.handlers import TaskContext
from durable_tasks.models import Task, TaskState
from durable_tasks.settings import Settings
from durable_tasks.temporal.server import EmbeddedServer
from tests.faults.figures import count, keep
from tests.faults.worker_app import settled_drift

SECONDS = 60.0


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"


@pytest_asyncio.fixture
async def server(temporal_server: EmbeddedServer) -> AsyncIterator[EmbeddedServer]:
    """A server of the test's own, not yet started, on a port that it keeps."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
    server = EmbeddedServer(binary=temporal_server.binary, port=port)
    yield server
    await server.stop()


class Work:
    """An application's instance on the file, and how often its handlers ran."""

    def __init__(self, db: Path, **settings: Any) -> None:
        self.tasks = DurableTasks(Settings(db=db, **settings))
        self.org = self.tasks.org()
        self.runs: Counter[str] = Counter()
        self.go_on = asyncio.Event()

        @self.tasks.handler("quick")
        async def quick(ctx: TaskContext, task: Task) -> Any:
            self.runs[task.id] += 1
            return task.input

        @self.tasks.handler("patient")
        async def patient(ctx: TaskContext, task: Task) -> Any:
            self.runs[task.id] += 1
            await self.go_on.wait()
            return task.input

        @self.tasks.handler("block")
        def block(ctx: TaskContext, seconds: float) -> None:
            self.runs[ctx.task.id] += 1
            threading.Event().wait(seconds)

        @self.tasks.handler("burn")
        def burn(ctx: TaskContext, seconds: float) -> None:
            self.runs[ctx.task.id] += 1
            until = time.thread_time() + seconds
            while time.thread_time() < until:
                pass

    async def create(self, capability: str | None, times: int, value: Any = 1) -> list[Task]:
        mode = "manual" if capability is None else "auto"
        return [await self.org.create("work", capability=capability, mode=mode, input=value) for _ in range(times)]

    async def finish(self, made: list[Task]) -> list[TaskState]:
        """Claim and complete what is manual; the states once all have ended."""
        while (claim := await self.org.next(agent_id="an agent")) is not None:
            await self.org.complete(claim.task.id, "by hand", token=claim.token)
        return [(await self.org.wait(task.id, timeout=SECONDS)).state for task in made]

    async def agree(self) -> None:
        """Both sides come to agree."""
        assert await settled_drift(self.tasks, until=SECONDS) == []
        assert await self.tasks.store.audit() == []

    async def committed(self, look: Any, wanted: Any) -> None:
        """Await `look()` after every commit until it answers `wanted`."""
        changed = asyncio.Event()
        unsubscribe = self.tasks.store.subscribe(lambda notice: changed.set())
        async with asyncio.timeout(SECONDS):
            while await look() != wanted:
                changed.clear()
                await changed.wait()
        unsubscribe()

    async def started_there(self) -> int:
        """How many tasks Temporal has a running workflow of, as far as SQLite knows."""
        sql = "SELECT COUNT(*) FROM dt_submissions WHERE state = 'open'"
        return int(await self.tasks.store.read(lambda conn: conn.execute(sql).fetchone()[0]))


def all_completed(made: list[Task]) -> list[TaskState]:
    return [TaskState.COMPLETED] * len(made)


async def test_temporal_comes_after_the_application(db: Path, server: EmbeddedServer) -> None:
    port = server._port
    work = Work(db, enabled=True, address=f"127.0.0.1:{port}", fallback="wait")
    async with work.tasks:
        made = [*await work.create("quick", 8), *await work.create(None, 4)]
        by_hand = await work.org.next(agent_id="early")
        assert by_hand is not None
        await work.org.complete(by_hand.task.id, "before Temporal was there", token=by_hand.token)
        await server.start()
        assert await work.finish(made) == all_completed(made)
        await work.agree()
    assert [work.runs[task.id] for task in made] == [1] * 8 + [0] * 4


async def test_without_temporal_everything_goes_on(db: Path) -> None:
    work = Work(db, enabled=True, address="127.0.0.1:1", fallback_after=0.5)
    async with work.tasks:
        made = [*await work.create("quick", 8), *await work.create(None, 4)]
        assert await work.finish(made) == all_completed(made)


async def test_a_killed_server_that_comes_back_empty(db: Path, server: EmbeddedServer) -> None:
    await server.start()
    work = Work(db, enabled=True, address=server.address)
    async with work.tasks:
        assert work.tasks.temporal is not None
        await work.tasks.temporal.wait_connected(SECONDS)
        made = [*await work.create("patient", 6), *await work.create(None, 6)]
        await work.committed(work.started_there, 12)
        os.kill(server.pid, signal.SIGKILL)
        await server.wait_exit()
        made += [*await work.create("quick", 4), *await work.create(None, 2)]
        claim = await work.org.next(agent_id="an agent")
        assert claim is not None
        await work.org.complete(claim.task.id, "while Temporal was away", token=claim.token)
        await server.start()
        work.go_on.set()
        assert await work.finish(made) == all_completed(made)
        await work.agree()
    assert max(work.runs.values()) == 1


async def test_a_manual_task_waits_and_its_workflow_ends_alike(db: Path, temporal_server: EmbeddedServer) -> None:
    work = Work(db, enabled=True, address=temporal_server.address)
    client = await Client.connect(temporal_server.address)
    async with work.tasks:
        completed, failed, cancelled = made = await work.create(None, 3)
        await work.committed(work.started_there, 3)
        handles = [client.get_workflow_handle(f"task/{task.id}/1") for task in made]
        assert [(await handle.describe()).status for handle in handles] == [WorkflowExecutionStatus.RUNNING] * 3
        claim = await work.org.claim(completed.id, agent_id="an agent")
        await work.org.complete(completed.id, {"answer": 42}, token=claim.token)
        claim = await work.org.claim(failed.id, agent_id="an agent")
        await work.org.fail(failed.id, "no", token=claim.token)
        await work.org.cancel(cancelled.id, reason="not needed")
        async with asyncio.timeout(SECONDS):
            ends = await asyncio.gather(*(handle.result() for handle in handles), return_exceptions=True)
        assert ends[0] == {"answer": 42}
        assert [(await handle.describe()).status for handle in handles] == [
            WorkflowExecutionStatus.COMPLETED,
            WorkflowExecutionStatus.FAILED,
            WorkflowExecutionStatus.CANCELED,
        ]
        await work.agree()


async def test_switched_off_and_on_with_work_in_flight(db: Path, temporal_server: EmbeddedServer) -> None:
    runs: Counter[str] = Counter()
    made: list[Task] = []
    for enabled in (True, False, True, False, True):
        # A slot for each that waits, so that the quick ones end at once.
        work = Work(db, enabled=enabled, address=temporal_server.address, shutdown_grace=0.2, max_concurrent=20)
        async with work.tasks:
            made += [*await work.create("patient", 2), *await work.create(None, 2), *await work.create("quick", 2)]
            if enabled:
                await work.committed(work.started_there, sum(task.capability != "quick" for task in made))
        runs += work.runs
    last = Work(db, enabled=True, address=temporal_server.address)
    last.go_on.set()
    async with last.tasks:
        assert await last.finish(made) == all_completed(made)
        await last.agree()
        assert await last.started_there() == 0
        sql = "SELECT subject_id, generation FROM dt_submissions"
        submitted = await last.tasks.store.read(lambda conn: conn.execute(sql).fetchall())
    client = await Client.connect(temporal_server.address)
    for task_id, generation in submitted:
        status = (await client.get_workflow_handle(f"task/{task_id}/{generation}").describe()).status
        assert status is not WorkflowExecutionStatus.RUNNING, (task_id, generation)


@pytest.mark.parametrize("kind", ["block", "burn"])
async def test_a_queue_of_handlers_runs_each_once(db: Path, temporal_server: EmbeddedServer, kind: str) -> None:
    await flood(db, temporal_server.address, kind, 40, seconds=1.0 if kind == "block" else 0.05)


@pytest.mark.acceptance
@pytest.mark.parametrize("kind", ["block", "burn"])
async def test_six_hundred_handlers_run_each_once(db: Path, temporal_server: EmbeddedServer, kind: str) -> None:
    number = count("TASKS_ACCEPTANCE_FLOOD", 600)
    figures = await flood(db, temporal_server.address, kind, number, seconds=1.0 if kind == "block" else 0.1)
    keep(f"flood-{kind}", figures)


async def flood(db: Path, address: str, kind: str, number: int, *, seconds: float) -> dict[str, Any]:
    started = time.monotonic()
    work = Work(db, enabled=True, address=address)
    async with work.tasks:
        made = await work.create(kind, number, seconds)
        states = [(await work.org.wait(task.id, timeout=600)).state for task in made]
        took = time.monotonic() - started
        await work.agree()
    assert states == all_completed(made)
    assert Counter(work.runs.values()) == {1: number}
    return {"handlers": number, "seconds_each": seconds, "seconds": round(took, 1), "repeated": 0}
