"""An application's instance inside the test, with handlers that can be held, and servers of the test's own.
It must not know what is done to the server, nor relay and reconciler.
"""

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from durable_tasks.app import DurableTasks
from durable_tasks.handlers import TaskContext
from durable_tasks.models import NewTask, Task, TaskState, Workflow, WorkflowState
from durable_tasks.org import Org
from durable_tasks.settings import Settings
from durable_tasks.temporal.server import EmbeddedServer
from tests.faults.checker import faults
from tests.faults.worker_app import settled_drift

SECONDS = 90.0


class Work:
    """An application's instance on the file, and how often its handlers ran."""

    def __init__(self, db: Path, *, orgs: Sequence[str] = (), **settings: Any) -> None:
        self.db = db
        self.tasks = DurableTasks(Settings(db=db, **settings))
        self.org = self.tasks.org()
        self.orgs = [self.org, *map(self.tasks.org, orgs)]
        self.runs: Counter[str] = Counter()
        self.go_on = asyncio.Event()
        self.made: list[tuple[Org, Task]] = []
        self.groups: list[tuple[Org, Workflow]] = []

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

    async def open_all(self, org: Org) -> None:
        """One of each kind, half of them held: single tasks, manual ones, a pipeline and a fan-out."""
        for capability in ("patient", "quick", None, None):
            mode = "manual" if capability is None else "auto"
            self.made.append((org, await org.create("work", capability=capability, mode=mode, input=1)))
        steps = [NewTask(title=name, capability=name, input=1) for name in ("quick", "patient", "quick")]
        self.groups.append((org, await org.pipeline("pipeline", steps)))
        members = [NewTask(title=name, capability=name, input=1) for name in ("quick", "patient", "patient", "quick")]
        self.groups.append((org, await org.fan_out("fan-out", members, max_parallel=3)))

    async def complete_one(self, org: Org) -> None:
        """Somebody completes a manual task that is open."""
        claim = await org.next(agent_id="an agent")
        assert claim is not None
        await org.complete(claim.task.id, "by hand", token=claim.token)

    async def finish_all(self) -> None:
        """Let go what was held, complete what is manual: everything must complete, and every handler run once."""
        self.go_on.set()
        for org in self.orgs:
            while (claim := await org.next(agent_id="an agent")) is not None:
                await org.complete(claim.task.id, "by hand", token=claim.token)
        for org, task in self.made:
            assert (await org.wait(task.id, timeout=SECONDS)).state == TaskState.COMPLETED
        for org, group in self.groups:
            assert (await org.wait_workflow(group.id, timeout=SECONDS)).state == WorkflowState.COMPLETED
            states = {task.state for task in await org.workflow_tasks(group.id)}
            assert states == {TaskState.COMPLETED}
        assert set(self.runs.values()) <= {1}

    async def finish(self, made: list[Task]) -> list[TaskState]:
        """Claim and complete what is manual; the states once all have ended."""
        while (claim := await self.org.next(agent_id="an agent")) is not None:
            await self.org.complete(claim.task.id, "by hand", token=claim.token)
        return [(await self.org.wait(task.id, timeout=SECONDS)).state for task in made]

    async def agree(self) -> float:
        """Both sides come to agree; after how many seconds."""
        started = time.monotonic()
        assert await settled_drift(self.tasks, until=SECONDS) == []
        took = time.monotonic() - started
        assert await self.tasks.store.audit() == []
        assert faults(self.db) == []
        return took

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
        """How many tasks and groups Temporal has a running workflow of, as far as SQLite knows."""
        sql = "SELECT COUNT(*) FROM dt_submissions WHERE state = 'open'"
        return int(await self.tasks.store.read(lambda conn: conn.execute(sql).fetchone()[0]))

    async def unsent(self) -> int:
        sql = "SELECT COUNT(*) FROM dt_outbox WHERE kind = 'start'"
        return int(await self.tasks.store.read(lambda conn: conn.execute(sql).fetchone()[0]))

    async def held(self) -> int:
        """Handlers that began and wait for `go_on`."""
        sql = "SELECT COUNT(*) FROM dt_tasks WHERE state = 'running' AND capability = 'patient'"
        return int(await self.tasks.store.read(lambda conn: conn.execute(sql).fetchone()[0]))


def all_completed(made: list[Task]) -> list[TaskState]:
    return [TaskState.COMPLETED] * len(made)


@asynccontextmanager
async def own_server(shared: EmbeddedServer, database: Path | None = None) -> AsyncIterator[EmbeddedServer]:
    """A server not yet started, on a port that it keeps; without `database` it forgets everything when it ends."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
    server = EmbeddedServer(binary=shared.binary, port=port, database=database)
    try:
        yield server
    finally:
        await server.stop()


async def status_there(server: EmbeddedServer, namespace: str, workflow_id: str) -> WorkflowExecutionStatus | None:
    """How a Temporal workflow stands; None when the server does not know it."""
    client = await Client.connect(server.address, namespace=namespace)
    try:
        return (await client.get_workflow_handle(workflow_id).describe()).status
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return None


def address_of(server: EmbeddedServer) -> str:
    """Also of one that was not started."""
    return f"127.0.0.1:{server._port}"
