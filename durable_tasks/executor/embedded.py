"""The embedded path: what Temporal's workflows ask of this process, answered from SQLite and the executor.

It must not know Temporal's client, nor decide anything: SQLite does.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from durable_tasks.contracts import RunRequest, TaskRef, TaskStatus, Verdict
from durable_tasks.executor.executor import Executor
from durable_tasks.ports import Asked, Clock, Errand

PATIENCE = 1.0
"""Seconds that `run` waits for the end before it answers that the attempt is under way."""


class BridgeStore(Protocol):
    """What the bridge needs of SQLite."""

    async def status(self, ref: TaskRef) -> TaskStatus: ...

    async def cancel_by_driver(self, asked: Asked, reason: str) -> TaskStatus: ...


Waiting = Callable[[str], AbstractContextManager[asyncio.Event]]
"""task id → an event that is set when an attempt or the task's life ends."""


class EmbeddedBridge:
    """Implements ports.TaskBridge for the process that owns the file."""

    def __init__(self, store: BridgeStore, executor: Executor, waiting: Waiting, clock: Clock) -> None:
        self._store = store
        self._executor = executor
        self._waiting = waiting
        self._clock = clock

    async def run(self, request: RunRequest, *, namespace: str, workflow_id: str, run_id: str) -> TaskStatus:
        return await self._run(Asked(request.ref, request.request, namespace, workflow_id), PATIENCE)

    async def started(self, errand: Errand, run_id: str) -> None:
        await self._executor.begin_started(errand, run_id)

    async def join(self, ref: TaskRef, *, namespace: str, workflow_id: str, patience: float) -> TaskStatus:
        # What waits for a slot is remembered in memory only: a join asks for it again after a restart.
        return await self._run(Asked(ref, f"join/{workflow_id}", namespace, workflow_id), patience)

    async def _run(self, asked: Asked, patience: float) -> TaskStatus:
        until = self._clock.now() + patience
        with self._waiting(asked.ref.task_id) as happened:
            status = await self._executor.admit(asked)
            if status is not None and status.verdict is not Verdict.LIVE:
                return status
            while True:  # a commit of anybody may wake us; only news of this task is an answer
                happened.clear()
                status = await self._store.status(asked.ref)
                if status.verdict is not Verdict.LIVE or not await self._clock.wait(happened, until):
                    return status

    async def read(self, ref: TaskRef) -> TaskStatus:
        return await self._store.status(ref)

    async def cancel(self, ref: TaskRef, *, namespace: str, workflow_id: str, reason: str) -> TaskStatus:
        return await self._store.cancel_by_driver(Asked(ref, "cancel", namespace, workflow_id), reason)
