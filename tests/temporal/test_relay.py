"""The relay between a real SQLite store and a real server: what is sent, and what becomes of each failure.
It must not need a worker: what is sent can be read from the server.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.api.common.v1 import GrpcStatus
from temporalio.api.enums.v1 import EventType
from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest, StartWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode, ServiceClient

from durable_tasks.contracts import (
    FAN_OUT_WORKFLOW,
    MEMO_FILE,
    MEMO_GENERATION,
    MEMO_ID,
    SYNC_SIGNAL,
    group_workflow_id,
    store_queue,
)
from durable_tasks.models import Placement, Priority, Task, TaskState
from durable_tasks.temporal.connection import Connection
from durable_tasks.temporal.namespaces import Namespace, Namespaces
from durable_tasks.temporal.relay import Relay, start_request
from durable_tasks.temporal.server import EmbeddedServer
from tests.temporal.desk import ORG, Desk


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path / "tasks.db")
    await desk.open()
    yield desk
    await desk.store.close()


class Relaying:
    """A relay that runs, and what it reported."""

    def __init__(self, desk: Desk, address: str, *, max_waiting: int, register: bool) -> None:
        self.missing: list[str] = []
        self.starting: list[str] = []
        self.connection = Connection(address=address, clock=desk.clock)
        self.namespaces = Namespaces(connection=self.connection, clock=desk.clock, register=register)
        self.relay = Relay(
            store=desk.store,
            namespaces=self.namespaces,
            subscribe=desk.store.subscribe,
            clock=desk.clock,
            intake=desk,
            max_waiting=max_waiting,
            begin_ahead=False,
            on_start=self.starting.append,
            on_missing=self.missing.append,
        )


@asynccontextmanager
async def relaying(
    desk: Desk, address: str, *, max_waiting: int = 100, register: bool = True
) -> AsyncIterator[Relaying]:
    one = Relaying(desk, address, max_waiting=max_waiting, register=register)
    running = [asyncio.create_task(part.run()) for part in (one.connection, one.namespaces, one.relay)]
    try:
        yield one
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
    (errand,) = await desk.errands()
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
    (errand,) = await desk.errands()
    await client.workflow_service.start_workflow_execution(await start_request(client, errand, desk.store.file_uuid))
    await client.get_workflow_handle(errand.workflow_id).terminate()
    async with relaying(desk, temporal_server.address) as one:
        await desk.reaches(lambda: desk.submission_state(task), "open")
    (submission,) = await desk.store.submissions(states=("open",), after="", limit=10)
    assert submission.run_id is None
    assert one.missing == ["default"]


async def test_a_foreign_workflow_of_the_same_id_is_not_ours(
    desk: Desk, client: Client, temporal_server: EmbeddedServer
) -> None:
    task = await desk.add()
    foreign = await client.start_workflow("Nothing", id=workflow_id(task), task_queue="nobody")
    async with relaying(desk, temporal_server.address) as one:
        await desk.reaches(lambda: desk.submission_state(task), "open")
    assert one.missing == ["default"]
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
    async with relaying(desk, temporal_server.address) as one:
        await desk.reaches(lambda: desk.submission_state(task), "open")
        await client.get_workflow_handle(workflow_id(task)).terminate()
        await desk.store.claim(ORG, task.id, "an agent", None, None)
        await desk.reaches(lambda: outbox_is_empty(desk), True)
    assert one.missing == ["default"]


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


async def test_tasks_for_which_no_slot_is_free_are_bounded(desk: Desk, temporal_server: EmbeddedServer) -> None:
    tasks = [await desk.add(title=str(number)) for number in range(6)]
    manual = await desk.add(Placement.MANUAL)
    async with relaying(desk, temporal_server.address, max_waiting=2):
        await desk.reaches(lambda: desk.submission_state(manual), "open")
        await desk.reaches(lambda: states(desk, tasks), ["open"] * 2 + ["outbox"] * 4)
        await desk.run_waiting(tasks[0])
        await desk.reaches(lambda: states(desk, tasks), ["closed"] + ["open"] * 2 + ["outbox"] * 3)


async def test_a_capability_without_handlers_holds_up_no_other(desk: Desk, temporal_server: EmbeddedServer) -> None:
    foreign = [await desk.add(capability="foreign", priority=Priority.URGENT) for _ in range(6)]
    ours = [await desk.add(capability="ours") for _ in range(2)]
    async with relaying(desk, temporal_server.address, max_waiting=2):
        await desk.reaches(lambda: states(desk, ours), ["open"] * 2)
        await desk.reaches(lambda: states(desk, foreign), ["open"] * 2 + ["outbox"] * 4)


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


# ----- groups


async def test_a_group_starts_under_its_own_type_and_hears_of_its_end(
    desk: Desk, client: Client, temporal_server: EmbeddedServer
) -> None:
    ended, cancelled = await desk.add_group(1, Placement.MANUAL), await desk.add_group(2)
    async with relaying(desk, temporal_server.address) as one:
        for group in (ended, cancelled):
            await desk.reaches(lambda group=group: desk.submission_state(group), "open")  # type: ignore[misc]
        (member,) = (await desk.store.members(ORG, ended.id)).items
        claim = await desk.store.claim(ORG, member.id, "an agent", None, None)
        await desk.store.complete(ORG, member.id, '"done"', claim.token, None)
        await desk.store.cancel_group(ORG, cancelled.id, "not needed")
        for group in (ended, cancelled):
            await desk.reaches(lambda group=group: desk.submission_state(group), "closed")  # type: ignore[misc]
        await desk.reaches(lambda: outbox_is_empty(desk), True)
    assert one.missing == []
    handle = client.get_workflow_handle(group_workflow_id(ended.id, 1))
    seen = await handle.describe()
    assert (seen.workflow_type, seen.task_queue) == (FAN_OUT_WORKFLOW, store_queue(desk.store.file_uuid))
    assert (await seen.memo())[MEMO_ID] == ended.id
    signals = [
        event.workflow_execution_signaled_event_attributes.signal_name
        for event in (await handle.fetch_history()).events
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED
    ]
    assert signals == [SYNC_SIGNAL]
    history = await client.get_workflow_handle(group_workflow_id(cancelled.id, 1)).fetch_history()
    cancels = [event.event_type for event in history.events]
    assert EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED in cancels


async def test_a_group_counts_for_no_open_task(desk: Desk, temporal_server: EmbeddedServer) -> None:
    task, late = await desk.add(), await desk.add()
    groups = [await desk.add_group(3) for _ in range(3)]
    async with relaying(desk, temporal_server.address, max_waiting=1):
        for group in groups:
            await desk.reaches(lambda group=group: desk.submission_state(group), "open")  # type: ignore[misc]
        await desk.reaches(lambda: states(desk, [task, late]), ["open", "outbox"])


# ----- organisations


async def test_an_organisation_without_a_namespace_waits_alone(
    tmp_path: Path, client: Client, temporal_server: EmbeddedServer
) -> None:
    home = f"home-{uuid.uuid4()}"
    await register(client, home)
    desk = Desk(tmp_path / "tasks.db", namespace=home)
    await desk.open()
    waiting, served = [await desk.add(org="acme") for _ in range(40)], await desk.add()
    async with relaying(desk, temporal_server.address, register=False) as one:
        await desk.reaches(lambda: desk.submission_state(served), "open")
        assert one.relay.parked.keys() == {"acme"}
        assert "not found" in one.relay.parked["acme"]
        assert one.starting == [home]
        await register(client, f"acme-of-{home}")
        await desk.reaches(lambda: states(desk, waiting), ["open"] * 40)
        assert one.relay.parked == {}
    await desk.store.close()


async def test_a_backlog_that_does_not_move_leaves_room_for_others(
    tmp_path: Path, client: Client, temporal_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = f"home-{uuid.uuid4()}"
    for name in (home, f"acme-of-{home}"):
        await register(client, name)
    reach, stuck = Namespace.reach, 0

    async def reaching(namespace: Namespace, call: Any) -> Any:
        nonlocal stuck
        if namespace.name == home:
            return await reach(namespace, call)
        stuck += 1
        call.close()
        return await asyncio.Event().wait()

    monkeypatch.setattr(Namespace, "reach", reaching)
    desk = Desk(tmp_path / "tasks.db", namespace=home)
    await desk.open()
    for _ in range(40):
        await desk.add(org="acme")
    async with relaying(desk, temporal_server.address):
        for _ in range(3):
            task = await desk.add()
            await desk.reaches(lambda task=task: desk.submission_state(task), "open")  # type: ignore[misc]
        assert stuck > 20, "most of the senders are at work for one organisation"
    await desk.store.close()


async def test_a_missing_namespace_is_registered_for_its_first_start(
    tmp_path: Path, client: Client, temporal_server: EmbeddedServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "durable_tasks.temporal")
    names = [f"new-{uuid.uuid4()}" for _ in range(3)]
    desk = Desk(tmp_path / "tasks.db", namespace=names[0])
    await desk.open()
    task = await desk.add(Placement.MANUAL)
    async with relaying(desk, temporal_server.address) as one:
        resets: list[str] = []
        one.namespaces.on_reset(resets.append)
        await desk.reaches(lambda: desk.submission_state(task), "open")
    assert resets == [names[0]], "it came up once, and was usable from then on"
    said = [record.getMessage() for record in caplog.records if names[0] in record.getMessage()]
    assert [line.split()[0] for line in said] == ["registered", "the"], said
    await desk.store.close()


def no_entry() -> RPCError:
    return RPCError("no entry", RPCStatusCode.PERMISSION_DENIED, b"")


def no_namespace() -> RPCError:
    """As the server says that it knows no such namespace."""
    status = GrpcStatus(code=RPCStatusCode.NOT_FOUND, message="no entry")
    status.details.add().Pack(NamespaceNotFoundFailure(namespace="acme"))
    return RPCError(status.message, RPCStatusCode.NOT_FOUND, status.SerializeToString())


@pytest.mark.parametrize("error", [no_entry, no_namespace])
async def test_who_is_refused_waits_and_loses_nothing(
    tmp_path: Path,
    client: Client,
    temporal_server: EmbeddedServer,
    monkeypatch: pytest.MonkeyPatch,
    error: Callable[[], RPCError],
) -> None:
    home = f"home-{uuid.uuid4()}"
    for name in (home, f"acme-of-{home}"):
        await register(client, name)
    monkeypatch.setattr("durable_tasks.temporal.namespaces._FORBIDDEN", 1.0)
    refused = refuse_calls(monkeypatch)
    desk = Desk(tmp_path / "tasks.db", namespace=home)
    await desk.open()
    async with relaying(desk, temporal_server.address, register=False) as one:
        first = await desk.add(Placement.MANUAL, org="acme")
        await desk.reaches(lambda: desk.submission_state(first), "open")
        refused[f"acme-of-{home}"] = error()
        second = await desk.add(Placement.MANUAL, org="acme")
        await desk.reaches(lambda: tries(desk), [1])
        assert "no entry" in one.relay.parked["acme"]
        other = await desk.add()
        await desk.reaches(lambda: desk.submission_state(other), "open")
        assert await desk.submission_state(second) == "outbox"
        refused.clear()
        await desk.reaches(lambda: desk.submission_state(second), "open")
    assert (await desk.store.get("acme", second.id)).state is TaskState.PENDING
    await desk.store.close()


async def tries(desk: Desk) -> list[int]:
    return [errand.tries for errand in await desk.errands() if errand.ref.org_id != ORG]


def refuse_calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, RPCError]:
    """By namespace: the error with which the server is to refuse every call."""
    refused: dict[str, RPCError] = {}
    connect = ServiceClient.connect

    async def connecting(config: Any) -> ServiceClient:
        service = await connect(config)
        call = service._rpc_call

        async def calling(*, req: Any, **options: Any) -> Any:
            if (namespace := getattr(req, "namespace", "")) in refused:
                raise refused[namespace]
            return await call(req=req, **options)

        monkeypatch.setattr(service, "_rpc_call", calling)
        return service

    monkeypatch.setattr(ServiceClient, "connect", staticmethod(connecting))
    return refused


async def register(client: Client, namespace: str) -> None:
    request = RegisterNamespaceRequest(namespace=namespace)
    request.workflow_execution_retention_period.FromTimedelta(timedelta(days=1))
    await client.workflow_service.register_namespace(request)
