"""DurableStore on a real server, with two organisations: what it shows of Temporal, and that SQLite decides.
It must not know how the engine works.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import Client, WorkflowExecution

from durable_tasks import DurableTasks, NewTask, Settings, Task, TaskContext, errors
from durable_tasks.temporal.durable import DurableStore
from durable_tasks.temporal.server import EmbeddedServer
from tests.temporal.desk import DEADLINE


@pytest.fixture
def acme(tmp_path: Path) -> str:
    """A second organisation, and so a namespace of its own."""
    return f"acme-{tmp_path.name}".replace("_", "-")


@pytest_asyncio.fixture
async def tasks(tmp_path: Path, temporal_server: EmbeddedServer) -> AsyncIterator[DurableTasks]:
    tasks = DurableTasks(Settings(db=tmp_path / "tasks.db", enabled=True, address=temporal_server.address))

    @tasks.handler("double")
    async def double(ctx: TaskContext, task: Task) -> int:
        return int(task.input) * 2

    async with tasks:
        assert tasks.temporal is not None
        await tasks.temporal.wait_connected(20)
        yield tasks


@pytest_asyncio.fixture
async def durable(tasks: DurableTasks) -> DurableStore:
    return tasks.durable


async def reaches(tasks: DurableTasks, look: Callable[[], Awaitable[Any]], wanted: Any) -> None:
    """Look after every commit until the answer is `wanted`."""
    committed = asyncio.Event()
    unsubscribe = tasks.store.subscribe(lambda notice: committed.set())
    try:
        async with asyncio.timeout(DEADLINE):
            while await look() != wanted:
                await committed.wait()
                committed.clear()
    finally:
        unsubscribe()


async def listed(look: Callable[[], AsyncIterator[WorkflowExecution]], wanted: set[str]) -> list[WorkflowExecution]:
    """Ask until exactly these are listed: Temporal's lists lag behind."""
    async with asyncio.timeout(DEADLINE):
        while True:
            found = [one async for one in look()]
            if {one.id for one in found} == wanted:
                return found


async def temporal_status(durable: DurableStore, task: Task) -> str:
    return (await durable.status(task.id, org=task.org_id)).temporal


async def test_it_is_refused_while_durable_mode_is_off(tmp_path: Path) -> None:
    async with DurableTasks(Settings(db=tmp_path / "tasks.db")) as tasks:
        with pytest.raises(errors.ConfigurationError, match="TASKS_ENABLED"):
            _ = tasks.durable
    with pytest.raises(errors.Closed):
        _ = tasks.durable


async def test_without_a_server_it_says_so(tmp_path: Path) -> None:
    async with DurableTasks(Settings(db=tmp_path / "tasks.db", enabled=True, address="127.0.0.1:1")) as tasks:
        assert not tasks.durable.connected
        with pytest.raises(errors.TemporalUnavailable):
            tasks.durable.client_for_org()
        task = await tasks.org().create("Read the contract")
        with pytest.raises(errors.TemporalUnavailable):
            await tasks.durable.status(task.id)
        report = await tasks.durable.doctor()
        assert (report.connected, report.server_version) == (False, None)


async def test_each_organisation_has_its_client_and_its_tasks(
    tasks: DurableTasks, durable: DurableStore, acme: str
) -> None:
    assert durable.connected
    assert isinstance(durable.client_for_org(), Client)
    assert (durable.client_for_org().namespace, durable.client_for_org(acme).namespace) == ("default", acme)
    ours = await durable.submit_task("Read the contract")
    theirs = await durable.submit_task("double", org=acme, capability="double", input=21)
    assert (ours.namespace, ours.workflow_id) == ("default", f"task/{ours.task.id}/1")
    assert (theirs.namespace, theirs.task.org_id) == (acme, acme)
    assert (await tasks.org(acme).wait(theirs.task.id, timeout=DEADLINE)).output == 42
    await reaches(tasks, lambda: temporal_status(durable, ours.task), "RUNNING")
    assert (await durable.status(ours.task.id)).run_id is not None
    with pytest.raises(errors.NotFound):
        await durable.status(ours.task.id, org=acme)

    (mine,) = await listed(durable.list_tasks, {ours.workflow_id})
    assert mine.namespace == "default"
    await listed(lambda: durable.list_tasks(org=acme), {theirs.workflow_id})
    await listed(lambda: durable.list_tasks(query="ExecutionStatus = 'Failed'"), set())
    report = await durable.doctor()
    assert report.connected
    assert report.server_version
    assert report.pollers["default"] == 1
    assert {one.namespace for one in report.namespaces if one.up} == {"default", acme}


async def test_workflows_of_every_kind(tasks: DurableTasks, durable: DurableStore, acme: str) -> None:
    members = [NewTask(name=name, capability="double", input=number) for number, name in enumerate("ab")]
    ids = set()
    for kind, options in (("pipeline", {}), ("fan_out", {"join": "any"}), ("dag", {})):
        group = await durable.submit_workflow(kind, kind, members, org=acme, **options)  # type: ignore[arg-type]
        assert (await tasks.org(acme).wait_workflow(group.id, timeout=DEADLINE)).state == "completed"
        ids.add(f"workflow/{group.id}/1")
        (first, _) = await tasks.org(acme).workflow_tasks(group.id)
        assert (await durable.status(first.id, org=acme)).workflow_id == f"workflow/{group.id}/1"
    await listed(lambda: durable.list_workflows(org=acme), ids)
    await listed(lambda: durable.list_tasks(org=acme), set())
    await listed(durable.list_workflows, set())
    with pytest.raises(errors.InvalidInput, match="pipeline, fan_out, dag"):
        await durable.submit_workflow("tree", "t", members)  # type: ignore[arg-type]


async def test_a_signal_reaches_the_task(tasks: DurableTasks, durable: DurableStore, acme: str) -> None:
    task = (await durable.submit_task("Approve", org=acme)).task
    await reaches(tasks, lambda: temporal_status(durable, task), "RUNNING")
    await durable.signal(task.id, "claim", {"agent_id": "ann"}, org=acme)

    async def holder() -> str | None:
        return (await tasks.org(acme).get(task.id)).assigned_to

    await reaches(tasks, holder, "ann")
    await durable.signal(task.id, "complete", {"agent_id": "bob", "output": 1}, org=acme)  # refused: ann has it
    await durable.signal(task.id, "complete", {"agent_id": "ann", "output": {"ok": True}}, org=acme)
    assert (await tasks.org(acme).wait(task.id, timeout=DEADLINE)).output == {"ok": True}
    with pytest.raises(errors.InvalidInput, match="the signals are"):
        await durable.signal(task.id, "approve", {}, org=acme)
    with pytest.raises(errors.NotFound):
        await durable.signal(task.id, "complete", {"agent_id": "ann"})


async def test_it_claims_and_cancels_in_sqlite(tasks: DurableTasks, durable: DurableStore, acme: str) -> None:
    first = (await durable.submit_task("one", org=acme)).task
    claim = await durable.next(agent_id="ann", org=acme)
    assert claim is not None
    assert claim.task.id == first.id
    assert await durable.next(agent_id="ann") is None
    assert (await durable.cancel(first.id, reason="not needed", org=acme)).state == "cancelled"
    client = durable.client_for_org(acme)
    await reaches(tasks, lambda: closed(tasks, first), True)
    handle = client.get_workflow_handle(f"task/{first.id}/1")
    async with asyncio.timeout(DEADLINE):
        await asyncio.gather(handle.result(), return_exceptions=True)
    assert await temporal_status(durable, first) == "CANCELED"


async def closed(tasks: DurableTasks, task: Task) -> bool:
    """Whether Temporal was told of the end."""
    found = await tasks.store.find([f"task/{task.id}/1"])
    return all(one.pending_errands == 0 for one in found.values())


async def test_what_another_file_handed_over_is_not_listed(
    tasks: DurableTasks, durable: DurableStore, acme: str, tmp_path: Path, temporal_server: EmbeddedServer
) -> None:
    other = DurableTasks(Settings(db=tmp_path / "other.db", enabled=True, address=temporal_server.address))
    async with other:
        assert other.temporal is not None
        await other.temporal.wait_connected(20)
        theirs = await other.durable.submit_task("theirs", org=acme)
        await reaches(other, lambda: temporal_status(other.durable, theirs.task), "RUNNING")
        await listed(lambda: other.durable.list_tasks(org=acme), {theirs.workflow_id})
        await listed(lambda: durable.list_tasks(org=acme), set())
