"""Requests that are wrong in very many places: said of a few, as if the others were not there.

It must not know what a right request does.
"""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from durable_tasks.access import Role
from durable_tasks.models import NewTask, TaskFilter
from durable_tasks.operations.table import OPERATIONS
from durable_tasks.web import classic_bodies
from tests.web.asking import api, as_caller

MANY = 20_000
WRONG: tuple[tuple[str, Any], ...] = (
    ("/v1/tasks", {"title": "x", "labels": [1] * MANY}),
    ("/v1/tasks", {"title": "x", "depends_on": [""] * MANY}),
    ("/v1/tasks", {f"k{number}": 1 for number in range(MANY)}),
    ("/v1/tasks", {"title": "x", "retry": {f"k{number}": 1 for number in range(MANY)}}),
    ("/v1/tasks/bulk", {"tasks": [{}] * MANY}),
    ("/v1/workflows", {"kind": "dag", "name": "x", "tasks": [{"title": 1}] * MANY}),
    ("/v1/tasks/x/fail", {"error": {f"k{number}": 1 for number in range(MANY)}}),
)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with api(tmp_path) as (_, client):
        yield client


@pytest.mark.parametrize(("path", "body"), WRONG)
async def test_a_body_that_is_wrong_everywhere_is_told_of_a_few_places(
    client: httpx.AsyncClient, path: str, body: Any
) -> None:
    answer = await client.post(path, json=body)
    assert answer.status_code == 422
    assert 1 <= len(answer.json()["errors"]) <= 3
    assert len(answer.content) < 4096


async def test_a_query_that_is_wrong_everywhere_as_well(client: httpx.AsyncClient) -> None:
    for query in ("&".join(["priority=x"] * 2000), "&".join(f"k{number}=1" for number in range(2000))):
        answer = await client.get(f"/v1/tasks?{query}")
        assert (answer.status_code, len(answer.json()["errors"])) == (422, 1)


async def test_how_many_more_there_are_is_said(client: httpx.AsyncClient) -> None:
    answer = (await client.post("/v1/tasks", json={f"k{number}": 1 for number in range(30)})).json()
    assert len(answer["errors"]) == 20
    assert answer["detail"].endswith("; 10 more errors are not listed")


@pytest.mark.parametrize("name", [o.name for o in OPERATIONS.values() if not o.reads and o.role > Role.VIEWER])
async def test_nobody_is_told_what_is_wrong_with_what_he_may_not_do(client: httpx.AsyncClient, name: str) -> None:
    operation = OPERATIONS[name]
    path = operation.path.replace("{", "").replace("}", "")
    headers = as_caller(role=Role.VIEWER)
    answer = await client.request(operation.method, f"/v1{path}", json={"no": "field"}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_nor_by_a_tool(client: httpx.AsyncClient) -> None:
    call = {"name": "create_task", "arguments": {"no": "field"}}
    headers = {**as_caller(role=Role.VIEWER), "Accept": "application/json, text/event-stream"}
    asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
    answer = (await client.post("/mcp", json=asked, headers=headers)).json()
    assert json.loads(answer["result"]["content"][0]["text"])["code"] == "forbidden"


@pytest.mark.parametrize(
    ("path", "body", "detail"),
    [
        (
            "/v1/tasks/x/progress",
            {"percent": "half"},
            "body percent: Input should be a valid integer; it was 'half'",
        ),
        ("/v1/tasks", {"title": "x", "max_retries": -7}, "greater than or equal to 0; it was -7"),
        (
            "/v1/workflows",
            {"kind": "fan_out", "name": "x", "tasks": [{"name": "a"}], "max_parallel": 10**30},
            "body max_parallel: ",
        ),
        ("/v1/workflows", {"kind": "fan_out", "name": "x", "tasks": [{"name": "a"}], "join": 10**30}, "body join"),
        ("/v1/tasks", {"title": "y" * 600}, f"at most 512 characters; it was '{'y' * 100}'…"),
    ],
)
async def test_the_wrong_value_is_shown_and_no_name_of_a_branch(
    client: httpx.AsyncClient, path: str, body: Any, detail: str
) -> None:
    assert detail in (await client.post(path, json=body)).json()["detail"]


async def test_a_number_that_no_file_can_hold_is_refused_by_its_field(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"/v1/events?after={10**30}")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "after")
    task = (await client.post("/v1/tasks", json={"title": "x"})).json()
    answer = await client.patch(f"/v1/tasks/{task['id']}", json={"title": "y", "version": 10**30})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "version")


async def test_who_holds_no_attempt_is_told_who_does(client: httpx.AsyncClient) -> None:
    task = (await client.post("/v1/tasks", json={"title": "x"})).json()
    assert (await client.post(f"/v1/tasks/{task['id']}/claim", json={}, headers=as_caller(subject="bob"))).is_success
    answer = (await client.post(f"/v1/tasks/{task['id']}/complete", json={})).json()
    assert answer["code"] == "stale_token"
    assert answer["detail"] == f"you hold no attempt of task {task['id']}, which is claimed; 'bob' does"


def _schemas() -> Iterator[Any]:
    models: list[type[BaseModel]] = [NewTask, TaskFilter, *(operation.request for operation in OPERATIONS.values())]
    for model in models:
        yield model.__pydantic_core_schema__
    for kind in vars(classic_bodies).values():
        if isinstance(kind, type) and issubclass(kind, classic_bodies.Body):
            yield kind.__pydantic_core_schema__


def _lists(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if schema.get("type") in ("tuple", "list", "set", "frozenset") and "items_schema" in schema:
            yield schema
        schema = list(schema.values())
    if isinstance(schema, list | tuple):
        for part in schema:
            yield from _lists(part)


def test_every_list_ends_at_its_first_wrong_item() -> None:
    lists = [found for schema in _schemas() for found in _lists(schema)]
    assert len(lists) > 20
    assert [found for found in lists if not found.get("fail_fast")] == []
