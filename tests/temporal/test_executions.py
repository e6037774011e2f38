"""Operators and Temporal workflows of the organisation's own, on a real server; those of tasks are out of their reach.
It must not know how tasks run.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from durable_tasks import DurableTasks, NewTask, Settings, errors
from durable_tasks.temporal.executions import Executions
from durable_tasks.temporal.server import EmbeddedServer
from tests.temporal.test_durable_store import reaches, temporal_status


@pytest_asyncio.fixture
async def tasks(tmp_path: Path, temporal_server: EmbeddedServer) -> AsyncIterator[DurableTasks]:
    async with DurableTasks(Settings(db=tmp_path / "tasks.db", enabled=True, address=temporal_server.address)) as tasks:
        assert tasks.temporal is not None
        await tasks.temporal.wait_connected(20)
        yield tasks


@pytest_asyncio.fixture
async def ours(tasks: DurableTasks) -> Executions:
    return await tasks.durable.executions()


@pytest.fixture
def name(tmp_path: Path) -> str:
    """An id that no other test has: they share a server."""
    return f"report/{tmp_path.name}"


async def events(client: Client, workflow_id: str) -> list[str]:
    history = await client.get_workflow_handle(workflow_id).fetch_history()
    return [EventType.Name(event.event_type).removeprefix("EVENT_TYPE_WORKFLOW_EXECUTION_") for event in history.events]


async def test_one_is_started_seen_signalled_cancelled_and_terminated(
    tasks: DurableTasks, ours: Executions, name: str
) -> None:
    """Nobody works on its queue: it stays where it is."""
    started = await ours.start("Report", name, queue="reports", arguments=["May", 3], timeout=3600)
    assert (started.namespace, started.workflow_id, started.workflow_type) == ("default", name, "Report")
    assert (started.queue, started.status, started.closed_at) == ("reports", "RUNNING", None)
    with pytest.raises(errors.Conflict, match="runs already"):
        await ours.start("Report", name, queue="reports")

    await ours.signal(name, "hurry", ["please"])
    await ours.cancel(name)
    await ours.terminate(name, reason="not needed")
    seen = await ours.describe(name)
    assert (seen.status, seen.run_id, seen.closed_at is None) == ("TERMINATED", started.run_id, False)
    said = await events(tasks.durable.client_for_org(), name)
    assert [event for event in said if not event.startswith("EVENT")] == [
        "STARTED", "SIGNALED", "CANCEL_REQUESTED", "TERMINATED",
    ]  # fmt: skip

    for late in (ours.signal(name, "hurry"), ours.terminate(name)):
        with pytest.raises(errors.NotFound, match="has ended"):
            await late
    await ours.cancel(name)
    assert (await ours.describe(name)).status == "TERMINATED"
    again = await ours.start("Report", name, queue="reports")
    assert again.run_id != started.run_id
    await ours.terminate(name)


async def test_what_nobody_started_is_not_found(ours: Executions) -> None:
    for call in (ours.describe("nobody"), ours.signal("nobody", "x"), ours.cancel("nobody"), ours.terminate("nobody")):
        with pytest.raises(errors.NotFound, match="'nobody'"):
            await call


async def test_an_organisation_reaches_only_its_own_namespace(
    tasks: DurableTasks, ours: Executions, name: str, tmp_path: Path
) -> None:
    other = f"acme-{tmp_path.name}".replace("_", "-")
    theirs = await tasks.durable.executions(org=other)
    await ours.start("Report", name, queue="reports")
    with pytest.raises(errors.NotFound):
        await theirs.describe(name)  # the namespace is not there yet
    task = await tasks.org(other).create("x")
    await reaches(tasks, lambda: temporal_status(tasks.durable, task), "RUNNING")
    for call in (theirs.describe(name), theirs.signal(name, "x"), theirs.cancel(name), theirs.terminate(name)):
        with pytest.raises(errors.NotFound):
            await call
    assert (await ours.describe(name)).status == "RUNNING"
    await ours.terminate(name)


async def test_a_namespace_that_is_another_organisations_is_refused(
    tmp_path: Path, temporal_server: EmbeddedServer
) -> None:
    """Without a task of its own nothing else would have noticed."""
    settings = Settings(
        db=tmp_path / "tasks.db", enabled=True, address=temporal_server.address, org="acme", namespace="default"
    )
    async with DurableTasks(settings) as tasks:
        assert tasks.temporal is not None
        await tasks.temporal.wait_connected(20)
        await tasks.org("acme").create("x")
        assert await tasks.durable.executions(org="acme")
        with pytest.raises(errors.Conflict, match="another organisation"):
            await tasks.durable.executions(org="default")


async def test_what_drives_tasks_is_looked_at_and_left_alone(tasks: DurableTasks, ours: Executions) -> None:
    task = await tasks.org().create("Read the contract")
    group = await tasks.org().pipeline("p", [NewTask(name="a", capability="none", queue="elsewhere")])
    await reaches(tasks, lambda: temporal_status(tasks.durable, task), "RUNNING")
    driving = f"task/{task.id}/1"
    assert (await ours.describe(driving)).workflow_type == "AgentTaskWorkflow"
    for one in (driving, f"workflow/{group.id}/1", "task/of another file/7"):
        for call in (ours.signal(one, "x"), ours.cancel(one), ours.terminate(one), ours.start("X", one, queue="q")):
            with pytest.raises(errors.InvalidInput, match="SQLite decides"):
                await call
    with pytest.raises(errors.InvalidInput, match="drives tasks"):
        await ours.start("AgentTaskWorkflow", "mine", queue="q")
    with pytest.raises(errors.InvalidInput, match="drives tasks"):
        await ours.start("Mine", "mine", queue=f"dt-store-{tasks.store.file_uuid}")
    assert await temporal_status(tasks.durable, task) == "RUNNING"
