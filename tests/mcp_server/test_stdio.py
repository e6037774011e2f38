"""`durable-tasks mcp` as a process: the wire byte by byte, what else is printed, and how it ends.

It must not test the tools.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from durable_tasks import DurableTasks, Settings
from tests.cli.running import environment, run

DEADLINE = 60.0
NOISY = """
import logging, os, subprocess, sys, warnings
from durable_tasks import Org

get = Org.get

async def noisy(self, task_id):
    print("printed")
    os.write(1, b"written to the descriptor\\n")
    subprocess.run(["echo", "printed by a child"])
    logging.getLogger("app").warning("logged")
    warnings.warn("warned")
    assert sys.stdin.read() == "", "stdin is the client's"
    return await get(self, task_id)

Org.get = noisy
sys.argv = ["durable-tasks", "mcp", "--db", "tasks.db"]
from durable_tasks.cli.main import main
main()
"""


class Raw:
    """A client that writes and reads lines."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self._number = 0

    async def write(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")
        await self.process.stdin.drain()

    async def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        async with asyncio.timeout(DEADLINE):
            line = await self.process.stdout.readline()
        said: dict[str, Any] = json.loads(line)
        assert said["jsonrpc"] == "2.0"
        return said

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        await self.write(request(self._number, method, **params))
        said = await self.read()
        assert said["id"] == self._number
        return said

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        said = await self.ask("tools/call", name=tool, arguments=arguments)
        result: dict[str, Any] = said["result"]
        return result

    async def initialize(self) -> dict[str, Any]:
        said = await self.ask("initialize", **HELLO)
        await self.write(INITIALIZED)
        result: dict[str, Any] = said["result"]
        return result

    async def ended(self) -> tuple[int, bytes, str]:
        """Exit code, the rest of stdout, and stderr. Nothing more is asked."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        async with asyncio.timeout(DEADLINE):
            out, err = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, out, err.decode()


HELLO = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
INITIALIZED = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'


def request(number: int, method: str, **params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode()


@asynccontextmanager
async def started(cwd: Path, *command: str, **variables: str) -> AsyncIterator[Raw]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, *(command or ("-m", "durable_tasks", "mcp", "--db", "tasks.db")),
        cwd=cwd, env={**environment(), **variables},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        limit=1 << 24,
    )  # fmt: skip
    try:
        yield Raw(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def test_a_session_line_by_line(tmp_path: Path) -> None:
    async with started(tmp_path) as raw:
        hello = await raw.initialize()
        assert hello["serverInfo"]["name"] == "durable-tasks"
        assert set(hello["capabilities"]) == {"tools"}
        assert "next_task" in hello["instructions"]

        tools = (await raw.ask("tools/list"))["result"]["tools"]
        assert {"name", "description", "inputSchema", "annotations"} <= set(tools[0])
        made = await raw.call("create_task", title="Zażółć 漢字")
        assert (made["isError"], made["structuredContent"]["title"]) == (False, "Zażółć 漢字")

        await raw.write(b"{not json")
        assert (await raw.read())["error"]["code"] == -32700
        await raw.write(b'{"valid": "json"}')
        said = await raw.read()
        assert (said["error"]["code"], said["id"]) == (-32600, None)
        await raw.write(b"")  # an empty line is nothing
        assert (await raw.ask("no/such"))["error"]["code"] == -32601
        assert (await raw.ask("tools/call", name="no_such"))["error"]["code"] == -32602
        assert (await raw.ask("tools/call", name=7))["error"]["code"] == -32602
        wrong = await raw.call("list_tasks", limit="many")
        assert wrong["isError"] is True
        assert "limit" in wrong["content"][0]["text"]
        large = await raw.call("create_task", title="x", input="y" * 500_000)
        assert len(large["structuredContent"]["input"]) == 500_000

        raw.process.send_signal(signal.SIGTERM)
        code, out, err = await raw.ended()
    assert (code, out) == (0, b"")
    assert "Traceback" not in err
    assert [path.name for path in (tmp_path / "tasks.db-processes").iterdir()] == ["epoch"]


async def test_what_was_asked_before_the_input_ended_is_answered(tmp_path: Path) -> None:
    """Also from a file, which no event loop can watch."""
    calls = [request(n, "tools/call", name="create_task", arguments={"title": str(n)}) for n in range(2, 22)]
    lines = b"\n".join([request(1, "initialize", **HELLO), INITIALIZED, *calls])
    (tmp_path / "asked").write_bytes(lines)  # no line break at its end
    with (tmp_path / "asked").open("rb") as asked:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "durable_tasks", "mcp", "--db", "tasks.db", cwd=tmp_path, env=environment(),
            stdin=asked, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
    code, out, err = await Raw(process).ended()
    answers = {said["id"]: said for said in map(json.loads, out.splitlines())}
    assert code == 0, err
    assert set(answers) == set(range(1, 22))
    assert all("result" in said for said in answers.values())


async def test_nobody_waits_long_for_a_client_that_is_gone(tmp_path: Path) -> None:
    async with started(tmp_path, TASKS_SHUTDOWN_GRACE="100ms") as raw:
        await raw.initialize()
        made = (await raw.call("create_task", title="x"))["structuredContent"]
        await raw.write(request(9, "tools/call", name="wait_task", arguments={"task_id": made["id"], "timeout": 60}))
        async with asyncio.timeout(20):
            code, out, err = await raw.ended()  # closes stdin
    assert code == 0, err
    assert json.loads(out)["error"]["message"] == "Connection closed"


async def test_a_client_that_reads_no_more_ends_it(tmp_path: Path) -> None:
    reads, writes = os.pipe()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "durable_tasks", "mcp", "--db", "tasks.db", cwd=tmp_path, env=environment(),
        stdin=asyncio.subprocess.PIPE, stdout=writes, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    os.close(writes)
    os.close(reads)
    raw = Raw(process)
    await raw.write(request(1, "initialize", **HELLO))
    assert process.stderr is not None
    async with asyncio.timeout(DEADLINE):  # stdin stays open
        err = (await process.stderr.read()).decode()
        code = await process.wait()
    assert code == 0, err
    assert "the client reads no more" in err
    assert "Traceback" not in err


async def test_nothing_but_messages_is_on_stdout(tmp_path: Path) -> None:
    async with DurableTasks(Settings(db=tmp_path / "tasks.db", worker=False)) as tasks:
        task = await tasks.org().create("x")
        async with started(
            tmp_path, "-W", "default", "-c", NOISY, PYTHONWARNINGS="default", PYTHONUNBUFFERED=""
        ) as raw:
            await raw.initialize()
            assert (await raw.call("get_task", task_id=task.id))["structuredContent"]["id"] == task.id
            code, out, err = await raw.ended()
    assert (code, out) == (0, b"")
    for said in ("printed\n", "written to the descriptor", "printed by a child", "logged", "warned"):
        assert said in err


async def test_wrong_options_are_a_sentence(tmp_path: Path) -> None:
    wrong = {
        ("--role", "king"): "viewer, agent, operator, admin",
        ("--org", ".bad."): "not an organisation id",
        ("--agent", ""): "subject",
    }
    every = await asyncio.gather(*(run("mcp", "--db", "tasks.db", *options, cwd=tmp_path) for options in wrong))
    for ended, said in zip(every, wrong.values(), strict=True):
        assert (ended.code, ended.out) == (2, "")
        assert said in ended.err
        assert "Traceback" not in ended.err
    assert not (tmp_path / "tasks.db").exists()


async def test_only_the_tools_that_were_chosen_are_there(tmp_path: Path) -> None:
    async with started(tmp_path, "-m", "durable_tasks", "mcp", "--tools", "next_task, get_task") as raw:
        await raw.initialize()
        listed = await raw.ask("tools/list")
        assert {tool["name"] for tool in listed["result"]["tools"]} == {"next_task", "get_task"}
        refused = await raw.ask("tools/call", name="create_task", arguments={"title": "x"})
        assert "create_task" in refused["error"]["message"]


async def test_a_tool_that_there_is_not_is_named(tmp_path: Path) -> None:
    ended = await run("mcp", "--tools", "next_tasks", cwd=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert "next_tasks" in ended.err
    assert "Traceback" not in ended.err
