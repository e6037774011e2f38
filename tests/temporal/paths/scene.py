"""A scene: one task or group, the bridge and the hands around it, and its Temporal workflow on a real server.
It must not know which path is played in it.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.api.update.v1 import UpdateRef
from temporalio.api.workflowservice.v1 import PollWorkflowExecutionUpdateRequest
from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.service import RPCError
from temporalio.worker import Worker

from durable_tasks.activities.group import GroupActivities
from durable_tasks.activities.task import TaskActivities
from durable_tasks.contracts import (
    GROUP_WORKFLOWS,
    PROGRESS_QUERY,
    STATUS_QUERY,
    SYNC_SIGNAL,
    TASK_WORKFLOW,
    GroupRef,
    TaskRef,
    TaskStatus,
    Verdict,
)
from durable_tasks.models import Placement, TaskState, WorkflowKind
from durable_tasks.workflows.group import GROUP_WORKFLOW_TYPES
from durable_tasks.workflows.task import AgentTaskWorkflow
from tests.temporal.bridges import DEADLINE, ScriptedBridge, ScriptedGroup
from tests.temporal.hands import Act, ScriptedHands

WORKFLOWS: tuple[type, ...] = (AgentTaskWorkflow, *GROUP_WORKFLOW_TYPES)


class Scene:
    def __init__(self, client: Client) -> None:
        self.client = client
        self.queue = f"test-{uuid.uuid4()}"
        self.bridge = ScriptedBridge(work_queue=f"{self.queue}-work")
        self.hands = ScriptedHands()
        self.id = str(uuid.uuid4())
        self.handle: WorkflowHandle[Any, Any]

    @asynccontextmanager
    async def staged(self) -> AsyncIterator["Scene"]:
        """With the worker of the process that owns the file, inside the sandbox."""
        activities = [*TaskActivities(self.bridge).all, *GroupActivities(self.bridge).all]
        async with Worker(self.client, task_queue=self.queue, workflows=WORKFLOWS, activities=activities):
            yield self

    def worker(self, *acts: Act) -> AbstractAsyncContextManager[Any]:
        """An external worker, which does these acts first."""
        self.hands.acts.extend(acts)
        return self.hands.worker(self.client, self.bridge.work_queue)

    # ----- one task

    async def start(self, placement: Placement = Placement.EMBEDDED) -> None:
        ref = TaskRef(task_id=self.id, org_id="default", generation=1, placement=placement)
        self.handle = await self.client.start_workflow(
            TASK_WORKFLOW, ref, id=f"task/{self.id}/1", task_queue=self.queue
        )

    async def start_unattended(self) -> None:
        """Before any worker is there; the path stages its own."""
        self.queue += "-unattended"
        await self.start(Placement.MANUAL)

    async def start_external(self) -> None:
        self.put(Verdict.LIVE, TaskState.PENDING)
        await self.start(Placement.EXTERNAL)

    async def start_manual(self) -> None:
        self.put(Verdict.LIVE, TaskState.PENDING)
        await self.start(Placement.MANUAL)
        await self.bridge.called("read")

    def put(self, verdict: Verdict, state: TaskState, **facts: Any) -> TaskStatus:
        return self.bridge.put(self.id, verdict, state, **facts)

    # ----- one group

    def members(self, count: int, state: TaskState = TaskState.PENDING, *, batch: int = 100) -> list[str]:
        """A group of so many tasks; those that are pending are external."""
        names = [f"member-{number}" for number in range(count)]
        for name in names:
            self.bridge.put(name, Verdict.LIVE, state)
            self.bridge.inputs[name] = f"of {name}"
        self.bridge.group = ScriptedGroup(names, batch=batch)
        return names

    @property
    def group(self) -> ScriptedGroup:
        assert self.bridge.group is not None
        return self.bridge.group

    async def start_group(self, kind: WorkflowKind = "fan_out") -> None:
        ref = GroupRef(workflow_id=self.id, org_id="default", generation=1, kind=kind)
        self.handle = await self.client.start_workflow(
            GROUP_WORKFLOWS[kind], ref, id=f"workflow/{self.id}/1", task_queue=self.queue
        )

    async def sync_group(self) -> None:
        await self.sync(self.group.status(self.bridge.tasks))

    # ----- what is told and asked

    async def sync(self, status: Any) -> None:
        await self.handle.signal(SYNC_SIGNAL, status)

    async def update(self, verb: str, payload: Any = None, *, id: str | None = None) -> Any:
        async with asyncio.timeout(DEADLINE):
            return await self.handle.execute_update(verb, payload, id=id)

    async def send_update(self, verb: str, payload: Any) -> "asyncio.Task[Any]":
        """On its way, and with the server for sure: the workflow does not hear of it before a worker is there."""
        sending = asyncio.create_task(self.update(verb, payload, id="sent early"))
        execution = WorkflowExecution(workflow_id=self.handle.id)
        request = PollWorkflowExecutionUpdateRequest(
            namespace=self.client.namespace,
            update_ref=UpdateRef(workflow_execution=execution, update_id="sent early"),
        )
        async with asyncio.timeout(DEADLINE):
            while True:
                with suppress(RPCError):  # the server does not know the update yet
                    await self.client.workflow_service.poll_workflow_execution_update(request)
                    return sending

    async def refused(self, verb: str, payload: Any, kind: str, message: str = "") -> None:
        await self.was_refused(self.update(verb, payload), kind, message)

    async def was_refused(self, sending: Awaitable[Any], kind: str, message: str = "") -> None:
        with pytest.raises(WorkflowUpdateFailedError) as failure:
            await sending
        cause = failure.value.cause
        assert isinstance(cause, ApplicationError)
        assert (cause.type, cause.non_retryable) == (kind, True)
        assert message in cause.message

    async def known(self, query: str = STATUS_QUERY) -> Any:
        """What the workflow last heard. Its answer proves too that earlier signals were handled."""
        return await self.handle.query(query)

    async def hears(self, state: TaskState) -> None:
        await self._until(lambda known: bool(known["state"] == state))

    async def executes(self, count: int) -> None:
        await self._until(lambda known: bool(known["executing"] == count), PROGRESS_QUERY)

    async def _until(self, true: Callable[[Any], bool], query: str = STATUS_QUERY) -> None:
        async with asyncio.timeout(DEADLINE):
            while (known := await self.known(query)) is None or not true(known):
                pass  # each query is a round trip through the worker

    async def details(self) -> str:
        """What people read of it in Temporal."""
        metadata = await self.handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
        return str(metadata.current_details)

    async def shows(self, said: str) -> None:
        async with asyncio.timeout(DEADLINE):
            while said not in await self.details():
                pass  # each query is a round trip through the worker

    async def continues_as_new(self, first: str | None) -> None:
        async with asyncio.timeout(DEADLINE):
            while (await self.handle.describe()).run_id == first:
                pass  # a signal on its way makes the server ask for another try

    # ----- the end

    async def result(self) -> Any:
        async with asyncio.timeout(DEADLINE):
            return await self.handle.result()

    async def ended(self, status: WorkflowExecutionStatus) -> None:
        assert (await self.handle.describe()).status is status

    async def completes_with(self, output: Any) -> None:
        assert await self.result() == output
        await self.ended(WorkflowExecutionStatus.COMPLETED)

    async def fails_with(self, kind: str, message: str) -> None:
        cause = await self.failure()
        assert (cause.type, cause.message) == (kind, message)

    async def failure(self) -> ApplicationError:
        with pytest.raises(WorkflowFailureError) as failure:
            await self.result()
        cause = failure.value.cause
        assert isinstance(cause, ApplicationError)
        assert cause.non_retryable
        await self.ended(WorkflowExecutionStatus.FAILED)
        return cause

    async def is_cancelled(self) -> None:
        with pytest.raises(WorkflowFailureError) as failure:
            await self.result()
        assert isinstance(failure.value.cause, CancelledError)
        await self.ended(WorkflowExecutionStatus.CANCELED)


Path = Callable[[Scene], Awaitable[None]]
