"""The server and its command: where they listen, what they refuse, how they stop.

It must not test operations.
"""

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request

from durable_tasks import DurableTasks, Settings
from durable_tasks.access import Asking, Principal, Role
from durable_tasks.errors import Closed, ConfigurationError
from durable_tasks.web import server
from durable_tasks.web.envelope import MOST_PARTS
from durable_tasks.web.server import _listen, serve, serving
from tests.cli.running import free_port, run, started
from tests.cli.visiting import visit
from tests.web.asking import authenticate, event_of_a_wait


@pytest.fixture
def tasks(tmp_path: Path) -> DurableTasks:
    return DurableTasks(Settings(db=tmp_path / "tasks.db"))


async def test_it_serves_on_a_free_port_until_the_block_ends(tasks: DurableTasks) -> None:
    async with httpx.AsyncClient() as client:
        async with serving(tasks, port=0) as url:
            assert url.startswith("http://127.0.0.1:")
            answer = await client.post(f"{url}/v1/tasks", json={"title": "x"})
            assert (answer.status_code, answer.json()["created_by"]) == (201, "local")
            assert "server" not in answer.headers
        with pytest.raises(httpx.ConnectError):
            await client.get(url)
    with pytest.raises(Closed):
        _ = tasks.store


async def test_it_serves_until_told_to_stop(tasks: DurableTasks) -> None:
    stop, port = asyncio.Event(), free_port()
    serves = asyncio.create_task(serve(tasks, port=port, authenticate=authenticate, stop=stop))
    stop.set()
    async with asyncio.timeout(30):
        await serves
    with pytest.raises(Closed):
        _ = tasks.store


async def test_what_waits_is_answered_when_it_stops(tasks: DurableTasks, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = event_of_a_wait(monkeypatch)
    async with httpx.AsyncClient(timeout=30) as client, asyncio.timeout(30):
        async with serving(tasks, port=0) as url:
            made = (await client.post(f"{url}/v1/tasks", json={"title": "x"})).json()
            waiting = asyncio.create_task(client.get(f"{url}/v1/tasks/{made['id']}/wait", params={"timeout": "1m"}))
            await looked.wait()
        answer = await waiting
    assert (answer.status_code, answer.json()["code"]) == (503, "closed")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com", ""])
async def test_other_machines_need_authentication(tasks: DurableTasks, host: str) -> None:
    for chosen in (None, "none"):
        with pytest.raises(ConfigurationError, match="TASKS_AUTH"):
            async with serving(tasks, host=host, port=0, authenticate=chosen):
                pass
    assert not tasks.settings.db.exists()


async def test_with_authentication_other_machines_may_come(tasks: DurableTasks) -> None:
    async with serving(tasks, host="0.0.0.0", port=0, authenticate=authenticate) as url, httpx.AsyncClient() as client:
        answer = await client.get(f"http://127.0.0.1:{url.rpartition(':')[2]}/v1/orgs")
    assert answer.status_code == 401


async def test_an_address_that_cannot_be_had(tasks: DurableTasks) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"cannot listen at http://127.0.0.1:{port}"):
            async with serving(tasks, port=port):
                pass


async def test_the_usual_port_or_any_other_while_that_is_taken(
    tasks: DurableTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        usual = taken.getsockname()[1]
        monkeypatch.setattr(server, "PORT", usual)
        async with serving(tasks, port=None) as url, httpx.AsyncClient(base_url=url) as client:
            assert not url.endswith(f":{usual}")
            assert (await client.get("/healthz")).status_code == 200
    async with serving(tasks, port=None) as url:
        assert url.endswith(f":{usual}")


async def test_answers_do_not_wait_for_an_acknowledgement() -> None:
    """asyncio turns Nagle's algorithm off only for sockets that name TCP; else each answer takes 40 ms longer."""
    with await _listen("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP


async def test_a_request_that_is_too_large_is_refused_before_it_comes(tasks: DurableTasks) -> None:
    head = b"POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    async with asyncio.timeout(30), serving(tasks, port=0) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(head + b"Content-Length: 1000000000000\r\n\r\n")
        answer = await reader.readuntil(b"}")
        writer.close()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code": "request_too_large"' in answer


async def test_one_whose_length_is_not_known_is_refused_as_well(tasks: DurableTasks) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(8):
            yield b" " * 1024 * 1024

    async with serving(tasks, port=0) as url, httpx.AsyncClient(base_url=url, timeout=30) as client:
        answer = await client.post("/v1/tasks", content=endless(), headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (413, "request_too_large")
        assert (await client.post("/v1/tasks", json={"title": "x"})).status_code == 201


@pytest.mark.parametrize("path", ["/v1/tasks", "/v1/tasks/bulk", "/api/tasks", "/mcp"])
async def test_so_is_one_of_very_many_parts(tasks: DurableTasks, path: str) -> None:
    """A small body can be a lot of work."""
    async with serving(tasks, port=0) as url, httpx.AsyncClient(base_url=url, timeout=30) as client:
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        for part in (b"{},", b"[],"):
            answer = await client.post(path, content=b'{"input": [' + part * (MOST_PARTS + 1), headers=headers)
            assert (answer.status_code, "objects and lists" in answer.text) == (413, True)
        answer = await client.post(path, content=b'{"input": [' + b"1," * (8 * MOST_PARTS + 8), headers=headers)
        assert (answer.status_code, "commas" in answer.text) == (413, True)


# ----- the command


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_command_says_where_it_is_and_stops_on_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    async with started("serve", "--db", "app.db", "--port", "0", "--json", cwd=tmp_path) as command:
        await command.hear("READY")
        assert command.process.stdout is not None
        said = json.loads(await command.process.stdout.readline())
        assert (said["ready"], said["db"]) == (True, str(tmp_path / "app.db"))
        assert [name for name in ("api", "docs", "mcp") if said[name] not in command.heard] == []
        async with httpx.AsyncClient(timeout=30) as client:
            made = (await client.post(f"{said['api']}/tasks", json={"title": "x"})).json()
            waiting = asyncio.create_task(client.get(f"{said['api']}/tasks/{made['id']}/wait?timeout=60"))
            await visit(said)
            command.send(number)
            ended = await command.ended()
            assert (await waiting).status_code == 503
    assert (ended.code, ended.out, ended.err.splitlines()[-1]) == (0, "", "stopped")
    assert "Traceback" not in ended.err


async def test_the_command_refuses_other_machines(tmp_path: Path) -> None:
    ended = await run("serve", "--host", "0.0.0.0", cwd=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert "TASKS_AUTH" in ended.err


async def test_nobody_chooses_his_own_address(tmp_path: Path) -> None:
    seen: list[str] = []

    async def noting(asking: Asking) -> Principal:
        assert isinstance(asking, Request)
        assert asking.client is not None
        seen.append(asking.client.host)
        return Principal(org="acme", subject="ada", roles=frozenset({Role.VIEWER}))

    tasks = DurableTasks(Settings(db=tmp_path / "tasks.db"))
    async with serving(tasks, port=0, authenticate=noting) as url, httpx.AsyncClient(base_url=url) as client:
        await client.get("/v1/me", headers={"X-Forwarded-For": "203.0.113.9"})
    assert seen == ["127.0.0.1"]
