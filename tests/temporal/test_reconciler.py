"""The reconciler between a real SQLite store and a real server: every difference, and when it is left alone.
It must not need a worker; what it has the store queue, a relay sends.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle

from durable_tasks.clock import SystemClock
from durable_tasks.contracts import MEMO_FILE, MEMO_GENERATION, MEMO_ID, store_queue, task_workflow_id
from durable_tasks.errors import TemporalUnavailable
from durable_tasks.models import Placement, Task, TaskState, Workflow, WorkflowState
from durable_tasks.ports import Drift, OutboxKind, Submission
from durable_tasks.temporal.connection import Connection
from durable_tasks.temporal.namespaces import Namespaces
from durable_tasks.temporal.reconciler import Reconciler
from durable_tasks.temporal.relay import Relay, start_request
from durable_tasks.temporal.server import EmbeddedServer
from tests.temporal.desk import ORG, Desk

Handle = WorkflowHandle[object, object]
FRESH = {"default"}
UNTOUCHED = {EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED, EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED}


class ShiftedClock(SystemClock):
    """The system's clock, with an offset: a minute can pass at once."""

    offset = 0.0

    def now(self) -> float:
        return super().now() + self.offset

    def steady(self) -> float:
        return super().steady() + self.offset


class Counter:
    """Tasks and groups handed to Temporal by hand; `relay` sends the errands that follow."""

    def __init__(self, desk: Desk, client: Client, reconciler: Reconciler, clock: ShiftedClock, relay: Relay) -> None:
        self.desk = desk
        self.client = client
        self.reconciler = reconciler
        self.clock = clock
        self._relay = relay

    async def submit(self, placement: Placement = Placement.EMBEDDED, *, really: bool = True) -> tuple[Task, Handle]:
        task = await self.desk.add(placement)
        return task, await self._hand_over(really)

    async def submit_group(self, *, really: bool = True) -> tuple[Workflow, Handle]:
        group = await self.desk.add_group(2)
        return group, await self._hand_over(really)

    async def _hand_over(self, really: bool) -> Handle:
        (errand,) = await self.desk.errands()
        run_id = "lost"
        if really:
            request = await start_request(self.client, errand, self.desk.store.file_uuid)
            run_id = (await self.client.workflow_service.start_workflow_execution(request)).run_id
        await self.desk.store.acknowledge(errand, run_id=run_id)
        return self.client.get_workflow_handle(errand.workflow_id)

    async def errands(self) -> list[tuple[OutboxKind, int]]:
        """What waits to be sent, and for which generation."""
        return [(errand.kind, errand.ref.generation) for errand in await self.desk.errands()]

    async def send(self) -> list[tuple[OutboxKind, int]]:
        """Have a relay send what waits; the answer is what that was."""
        waiting = await self.errands()
        relaying = asyncio.create_task(self._relay.run())
        await self.desk.reaches(self.errands, [])
        relaying.cancel()
        await asyncio.gather(relaying, return_exceptions=True)
        return waiting

    async def sweep(self, minutes: float) -> None:
        """Once, so many minutes from now."""
        self.clock.offset = 60 * minutes
        await self.reconciler.sweep()


@pytest_asyncio.fixture
async def counter(tmp_path: Path, client: Client, temporal_server: EmbeddedServer) -> AsyncIterator[Counter]:
    desk = Desk(tmp_path / "tasks.db")
    await desk.open()
    clock = ShiftedClock()
    connection = Connection(address=temporal_server.address, clock=clock)
    namespaces = Namespaces(connection=connection, clock=clock, register=False)
    looking = [asyncio.create_task(connection.run()), asyncio.create_task(namespaces.run())]
    await namespaces.get("default").ready()
    reconciler = Reconciler(store=desk.store, namespaces=namespaces, live=lambda: FRESH, clock=clock)
    relay = Relay(
        store=desk.store,
        namespaces=namespaces,
        subscribe=desk.store.subscribe,
        clock=clock,
        intake=desk,
        max_waiting=100,
        begin_ahead=False,
        on_start=lambda namespace: None,
        on_missing=lambda namespace: None,
    )
    yield Counter(desk, client, reconciler, clock, relay)
    for task in looking:
        task.cancel()
    await asyncio.gather(*looking, return_exceptions=True)
    await desk.store.close()


async def test_what_agrees_is_left_alone(counter: Counter) -> None:
    task, _ = await counter.submit()
    counter.clock.offset = 60
    await counter.reconciler.sweep(FRESH)
    assert await counter.desk.submission_state(task) == "open"
    assert await counter.errands() == []


async def test_a_missing_workflow_is_started_again(counter: Counter) -> None:
    task, _ = await counter.submit(really=False)
    await counter.reconciler.sweep()
    assert await counter.desk.generation(task) == 1, "its row has not settled"
    await counter.sweep(minutes=1)
    assert await counter.desk.generation(task) == 2
    assert await counter.errands() == [(OutboxKind.START, 2)]


async def test_after_a_reset_a_missing_workflow_is_started_at_once(counter: Counter) -> None:
    task, _ = await counter.submit(really=False)
    await counter.reconciler.sweep(FRESH)
    assert await counter.desk.generation(task) == 2


async def test_a_workflow_that_was_terminated_is_started_again(counter: Counter) -> None:
    task, handle = await counter.submit()
    await handle.terminate()
    await counter.reconciler.sweep(FRESH)
    assert await counter.desk.generation(task) == 1, "its row has not settled"
    await counter.sweep(minutes=1)
    assert await counter.desk.generation(task) == 2


async def test_an_errand_on_its_way_is_not_overtaken(counter: Counter) -> None:
    task, handle = await counter.submit(Placement.MANUAL)
    await counter.desk.store.cancel(ORG, task.id, None, None)
    await handle.terminate()
    await counter.sweep(minutes=1)
    assert await counter.desk.submission_state(task) == "open"
    assert await counter.errands() == [(OutboxKind.CANCEL, 1)]


async def test_what_ended_on_both_sides_is_closed(counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    task, handle = await counter.submit(Placement.MANUAL)
    await counter.desk.store.cancel(ORG, task.id, None, None)
    await handle.terminate()
    forget_errands(counter.desk, monkeypatch)
    await counter.sweep(minutes=1)
    assert await counter.desk.submission_state(task) == "closed"


async def test_drift_names_each_disagreement(counter: Counter) -> None:
    agreeing, _ = await counter.submit()
    terminated, handle = await counter.submit()
    await handle.terminate()
    missing, _ = await counter.submit(really=False)
    await counter.submit_group()
    group, _ = await counter.submit_group(really=False)
    assert sorted(await counter.reconciler.drift(), key=lambda one: one.subject_id) == [
        Drift(ORG, terminated.id, 1, TaskState.PENDING, "TERMINATED"),
        Drift(ORG, missing.id, 1, TaskState.PENDING, "MISSING"),
        Drift(ORG, group.id, 1, WorkflowState.PENDING, "MISSING"),
    ]
    assert agreeing.id < terminated.id < missing.id < group.id


async def test_no_more_is_compared_than_asked_for(counter: Counter) -> None:
    for _ in range(3):
        await counter.submit(really=False)
    counter.clock.offset = 60
    found = await counter.reconciler.compare(ORG, limit=2)
    assert (len(found.drift), found.compared) == (2, 2)
    counter.clock.offset = 0
    assert (await counter.reconciler.compare(ORG, limit=2)).compared == 0, "none has settled"


async def test_drift_says_which_namespace_cannot_be_asked(counter: Counter) -> None:
    await counter.desk.add(org="acme")
    with pytest.raises(TemporalUnavailable, match="acme-of-default"):
        await counter.reconciler.drift()


async def test_an_organisation_without_its_namespace_is_left_alone(counter: Counter) -> None:
    lost, _ = await counter.submit(really=False)
    there = await counter.desk.add(org="acme")
    (errand,) = await counter.desk.errands()
    await counter.desk.store.acknowledge(errand, run_id="lost")
    await counter.sweep(minutes=1)
    assert await counter.desk.generation(lost) == 2
    assert await counter.desk.generation(there) == 1


# ----- what runs on though SQLite is through with it


async def test_an_ended_task_whose_workflow_runs_is_told_then_cancelled_then_terminated(counter: Counter) -> None:
    task, handle = await counter.submit(Placement.MANUAL)
    await end_by_hand(counter.desk, task)
    assert await counter.send() == [(OutboxKind.SYNC, 1)]
    assert await counter.desk.submission_state(task) == "closed"
    steps: list[OutboxKind] = []
    for minute in range(1, 40):
        await counter.sweep(minute)
        steps += [kind for kind, _ in await counter.send()]
    assert steps == [OutboxKind.SYNC, OutboxKind.CANCEL, OutboxKind.TERMINATE]
    assert (await handle.describe()).status is WorkflowExecutionStatus.TERMINATED
    assert await counter.desk.submission_state(task) == "closed"
    assert await counter.desk.generation(task) == 1


async def test_a_deaf_workflow_is_told_ever_more_slowly(counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    task, _ = await counter.submit(Placement.MANUAL)
    await counter.desk.store.cancel(ORG, task.id, None, None)
    forget_errands(counter.desk, monkeypatch)
    nudged: list[OutboxKind] = []

    async def counted(submission: Submission, kind: OutboxKind) -> None:
        nudged.append(kind)

    monkeypatch.setattr(counter.desk.store, "nudge", counted)
    for minute in range(1, 31):
        await counter.sweep(minute)
    assert nudged[:2] == [OutboxKind.CANCEL, OutboxKind.TERMINATE], "a cancelled one need not be told first"
    assert len(nudged) == 3


async def test_a_workflow_has_minutes_to_hear_what_it_is_told(counter: Counter) -> None:
    task, handle = await counter.submit(Placement.MANUAL)
    await end_by_hand(counter.desk, task)
    steps: list[OutboxKind] = []
    for minute in range(1, 6):
        await counter.sweep(minute)
        steps += [kind for kind, _ in await counter.send()]
    assert steps == [OutboxKind.SYNC] * 2
    assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING


async def test_an_older_generation_that_runs_is_ended(counter: Counter) -> None:
    task, handle = await counter.submit()
    (submission,) = await counter.desk.store.submissions(states=("open",), after="", limit=9)
    assert await counter.desk.store.resubmit(submission)
    assert await counter.send() == [(OutboxKind.START, 2)]
    steps: list[tuple[OutboxKind, int]] = []
    for minute in range(1, 40):
        await counter.sweep(minute)
        steps += await counter.send()
        older = (await counter.desk.store.find([handle.id]))[handle.id]
        assert older.state == "closed", "it would count as open, and its namespace as busy, for ever"
    assert steps == [(OutboxKind.SYNC, 1), (OutboxKind.CANCEL, 1), (OutboxKind.TERMINATE, 1)]
    assert (await handle.describe()).status is WorkflowExecutionStatus.TERMINATED
    newest = counter.client.get_workflow_handle(task_workflow_id(task.id, 2))
    assert (await newest.describe()).status is WorkflowExecutionStatus.RUNNING
    assert await counter.desk.generation(task) == 2
    assert await counter.desk.submission_state(task) == "open"


async def test_what_is_not_ours_is_left_alone(counter: Counter) -> None:
    queue = store_queue(counter.desk.store.file_uuid)
    task, _ = await counter.submit(really=False)
    name = task_workflow_id(task.id, 1)
    memo = {MEMO_FILE: "another file", MEMO_ID: task.id, MEMO_GENERATION: 1}
    foreign = await counter.client.start_workflow("Nothing", id=name, task_queue=queue, memo=memo)
    bare = await counter.client.start_workflow("Nothing", id=f"mine-{task.id}", task_queue=queue)
    await counter.sweep(minutes=1)
    assert counter.reconciler.unknown == {"default": 0}
    assert await counter.errands() == [(OutboxKind.START, 2)], "ours is missing, whoever has its id"
    for handle in (foreign, bare):
        history = await handle.fetch_history()
        assert {event.event_type for event in history.events} <= UNTOUCHED
        await handle.terminate()


async def test_what_carries_our_mark_and_is_not_known_is_counted(counter: Counter) -> None:
    known, _ = await counter.submit()
    handles = []
    for name in (task_workflow_id(f"gone-{known.id}", 1), task_workflow_id(known.id, 7), f"odd-{known.id}"):
        memo = {MEMO_FILE: counter.desk.store.file_uuid, MEMO_ID: "gone", MEMO_GENERATION: 1}
        queue = store_queue(counter.desk.store.file_uuid)
        handles.append(await counter.client.start_workflow("Nothing", id=name, task_queue=queue, memo=memo))
    await counter.sweep(minutes=1)
    assert counter.reconciler.unknown == {"default": 3}
    assert await counter.errands() == []
    for handle in handles:
        assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
        await handle.terminate()
    await counter.sweep(minutes=2)
    assert counter.reconciler.unknown == {"default": 0}


# ----- groups


async def test_a_group_whose_workflow_is_gone_goes_on_as_the_next_generation(counter: Counter) -> None:
    agreeing, _ = await counter.submit_group()
    missing, _ = await counter.submit_group(really=False)
    terminated, handle = await counter.submit_group()
    await handle.terminate()
    await counter.sweep(minutes=1)
    again = [errand.ref.subject_id for errand in await counter.desk.errands()]
    assert sorted(again) == sorted([missing.id, terminated.id])
    assert await counter.errands() == [(OutboxKind.START, 2)] * 2
    assert await counter.desk.submission_state(agreeing) == "open"
    for group in (missing, terminated):
        assert (await counter.desk.store.get_group(ORG, group.id)).counts == {"pending": 2}, "members stay as they are"


async def test_a_group_that_ended_while_its_workflow_runs_is_cancelled_then_terminated(counter: Counter) -> None:
    group, handle = await counter.submit_group()
    await counter.desk.store.cancel_group(ORG, group.id, "not needed")
    steps = await counter.send()
    for minute in range(1, 40):
        await counter.sweep(minute)
        steps += await counter.send()
    assert [kind for kind, _ in steps] == [OutboxKind.CANCEL, OutboxKind.CANCEL, OutboxKind.TERMINATE]
    assert (await handle.describe()).status is WorkflowExecutionStatus.TERMINATED


async def end_by_hand(desk: Desk, task: Task) -> None:
    claim = await desk.store.claim(ORG, task.id, "an agent", None, None)
    await desk.store.complete(ORG, task.id, '"done"', claim.token, None)


def forget_errands(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if what was queued had been sent, and had not helped."""
    page = desk.store.submissions

    async def submissions(**asked: Any) -> list[Submission]:
        found = await page(**asked)
        return [replace(submission, pending_errands=0) for submission in found]

    monkeypatch.setattr(desk.store, "submissions", submissions)
