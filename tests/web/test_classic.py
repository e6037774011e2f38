"""The classic routes: each route with each of its outcomes, and whole lives of tasks as old clients lead them.

It must not know the operations behind.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from durable_tasks import DurableTasks, Org, Task
from durable_tasks.access import Role
from durable_tasks.temporal.server import EmbeddedServer
from durable_tasks.web.classic import FROM, ROUTES
from durable_tasks.web.classic_bodies import CLASSIC_STATES
from tests.test_docs import table
from tests.web.asking import api, as_caller

pytestmark = pytest.mark.asyncio(loop_scope="module")

BASE = "/api/tasks"
NOBODY = "00000000-0000-7000-8000-000000000000"
HOUR = 3_600_000_000_000
"""In nanoseconds, as the older system wrote durations."""


@asynccontextmanager
async def opened(path: Path, **settings: Any) -> AsyncIterator[tuple[DurableTasks, httpx.AsyncClient]]:
    async with api(path, org="acme", **settings) as (tasks, client):
        client.headers.update(as_caller(role=Role.ADMIN))
        yield tasks, client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def both(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[DurableTasks, httpx.AsyncClient]]:
    """One application for all: to make one takes longer than a test. Every test has an organisation of its own."""
    async with opened(tmp_path_factory.mktemp("classic")) as made:
        yield made


@pytest.fixture
def org(both: tuple[DurableTasks, httpx.AsyncClient], request: pytest.FixtureRequest) -> Org:
    tasks, client = both
    name = f"org-{hashlib.sha256(request.node.name.encode()).hexdigest()[:16]}"
    client.headers.update(as_caller(name, role=Role.ADMIN))
    return Org(tasks, name)


@pytest.fixture
def client(both: tuple[DurableTasks, httpx.AsyncClient], org: Org) -> httpx.AsyncClient:
    """Ann's, who was a superuser there."""
    return both[1]


async def a_task(org: Org, state: str) -> Task:
    """One in that state; held by bob where somebody holds it."""
    task = await org.create("old")
    if state in ("claimed", "running", "completed", "failed"):
        claim = await org.claim(task.id, agent_id="bob", lease=None)
        if state != "claimed":
            await org.start(task.id, token=claim.token)
        if state == "completed":
            await org.complete(task.id, token=claim.token)
        if state == "failed":
            await org.fail(task.id, "no", token=claim.token)
    if state == "cancelled":
        await org.cancel(task.id)
    seen = await org.get(task.id)
    assert seen.state == state
    return seen


async def post(client: httpx.AsyncClient, path: str, **body: Any) -> dict[str, Any]:
    answered = await client.post(BASE + path, json=body)
    assert answered.status_code in (200, 201), answered.text
    value: dict[str, Any] = answered.json()
    return value


# Route, body, state of the task ("" where there is none, "?" for an id that nobody has), status.
CASES: list[tuple[str, Any, str, int]] = [
    ("GET ", None, "", 200),
    ("GET ?state=pending&priority=x&limit=x&offset=-1", None, "", 200),
    ("GET ?state=retrying", None, "", 200),
    ("GET ?state=odd", None, "", 400),
    ("GET ?priority=9", None, "", 400),
    ("POST ", {"title": "new"}, "", 201),
    ("POST ", {"name": "new", "timeout": "1h30m", "unknown": 1, "labels": None}, "", 201),
    ("POST ", {}, "", 400),
    ("POST ", None, "", 400),
    ("POST ", {"title": ""}, "", 400),
    ("POST ", {"title": 5}, "", 400),
    ("POST ", {"title": "new", "timeout": "soon"}, "", 400),
    ("POST ", {"title": "new", "timeout": 5}, "", 400),
    ("POST ", {"title": "new", "timeout": "-1h"}, "", 400),
    ("POST ", {"title": "new", "timeout_secs": "5"}, "", 400),
    ("POST ", {"title": "new", "retry": {"max_attempts": 1, "initial_interval": "soon"}}, "", 400),
    ("POST ", {"title": "new", "priority": 4}, "", 400),
    ("POST ", {"title": "new", "max_retries": -1}, "", 400),
    ("POST ", {"title": "new", "depends_on": [NOBODY]}, "", 400),
    ("POST ", {"title": "new", "space_id": "no spaces"}, "", 400),
    ("POST ", {"title": "new", "workflow_id": NOBODY}, "", 404),
    ("POST ", {"title": "new", "parent_task_id": NOBODY}, "", 404),
    ("POST ", b"{", "", 400),
    ("POST ", b"[]", "", 400),
    ("POST /next", {}, "", 204),
    ("POST /next", None, "", 204),
    ("POST /next", {"queue": "default", "agent_id": "bob"}, "pending", 200),
    ("POST /next", {"space_id": "elsewhere"}, "pending", 204),
    ("POST /next", {"agent_id": 5}, "pending", 400),
    ("GET /workflows", None, "", 200),
    ("GET /workflows?queue=elsewhere", None, "", 200),
    ("POST /workflows", {"name": "flow", "steps": [{"name": "one"}]}, "", 201),
    ("POST /workflows", {"steps": [{"name": "one"}]}, "", 400),
    ("POST /workflows", {"name": "flow"}, "", 400),
    ("POST /workflows", {"name": "flow", "tasks": [{}]}, "", 400),
    ("POST /workflows", {"name": "flow", "tasks": [{"title": "one", "timeout": "soon"}]}, "", 400),
    ("POST /workflows", {"name": "flow", "tasks": [{"title": "one", "depends_on": [NOBODY]}]}, "", 400),
    (f"GET /workflows/{NOBODY}", None, "", 404),
    ("GET /{id}", None, "pending", 200),
    ("GET /{id}", None, "?", 404),
    ("PUT /{id}", {"title": "other", "priority": 3}, "running", 200),
    ("PUT /{id}", {}, "completed", 200),
    ("PUT /{id}", {"title": ""}, "pending", 400),
    ("PUT /{id}", {"priority": 9}, "pending", 400),
    ("PUT /{id}", {"title": "other"}, "?", 404),
    ("PUT /{id}", {"title": "other"}, "completed", 409),
    ("POST /{id}/claim", {"agent_id": "bob"}, "pending", 200),
    ("POST /{id}/claim", None, "pending", 200),
    ("POST /{id}/claim", {"agent_id": []}, "pending", 400),
    ("POST /{id}/claim", {"agent_id": "bob"}, "?", 404),
    ("POST /{id}/claim", {"agent_id": "bob"}, "claimed", 409),
    ("POST /{id}/claim", {"agent_id": "eve"}, "running", 409),
    ("POST /{id}/claim", {"agent_id": "bob"}, "completed", 409),
    ("POST /{id}/start", None, "claimed", 200),
    ("POST /{id}/start", None, "pending", 200),
    ("POST /{id}/start", {"agent_id": "eve"}, "claimed", 409),
    ("POST /{id}/start", None, "running", 409),
    ("POST /{id}/start", None, "?", 404),
    ("POST /{id}/start", None, "cancelled", 409),
    ("POST /{id}/complete", {"output": {"a": 1}}, "running", 200),
    ("POST /{id}/complete", None, "running", 200),
    ("POST /{id}/complete", b"{", "running", 400),
    ("POST /{id}/complete", {"token": "wrong"}, "running", 409),
    ("POST /{id}/complete", {"agent_id": "eve"}, "running", 409),
    ("POST /{id}/complete", {}, "pending", 409),
    ("POST /{id}/complete", {}, "claimed", 409),
    ("POST /{id}/complete", {}, "completed", 409),
    ("POST /{id}/complete", {}, "?", 404),
    ("POST /{id}/fail", {"error": "no"}, "running", 200),
    ("POST /{id}/fail", {}, "running", 400),
    ("POST /{id}/fail", {"error": ""}, "?", 400),
    ("POST /{id}/fail", {"error": "no"}, "?", 404),
    ("POST /{id}/fail", {"error": "no"}, "claimed", 409),
    ("POST /{id}/fail", {"error": "no"}, "failed", 409),
    ("POST /{id}/fail", {"error": "no", "agent_id": "eve"}, "running", 409),
    ("POST /{id}/cancel", None, "pending", 200),
    ("POST /{id}/cancel", None, "claimed", 200),
    ("POST /{id}/cancel", None, "running", 200),
    ("POST /{id}/cancel", None, "?", 404),
    ("POST /{id}/cancel", None, "completed", 409),
    ("POST /{id}/cancel", None, "cancelled", 409),
    ("POST /{id}/cancel", None, "failed", 409),
    ("POST /{id}/progress", {"progress": 50}, "running", 200),
    ("POST /{id}/progress", {"progress": 5000}, "running", 200),
    ("POST /{id}/progress", {"progress": "half"}, "running", 400),
    ("POST /{id}/progress", {"progress": 50}, "pending", 409),
    ("POST /{id}/progress", {"progress": 50}, "?", 404),
    ("POST /{id}/signal", {"data": {}}, "pending", 400),
    ("POST /{id}/signal", {"name": "odd"}, "pending", 400),
    ("POST /{id}/signal", {"name": "cancel", "data": 5}, "pending", 400),
    ("POST /{id}/signal", {"name": "cancel"}, "?", 404),
    ("POST /{id}/signal", {"name": "cancel"}, "pending", 503),
    ("GET /{id}/query/status", None, "pending", 200),
    ("GET /{id}/query/anything", None, "completed", 200),
    ("GET /{id}/query/status", None, "?", 404),
]


@pytest.mark.parametrize(("route", "body", "state", "status"), CASES)
async def test_status(org: Org, client: httpx.AsyncClient, route: str, body: Any, state: str, status: int) -> None:
    method, _, path = route.partition(" ")
    task_id = NOBODY if state in ("", "?") else (await a_task(org, state)).id
    content = body if isinstance(body, bytes) else None
    json = None if isinstance(body, bytes) else body
    answered = await client.request(method, BASE + path.format(id=task_id), content=content, json=json)
    assert answered.status_code == status, answered.text
    if status == 204:
        assert answered.content == b""
    elif status >= 400:
        said = answered.json()
        assert (said["status"], said["message"]) == (status, said["error"])
        assert said["error"]


async def test_every_route_has_a_case() -> None:
    tried = {(route.split(" ")[0], route.split(" ")[1].partition("?")[0]) for route, *_ in CASES}
    named = {(method, path.replace(NOBODY, "{id}").replace("anything", "status")) for method, path in tried}
    routes = {
        (method, path.replace("{task_id}", "{id}").replace("{workflow_id}", "{id}").replace("{query}", "status"))
        for method, path, _ in ROUTES
    }
    assert named == routes


@pytest.mark.parametrize(("method", "path"), [(method, path) for method, path, _ in ROUTES])
async def test_nobody_comes_in_without_proof(client: httpx.AsyncClient, method: str, path: str) -> None:
    del client.headers["Authorization"]
    address = path.format(task_id=NOBODY, workflow_id=NOBODY, query="status")
    answered = await client.request(method, BASE + address, content=b"{")
    assert (answered.status_code, "Authorization" in answered.json()["error"]) == (401, True)
    assert answered.headers["WWW-Authenticate"].startswith("Bearer")


async def test_who_only_looks_changes_nothing_and_another_organisation_is_not_there(
    org: Org, client: httpx.AsyncClient
) -> None:
    task = await a_task(org, "running")
    client.headers.update(as_caller(org.id, role=Role.VIEWER))
    assert (await client.get(f"{BASE}/{task.id}")).status_code == 200
    for path in (f"/{task.id}/complete", f"/{task.id}/cancel", "/next"):
        assert (await client.post(BASE + path)).status_code == 403
    client.headers.update(as_caller("other", role=Role.ADMIN))
    for path in (f"/{task.id}/complete", f"/{task.id}/cancel", f"/{task.id}/start"):
        assert (await client.post(BASE + path)).status_code == 404
    assert (await client.get(BASE)).json() == {"items": [], "count": 0}
    assert (await org.get(task.id)).version == task.version


async def test_the_life_of_a_task(org: Org, client: httpx.AsyncClient) -> None:
    made = await post(
        client, "", name="Read it", queue="legal", priority=2, input={"page": 1}, labels=["a"], metadata={"k": "v"},
        retry={"max_attempts": 1}, timeout="1h", description="all of it",
    )  # fmt: skip
    times = {name: made.pop(name) for name in ("created_at", "updated_at")}
    assert all(value.endswith("Z") for value in times.values())
    assert made == {
        "id": made["id"], "org_id": org.id, "space_id": "legal", "title": "Read it", "description": "all of it",
        "state": "pending", "priority": 2, "created_by": "ann", "labels": ["a"], "input": {"page": 1}, "progress": 0,
        "max_retries": 1, "retry_count": 0, "timeout": HOUR, "metadata": {"k": "v"},
    }  # fmt: skip

    taken = await post(client, "/next", queue="legal", agent_id="bob")
    assert (taken["id"], taken["state"], taken["assigned_to"]) == (made["id"], "claimed", "bob")
    path = f"/{made['id']}"
    assert (await post(client, f"{path}/start"))["state"] == "running"
    assert (await post(client, f"{path}/progress", progress=40))["progress"] == 40

    failed = await post(client, f"{path}/fail", error="unreadable")
    assert (failed["state"], failed["retry_count"], failed["error"]) == ("pending", 1, "unreadable")
    assert "assigned_to" not in failed
    assert (await post(client, "/next", space_id="legal"))["assigned_to"] == "ann"
    await post(client, f"{path}/start")
    done = await post(client, f"{path}/complete", output={"pages": 3})
    assert (done["state"], done["output"], done["progress"]) == ("completed", {"pages": 3}, 100)
    assert done["completed_at"].endswith("Z")
    queried = (await client.get(BASE + f"{path}/query/state")).json()
    assert queried == {"task_id": made["id"], "state": "completed", "output": {"pages": 3}}


async def test_the_last_failure_fails(client: httpx.AsyncClient) -> None:
    made = await post(client, "", title="Try")
    await post(client, f"/{made['id']}/start")
    failed = await post(client, f"/{made['id']}/fail", error="no")
    assert (failed["state"], failed["assigned_to"], failed["error"]) == ("failed", "ann", "no")


async def test_a_task_is_claimed_without_an_end_and_nothing_is_remembered_in_memory(tmp_path: Path) -> None:
    async with opened(tmp_path) as (tasks, client):
        made = await post(client, "", title="Long")
        await post(client, f"/{made['id']}/claim", agent_id="bob")
        assert (await tasks.org().get(made["id"])).lease_expires_at is None
    async with opened(tmp_path) as (_, client):
        await post(client, f"/{made['id']}/start")
    async with opened(tmp_path) as (_, first), opened(tmp_path, worker=False) as (_, second):
        await post(second, f"/{made['id']}/progress", progress=10)
        assert (await post(first, f"/{made['id']}/complete"))["state"] == "completed"


async def test_who_shows_the_token_cannot_end_the_attempt_of_another(client: httpx.AsyncClient) -> None:
    made = await post(client, "", title="Contended", max_retries=1)
    path = f"/{made['id']}"
    first = await post(client, f"{path}/claim", agent_id="bob")
    await post(client, f"{path}/start", agent_id="bob")
    await post(client, f"{path}/fail", error="slow", token=first["token"])
    second = await post(client, f"{path}/claim", agent_id="eve")
    await post(client, f"{path}/start")
    for late in ({"token": first["token"]}, {"agent_id": "bob"}):
        assert (await client.post(BASE + f"{path}/complete", json=late)).status_code == 409
    assert (await post(client, f"{path}/complete", token=second["token"]))["state"] == "completed"


async def test_what_a_handler_runs_is_ended_by_nobody_else(org: Org, client: httpx.AsyncClient) -> None:
    task = await org.create("auto", capability="nobody.has.it")
    for verb in ("claim", "start"):
        answered = await client.post(f"{BASE}/{task.id}/{verb}")
        assert (answered.status_code, "handler" in answered.json()["error"]) == (409, True)


async def test_lists_are_filtered_and_paged(org: Org, client: httpx.AsyncClient) -> None:
    low = await post(client, "", title="low", queue="desk")
    urgent = await post(client, "", title="urgent", priority=3, assigned_to="bob")
    waiting = await post(client, "", title="waiting", depends_on=[low["id"]])
    running = await a_task(org, "running")

    async def found(query: str) -> list[str]:
        answer = (await client.get(BASE + f"?{query}")).json()
        assert answer["count"] == len(answer["items"])
        return [item["id"] for item in answer["items"]]

    everything = [urgent["id"], running.id, low["id"], waiting["id"]]
    assert await found("") == everything
    assert await found("limit=2") == everything[:2]
    assert await found("limit=2&offset=1") == everything[1:3]
    assert await found("limit=0") == everything
    assert await found("offset=9") == []
    assert await found("state=pending") == [urgent["id"], low["id"], waiting["id"]]
    assert await found("state=running") == [running.id]
    assert await found("state=retrying") == []
    assert await found("queue=desk") == await found("space_id=desk") == [low["id"]]
    assert await found("assigned_to=bob") == [urgent["id"], running.id]
    assert await found("priority=3") == [urgent["id"]]
    assert await found("workflow_id=none") == []


async def test_editing_changes_what_is_given(client: httpx.AsyncClient) -> None:
    made = await post(client, "", title="old", labels=["a"], description="stays")
    edited = (await client.put(f"{BASE}/{made['id']}", json={"title": "new", "labels": [], "metadata": None})).json()
    assert (edited["title"], edited["description"], edited.get("labels")) == ("new", "stays", None)


@pytest.mark.parametrize(
    ("more", "ready", "kind"),
    [({}, ["one"], "pipeline"), ({"parallel": True}, ["one", "two", "three"], "fan_out")],
)
async def test_a_workflow_is_a_chain_or_parallel(
    org: Org, client: httpx.AsyncClient, more: dict[str, Any], ready: list[str], kind: str
) -> None:
    steps = [{"name": "one", "timeout_secs": 3600}, {"title": "two"}, {"title": "three", "max_retries": 2}]
    made = await post(client, "/workflows", name="flow", queue="desk", steps=steps, **more)
    workflow, tasks = made["workflow"], made["tasks"]
    assert (workflow["name"], workflow["state"], workflow["space_id"]) == ("flow", "pending", "desk")
    assert workflow["tasks"] == [task["id"] for task in tasks]
    assert [task["title"] for task in tasks] == ["one", "two", "three"]
    assert (tasks[0]["timeout"], tasks[2]["max_retries"], tasks[1]["workflow_id"]) == (HOUR, 2, workflow["id"])
    assert (await org.get_workflow(workflow["id"])).kind == kind
    members = await org.workflow_tasks(workflow["id"])
    assert [member.title for member in members if member.state == "pending"] == ready

    for _ in steps:
        taken = await post(client, "/next", queue="desk")
        await post(client, f"/{taken['id']}/start")
        await post(client, f"/{taken['id']}/complete")
    seen = (await client.get(BASE + f"/workflows/{workflow['id']}")).json()
    assert (seen["workflow"]["state"], len(seen["tasks"])) == ("completed", 3)
    listed = (await client.get(f"{BASE}/workflows?space_id=desk")).json()
    assert listed == {"items": [seen["workflow"]], "count": 1}


async def test_a_step_that_names_what_it_waits_for_is_not_chained(org: Org, client: httpx.AsyncClient) -> None:
    other = await post(client, "", title="elsewhere")
    steps = [{"name": "one"}, {"name": "two", "depends_on": [other["id"]]}, {"name": "three"}]
    made = await post(client, "/workflows", name="flow", tasks=steps)
    first, second, third = (task["id"] for task in made["tasks"])
    assert [task.get("depends_on", []) for task in made["tasks"]] == [[], [other["id"]], [second]]
    await post(client, f"/{other['id']}/start")
    await post(client, f"/{other['id']}/complete")
    assert {first, second, third} == set(made["workflow"]["tasks"])
    assert [(await org.get(task_id)).state for task_id in (first, second, third)] == ["pending", "pending", "blocked"]


async def test_a_task_joins_a_workflow(client: httpx.AsyncClient) -> None:
    made = await post(client, "/workflows", name="flow", parallel=True, steps=[{"name": "one"}])
    late = await post(client, "", title="late", workflow_id=made["workflow"]["id"])
    seen = (await client.get(BASE + f"/workflows/{made['workflow']['id']}")).json()
    assert seen["workflow"]["tasks"] == [made["tasks"][0]["id"], late["id"]]


async def test_the_reference_page_has_these_routes_and_states() -> None:
    rows = [row[0] for row in table("classic-routes.md", "Route")]
    assert sorted(rows) == sorted(f"{method} {BASE}{path}" for method, path, _ in ROUTES)
    states = {row[0]: row[1] for row in table("classic-routes.md", "Classic state")}
    assert states == {name: ", ".join(ours) for name, ours in CLASSIC_STATES.items() if ours}
    verbs = {row[0]: row[1] for row in table("classic-routes.md", "Verb")}
    assert verbs == {verb: ", ".join(legal) for verb, legal in FROM.items()}


async def test_signals_reach_the_task_through_temporal(tmp_path: Path, temporal_server: EmbeddedServer) -> None:
    namespace = f"classic-{tmp_path.name}"[:60]
    settings = {"enabled": True, "address": temporal_server.address, "namespace": namespace}
    async with asyncio.timeout(60), opened(tmp_path, **settings) as (tasks, client):
        assert tasks.temporal is not None
        await tasks.temporal.wait_connected(30)
        made = await post(client, "", title="signalled")
        path = f"/{made['id']}/signal"
        watching = tasks.org().watch(after=0)

        async def heard(kind: str) -> None:
            async for event in watching:
                if event.kind == kind:
                    return

        while (await tasks.durable.status(made["id"])).temporal != "RUNNING":  # noqa: ASYNC110 (it asks)
            await asyncio.sleep(0)
        said = await post(client, path, name="claim", data={"agent_id": "bob"})
        assert said == {"signaled": True, "task_id": made["id"], "signal": "claim"}
        await heard("task.claimed")
        await post(client, path, name="complete", data={"output": {"a": 1}})
        await heard("task.completed")
        seen = (await client.get(f"{BASE}/{made['id']}")).json()
        assert (seen["state"], seen["output"], seen["assigned_to"]) == ("completed", {"a": 1}, "bob")
