"""Streamable HTTP on a real server: who may come in, from where, and that it starts and ends with its host.

It must not test the tools.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Route

from durable_tasks import DurableTasks
from durable_tasks.access import Asking, Principal, Role
from durable_tasks.errors import Closed, ConfigurationError, Forbidden
from durable_tasks.mcp_server.http import HttpEndpoint
from durable_tasks.web.mcp import mcp_app
from tests.mcp_server.agents import ANN, Agent, http_client, principal, served

TOKENS = {"of-ann": ANN, "of-a-viewer": principal(Role.VIEWER, subject="vic")}
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


@asynccontextmanager
async def wire(tasks: DurableTasks, **options: Any) -> AsyncIterator[tuple[httpx2.AsyncClient, str]]:
    headers = {"Authorization": "Bearer of-ann", "Accept": "application/json, text/event-stream"}
    async with served(tasks, TOKENS, **options) as url, httpx2.AsyncClient(headers=headers) as client:
        yield client, url


async def test_each_is_whoever_the_token_says(tasks: DurableTasks) -> None:
    async with served(tasks, TOKENS) as url:
        async with http_client(url, "of-ann") as client:
            assert (await Agent(client)("create_task", title="x"))["created_by"] == "ann"
        async with http_client(url, "of-a-viewer") as client:
            assert "create_task" not in await Agent(client).tools()
            assert (await Agent(client).refused("create_task", title="x"))["code"] == "forbidden"


@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Basic of-ann", ""])
async def test_who_does_not_prove_it_is_kept_out(tasks: DurableTasks, authorization: str | None) -> None:
    async with wire(tasks) as (client, url):
        headers = {} if authorization is None else {"Authorization": authorization}
        if authorization is None:
            del client.headers["Authorization"]
        answer = await client.post(url, json=PING, headers=headers)
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert answer.json()["error"]["data"] == {"code": "unauthenticated"}
        with pytest.raises(ExceptionGroup) as caught:
            async with http_client(url, "wrong"):
                pass
        assert "give a token" in repr(caught.value)


async def test_a_request_needs_no_session_and_is_answered_in_json(tasks: DurableTasks) -> None:
    async with wire(tasks) as (client, url):
        answer = await client.post(url, json=PING)
        assert (answer.status_code, answer.json()["result"]) == (200, {})
        assert answer.headers["content-type"] == "application/json"
        assert "mcp-session-id" not in answer.headers
        body = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "list_orgs"}}
        assert (await client.post(url, json=body)).json()["result"]["structuredContent"] == {"items": ["default"]}
        assert (await client.post(url, content=b"{no json")).status_code == 400
        assert (await client.post(url, content=b"x" * (5 << 20))).status_code == 413


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "OPTIONS"])
async def test_only_posts_are_answered(tasks: DurableTasks, method: str) -> None:
    """An endless stream that a GET opened would also keep the server from ending."""
    async with wire(tasks) as (client, url), asyncio.timeout(10):
        answer = await client.request(method, url, headers={"Accept": "text/event-stream"})
        assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example"}, 421),
        ({"Host": "localhost"}, 200),
        ({"Host": "localhost:1234"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:3000"}, 200),
    ],
)
async def test_a_web_page_that_rebinds_its_name_is_refused(
    tasks: DurableTasks, headers: dict[str, str], status: int
) -> None:
    async with wire(tasks) as (client, url):
        assert (await client.post(url, json=PING, headers=headers)).status_code == status


async def test_the_names_are_an_argument(tasks: DurableTasks) -> None:
    async with wire(tasks, hosts=["tasks.example", "other.example:8443"]) as (client, url):
        for host, status in (
            ("tasks.example", 200),
            ("tasks.example:1", 200),
            ("other.example:8443", 200),
            ("other.example", 421),
            ("localhost", 421),
        ):
            assert (await client.post(url, json=PING, headers={"Host": host})).status_code == status
        page = {"Host": "tasks.example", "Origin": "https://tasks.example"}
        assert (await client.post(url, json=PING, headers=page)).status_code == 200


async def test_any_name_is_an_argument_too(tasks: DurableTasks) -> None:
    async with wire(tasks, hosts=None) as (client, url):
        page = {"Host": "tasks.example", "Origin": "https://other.example"}
        assert (await client.post(url, json=PING, headers=page)).status_code == 200
    with pytest.raises(ConfigurationError, match="origins are looked at only with hosts"):
        HttpEndpoint(tasks, hosts=None, origins=["https://other.example"])


async def test_it_starts_and_ends_with_its_host_as_often_as_that(tasks: DurableTasks) -> None:
    async def authenticate(request: Asking) -> Principal:
        return ANN

    app, lifespan = mcp_app(tasks, authenticate)
    transport = httpx2.ASGITransport(app=Starlette(routes=[Route("/mcp", app)]))
    headers = {"Accept": "application/json, text/event-stream"}
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
        for _ in range(2):
            async with lifespan():
                assert (await client.post("/mcp", json=PING)).status_code == 200
            with pytest.raises(Closed):
                await client.post("/mcp", json=PING)


async def test_another_task_may_end_it_than_the_one_that_started_it(tasks: DurableTasks) -> None:
    """As the fixtures of test suites do, and servers that start and stop in tasks of their own."""

    async def authenticate(request: Asking) -> Principal:
        return ANN

    _, lifespan = mcp_app(tasks, authenticate)
    entered = AsyncExitStack()
    await asyncio.create_task(entered.enter_async_context(lifespan()))
    await asyncio.create_task(entered.aclose())


async def test_who_is_known_and_may_not_is_told_so(tasks: DurableTasks) -> None:
    async def authenticate(request: Asking) -> Principal:
        raise Forbidden("not in this organisation")

    app, lifespan = mcp_app(tasks, authenticate)
    async with (
        lifespan(),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://localhost") as client,
    ):
        answer = await client.post("/mcp", json=PING)
        assert (answer.status_code, answer.json()["error"]["data"]) == (403, {"code": "forbidden"})


async def test_a_wait_does_not_hold_up_the_end_of_the_endpoint(
    tasks: DurableTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = asyncio.Event()
    waiting = tasks.waiters.waiting

    def noticed(key: str) -> AbstractContextManager[asyncio.Event]:
        waits.set()
        return waiting(key)

    monkeypatch.setattr(tasks.waiters, "waiting", noticed)

    async def authenticate(request: Asking) -> Principal:
        return ANN

    task = await tasks.org().create("x")
    app, lifespan = mcp_app(tasks, authenticate)
    params = {"name": "wait_task", "arguments": {"task_id": task.id, "timeout": 60}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    headers = {"Accept": "application/json, text/event-stream"}
    async with (
        asyncio.timeout(20),
        httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=app), base_url="http://localhost", headers=headers
        ) as client,
    ):
        async with lifespan():
            asking = asyncio.create_task(client.post("/mcp", json=body))
            await waits.wait()
        await asyncio.wait({asking})


async def test_it_is_a_route_of_a_fastapi_application(tasks: DurableTasks) -> None:
    async def authenticate(request: Asking) -> Principal:
        return ANN

    endpoint, lifespan = mcp_app(tasks, authenticate)
    app = FastAPI(lifespan=lambda _: lifespan())
    app.router.routes.append(Route("/mcp", endpoint))
    headers = {"Accept": "application/json, text/event-stream"}
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=app), base_url="http://localhost", headers=headers
        ) as client,
    ):
        assert (await client.post("/mcp", json=PING)).status_code == 200
