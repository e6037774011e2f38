"""Identity over HTTP: the settings say who may call, and nobody reaches another organisation.

It must not know how a proof is checked.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from durable_tasks import DurableTasks, Settings
from durable_tasks.errors import ConfigurationError
from durable_tasks.identity.tokens import issue
from durable_tasks.web.server import serving


@pytest_asyncio.fixture
async def tasks(tmp_path: Path) -> DurableTasks:
    return DurableTasks(Settings(db=tmp_path / "tasks.db", worker=False, auth="token"))


@pytest_asyncio.fixture
async def client(tasks: DurableTasks) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(tasks, port=0) as url, httpx.AsyncClient(base_url=f"{url}/v1") as client:
        yield client


async def proof(tasks: DurableTasks, org: str, role: str) -> dict[str, str]:
    issued = await issue(tasks.store, org=org, subject=f"{role} of {org}", roles=[role])
    return {"Authorization": f"Bearer {issued.text}"}


async def test_without_a_token_nothing_is_told(client: httpx.AsyncClient) -> None:
    for headers in ({}, {"Authorization": "Bearer dt_x_y"}, {"X-Org-Id": "acme", "X-User-Roles": "admin"}):
        answer = await client.get("/tasks", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


async def test_a_role_may_do_what_the_table_says(tasks: DurableTasks, client: httpx.AsyncClient) -> None:
    viewer, agent = await proof(tasks, "acme", "viewer"), await proof(tasks, "acme", "agent")
    assert (await client.post("/tasks", json={"title": "new"}, headers=viewer)).status_code == 403
    made = await client.post("/tasks", json={"title": "new", "mode": "manual"}, headers=agent)
    assert (made.status_code, made.json()["created_by"]) == (201, "agent of acme")
    assert (await client.get(f"/tasks/{made.json()['id']}", headers=viewer)).status_code == 200


async def test_another_organisation_sees_nothing(tasks: DurableTasks, client: httpx.AsyncClient) -> None:
    ours, theirs = await proof(tasks, "acme", "admin"), await proof(tasks, "other", "admin")
    made = (await client.post("/tasks", json={"title": "ours", "mode": "manual"}, headers=ours)).json()
    forged = {**theirs, "X-Org-Id": "acme"}
    seen = await client.get(f"/tasks/{made['id']}", headers=forged)
    unknown = await client.get("/tasks/nothing", headers=forged)
    assert (
        (seen.status_code, seen.json()["code"]) == (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
    )
    assert (await client.get("/tasks", headers=forged)).json()["items"] == []
    assert (await client.get("/events", headers=forged)).json()["items"] == []


async def test_other_machines_are_served_only_with_authentication(tmp_path: Path) -> None:
    for auth in (None, "none"):
        tasks = DurableTasks(Settings(db=tmp_path / "tasks.db", worker=False, auth=auth))
        with pytest.raises(ConfigurationError, match="TASKS_AUTH"):
            async with serving(tasks, host="0.0.0.0", port=0):
                raise AssertionError("it serves")


async def test_metrics_are_for_operators_of_the_own_organisation(
    tasks: DurableTasks, client: httpx.AsyncClient
) -> None:
    await tasks.org("other").create("counted too", capability="review", mode="manual")
    url = str(client.base_url.copy_with(path="/metrics"))
    own = tasks.settings.org
    for org, role, status in ((own, "agent", 403), ("other", "admin", 403), (own, "operator", 200)):
        answer = await client.get(url, headers=await proof(tasks, org, role))
        assert answer.status_code == status, (org, role)
    assert 'durable_tasks_open_tasks{capability="review",state="pending"} 1.0' in answer.text
    assert (await client.get(url)).status_code == 401
