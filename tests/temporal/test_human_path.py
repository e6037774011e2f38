"""A person's task through restarts of application and server, ended with Temporal's own command line.
It must not know how commands are obeyed: SQLite, the events and the Temporal workflow are to tell the same story.
"""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import ApplicationError, CancelledError

from durable_tasks.app import DurableTasks
from durable_tasks.models import Actor, Task, TaskState
from durable_tasks.settings import Settings
from durable_tasks.temporal.server import EmbeddedServer

SECONDS = 60.0


class Desk:
    """The application on one file, started as often as a test likes, and the `temporal` command line beside it."""

    def __init__(self, folder: Path, server: EmbeddedServer) -> None:
        self.server = server
        self._db = folder / "tasks.db"
        self._home = folder / "home"

    def app(self) -> DurableTasks:
        return DurableTasks(Settings(db=self._db, enabled=True, address=self.server.address))

    async def temporal(self, *words: str) -> tuple[int, str]:
        """What an operator types, in an environment without a profile; the exit code and all that was said."""
        self._home.mkdir(exist_ok=True)
        process = await asyncio.create_subprocess_exec(
            str(self.server.binary), *words, "--address", self.server.address, "--namespace", "default",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={"HOME": str(self._home), "PATH": ""},
        )  # fmt: skip
        async with asyncio.timeout(SECONDS):
            said, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, said.decode()

    async def signal(self, task: Task, name: str, payload: dict[str, Any]) -> None:
        code, said = await self.temporal(
            "workflow", "signal", "--workflow-id", workflow_of(task), "--name", name, "--input", json.dumps(payload)
        )
        assert code == 0, said

    async def update(self, task: Task, name: str, payload: dict[str, Any]) -> tuple[int, str]:
        return await self.temporal(
            "workflow", "update", "execute", "--workflow-id", workflow_of(task), "--name", name,
            "--input", json.dumps(payload),
        )  # fmt: skip

    async def client(self) -> Client:
        return await Client.connect(self.server.address)


def workflow_of(task: Task) -> str:
    return f"task/{task.id}/1"


@pytest_asyncio.fixture
async def desk(temporal_server: EmbeddedServer, tmp_path: Path) -> AsyncIterator[Desk]:
    server = EmbeddedServer(binary=temporal_server.binary, database=tmp_path / "temporal.db")
    await server.start()
    yield Desk(tmp_path, server)
    await server.stop()


async def committed(tasks: DurableTasks, look: Any, wanted: Any) -> None:
    """Await `look()` after every commit until it answers `wanted`."""
    changed = asyncio.Event()
    unsubscribe = tasks.store.subscribe(lambda notice: changed.set())
    async with asyncio.timeout(SECONDS):
        while await look() != wanted:
            await changed.wait()
            changed.clear()
    unsubscribe()


async def started_there(tasks: DurableTasks, *made: Task) -> None:
    sql = "SELECT COUNT(*) FROM dt_submissions WHERE state = 'open'"

    async def number() -> int:
        return int(await tasks.store.read(lambda conn: conn.execute(sql).fetchone()[0]))

    await committed(tasks, number, len(made))


async def agree(tasks: DurableTasks) -> None:
    assert tasks.temporal is not None
    assert await tasks.temporal.drift() == []
    assert await tasks.store.audit() == []


async def test_a_task_waits_through_restarts_and_is_ended_by_a_signal(desk: Desk) -> None:
    async with desk.app() as tasks:
        task = await tasks.org().create("look at this", mode="manual", description="a person is needed")
        await started_there(tasks, task)
    async with desk.app() as tasks:
        assert tasks.temporal is not None
        await tasks.temporal.wait_connected(SECONDS)
        before = (await (await desk.client()).get_workflow_handle(workflow_of(task)).describe()).run_id
        await desk.server.stop()
        assert (await tasks.org().get(task.id)).state is TaskState.PENDING
        await desk.server.start()
    async with desk.app() as tasks:
        org = tasks.org()
        claim = await org.claim(task.id, agent_id="ann", lease=None)
        await org.start(task.id, token=claim.token)
        await org.progress(task.id, 40, token=claim.token, message="half read")

        code, said = await desk.update(task, "complete", {"agent_id": "ben", "output": "mine"})
        assert code != 0
        assert "is running and belongs to 'ann', not to 'ben'" in said

        await desk.signal(task, "progress", {"agent_id": "ann", "percent": 90})
        await committed(tasks, lambda: progress_of(tasks, task), 90.0)
        await desk.signal(task, "complete", {"agent_id": "ann", "output": {"verdict": "fine", "notes": ["ä", 1]}})
        done = await org.wait(task.id, timeout=SECONDS)
        assert (done.state, done.output, done.attempt, done.generation, done.assigned_to) == (
            TaskState.COMPLETED, {"verdict": "fine", "notes": ["ä", 1]}, 1, 1, "ann",
        )  # fmt: skip

        handle = (await desk.client()).get_workflow_handle(workflow_of(task))
        async with asyncio.timeout(SECONDS):
            assert await handle.result() == done.output
        seen = await handle.describe()
        assert (seen.status, seen.run_id) == (WorkflowExecutionStatus.COMPLETED, before)
        told = [event.kind for event in await org.events(task_id=task.id)]
        assert [kind for kind in told if kind != "task.progress"] == [
            "task.created", "task.claimed", "task.started", "task.completed",
        ]  # fmt: skip
        code, said = await desk.temporal("workflow", "show", "--workflow-id", workflow_of(task))
        assert code == 0
        assert "WorkflowExecutionCompleted" in said
        await agree(tasks)


async def progress_of(tasks: DurableTasks, task: Task) -> float:
    return (await tasks.org().get(task.id)).progress


async def test_a_task_is_claimed_and_completed_by_updates_alone(desk: Desk) -> None:
    async with desk.app() as tasks:
        org = tasks.org()
        task = await org.create(
            "look at this", mode="manual", form={"type": "integer", "maximum": 42}, assigned_to="group:legal"
        )
        await started_there(tasks, task)
        code, said = await desk.update(task, "claim", {"agent_id": "ann", "groups": ["sales"]})
        assert code != 0
        assert "belongs to 'group:legal'" in said
        code, said = await desk.update(task, "claim", {"agent_id": "ann", "groups": ["legal"], "lease": None})
        assert code == 0, said
        code, said = await desk.update(task, "claim", {"agent_id": "ben"})
        assert code != 0
        assert "belongs to 'ann'" in said
        code, said = await desk.update(task, "progress", {"agent_id": "ann", "percent": "much"})
        assert code != 0
        assert "a number from 0 to 100" in said
        code, said = await desk.update(task, "complete", {"agent_id": "ann", "output": 43})
        assert code != 0
        assert "the output does not fit the task's form" in said
        assert "greater than the maximum of 42" in said
        code, said = await desk.update(task, "complete", {"agent_id": "ann", "output": 42})
        assert code == 0, said
        done = await org.wait(task.id, timeout=SECONDS)
        assert (done.state, done.output, done.assigned_to) == (TaskState.COMPLETED, 42, "ann")
        async with asyncio.timeout(SECONDS):
            assert await (await desk.client()).get_workflow_handle(workflow_of(task)).result() == 42
        await agree(tasks)


@pytest.mark.parametrize("sent", ["signal", "api"])
async def test_cancelled_tasks_end_canceled_and_failed_ones_failed(desk: Desk, sent: str) -> None:
    async with desk.app() as tasks:
        org = tasks.org()
        cancelled, failed = made = [await org.create(name, mode="manual") for name in ("one", "other")]
        await started_there(tasks, *made)
        claim = await org.claim(failed.id, agent_id="ann", lease=None)
        if sent == "signal":
            await desk.signal(cancelled, "cancel", {"reason": "not needed"})
            error = {"type": "unclear", "message": "which one?"}
            await desk.signal(failed, "fail", {"agent_id": "ann", "error": error})
        else:
            await org.cancel(cancelled.id, reason="not needed")
            await org.fail(failed.id, "which one?", token=claim.token)
        client = await desk.client()
        with pytest.raises(WorkflowFailureError) as end:
            async with asyncio.timeout(SECONDS):
                await client.get_workflow_handle(workflow_of(cancelled)).result()
        assert isinstance(end.value.cause, CancelledError)
        with pytest.raises(WorkflowFailureError) as end:
            async with asyncio.timeout(SECONDS):
                await client.get_workflow_handle(workflow_of(failed)).result()
        assert isinstance(end.value.cause, ApplicationError)
        assert end.value.cause.message == "which one?"
        assert end.value.cause.type == ("unclear" if sent == "signal" else "failed")
        statuses = [(await client.get_workflow_handle(workflow_of(task)).describe()).status for task in made]
        assert statuses == [WorkflowExecutionStatus.CANCELED, WorkflowExecutionStatus.FAILED]
        states = [(await org.get(task.id)).state for task in made]
        assert states == [TaskState.CANCELLED, TaskState.FAILED]
        assert (await org.get(cancelled.id)).reason == "not needed"
        await agree(tasks)


async def test_commands_are_on_record_as_whoever_they_name_and_their_ids_are_his(desk: Desk) -> None:
    async with desk.app() as tasks:
        org = tasks.org()
        task = await org.create("look at this", mode="manual")
        await started_there(tasks, task)
        claim = {"agent_id": "ann", "command_id": "c-1", "lease": None}
        code, first = await desk.update(task, "claim", claim)
        assert code == 0, first
        code, again = await desk.update(task, "claim", claim)
        assert (code, "token" in again) == (0, True), again
        for other in ({**claim, "agent_id": "ben"}, {**claim, "lease": "5m"}, {**claim, "by": "ben"}):
            code, said = await desk.update(task, "claim", other)
            assert (code != 0, "c-1" in said) == (True, True), said
        released = {"agent_id": "ann", "command_id": "r-1"}
        for _ in range(2):  # the second time nobody holds it any more
            code, said = await desk.update(task, "release", released)
            assert code == 0, said
        await desk.signal(task, "cancel", {"by": "olga"})
        with pytest.raises(WorkflowFailureError):
            async with asyncio.timeout(SECONDS):
                await (await desk.client()).get_workflow_handle(workflow_of(task)).result()
        told = [(event.kind, event.actor) for event in await org.events(task_id=task.id)]
        assert told[1:] == [
            ("task.claimed", Actor(name="ann")),
            ("task.released", Actor(name="ann")),
            ("task.cancelled", Actor(name="olga")),
        ]
        assert [attempt.actor for attempt in await org.attempts(task.id)] == [Actor(name="ann")]
        await agree(tasks)
