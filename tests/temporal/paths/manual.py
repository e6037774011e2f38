"""Paths of tasks that people and agents work on: the workflow only waits, and distrusts what it is told.
They must not know SQLite: the scene's bridge answers in its place.
"""

from durable_tasks.contracts import SYNC_SIGNAL, TaskStatus, Verdict
from durable_tasks.models import Placement, TaskError, TaskState
from tests.temporal.paths.scene import Path, Scene

S, V = TaskState, Verdict


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
    await scene.continues_as_new(first)
    await scene.sync(scene.put(V.ENDED, S.COMPLETED, output="in the second run"))
    await scene.completes_with("in the second run")


PATHS: tuple[Path, ...] = (
    manual_completed,
    manual_distrusts_a_sync,
    manual_had_ended,
    manual_cancelled,
    manual_continued_as_new,
)
