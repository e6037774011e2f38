"""Visiting every address that a command has printed, as a browser, a program, an agent and Prometheus do.

It must not know which command it was.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.mcp_server.agents import Agent

_LONGEST = 60.0


async def visit(found: Mapping[str, Any]) -> None:
    """All of them answer, and all speak of the same file."""
    async with asyncio.timeout(_LONGEST), httpx.AsyncClient(timeout=_LONGEST) as client:
        made = await client.post(f"{found['api']}/tasks", json={"title": "over HTTP", "mode": "manual"})
        assert made.status_code == 201
        assert (await client.get(found["dashboard"])).headers["content-type"] == "text/html; charset=utf-8"
        assert "openapi.json" in (await client.get(found["docs"])).text
        assert (await client.get(found["openapi"])).json()["info"]["title"] == "durable_tasks"
        assert "durable_tasks_open_tasks" in (await client.get(found["metrics"])).text
        await hear(client, found["events"], made.json()["id"])
        async with Client(streamable_http_client(found["mcp"])) as connected:
            agent = Agent(connected)
            assert (await agent("get_task", task_id=made.json()["id"]))["title"] == "over HTTP"
            theirs = await agent("create_task", title="over MCP", mode="manual")
        seen = await client.get(f"{found['api']}/tasks/{theirs['id']}")
        assert (seen.json()["title"], seen.json()["created_by"]) == ("over MCP", "local")


async def hear(client: httpx.AsyncClient, stream: str, task_id: str) -> None:
    """Listen until something happens to the task."""
    async with client.stream("GET", stream, params={"after": 0}) as answer:
        async for line in answer.aiter_lines():
            if line.startswith("data:") and task_id in line:
                return
    raise AssertionError("the stream ended")
