"""`durable-tasks worker` as its own process: ready, stopped, killed, waiting; never a file of ours beside it.

It must not know how an attempt is executed: the tests of the activity do.
"""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import ApplicationError, TimeoutError, TimeoutType

from durable_tasks.temporal.server import EmbeddedServer
from tests.cli.running import Up, free_port, run, started
from tests.temporal.asking import Desk, asking, cause_of

MODULE = '''
import threading
from durable_tasks import Handlers

handlers = Handlers()
nothing = Handlers()


@handlers.handler("echo")
async def echo(ctx, task):
    return task.input


@handlers.handler("wait")
def wait(ctx, task):
    """Until the test lets it go, or until it is to stop."""
    ctx.progress(1, "entered")
    go = open(task.input["go"])
    while not ctx.cancelled:
        if go.read():
            return "finished"
        threading.Event().wait(0.05)
    raise RuntimeError("stopped")
'''


@pytest_asyncio.fixture
async def desk(temporal_server: EmbeddedServer) -> AsyncIterator[Desk]:
    client = await Client.connect(temporal_server.address, data_converter=pydantic_data_converter)
    async with asking(client) as desk:
        yield desk


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A working directory with nothing but the user's module."""
    (tmp_path / "work.py").write_text(MODULE, encoding="utf-8")
    return tmp_path


@pytest.fixture
def go(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that lets `wait` finish once something is written to it."""
    path = tmp_path_factory.mktemp("go") / "go"
    path.touch()
    return path


@asynccontextmanager
async def worker(desk: Desk, place: Path, *more: str, address: str | None = None) -> AsyncIterator[Up]:
    where = ("--address", address or desk.client.service_client.config.target_host)
    async with started("worker", "work:handlers", "--queue", desk.queue, *where, *more, cwd=place) as process:
        yield process


async def entered(desk: Desk, process: Up, go: Path, heartbeat: float = 30.0) -> WorkflowHandle[Any, Any]:
    """An execution that has reached its handler."""
    await process.hear("READY")
    handle = await desk.ask("wait", {"go": str(go)}, heartbeat=heartbeat)
    await desk.shown(handle, lambda said: said["message"] == "entered")
    return handle


async def test_it_executes_beside_nothing_but_the_module(desk: Desk, place: Path) -> None:
    async with worker(desk, place, "--json") as process:
        line = await process.hear("READY")
        assert desk.queue in line
        assert "handles echo, wait" in line
        assert await desk.output("echo", [1]) == [1]
        opened = [os.readlink(fd) for fd in Path(f"/proc/{process.process.pid}/fd").iterdir()]
        assert [path for path in opened if ".db" in path or "sqlite" in path] == []
        process.send(signal.SIGTERM)
        ended = await process.ended()
    assert (ended.code, ended.data["ready"], ended.data["capabilities"]) == (0, True, ["echo", "wait"])
    assert ended.data["queue"] == desk.queue
    assert [line for line in ended.err.splitlines() if "READY" in line] == [line.strip()]
    assert {path.name for path in place.iterdir()} <= {"work.py", "__pycache__"}


async def test_a_signal_lets_handlers_finish(desk: Desk, place: Path, go: Path) -> None:
    async with worker(desk, place, "--grace", "30s") as process:
        handle = await entered(desk, process, go)
        process.send(signal.SIGINT)
        await process.hear("stopping")
        go.write_text("go", encoding="utf-8")
        assert (await process.ended()).code == 0
    assert await handle.result() == "finished"


async def test_when_the_grace_is_over_the_task_is_released(desk: Desk, place: Path, go: Path) -> None:
    async with worker(desk, place, "--grace", "200ms") as process:
        handle = await entered(desk, process, go)
        process.send(signal.SIGTERM)
        assert (await process.ended()).code == 0
    cause = await cause_of(handle)
    assert isinstance(cause, ApplicationError), repr(cause)
    assert (cause.type, cause.non_retryable) == ("released", True)


async def test_a_second_signal_ends_it_at_once(desk: Desk, place: Path, go: Path) -> None:
    async with worker(desk, place, "--grace", "1h") as process:
        await entered(desk, process, go, heartbeat=2.0)
        process.send(signal.SIGTERM)
        await process.hear("once more")
        process.send(signal.SIGTERM)
        assert (await process.ended()).code == 128 + signal.SIGTERM


async def test_a_killed_worker_is_missed_by_its_heartbeats(desk: Desk, place: Path, go: Path) -> None:
    async with worker(desk, place) as process:
        handle = await entered(desk, process, go, heartbeat=2.0)
        process.send(signal.SIGKILL)
        await process.ended()
        cause = await cause_of(handle)
    assert isinstance(cause, TimeoutError), repr(cause)
    assert cause.type is TimeoutType.HEARTBEAT


async def test_it_waits_for_a_namespace_and_says_so_once(
    temporal_server: EmbeddedServer, desk: Desk, place: Path
) -> None:
    namespace = f"later-{desk.queue}"
    async with worker(desk, place, "--org", "acme", "--namespace", namespace) as process:
        await process.hear(f"there is no namespace {namespace}")
        request = RegisterNamespaceRequest(namespace=namespace)
        request.workflow_execution_retention_period.FromSeconds(86400)
        await desk.client.workflow_service.register_namespace(request)
        await process.hear("READY")
        assert process.heard.count("there is no namespace") == 1
        process.send(signal.SIGTERM)
        assert (await process.ended()).code == 0


async def test_an_organisation_has_its_own_namespace(desk: Desk, place: Path) -> None:
    async with worker(desk, place, "--org", "no-such-org") as process:
        assert "namespace no-such-org" in await process.hear("waiting for it")
        process.send(signal.SIGTERM)
        assert (await process.ended()).code == 0


async def test_it_waits_for_a_server_that_goes_and_comes(temporal_server: EmbeddedServer, place: Path) -> None:
    port = free_port()
    server = EmbeddedServer(binary=temporal_server.binary, port=port)
    async with started("worker", "work:handlers", "--address", f"127.0.0.1:{port}", cwd=place) as process:
        await process.hear("cannot serve namespace default")
        async with server:
            await process.hear("READY")
            assert process.heard.count("cannot serve") == 1
            client = await Client.connect(server.address, data_converter=pydantic_data_converter)
            async with asking(client) as desk:
                desk.queue = "default"
                assert await desk.output("echo", "first") == "first"
            await server.stop()
            await server.start()
            async with asking(client) as desk:
                desk.queue = "default"
                assert await desk.output("echo", "again") == "again"
            process.send(signal.SIGTERM)
            assert (await process.ended()).code == 0


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("work", "write it as module:name"),
        ("work:missing", "has no attribute 'missing'"),
        ("no_such_module:handlers", "No module named 'no_such_module'"),
        ("work:threading", "a Handlers or a DurableTasks is needed"),
        ("work:nothing", "no handler is registered"),
    ],
)
async def test_a_wrong_source_is_one_sentence(place: Path, source: str, said: str) -> None:
    ended = await run("worker", source, cwd=place)
    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.err.splitlines()
    assert line.startswith("error: ")
    assert said in line


async def test_a_wrong_organisation_or_address_is_one_sentence(place: Path) -> None:
    for option in (("--org", ".."), ("--address", "nowhere"), ("--grace", "soon")):
        ended = await run("worker", "work:handlers", *option, cwd=place)
        assert ended.code == 2
        assert len(ended.err.splitlines()) == 1, ended.err


async def test_a_durable_tasks_may_be_the_source_and_opens_no_file(desk: Desk, place: Path) -> None:
    (place / "work.py").write_text(
        "from durable_tasks import DurableTasks\n"
        "handlers = DurableTasks()\n"
        "@handlers.handler('echo')\n"
        "def echo(ctx, task):\n"
        "    return task.input\n",
        encoding="utf-8",
    )
    async with worker(desk, place) as process:
        await process.hear("READY")
        assert await desk.output("echo", [1.5]) == [1.5]
        process.send(signal.SIGTERM)
        assert (await process.ended()).code == 0
    assert {path.name for path in place.iterdir()} <= {"work.py", "__pycache__"}
