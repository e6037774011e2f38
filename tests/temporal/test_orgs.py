"""Many organisations in one process on a real server: each has its namespace, and the trouble of one is its own.
It must not know relay or fleet by themselves: it sees what users and operators see.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.operatorservice.v1 import DeleteNamespaceRequest
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle

from durable_tasks.app import DurableTasks
from durable_tasks.clock import SystemClock
from durable_tasks.contracts import task_workflow_id
from durable_tasks.handlers import TaskContext
from durable_tasks.models import Task, TaskState
from durable_tasks.org import Org
from durable_tasks.settings import Settings
from durable_tasks.temporal.engine import TemporalReport
from durable_tasks.temporal.server import EmbeddedServer

DEADLINE = 30.0
SEEN_WITHIN = 15.0
"""Seconds until a namespace that was deleted is seen to be gone, while something is open there."""


def names(count: int) -> list[str]:
    """Organisations that nobody else has; their namespaces bear the same names."""
    run = uuid.uuid4().hex[:12]
    return [f"org-{number}-{run}" for number in range(count)]


@asynccontextmanager
async def serving(folder: Path, address: str, **settings: Any) -> AsyncIterator[DurableTasks]:
    # "wait": what completes here, Temporal has let begin.
    chosen = {"fallback": "wait", "max_concurrent": 20, "shutdown_grace": 2, **settings}
    tasks = DurableTasks(Settings(db=folder / "tasks.db", enabled=True, address=address, **chosen))

    @tasks.handler("double")
    async def double(ctx: TaskContext, task: Task) -> int:
        return 2 * int(task.input)

    async with tasks:
        yield tasks


async def eventually(look: Callable[[], Awaitable[bool]], *, within: float = DEADLINE) -> float:
    """Look a few times a second; the answer is how long it took. For what no commit announces."""
    clock, started = SystemClock(), time.monotonic()
    while not await look():
        assert time.monotonic() - started < within, "it did not come"
        await clock.wait_for(asyncio.Event(), 0.1)
    return time.monotonic() - started


async def report(tasks: DurableTasks) -> TemporalReport:
    assert tasks.temporal is not None
    return await tasks.temporal.report()


async def completes(org: Org, number: int) -> Task:
    task = await org.create(f"double {number}", capability="double", input=number)
    ended = await org.wait(task.id, timeout=DEADLINE)
    assert (ended.state, ended.output) == (TaskState.COMPLETED, 2 * number)
    return ended


def handle_of(tasks: DurableTasks, task: Task) -> WorkflowHandle[Any, Any]:
    """Its Temporal workflow, in the namespace of its organisation."""
    assert tasks.temporal is not None
    client = tasks.temporal.client(tasks.settings.namespace_of(task.org_id))
    return client.get_workflow_handle(task_workflow_id(task.id, task.generation))


async def closes(tasks: DurableTasks, task: Task) -> WorkflowExecutionStatus | None:
    async with asyncio.timeout(DEADLINE):
        await asyncio.gather(handle_of(tasks, task).result(), return_exceptions=True)
    return (await handle_of(tasks, task).describe()).status


async def register(client: Client, namespace: str) -> None:
    request = RegisterNamespaceRequest(namespace=namespace)
    request.workflow_execution_retention_period.FromTimedelta(timedelta(days=1))
    await client.workflow_service.register_namespace(request)


async def is_open(tasks: DurableTasks, *subjects: Task) -> bool:
    found = await tasks.store.submissions(states=("open",), after="", limit=1000)
    return {one.id for one in subjects} <= {one.ref.subject_id for one in found}


async def has_worker(tasks: DurableTasks, org: str, *, alone: bool) -> bool:
    """After it was given something to do."""
    await completes(tasks.org(org), 1)
    live = (await report(tasks)).live
    return live == [org] if alone else org in live


async def test_each_organisation_works_in_its_own_namespace(tmp_path: Path, temporal_server: EmbeddedServer) -> None:
    orgs = names(3)
    async with serving(tmp_path, temporal_server.address) as tasks:
        done = await asyncio.gather(*(completes(tasks.org(org), number) for org in orgs for number in range(5)))
        for task in done:
            assert await closes(tasks, task) is WorkflowExecutionStatus.COMPLETED
        seen = await report(tasks)
        assert {one.namespace for one in seen.namespaces if one.up} >= set(orgs)
        assert (seen.parked, seen.unknown) == ({}, {})
        assert tasks.temporal is not None
        assert await tasks.temporal.drift() == []


async def test_a_missing_namespace_is_waited_for_alone(
    tmp_path: Path, client: Client, temporal_server: EmbeddedServer
) -> None:
    missing, there = names(2)
    await register(client, there)
    async with serving(tmp_path, temporal_server.address, register_namespaces=False) as tasks:
        waiting = await tasks.org(missing).create("double 4", capability="double", input=4)
        for number in range(3):
            await completes(tasks.org(there), number)
        seen = await report(tasks)
        assert seen.parked.keys() == {missing}
        assert "not found" in seen.parked[missing]
        assert (await tasks.org(missing).get(waiting.id)).state is TaskState.PENDING
        await register(client, missing)
        ended = await tasks.org(missing).wait(waiting.id, timeout=DEADLINE)
        assert ended.output == 8
        assert (await report(tasks)).parked == {}


@pytest.mark.parametrize("max_workers", [20, 1], ids=["under its worker", "while parked"])
async def test_a_namespace_that_is_deleted_is_seen_to_be_gone(
    tmp_path: Path, client: Client, temporal_server: EmbeddedServer, max_workers: int
) -> None:
    doomed, there = names(2)
    for name in (doomed, there):
        await register(client, name)
    settings = {"register_namespaces": False, "max_workers": max_workers}
    async with serving(tmp_path, temporal_server.address, **settings) as tasks:
        by_hand = [await tasks.org(org).create("by hand", mode="manual") for org in (doomed, there)]
        await eventually(lambda: is_open(tasks, *by_hand))
        await completes(tasks.org(doomed), 1)
        await eventually(lambda: has_worker(tasks, there, alone=max_workers == 1))
        await client.operator_service.delete_namespace(DeleteNamespaceRequest(namespace=doomed))

        async def is_noticed() -> bool:
            return (await report(tasks)).parked.keys() == {doomed}

        assert await eventually(is_noticed, within=SEEN_WITHIN) < SEEN_WITHIN
        assert "not found" in (await report(tasks)).parked[doomed]
        await completes(tasks.org(there), 2)

        async def is_parked() -> bool:
            return doomed not in (await report(tasks)).live

        assert await eventually(is_parked, within=SEEN_WITHIN) < SEEN_WITHIN
        await tasks.org(there).cancel(by_hand[1].id)
        assert await closes(tasks, by_hand[1]) is WorkflowExecutionStatus.CANCELED


async def test_a_namespace_that_is_deleted_is_made_again_with_what_was_open(
    tmp_path: Path, client: Client, temporal_server: EmbeddedServer
) -> None:
    (org,) = names(1)
    async with serving(tmp_path, temporal_server.address) as tasks:
        by_hand = await tasks.org(org).create("by hand", mode="manual")
        await eventually(lambda: is_open(tasks, by_hand))
        await client.operator_service.delete_namespace(DeleteNamespaceRequest(namespace=org))

        async def is_open_again() -> bool:
            return (await tasks.org(org).get(by_hand.id)).generation == 2 and await is_open(tasks, by_hand)

        await eventually(is_open_again, within=2 * DEADLINE)
        await completes(tasks.org(org), 3)


async def test_two_workers_serve_six_organisations(tmp_path: Path, temporal_server: EmbeddedServer) -> None:
    orgs = names(6)
    most = 0
    async with serving(tmp_path, temporal_server.address, max_workers=2) as tasks:
        working = asyncio.gather(*(completes(tasks.org(org), number) for org in orgs for number in range(8)))
        by_hand = [await tasks.org(org).create("by hand", mode="manual") for org in orgs]
        await eventually(lambda: is_open(tasks, *by_hand))
        for task in by_hand:
            await tasks.org(task.org_id).cancel(task.id)
        done = await working

        async def all_are_closed() -> bool:
            nonlocal most
            most = max(most, len((await report(tasks)).live))
            assert tasks.temporal is not None
            return await tasks.temporal.drift() == []

        await eventually(all_are_closed, within=2 * DEADLINE)
        for task in done:
            assert (await handle_of(tasks, task).describe()).status is WorkflowExecutionStatus.COMPLETED
        for task in by_hand:
            assert (await handle_of(tasks, task).describe()).status is WorkflowExecutionStatus.CANCELED
    assert 0 < most <= 2


async def test_a_parked_namespace_hears_what_people_tell_temporal(
    tmp_path: Path, temporal_server: EmbeddedServer
) -> None:
    parked, other = names(2)
    async with serving(tmp_path, temporal_server.address, max_workers=1) as tasks:
        task = await tasks.org(parked).create("by hand", mode="manual")
        await eventually(lambda: is_open(tasks, task))
        await eventually(lambda: has_worker(tasks, other, alone=True))
        await handle_of(tasks, task).cancel()
        ended = await tasks.org(parked).wait(task.id, timeout=DEADLINE)
        assert ended.state is TaskState.CANCELLED
        assert await closes(tasks, task) is WorkflowExecutionStatus.CANCELED
