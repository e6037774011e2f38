"""Live events when the server is killed under load: clients come back and have every event once, in order.

It must not know how a stream is made.
"""

import asyncio
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from durable_tasks import DurableTasks, NewTask, Settings
from tests.web.listening import Listener

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 250.0
KILLS = 2


class Killed:
    """A server that is killed and started again on the same file and port."""

    def __init__(self, db: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.up = asyncio.Event()
        self._db = db
        self._process: asyncio.subprocess.Process

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.web.live_app", str(self._db), str(self.port),
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert await self._process.stdout.readline() == b"ready\n"
        self.up.set()

    async def kill(self) -> None:
        self.up.clear()
        self._process.kill()
        await self._process.wait()


async def keep_listening(listener: Listener, server: Killed) -> None:
    """Come back after every end of the line until the last event was heard."""
    while not listener.satisfied:
        await server.up.wait()
        try:
            await listener.listen()
        except httpx.TransportError:
            continue


async def work(tasks: DurableTasks, server: Killed, heard: Listener) -> int:
    """Tasks from this process, handlers in the server's, which is killed between. Answers the last event's number."""
    org = tasks.org("acme")
    made = []
    for round_ in range(KILLS + 1):
        for _ in range(20):
            made += await org.create_many([NewTask(title="work", capability="work", max_retries=3)] * 5)
        before = len(heard.heard)
        if round_ < KILLS:
            while len(heard.heard) == before:  # noqa: ASYNC110 (killed while events flow)
                await asyncio.sleep(0)
            await server.kill()
            await server.start()
    for task in made:
        assert (await org.wait(task.id)).state == "completed"
    (last,) = await org.create_many([NewTask(title="the end")])
    return (await org.events(task_id=last.id))[-1].seq


async def clients_resume(tmp_path: Path, count: int) -> None:
    server = Killed(tmp_path / "app.db")
    async with (
        asyncio.timeout(DEADLINE),
        DurableTasks(Settings(db=tmp_path / "app.db", worker=False)) as tasks,
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{server.port}", limits=httpx.Limits(max_keepalive_connections=0)
        ) as client,
    ):
        await server.start()
        listeners = [Listener(client, "/v1/events/stream", after=0) for _ in range(count)]
        try:
            async with asyncio.TaskGroup() as group:
                for listener in listeners:
                    group.create_task(keep_listening(listener, server))
                last = await work(tasks, server, listeners[0])
                for listener in listeners:
                    listener.until = last
                await tasks.org("acme").create("one more, so that who has heard the last one notices")
        finally:
            await server.kill()
        assert await tasks.store.audit() == []
    wrong = [listener for listener in listeners if listener.numbers[:last] != list(range(1, last + 1))]
    assert wrong == []


async def test_40_clients_of_a_killed_server_have_every_event_once(tmp_path: Path) -> None:
    await clients_resume(tmp_path, 40)


@pytest.mark.acceptance
async def test_200_clients_of_a_killed_server_have_every_event_once(tmp_path: Path) -> None:
    await clients_resume(tmp_path, 200)
