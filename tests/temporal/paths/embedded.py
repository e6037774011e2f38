"""Paths of tasks that handlers of the owning process execute, and of cancellation whatever the placement.
They must not know SQLite: the scene's bridge answers in its place.
"""

from temporalio.client import WorkflowExecutionStatus

from durable_tasks.contracts import Verdict
from durable_tasks.errors import StoreBusy
from durable_tasks.models import TaskError, TaskState
from tests.temporal.paths.scene import Path, Scene

S, V = TaskState, Verdict


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
)
