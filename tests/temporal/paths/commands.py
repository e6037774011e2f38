"""Paths of commands: the signals and updates that people send to the workflow of a task.
They must not know SQLite: the scene's bridge answers in its place.
"""

from typing import Any

from temporalio.client import WorkflowExecutionStatus

from durable_tasks.contracts import AttemptEnding, Verdict
from durable_tasks.errors import StoreBusy
from durable_tasks.models import TaskState
from tests.temporal.hands import holds, returns
from tests.temporal.paths.scene import Path, Scene

S, V = TaskState, Verdict
CLAIM = {"agent_id": "ann"}


async def command_accepted(scene: Scene) -> None:
    await scene.start_manual()
    claimed = await scene.update("claim", CLAIM)
    assert claimed == {"state": "claimed", "version": 2, "attempt": 1, "token": "fence"}
    told = await scene.update("progress", {"percent": 40, "message": "half", "token": "fence"})
    assert told == {"state": "claimed", "version": 3, "attempt": 1}
    assert await scene.known("progress") == {"progress": 40.0, "message": "half"}
    assert await scene.known("attempt") == {"attempt": 1, "assigned_to": "ann", "state": "claimed"}
    assert await scene.details() == "**claimed**, attempt 1, ann\n\n40 % half"
    await scene.update("complete", {"output": "by hand", "token": "fence"})
    await scene.completes_with("by hand")
    assert scene.bridge.commands[0].arguments == CLAIM
    assert {command.org_id for command in scene.bridge.commands} == {"default"}


async def command_refused(scene: Scene) -> None:
    await scene.start_manual()
    await scene.refused("claim", None, "invalid_input", "claim needs agent_id")
    await scene.refused("claim", {"task_id": "another"}, "invalid_input", f"this is the workflow of task {scene.id}")
    await scene.refused("claim", {"task_id": 7}, "invalid_input", "task_id must be a string")
    # These two are refused before they are accepted: nothing of them is in the history.
    await scene.refused("claim", ["ann"], "invalid_input", "a command takes one object")
    await scene.refused("complete", {"output": "x" * 1_600_000}, "invalid_input", "the limit is")
    scene.bridge.failures = [TypeError("unexpected keyword")]
    await scene.refused("update", {"fields": {}}, "invalid_input", "unexpected keyword")
    scene.put(V.ENDED, S.COMPLETED, output="elsewhere")
    await scene.refused("claim", CLAIM, "illegal_move", "the task is completed")
    await scene.sync(scene.bridge.tasks[scene.id])
    await scene.completes_with("elsewhere")


async def command_by_signal(scene: Scene) -> None:
    await scene.start_manual()
    await scene.handle.signal("claim")
    await scene.bridge.called("read")
    await scene.shows("Refused: claim")
    await scene.handle.signal("claim", "nonsense")
    await scene.shows("Refused: claim: a command takes one object, or nothing; it was given a str")
    await scene.handle.signal("claim", args=[CLAIM, "more than one argument"])
    await scene.handle.signal("sync", args=[scene.bridge.tasks[scene.id], "more"])
    await scene.hears(S.CLAIMED)
    await scene.handle.signal("fail", {"error": "gave up", "token": "fence"})
    await scene.fails_with("agent", "gave up")
    run_id = scene.handle.result_run_id
    assert [command.command_id for command in scene.bridge.commands] == [f"{run_id}/{n}" for n in (1, 3, 4)]


async def command_repeated(scene: Scene) -> None:
    await scene.start_manual()
    first = await scene.update("claim", CLAIM | {"command_id": "once"})
    assert await scene.update("claim", CLAIM | {"command_id": "once"}) == first
    told: list[Any] = [await scene.update("update", {}, id="named by its sender") for _ in range(2)]
    assert told[0] == told[1]
    await scene.update("complete", {"output": 1, "command_id": ""}, id="the update's own")
    await scene.completes_with(1)
    ids = [command.command_id for command in scene.bridge.commands]
    assert ids == ["once", "once", "named by its sender", "the update's own"]
    assert "command_id" not in scene.bridge.commands[0].arguments


async def command_while_the_store_is_busy(scene: Scene) -> None:
    await scene.start_manual()
    scene.bridge.failures = [StoreBusy("busy"), StoreBusy("busy still")]
    await scene.update("claim", CLAIM)
    await scene.update("complete", {"output": 1})
    await scene.completes_with(1)


async def command_before_the_first_step(scene: Scene) -> None:
    scene.put(V.LIVE, S.CLAIMED, attempt=1)
    await scene.start_unattended()
    await scene.handle.signal("complete", {"output": "at once"})
    async with scene.staged():
        await scene.completes_with("at once")


async def command_at_the_instant_of_completion(scene: Scene) -> None:
    """The run has its result and drains: a command that came in meanwhile is answered, by SQLite."""
    scene.put(V.LIVE, S.CLAIMED, attempt=1)
    await scene.start_unattended()
    sending = await scene.send_update("complete", {"output": "late"})
    scene.put(V.ENDED, S.COMPLETED, output="first")
    async with scene.staged():
        await scene.completes_with("first")
        await scene.was_refused(sending, "illegal_move", "the task is completed")


async def command_cancels(scene: Scene) -> None:
    await scene.start_manual()
    assert (await scene.update("cancel", {"reason": "not needed"}))["state"] == "cancelled"
    await scene.refused("claim", CLAIM, "illegal_move")
    await scene.ended(WorkflowExecutionStatus.RUNNING)
    await scene.handle.cancel()  # as the outbox does
    await scene.is_cancelled()


async def command_releases_an_external_attempt(scene: Scene) -> None:
    async with scene.worker(holds, returns("second")):
        await scene.start_external()
        await scene.hands.took()
        await scene.update("release")
        await scene.completes_with("second")
    assert [end.ending for end in scene.bridge.ends] == [AttemptEnding.RELEASED, AttemptEnding.COMPLETED]
    assert "read" not in scene.bridge.calls


async def command_wakes_a_waiting_task(scene: Scene) -> None:
    scene.put(V.WAIT, S.BLOCKED)
    await scene.start()
    await scene.bridge.called("run")
    await scene.update("update", {"fields": {"priority": 3}})
    await scene.bridge.called("run", 2)
    scene.put(V.ENDED, S.COMPLETED, output=1)
    await scene.sync(scene.bridge.tasks[scene.id])
    await scene.completes_with(1)


PATHS: tuple[Path, ...] = (
    command_accepted,
    command_refused,
    command_by_signal,
    command_repeated,
    command_while_the_store_is_busy,
    command_before_the_first_step,
    command_at_the_instant_of_completion,
    command_cancels,
    command_releases_an_external_attempt,
    command_wakes_a_waiting_task,
)
