"""Tracebacks of handlers: operators read them, everybody else what went wrong, wherever a task is answered.

It must not test what is recorded.
"""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from durable_tasks import NewTask, Task, TaskContext, TaskState
from durable_tasks.access import Role
from tests.web.asking import api, as_caller

pytestmark = pytest.mark.asyncio(loop_scope="module")

READS = [
    "/v1/tasks/{task}", "/v1/tasks/{task}/wait", "/v1/tasks/{task}/attempts", "/v1/tasks?full=true",
    "/v1/workflows/{workflow}?full=true", "/v1/workflows/{workflow}/attempts", "/v1/events", "/api/tasks/{task}",
    "/api/tasks", "/api/tasks/workflows/{workflow}",
]  # fmt: skip
World = tuple[httpx.AsyncClient, dict[str, str]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with api(tmp_path_factory.mktemp("tracebacks")) as (tasks, client):

        @tasks.handler("break")
        async def broken(ctx: TaskContext, task: Task) -> None:
            raise ValueError("account closed")

        org = tasks.org("acme")
        made = await org.dag("w", [NewTask(title="t", capability="break", max_retries=0)])
        (node,) = (await org.workflow_nodes(made.id)).items
        ended = await org.wait(node.id, timeout=60)
        assert ended.state is TaskState.FAILED
        yield client, {"task": node.id, "workflow": made.id}


def looked(client: httpx.AsyncClient, path: str, role: Role) -> Any:
    return client.get(path, headers=as_caller(role=role))


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("role", [Role.VIEWER, Role.AGENT])
async def test_who_is_no_operator_sees_none(world: World, path: str, role: Role) -> None:
    client, ids = world
    answer = await looked(client, path.format(**ids), role)
    assert answer.status_code == 200
    assert "Traceback" not in answer.text
    assert __file__ not in answer.text
    assert "ValueError" in answer.text or "account closed" in answer.text, "what went wrong is said"


async def test_what_is_left_out_is_named(world: World) -> None:
    client, ids = world
    task = (await looked(client, f"/v1/tasks/{ids['task']}", Role.VIEWER)).json()
    assert task["error"] == {"type": "ValueError", "message": "account closed", "details": None}
    assert task["omitted"] == ["error.details"]


@pytest.mark.parametrize("path", ["/v1/tasks/{task}", "/v1/tasks/{task}/attempts", "/v1/tasks?full=true"])
async def test_an_operator_sees_them(world: World, path: str) -> None:
    client, ids = world
    assert "Traceback" in (await looked(client, path.format(**ids), Role.OPERATOR)).text


@pytest.mark.parametrize(("role", "sees"), [(Role.AGENT, False), (Role.OPERATOR, True)])
async def test_it_is_the_same_for_tools(world: World, role: Role, sees: bool) -> None:
    client, ids = world
    call = {"name": "get_task", "arguments": {"task_id": ids["task"]}}
    asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
    headers = {**as_caller(role=role), "Accept": "application/json, text/event-stream", "Host": "localhost"}
    answer = await client.post("/mcp", json=asked, headers=headers)
    assert "account closed" in answer.text
    assert ("Traceback" in answer.text) is sees


async def test_what_an_agent_says_of_its_own_failure_stays(tmp_path: Path) -> None:
    async with api(tmp_path) as (_, client):
        made = (await client.post("/v1/tasks", json={"title": "x", "max_retries": 0})).json()
        token = (await client.post(f"/v1/tasks/{made['id']}/claim", json={})).json()["token"]
        error = {"type": "Refused", "message": "no", "details": {"page": 7}}
        body = {"error": error, "token": token, "retryable": False}
        failed = await client.post(f"/v1/tasks/{made['id']}/fail", json=body)
    assert json.loads(failed.text)["error"] == error
