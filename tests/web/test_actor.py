"""Who acts over HTTP: only in its own name unless a role lets it act for others, and on record as who it proved to be.

It must not know how somebody proves who he is.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from durable_tasks import Actor, DurableTasks, Event, NewTask
from durable_tasks.access import Principal, Role
from durable_tasks.operations.operation import Caller, Operation
from durable_tasks.operations.table import OPERATIONS
from tests.foreign import CALLS, foreign
from tests.store.support import everything
from tests.web.asking import api, as_caller

BOT = as_caller(subject="bot")
OLGA = as_caller(subject="olga", role=Role.OPERATOR)
World = tuple[DurableTasks, httpx.AsyncClient]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with api(tmp_path, org="acme") as made:
        yield made


async def made(tasks: DurableTasks, **fields: Any) -> str:
    return (await tasks.org().create("task", mode="manual", **fields)).id


FORGED = {
    "claim": ("/v1/tasks/{id}/claim", {"agent_id": "ann"}),
    "next": ("/v1/tasks/next", {"agent_id": "ann"}),
    "create": ("/v1/tasks", {"title": "x", "created_by": "ann"}),
    "create many": ("/v1/tasks/bulk", {"tasks": [{"title": "x", "created_by": "ann"}]}),
    "create group": ("/v1/workflows", {"kind": "dag", "name": "x", "created_by": "ann", "tasks": [{"title": "x"}]}),
    "create member": ("/v1/workflows", {"kind": "dag", "name": "x", "tasks": [{"title": "x", "created_by": "ann"}]}),
    "add": ("/v1/workflows/{group}/tasks", {"tasks": [{"title": "x", "created_by": "ann"}]}),
    "classic claim": ("/api/tasks/{id}/claim", {"agent_id": "ann"}),
    "classic next": ("/api/tasks/next", {"agent_id": "ann"}),
    "classic start": ("/api/tasks/{held}/start", {"agent_id": "ann"}),
    "classic for the holder": ("/api/tasks/{held}/start", {}),
}


@pytest.mark.parametrize("name", list(FORGED))
async def test_an_agent_acts_in_its_own_name(world: World, name: str) -> None:
    tasks, client = world
    org, held = tasks.org(), await made(tasks)
    await org.claim(held, agent_id="ann")
    group = await org.dag("group", [NewTask(title="member", assigned_to="nobody")])
    path, body = FORGED[name]
    place = path.format(id=await made(tasks, assigned_to="ann"), held=held, group=group.id)
    before = everything(tasks.settings.db)
    answer = await client.post(place, json=body, headers=BOT)
    assert (answer.status_code, "operator" in answer.text) == (403, True), answer.text
    assert everything(tasks.settings.db) == before
    answer = await client.post(place, json=body, headers=OLGA)
    assert answer.status_code in (200, 201), answer.text
    newest = (await org.events(after=await tasks.store.last_seq("acme") - 1))[-1]
    assert newest.actor == Actor(name="olga", proved=True)


@pytest.mark.parametrize("path", ["/v1/tasks", "/v1/tasks/bulk"])
async def test_a_key_of_another_gives_no_task_of_his(world: World, path: str) -> None:
    _, client = world
    task = {"title": "x", "idempotency_key": "k"}
    body = task if path == "/v1/tasks" else {"tasks": [task]}
    first, again = [await client.post(path, json=body, headers=BOT) for _ in range(2)]
    assert (first.status_code, again.json()) == (201, first.json())
    other = await client.post(path, json=body, headers=as_caller(subject="eve"))
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict"), other.text


# What is done for its own sake leaves no event: a heartbeat says that somebody is there, redriving sends again, and
# what runs in Temporal without a task is in no log of ours.
UNRECORDED = {"heartbeat_task", "redrive_dead_letter"}
CHANGING = [one for one in OPERATIONS.values() if not (one.reads or one.temporal or one.name in UNRECORDED)]


@pytest.mark.parametrize("operation", CHANGING, ids=lambda operation: operation.name)
async def test_whatever_changes_something_is_on_record_as_the_callers_act(world: World, operation: Operation) -> None:
    tasks, _ = world
    its = await foreign(tasks, "acme")
    org = tasks.org("acme")
    match operation.name:
        case "claim_task":
            await org.release(its.task, token=its.token)
        case "retry_task":
            await org.cancel(its.task)
        case "retry_workflow":
            await org.cancel_workflow(its.workflow)
    who = Principal(org="acme", subject=its.agent, roles=frozenset({Role.OPERATOR}))
    before = await tasks.store.last_seq("acme")
    await operation.run(Caller(tasks, who), operation.request.model_validate(CALLS[operation.name][0](its)))
    done = [event for event in await org.events(after=before) if not _follows(event)]
    assert {event.actor for event in done} == {who.actor}


def _follows(event: Event) -> bool:
    return event.kind in ("workflow.running", "task.ready")


async def test_an_operator_for_another_is_on_record_beside_it(world: World) -> None:
    tasks, client = world
    task_id = await made(tasks)
    answer = await client.post(f"/v1/tasks/{task_id}/claim", json={"agent_id": "ann"}, headers=OLGA)
    assert answer.json()["task"]["assigned_to"] == "ann"
    (attempt,) = (await client.get(f"/v1/tasks/{task_id}/attempts")).json()["items"]
    assert (attempt["agent_id"], attempt["actor"]) == ("ann", {"name": "olga", "proved": True})


@pytest.mark.parametrize("assigned", ["ann", "group:legal"])
async def test_an_approval_is_not_stolen(world: World, assigned: str) -> None:
    tasks, client = world
    task_id = await made(tasks, assigned_to=assigned)
    path = f"/v1/tasks/{task_id}"
    assert (await client.patch(path, json={"assigned_to": "bot"}, headers=BOT)).status_code == 403
    assert (await client.post(f"{path}/claim", json={}, headers=BOT)).status_code == 409
    member = {**as_caller(subject="ann"), "X-Groups": "legal"}
    assert (await client.post(f"{path}/claim", json={}, headers=member)).status_code == 200
    assert (await client.patch(path, json={"assigned_to": "bot"}, headers=BOT)).status_code == 403
    assert (await client.post(f"{path}/complete", json={"output": "yes"}, headers=member)).status_code == 200
    ended = (await tasks.org().events(task_id=task_id))[-1]
    assert (ended.kind, ended.actor) == ("task.completed", Actor(name="ann", proved=True))


async def test_a_key_of_somebody_else_hands_out_no_token(world: World) -> None:
    tasks, client = world
    path, key = f"/v1/tasks/{await made(tasks)}/claim", {"Idempotency-Key": "1"}
    first = await client.post(path, json={}, headers=key)
    again = await client.post(path, json={}, headers=key)
    eve = await client.post(path, json={}, headers={**BOT, **key})
    assert (again.json()["token"], again.status_code) == (first.json()["token"], 200)
    assert (eve.status_code, eve.json()["code"]) == (409, "idempotency_conflict")
    assert first.json()["token"] not in eve.text
