"""The example `examples/orders.py` over HTTP: an order and its task exist both or neither.

It must not know how the example is written.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.running import environment, free_port
from tests.web.test_workers import hear


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uvicorn", "--factory", "examples.orders:create", "--port", str(port)),
        env={**environment(), "TASKS_DB": str(tmp_path / "shop.db")}, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        await hear(process, "Application startup complete")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield client
    finally:
        process.terminate()
        await process.communicate()


async def items(shop: httpx.AsyncClient, path: str) -> list[dict[str, Any]]:
    found = (await shop.get(path)).json()
    listed: list[dict[str, Any]] = found["items"] if isinstance(found, dict) else found
    return listed


async def test_an_order_and_its_task_exist_both_or_neither(shop: httpx.AsyncClient) -> None:
    placed = await shop.post("/orders", json={"item": "shoes", "pieces": 2})
    assert placed.status_code == 201
    waited = (await shop.get(f"/tasks/v1/tasks/{placed.json()['task_id']}/wait")).json()
    assert (waited["ended"], waited["task"]["state"]) == (True, "completed")

    refused = await shop.post("/orders", json={"item": "shoes", "pieces": 2})
    assert refused.status_code == 409
    assert [order["state"] for order in await items(shop, "/orders")] == ["shipped"]
    assert [task["id"] for task in await items(shop, "/tasks/v1/tasks")] == [placed.json()["task_id"]]
    assert {event["task_id"] for event in await items(shop, "/tasks/v1/events")} == {placed.json()["task_id"]}


async def test_many_at_once_share_the_stock(shop: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(shop.post("/orders", json={"item": "shoes"}) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [409] * 5
    assert len(await items(shop, "/orders")) == len(await items(shop, "/tasks/v1/tasks")) == 3
