"""Silent, slow and many connections: they keep nobody else out, whoever opens them.

It must not test operations.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from durable_tasks import DurableTasks, Settings
from durable_tasks.web import connections, envelope
from durable_tasks.web.server import serving
from tests.cli.running import started
from tests.web.listening import spin_until

HEAD = b"POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
LIMITED = (
    "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (192, 192));"
    "from durable_tasks.cli.main import main; main()"
)
"""`durable-tasks` in a process of few descriptors: of 192 it uses 96 for connections."""
ROOM = 96


@asynccontextmanager
async def small_server(folder: Path) -> AsyncIterator[str]:
    arguments = ("serve", "--db", "app.db", "--port", "0", "--json")
    async with started(*arguments, cwd=folder, program=("-c", LIMITED)) as command:
        await command.hear("READY")
        assert command.process.stdout is not None
        yield json.loads(await command.process.stdout.readline())["url"]


async def connected(
    url: str, stack: AsyncExitStack, said: bytes = b""
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    stack.callback(writer.close)
    writer.write(said)
    return reader, writer


@pytest.mark.parametrize("said", [b"", b"GET /v1/tasks HTTP/1.1\r\nHost: loc", HEAD], ids=["nothing", "half", "head"])
async def test_silent_connections_make_room(tmp_path: Path, said: bytes) -> None:
    async with small_server(tmp_path) as url, AsyncExitStack() as stack:
        for _ in range(3 * ROOM):
            await connected(url, stack, said)
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            assert (await client.post("/v1/tasks", json={"title": "x"})).status_code == 201


async def test_slow_bodies_of_one_caller_leave_room_for_others(tmp_path: Path) -> None:
    slow = HEAD + b"Content-Length: 1000\r\n\r\n{"
    async with small_server(tmp_path) as url, AsyncExitStack() as stack:
        slowly = [await connected(url, stack, slow) for _ in range(2 * ROOM)]
        async with asyncio.timeout(60):
            refused = [await _first(reader) for reader, _ in slowly[ROOM:]]
        assert {line[:12] for line in refused} <= {b"HTTP/1.1 429", b"HTTP/1.1 503", b""}
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            assert (await client.get("/healthz")).status_code == 200


async def test_a_full_server_says_so_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("durable_tasks.web.server.connections", lambda: 1)
    async with serving(DurableTasks(Settings(db=tmp_path / "tasks.db")), port=0) as url, AsyncExitStack() as stack:
        async with asyncio.timeout(30):
            first, _ = await connected(url, stack, HEAD + b"Content-Length: 9\r\nExpect: 100-continue\r\n\r\n")
            assert await first.readline() == b"HTTP/1.1 100 Continue\r\n"  # its body is waited for
            second, _ = await connected(url, stack, HEAD)
            answer = await second.read()
            await spin_until(lambda: "connections were refused" in caplog.text)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 5" in answer
        assert json.loads(answer.rpartition(b"\r\n")[2])["code"] == "too_many_connections"


@pytest.mark.parametrize("said", [b"", b"GET / HT"])
async def test_a_head_has_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    monkeypatch.setattr(connections, "HEAD", 0.0)
    async with serving(DurableTasks(Settings(db=tmp_path / "tasks.db")), port=0) as url, AsyncExitStack() as stack:
        reader, _ = await connected(url, stack, said)
        async with asyncio.timeout(30):
            assert await _rest(reader) == b""


async def test_a_body_has_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envelope, "LONGEST", 0.0)
    async with serving(DurableTasks(Settings(db=tmp_path / "tasks.db")), port=0) as url, AsyncExitStack() as stack:
        reader, _ = await connected(url, stack, HEAD + b"Content-Length: 9\r\n\r\n{")
        async with asyncio.timeout(30):
            answer = await reader.read()  # and it is closed
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code": "request_too_slow"' in answer


async def test_a_request_has_one_length(tmp_path: Path) -> None:
    both = HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    async with serving(DurableTasks(Settings(db=tmp_path / "tasks.db")), port=0) as url, AsyncExitStack() as stack:
        reader, _ = await connected(url, stack, both)
        async with asyncio.timeout(30):
            answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"code": "two_lengths"' in answer


async def _first(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readline()
    except ConnectionResetError:
        return b""


async def _rest(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""
