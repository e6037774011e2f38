"""An organisation's day over HTTP: byte for byte the same, whether it is alone on the file or another works beside it.

It must not know where something could show: ids and times are made by the test, so that any difference is the other's.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from durable_tasks import DurableTasks, NewTask, Org, Settings
from durable_tasks.access import Role
from durable_tasks.models import Priority
from durable_tasks.testing import ManualClock
from durable_tasks.web.app import create_app
from durable_tasks.web.live import KEEPALIVE, RETRY
from tests.foreign import foreign
from tests.web.asking import as_caller, authenticate
from tests.web.listening import DEADLINE, Tap, spin_until

ALL = "/v1/events/stream"


class Counted:
    """Implements ports.Ids: the same ids in every run; those of two differ by their first letter."""

    def __init__(self, first: str) -> None:
        self._first = first
        self._tasks = self._tokens = 0

    def task(self) -> str:
        self._tasks += 1
        return f"{self._first}0000000-0000-7000-8000-{self._tasks:012x}"

    def token(self) -> str:
        self._tokens += 1
        return f"{self._first}{self._tokens:023x}"


class Rival:
    """Another organisation, which works in a process of its own on the same file."""

    def __init__(self, org: Org) -> None:
        self._org = org

    async def work(self) -> None:
        """Something of everything."""
        org = self._org
        await org.create_many([NewTask(title="secret", priority=Priority.URGENT) for _ in range(3)])
        claim = await org.next(agent_id="ann")
        assert claim is not None
        await org.progress(claim.task.id, 50, token=claim.token, message="secret")
        await org.complete(claim.task.id, "secret", token=claim.token)
        failed = await org.claim((await org.create("secret", max_retries=1)).id, agent_id="bob")
        await org.fail(failed.task.id, "secret", token=failed.token)
        workflow = await org.fan_out("secret", [NewTask(name="one"), NewTask(name="two")], max_parallel=1)
        await org.cancel_workflow(workflow.id)


async def tasks_of_a_day(client: httpx.AsyncClient) -> AsyncIterator[httpx.Response]:
    """What acme asks about tasks, one after the other."""
    made = await client.post("/v1/tasks", json={"title": "first", "labels": ["x"]}, headers={"Idempotency-Key": "k"})
    yield made
    path = made.headers["Location"]
    yield await client.post("/v1/tasks", json={"title": "first", "labels": ["x"]}, headers={"Idempotency-Key": "k"})
    yield await client.post("/v1/tasks", json={"title": "other"}, headers={"Idempotency-Key": "k"})
    yield await client.post("/v1/tasks/bulk", json={"tasks": [{"name": name} for name in ("a", "b", "c")]})
    page = await client.get("/v1/tasks", params={"limit": 2})
    yield page
    yield await client.get(page.links["next"]["url"])
    yield await client.patch(path, json={"title": "edited"}, headers={"If-Match": made.headers["ETag"]})
    yield await client.patch(path, json={"title": "again"}, headers={"If-Match": made.headers["ETag"]})
    claimed = await client.post("/v1/tasks/next", json={"lease": None}, headers={"Idempotency-Key": "c"})
    yield claimed
    yield await client.get("/v1/tasks", params={"labels": "x", "state": "claimed"})
    held, body = f"/v1/tasks/{claimed.json()['task']['id']}", {"token": claimed.json()["token"]}
    yield await client.post(f"{held}/start", json=body)
    yield await client.post(f"{held}/claim")
    yield await client.post(f"{held}/heartbeat", json=body)
    yield await client.post(f"{held}/progress", json={**body, "percent": 40})
    yield await client.post(f"{held}/complete", json={"token": "wrong"})
    yield await client.post(f"{held}/complete", json={**body, "output": 1})
    yield await client.get(f"{held}/wait", params={"timeout": 0})
    yield await client.get(f"{held}/attempts")
    yield await client.post("/v1/tasks/next", json={"space_id": "empty"})
    yield await client.get("/v1/events", params={"after": 2, "limit": 3})
    yield await client.get("/v1/events", params={"after": 1000})
    yield await client.get("/v1/tasks/nothing")


async def workflows_of_a_day(client: httpx.AsyncClient) -> AsyncIterator[httpx.Response]:
    """And about workflows."""
    steps = [{"name": "one"}, {"name": "two"}]
    for kind in ("pipeline", "dag"):
        made = await client.post("/v1/workflows", json={"kind": kind, "name": kind, "tasks": steps})
        yield made
    path = made.headers["Location"]
    page = await client.get("/v1/workflows", params={"limit": 1})
    yield page
    yield await client.get(page.links["next"]["url"])
    yield await client.post(f"{path}/tasks", json={"tasks": [{"name": "three", "depends_on": ["one"]}]})
    yield await client.get(path)
    yield await client.get(f"{path}/graph", params={"format": "mermaid"})
    yield await client.get(f"{path}/wait", params={"timeout": 0})
    yield await client.post(f"{path}/cancel")
    yield await client.post(f"{path}/retry")
    yield await client.get("/v1/events", params={"workflow_id": path.rpartition("/")[2]})


async def the_rest_of_a_day(client: httpx.AsyncClient) -> AsyncIterator[httpx.Response]:
    """Classic routes, and what belongs to nobody."""
    made = await client.post("/api/tasks", json={"title": "classic", "queue": "desk"})
    yield made
    yield await client.post("/api/tasks/next", json={"queue": "desk", "agent_id": "bob"})
    for verb in ("start", "complete"):
        yield await client.post(f"/api/tasks/{made.json()['id']}/{verb}", json={})
    yield await client.get("/api/tasks", params={"limit": 3, "offset": 1})
    yield await client.post("/api/tasks/workflows", json={"name": "flow", "steps": [{"name": "one"}]})
    yield await client.get("/api/tasks/workflows")
    for path in ("/v1/orgs", "/v1/doctor", "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/v1/nothing"):
        yield await client.get(path)
    yield await client.get("/v1/temporal/workflow", params={"workflow_id": "report"})
    yield await client.head("/v1/tasks")
    yield await client.delete("/v1/tasks")


async def a_day(folder: Path, *, alone: bool) -> list[str]:
    """Everything that acme is answered, and its live events with the silence after them."""
    clock = ManualClock()
    settings: dict[str, Any] = {"db": folder / "tasks.db", "org": "hosts"}
    tasks = DurableTasks(Settings(**settings), clock=clock, ids=Counted("a"))
    app = create_app(tasks, authenticate=authenticate)
    headers = {**as_caller(role=Role.ADMIN), "X-Request-Id": "the-same"}
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(tasks.lifespan())
        rival = None
        if not alone:
            beside = DurableTasks(Settings(**settings, worker=False), clock=clock, ids=Counted("f"))
            rival = Rival((await stack.enter_async_context(beside)).org("rival"))
            await rival.work()
        transport = httpx.ASGITransport(app)
        client = await stack.enter_async_context(
            httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers)
        )
        live, late = Tap(), Tap()
        listening = [asyncio.create_task(live.get(app, ALL))]
        await spin_until(lambda: bool(live.heard))
        said = []
        for part in (tasks_of_a_day, workflows_of_a_day, the_rest_of_a_day):
            async for answer in part(client):
                said.append(whole(answer))
                if rival is not None:
                    await rival.work()
        said.append(await up_to_silence(live, tasks, clock))
        listening.append(asyncio.create_task(late.get(app, ALL, b"after=0")))  # not before: it has its own silence
        said.append(await up_to_silence(late, tasks, clock))
        for task in listening:
            task.cancel()
    return said


def whole(answer: httpx.Response) -> str:
    lines = [f"{answer.request.method} {answer.request.url}", str(answer.status_code)]
    return "\n".join([*lines, *(f"{name}: {value}" for name, value in sorted(answer.headers.items())), answer.text])


async def up_to_silence(stream: Tap, tasks: DurableTasks, clock: ManualClock) -> str:
    """What a stream says up to acme's newest event, and when nothing happens then."""
    newest = b"id: %d\n" % await tasks.store.last_seq("acme")
    await spin_until(lambda: newest in stream.heard)
    await clock.advance(KEEPALIVE)
    await spin_until(lambda: stream.heard.endswith(b": still here\n\n"))
    return stream.heard.decode()


@pytest.mark.timeout(300)
async def test_nothing_shows_that_somebody_else_is_there(tmp_path: Path) -> None:
    for name in ("alone", "beside"):
        (tmp_path / name).mkdir()
    alone = await a_day(tmp_path / "alone", alone=True)
    beside = await a_day(tmp_path / "beside", alone=False)
    for one, other in zip(alone, beside, strict=True):
        assert one == other
    assert "secret" not in "".join(beside)
    statuses = {text.split("\n", 2)[1] for text in alone}
    assert {"200", "201", "204", "403", "404", "405", "409", "412", "503"} <= statuses


async def test_a_number_of_anothers_events_is_like_any_that_is_not_there_yet(tmp_path: Path) -> None:
    tasks = DurableTasks(Settings(db=tmp_path / "tasks.db"))
    app = create_app(tasks, authenticate=authenticate)
    async with tasks.lifespan(), asyncio.timeout(DEADLINE):
        await tasks.org("acme").create("before")
        their_number = (await foreign(tasks)).event
        streams = {Tap(): str(number) for number in (their_number, their_number + 1, 10**6, 10**30)}
        asked = [asyncio.create_task(tap.get(app, ALL, last_event_id=number)) for tap, number in streams.items()]
        by_query = Tap()
        asked.append(asyncio.create_task(by_query.get(app, ALL, b"after=%d" % their_number)))
        taps = [*streams, by_query]
        await spin_until(lambda: all(tap.heard for tap in taps))
        assert {tap.heard for tap in taps} == {b"retry: %d\nid: 1\n\n" % RETRY}
        await Rival(tasks.org("rival")).work()
        await tasks.org("acme").create("after")
        await spin_until(lambda: all(b"\nevent: " in tap.heard for tap in taps))
        (told,) = {tap.heard for tap in taps}
        assert re.findall(rb"^id: (\d+)$", told, re.MULTILINE) == [b"1", b"2"]
        assert b"secret" not in told
        for task in asked:
            task.cancel()
