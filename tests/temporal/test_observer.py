"""The observer: what a claimed attempt of an external worker shows of itself, and that nobody is asked for nothing.
It must not know how attempts begin or end.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from temporalio import activity
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionRequest
from temporalio.client import Client

from durable_tasks.contracts import Execution, Shown
from durable_tasks.models import NewTask, Task, TaskState
from durable_tasks.ports import Listener, Notice, RemoteAttempt
from durable_tasks.temporal.observer import Observer, decode_shown
from durable_tasks.temporal.server import EmbeddedServer
from durable_tasks.testing import ManualClock
from tests.temporal.hands import Act, ScriptedHands
from tests.temporal.test_orgs import eventually, names, serving


def shows(*details: Any) -> Act:
    """Works until it is told to finish, and sends such details with its heartbeats."""

    async def act(hands: ScriptedHands, execution: Execution) -> Any:
        finishing = asyncio.ensure_future(hands.finish.wait())
        while not finishing.done():
            activity.heartbeat(*details)
            await asyncio.wait({finishing}, timeout=0.1)
        return "finished"

    return act


# ----- on a real server


async def test_a_started_attempt_runs_and_shows_how_far_it_is(
    tmp_path: Path, client: Client, temporal_server: EmbeddedServer
) -> None:
    queue = f"work-{uuid.uuid4()}"
    async with serving(tmp_path, temporal_server.address) as tasks:
        org = tasks.org()
        task = await org.create("outside", capability="double", queue=queue, input=1)

        async def stands(*wanted: object) -> bool:
            seen = await org.get(task.id)
            return (seen.state, seen.progress, seen.progress_message)[: len(wanted)] == wanted

        looks = count_looks(tasks.store)
        await eventually(lambda: reached(looks, 2))
        assert await stands(TaskState.CLAIMED), "no worker has it"
        hands = ScriptedHands(shows(Shown(progress=40.0, message="half")))
        async with hands.worker(client, queue):
            await eventually(lambda: stands(TaskState.RUNNING, 40.0, "half"))
            hands.finish.set()
            ended = await org.wait(task.id, timeout=20)
        assert (ended.state, ended.output) == (TaskState.COMPLETED, "finished")


async def test_members_of_a_group_are_observed_in_their_own_namespace(
    tmp_path: Path, temporal_server: EmbeddedServer
) -> None:
    queue, (name,) = f"work-{uuid.uuid4()}", names(1)
    hands = ScriptedHands(shows(Shown(progress=10.0)), shows("words of another make"))
    async with serving(tmp_path, temporal_server.address) as tasks:
        org = tasks.org(name)
        members = [NewTask(title=f"member {number}", capability="double", queue=queue) for number in range(2)]
        group = await org.fan_out("outside", members)

        async def shown() -> bool:
            seen: list[Task] = list((await org.list(workflow_id=group.id)).items)
            return sorted((one.state, one.progress) for one in seen) == [
                (TaskState.RUNNING, 0.0),
                (TaskState.RUNNING, 10.0),
            ]

        looks = count_looks(tasks.store)
        await eventually(lambda: reached(looks, 1))  # its namespace is there by then
        assert tasks.temporal is not None
        async with hands.worker(tasks.temporal.client(name), queue):
            await eventually(shown)
            hands.finish.set()
            assert (await org.wait_workflow(group.id, timeout=20)).state == "completed"


def count_looks(store: Any) -> list[int]:
    """How many attempts each look of the observer found, from now on."""
    found: list[int] = []
    look = store.remote_attempts

    async def remote_attempts(**page: Any) -> list[RemoteAttempt]:
        attempts: list[RemoteAttempt] = await look(**page)
        if attempts:
            found.append(len(attempts))
        return attempts

    store.remote_attempts = remote_attempts
    return found


async def reached(found: list[int], times: int) -> bool:
    return len(found) >= times


@pytest.mark.parametrize("details", [[], ["text"], [{"progress": "many"}], [{"message": "no progress"}], [7]])
async def test_details_that_are_not_ours_say_nothing(client: Client, details: list[Any]) -> None:
    payloads = await client.data_converter.encode(details)
    assert await decode_shown(client.data_converter, payloads) is None


# ----- asking no more than is needed


class Outside:
    """A store's part for the observer, and the namespace that it asks: the calls are counted, none is answered."""

    up = True

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.attempts: list[RemoteAttempt] = []
        self.looks = 0
        self.asked: list[str] = []
        self.name = "acme"
        self.client = self.workflow_service = self
        self._listener: Listener | None = None

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        self._listener = listener
        return lambda: None

    def commit(self, *, begins: bool = False) -> None:
        if begins:
            where = {"org_id": "acme", "namespace": "acme", "workflow_id": "task/one/1", "execution_id": "one/1"}
            attempt = RemoteAttempt(task_id="one", token="token", started=False, moved_at=self.clock.now(), **where)
            self.attempts.append(attempt)
        assert self._listener is not None
        self._listener(Notice(orgs={"acme"}))

    async def remote_attempts(self, *, after: str, limit: int) -> list[RemoteAttempt]:
        self.looks += not after
        return [] if after else self.attempts

    def get(self, name: str) -> "Outside":
        return self

    def describe_workflow_execution(self, request: DescribeWorkflowExecutionRequest) -> str:
        return request.execution.workflow_id

    async def reach(self, call: str) -> None:
        self.asked.append(call)
        raise TimeoutError


@asynccontextmanager
async def observing() -> AsyncIterator[Outside]:
    outside: Any = Outside()
    observer = Observer(store=outside, namespaces=outside, subscribe=outside.subscribe, clock=outside.clock)
    running = asyncio.create_task(observer.run())
    await outside.clock.settle()
    yield outside
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_without_attempts_it_sleeps_until_a_commit() -> None:
    async with observing() as outside:
        for _ in range(20):
            await outside.clock.advance(10)
        assert outside.looks == 1
        outside.commit()
        await outside.clock.advance(2)
        assert outside.looks == 2
        assert outside.asked == []


async def test_many_commits_are_few_looks() -> None:
    async with observing() as outside:
        for _ in range(100):
            outside.commit()
            await outside.clock.advance(0.1)
        assert 4 <= outside.looks <= 6
        assert outside.asked == []


@pytest.mark.parametrize("begins_after", [0.0, 0.5, 1.5, 1.9])
async def test_what_has_just_begun_is_asked_for_by_the_next_look(begins_after: float) -> None:
    async with observing() as outside:
        outside.commit()
        await outside.clock.advance(begins_after)
        outside.commit(begins=True)
        await outside.clock.advance(0.9)
        assert outside.asked == [], "most are over by then"
        for _ in range(4):
            await outside.clock.advance(1)
        assert set(outside.asked) == {"task/one/1"}


async def test_an_attempt_is_asked_for_every_two_seconds() -> None:
    async with observing() as outside:
        outside.commit(begins=True)
        for _ in range(40):
            await outside.clock.advance(0.5)
        assert 9 <= len(outside.asked) <= 11
