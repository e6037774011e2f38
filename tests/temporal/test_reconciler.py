"""The reconciler between a real SQLite store and a real server: every difference, and when it is left alone.
It must not need a relay: what it changes can be read from the store.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio.client import Client, WorkflowHandle

from durable_tasks.clock import SystemClock
from durable_tasks.models import Placement, Task, TaskState
from durable_tasks.ports import OutboxKind, Submission
from durable_tasks.temporal.connection import Connection
from durable_tasks.temporal.reconciler import Drift, Reconciler
from durable_tasks.temporal.relay import start_request
from durable_tasks.temporal.server import EmbeddedServer
from tests.temporal.desk import ORG, Desk


class ShiftedClock(SystemClock):
    """The system's clock, with an offset: a minute can pass at once."""

    offset = 0.0

    def now(self) -> float:
        return super().now() + self.offset


class Counter:
    """A task handed to Temporal by hand, in place of a relay."""

    def __init__(self, desk: Desk, client: Client, reconciler: Reconciler, clock: ShiftedClock) -> None:
        self.desk = desk
        self.client = client
        self.reconciler = reconciler
        self.clock = clock

    async def submit(
        self, placement: Placement = Placement.EMBEDDED, *, really: bool = True
    ) -> tuple[Task, WorkflowHandle[object, object]]:
        task = await self.desk.add(placement)
        (errand,) = await self.desk.store.errands(self.clock.now(), limit=9, starts=9, skip=frozenset())
        run_id = "lost"
        if really:
            request = await start_request(self.client, errand, self.desk.store.file_uuid)
            run_id = (await self.client.workflow_service.start_workflow_execution(request)).run_id
        await self.desk.store.acknowledge(errand, run_id=run_id)
        return task, self.client.get_workflow_handle(errand.workflow_id)

    async def errands(self) -> list[OutboxKind]:
        found = await self.desk.store.errands(self.clock.now(), limit=9, starts=9, skip=frozenset())
        return [errand.kind for errand in found]


@pytest_asyncio.fixture
async def counter(tmp_path: Path, client: Client, temporal_server: EmbeddedServer) -> AsyncIterator[Counter]:
    desk = Desk(tmp_path / "tasks.db")
    await desk.store.open()
    clock = ShiftedClock()
    connection = Connection(address=temporal_server.address, namespace="default", clock=clock)
    connecting = asyncio.create_task(connection.run())
    await connection.up()
    reconciler = Reconciler(store=desk.store, connection=connection, clock=clock)
    yield Counter(desk, client, reconciler, clock)
    connecting.cancel()
    await asyncio.gather(connecting, return_exceptions=True)
    await desk.store.close()


async def test_what_agrees_is_left_alone(counter: Counter) -> None:
    task, _ = await counter.submit()
    counter.clock.offset = 60
    await counter.reconciler.sweep(fresh=True)
    assert await counter.desk.submission_state(task) == "open"
    assert await counter.errands() == []


async def test_a_missing_workflow_is_started_again(counter: Counter) -> None:
    task, _ = await counter.submit(really=False)
    await counter.reconciler.sweep()
    assert await counter.desk.generation(task) == 1, "its row has not settled"
    counter.clock.offset = 60
    await counter.reconciler.sweep()
    assert await counter.desk.generation(task) == 2
    assert await counter.errands() == [OutboxKind.START]


async def test_after_a_reset_a_missing_workflow_is_started_at_once(counter: Counter) -> None:
    task, _ = await counter.submit(really=False)
    await counter.reconciler.sweep(fresh=True)
    assert await counter.desk.generation(task) == 2


async def test_a_workflow_that_was_terminated_is_started_again(counter: Counter) -> None:
    task, handle = await counter.submit()
    await handle.terminate()
    await counter.reconciler.sweep(fresh=True)
    assert await counter.desk.generation(task) == 1, "its row has not settled"
    counter.clock.offset = 60
    await counter.reconciler.sweep()
    assert await counter.desk.generation(task) == 2


async def test_an_errand_on_its_way_is_not_overtaken(counter: Counter) -> None:
    task, handle = await counter.submit(Placement.MANUAL)
    await counter.desk.store.cancel(ORG, task.id, None, None)
    await handle.terminate()
    counter.clock.offset = 60
    await counter.reconciler.sweep()
    assert await counter.desk.submission_state(task) == "open"
    assert await counter.errands() == [OutboxKind.CANCEL]


async def test_what_ended_on_both_sides_is_closed(counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    task, handle = await counter.submit(Placement.MANUAL)
    await counter.desk.store.cancel(ORG, task.id, None, None)
    await handle.terminate()
    forget_errands(counter.desk, monkeypatch)
    counter.clock.offset = 60
    await counter.reconciler.sweep()
    assert await counter.desk.submission_state(task) == "closed"


async def test_drift_names_each_disagreement(counter: Counter) -> None:
    agreeing, _ = await counter.submit()
    terminated, handle = await counter.submit()
    await handle.terminate()
    missing, _ = await counter.submit(really=False)
    assert sorted(await counter.reconciler.drift(), key=lambda one: one.task_id) == [
        Drift(terminated.id, 1, TaskState.PENDING, "TERMINATED"),
        Drift(missing.id, 1, TaskState.PENDING, "MISSING"),
    ]
    assert agreeing.id < terminated.id < missing.id


async def test_an_ended_task_whose_workflow_runs_is_told_again_ever_more_slowly(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, _ = await counter.submit(Placement.MANUAL)
    await counter.desk.store.cancel(ORG, task.id, None, None)
    forget_errands(counter.desk, monkeypatch)
    nudge, nudges = counter.desk.store.nudge, 0

    async def counted(submission: Submission) -> None:
        nonlocal nudges
        nudges += 1
        await nudge(submission)

    monkeypatch.setattr(counter.desk.store, "nudge", counted)
    for minute in range(1, 31):
        counter.clock.offset = 60 * minute
        await counter.reconciler.sweep()
    assert 4 <= nudges <= 7
    assert await counter.errands() == [OutboxKind.CANCEL]


def forget_errands(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if what was queued had been sent, and had not helped."""
    page = desk.store.submissions

    async def submissions(*, states: tuple[str, ...], after: str, limit: int) -> list[Submission]:
        found = await page(states=states, after=after, limit=limit)
        return [replace(submission, pending_errands=0) for submission in found]

    monkeypatch.setattr(desk.store, "submissions", submissions)
