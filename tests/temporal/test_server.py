"""The embedded server with real processes: it starts, answers, ends, and is never left behind.

It must not know what runs on the server.
"""

import asyncio
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from temporalio.client import Client

from durable_tasks import errors
from durable_tasks.temporal import server as server_module
from durable_tasks.temporal.server import EmbeddedServer, find_binary

ROOT = Path(__file__).resolve().parents[2]
GUARD = Path(server_module.__file__).with_name("guard.py")

pytestmark = pytest.mark.skipif(
    not hasattr(os, "pidfd_open"), reason="the end of a process that is not a child is seen through a pidfd"
)

# Starts a server, prints the pids of server and guard, and waits to be killed. With "fork" a child that holds
# copies of all descriptors outlives it, until the test closes its standard input.
PARENT = """
import asyncio, os, sys
from durable_tasks.temporal.server import EmbeddedServer

async def main():
    server = EmbeddedServer()
    await server.start()
    if "fork" in sys.argv and os.fork() == 0:
        sys.stdin.read()
        os._exit(0)
    print(server.pid, os.getpgid(server.pid), flush=True)
    await server.wait_exit()

asyncio.run(main())
"""

STUBBORN = """
import signal
signal.signal(signal.SIGTERM, lambda *_: None)
print("ready", flush=True)
while True:
    signal.pause()
"""


class Watched:
    """A process seen from outside, through a descriptor that a new process of the same pid cannot fool."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.fd = os.pidfd_open(pid)

    async def gone(self, deadline: float = 5.0) -> None:
        """Raises TimeoutError when the process is still there after `deadline` seconds."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self.fd, ended.set)
        try:
            async with asyncio.timeout(deadline):
                await ended.wait()
        finally:
            loop.remove_reader(self.fd)
            os.close(self.fd)


def executable(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@asynccontextmanager
async def parent_process(
    *arguments: str,
) -> AsyncIterator[tuple[asyncio.subprocess.Process, Watched, Watched]]:
    """A Python process that has started a server; the server and its guard."""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, *arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert parent.stdin is not None
    assert parent.stdout is not None
    try:
        async with asyncio.timeout(30):
            server, guard = (await parent.stdout.readline()).split()
        yield parent, Watched(int(server)), Watched(int(guard))
    finally:
        if parent.returncode is None:
            parent.kill()
        parent.stdin.close()  # ends the forked child
        await parent.communicate()


async def hanging(tmp_path: Path, server: EmbeddedServer) -> tuple[asyncio.Task[None], Watched]:
    """Begin to start a server that never speaks: a shell script that tells its pid, then waits for ever."""
    fifo = tmp_path / "pid"
    starting = asyncio.create_task(server.start())
    async with asyncio.timeout(10):
        pid = int(await asyncio.to_thread(fifo.read_text))
    return starting, Watched(pid)


@pytest.fixture
def mute(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pid")
    return executable(tmp_path / "mute", f"echo $$ >{tmp_path}/pid; exec tail -f /dev/null")


async def test_starts_on_a_free_port_and_answers(binary: Path) -> None:
    async with EmbeddedServer(binary=binary, namespaces=["org-a", "org-b", "default"]) as server:
        assert server.ui_url is None
        for namespace in ("default", "org-a", "org-b"):
            client = await Client.connect(server.address, namespace=namespace)
            assert (await client.count_workflows()).count == 0
        await server.start()  # a second start changes nothing
        assert server.binary == binary


async def test_two_servers_run_side_by_side(binary: Path) -> None:
    async with EmbeddedServer(binary=binary) as one, EmbeddedServer(binary=binary) as two:
        assert one.address != two.address
        assert one.pid != two.pid
        for server in (one, two):
            await Client.connect(server.address)


async def test_stop_leaves_no_process(binary: Path) -> None:
    server = EmbeddedServer(binary=binary)
    await server.start()
    process = Watched(server.pid)
    guard = Watched(os.getpgid(server.pid))
    waiting = asyncio.create_task(server.wait_exit())
    await asyncio.gather(server.stop(), server.stop())
    await process.gone(0.1)
    await guard.gone(0.1)
    assert await waiting == 0
    await server.stop()


async def test_stop_before_start_does_nothing() -> None:
    server = EmbeddedServer()
    await server.stop()
    with pytest.raises(errors.Closed):
        _ = server.address


async def test_a_cancelled_stop_leaves_no_process(binary: Path) -> None:
    server = EmbeddedServer(binary=binary)
    await server.start()
    process = Watched(server.pid)
    stopping = asyncio.create_task(server.stop())
    await asyncio.sleep(0)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    await process.gone()


async def test_an_unexpected_end_is_noticed_and_the_next_start_keeps_the_address(binary: Path) -> None:
    server = EmbeddedServer(binary=binary)
    await server.start()
    address = server.address
    os.kill(server.pid, signal.SIGKILL)
    async with asyncio.timeout(5):
        assert await server.wait_exit() == 128 + signal.SIGKILL
    async with server:
        assert server.address == address
        await Client.connect(address)


@pytest.mark.parametrize("arguments", [[], ["fork"]], ids=["plain", "with a forked child"])
async def test_a_killed_parent_takes_its_server_along(binary: Path, arguments: list[str]) -> None:
    async with parent_process(*arguments) as (parent, server, guard):
        parent.kill()
        await server.gone(5)
        await guard.gone(5)


async def test_parent_and_guard_killed_together_take_the_server_along(binary: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux signals the death of a parent")
    async with parent_process() as (parent, server, guard):
        os.kill(guard.pid, signal.SIGKILL)
        parent.kill()
        await server.gone(5)
        await guard.gone(5)


async def test_ctrl_c_in_the_terminal_does_not_reach_the_server(binary: Path) -> None:
    async with EmbeddedServer(binary=binary) as server:
        assert os.getsid(server.pid) != os.getsid(0)


async def test_a_cancelled_start_leaves_no_process(tmp_path: Path, mute: Path) -> None:
    starting, process = await hanging(tmp_path, EmbeddedServer(binary=mute))
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await process.gone()


async def test_a_server_that_is_never_ready_is_given_up(tmp_path: Path, mute: Path) -> None:
    starting, process = await hanging(tmp_path, EmbeddedServer(binary=mute, start_timeout=1.0))
    with pytest.raises(errors.TemporalUnavailable, match="not ready within 1 s"):
        await starting
    await process.gone()


async def test_a_port_in_use_is_named(binary: Path) -> None:
    async with EmbeddedServer(binary=binary) as first:
        port = int(first.address.rpartition(":")[2])
        with pytest.raises(errors.TemporalUnavailable, match=f"{port}.*address already in use"):
            await EmbeddedServer(binary=binary, port=port).start()


async def test_a_binary_that_is_no_server_is_an_error_with_its_own_words(tmp_path: Path) -> None:
    wrong = executable(tmp_path / "wrong", "echo I am a teapot >&2; exit 3")
    log = tmp_path / "server.log"
    log.write_text("words of an earlier run\n")
    with pytest.raises(errors.TemporalUnavailable, match=r"exit code 3 .* I am a teapot") as caught:
        await EmbeddedServer(binary=wrong, log_path=log).start()
    assert "earlier run" not in str(caught.value)
    assert log.read_text() == "words of an earlier run\nI am a teapot\n"


async def test_a_binary_that_cannot_be_executed_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigurationError, match="missing"):
        await EmbeddedServer(binary=tmp_path / "missing").start()
    garbage = executable(tmp_path / "garbage")
    garbage.write_bytes(b"\x7fELF garbage")
    with pytest.raises(errors.TemporalUnavailable, match=r"cannot execute .*garbage"):
        await EmbeddedServer(binary=garbage).start()


async def test_the_database_outlives_the_server_and_is_in_wal_mode(binary: Path, tmp_path: Path) -> None:
    database = tmp_path / "temporal.db"
    async with EmbeddedServer(binary=binary, database=database, namespaces=["org-a"]) as server:
        client = await Client.connect(server.address, namespace="org-a")
        await client.start_workflow("waits", id="w1", task_queue="nobody")
    assert database.read_bytes()[18:20] == b"\x02\x02"  # the file format's read and write version: WAL
    async with EmbeddedServer(binary=binary, database=database, namespaces=["org-a"]) as server:
        client = await Client.connect(server.address, namespace="org-a")
        assert (await client.get_workflow_handle("w1").describe()).workflow_type == "waits"


@pytest.mark.parametrize("ending", ["", "-wal", "-shm"])
async def test_nobody_else_may_read_the_database(binary: Path, tmp_path: Path, ending: str) -> None:
    database = tmp_path / "temporal.db"
    async with EmbeddedServer(binary=binary, database=database):
        assert Path(f"{database}{ending}").stat().st_mode & 0o777 == 0o600


async def test_nor_one_that_an_earlier_version_left_open(binary: Path, tmp_path: Path) -> None:
    database = tmp_path / "temporal.db"
    async with EmbeddedServer(binary=binary, database=database):
        database.chmod(0o644)
    async with EmbeddedServer(binary=binary, database=database):
        assert database.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "localhost", "nobody.invalid"])
async def test_no_web_page_can_have_it_do_anything(binary: Path, host: str) -> None:
    """Such a page can send a form as text anywhere, and have its own name lead to this machine."""
    async with EmbeddedServer(binary=binary) as server:
        answers = [await _post(port, host) for port in listening(server.pid)]
        client = await Client.connect(server.address)
        assert [one async for one in client.list_workflows()] == []
    assert b"403" in answers, "the port of the HTTP API was found"
    assert not any(status.startswith(b"2") for status in answers)


def listening(pid: int) -> list[int]:
    """The ports at which a process listens."""
    sockets = {os.readlink(one) for one in Path(f"/proc/{pid}/fd").iterdir() if one.is_symlink()}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [int(row[1].split(":")[1], 16) for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets]


async def _post(port: int, host: str) -> bytes:
    """The status of an answer; nothing from a port that does not speak HTTP/1."""
    body = b'{"workflowType": {"name": "evil"}, "taskQueue": {"name": "evil"}}'
    head = (
        f"POST /api/v1/namespaces/default/workflows/evil HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n"
        f"Content-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(head.encode() + body)
        async with asyncio.timeout(30):
            said = await reader.readline()
    except ConnectionError:
        return b""
    finally:
        writer.close()
    return said.split()[1] if said.startswith(b"HTTP/1") else b""


async def test_the_web_ui_is_served_when_asked_for(binary: Path) -> None:
    async with EmbeddedServer(binary=binary, ui_port=0) as server:
        assert server.ui_url is not None

        def status(url: str) -> int:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return int(answer.status)

        assert await asyncio.to_thread(status, server.ui_url) == 200


async def test_the_guard_kills_a_server_that_ignores_sigterm() -> None:
    guard = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", str(GUARD), str(os.getpid()), "0.2", sys.executable, "-c", STUBBORN,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert guard.stdin is not None
    assert guard.stdout is not None
    async with asyncio.timeout(10):
        process = Watched(int(await guard.stdout.readline()))
        assert await guard.stdout.readline() == b"ready\n"
        guard.stdin.close()
        await process.gone()
        assert await guard.wait() == 128 + signal.SIGKILL


def test_the_binary_is_looked_for_in_order(tmp_path: Path) -> None:
    named = executable(tmp_path / "named")
    installed = executable(tmp_path / "scripts" / "temporal")
    on_path = executable(tmp_path / "path" / "temporal")
    environ = {"TASKS_TEMPORAL_BIN": str(named), "PATH": str(on_path.parent)}
    assert find_binary(environ, scripts=installed.parent) == named
    del environ["TASKS_TEMPORAL_BIN"]
    assert find_binary(environ, scripts=installed.parent) == installed
    installed.unlink()
    assert find_binary(environ, scripts=installed.parent) == on_path
    with pytest.raises(errors.ConfigurationError, match=r"durable-tasks\[embedded\]"):
        find_binary({}, scripts=installed.parent)
    with pytest.raises(errors.ConfigurationError, match="TASKS_TEMPORAL_BIN"):
        find_binary({"TASKS_TEMPORAL_BIN": str(installed)}, scripts=on_path.parent)


async def test_the_shared_server_answers_from_any_loop(temporal_server: EmbeddedServer) -> None:
    await Client.connect(temporal_server.address)
    assert temporal_server.binary.is_file()
