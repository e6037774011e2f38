"""Quotas over HTTP and MCP: what would be too much is refused as a whole, says what to do, and concerns nobody else.

It must not test how quotas are counted.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from durable_tasks import DurableTasks, NewTask, Settings
from durable_tasks.access import Role
from durable_tasks.client import Client
from durable_tasks.errors import QuotaExceeded
from durable_tasks.quotas import AGAIN
from durable_tasks.testing import ManualClock
from durable_tasks.web.app import create_app
from tests.web.asking import as_caller, authenticate

OPERATOR = as_caller(role=Role.OPERATOR)
OTHER = as_caller(org="beta")

World = tuple[DurableTasks, ManualClock, httpx.AsyncClient]


@asynccontextmanager
async def serving(folder: Path, **settings: Any) -> AsyncIterator[World]:
    """A clock that stands still, and a client of the API, who is ann of acme."""
    clock = ManualClock()
    tasks = DurableTasks(Settings(db=folder / "tasks.db", worker=False, **settings), clock=clock)
    transport = httpx.ASGITransport(create_app(tasks, authenticate=authenticate))
    async with (
        tasks.lifespan(),
        httpx.AsyncClient(transport=transport, base_url="http://api", headers=as_caller()) as client,
    ):
        yield tasks, clock, client


async def post(client: httpx.AsyncClient, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    answer = await client.post(path, json=body or {}, headers=headers)
    return answer.status_code, answer.json()


async def create(client: httpx.AsyncClient, **headers: str) -> tuple[int, Any]:
    return await post(client, "/v1/tasks", {"title": "x"}, **headers)


async def refused(client: httpx.AsyncClient, path: str, body: Any = None, **headers: str) -> dict[str, Any]:
    status, said = await post(client, path, body, **headers)
    assert (status, said["code"]) == (429, "quota_exceeded"), said
    facts: dict[str, Any] = said["facts"]
    return facts


async def is_full(tasks: DurableTasks, org_id: str, most: int) -> bool:
    return await tasks.store.count_open(org_id, most + 1) == most


def members(count: int) -> list[dict[str, Any]]:
    return [{"title": f"part {number}"} for number in range(count)]


# ----- open tasks


async def test_one_task_too_many_is_refused_with_what_to_do_and_stored_nowhere(tmp_path: Path) -> None:
    async with serving(tmp_path, org_open_tasks=2) as (tasks, _, client):
        assert [(await create(client))[0] for _ in range(2)] == [201, 201]
        answer = await client.post("/v1/tasks", json={"title": "x"})
        said = answer.json()
        assert (answer.status_code, said["code"], answer.headers["Retry-After"]) == (429, "quota_exceeded", "1")
        assert said["facts"] == {
            "quota": "org_open_tasks", "limit": 2, "used": 2, "wanted": 1, "retry_after": AGAIN
        }  # fmt: skip
        for part in ("'acme'", "2 of at most 2 open tasks", "no room for 1 more", "cancel some", "org_open_tasks"):
            assert part in said["detail"]
        assert await is_full(tasks, "acme", 2)
        assert (await create(client, **OTHER))[0] == 201, "another organisation has its own"


async def test_what_ends_gives_room_back(tmp_path: Path) -> None:
    async with serving(tmp_path, org_open_tasks=2) as (_, clock, client):
        made = [(await create(client))[1]["id"] for _ in range(2)]
        await refused(client, "/v1/tasks", {"title": "x"})
        assert (await post(client, f"/v1/tasks/{made[0]}/cancel"))[0] == 200
        await clock.advance(AGAIN)
        assert (await create(client))[0] == 201
        await refused(client, "/v1/tasks", {"title": "x"})


async def test_who_is_full_can_still_work(tmp_path: Path) -> None:
    async with serving(tmp_path, org_open_tasks=1) as (_, _, client):
        await create(client)
        await refused(client, "/v1/tasks", {"title": "x"})
        _, claimed = await post(client, "/v1/tasks/next", {"agent_id": "ann"})
        path = f"/v1/tasks/{claimed['task']['id']}"
        assert (await post(client, f"{path}/complete", {"token": claimed["token"]}))[0] == 200
        assert (await client.get(path)).json()["state"] == "completed"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/tasks/bulk", {"tasks": members(3)}),
        ("/v1/tasks/bulk", {"tasks": [*members(2), {"title": "keyed", "idempotency_key": "k"}]}),
        ("/v1/workflows", {"kind": "fan_out", "name": "many", "tasks": members(3)}),
        ("/v1/workflows", {"kind": "dag", "name": "many", "tasks": members(3), "idempotency_key": "k"}),
        ("/api/tasks/workflows", {"name": "many", "tasks": members(3)}),
    ],
)
async def test_many_at_once_are_refused_as_a_whole(tmp_path: Path, path: str, body: dict[str, Any]) -> None:
    async with serving(tmp_path, org_open_tasks=3) as (tasks, _, client):
        await create(client)
        status, said = await post(client, path, body)
        assert status == 429, said
        assert "1 of at most 3 open tasks, which leaves no room for 3 more" in str(said)
        assert await tasks.store.count_open("acme", 9) == 1
        assert (await tasks.org("acme").list_workflows()).items == []
        assert [(await create(client))[0] for _ in range(2)] == [201, 201], "what it did not take is left to others"


async def test_members_that_are_added_count(tmp_path: Path) -> None:
    async with serving(tmp_path, org_open_tasks=3) as (tasks, _, client):
        _, workflow = await post(client, "/v1/workflows", {"kind": "fan_out", "name": "many", "tasks": members(2)})
        path = f"/v1/workflows/{workflow['id']}/tasks"
        await refused(client, path, {"tasks": members(2)})
        await refused(client, path, {"tasks": members(2), "command_id": "once"})
        assert (await post(client, path, {"tasks": members(1), "command_id": "once"}))[0] == 201
        assert (await post(client, path, {"tasks": members(1), "command_id": "once"}))[0] == 201
        assert await is_full(tasks, "acme", 3)


async def test_a_repeated_call_gets_its_first_answer_however_full_it_is(tmp_path: Path) -> None:
    async with serving(tmp_path, org_open_tasks=1) as (_, _, client):
        key = {"Idempotency-Key": "k"}
        _, made = await create(client, **key)
        assert await create(client, **key) == (201, made)
        await refused(client, "/v1/tasks", {"title": "x"}, **{"Idempotency-Key": "other"})


async def test_what_is_run_again_needs_room_too(tmp_path: Path) -> None:
    async with serving(tmp_path, org_open_tasks=2) as (tasks, clock, client):
        _, single = await create(client)
        await post(client, f"/v1/tasks/{single['id']}/cancel")
        await clock.advance(AGAIN)
        _, workflow = await post(client, "/v1/workflows", {"kind": "fan_out", "name": "many", "tasks": members(2)})
        await post(client, f"/v1/workflows/{workflow['id']}/cancel")
        await clock.advance(AGAIN)
        _, kept = await create(client)
        await refused(client, f"/v1/workflows/{workflow['id']}/retry")
        many = {"ids": [single["id"]], "state": ["cancelled"]}
        assert (await post(client, "/v1/tasks/retry", many, **OPERATOR))[1]["changed"] == 1
        await refused(client, "/v1/tasks/retry", {"state": ["cancelled"]}, **OPERATOR)
        await post(client, f"/v1/tasks/{single['id']}/cancel")
        await clock.advance(AGAIN)
        assert (await create(client))[0] == 201
        await refused(client, f"/v1/tasks/{single['id']}/retry")
        assert (await post(client, "/v1/tasks/task_none/retry"))[0] == 404, "what cannot be done says that first"
        assert await is_full(tasks, "acme", 2)
        await post(client, f"/v1/tasks/{kept['id']}/cancel")
        await clock.advance(AGAIN)
        assert (await post(client, f"/v1/tasks/{single['id']}/retry"))[0] == 200


async def test_old_clients_are_told_as_well(tmp_path: Path) -> None:
    async with serving(tmp_path, org_open_tasks=1) as (_, _, client):
        assert (await post(client, "/api/tasks", {"title": "x"}))[0] == 201
        answer = await client.post("/api/tasks", json={"title": "x"})
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
        assert "1 of at most 1 open tasks" in answer.json()["error"]


async def test_agents_are_told_as_well(tmp_path: Path) -> None:
    async with serving(tmp_path, org_open_tasks=1, task_comments=1) as (tasks, _, client):
        called = await call(client, "create_task", title="x")
        await call(client, "comment_task", task_id=called["id"], text="one")
        for tool, arguments in (
            ("create_task", {"title": "x"}),
            ("create_tasks", {"tasks": members(1)}),
            ("create_workflow", {"kind": "dag", "name": "many", "tasks": members(1)}),
            ("comment_task", {"task_id": called["id"], "text": "two"}),
        ):
            said = await call(client, tool, **arguments)
            assert (said["code"], said["facts"]["limit"]) == ("quota_exceeded", 1), tool
            assert "do what the message says" in said["next_step"]
        assert await is_full(tasks, "acme", 1)


async def call(client: httpx.AsyncClient, tool: str, **arguments: Any) -> Any:
    """What a tool answers, or why it did not."""
    asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    headers = {"Accept": "application/json, text/event-stream", "Host": "localhost"}
    answer = await client.post("/mcp", json=asked, headers=headers)
    return json.loads(answer.json()["result"]["content"][0]["text"])


async def test_who_is_full_and_asks_again_at_once_is_refused_late(tmp_path: Path) -> None:
    async with serving(tmp_path, org_open_tasks=1) as (_, clock, client):
        await create(client)
        assert [(await create(client))[0] for _ in range(40)] == [429] * 40
        late = asyncio.ensure_future(create(client))
        assert (await client.get("/v1/tasks")).status_code == 200, "all else is answered meanwhile"
        assert (await create(client, **OTHER))[0] == 201
        assert not late.done()
        async with asyncio.timeout(30):
            while not late.done():
                await clock.advance(0.5)
        assert (await late)[0] == 429


# ----- comments


async def test_a_task_has_so_many_comments(tmp_path: Path) -> None:
    async with serving(tmp_path, task_comments=2) as (tasks, _, client):
        made = [(await create(client))[1]["id"] for _ in range(2)]
        path = f"/v1/tasks/{made[0]}/comments"
        _, first = await post(client, path, {"text": "one", "command_id": "c"})
        assert (await post(client, path, {"text": "two"}))[0] == 201
        answer = await client.post(path, json={"text": "three"})
        assert answer.json()["facts"] == {
            "quota": "task_comments", "limit": 2, "used": 2, "wanted": 1, "retry_after": None
        }  # fmt: skip
        assert answer.status_code == 429
        assert "Retry-After" not in answer.headers, "time makes no room"
        assert made[0] in answer.json()["detail"]
        assert await post(client, path, {"text": "one", "command_id": "c"}) == (201, first)
        assert (await post(client, f"/v1/tasks/{made[1]}/comments", {"text": "one"}))[0] == 201
        assert (await post(client, "/v1/tasks/task_none/comments", {"text": "one"}))[0] == 404
        assert await tasks.store.count_comments("acme", made[0]) == 2


# ----- whom quotas hold


async def test_without_limits_there_are_no_quotas(tmp_path: Path) -> None:
    async with serving(tmp_path, limits=False, org_open_tasks=1, task_comments=1) as (_, _, client):
        _, made = await create(client)
        assert (await create(client))[0] == 201
        path = f"/v1/tasks/{made['id']}/comments"
        assert [(await post(client, path, {"text": "x"}))[0] for _ in range(2)] == [201, 201]


async def test_of_nought_there_is_no_quota(tmp_path: Path) -> None:
    async with serving(tmp_path, org_open_tasks=0, task_comments=1) as (_, _, client):
        _, made = await create(client)
        assert (await create(client))[0] == 201
        path = f"/v1/tasks/{made['id']}/comments"
        assert [(await post(client, path, {"text": "x"}))[0] for _ in range(2)] == [201, 429]


async def test_the_application_itself_is_counted_and_never_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, org_open_tasks=2) as (tasks, _, client):
        org = tasks.org("acme")
        await org.create_many([NewTask(title="x")] * 3)
        await org.by("ann").create("x")
        assert (await refused(client, "/v1/tasks", {"title": "x"}))["used"] == 2, "it is counted as far as it matters"
        with pytest.raises(QuotaExceeded):
            await org.by("ann", limited=True).create("x")


async def test_where_everybody_is_the_same_nobody_is_held_to_one(tmp_path: Path) -> None:
    tasks = DurableTasks(Settings(db=tmp_path / "tasks.db", worker=False, org_open_tasks=1))
    transport = httpx.ASGITransport(create_app(tasks, authenticate="none"))
    async with tasks.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert [(await create(client))[0] for _ in range(2)] == [201, 201]


async def test_processes_on_one_file_agree(tmp_path: Path) -> None:
    async with (
        serving(tmp_path, org_open_tasks=4) as (_, clock, one),
        serving(tmp_path, org_open_tasks=4) as (
            _,
            other_clock,
            other,
        ),
    ):
        for number in range(4):
            assert (await create((one, other)[number % 2]))[0] == 201
        for client in (one, other):
            await refused(client, "/v1/tasks", {"title": "x"})
        _, claimed = await post(one, "/v1/tasks/next", {"agent_id": "ann"})
        await post(one, f"/v1/tasks/{claimed['task']['id']}/complete", {"token": claimed["token"]})
        for each in (clock, other_clock):
            await each.advance(AGAIN)
        assert (await create(other))[0] == 201, "one process makes room for the other"
        await refused(one, "/v1/tasks", {"title": "x"})


# ----- what is told


async def test_the_client_comes_back_only_for_room_that_may_come(tmp_path: Path) -> None:
    async with (
        serving(tmp_path, org_open_tasks=1, task_comments=1) as (_, clock, http),
        Client("http://api", http=http, clock=clock, patience=0.5) as client,
    ):
        made = await client.create("x")
        await client.comment(made.id, "one", command_id="a")
        with pytest.raises(QuotaExceeded) as tasks_full:
            await client.create("y")
        with pytest.raises(QuotaExceeded) as comments_full:
            await client.comment(made.id, "two", command_id="b")
    assert (tasks_full.value.quota, tasks_full.value.retry_after) == ("org_open_tasks", AGAIN)
    assert (comments_full.value.quota, comments_full.value.retry_after) == ("task_comments", None)


async def test_the_doctor_says_when_it_is_nearly_full(tmp_path: Path) -> None:
    async with serving(tmp_path, org_open_tasks=5) as (_, _, client):
        warned = []
        for _ in range(4):
            await create(client)
            found = (await client.get("/v1/doctor", headers=OPERATOR)).json()["warnings"]
            warned.append([one for one in found if "org_open_tasks" in one])
    assert warned == [[], [], [], ["there are 4 open tasks, and at 5 callers may make no more (org_open_tasks)"]]
