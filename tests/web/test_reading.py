"""The page /docs: every operation is there, and nothing of another host.

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
