"""What the log says of requests that are not served: one line with the reason, and not more lines than one can read.

It must not test what is refused.
"""

import json
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from durable_tasks.access import Role
from durable_tasks.errors import StoreFull
from durable_tasks.store.store import Store
from durable_tasks.web.refusals import Refusals
from tests.cli.running import started
from tests.web.asking import api, as_caller

log = logging.getLogger("durable_tasks.web")
NOT_SERVED = ("a request was refused", "a request could not be served")


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [vars(record) for record in caplog.records if record.getMessage() in NOT_SERVED]


@pytest.mark.parametrize("path", ["/v1/tasks", "/mcp", "/api/tasks"])
async def test_who_proves_nothing_leaves_a_line(tmp_path: Path, caplog: pytest.LogCaptureFixture, path: str) -> None:
    async with api(tmp_path) as (_, client):
        refused = await client.post(path, json={}, headers={"Authorization": "Bearer nonsense", "X-Request-Id": "r-1"})
    assert refused.status_code == 401
    (line,) = lines(caplog)
    assert (line["status"], line["request_id"], line["path"]) == (401, "r-1", path)
    assert line["said"] == "give Authorization: Bearer org:subject:role"
    assert "subject" not in line
    assert "nonsense" not in str(line)


@pytest.mark.parametrize("path", ["/v1/tasks", "/api/tasks"])
async def test_who_may_not_leaves_a_line_with_the_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    async with api(tmp_path) as (_, client):
        headers = as_caller(subject="vera", role=Role.VIEWER)
        assert (await client.post(path, json={"title": "x"}, headers=headers)).status_code == 403
    (line,) = lines(caplog)
    assert (line["status"], line["error"], line["org_id"], line["subject"]) == (403, "forbidden", "acme", "vera")
    assert "agent" in line["said"]


async def test_what_the_server_cannot_do_is_said_to_the_log_in_full(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*arguments: Any, **options: Any) -> None:
        raise StoreFull("the disk of /srv/tasks.db is full")

    async with api(tmp_path) as (_, client):
        monkeypatch.setattr(Store, "get", full)
        answer = await client.get("/v1/tasks/1")
    assert answer.status_code == 507
    (line,) = lines(caplog)
    assert line["said"] == "the disk of /srv/tasks.db is full"
    assert line["request_id"] == answer.json()["request_id"]


async def test_what_is_refused_by_its_state_leaves_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with api(tmp_path) as (_, client):
        assert (await client.get("/v1/tasks/1")).status_code == 404
        assert (await client.post("/v1/tasks", json={})).status_code == 422
    assert lines(caplog) == []


def test_a_flood_of_refusals_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    at = 0.0
    refusals = Refusals(log, lambda: at)
    for _ in range(1000):
        refusals.tell(401, {})
    assert len(lines(caplog)) == 10
    refusals.tell(403, {"org_id": "acme"})
    assert len(lines(caplog)) == 11, "another's line is not lost in it"
    at += 10.0
    refusals.tell(401, {})
    assert lines(caplog)[-1]["left_out"] == 990


async def test_the_log_of_a_server_is_for_machines_where_that_is_wanted(tmp_path: Path) -> None:
    options = ("--port", "0", "--log-level", "info", "--log-json", "--json")
    async with started("serve", "--db", "app.db", *options, cwd=tmp_path) as server:
        await server.hear("READY")
        assert server.process.stdout is not None
        url = json.loads(await server.process.stdout.readline())["url"]
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            await client.get("/v1/tasks", headers={"X-Request-Id": "r-7"})
        line = json.loads(await server.hear("answered a request"))
    assert (line["request_id"], line["path"], line["status"], line["level"]) == ("r-7", "/v1/tasks", 200, "info")


async def test_and_for_people_else(tmp_path: Path) -> None:
    async with started("serve", "--db", "app.db", "--port", "0", "--json", cwd=tmp_path) as server:
        await server.hear("READY")
        assert server.process.stdout is not None
        url = json.loads(await server.process.stdout.readline())["url"]
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            headers = {"Origin": "http://evil.example", "X-Request-Id": "r-8"}
            assert (await client.post("/v1/tasks", json={"title": "x"}, headers=headers)).status_code == 403
        line = await server.hear("a request was refused")
    assert "WARNING durable_tasks.web" in line
    assert "request_id=r-8" in line
    assert "status=403" in line
