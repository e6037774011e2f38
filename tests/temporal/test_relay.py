"""The relay between a real SQLite store and a real server: what is sent, and what becomes of each failure.
It must not need a worker: what is sent can be read from the server.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionStatus

from durable_tasks.contracts import MEMO_FILE, MEMO_GENERATION, MEMO_ID, store_queue
from durable_tasks.models import Placement, Priority, Task, TaskState
from durable_tasks.temporal.connection import Connection
from durable_tasks.temporal.relay import Relay, start_request
from durable_tasks.temporal.server import EmbeddedServer
from tests.temporal.desk import ORG, Desk


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path / "tasks.db")
    await desk.store.open()
    yield desk
    await desk.store.close()


@asynccontextmanager
async def relaying(desk: Desk, address: str, *, max_open: int = 100) -> AsyncIterator[list[str]]:
    """Run a relay; the answer collects a word for each time it found something missing."""
    missing: list[str] = []
    connection = Connection(address=address, namespace="default", clock=desk.clock)
    relay = Relay(
        store=desk.store,
        connection=connection,
        subscribe=desk.store.subscribe,
        clock=desk.clock,
        max_open=max_open,
        on_started=desk.started,
        on_missing=lambda: missing.append("missing"),
    )
    running = [asyncio.create_task(connection.run()), asyncio.create_task(relay.run())]
    try:
        yield missing
        assert not any(task.done() for task in running)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def workflow_id(task: Task, generation: int = 1) -> str:
    return f"task/{task.id}/{generation}"


async def events(client: Client, task: Task, kind: EventType.ValueType) -> int:
    history = await client.get_workflow_handle(workflow_id(task)).fetch_history()
    return sum(event.event_type == kind for event in history.events)


async def test_a_start_says_whose_it_is(desk: Desk, client: Client, temporal_server: EmbeddedServer) -> None:
    title = 'say "ü"\n' * 60
    task = await desk.add(title=title, priority=Priority.URGENT)
    async with relaying(desk, temporal_server.address):
        await desk.reaches(lambda: desk.submission_state(task), "open")
    seen = await client.get_workflow_handle(workflow_id(task)).describe()
    assert seen.status is WorkflowExecutionStatus.RUNNING
    assert seen.task_queue == store_queue(desk.store.file_uuid)
    memo = await seen.memo()
    assert memo == {MEMO_FILE: desk.store.file_uuid, MEMO_ID: task.id, MEMO_GENERATION: 1}
    summary = await seen.static_summary()
    assert summary is not None
    assert summary.startswith('say "ü" say')
    assert seen.raw_description.workflow_execution_info.priority.priority_key == 1


async def test_a_start_sent_twice_is_one_run(desk: Desk, client: Client, temporal_server: EmbeddedServer) -> None:
    task = await desk.add()
    (errand,) = await desk.store.errands(desk.clock.now(), limit=10, starts=10, skip=frozenset())
    request = await start_request(client, errand, desk.store.file_uuid)
    first = await client.workflow_service.start_workflow_execution(request)  # sent, but not acknowledged
    async with relaying(desk, temporal_server.address):
        await desk.reaches(lambda: desk.submission_state(task), "open")
    (submission,) = await desk.store.submissions(states=("open",), after="", limit=10)
    assert submission.run_id == first.run_id


async def test_a_repeated_start_of_an_ended_run_is_not_taken_for_started(
    desk: Desk, client: Client, temporal_server: EmbeddedServer
) -> None:
    task = await desk.add()
    (errand,) = await desk.store.errands(desk.clock.now(), limit=10, starts=10, skip=frozenset())
    await client.workflow_service.start_workflow_execution(await start_request(client, errand, desk.store.file_uuid))
    await client.get_workflow_handle(errand.workflow_id).terminate()
    async with relaying(desk, temporal_server.address) as missing:
        await desk.reaches(lambda: desk.submission_state(task), "open")
    (submission,) = await desk.store.submissions(states=("open",), after="", limit=10)
    assert submission.run_id is None
    assert missing == ["missing"]


async def test_a_foreign_workflow_of_the_same_id_is_not_ours(
    desk: Desk, client: Client, temporal_server: EmbeddedServer
) -> None:
    task = await desk.add()
    foreign = await client.start_workflow("Nothing", id=workflow_id(task), task_queue="nobody")
    async with relaying(desk, temporal_server.address) as missing:
        await desk.reaches(lambda: desk.submission_state(task), "open")
    assert missing == ["missing"]
    assert (await foreign.describe()).status is WorkflowExecutionStatus.RUNNING


async def test_syncs_and_cancels_follow_the_start(desk: Desk, client: Client, temporal_server: EmbeddedServer) -> None:
    manual, auto = await desk.add(Placement.MANUAL), await desk.add()
    claim = await desk.store.claim(ORG, manual.id, "an agent", None, None)
    await desk.store.cancel(ORG, auto.id, "not needed", None)
    async with relaying(desk, temporal_server.address):
        await desk.reaches(lambda: desk.submission_state(auto), "closed")
        await desk.store.complete(ORG, manual.id, '"done"', claim.token, None)
        await desk.reaches(lambda: desk.submission_state(manual), "closed")
    assert await events(client, auto, EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED) == 1
    assert await events(client, manual, EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED) == 2


async def test_a_sync_to_a_closed_workflow_is_moot(desk: Desk, client: Client, temporal_server: EmbeddedServer) -> None:
    task = await desk.add(Placement.MANUAL)
    async with relaying(desk, temporal_server.address) as missing:
        await desk.reaches(lambda: desk.submission_state(task), "open")
        await client.get_workflow_handle(workflow_id(task)).terminate()
        await desk.store.claim(ORG, task.id, "an agent", None, None)
        await desk.reaches(lambda: outbox_is_empty(desk), True)
    assert missing == ["missing"]


async def outbox_is_empty(desk: Desk) -> bool:
    found = await desk.store.submissions(states=("outbox", "open", "closed"), after="", limit=1000)
    return all(one.pending_errands == 0 for one in found)


async def test_what_temporal_refuses_for_ever_fails_alone(
    desk: Desk, client: Client, temporal_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = await desk.add(title="refuse me"), await desk.add()

    async def spoiled(*arguments: object) -> StartWorkflowExecutionRequest:
        request = await start_request(*arguments)  # type: ignore[arg-type]
        if request.workflow_id == workflow_id(bad):
            request.memo.fields["ballast"].data = b"x" * (3 * 2**20)
        return request

    monkeypatch.setattr("durable_tasks.temporal.relay.start_request", spoiled)
    async with relaying(desk, temporal_server.address):
        await desk.reaches(lambda: desk.submission_state(good), "open")
        await desk.reaches(lambda: desk.submission_state(bad), "closed")
    failed = await desk.store.get(ORG, bad.id)
    assert failed.state is TaskState.FAILED
    assert failed.error is not None
    assert failed.error.type == "submit_rejected"


async def test_open_embedded_tasks_are_bounded(desk: Desk, client: Client, temporal_server: EmbeddedServer) -> None:
    tasks = [await desk.add(title=str(number)) for number in range(6)]
    manual = await desk.add(Placement.MANUAL)
    async with relaying(desk, temporal_server.address, max_open=2):
        await desk.reaches(lambda: desk.submission_state(manual), "open")
        await desk.reaches(lambda: states(desk, tasks), ["open"] * 2 + ["outbox"] * 4)
        await desk.store.cancel(ORG, tasks[0].id, None, None)
        await desk.reaches(lambda: states(desk, tasks), ["closed"] + ["open"] * 2 + ["outbox"] * 3)


async def states(desk: Desk, tasks: list[Task]) -> list[str]:
    return [await desk.submission_state(task) for task in tasks]


async def test_rows_wait_for_a_server_that_is_not_there(desk: Desk, temporal_server: EmbeddedServer) -> None:
    tasks = [await desk.add(title=str(number)) for number in range(40)]
    server = EmbeddedServer(binary=temporal_server.binary)
    await server.start()
    await server.stop()
    async with relaying(desk, server.address), server:
        await desk.reaches(lambda: states(desk, tasks), ["open"] * 40)
        await server.stop()
