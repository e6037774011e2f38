"""The activities of AgentTaskWorkflow: each carries one question to the TaskBridge and its answer back.
They must not know SQL, the executor or a Temporal client; they decide nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from temporalio import activity

from durable_tasks.activities.refusals import answered, obeyed
from durable_tasks.contracts import (
    BEGIN_TASK,
    CANCEL_TASK,
    COMMAND_TASK,
    JOIN_TASK,
    READ_TASK,
    RECORD_TASK,
    RUN_TASK,
    AttemptEnd,
    Begun,
    Command,
    CommandAnswer,
    RunRequest,
    TaskRef,
    TaskStatus,
)
from durable_tasks.ports import TaskBridge

_PATIENCE = 1800.0
"""Seconds one join waits before it answers "still live"; below the activity's own timeout of an hour."""
_BEAT = 3.0
"""Seconds between heartbeats; well below the heartbeat timeout of 10 s."""


class TaskActivities:
    """Every answer is SQLite's, through the bridge of the process that owns the file."""

    def __init__(self, bridge: TaskBridge) -> None:
        self._bridge = bridge

    @property
    def all(self) -> list[Callable[..., Awaitable[Any]]]:
        return [
            self.run_task,
            self.join_task,
            self.read_task,
            self.cancel_task,
            self.begin_task,
            self.record_task,
            self.command_task,
        ]

    @activity.defn(name=RUN_TASK)
    async def run_task(self, request: RunRequest) -> TaskStatus:
        info = activity.info()
        return await answered(
            self._bridge.run(
                request,
                namespace=info.namespace,
                workflow_id=info.workflow_id or "",
                run_id=info.workflow_run_id or "",
            )
        )

    @activity.defn(name=JOIN_TASK)
    async def join_task(self, ref: TaskRef) -> TaskStatus:
        """Wait for the attempt's end. When the worker shuts down first, answer how the task stands, so that
        the workflow joins again wherever the next worker is."""
        info = activity.info()
        joining = asyncio.ensure_future(
            self._bridge.join(ref, namespace=info.namespace, workflow_id=info.workflow_id or "", patience=_PATIENCE)
        )
        leaving = asyncio.ensure_future(activity.wait_for_worker_shutdown())
        try:
            while not joining.done() and not leaving.done():
                activity.heartbeat()
                await asyncio.wait({joining, leaving}, timeout=_BEAT, return_when=asyncio.FIRST_COMPLETED)
            return await (answered(joining) if joining.done() else self.read_task(ref))
        finally:
            joining.cancel()
            leaving.cancel()
            await asyncio.gather(joining, leaving, return_exceptions=True)

    @activity.defn(name=READ_TASK)
    async def read_task(self, ref: TaskRef) -> TaskStatus:
        info = activity.info()
        return await answered(self._bridge.read(ref, namespace=info.namespace, workflow_id=info.workflow_id or ""))

    @activity.defn(name=CANCEL_TASK)
    async def cancel_task(self, ref: TaskRef, reason: str) -> TaskStatus:
        info = activity.info()
        cancelling = self._bridge.cancel(
            ref, namespace=info.namespace, workflow_id=info.workflow_id or "", reason=reason
        )
        return await answered(cancelling)

    @activity.defn(name=BEGIN_TASK)
    async def begin_task(self, request: RunRequest) -> Begun:
        info = activity.info()
        return await answered(self._bridge.begin(request, namespace=info.namespace, workflow_id=info.workflow_id or ""))

    @activity.defn(name=RECORD_TASK)
    async def record_task(self, end: AttemptEnd) -> TaskStatus:
        info = activity.info()
        return await answered(self._bridge.record(end, namespace=info.namespace, workflow_id=info.workflow_id or ""))

    @activity.defn(name=COMMAND_TASK)
    async def command_task(self, command: Command) -> CommandAnswer:
        """Of a task with a workflow of its own, or of a member of a group."""
        info = activity.info()
        return await obeyed(self._bridge.command(command, namespace=info.namespace, workflow_id=info.workflow_id or ""))
