"""Pages of other sites: what they have a browser send changes nothing, whatever the browser knows of who sits there.

It must not know a way to prove who calls: here a cookie does, as in an application of somebody else.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from durable_tasks import DurableTasks, Settings
from durable_tasks.access import Asking, Principal, Role
from durable_tasks.web.app import create_app
from tests.store.support import everything
from tests.web.asking import as_caller, authenticate

HOST = "https://tasks.example"
EVIL = "https://evil.example"
World = tuple[DurableTasks, httpx.AsyncClient]


async def by_cookie(asking: Asking) -> Principal:
    """What the host application knows of who is signed in there; a proof in the header counts too."""
    if "session=ann" in asking.headers.get("cookie", ""):
        return Principal(org="acme", subject="ann", roles=frozenset({Role.ADMIN}))
    return await authenticate(asking)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    tasks = DurableTasks(Settings(db=tmp_path / "tasks.db"))
    transport = httpx.ASGITransport(create_app(tasks, authenticate=by_cookie))
    async with (
        tasks.lifespan(),
        httpx.AsyncClient(transport=transport, base_url=HOST, headers={"Cookie": "session=ann"}) as client,
    ):
        yield tasks, client


FOREIGN = [
    {"Sec-Fetch-Site": "cross-site", "Origin": EVIL},
    {"Sec-Fetch-Site": "same-site", "Origin": "https://blog.example"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": HOST},
    {"Origin": EVIL},
    {"Origin": "null"},
    {"Origin": "https://tasks.example.evil.example"},
    {"Origin": "https://tasks.example:8443"},
    {"Origin": "https://tasks.example@evil.example"},
    {"Origin": "https://[evil"},
    {"Origin": EVIL, "Authorization": "Basic YW5uOm1pbmU="},
    {"Origin": EVIL, "Authorization": "negotiate abc"},
    {"Origin": EVIL, "Authorization": ""},
]
OWN: list[dict[str, str]] = [
    {},
    {"Sec-Fetch-Site": "same-origin", "Origin": HOST},
    {"Sec-Fetch-Site": "none"},
    {"Sec-Fetch-Site": "same-origin", "Origin": HOST, "Host": "inner:8000"},
    {"Origin": HOST},
    {"Origin": "https://TASKS.example:443"},
    {"Origin": "http://tasks.example", "Host": "tasks.example:80"},
    {"Origin": EVIL, "Sec-Fetch-Site": "cross-site", **as_caller()},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_a_page_of_another_site_changes_nothing(world: World, headers: dict[str, str]) -> None:
    tasks, client = world
    task = await tasks.org("acme").create("x", mode="manual")
    before = everything(tasks.settings.db)
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "create_task", "arguments": {}}}
    for method, path, body in (
        ("POST", "/v1/tasks", {"title": "x"}),
        ("PATCH", f"/v1/tasks/{task.id}", {"title": "y"}),
        ("POST", f"/v1/tasks/{task.id}/cancel", None),
        ("POST", "/api/tasks", {"title": "x"}),
        ("PUT", f"/api/tasks/{task.id}", {"title": "y"}),
        ("POST", "/mcp", call),
    ):
        answer = await client.request(method, path, json=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "cross_site"), path
    # A form, which no browser asks about first.
    form = await client.post("/v1/tasks/next", headers={**headers, "Content-Type": "text/plain"}, content=b"{}")
    assert (form.status_code, form.headers["content-type"]) == (403, "application/problem+json")
    assert everything(tasks.settings.db) == before


@pytest.mark.parametrize("headers", OWN, ids=str)
async def test_our_own_page_programs_and_who_proves_it_themselves_are_served(
    world: World, headers: dict[str, str]
) -> None:
    _, client = world
    made = await client.post("/v1/tasks", json={"title": "x"}, headers=headers)
    assert made.status_code == 201, made.text


async def test_to_look_is_not_to_change(world: World) -> None:
    """What is read by another site's page the browser keeps from it; a link to here must work."""
    _, client = world
    headers = {"Sec-Fetch-Site": "cross-site", "Origin": EVIL}
    for path in ("/dashboard/", "/v1/me", "/healthz"):
        answer = await client.get(path, headers=headers)
        assert answer.status_code in (200, 503), path
        assert "access-control-allow-origin" not in answer.headers
