"""The API's document: every operation is on the page, nothing of another host, and it is made once for all who ask.

It must not know how it is made.
"""

from pathlib import Path

import httpx
import pytest

from durable_tasks import DurableTasks, Settings
from durable_tasks.operations.table import OPERATIONS
from durable_tasks.web.app import create_app


@pytest.fixture
async def page(tmp_path: Path) -> httpx.Response:
    app = create_app(DurableTasks(Settings(db=tmp_path / "tasks.db")), authenticate="none")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        return await client.get("/docs")


async def test_every_operation_is_there(page: httpx.Response) -> None:
    assert page.status_code == 200
    assert [o.name for o in OPERATIONS.values() if f"{o.method} /v1{o.path}</code>" not in page.text] == []


async def test_it_runs_nothing_and_asks_nobody(page: httpx.Response) -> None:
    assert "<script" not in page.text
    assert "://" not in page.text
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize("path", ["/docs", "/openapi.json"])
async def test_who_has_it_already_is_not_sent_it_again(tmp_path: Path, path: str) -> None:
    app = create_app(DurableTasks(Settings(db=tmp_path / "tasks.db")), authenticate="none")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        first = await client.get(path)
        again = await client.get(path, headers={"If-None-Match": first.headers["etag"]})
        plain = await client.get(path, headers={"Accept-Encoding": "identity"})
    assert (first.status_code, first.headers["content-encoding"]) == (200, "gzip")
    assert (again.status_code, again.content) == (304, b"")
    assert plain.text == first.text


async def test_it_is_put_into_words_once(tmp_path: Path) -> None:
    app = create_app(DurableTasks(Settings(db=tmp_path / "tasks.db")), authenticate="none")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        first = [(await client.get(path)).content for path in ("/docs", "/openapi.json")]
        app.openapi_schema = {"paths": {}, "info": {"title": "another", "description": ""}}
        assert [(await client.get(path)).content for path in ("/docs", "/openapi.json")] == first
