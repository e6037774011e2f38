"""Agents: the official client over each transport, and what it reads of an answer or a refusal.

It must not know what a test is about.
"""

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import uvicorn
from mcp import Client, StdioServerParameters, types
from mcp.client.streamable_http import streamable_http_client
from starlette.applications import Starlette
from starlette.routing import Route

from durable_tasks import DurableTasks
from durable_tasks.access import Asking, Principal, Role
from durable_tasks.errors import Unauthenticated
from durable_tasks.mcp_server.server import mcp_server
from durable_tasks.operations.operation import Host
from durable_tasks.web.mcp import mcp_app
from tests.cli.running import environment

IN_PROCESS = ("modern", "legacy", "http")
TRANSPORTS = (*IN_PROCESS, "stdio")
DEADLINE = 30.0


def principal(role: Role = Role.AGENT, *, org: str = "default", subject: str = "ann") -> Principal:
    return Principal(org=org, subject=subject, roles=frozenset({role}))


ANN = principal()


class Agent:
    """Calls tools by name: `await agent("get_task", task_id=…)`."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def __call__(self, tool: str, /, **arguments: Any) -> Any:
        result = await self.call(tool, arguments)
        assert not result.is_error, result.content
        assert self._text(result) == result.structured_content
        return result.structured_content

    async def refused(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        result = await self.call(tool, arguments)
        assert result.is_error
        assert result.structured_content is None
        said = self._text(result)
        assert set(said) == {"code", "message", "next_step", "facts"}
        assert said["message"]
        assert said["next_step"]
        return said

    async def call(self, tool: str, arguments: dict[str, Any]) -> types.CallToolResult:
        async with asyncio.timeout(DEADLINE):
            return await self.client.call_tool(tool, arguments)

    async def tools(self) -> dict[str, types.Tool]:
        async with asyncio.timeout(DEADLINE):
            return {tool.name: tool for tool in (await self.client.list_tools()).tools}

    def _text(self, result: types.CallToolResult) -> dict[str, Any]:
        (content,) = result.content
        assert isinstance(content, types.TextContent)
        said: dict[str, Any] = json.loads(content.text)
        return said


@asynccontextmanager
async def agent(tasks: Host, who: Principal = ANN, transport: str = "modern", **variables: str) -> AsyncIterator[Agent]:
    """Somebody connected to `tasks`; over stdio through a process of its own on the same file, with `variables` in its
    environment."""
    if transport == "http":
        async with served(tasks, {"secret": who}) as url, http_client(url, "secret") as client:
            yield Agent(client)
        return
    if transport == "stdio":
        assert isinstance(tasks, DurableTasks)
        async with Client(stdio(tasks, who, variables)) as client:
            yield Agent(client)
        return
    server = mcp_server(tasks, lambda context: who)
    async with Client(server, mode="legacy" if transport == "legacy" else "auto") as client:
        yield Agent(client)


def stdio(tasks: DurableTasks, who: Principal, variables: Mapping[str, str]) -> StdioServerParameters:
    (role,) = who.roles
    options = ("--db", tasks.settings.db, "--org", who.org, "--agent", who.subject, "--role", role.name.lower())
    return StdioServerParameters(
        command=sys.executable,
        args=["-m", "durable_tasks", "mcp", *map(str, options)],
        env={**environment(), **variables},
        cwd=tasks.settings.db.parent,
    )


@asynccontextmanager
async def http_client(url: str, token: str) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}) as wire,
        Client(streamable_http_client(url, http_client=wire)) as client,
    ):
        yield client


class _Uvicorn(uvicorn.Server):
    ready: asyncio.Event

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


@asynccontextmanager
async def served(tasks: Host, tokens: Mapping[str, Principal], **options: Any) -> AsyncIterator[str]:
    """The URL of a real server on a free port. `tokens`: who each bearer token is."""

    async def authenticate(request: Asking) -> Principal:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or token not in tokens:
            raise Unauthenticated("give a token")
        return tokens[token]

    app, lifespan = mcp_app(tasks, authenticate, **options)
    web = Starlette(routes=[Route("/mcp", app)], lifespan=lambda _: lifespan())
    server = _Uvicorn(uvicorn.Config(web, log_config=None, lifespan="on"))
    server.ready = asyncio.Event()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        serving = asyncio.create_task(server.serve([listener]))
        try:
            async with asyncio.timeout(DEADLINE):
                await server.ready.wait()
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
        finally:
            server.should_exit = True
            async with asyncio.timeout(DEADLINE):
                await serving
