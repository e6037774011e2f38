"""What people do over HTTP: outputs that a form refuses, tasks of groups, comments, and acting without a token.

It must not test what the facade decides.
"""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from durable_tasks import DurableTasks
from durable_tasks.access import Role
from tests.web.asking import api, as_caller

pytestmark = pytest.mark.asyncio(loop_scope="module")

Served = tuple[DurableTasks, httpx.AsyncClient]
FORM = {
    "type": "object",
    "properties": {"approved": {"type": "boolean"}, "amount": {"type": "number", "minimum": 1}},
    "required": ["approved"],
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """One for all: to make one takes longer than a test."""
    async with api(tmp_path_factory.mktemp("people")) as made:
        yield made


async def test_an_output_that_does_not_fit_is_refused_field_by_field(served: Served) -> None:
    _, client = served
    made = (await client.post("/v1/tasks", json={"title": "Approve it", "form": FORM})).json()
    assert made["form"] == FORM
    path = f"/v1/tasks/{made['id']}"
    token = (await client.post(f"{path}/claim")).json()["token"]
    refused = await client.post(f"{path}/complete", json={"token": token, "output": {"amount": 0}})
    said: dict[str, Any] = refused.json()
    assert (refused.status_code, said["code"]) == (422, "invalid_output")
    errors = {one["pointer"]: (one["place"], one["field"], one["code"]) for one in said["errors"]}
    assert errors == {
        "/approved": ("body", "output.approved", "required"),
        "/amount": ("body", "output.amount", "minimum"),
    }
    done = await client.post(f"{path}/complete", json={"token": token, "output": {"approved": True}})
    assert done.json()["state"] == "completed"
    other = await client.post("/v1/tasks", json={"title": "x", "form": {"$ref": "https://example.com"}})
    assert (other.status_code, other.json()["code"], other.json()["errors"]) == (422, "invalid_input", [])


@pytest.mark.parametrize("end", ["complete", "fail", "release"])
async def test_who_holds_a_task_needs_no_token(served: Served, end: str) -> None:
    _, client = served
    made = (await client.post("/v1/tasks", json={"title": "Approve it"})).json()
    path, bob, body = (
        f"/v1/tasks/{made['id']}",
        as_caller(subject="bob"),
        {"error": "no"} if end == "fail" else None,
    )
    unclaimed = await client.post(f"{path}/{end}", json=body)
    assert (unclaimed.status_code, unclaimed.json()["code"]) == (409, "illegal_move")
    await client.post(f"{path}/claim")
    for verb, said in (("start", None), ("heartbeat", None), ("progress", {"percent": 40}), (end, body)):
        refused = await client.post(f"{path}/{verb}", json=said, headers=bob)
        assert (refused.status_code, refused.json()["code"]) == (409, "stale_token")
        wrong = await client.post(f"{path}/{verb}", json={**(said or {}), "token": "another"})
        assert (wrong.status_code, wrong.json()["code"]) == (409, "stale_token")
        done = await client.post(f"{path}/{verb}", json=said)
        assert done.status_code == 200, done.text
    states = {"complete": "completed", "fail": "failed", "release": "pending"}
    assert done.json()["state"] == states[end]
    foreign = await client.post(f"{path}/{end}", json=body, headers=as_caller("umbrella"))
    assert foreign.status_code == 404


async def test_who_held_a_cancelled_task_hears_of_it_and_says_that_he_has_stopped(served: Served) -> None:
    tasks, client = served
    made = (await client.post("/v1/tasks", json={"title": "Approve it"})).json()
    path = f"/v1/tasks/{made['id']}"
    await client.post(f"{path}/claim")
    assert (await client.post(f"{path}/cancel", headers=as_caller(subject="bob"))).status_code == 403
    assert (await client.post(f"{path}/cancel", headers=as_caller(subject="bob", role=Role.OPERATOR))).is_success
    assert (await client.post(f"{path}/heartbeat")).json()["cancel_requested"] is True
    assert (await client.post(f"{path}/release")).json()["state"] == "cancelled"
    assert (await client.post(f"{path}/heartbeat")).status_code == 409
    assert (await tasks.org("acme").attempts(made["id"]))[0].ended_at is not None


async def test_a_group_is_that_of_the_caller_and_of_nobody_who_says_so(served: Served) -> None:
    member, other = {**as_caller(), "X-Groups": "legal"}, {**as_caller(subject="bob"), "X-Groups": "sales"}
    _, client = served
    made = (
        await client.post("/v1/tasks", json={"title": "Sign it", "assigned_to": "group:legal", "space_id": "s"})
    ).json()
    path, waiting = f"/v1/tasks/{made['id']}", {"waiting_for_me": "true", "space_id": "s"}
    assert (await client.get("/v1/tasks", params=waiting, headers=other)).json()["items"] == []
    assert (await client.post("/v1/tasks/next", json={"space_id": "s"}, headers=other)).status_code == 204
    refused = await client.post(f"{path}/claim", headers=other)
    assert (refused.status_code, refused.json()["code"]) == (409, "already_claimed")
    for body, status in (({"groups": ["legal"]}, 422), ({"agent_id": "group:legal"}, 403)):
        for place in (f"{path}/claim", "/v1/tasks/next"):
            assert (await client.post(place, json=body, headers=other)).status_code == status
    (found,) = (await client.get("/v1/tasks", params=waiting, headers=member)).json()["items"]
    assert found["id"] == made["id"]
    assert (await client.post("/v1/tasks/next", json={"space_id": "s"}, headers=member)).json()["task"][
        "assigned_to"
    ] == "ann"
    assert (await client.post(f"{path}/release", headers=member)).json()["assigned_to"] == "group:legal"
    assert (await client.post(f"{path}/claim", headers=member)).status_code == 200


async def test_a_comment_is_the_callers(served: Served) -> None:
    _, client = served
    made = (await client.post("/v1/tasks", json={"title": "Sign it"})).json()
    path, once = f"/v1/tasks/{made['id']}/comments", {"Idempotency-Key": "once"}
    said = await client.post(path, json={"text": "which one?"}, headers=once)
    assert (said.status_code, said.json()["kind"]) == (201, "task.commented")
    assert (said.json()["data"]["text"], said.json()["data"]["by"]) == ("which one?", "ann")
    assert (await client.post(path, json={"text": "which one?"}, headers=once)).json() == said.json()
    assert (await client.post(path, json={"text": "x", "author": "bob"})).status_code == 422
    events = (await client.get("/v1/events", params={"task_id": made["id"]})).json()["items"]
    assert events[1:] == [said.json()]
