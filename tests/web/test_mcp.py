"""MCP at /mcp of the application: in hosts, behind the same hook, within the same limits, and without its package.

It must not test tools, nor the endpoint by itself: tests/mcp_server does.
"""

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import httpx
import httpx2
import pytest
from fastapi import FastAPI
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from starlette.applications import Starlette
from starlette.types import Message, Scope

from durable_tasks import DurableTasks, Settings
from durable_tasks.access import Principal, Role
from durable_tasks.web.agents import Agents
from durable_tasks.web.server import serving
from durable_tasks.web.waits import Waits
from tests.cli.running import environment
from tests.mcp_server.agents import Agent
from tests.web.asking import as_caller, authenticate, event_of_a_wait

HOST = "http://tasks.example"
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
OTHERS = """
import asyncio, sys, types
sys.modules["mcp"] = {package}
import httpx
from fastapi import FastAPI
from durable_tasks import DurableTasks, Settings

HERE = "http://localhost"

async def main():
    app = FastAPI()
    DurableTasks(Settings(db="tasks.db")).install(app, authenticate="none")
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url=HERE) as to:
        print((await to.post("/tasks/v1/tasks", json={{"title": "x"}})).status_code)
        answer = await to.post("/tasks/mcp", json={{}})
        print(answer.status_code, answer.json()["code"], answer.json()["detail"])

asyncio.run(main())
"""
NOT_YET = """
import sys
from durable_tasks import DurableTasks, Settings
import durable_tasks.web.plugin

DurableTasks(Settings(db="tasks.db")).asgi_app(authenticate="none")
print("mcp" in sys.modules)
"""


@pytest.fixture
def tasks(tmp_path: Path) -> DurableTasks:
    return DurableTasks(Settings(db=tmp_path / "tasks.db"))


@asynccontextmanager
async def running(app: Any, **transport: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """Ann's client of an application whose lifespan runs."""
    headers = {**as_caller(), "Accept": "application/json, text/event-stream"}
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app, **transport), base_url=HOST, headers=headers) as client,
    ):
        yield client


def call(tool: str, **arguments: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}


def python(code: str, cwd: Path) -> list[str]:
    """The lines that a program prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=environment(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


# ----- in hosts


async def test_an_agent_works_beside_the_api_of_an_installed_application(tasks: DurableTasks) -> None:
    app = FastAPI()
    tasks.install(app, authenticate=authenticate)
    for _ in range(2):  # an application may be started again
        async with running(app) as client:
            async with Client(streamable_http_client(f"{HOST}/tasks/mcp", http_client=client)) as connected:
                made = await Agent(connected)("create_task", title="x", mode="manual")
                assert (made["org_id"], made["created_by"]) == ("acme", "ann")
            assert (await client.get(f"/tasks/v1/tasks/{made['id']}")).json()["title"] == "x"


@pytest.mark.parametrize("prefix", ["", "/proxy"])
async def test_a_mount_and_a_proxy_redirect_nothing(tasks: DurableTasks, prefix: str) -> None:
    app = FastAPI()
    tasks.install(app, path="/jobs/queue", authenticate=authenticate)
    async with running(app, root_path=prefix) as client:
        answer = await client.post(f"{prefix}/jobs/queue/mcp", json=PING)
        assert (answer.status_code, answer.json()["result"]) == (200, {})


async def test_before_the_lifespan_it_is_closed(tasks: DurableTasks) -> None:
    transport = httpx2.ASGITransport(tasks.asgi_app(authenticate=authenticate))
    async with httpx2.AsyncClient(transport=transport, base_url=HOST, headers=as_caller()) as client:
        answer = await client.post("/mcp", json=PING)
    assert (answer.status_code, answer.json()["code"]) == (503, "closed")


async def test_there_is_nothing_to_get(tasks: DurableTasks) -> None:
    """A stream that a GET opened would stay empty and open; OPTIONS is told what there is, as everywhere."""
    async with running(tasks.asgi_app(authenticate=authenticate)) as client:
        answer = await client.get("/mcp")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "OPTIONS, POST")


# ----- who may call


async def test_it_asks_the_same_hook(tasks: DurableTasks) -> None:
    async with running(tasks.asgi_app(authenticate=authenticate)) as client:
        refused = await client.post("/mcp", json=PING, headers={"Authorization": "Bearer x", "X-Request-Id": "r-1"})
        assert (refused.status_code, refused.headers["X-Request-Id"]) == (401, "r-1")
        assert refused.json()["error"]["data"] == {"code": "unauthenticated"}
        viewer = await client.post("/mcp", json=call("create_task", title="x"), headers=as_caller(role=Role.VIEWER))
        assert '"forbidden"' in viewer.json()["result"]["content"][0]["text"]
        assert (await client.get("/v1/tasks")).json()["items"] == []


@pytest.mark.parametrize("auth", ["none", "gateway"])
async def test_without_a_proof_only_this_machine_is_served(auth: Literal["none", "gateway"], tmp_path: Path) -> None:
    tasks = DurableTasks(Settings(db=tmp_path / "tasks.db", auth=auth))
    who = {"X-Org-Id": "acme", "X-User-Id": "ann", "X-User-Roles": "admin"}  # a page can write these
    async with running(tasks.asgi_app()) as client:
        for where, status in (
            ({"Host": "127.0.0.1:8000"}, 200),
            ({"Host": "localhost", "Origin": "http://localhost:3000"}, 200),
            ({"Host": "evil.example"}, 401),
            ({"Host": "localhost", "Origin": "https://evil.example"}, 401),
        ):
            for method, path, body in (("POST", "/mcp", PING), ("GET", "/v1/tasks", None)):
                answer = await client.request(method, path, json=body, headers={**who, **where})
                assert answer.status_code == status, (where, path)


async def test_who_proves_who_they_are_may_come_by_any_name(tasks: DurableTasks) -> None:
    async with running(tasks.asgi_app(authenticate=authenticate)) as client:
        for headers in ({"Host": "behind.a.proxy"}, {"Host": "a:1", "Origin": "https://other.example"}):
            assert (await client.post("/mcp", json=PING, headers=headers)).status_code == 200


# ----- limits


async def test_a_request_is_as_large_as_the_setting_says(tmp_path: Path) -> None:
    megabyte = 1024 * 1024
    tasks = DurableTasks(Settings(db=tmp_path / "tasks.db", max_body=6 * megabyte))

    async def unannounced() -> AsyncIterator[bytes]:
        for _ in range(7):
            yield b" " * megabyte

    async with running(tasks.asgi_app(authenticate=authenticate)) as client:
        assert (await client.post("/mcp", json={**PING, "params": {"x": "x" * 5 * megabyte}})).status_code == 200
        json = {"Content-Type": "application/json"}
        for content in (b" " * 7 * megabyte, unannounced()):
            answer = await client.post("/mcp", content=content, headers=json)
            assert (answer.status_code, answer.json()["code"]) == (413, "request_too_large")


async def test_what_waits_is_answered_when_the_server_stops(
    tasks: DurableTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = event_of_a_wait(monkeypatch)
    headers = {"Accept": "application/json, text/event-stream"}
    async with httpx.AsyncClient(timeout=30, headers=headers) as client, asyncio.timeout(30):
        async with serving(tasks, port=0) as url:
            made = (await client.post(f"{url}/v1/tasks", json={"title": "x"})).json()
            asked = call("wait_task", task_id=made["id"], timeout="1m")
            waiting = asyncio.create_task(client.post(f"{url}/mcp", json=asked))
            await looked.wait()
            begun = asyncio.get_running_loop().time()
        answer = await waiting
    assert asyncio.get_running_loop().time() - begun < tasks.settings.shutdown_grace
    assert '"code": "closed"' in answer.json()["result"]["content"][0]["text"]


async def test_a_wait_ends_when_its_caller_hangs_up(tasks: DurableTasks, monkeypatch: pytest.MonkeyPatch) -> None:
    looked, waits = event_of_a_wait(monkeypatch), Waits(most=1)
    agents = Agents(tasks, authenticate, waits)
    tasks.surfaces.append(agents.running)
    app = Starlette(routes=[agents.route], lifespan=tasks.lifespan)
    async with running(app), asyncio.timeout(30):
        task = await tasks.org("acme").create("x")
        left = asyncio.Event()
        said = {"type": "http.request", "body": json.dumps(call("wait_task", task_id=task.id, timeout="1m")).encode()}
        asking = asyncio.create_task(asked(app, [said], left))
        await looked.wait()
        left.set()
        await asking
        async with waits.waiting(Principal(org="acme", subject="ann", roles=frozenset())):
            pass


async def test_who_hangs_up_within_a_request_is_no_error(tasks: DurableTasks, caplog: pytest.LogCaptureFixture) -> None:
    app = tasks.asgi_app(authenticate=authenticate)
    left = asyncio.Event()
    left.set()
    async with running(app), asyncio.timeout(30):
        assert await asked(app, [{"type": "http.request", "body": b'{"jsonrpc"', "more_body": True}], left) == 499
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def asked(app: Any, messages: list[Message], left: asyncio.Event) -> int:
    """The status of what ann asks with these messages; then she hangs up, once she has `left`."""
    statuses = list[int]()

    async def receive() -> Message:
        if messages:
            return messages.pop(0)
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    headers = {**as_caller(), "Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
    scope: Scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": "/mcp", "raw_path": b"/mcp", "root_path": "", "query_string": b"", "server": ("api", 80),
        "headers": [(name.lower().encode(), value.encode()) for name, value in {**headers, "Host": "api"}.items()],
        "client": ("127.0.0.1", 1), "state": {},
    }  # fmt: skip
    scope["headers"].append((b"content-length", b"1000"))
    await app(scope, receive, send)
    return statuses[0]


async def test_an_organisation_that_waits_too_often_is_told_so(tasks: DurableTasks) -> None:
    agents = Agents(tasks, authenticate, Waits(most=0))
    tasks.surfaces.append(agents.running)
    async with running(Starlette(routes=[agents.route], lifespan=tasks.lifespan)) as client:
        task = await tasks.org("acme").create("x")
        refused = (await client.post("/mcp", json=call("wait_task", task_id=task.id))).json()["result"]
        assert "let some end first" in refused["content"][0]["text"]
        assert refused["isError"] is True
        asked = (await client.post("/mcp", json=call("get_task", task_id=task.id))).json()["result"]
        assert asked["structuredContent"]["title"] == "x"


# ----- the package


@pytest.mark.parametrize("package", ["None", "types.ModuleType('mcp')"], ids=["absent", "another release"])
def test_without_the_package_everything_else_is_served(package: str, tmp_path: Path) -> None:
    created, mcp = python(OTHERS.format(package=package), tmp_path)
    assert created == "201"
    assert mcp == ("404 no_such_path MCP is not served here; where the server runs: pip install 'durable-tasks[mcp]'")


def test_it_is_loaded_only_by_who_starts(tmp_path: Path) -> None:
    assert python(NOT_YET, tmp_path) == ["False"]
