"""The Temporal engine whole, on a real server and a real store: latency, restarts, leading, stopping.
It must not know handlers: the desk completes what its bridge has begun.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import Client, WorkflowExecutionStatus

from durable_tasks.activities import refusals
from durable_tasks.contracts import TaskStatus
from durable_tasks.errors import Closed, TemporalUnavailable
from durable_tasks.models import Placement, Task, TaskState
from durable_tasks.settings import Settings
from durable_tasks.temporal.engine import TemporalEngine
from durable_tasks.temporal.server import EmbeddedServer
from tests.temporal.desk import ORG, Desk


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path / "tasks.db")
    await desk.open()
    yield desk
    await desk.store.close()


def engine_of(
    desk: Desk, address: str, *, namespace: str = "default", note_failure: Callable[[str], None] = lambda part: None
) -> TemporalEngine:
    settings = Settings(address=address, namespace=namespace)
    return TemporalEngine(settings, desk.store, desk, desk, desk.store.subscribe, desk.clock, note_failure=note_failure)


@asynccontextmanager
async def running(
    desk: Desk, address: str, *, namespace: str = "default", note_failure: Callable[[str], None] = lambda part: None
) -> AsyncIterator[TemporalEngine]:
    engine = engine_of(desk, address, namespace=namespace, note_failure=note_failure)
    engine.start()
    await engine.lead(True)
    try:
        yield engine
    finally:
        async with asyncio.timeout(15):
            await engine.stop()


async def state(desk: Desk, task: Task) -> TaskState:
    return (await desk.store.get(ORG, task.id)).state


async def temporal_ends(client: Client, task: Task, generation: int = 1) -> WorkflowExecutionStatus | None:
    """How the task's Temporal workflow ended, once it has."""
    handle = client.get_workflow_handle(f"task/{task.id}/{generation}")
    async with asyncio.timeout(20):
        await asyncio.gather(handle.result(), return_exceptions=True)
    return (await handle.describe()).status


async def test_many_tasks_end_alike_on_both_sides(desk: Desk, client: Client, temporal_server: EmbeddedServer) -> None:
    async with running(desk, temporal_server.address) as engine:
        await engine.wait_connected(10)
        assert engine.connected
        tasks = [await desk.add(title=str(number), input=number) for number in range(60)]
        cancelled = await desk.add(Placement.MANUAL)
        by_hand = await desk.add(Placement.MANUAL)
        claim = await desk.store.claim(ORG, by_hand.id, "an agent", None, None)
        await desk.store.complete(ORG, by_hand.id, '"by hand"', claim.token, None)
        await desk.store.cancel(ORG, cancelled.id, "not needed", None)
        for task in [*tasks, by_hand]:
            assert await temporal_ends(client, task) is WorkflowExecutionStatus.COMPLETED
        assert await temporal_ends(client, cancelled) is WorkflowExecutionStatus.CANCELED
        assert await engine.drift() == []
    assert [await state(desk, task) for task in tasks] == [TaskState.COMPLETED] * 60


async def test_a_start_reaches_the_worker_of_this_process_at_once(
    desk: Desk, client: Client, temporal_server: EmbeddedServer
) -> None:
    took = []
    async with running(desk, temporal_server.address) as engine:
        await engine.wait_connected(10)
        for number in range(12):
            started = time.perf_counter()
            task = await desk.add(title=str(number))
            await desk.reaches(lambda task=task: state(desk, task), TaskState.COMPLETED)  # type: ignore[misc]
            took.append(time.perf_counter() - started)
        history = await client.get_workflow_handle(f"task/{task.id}/1").fetch_history()
    started_event = history.events[0].workflow_execution_started_event_attributes
    assert started_event.eager_execution_accepted
    assert sorted(took)[6] < 0.5


@pytest.mark.parametrize("namespace", ["default", "not-made-by-the-server"])
async def test_a_server_that_forgot_everything_gets_it_again(
    tmp_path: Path, temporal_server: EmbeddedServer, namespace: str
) -> None:
    desk = Desk(tmp_path / "tasks.db", namespace=namespace)
    await desk.open()
    server = EmbeddedServer(binary=temporal_server.binary)
    async with server, running(desk, server.address, namespace=namespace) as engine:
        tasks = [await desk.add(Placement.MANUAL, title=str(number)) for number in range(20)]
        await desk.reaches(lambda: submitted(desk, tasks), ["open"] * 20)
        await server.stop()
        await server.start()
        await desk.reaches(lambda: generations(desk, tasks), [2] * 20)
        await desk.reaches(lambda: submitted(desk, tasks), ["open"] * 20)
        embedded = await desk.add()
        await desk.reaches(lambda: state(desk, embedded), TaskState.COMPLETED)
        client = await Client.connect(server.address, namespace=namespace)
        assert await temporal_ends(client, embedded) is WorkflowExecutionStatus.COMPLETED
        assert await engine.drift() == []
    await desk.store.close()


async def submitted(desk: Desk, tasks: list[Task]) -> list[str]:
    return [await desk.submission_state(task) for task in tasks]


async def generations(desk: Desk, tasks: list[Task]) -> list[int]:
    return [await desk.generation(task) for task in tasks]


async def test_a_missing_namespace_is_registered_and_served(tmp_path: Path, temporal_server: EmbeddedServer) -> None:
    namespace = f"made-on-demand-{tmp_path.name}"
    desk = Desk(tmp_path / "tasks.db", namespace=namespace)
    await desk.open()
    async with running(desk, temporal_server.address, namespace=namespace) as engine:
        task = await desk.add()
        await desk.reaches(lambda: state(desk, task), TaskState.COMPLETED)
        assert engine.connected
    await desk.store.close()


async def test_who_does_not_lead_sends_nothing(desk: Desk, temporal_server: EmbeddedServer) -> None:
    async with running(desk, temporal_server.address) as engine:
        await engine.wait_connected(10)
        first = await desk.add()
        await desk.reaches(lambda: state(desk, first), TaskState.COMPLETED)
        await engine.lead(False)
        second = await desk.add()
        assert await desk.submission_state(second) == "outbox"
        await engine.lead(True)
        await desk.reaches(lambda: state(desk, second), TaskState.COMPLETED)


async def test_without_a_server_it_starts_waits_and_stops(desk: Desk) -> None:
    engine = engine_of(desk, "127.0.0.1:1")
    with pytest.raises(Closed):
        await engine.lead(True)
    engine.start()
    await engine.lead(True)
    with pytest.raises(TemporalUnavailable):
        await engine.wait_connected(0.2)
    assert not engine.connected
    async with asyncio.timeout(10):
        await engine.stop()


async def test_it_stops_while_the_server_is_gone(desk: Desk, temporal_server: EmbeddedServer) -> None:
    desk.finish_at_once = False
    server = EmbeddedServer(binary=temporal_server.binary)
    async with server, running(desk, server.address):
        task = await desk.add()
        await desk.reaches(lambda: state(desk, task), TaskState.RUNNING)
        await server.stop()


async def test_two_engines_live_in_one_process(tmp_path: Path, temporal_server: EmbeddedServer) -> None:
    one, other = Desk(tmp_path / "one.db"), Desk(tmp_path / "other.db")
    for desk in (one, other):
        await desk.open()
    async with running(one, temporal_server.address), running(other, temporal_server.address):
        tasks = [(desk, await desk.add()) for desk in (one, other) for _ in range(5)]
        for desk, task in tasks:
            await desk.reaches(lambda desk=desk, task=task: state(desk, task), TaskState.COMPLETED)  # type: ignore[misc]
        assert len(one.begun) == len(other.begun) == 5
    for desk in (one, other):
        await desk.store.close()


async def test_nothing_is_written_to_standard_output(
    desk: Desk, temporal_server: EmbeddedServer, capfd: pytest.CaptureFixture[str]
) -> None:
    server = EmbeddedServer(binary=temporal_server.binary)
    async with server, running(desk, server.address) as engine:
        await engine.wait_connected(20)
        task = await desk.add(Placement.MANUAL)
        await desk.reaches(lambda: desk.submission_state(task), "open")
        await server.stop()
        with pytest.raises(TemporalUnavailable):
            await engine.drift()
        with pytest.raises(TemporalUnavailable):
            await engine.wait_connected(0)
    assert capfd.readouterr().out == ""


async def test_a_question_that_breaks_is_asked_again_after_its_own_pause(
    desk: Desk, client: Client, temporal_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "TRIES", 2)
    monkeypatch.setattr(refusals, "FIRST_REST", 3.0)
    asked: list[float] = []
    answering = asyncio.Event()
    run = desk.run

    async def breaking(*args: Any, **more: Any) -> TaskStatus:
        asked.append(desk.clock.steady())
        if len(asked) < 3:
            raise AssertionError("a fault of ours")
        answering.set()
        return await run(*args, **more)

    monkeypatch.setattr(desk, "run", breaking)
    async with running(desk, temporal_server.address):
        task = await desk.add()
        async with asyncio.timeout(60):
            await answering.wait()
        assert await temporal_ends(client, task) is WorkflowExecutionStatus.COMPLETED
    assert asked[2] - asked[1] >= 2.5
