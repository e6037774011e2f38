"""Paths of groups: members of every placement, ends of every kind, and what is in flight when they come.
They must not know SQLite: the scene's bridge answers in its place.
"""

from temporalio.client import WorkflowExecutionStatus
from temporalio.exceptions import ApplicationError

from durable_tasks.contracts import AttemptEnding, Verdict, execution_id
from durable_tasks.errors import StoreBusy
from durable_tasks.models import TaskError, TaskState, WorkflowState
from tests.temporal.hands import holds, is_silent, raises
from tests.temporal.paths.scene import Path, Scene

S, V, G = TaskState, Verdict, WorkflowState


def outputs(names: list[str]) -> list[str]:
    return [f"of {name}" for name in names]


async def group_of_embedded_members(scene: Scene) -> None:
    scene.members(2, S.RUNNING)
    await scene.start_group("pipeline")
    await scene.bridge.called("run_group")
    scene.group.end(G.COMPLETED, output=["a", "b"])
    await scene.sync_group()
    await scene.completes_with(["a", "b"])
    assert scene.bridge.calls == {"run_group": 1, "read_group": 1}


async def group_had_ended(scene: Scene) -> None:
    scene.members(1, S.COMPLETED)
    scene.group.end(G.COMPLETED, output=["a"])
    await scene.start_group("dag")
    await scene.completes_with(["a"])
    assert scene.bridge.calls == {"run_group": 1}


async def group_of_external_members_in_two_batches(scene: Scene) -> None:
    names = scene.members(5, batch=3)
    async with scene.worker():
        await scene.start_group()
        await scene.completes_with(outputs(names))
    assert {execution.task["id"] for execution in scene.hands.taken} == set(names)
    assert len({execution.token for execution in scene.hands.taken}) == 5


async def group_member_becomes_ready_later(scene: Scene) -> None:
    first, second = scene.members(2)
    scene.bridge.put(second, V.WAIT, S.BLOCKED)
    async with scene.worker():
        await scene.start_group("dag")
        await scene.bridge.called("record")
        scene.bridge.put(second, V.LIVE, S.PENDING)
        await scene.sync_group()
        await scene.completes_with(outputs([first, second]))


async def group_member_retried_and_lost(scene: Scene) -> None:
    scene.members(2)
    scene.bridge.retries = 1
    scene.bridge.heartbeat = 0.5
    async with scene.worker(raises(ApplicationError("no", type="Busy")), is_silent):
        await scene.start_group()
        await scene.bridge.called("record", 2)
        (retrying,) = [name for name in scene.group.members if scene.bridge.tasks[name].state is S.RETRYING]
        scene.bridge.put(retrying, V.LIVE, S.PENDING)  # by SQLite's clock, which syncs
        await scene.sync_group()
        await scene.completes_with(outputs(scene.group.members))
    assert {end.ending for end in scene.bridge.ends[:2]} == {AttemptEnding.FAILED, AttemptEnding.LOST}


async def group_member_fails(scene: Scene) -> None:
    scene.members(2)
    async with scene.worker(holds, raises(ApplicationError("no", type="ValueError", non_retryable=True))):
        await scene.start_group("pipeline")
        await scene.fails_with("ValueError", "no")
    # The other is stopped, and its end recorded, before the group ends.
    assert [end.ending for end in scene.bridge.ends] == [AttemptEnding.FAILED, AttemptEnding.RELEASED]


async def group_member_stopped(scene: Scene) -> None:
    one, _ = scene.members(2)
    async with scene.worker(holds, holds):
        await scene.start_group()
        await scene.hands.took(2)
        scene.bridge.put(one, V.ENDED, S.COMPLETED, output="by a person")
        scene.group.stop = (execution_id(one, 1), "unknown/1")
        await scene.sync_group()
        await scene.bridge.called("record")
        assert scene.bridge.ends[0].ref.task_id == one
        assert scene.bridge.ends[0].ending is AttemptEnding.RELEASED
        scene.hands.finish.set()
        await scene.completes_with(["by a person", "finished"])


async def group_cancelled_by_request(scene: Scene) -> None:
    scene.members(2)
    async with scene.worker(holds, holds):
        await scene.start_group()
        await scene.hands.took(2)
        await scene.handle.cancel(reason="enough")
        await scene.is_cancelled()
    assert set(scene.bridge.reasons) == {"enough"}
    assert [end.ending for end in scene.bridge.ends] == [AttemptEnding.RELEASED] * 2


async def group_cancelled_before_its_first_step(scene: Scene) -> None:
    scene.members(2)
    await scene.start_group()
    await scene.handle.cancel()
    await scene.is_cancelled()
    assert scene.group.state is G.CANCELLED


async def group_cancelled_in_sqlite(scene: Scene) -> None:
    scene.members(1)
    async with scene.worker(holds):
        await scene.start_group()
        await scene.hands.took()
        scene.bridge.cancel_all("by its owner")
        await scene.sync_group()
        await scene.bridge.called("record")
        await scene.ended(WorkflowExecutionStatus.RUNNING)
        await scene.handle.cancel()  # as the outbox does
        await scene.is_cancelled()
    assert [end.ending for end in scene.bridge.ends] == [AttemptEnding.RELEASED]


async def group_cancel_loses_to_completion(scene: Scene) -> None:
    scene.members(1, S.RUNNING)
    scene.bridge.before_cancel = lambda: scene.group.end(G.COMPLETED, output=["first"])
    await scene.start_group()
    await scene.bridge.called("run_group")
    await scene.handle.cancel()
    await scene.completes_with(["first"])


async def group_superseded(scene: Scene) -> None:
    scene.members(1)
    async with scene.worker(holds):
        await scene.start_group()
        await scene.hands.took()
        scene.group.verdict = V.SUPERSEDED
        await scene.sync_group()
        await scene.fails_with("superseded", f"generation 1 is no longer the newest of workflow {scene.id}")
    assert [end.ending for end in scene.bridge.ends] == [AttemptEnding.RELEASED]


async def group_distrusts_a_sync(scene: Scene) -> None:
    scene.members(1, S.RUNNING)
    await scene.start_group()
    await scene.bridge.called("run_group")
    await scene.sync("nonsense")
    forged = scene.group.status(scene.bridge.tasks).model_copy(update={"verdict": V.ENDED, "state": G.COMPLETED})
    await scene.sync(forged)
    await scene.bridge.called("read_group")
    scene.group.end(G.FAILED, error=TaskError(type="deadline", message="too late"))
    await scene.sync_group()
    await scene.fails_with("deadline", "too late")
    assert scene.bridge.calls["read_group"] == 2


async def group_with_large_output(scene: Scene) -> None:
    scene.members(1, S.COMPLETED)
    scene.group.end(G.COMPLETED, output_in_store=True)
    await scene.start_group()
    await scene.completes_with({"output_in_store": True, "workflow_id": scene.id})


async def group_unknown(scene: Scene) -> None:
    await scene.start_group()
    await scene.fails_with("not_found", f"there is no workflow {scene.id}")


async def group_while_the_store_is_busy(scene: Scene) -> None:
    scene.members(1, S.COMPLETED)
    scene.group.end(G.COMPLETED, output=[1])
    scene.bridge.failures = [StoreBusy("busy"), StoreBusy("busy still")]
    await scene.start_group()
    await scene.completes_with([1])


async def group_held_back(scene: Scene) -> None:
    """Members are ready, but SQLite begins none: it is asked again, with pauses."""
    names = scene.members(1)
    scene.group.held_back = True
    async with scene.worker():
        await scene.start_group()
        await scene.bridge.called("begin_members")
        scene.group.held_back = False
        await scene.completes_with(outputs(names))
    assert scene.bridge.calls["begin_members"] <= 3


async def group_continued_as_new(scene: Scene) -> None:
    one, other = scene.members(2)
    scene.bridge.put(other, V.WAIT, S.BLOCKED)
    async with scene.worker(holds):
        await scene.start_group()
        await scene.hands.took()
        first = scene.handle.result_run_id
        # 4 MiB of history is where the server suggests to continue as new.
        for _ in range(24):
            await scene.sync(scene.group.status(scene.bridge.tasks).model_copy(update={"output": "x" * 200_000}))
        scene.bridge.put(other, V.LIVE, S.PENDING)
        await scene.sync_group()
        # What is in flight stays with its run, and nothing new is begun by it.
        await scene.executes(1)
        assert (await scene.handle.describe()).run_id == first
        scene.hands.finish.set()
        await scene.continues_as_new(first)
        await scene.completes_with(["finished", f"of {other}"])
    assert [execution.task["id"] for execution in scene.hands.taken] == [one, other]


async def group_commands(scene: Scene) -> None:
    person, machine = scene.members(2, S.CLAIMED)
    await scene.start_group()
    await scene.bridge.called("run_group")
    await scene.refused("complete", {"output": 1}, "invalid_input", "say as task_id which member")
    await scene.refused("complete", {"task_id": "nobody"}, "not_found")
    told = await scene.update("complete", {"task_id": person, "output": 1})
    assert told == {"state": "completed", "version": 2, "attempt": 0}
    await scene.bridge.called("read_group")
    await scene.handle.signal("complete", {"output": 1})
    assert "Refused: complete: say as task_id which member" in await scene.details()
    assert await scene.known("progress") == {"state": "running", "ready": 0, "executing": 0}
    scene.bridge.put(machine, V.ENDED, S.COMPLETED, output=2)
    scene.group.roll_up(scene.bridge.tasks)
    await scene.sync_group()
    await scene.completes_with([1, 2])


async def group_cancelled_by_command(scene: Scene) -> None:
    scene.members(1)
    async with scene.worker(holds):
        await scene.start_group()
        await scene.hands.took()
        assert await scene.update("cancel", {"reason": "not needed"}) == {"state": "cancelled", "version": 2}
        await scene.bridge.called("record")
        await scene.handle.cancel()  # as the outbox does
        await scene.is_cancelled()
    assert scene.bridge.reasons[0] == "not needed"


async def group_cancel_command_refused(scene: Scene) -> None:
    scene.members(1, S.RUNNING)
    await scene.start_group()
    await scene.bridge.called("run_group")
    scene.group.end(G.COMPLETED, output=["first"])
    await scene.refused("cancel", None, "conflict", "the workflow is completed already")
    await scene.completes_with(["first"])


PATHS: tuple[Path, ...] = (
    group_of_embedded_members,
    group_had_ended,
    group_of_external_members_in_two_batches,
    group_member_becomes_ready_later,
    group_member_retried_and_lost,
    group_member_fails,
    group_member_stopped,
    group_cancelled_by_request,
    group_cancelled_before_its_first_step,
    group_cancelled_in_sqlite,
    group_cancel_loses_to_completion,
    group_superseded,
    group_distrusts_a_sync,
    group_with_large_output,
    group_unknown,
    group_while_the_store_is_busy,
    group_held_back,
    group_continued_as_new,
    group_commands,
    group_cancelled_by_command,
    group_cancel_command_refused,
)
