"""The bridge: what Temporal's workflows ask of the process that owns the file, answered from SQLite and the executor.

It must not know Temporal's client, nor decide anything: SQLite does.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from durable_tasks.contracts import (
    AttemptEnd,
    Batch,
    Begun,
    Command,
    CommandAnswer,
    GroupRef,
    GroupStatus,
    MembersRequest,
    Ref,
    RunRequest,
    TaskRef,
    TaskStatus,
    Verdict,
)
from durable_tasks.executor.executor import Executor
from durable_tasks.ports import Asked, Clock

PATIENCE = 1.0
"""Seconds that `run` and `run_group` wait for the end before they answer that it is under way."""

Status = TypeVar("Status", TaskStatus, GroupStatus)


class BridgeStore(Protocol):
    """What the bridge needs of SQLite."""

    async def status(self, ref: TaskRef) -> TaskStatus: ...

    async def require_asker(self, ref: Ref, *, namespace: str, workflow_id: str) -> None: ...

    async def cancel_by_driver(self, asked: Asked, reason: str) -> TaskStatus: ...

    async def begin_remote(self, request: RunRequest, *, namespace: str, workflow_id: str) -> Begun: ...

    async def record(self, end: AttemptEnd, *, namespace: str, workflow_id: str) -> TaskStatus: ...

    async def group_status(self, ref: GroupRef) -> GroupStatus: ...

    async def cancel_group_by_driver(
        self, ref: GroupRef, *, namespace: str, workflow_id: str, reason: str
    ) -> GroupStatus: ...

    async def begin_members(self, request: MembersRequest, *, namespace: str, workflow_id: str) -> Batch: ...


class Obey(Protocol):
    """Does what a command says, as the facade would."""

    async def __call__(self, command: Command, *, namespace: str, workflow_id: str) -> CommandAnswer: ...


Waiting = Callable[[str], AbstractContextManager[asyncio.Event]]
"""id of a task or group → an event that is set when an attempt or its life ends."""


class Bridge:
    """Implements ports.TaskBridge for the process that owns the file."""

    def __init__(self, store: BridgeStore, executor: Executor, waiting: Waiting, clock: Clock, obey: Obey) -> None:
        self._store = store
        self._executor = executor
        self._waiting = waiting
        self._clock = clock
        self._obey = obey

    # ----- tasks

    async def run(self, request: RunRequest, *, namespace: str, workflow_id: str, run_id: str) -> TaskStatus:
        await self._store.require_asker(request.ref, namespace=namespace, workflow_id=workflow_id)
        return await self._run(Asked(request.ref, request.request, namespace, workflow_id), PATIENCE)

    async def join(self, ref: TaskRef, *, namespace: str, workflow_id: str, patience: float) -> TaskStatus:
        await self._store.require_asker(ref, namespace=namespace, workflow_id=workflow_id)
        # What waits for a slot is remembered in memory only: a join asks for it again after a restart.
        return await self._run(Asked(ref, f"join/{workflow_id}", namespace, workflow_id), patience)

    async def _run(self, asked: Asked, patience: float) -> TaskStatus:
        until = self._clock.steady() + patience
        with self._waiting(asked.ref.task_id) as happened:
            status = await self._executor.admit(asked)
            if status is not None and status.verdict is not Verdict.LIVE:
                return status
            return await self._until_over(happened, lambda: self._store.status(asked.ref), until)

    async def _until_over(self, happened: asyncio.Event, look: Callable[[], Awaitable[Status]], until: float) -> Status:
        while True:  # a commit of anybody may wake us; only news of this one is an answer
            happened.clear()
            status = await look()
            if status.verdict is not Verdict.LIVE:
                return status
            if not await self._clock.wait_for(happened, until - self._clock.steady()):
                return status

    async def read(self, ref: TaskRef, *, namespace: str, workflow_id: str) -> TaskStatus:
        await self._store.require_asker(ref, namespace=namespace, workflow_id=workflow_id)
        return await self._store.status(ref)

    async def cancel(self, ref: TaskRef, *, namespace: str, workflow_id: str, reason: str) -> TaskStatus:
        await self._store.require_asker(ref, namespace=namespace, workflow_id=workflow_id)
        return await self._store.cancel_by_driver(Asked(ref, "cancel", namespace, workflow_id), reason)

    async def begin(self, request: RunRequest, *, namespace: str, workflow_id: str) -> Begun:
        await self._store.require_asker(request.ref, namespace=namespace, workflow_id=workflow_id)
        return await self._store.begin_remote(request, namespace=namespace, workflow_id=workflow_id)

    async def record(self, end: AttemptEnd, *, namespace: str, workflow_id: str) -> TaskStatus:
        await self._store.require_asker(end.ref, namespace=namespace, workflow_id=workflow_id)
        return await self._store.record(end, namespace=namespace, workflow_id=workflow_id)

    async def command(self, command: Command, *, namespace: str, workflow_id: str) -> CommandAnswer:
        return await self._obey(command, namespace=namespace, workflow_id=workflow_id)

    # ----- groups

    async def run_group(self, ref: GroupRef, *, namespace: str, workflow_id: str) -> GroupStatus:
        await self._store.require_asker(ref, namespace=namespace, workflow_id=workflow_id)
        until = self._clock.steady() + PATIENCE
        with self._waiting(ref.workflow_id) as happened:
            status = await self._store.group_status(ref)
            if status.verdict is not Verdict.LIVE or status.ready:
                return status
            return await self._until_over(happened, lambda: self._store.group_status(ref), until)

    async def read_group(self, ref: GroupRef, *, namespace: str, workflow_id: str) -> GroupStatus:
        await self._store.require_asker(ref, namespace=namespace, workflow_id=workflow_id)
        return await self._store.group_status(ref)

    async def cancel_group(self, ref: GroupRef, *, namespace: str, workflow_id: str, reason: str) -> GroupStatus:
        await self._store.require_asker(ref, namespace=namespace, workflow_id=workflow_id)
        return await self._store.cancel_group_by_driver(
            ref, namespace=namespace, workflow_id=workflow_id, reason=reason
        )

    async def begin_members(self, request: MembersRequest, *, namespace: str, workflow_id: str) -> Batch:
        await self._store.require_asker(request.ref, namespace=namespace, workflow_id=workflow_id)
        return await self._store.begin_members(request, namespace=namespace, workflow_id=workflow_id)
