"""Every path through AgentTaskWorkflow, played on a real server with a scripted bridge, and its end.
The tests run them and the recorder keeps their histories, so that no path is tested without being replayed.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
)
from temporalio.exceptions import ApplicationError, CancelledError

from durable_tasks.contracts import STATUS_QUERY, SYNC_SIGNAL, TASK_WORKFLOW, TaskRef, TaskStatus, Verdict
from durable_tasks.errors import StoreBusy
from durable_tasks.models import Placement, TaskError, TaskState
from tests.temporal.bridges import DEADLINE, ScriptedBridge

S, V = TaskState, Verdict


@dataclass
class Scene:
    """One task, its bridge and its Temporal workflow."""

    client: Client
    queue: str
    bridge: ScriptedBridge
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    handle: WorkflowHandle[Any, Any] = field(init=False)

    async def start(self, placement: Placement = Placement.EMBEDDED) -> None:
        ref = TaskRef(task_id=self.id, org_id="default", generation=1, placement=placement)
        self.handle = await self.client.start_workflow(
            TASK_WORKFLOW, ref, id=f"task/{self.id}/1", task_queue=self.queue
        )

    def put(self, verdict: Verdict, state: TaskState, **facts: Any) -> TaskStatus:
        return self.bridge.put(self.id, verdict, state, **facts)

    async def sync(self, status: TaskStatus) -> None:
        await self.handle.signal(SYNC_SIGNAL, status)

    async def known(self) -> Any:
        """What the workflow last heard. Its answer proves too that earlier signals were handled."""
        return await self.handle.query(STATUS_QUERY)

    async def hears(self, state: TaskState) -> None:
        async with asyncio.timeout(DEADLINE):
            while (await self.known())["state"] != state:
                pass  # each query is a round trip through the worker

    async def result(self) -> Any:
        async with asyncio.timeout(DEADLINE):
            return await self.handle.result()

    async def ended(self, status: WorkflowExecutionStatus) -> None:
        assert (await self.handle.describe()).status is status

    async def completes_with(self, output: Any) -> None:
        assert await self.result() == output
        await self.ended(WorkflowExecutionStatus.COMPLETED)

    async def fails_with(self, kind: str, message: str) -> None:
        with pytest.raises(WorkflowFailureError) as failure:
            await self.result()
        cause = failure.value.cause
        assert isinstance(cause, ApplicationError)
        assert (cause.type, cause.message, cause.non_retryable) == (kind, message, True)
        await self.ended(WorkflowExecutionStatus.FAILED)

    async def is_cancelled(self) -> None:
        with pytest.raises(WorkflowFailureError) as failure:
            await self.result()
        assert isinstance(failure.value.cause, CancelledError)
        await self.ended(WorkflowExecutionStatus.CANCELED)


async def completed(scene: Scene) -> None:
    scene.put(V.ENDED, S.COMPLETED, output={"answer": 42}, attempt=1)
    await scene.start()
    await scene.completes_with({"answer": 42})
    assert scene.bridge.calls == {"run": 1}


async def completed_with_large_output(scene: Scene) -> None:
    scene.put(V.ENDED, S.COMPLETED, output_in_store=True)
    await scene.start()
    await scene.completes_with({"output_in_store": True, "task_id": scene.id})


async def failed(scene: Scene) -> None:
    error = TaskError(type="ValueError", message="m" * 10_000)
    scene.put(V.ENDED, S.FAILED, error=error)
    await scene.start()
    await scene.fails_with("ValueError", "m" * 8192)


async def joined(scene: Scene) -> None:
    scene.put(V.LIVE, S.RUNNING, attempt=1)
    await scene.start()
    await scene.bridge.called("join")
    scene.put(V.ENDED, S.COMPLETED, output="done")
    await scene.completes_with("done")
    assert scene.bridge.calls == {"run": 1, "join": 1}


async def joined_then_retried(scene: Scene) -> None:
    scene.put(V.LIVE, S.RUNNING, attempt=1)
    await scene.start()
    await scene.bridge.called("join")
    scene.put(V.WAIT, S.RETRYING, wait_until=0.0)
    await scene.bridge.called("run", 2)
    scene.put(V.ENDED, S.COMPLETED, output="second", attempt=2)
    # Whatever it saw in between, it asks again until it is over.
    await scene.sync(scene.bridge.tasks[scene.id])
    await scene.completes_with("second")
    assert len(set(scene.bridge.requests)) == len(scene.bridge.requests) >= 2


async def waited_for_an_instant(scene: Scene) -> None:
    scene.put(V.WAIT, S.SCHEDULED, wait_until=0.0)
    await scene.start()
    await scene.bridge.called("run", 2)
    scene.put(V.ENDED, S.COMPLETED, output=1)
    await scene.completes_with(1)


async def waited_for_news(scene: Scene) -> None:
    old = scene.put(V.WAIT, S.BLOCKED)
    scene.put(V.WAIT, S.BLOCKED)
    await scene.start()
    await scene.bridge.called("run")
    await scene.sync(old)
    await scene.sync(scene.bridge.tasks[scene.id])
    assert (await scene.known())["version"] == 2
    assert scene.bridge.calls == {"run": 1}
    await scene.sync(scene.put(V.ENDED, S.COMPLETED, output="released"))
    await scene.completes_with("released")
    assert scene.bridge.calls == {"run": 2}


async def not_here_then_here(scene: Scene) -> None:
    scene.put(V.NOT_HERE, S.PENDING)
    await scene.start()
    await scene.bridge.called("run")
    scene.put(V.ENDED, S.COMPLETED, output="at last")
    await scene.completes_with("at last")
    assert scene.bridge.calls == {"run": 2}


async def cancelled_by_request(scene: Scene) -> None:
    scene.put(V.LIVE, S.RUNNING)
    await scene.start()
    await scene.bridge.called("join")
    await scene.handle.cancel(reason="enough")
    await scene.is_cancelled()
    # A workflow task that is overtaken by an event is done again, and its local activities with it.
    assert set(scene.bridge.reasons) == {"enough"}


async def cancelled_while_waiting(scene: Scene) -> None:
    scene.put(V.WAIT, S.BLOCKED)
    await scene.start()
    await scene.bridge.called("run")
    await scene.handle.cancel()
    await scene.is_cancelled()
    assert scene.bridge.reasons == ["cancelled in Temporal"]


async def cancelled_before_its_first_step(scene: Scene) -> None:
    scene.put(V.LIVE, S.PENDING)
    await scene.start()
    await scene.handle.cancel(reason="at once")
    await scene.is_cancelled()
    assert scene.bridge.tasks[scene.id].state is S.CANCELLED


async def cancelled_in_sqlite(scene: Scene) -> None:
    scene.put(V.LIVE, S.RUNNING)
    await scene.start()
    await scene.bridge.called("join")
    scene.put(V.ENDED, S.CANCELLED, reason="by its owner")
    await scene.hears(S.CANCELLED)
    await scene.ended(WorkflowExecutionStatus.RUNNING)
    await scene.handle.cancel(reason="by its owner")  # as the outbox does
    await scene.is_cancelled()


async def cancel_loses_to_completion(scene: Scene) -> None:
    scene.put(V.LIVE, S.RUNNING)
    await scene.start()
    await scene.bridge.called("join")
    scene.bridge.before_cancel = lambda: scene.put(V.ENDED, S.COMPLETED, output="first")
    await scene.handle.cancel()
    await scene.completes_with("first")


async def cancel_loses_to_failure(scene: Scene) -> None:
    scene.put(V.WAIT, S.BLOCKED)
    await scene.start()
    await scene.bridge.called("run")
    error = TaskError(type="deadline", message="too late")
    scene.bridge.before_cancel = lambda: scene.put(V.ENDED, S.FAILED, error=error)
    await scene.handle.cancel()
    await scene.fails_with("deadline", "too late")


async def superseded(scene: Scene) -> None:
    scene.put(V.SUPERSEDED, S.RUNNING)
    await scene.start()
    await scene.fails_with("superseded", f"generation 1 is no longer the newest of task {scene.id}")


async def superseded_and_cancelled(scene: Scene) -> None:
    scene.put(V.LIVE, S.RUNNING)
    await scene.start()
    await scene.bridge.called("join")
    scene.bridge.before_cancel = lambda: scene.put(V.SUPERSEDED, S.RUNNING)
    await scene.handle.cancel()
    await scene.is_cancelled()


async def unknown_task(scene: Scene) -> None:
    await scene.start()
    await scene.fails_with("not_found", f"there is no task {scene.id}")


async def store_was_busy(scene: Scene) -> None:
    scene.put(V.ENDED, S.COMPLETED, output="after all")
    scene.bridge.failures = [StoreBusy("busy"), StoreBusy("busy still")]
    await scene.start()
    await scene.completes_with("after all")
    assert len(set(scene.bridge.requests)) == 1


async def manual_completed(scene: Scene) -> None:
    scene.put(V.WAIT, S.PENDING)
    await scene.start(Placement.MANUAL)
    await scene.bridge.called("read")
    claimed = scene.put(V.WAIT, S.CLAIMED, attempt=1)
    started = scene.put(V.WAIT, S.RUNNING)
    done = scene.put(V.ENDED, S.COMPLETED, output="by hand")
    await scene.sync(started)
    await scene.sync(claimed)
    await scene.handle.signal(SYNC_SIGNAL, "nonsense")
    await scene.handle.signal(SYNC_SIGNAL)
    assert (await scene.known())["state"] == "running"
    assert scene.bridge.calls == {"read": 1}
    await scene.sync(done)
    await scene.completes_with("by hand")
    assert scene.bridge.calls == {"read": 2}


async def manual_distrusts_a_sync(scene: Scene) -> None:
    scene.put(V.WAIT, S.PENDING)
    await scene.start(Placement.MANUAL)
    await scene.bridge.called("read")
    forged = TaskStatus(verdict=V.ENDED, state=S.COMPLETED, version=10**9, attempt=1, output="forged")
    await scene.sync(forged)
    await scene.bridge.called("read", 2)
    await scene.sync(TaskStatus(verdict=V.WAIT, state=S.RUNNING, version=10**9, attempt=1))
    await scene.sync(scene.put(V.ENDED, S.COMPLETED, output="genuine"))
    await scene.completes_with("genuine")


async def manual_had_ended(scene: Scene) -> None:
    scene.put(V.ENDED, S.FAILED, error=TaskError(type="agent", message="gave up"))
    await scene.start(Placement.MANUAL)
    await scene.fails_with("agent", "gave up")


async def manual_cancelled(scene: Scene) -> None:
    scene.put(V.WAIT, S.CLAIMED)
    await scene.start(Placement.MANUAL)
    await scene.bridge.called("read")
    await scene.handle.cancel(reason="not needed")
    await scene.is_cancelled()
    assert scene.bridge.tasks[scene.id].reason == "not needed"


async def manual_continued_as_new(scene: Scene) -> None:
    scene.put(V.WAIT, S.PENDING)
    await scene.start(Placement.MANUAL)
    await scene.bridge.called("read")
    first = scene.handle.result_run_id
    # 4 MiB of history is where the server suggests to continue as new.
    for _ in range(24):
        await scene.sync(scene.put(V.WAIT, S.RUNNING, output="x" * 200_000))
    async with asyncio.timeout(DEADLINE):
        while (await scene.handle.describe()).run_id == first:
            pass  # a signal on its way makes the server ask for another try
    await scene.sync(scene.put(V.ENDED, S.COMPLETED, output="in the second run"))
    await scene.completes_with("in the second run")


Path = Callable[[Scene], Awaitable[None]]

PATHS: tuple[Path, ...] = (
    completed,
    completed_with_large_output,
    failed,
    joined,
    joined_then_retried,
    waited_for_an_instant,
    waited_for_news,
    not_here_then_here,
    cancelled_by_request,
    cancelled_while_waiting,
    cancelled_before_its_first_step,
    cancelled_in_sqlite,
    cancel_loses_to_completion,
    cancel_loses_to_failure,
    superseded,
    superseded_and_cancelled,
    unknown_task,
    store_was_busy,
    manual_completed,
    manual_distrusts_a_sync,
    manual_had_ended,
    manual_cancelled,
    manual_continued_as_new,
)
