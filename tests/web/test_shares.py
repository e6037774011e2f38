"""Shares over HTTP: who asks too often, or proves nothing too often, is told when to ask again, and keeps nobody out.

It must not test how buckets or turns work.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from durable_tasks import DurableTasks, Settings
from durable_tasks.client import Client
from durable_tasks.testing import ManualClock
from durable_tasks.web import shares as web_shares
from durable_tasks.web.app import create_app
from durable_tasks.web.shares import Shares
from tests.web.asking import as_caller, authenticate
from tests.web.listening import spin_until

DEADLINE = 30.0
WRONG = {"Authorization": "Bearer nonsense"}


@asynccontextmanager
async def limited(folder: Path, **settings: Any) -> AsyncIterator[tuple[ManualClock, httpx.AsyncClient]]:
    """A clock that stands still, and a client of the API, who is ann of acme."""
    clock = ManualClock()
    tasks = DurableTasks(Settings(db=folder / "tasks.db", worker=False, **settings), clock=clock)
    transport = httpx.ASGITransport(create_app(tasks, authenticate=authenticate))
    async with (
        tasks.lifespan(),
        httpx.AsyncClient(transport=transport, base_url="http://api", headers=as_caller()) as client,
    ):
        yield clock, client


async def statuses(client: httpx.AsyncClient, times: int, path: str = "/v1/tasks", **headers: str) -> list[int]:
    return [(await client.get(path, headers=headers)).status_code for _ in range(times)]


async def test_a_caller_who_asks_too_often_is_told_when_to_ask_again(tmp_path: Path) -> None:
    async with limited(tmp_path, caller_rate=1) as (clock, client):
        assert await statuses(client, 2) == [200, 200]
        refused = await client.get("/v1/tasks")
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert refused.headers["Retry-After"] == "1"
        assert refused.json()["facts"]["retry_after"] == 1.0
        assert await statuses(client, 1, **as_caller(subject="bob")) == [200], "another is not held to it"
        await clock.advance(1)
        assert await statuses(client, 2) == [200, 429]


async def test_an_organisation_that_asks_too_often_keeps_out_itself(tmp_path: Path) -> None:
    async with limited(tmp_path, org_rate=1) as (_, client):
        assert await statuses(client, 1) == [200]
        assert await statuses(client, 2, **as_caller(subject="bob")) == [200, 429]
        assert await statuses(client, 1, **as_caller(org="beta")) == [200]


@pytest.mark.parametrize("path", ["/v1/tasks", "/api/tasks", "/mcp"])
async def test_every_surface_says_when_to_ask_again(tmp_path: Path, path: str) -> None:
    async with limited(tmp_path, caller_rate=1) as (_, client):
        await statuses(client, 2)
        refused = await client.post(
            path, json={"title": "x"}, headers={"Accept": "application/json, text/event-stream"}
        )
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
    assert "ask too often" in refused.text


async def test_a_server_without_limits_asks_nobody_to_wait(tmp_path: Path) -> None:
    async with limited(tmp_path, caller_rate=1, limits=False) as (_, client):
        assert set(await statuses(client, 10)) == {200}
        assert set(await statuses(client, 30, **WRONG)) == {401}


async def test_wrong_tokens_of_one_address_are_answered_late_and_good_ones_at_once(tmp_path: Path) -> None:
    async with limited(tmp_path) as (clock, client):
        assert await statuses(client, 20, **WRONG) == [401] * 20
        late = asyncio.gather(*(client.get("/v1/tasks", headers=WRONG) for _ in range(10)))
        for subject in ("ann", "new", "newer"):
            assert await statuses(client, 1, **as_caller(subject=subject)) == [200], "whether it was seen before or not"
        assert not late.done()
        async with asyncio.timeout(DEADLINE):
            while not late.done():
                await clock.advance(0.5)
        assert {answer.status_code for answer in await late} == {401}


async def test_wrong_tokens_that_come_at_once_are_no_more_than_one_by_one(tmp_path: Path) -> None:
    async with limited(tmp_path) as (clock, client):
        coming = [asyncio.ensure_future(client.get("/v1/tasks", headers=WRONG)) for _ in range(50)]
        await spin_until(lambda: sum(one.done() for one in coming) >= 20)
        assert await statuses(client, 1) == [200]
        assert sum(one.done() for one in coming) == 20
        async with asyncio.timeout(DEADLINE):
            while not all(one.done() for one in coming):
                await clock.advance(0.5)


async def test_who_asks_again_at_once_is_refused_late(tmp_path: Path) -> None:
    async with limited(tmp_path, caller_rate=1) as (clock, client):
        assert await statuses(client, 2 + 40) == [200] * 2 + [429] * 40
        late = asyncio.ensure_future(client.get("/v1/tasks"))
        assert await statuses(client, 1, **as_caller(org="beta")) == [200], "others are answered meanwhile"
        assert not late.done()
        async with asyncio.timeout(DEADLINE):
            while not late.done():
                await clock.advance(0.5)
        assert (await late).status_code == 429


async def test_the_client_waits_as_long_as_it_is_told(tmp_path: Path) -> None:
    async with (
        limited(tmp_path, caller_rate=1) as (clock, http),
        Client("http://api", http=http, clock=clock) as client,
    ):
        asked = clock.steady()
        made = asyncio.gather(*(client.create(f"task {number}") for number in range(4)))
        async with asyncio.timeout(DEADLINE):
            while not made.done():
                await clock.advance(0.25)
        assert len({task.id for task in await made}) == 4
        assert clock.steady() - asked >= 2, "two at once, and then one a second"


def test_a_proof_that_is_used_again_and_again_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_shares, "_REMEMBERED", 2)
    shares = Shares(Settings(db=tmp_path / "tasks.db"), ManualClock())
    for proof in ("used", "other", "used", "new"):
        shares.proved(proof, "acme")
    assert [shares.line("here", proof) for proof in ("used", "other", "new")] == ["acme", "@here", "acme"]
