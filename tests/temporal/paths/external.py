"""Paths of tasks that external workers execute: every way an attempt ends, and what is recorded of it.
They must not know SQLite: the scene's bridge answers in its place.
"""

from datetime import timedelta

from temporalio.api.common.v1 import Payload
from temporalio.client import WorkflowExecutionStatus
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from durable_tasks.contracts import AttemptEnd, AttemptEnding, Verdict
from durable_tasks.models import Placement, TaskError, TaskState
from tests.temporal.hands import holds, is_silent, raises, returns
from tests.temporal.paths.scene import Path, Scene

S, V = TaskState, Verdict


def endings(scene: Scene) -> list[AttemptEnding]:
    return [end.ending for end in scene.bridge.ends]


def _payload(data: bytes, encoding: bytes) -> Payload:
    return Payload(metadata={"encoding": encoding}, data=data)


def only_end(scene: Scene) -> AttemptEnd:
    (end,) = scene.bridge.ends
    return end


async def external_completed(scene: Scene) -> None:
    scene.bridge.inputs[scene.id] = {"question": 42}
    async with scene.worker():
        await scene.start_external()
        await scene.completes_with({"question": 42})
    assert scene.bridge.calls == {"begin": 1, "record": 1}
    assert only_end(scene).token == scene.hands.taken[0].token == f"{scene.id}/1"


async def external_waits_for_a_worker(scene: Scene) -> None:
    await scene.start_external()
    await scene.bridge.called("begin")
    await scene.hears(S.CLAIMED)
    activities = (await scene.handle.describe()).raw_description.pending_activities
    (execute,) = activities
    assert (execute.activity_id, execute.activity_type.name) == (f"{scene.id}/1", "execute")
    assert execute.priority.priority_key == 3
    assert await scene.known("attempt") == {"attempt": 1, "assigned_to": "queue:work", "state": "claimed"}
    async with scene.worker(returns("late, but there")):
        await scene.completes_with("late, but there")


async def external_failed(scene: Scene) -> None:
    details = {"error": TaskError(type="ValueError", message="no", details={"line": 7}), "retry_after": None}
    error = ApplicationError("no", details, type="ValueError", non_retryable=True)
    async with scene.worker(raises(error)):
        await scene.start_external()
        await scene.fails_with("ValueError", "no")
    end = only_end(scene)
    assert (end.ending, end.retryable, end.retry_after) == (AttemptEnding.FAILED, False, None)
    assert end.error == TaskError(type="ValueError", message="no", details={"line": 7})


async def external_retried(scene: Scene) -> None:
    later = ApplicationError("busy", type="Busy", next_retry_delay=timedelta(seconds=2.5))
    told = ApplicationError("busy still", {"error": "just text", "retry_after": 4}, type="Busy")
    scene.bridge.retries = 2
    async with scene.worker(raises(later), raises(told), returns("third")):
        await scene.start_external()
        await scene.completes_with("third")
    first, second, _ = scene.bridge.ends
    assert (first.ending, first.retryable, first.retry_after) == (AttemptEnding.FAILED, True, 2.5)
    assert (second.retry_after, second.error) == (
        4.0,
        TaskError(type="Busy", message="busy still", details="just text"),
    )
    assert [execution.token for execution in scene.hands.taken] == [f"{scene.id}/{n}" for n in (1, 2, 3)]


async def external_ran_too_long(scene: Scene) -> None:
    scene.bridge.timeout = 0.5
    async with scene.worker(holds):
        await scene.start_external()
        await scene.fails_with("timeout", "too long")
    assert endings(scene) == [AttemptEnding.TIMEOUT]


async def external_worker_lost(scene: Scene) -> None:
    scene.bridge.heartbeat = 0.5
    async with scene.worker(is_silent, returns("by another")):
        await scene.start_external()
        await scene.completes_with("by another")
    assert endings(scene) == [AttemptEnding.LOST, AttemptEnding.COMPLETED]


async def external_released(scene: Scene) -> None:
    async with scene.worker(raises(ApplicationError("leaving", type="released", non_retryable=True)), returns("later")):
        await scene.start_external()
        await scene.completes_with("later")
    assert endings(scene) == [AttemptEnding.RELEASED, AttemptEnding.COMPLETED]


async def external_output_too_large(scene: Scene) -> None:
    async with scene.worker(returns("x" * 5_000_000)):
        await scene.start_external()
        error = await scene.failure()
    end = only_end(scene)
    assert end.ending is AttemptEnding.FAILED
    assert end.error is not None
    assert error.type == end.error.type


async def external_output_unreadable(scene: Scene) -> None:
    payload = RawValue(_payload(b"\xff", b"binary/plain"))
    async with scene.worker(returns(payload)):
        await scene.start_external()
        await scene.fails_with("unreadable_output", "the output is encoded as b'binary/plain', not as JSON")


async def external_output_is_no_json(scene: Scene) -> None:
    async with scene.worker(returns(RawValue(_payload(b"{", b"json/plain")))):
        await scene.start_external()
        assert (await scene.failure()).type == "unreadable_output"


async def external_cancelled_by_request(scene: Scene) -> None:
    async with scene.worker(holds):
        await scene.start_external()
        await scene.hands.took()
        await scene.handle.cancel(reason="enough")
        await scene.is_cancelled()
    assert set(scene.bridge.reasons) == {"enough"}
    assert endings(scene) == [AttemptEnding.RELEASED]


async def external_cancelled_before_a_worker_came(scene: Scene) -> None:
    await scene.start_external()
    await scene.hears(S.CLAIMED)
    await scene.handle.cancel()
    await scene.is_cancelled()
    assert endings(scene) == [AttemptEnding.RELEASED]


async def external_cancelled_before_its_first_step(scene: Scene) -> None:
    await scene.start_external()
    await scene.handle.cancel()
    await scene.is_cancelled()
    assert scene.bridge.tasks[scene.id].state is S.CANCELLED


async def external_cancelled_in_sqlite(scene: Scene) -> None:
    async with scene.worker(holds):
        await scene.start_external()
        await scene.hands.took()
        await scene.sync(scene.put(V.ENDED, S.CANCELLED, reason="by its owner"))
        await scene.bridge.called("record")
        await scene.ended(WorkflowExecutionStatus.RUNNING)
        await scene.handle.cancel(reason="by its owner")  # as the outbox does
        await scene.is_cancelled()
    assert endings(scene) == [AttemptEnding.RELEASED]


async def external_cancel_loses_to_completion(scene: Scene) -> None:
    scene.bridge.before_cancel = lambda: scene.put(V.ENDED, S.COMPLETED, output="first")
    async with scene.worker(holds):
        await scene.start_external()
        await scene.hands.took()
        await scene.handle.cancel()
        await scene.completes_with("first")


async def external_met_its_deadline(scene: Scene) -> None:
    async with scene.worker(holds):
        await scene.start_external()
        await scene.hands.took()
        await scene.sync(scene.put(V.ENDED, S.FAILED, error=TaskError(type="deadline", message="too late")))
        await scene.fails_with("deadline", "too late")
    assert endings(scene) == [AttemptEnding.RELEASED]


async def external_distrusts_a_sync(scene: Scene) -> None:
    async with scene.worker(holds):
        await scene.start_external()
        await scene.hands.took()
        forged = scene.bridge.tasks[scene.id].model_copy(update={"verdict": V.ENDED, "version": 10**9})
        await scene.sync(forged)
        await scene.bridge.called("read")
        scene.hands.finish.set()
        await scene.completes_with("finished")
    assert endings(scene) == [AttemptEnding.COMPLETED]


async def external_given_up_then_begun_again(scene: Scene) -> None:
    async with scene.worker(holds, returns("second")):
        await scene.start_external()
        await scene.hands.took()
        await scene.sync(scene.put(V.LIVE, S.PENDING))
        await scene.completes_with("second")
    assert endings(scene) == [AttemptEnding.RELEASED, AttemptEnding.COMPLETED]


async def external_superseded(scene: Scene) -> None:
    async with scene.worker(holds):
        await scene.start_external()
        await scene.hands.took()
        await scene.sync(scene.put(V.SUPERSEDED, S.RUNNING))
        await scene.fails_with("superseded", f"generation 1 is no longer the newest of task {scene.id}")
    assert endings(scene) == [AttemptEnding.RELEASED]


async def external_waits_for_another_attempt(scene: Scene) -> None:
    scene.put(V.LIVE, S.CLAIMED, attempt=1)
    await scene.start(Placement.EXTERNAL)
    await scene.bridge.called("begin")
    await scene.sync(scene.put(V.LIVE, S.PENDING))
    async with scene.worker(returns("after it")):
        await scene.completes_with("after it")


async def external_continued_as_new(scene: Scene) -> None:
    async with scene.worker(holds, returns("in the second run")):
        await scene.start_external()
        await scene.hands.took()
        first = scene.handle.result_run_id
        # 4 MiB of history is where the server suggests to continue as new.
        for _ in range(24):
            await scene.sync(scene.put(V.LIVE, S.CLAIMED, output="x" * 200_000))
        assert (await scene.handle.describe()).run_id == first
        await scene.sync(scene.put(V.LIVE, S.PENDING))
        await scene.continues_as_new(first)
        await scene.completes_with("in the second run")
    assert endings(scene) == [AttemptEnding.RELEASED, AttemptEnding.COMPLETED]


async def external_had_ended(scene: Scene) -> None:
    scene.put(V.ENDED, S.COMPLETED, output="before")
    await scene.start(Placement.EXTERNAL)
    await scene.completes_with("before")
    assert scene.bridge.calls == {"begin": 1}


async def external_unknown_task(scene: Scene) -> None:
    await scene.start(Placement.EXTERNAL)
    await scene.fails_with("not_found", f"there is no task {scene.id}")


PATHS: tuple[Path, ...] = (
    external_completed,
    external_waits_for_a_worker,
    external_failed,
    external_retried,
    external_ran_too_long,
    external_worker_lost,
    external_released,
    external_output_too_large,
    external_output_unreadable,
    external_output_is_no_json,
    external_cancelled_by_request,
    external_cancelled_before_a_worker_came,
    external_cancelled_before_its_first_step,
    external_cancelled_in_sqlite,
    external_cancel_loses_to_completion,
    external_met_its_deadline,
    external_distrusts_a_sync,
    external_given_up_then_begun_again,
    external_superseded,
    external_waits_for_another_attempt,
    external_continued_as_new,
    external_had_ended,
    external_unknown_task,
)
