"""Silent, slow and many connections: they keep nobody else out, whoever opens them.

It must not test operations.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from durable_tasks import DurableTasks, Settings
from durable_tasks.access import Principal, Role
from durable_tasks.clock import SystemClock
from durable_tasks.web import connections, envelope
from durable_tasks.web.connections import Connection, Crowd
from durable_tasks.web.server import _listen, serving
from durable_tasks.web.shares import Shares
from durable_tasks.web.turns import TOGETHER
from durable_tasks.web.visit import Visit, Visits
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
        answers = [stack.enter_context(_cancelled(_first(reader))) for reader, _ in slowly]
        await spin_until(lambda: sum(one.done() for one in answers) >= ROOM)
        refused = [one.result() for one in answers if one.done()]
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


LONG = b"x" * 8_000_000


async def answer_at_length(scope: Scope, receive: Receive, send: Send) -> None:
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(LONG)).encode())]}
    )
    await send({"type": "http.response.body", "body": LONG})


@asynccontextmanager
async def crowded(
    most: int, application: ASGIApp = answer_at_length
) -> AsyncIterator[tuple[Crowd, list[Connection], str]]:
    """A server, of long answers as a rule, whose connections are in hand, and which sweeps when it is told to."""
    crowd, made, state = Crowd(most), list[Connection](), ServerState()
    config = uvicorn.Config(application, lifespan="off", log_config=None, access_log=False)
    config.load()

    class Known(Connection):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            made.append(self)

    def connection() -> Connection:
        return Known(crowd, config=config, server_state=state, app_state={})

    with await _listen("127.0.0.1", 0) as listening:
        server = await asyncio.get_running_loop().create_server(connection, sock=listening)
        try:
            yield crowd, made, f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.close()
            for one in made:
                one.transport.abort()
            await asyncio.gather(*state.tasks)


async def asking_only(url: str, stack: AsyncExitStack, times: int) -> socket.socket:
    """A connection that asks so often at once; nothing of the answers is taken before it is told to."""
    asking = stack.enter_context(socket.socket())
    asking.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    asking.setblocking(False)
    await asyncio.get_running_loop().sock_connect(asking, ("127.0.0.1", int(url.rpartition(":")[2])))
    await asyncio.get_running_loop().sock_sendall(asking, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * times)
    return asking


@pytest.mark.parametrize("asked", [1, 3])
async def test_who_takes_no_answer_makes_room(asked: int) -> None:
    async with crowded(1) as (_, made, url), AsyncExitStack() as stack:
        await asking_only(url, stack, asked)
        await spin_until(lambda: bool(made) and made[0].flow.write_paused)  # the second waits to be written
        reader, _ = await connected(url, stack, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(30):
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        assert made[0].transport.is_closing()


@pytest.mark.parametrize("asked", [1, 3])
async def test_who_takes_no_answer_is_left_after_a_time(asked: int) -> None:
    async with crowded(1) as (crowd, made, url), AsyncExitStack() as stack:
        await asking_only(url, stack, asked)
        await spin_until(lambda: bool(made) and made[0].flow.write_paused)
        now = made[0].loop.time()
        for seconds, left in ((0.0, False), (connections.HEAD, False), (connections.HEAD + 1, True)):
            crowd.sweep(now + seconds)
            assert made[0].transport.is_closing() == left


async def test_who_takes_an_answer_slowly_has_it_whole() -> None:
    async with crowded(1) as (crowd, made, url), AsyncExitStack() as stack:
        asking = await asking_only(url, stack, 1)
        await spin_until(lambda: bool(made) and made[0].flow.write_paused)
        now, heard = made[0].loop.time(), b""
        async with asyncio.timeout(60):
            while len(heard) < len(LONG):
                taken = 0
                while taken < 400_000 and len(heard) < len(LONG):
                    heard += (part := await made[0].loop.sock_recv(asking, 65_536))
                    taken += len(part)
                    assert part, "it was cut off"
                now += connections.HEAD - 1
                crowd.sweep(now)
        assert heard.endswith(b"\r\n\r\n" + LONG[: len(heard) - heard.index(b"\r\n\r\n") - 4])


@pytest.mark.parametrize("proved", [False, True])
async def test_who_proves_nothing_makes_room_while_it_is_answered(tmp_path: Path, proved: bool) -> None:
    asked, answer = list[str](), asyncio.Event()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if proved:
            await Visit.of(scope).proved(Principal(org="acme", subject="ann", roles=frozenset({Role.AGENT})))
        asked.append(scope["path"])
        await answer.wait()

    shares = Shares(Settings(db=tmp_path / "tasks.db"), SystemClock())
    async with crowded(1, Visits(application, shares=shares)) as (_, made, url), AsyncExitStack() as stack:
        await connected(url, stack, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await spin_until(lambda: bool(asked))
        await connected(url, stack)
        await spin_until(lambda: len(made) == 2)
        assert made[0].transport.is_closing() != proved
        answer.set()


async def test_who_hangs_up_in_line_leaves_it(tmp_path: Path) -> None:
    asked, answer = list[str](), asyncio.Event()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope["path"])
        await answer.wait()

    shares = Shares(Settings(db=tmp_path / "tasks.db"), SystemClock())
    for org_id in ("acme", "other"):  # in company
        shares.proved(org_id, org_id)
    async with crowded(100, Visits(application, shares=shares)) as (_, made, url), AsyncExitStack() as stack:
        for _ in range(10):
            await connected(url, stack, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await spin_until(lambda: shares.heads.length("@127.0.0.1") == 10)
        for one in made[1:]:
            one.transport.abort()
        await spin_until(lambda: shares.heads.length("@127.0.0.1") <= TOGETHER)
        answer.set()
        await spin_until(lambda: not shares.heads.length("@127.0.0.1"))
    assert len(asked) <= TOGETHER


@contextmanager
def _cancelled(work: Coroutine[Any, Any, bytes]) -> Iterator[asyncio.Task[bytes]]:
    """It goes on until the block ends."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()


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
