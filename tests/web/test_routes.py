"""The operations over HTTP: statuses, headers, problems, keys, versions, pages, forms.

It must not test what the facade decides.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from durable_tasks import DurableTasks
from durable_tasks.access import Principal, Role
from durable_tasks.models import Node, TaskState
from durable_tasks.operations.answers import Graph
from durable_tasks.operations.mermaid import MEDIA_TYPE, flowchart
from durable_tasks.store.store import Store
from durable_tasks.web.problems import Refusal
from durable_tasks.web.waits import Waits
from tests.web.asking import api, as_caller, event_of_a_wait

NOBODY = "00000000-0000-7000-8000-000000000000"


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[tuple[DurableTasks, httpx.AsyncClient]]:
    async with api(tmp_path) as made:
        yield made


@pytest.fixture
def client(served: tuple[DurableTasks, httpx.AsyncClient]) -> httpx.AsyncClient:
    return served[1]


async def create(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await client.post("/v1/tasks", json={"title": "Read it", **fields})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def assert_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    said: dict[str, Any] = answer.json()
    assert (said["status"], said["code"], said["type"]) == (status, code, f"urn:durable-tasks:{code}")
    assert said["request_id"] == answer.headers["x-request-id"]
    return said


# ----- the whole life


async def test_an_agent_works(client: httpx.AsyncClient) -> None:
    made = await create(client, priority="high", labels=["x"])
    assert (made["org_id"], made["created_by"], made["priority"]) == ("acme", "ann", 2)
    claimed = (await client.post("/v1/tasks/next", json={"lease": "5m"})).json()
    path, token = f"/v1/tasks/{made['id']}", claimed["token"]
    assert (claimed["task"]["id"], claimed["task"]["assigned_to"]) == (made["id"], "ann")
    assert (await client.post(f"{path}/start", json={"token": token})).json()["state"] == "running"
    beat = (await client.post(f"{path}/heartbeat", json={"token": token})).json()
    assert (beat["cancel_requested"], beat["lease_expires_at"] is None) == (False, False)
    assert (await client.post(f"{path}/progress", json={"token": token, "percent": 50})).json()["progress"] == 50
    done = await client.post(f"{path}/complete", json={"token": token, "output": {"ok": True}})
    assert (done.status_code, done.json()["state"], done.json()["output"]) == (200, "completed", {"ok": True})
    waited = (await client.get(f"{path}/wait", params={"timeout": "1s"})).json()
    assert (waited["ended"], waited["task"]["state"]) == (True, "completed")
    assert [one["state"] for one in (await client.get(f"{path}/attempts")).json()["items"]] == ["completed"]
    kinds = [one["kind"] for one in (await client.get("/v1/events", params={"task_id": made["id"]})).json()["items"]]
    assert (kinds[0], kinds[-1]) == ("task.created", "task.completed")


async def test_workflows(client: httpx.AsyncClient) -> None:
    steps = [{"name": "read"}, {"name": "sign"}]
    answer = await client.post("/v1/workflows", json={"kind": "pipeline", "name": "review", "tasks": steps})
    assert answer.status_code == 201
    path = f"/v1/workflows/{answer.json()['id']}"
    assert answer.headers["location"] == path
    assert [one["name"] for one in (await client.get(path)).json()["tasks"]] == ["read", "sign"]
    added = await client.post(f"{path}/tasks", json={"tasks": [{"name": "file"}]})
    assert (added.status_code, [one["name"] for one in added.json()["items"]]) == (201, ["file"])
    assert (await client.post(f"{path}/cancel")).json()["state"] == "cancelled"
    assert (await client.post(f"{path}/retry")).json()["state"] in ("pending", "running")
    assert (await client.get(f"{path}/wait", params={"timeout": 0})).json()["ended"] is False
    assert [one["id"] for one in (await client.get("/v1/workflows")).json()["items"]] == [answer.json()["id"]]


async def test_create_answers_where_it_is_and_nothing_to_do_is_204(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/tasks", json={"title": "Read it"})
    assert answer.headers["location"] == f"/v1/tasks/{answer.json()['id']}"
    assert (await client.get(answer.headers["location"])).json() == answer.json()
    assert (await client.post("/v1/tasks/next")).status_code == 200
    nothing = await client.post("/v1/tasks/next")
    assert (nothing.status_code, nothing.content) == (204, b"")
    many = await client.post("/v1/tasks/bulk", json={"tasks": [{"name": "a"}, {"name": "b", "depends_on": ["a"]}]})
    assert (many.status_code, [one["state"] for one in many.json()["items"]]) == (201, ["pending", "blocked"])
    assert (await client.get("/v1/orgs")).json() == {"items": ["acme"]}


# ----- refusals


async def test_no_caller_no_role_and_no_such_thing(client: httpx.AsyncClient) -> None:
    nobody = await client.get("/v1/tasks", headers={"Authorization": "Basic eA=="})
    assert_problem(nobody, 401, "unauthenticated")
    assert nobody.headers["www-authenticate"].startswith("Bearer")
    viewer = await client.post("/v1/tasks", json={"title": "x"}, headers=as_caller(role=Role.VIEWER))
    assert assert_problem(viewer, 403, "forbidden")["facts"] == {"operation": "create_task", "role": "agent"}
    made = await create(client)
    foreign = await client.get(f"/v1/tasks/{made['id']}", headers=as_caller("umbrella"))
    unknown = await client.get(f"/v1/tasks/{NOBODY}", headers=as_caller("umbrella"))
    said = [assert_problem(answer, 404, "not_found") for answer in (foreign, unknown)]
    assert [one["detail"].replace(made["id"], NOBODY) for one in said] == [said[1]["detail"]] * 2


async def test_an_unknown_body_is_not_read_before_its_sender_is_known(client: httpx.AsyncClient) -> None:
    read = False

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        read = True
        yield b"{"

    for content_type in ("application/json", "text/plain"):
        answer = await client.post(
            "/v1/tasks", content=body(), headers={"Authorization": "", "Content-Type": content_type}
        )
        assert_problem(answer, 401, "unauthenticated")
    assert not read


async def test_what_is_no_json(client: httpx.AsyncClient) -> None:
    json_type = {"Content-Type": "application/json"}
    for content in (b"{", b"\xff", b"[" * 100_000, b""):
        answer = await client.post("/v1/tasks", content=content, headers=json_type)
        assert_problem(answer, *((400, "malformed_json") if content else (422, "invalid_input")))
    for headers in ({}, {"Content-Type": "text/plain"}, {"Content-Type": "application/jsonp"}):
        answer = await client.post("/v1/tasks", content=b'{"title": "x"}', headers=headers)
        assert_problem(answer, 415, "not_json")
    answer = await client.post(
        "/v1/tasks", content=b'{"title": "x"}', headers={"Content-Type": "application/json; charset=utf-8"}
    )
    assert answer.status_code == 201


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, ""),
        ({"title": 5}, "title"),
        ({"title": "x", "titel": "y"}, "titel"),
        ({"title": "x", "priority": "huge"}, "priority"),
        ({"title": "x", "timeout": "soon"}, "timeout"),
        ({"title": "x", "labels": ["a", ""]}, "labels.1"),
        ({"title": "x", "retry": {"maximum": 0.5}}, "retry"),
    ],
)
async def test_a_wrong_field_is_named(client: httpx.AsyncClient, body: Any, field: str) -> None:
    said = assert_problem(await client.post("/v1/tasks", json=body), 422, "invalid_input")
    assert [(one["place"], one["field"]) for one in said["errors"]] == [("body", field)]


async def test_what_the_facade_refuses(client: httpx.AsyncClient) -> None:
    made = await create(client)
    path = f"/v1/tasks/{made['id']}"
    stale = await client.post(f"{path}/complete", json={"token": "wrong"})
    assert stale.status_code == 409
    assert stale.json()["facts"]["task_id"] == made["id"]
    await client.post(f"{path}/cancel")
    assert_problem(await client.post(f"{path}/claim"), 409, "illegal_move")
    assert_problem(
        await client.post("/v1/tasks", json={"title": "x", "depends_on": [NOBODY]}), 422, "unknown_dependency"
    )
    large = await client.post("/v1/tasks", json={"title": "x", "input": "x" * 1_100_000})
    assert assert_problem(large, 413, "payload_too_large")["facts"]["field"] == "input"
    assert_problem(await client.get("/v1/tasks", params={"cursor": "nonsense"}), 422, "invalid_input")
    assert_problem(await client.get("/v1/tasks", params={"limit": 0}), 422, "invalid_input")
    assert_problem(await client.get("/v1/tasks", params={"colour": "red"}), 422, "invalid_input")


async def test_text_that_is_no_text_is_refused_and_answered_in_text(client: httpx.AsyncClient) -> None:
    for body in (b'{"title": "\\ud800"}', b'{"title": "x", "input": "\\ud800"}', b'{"title": "x", "\\ud800": 1}'):
        answer = await client.post("/v1/tasks", content=body, headers={"Content-Type": "application/json"})
        assert_problem(answer, 422, "invalid_input")
        answer.content.decode()


async def test_a_large_value_does_not_come_back(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/tasks", json={"title": "x", "priority": "x" * 100_000})
    assert_problem(answer, 422, "invalid_input")
    assert len(answer.content) < 10_000
    answer = await client.get("/v1/tasks", params={"cursor": "x" * 1000})
    assert assert_problem(answer, 422, "invalid_input")["facts"] == {}


async def test_paths_and_methods_that_are_not(client: httpx.AsyncClient) -> None:
    for path in ("/v1/nothing", "/v1/tasks/", "/", "/v1/tasks/a/b/c"):
        assert_problem(await client.get(path), 404, "no_such_path")
    wrong = await client.delete("/v1/tasks")
    assert_problem(wrong, 405, "method_not_allowed")
    assert wrong.headers["allow"] == "OPTIONS, GET, HEAD, POST"
    asked = await client.options("/v1/tasks/x")
    assert (asked.status_code, asked.content, asked.headers["allow"]) == (204, b"", "OPTIONS, GET, HEAD, PATCH")
    made = await create(client)
    got, head = [await client.request(method, f"/v1/tasks/{made['id']}") for method in ("GET", "HEAD")]
    assert (head.status_code, head.headers["etag"]) == (200, got.headers["etag"])


async def test_the_size_of_a_request_is_limited_with_and_without_its_length(tmp_path: Path) -> None:
    async def in_pieces() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b" " * 500

    async with api(tmp_path, max_body=2000) as (_, client):
        fits = json.dumps({"title": "x", "input": "x" * 1800})
        for content, status in ((fits, 201), (fits + " " * 2000, 413), (in_pieces(), 413)):
            answer = await client.post("/v1/tasks", content=content, headers={"Content-Type": "application/json"})
            assert answer.status_code == status, answer.text
        assert_problem(answer, 413, "request_too_large")


async def test_faults_of_ours_show_nothing_and_are_logged(
    served: tuple[DurableTasks, httpx.AsyncClient], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _, client = served

    async def broken(*_: Any) -> None:
        raise RuntimeError("the secret of /etc/passwd")

    monkeypatch.setattr(Store, "get", broken)
    answer = await client.get(f"/v1/tasks/{NOBODY}", headers={"X-Request-Id": "mine-1"})
    assert_problem(answer, 500, "error")
    assert "secret" not in answer.text
    (record,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert (record.request_id, record.exc_info is not None) == ("mine-1", True)  # type: ignore[attr-defined]


async def test_without_temporal_its_operations_are_unavailable(client: httpx.AsyncClient) -> None:
    operator = as_caller(role=Role.OPERATOR)
    made = await create(client)
    for answer in (
        await client.get(f"/v1/tasks/{made['id']}/durable", headers=operator),
        await client.get(f"/v1/tasks/{made['id']}/query/status", headers=operator),
        await client.post(f"/v1/tasks/{made['id']}/signal", json={"signal": "cancel"}, headers=operator),
    ):
        assert_problem(answer, 503, "configuration")
        assert answer.headers["retry-after"]


async def test_a_stopped_store_is_unavailable_and_not_ready(tmp_path: Path) -> None:
    async with api(tmp_path) as (tasks, client):
        ready = await client.get("/readyz", headers={"Authorization": ""})
        well = {"ready": True, "store": "writable", "temporal": "off", "failing": []}
        assert (ready.status_code, ready.json()) == (200, well)
        for _ in range(3):
            tasks.parts.note_failure("engine")
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()) == (503, {**well, "ready": False, "failing": ["engine"]})
        await tasks.stop()
        answer = await client.get("/v1/tasks")
        assert_problem(answer, 503, "closed")
        assert answer.headers["retry-after"]
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["store"]) == (503, "closed")
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        assert [(await client.head(path)).status_code for path in ("/healthz", "/readyz")] == [200, 503]


# ----- keys, versions, pages, ids


async def test_a_key_in_the_header_is_the_field(client: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "k1"}
    first = await client.post("/v1/tasks", json={"title": "once"}, headers=key)
    again = await client.post("/v1/tasks", json={"title": "once", "idempotency_key": "k1"})
    assert (again.json()["id"], again.json()["idempotency_key"]) == (first.json()["id"], "k1")
    other = await client.post("/v1/tasks", json={"title": "twice"}, headers=key)
    assert_problem(other, 409, "idempotency_conflict")
    contradicts = await client.post("/v1/tasks", json={"title": "once", "idempotency_key": "k2"}, headers=key)
    assert_problem(contradicts, 422, "invalid_input")
    group = {"kind": "dag", "name": "g", "tasks": [{"name": "a"}]}
    groups = [(await client.post("/v1/workflows", json=group, headers=key)).json()["id"] for _ in range(2)]
    assert groups[0] == groups[1]


async def test_a_key_is_the_id_of_a_command(client: httpx.AsyncClient) -> None:
    made = await create(client)
    path, key = f"/v1/tasks/{made['id']}", {"Idempotency-Key": "c1"}
    first = await client.patch(path, json={"title": "new"}, headers=key)
    await client.patch(path, json={"title": "newer"})
    assert (await client.patch(path, json={"title": "new"}, headers=key)).json() == first.json()
    contradicts = await client.post(f"{path}/cancel", json={"command_id": "c2"}, headers=key)
    assert_problem(contradicts, 422, "invalid_input")


async def test_a_version_guards_an_edit(client: httpx.AsyncClient) -> None:
    made = await client.post("/v1/tasks", json={"title": "x"})
    path, tag = made.headers["location"], made.headers["etag"]
    edited = await client.patch(path, json={"title": "y"}, headers={"If-Match": tag})
    assert edited.status_code == 200
    assert edited.headers["etag"] != tag
    late = await client.patch(path, json={"title": "z"}, headers={"If-Match": tag})
    assert_problem(late, 412, "precondition_failed")
    assert_problem(await client.patch(path, json={"title": "z", "version": 1}), 409, "version_conflict")
    for junk in ("x", '"x"', 'W/"2"', '"1", "2"', '""'):
        answer = await client.patch(path, json={"title": "z"}, headers={"If-Match": junk})
        assert_problem(answer, 412, "precondition_failed")
    contradicts = await client.patch(path, json={"title": "z", "version": 1}, headers={"If-Match": '"2"'})
    assert_problem(contradicts, 422, "invalid_input")
    assert (await client.patch(path, json={"title": "any"}, headers={"If-Match": "*"})).json()["title"] == "any"


async def test_links_lead_through_every_page(client: httpx.AsyncClient) -> None:
    for number in range(5):
        await create(client, title=f"task {number}", labels=["a & b"])
    await create(client, title="other")
    seen: list[str] = []
    answer = await client.get("/v1/tasks", params={"limit": 2, "labels": "a & b", "priority": ["1", "urgent"]})
    while True:
        seen += [task["title"] for task in answer.json()["items"]]
        if "link" not in answer.headers:
            break
        assert answer.links["next"]["url"].startswith("/v1/tasks?")
        answer = await client.get(answer.links["next"]["url"])
    assert seen == [f"task {number}" for number in range(5)]
    assert answer.json()["next_cursor"] is None


async def test_the_id_of_a_request_is_kept_when_it_is_sane(client: httpx.AsyncClient) -> None:
    mine = await client.get("/v1/tasks", headers={"X-Request-Id": "trace-1.a"})
    assert mine.headers["x-request-id"] == "trace-1.a"
    made = [
        (await client.get("/nothing", headers={"X-Request-Id": bad})).headers["x-request-id"]
        for bad in ("", "x" * 200, 'a"b', "a b")
    ]
    assert len(set(made)) == 4
    assert all(len(one) == 24 for one in made)


# ----- graphs


async def test_a_graph_comes_in_two_forms(client: httpx.AsyncClient) -> None:
    members = [{"name": "a", "title": 'say "hi" <b>'}, {"name": "b", "depends_on": ["a"]}]
    made = (await client.post("/v1/workflows", json={"kind": "dag", "name": "g", "tasks": members})).json()
    path = f"/v1/workflows/{made['id']}/graph"
    plain = (await client.get(path)).json()
    assert plain["nodes"][1]["depends_on"] == [plain["nodes"][0]["id"]]
    accepted = await client.get(path, headers={"Accept": MEDIA_TYPE})
    chosen = await client.get(path, params={"format": "mermaid"})
    assert accepted.headers["content-type"].startswith(MEDIA_TYPE)
    assert accepted.text == chosen.text
    assert chosen.text.splitlines()[:4] == [
        "flowchart LR",
        '  t0["say #34;hi#34; #60;b#62;"]:::pending',
        '  t1["b"]:::blocked',
        "  t0 --> t1",
    ]
    assert (await client.get(path, params={"format": "json"}, headers={"Accept": MEDIA_TYPE})).json() == plain
    assert_problem(await client.get(path, params={"format": "svg"}), 422, "invalid_input")


# ----- waiting


async def test_waits_end_when_the_server_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = event_of_a_wait(monkeypatch)
    async with api(tmp_path) as (_, client):
        made = await create(client)
        path = f"/v1/tasks/{made['id']}/wait?timeout=60"
        app = client._transport.app  # type: ignore[attr-defined]
        async with asyncio.timeout(10):
            waiting = asyncio.create_task(client.get(path))
            await looked.wait()
            app.leave()
            assert_problem(await waiting, 503, "closed")
            assert_problem(await client.get(path), 503, "closed")


async def test_the_waits_of_an_organisation_are_counted() -> None:
    waits = Waits(most=2)
    ann, bob, cyd, other = (
        Principal(org=org_id, subject=subject, roles=frozenset())
        for org_id, subject in (("acme", "ann"), ("acme", "bob"), ("acme", "cyd"), ("umbrella", "ann"))
    )

    async def is_refused(principal: Principal, said: str) -> None:
        with pytest.raises(Refusal, match=said) as refused:
            async with waits.waiting(principal):
                pass
        assert (refused.value.status_code, refused.value.code) == (429, "too_many_waits")

    async with waits.waiting(ann):
        await is_refused(ann, "'ann' waits 1 times")
        async with waits.waiting(bob), waits.waiting(other):
            await is_refused(cyd, "'acme' waits 2 times")
    async with waits.waiting(ann):
        pass


def test_a_parent_outside_of_the_workflow_is_left_out() -> None:
    node = Node(id="1", name="n", title="n", state=TaskState.PENDING, depends_on=("0",))
    assert "-->" not in flowchart(Graph(workflow_id="w", nodes=(node,)))
