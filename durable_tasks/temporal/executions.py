"""Executions: an organisation's own Temporal workflows, by id, for its operators. Those of tasks are only looked at.
It must not know SQLite: what drives a task or a group is commanded through the organisation's verbs alone.
"""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from temporalio.client import Client, WorkflowExecutionDescription
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from durable_tasks.contracts import GROUP_WORKFLOWS, STORE_QUEUES, TASK_WORKFLOW, drives_ours
from durable_tasks.errors import Conflict, InvalidInput, NotFound, TemporalUnavailable
from durable_tasks.temporal.engine import TemporalEngine
from durable_tasks.temporal.faults import Fault, fault_of

T = TypeVar("T")

_OUR_TYPES = frozenset({TASK_WORKFLOW, *GROUP_WORKFLOWS.values()})


@dataclass(frozen=True, slots=True)
class Execution:
    """A Temporal workflow as the server shows it."""

    namespace: str
    workflow_id: str
    run_id: str
    workflow_type: str
    queue: str
    status: str
    """RUNNING, COMPLETED, FAILED, CANCELED, TERMINATED, CONTINUED_AS_NEW or TIMED_OUT."""
    started_at: datetime
    closed_at: datetime | None


class Executions:
    """Get it from `tasks.durable.executions()`. Every method raises TemporalUnavailable when nobody answers."""

    def __init__(self, client: Client, engine: TemporalEngine) -> None:
        self._client = client
        self._engine = engine

    async def start(
        self,
        workflow_type: str,
        workflow_id: str,
        *,
        queue: str,
        arguments: Sequence[Any] = (),
        timeout: float | None = None,
    ) -> Execution:
        """Start one for workers of the user's own. Raises Conflict when the id runs already, InvalidInput for what
        would be mistaken for a task's."""
        _refuse_ours(workflow_id)
        if workflow_type in _OUR_TYPES or queue.startswith(STORE_QUEUES):
            raise InvalidInput(
                f"{workflow_type} on {queue} drives tasks; create a task or a workflow instead",
                workflow_type=workflow_type,
                queue=queue,
            )
        limit = None if timeout is None else timedelta(seconds=timeout)
        starting = self._client.start_workflow(
            workflow_type, args=arguments, id=workflow_id, task_queue=queue, execution_timeout=limit
        )
        try:
            await self._reach(starting, workflow_id)
        except WorkflowAlreadyStartedError as error:
            raise Conflict(
                f"a Temporal workflow {workflow_id!r} runs already; choose another id", id=workflow_id, state="running"
            ) from error
        return await self.describe(workflow_id)

    async def describe(self, workflow_id: str) -> Execution:
        """Its newest run. Raises NotFound."""
        seen = await self._reach(self._client.get_workflow_handle(workflow_id).describe(), workflow_id)
        return _execution(self._client.namespace, seen)

    async def signal(self, workflow_id: str, signal: str, arguments: Sequence[Any] = ()) -> None:
        """Raises NotFound when it is not there or has ended, InvalidInput for one that drives a task."""
        _refuse_ours(workflow_id)
        await self._reach(self._client.get_workflow_handle(workflow_id).signal(signal, args=arguments), workflow_id)

    async def cancel(self, workflow_id: str) -> None:
        """Ask it to end; the server has no objection when it has ended already. Else raises as `signal` does."""
        _refuse_ours(workflow_id)
        await self._reach(self._client.get_workflow_handle(workflow_id).cancel(), workflow_id)

    async def terminate(self, workflow_id: str, *, reason: str | None = None) -> None:
        """End it at once. Raises as `signal` does."""
        _refuse_ours(workflow_id)
        await self._reach(self._client.get_workflow_handle(workflow_id).terminate(reason=reason), workflow_id)

    async def _reach(self, call: Awaitable[T], workflow_id: str) -> T:
        try:
            return await self._engine.reach(call)
        except (RPCError, TimeoutError) as error:
            fault = fault_of(error)
            if fault in (Fault.MISSING, Fault.NAMESPACE):
                raise NotFound(
                    f"there is no Temporal workflow {workflow_id!r} in namespace {self._client.namespace!r}",
                    id=workflow_id,
                ) from error
            if fault is Fault.CLOSED:
                raise NotFound(
                    f"no Temporal workflow {workflow_id!r} is running; it has ended", id=workflow_id
                ) from error
            address = self._engine.address
            raise TemporalUnavailable(f"Temporal at {address} does not do it: {error!r}", address=address) from error


def _refuse_ours(workflow_id: str) -> None:
    """SQLite decides what becomes of a task: ended here, its Temporal workflow would only be started again."""
    if drives_ours(workflow_id):
        raise InvalidInput(
            f"{workflow_id} drives a task or a workflow of tasks, and SQLite decides about those;"
            " use signal_task, cancel_task or cancel_workflow with their own id",
            workflow_id=workflow_id,
        )


def _execution(namespace: str, seen: WorkflowExecutionDescription) -> Execution:
    return Execution(
        namespace=namespace,
        workflow_id=seen.id,
        run_id=seen.run_id,
        workflow_type=seen.workflow_type,
        queue=seen.task_queue,
        status="UNKNOWN" if seen.status is None else seen.status.name,
        started_at=seen.start_time,
        closed_at=seen.close_time,
    )
