"""The plugin in applications of others: mounts, lifespans, middleware, paths, and who may call when nobody says so.

It must not test operations beyond that they are reached.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from durable_tasks import DurableTasks, Settings
from durable_tasks.errors import Closed, ConfigurationError
from durable_tasks.web.plugin import get_tasks
from tests.web.asking import as_caller, authenticate


@pytest.fixture
def tasks(tmp_path: Path) -> DurableTasks:
    return DurableTasks(Settings(db=tmp_path / "tasks.db"))


@asynccontextmanager
async def running(app: Any, **transport: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application whose lifespan runs."""
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app, **transport), base_url="http://host", headers=as_caller()
        ) as client,
    ):
        yield client


async def hello(request: Request) -> Response:
    made = await get_tasks(request).org("acme").create("from the host")
    return PlainTextResponse(made.title)


# ----- hosts


async def test_an_application_that_is_started_again_waits_again(tasks: DurableTasks) -> None:
    app = FastAPI()
    tasks.install(app, authenticate=authenticate)
    for _ in range(2):
        async with running(app) as client:
            made = (await client.post("/tasks/v1/tasks", json={"title": "x", "mode": "manual"})).json()
            waited = await client.get(f"/tasks/v1/tasks/{made['id']}/wait?timeout=0")
            assert (waited.status_code, waited.json()["ended"]) == (200, False)


async def test_a_host_keeps_its_own_lifespan_middleware_and_errors(tasks: DurableTasks) -> None:
    happened = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        happened.append((await get_tasks(app).org("acme").create("at the start")).title)
        yield {"own": "state"}
        happened.append((await get_tasks(app).org("acme").create("at the end")).title)

    app = FastAPI(lifespan=lifespan)
    app.add_api_route("/hello", hello)

    @app.middleware("http")
    async def mark(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        answer = await call_next(request)
        answer.headers["x-host"] = request.url.path
        return answer

    tasks.install(app, authenticate=authenticate)
    async with running(app) as client:
        assert happened == ["at the start"]
        assert (await client.get("/hello")).text == "from the host"
        listed = await client.get("/tasks/v1/tasks")
        assert {task["title"] for task in listed.json()["items"]} == {"at the start", "from the host"}
        assert listed.headers["x-host"] == "/tasks/v1/tasks"
        assert (await client.get("/nothing")).json() == {"detail": "Not Found"}
        assert (await client.get("/tasks/nothing")).json()["code"] == "no_such_path"
        assert "x-request-id" not in (await client.get("/hello")).headers
    assert happened == ["at the start", "at the end"]
    with pytest.raises(Closed):
        _ = tasks.store


async def test_a_starlette_host(tasks: DurableTasks) -> None:
    app = Starlette(routes=[Route("/hello", hello)])
    tasks.install(app, path="/jobs/queue", authenticate=authenticate)
    async with running(app) as client:
        assert (await client.get("/hello")).text == "from the host"
        made = await client.post("/jobs/queue/v1/tasks", json={"title": "x"})
        assert made.headers["location"] == f"/jobs/queue/v1/tasks/{made.json()['id']}"
        assert (await client.get(made.headers["location"])).json() == made.json()
        page = await client.get("/jobs/queue/v1/tasks?limit=1")
        assert page.links["next"]["url"].startswith("/jobs/queue/v1/tasks?limit=1&cursor=")
        document = (await client.get("/jobs/queue/openapi.json")).json()
        assert document["servers"] == [{"url": "/jobs/queue"}]


async def test_behind_a_proxy_that_cuts_off_a_prefix(tasks: DurableTasks) -> None:
    app = FastAPI()
    tasks.install(app, authenticate=authenticate)
    async with running(app, root_path="/proxy") as client:
        made = await client.post("/proxy/tasks/v1/tasks", json={"title": "x"})
        assert made.headers["location"] == f"/proxy/tasks/v1/tasks/{made.json()['id']}"


async def test_behind_a_server_whose_paths_lack_the_prefix(tasks: DurableTasks) -> None:
    async with running(tasks.asgi_app(authenticate=authenticate), root_path="/proxy") as client:
        made = await client.post("/v1/tasks", json={"title": "x"})
        assert made.headers["location"] == f"/proxy/v1/tasks/{made.json()['id']}"


async def test_two_live_in_one_host(tmp_path: Path) -> None:
    app = FastAPI()
    for name in ("one", "two"):
        DurableTasks(Settings(db=tmp_path / f"{name}.db")).install(app, path=f"/{name}", authenticate=authenticate)
    async with running(app) as client:
        await client.post("/one/v1/tasks", json={"title": "x"})
        counts = [len((await client.get(f"/{name}/v1/tasks")).json()["items"]) for name in ("one", "two")]
    assert counts == [1, 0]


async def test_any_other_asgi_application(tasks: DurableTasks) -> None:
    """One that knows nothing but ASGI: it passes a path on, and enters the lifespan itself."""
    api = tasks.asgi_app(authenticate=authenticate)

    async def host(scope: Scope, receive: Receive, send: Send) -> None:
        inner: ASGIApp = PlainTextResponse("the host's")
        if scope["path"].startswith("/tasks/"):
            scope, inner = {**scope, "root_path": scope.get("root_path", "") + "/tasks"}, api
        await inner(scope, receive, send)

    transport = httpx.ASGITransport(host)
    async with (
        tasks.lifespan(),
        httpx.AsyncClient(transport=transport, base_url="http://host", headers=as_caller()) as client,
    ):
        assert (await client.get("/")).text == "the host's"
        assert (await client.post("/tasks/v1/tasks", json={"title": "x"})).status_code == 201


async def test_standing_alone_it_runs_its_own_lifespan(tasks: DurableTasks) -> None:
    async with running(tasks.asgi_app(authenticate=authenticate)) as client:
        assert (await client.get("/readyz")).json()["ready"] is True
    with pytest.raises(Closed):
        _ = tasks.store


async def test_surfaces_run_between_start_and_stop(tasks: DurableTasks) -> None:
    seen = []

    @asynccontextmanager
    async def surface() -> AsyncIterator[None]:
        seen.append(await tasks.org().create("open"))
        yield
        seen.append(await tasks.org().create("close"))

    tasks.surfaces.append(surface)
    async with tasks.lifespan():
        assert len(seen) == 1
    assert len(seen) == 2


# ----- who may call


def test_somebody_must_say_who_may_call(tasks: DurableTasks) -> None:
    with pytest.raises(ConfigurationError, match="nothing says who may call"):
        tasks.asgi_app()
    with pytest.raises(ConfigurationError, match="nothing says who may call"):
        tasks.install(FastAPI())
    assert tasks.surfaces == []


@pytest.mark.parametrize("path", ["tasks", "/tasks/", "/", ""])
def test_a_path_that_cannot_be_mounted(tasks: DurableTasks, path: str) -> None:
    with pytest.raises(ConfigurationError, match="path begins with a slash"):
        tasks.install(FastAPI(), path=path, authenticate=authenticate)


def test_an_application_without_it() -> None:
    with pytest.raises(ConfigurationError, match="no DurableTasks is installed"):
        get_tasks(FastAPI())


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost:8000"}, 200),
        ({"Host": "127.0.0.1"}, 200),
        ({"Host": "[::1]:80", "Origin": "http://localhost:3000"}, 200),
        ({"Host": "evil.example"}, 401),
        ({"Host": "localhost.evil.example"}, 401),
        ({"Host": "localhost", "Origin": "https://evil.example"}, 401),
        ({"Host": "localhost", "Origin": "null"}, 401),
    ],
)
async def test_without_authentication_only_this_machine_is_served(
    tasks: DurableTasks, headers: dict[str, str], status: int
) -> None:
    """A page of another site, in a browser here, must not reach it: neither directly nor by rebinding its name."""
    async with running(tasks.asgi_app(authenticate="none")) as client:
        answer = await client.get("/v1/orgs", headers=headers)
    assert answer.status_code == status
    if status == 200:
        assert answer.json() == {"items": ["default"]}
