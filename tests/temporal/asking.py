"""A small workflow that asks a work queue for `execute`, as ours do, and what its tests say and see.
It must not know SQLite, nor who serves the queue.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from temporalio import workflow
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.worker import Worker

from durable_tasks import RetryPolicy as TaskRetryPolicy
from durable_tasks import Task
from durable_tasks.clock import SystemClock
from durable_tasks.contracts import EXECUTE, Execution

DEADLINE = 30.0
_LOOK = 0.05
NOW = "2026-01-01T00:00:00Z"
BLANK: dict[str, Any] = dict.fromkeys(Task.model_fields) | {
    "org_id": "acme",
    "space_id": "default",
    "title": "a task",
    "description": "",
    "mode": "auto",
    "placement": "external",
    "engine": "temporal",
    "generation": 1,
    "state": "claimed",
    "priority": 1,
    "depends_on": (),
    "on_dependency_failure": "cancel",
    "labels": (),
    "omitted": (),
    "metadata": {},
    "progress": 0.0,
    "max_retries": 3,
    "retry_count": 0,
    "lost_count": 0,
    "retry": TaskRetryPolicy(),
    "attempt": 1,
    "version": 2,
    "created_at": NOW,
    "updated_at": NOW,
}


class Ask(BaseModel):
    """What is to be executed, where, and how long it may take."""

    execution: Execution
    queue: str
    timeout: float


@workflow.defn(sandboxed=False)
class AskForExecution:
    """One try, watched by heartbeats; when it is cancelled it waits for the activity's own end."""

    @workflow.run
    async def run(self, ask: Ask) -> Any:
        return await workflow.execute_activity(
            EXECUTE,
            ask.execution,
            task_queue=ask.queue,
            start_to_close_timeout=timedelta(seconds=ask.timeout),
            heartbeat_timeout=timedelta(seconds=ask.execution.heartbeat),
            retry_policy=RetryPolicy(maximum_attempts=1),
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )


def task_of(capability: str | None, input: Any = None, **fields: Any) -> Task:
    """A task as SQLite would hand it over."""
    return Task.model_validate(BLANK | {"id": str(uuid.uuid4()), "capability": capability, "input": input} | fields)


class Desk:
    """Asks one work queue, and tells how its answers came."""

    def __init__(self, client: Client, workflows: str, queue: str) -> None:
        self.client = client
        self.queue = queue
        self._workflows = workflows

    async def ask(
        self,
        capability: str | None,
        input: Any = None,
        *,
        prior: dict[str, Any] | None = None,
        timeout: float = 30.0,
        heartbeat: float = 30.0,
    ) -> WorkflowHandle[Any, Any]:
        task = task_of(capability, input, timeout=timeout)
        execution = Execution(
            task=task.model_dump(mode="json") | {"field_of_the_future": 1},
            token="token",
            prior=prior or {},
            heartbeat=heartbeat,
        )
        return await self.client.start_workflow(
            "AskForExecution",
            Ask(execution=execution, queue=self.queue, timeout=timeout),
            id=task.id,
            task_queue=self._workflows,
        )

    async def output(self, capability: str | None, input: Any = None, **how: Any) -> Any:
        async with asyncio.timeout(DEADLINE):
            return await (await self.ask(capability, input, **how)).result()

    async def failure(self, capability: str | None, input: Any = None, **how: Any) -> ApplicationError:
        """The error of an execution that ends as failed."""
        cause = await cause_of(await self.ask(capability, input, **how))
        assert isinstance(cause, ApplicationError), repr(cause)
        return cause

    async def shown(self, handle: WorkflowHandle[Any, Any], wanted: Callable[[Any], bool]) -> Any:
        """The details of the pending activity's last heartbeat, once they are as wanted."""

        async def details() -> Any:
            pending = (await handle.describe()).raw_description.pending_activities
            if not pending or not pending[0].heartbeat_details.payloads:
                return None
            (said,) = await self.client.data_converter.decode(pending[0].heartbeat_details.payloads)
            return said

        return await until(details, lambda said: said is not None and wanted(said))


async def cause_of(handle: WorkflowHandle[Any, Any]) -> BaseException | None:
    """Why `execute` failed, as its workflow saw it."""
    try:
        async with asyncio.timeout(DEADLINE):
            answer = await handle.result()
    except WorkflowFailureError as error:
        return error.cause.cause if isinstance(error.cause, ActivityError) else error.cause
    raise AssertionError(f"it ended well: {answer!r}")


async def until(look: Callable[[], Awaitable[Any]], wanted: Callable[[Any], bool]) -> Any:
    """What `look` answers once it is wanted: a server tells nobody by itself."""
    clock = SystemClock()
    async with asyncio.timeout(DEADLINE):
        while not wanted(seen := await look()):
            await clock.wait_for(asyncio.Event(), _LOOK)
    return seen


@asynccontextmanager
async def asking(client: Client) -> AsyncIterator[Desk]:
    """A worker for the workflow alone; the work queue is for the test to serve."""
    name = f"ask-{uuid.uuid4()}"
    async with Worker(client, task_queue=name, workflows=[AskForExecution]):
        yield Desk(client, name, f"work-{uuid.uuid4()}")
