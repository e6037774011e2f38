"""The embedded path: what Temporal's workflows ask of this process, answered from SQLite and the executor.

It must not know Temporal's client, nor decide anything: SQLite does.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

from durable_tasks.contracts import RunRequest, TaskRef, TaskStatus, Verdict
from durable_tasks.errors import Conflict
from durable_tasks.executor.executor import Executor
from durable_tasks.models import Task, TaskState
from durable_tasks.ports import Clock

PATIENCE = 1.0
"""Seconds that `run` waits for the end before it answers that the attempt is under way."""


class BridgeStore(Protocol):
    """What the bridge needs of SQLite."""

    async def status(self, ref: TaskRef) -> TaskStatus: ...

    async def is_driver(self, ref: TaskRef, namespace: str, workflow_id: str) -> bool: ...

    async def get(self, org_id: str, task_id: str) -> Task: ...

    async def cancel(self, org_id: str, task_id: str, reason: str | None, command_id: str | None) -> Task: ...


WaitForEnd = Callable[[str, float], Awaitable[None]]
"""(task id, instant): return when an attempt or the task's life ended, or the instant came."""


class EmbeddedBridge:
    """Implements ports.TaskBridge for the process that owns the file."""

    def __init__(self, store: BridgeStore, executor: Executor, wait_for_end: WaitForEnd, clock: Clock) -> None:
        self._store = store
        self._executor = executor
        self._wait_for_end = wait_for_end
        self._clock = clock

    async def run(self, request: RunRequest, *, namespace: str, workflow_id: str, run_id: str) -> TaskStatus:
        ref = request.ref
        if not await self._store.is_driver(ref, namespace, workflow_id):
            status = await self._store.status(ref)
            return status.model_copy(update={"verdict": Verdict.SUPERSEDED})
        return await self._run(ref, request.request, PATIENCE)

    async def _run(self, ref: TaskRef, request: str, patience: float) -> TaskStatus:
        task = await self._store.get(ref.org_id, ref.task_id)
        if task.state in (TaskState.PENDING, TaskState.RETRYING) and task.generation == ref.generation:
            if not self._executor.can_run(task.capability):
                status = await self._store.status(ref)
                return status.model_copy(update={"verdict": Verdict.NOT_HERE})
            await self._executor.admit(ref, request, task.priority)
        status = await self._store.status(ref)
        if status.verdict is not Verdict.LIVE:
            return status
        await self._wait_for_end(ref.task_id, self._clock.now() + patience)
        return await self._store.status(ref)

    async def join(self, ref: TaskRef, *, patience: float) -> TaskStatus:
        # What waits for a slot is remembered in memory only: a join asks for it again after a restart.
        return await self._run(ref, f"join/{ref.generation}", patience)

    async def read(self, ref: TaskRef) -> TaskStatus:
        return await self._store.status(ref)

    async def cancel(self, ref: TaskRef, *, reason: str) -> TaskStatus:
        status = await self._store.status(ref)
        if status.verdict not in (Verdict.ENDED, Verdict.SUPERSEDED):
            with suppress(Conflict):  # it ended meanwhile; the status below says how
                await self._store.cancel(ref.org_id, ref.task_id, reason, None)
        return await self._store.status(ref)
