"""Every `durable-tasks` command in the documentation works as it is written there.

It must not know what a command does beyond ending well, or being ready.
"""

import asyncio
import os
import re
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from durable_tasks import DurableTasks, Settings
from durable_tasks.identity.tokens import issue
from durable_tasks.temporal.server import EmbeddedServer
from durable_tasks.web.server import serving
from tests.cli.running import environment, free_port

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```sh\n(?P<lines>.*?)^```$", re.MULTILINE | re.DOTALL)
OURS = re.compile(r"(?<![\w-])durable-tasks (?!--)")
SERVES = ("serve", "up", "worker")
READY = ("READY", "Ctrl-C stops everything")
LONGEST = 60.0


class Script(NamedTuple):
    """A block of a page that has commands of ours, and others only where the shell itself has them."""

    name: str
    lines: list[str]


def scripts() -> list[Script]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in BLOCK.finditer(text):
            lines = [line for line in block["lines"].splitlines() if line and not line.startswith("#")]
            if any(OURS.search(line) for line in lines):
                line = text[: block.start()].count("\n") + 2
                found.append(Script(f"{page.relative_to(ROOT).as_posix()}:{line}", lines))
    return found


def test_no_command_is_overlooked() -> None:
    assert sum(sum(bool(OURS.search(line)) for line in script.lines) for script in scripts()) > 25


class Session:
    """One block, line by line, in a folder with everything that the pages speak of."""

    def __init__(self, folder: Path, ports: dict[str, str]) -> None:
        self._folder = folder
        self._words = dict(ports)
        """What is written in the pages, and what it stands for here."""
        self._exported: dict[str, str] = {}

    def learn(self, word: str, meaning: str) -> None:
        self._words[word] = meaning

    async def run(self, line: str) -> None:
        for word, meaning in self._words.items():
            line = re.sub(rf"(?<!\w){re.escape(word)}(?![\w/])", meaning, line)
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").partition("=")
            self._exported[name] = value.partition(" ")[0].strip('"')
            return
        if line.startswith("curl ") and shutil.which("curl") is None:
            pytest.skip("needs curl")
        if not (OURS.search(line) or line.startswith(("curl ", "echo "))):
            return  # another program's: Temporal's, Docker's, the reader's own
        if " adopt " in line:
            line = line.partition("#")[0] + " --yes"  # on a terminal it asks
        command = OURS.search(line)
        if command and line[command.end() :].split()[0] in SERVES:
            await self._serve(line)
        else:
            await self._end(line)

    async def _start(self, line: str) -> asyncio.subprocess.Process:
        path = f"{self._folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return await asyncio.create_subprocess_exec(
            *("bash", "-c", f"exec {line}" if OURS.match(line) else line),
            cwd=self._folder, env={**environment(), "PATH": path, **self._exported},
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip

    async def _end(self, line: str) -> None:
        process = await self._start(line)
        async with asyncio.timeout(LONGEST):
            out, err = (said.decode() for said in await process.communicate())
        assert process.returncode == 0, f"{line}\n{out}{err}"
        assert "Traceback" not in err
        self._heed(line, out)

    def _heed(self, line: str, out: str) -> None:
        """Ids and tokens that later lines speak of."""
        first = out.split()[0] if out.split() else ""
        if " workflow create " in line:
            self.learn("WORKFLOW", first)
        elif " task create " in line:
            self.learn("ID", first)
        if token := re.search(r"^token (\S+)$", out, re.MULTILINE):
            self.learn("TOKEN", token[1])
        if " token create " in line:
            self.learn("5c37512ca669b567c2300df1", first.split("_")[1])

    async def _serve(self, line: str) -> None:
        """A server goes on: it is left running for the lines after it, and stopped when it was seen to be ready."""
        process = await self._start(line)
        assert process.stderr is not None
        heard = ""
        async with asyncio.timeout(LONGEST):
            while not any(word in heard for word in READY):
                said = (await process.stderr.readline()).decode()
                assert said, f"{line}\n{heard}"
                heard += said
        self._running = process

    async def stop(self) -> None:
        process = getattr(self, "_running", None)
        if process is None:
            return
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(LONGEST):
            _, err = await process.communicate()
        assert process.returncode == 0, err.decode()


@pytest.fixture
async def session(tmp_path: Path, temporal_server: EmbeddedServer) -> Session:
    binary = tmp_path / "bin" / "durable-tasks"
    binary.parent.mkdir()
    binary.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m durable_tasks "$@"\n', encoding="utf-8")
    binary.chmod(0o755)
    (tmp_path / "work.py").write_text(
        'from durable_tasks import Handlers\n\nhandlers = Handlers()\n\n\n@handlers.handler("image.resize")\n'
        "def resize(ctx, task):\n    return task.input\n",
        encoding="utf-8",
    )
    session = Session(
        tmp_path,
        {
            "temporal.example:7233": temporal_server.address,
            "7233": str(free_port()),
            "http://127.0.0.1:8000": f"http://127.0.0.1:{free_port()}",
        },
    )
    for name in ("tasks.db", "desk.db"):
        async with DurableTasks(Settings(db=tmp_path / name)) as tasks:
            made = await tasks.org().create("Approve the budget", mode="manual")
            session.learn("ID", made.id)
    await _register("acme", temporal_server)
    return session


async def _register(namespace: str, server: EmbeddedServer) -> None:
    client = await Client.connect(server.address)
    request = RegisterNamespaceRequest(namespace=namespace)
    request.workflow_execution_retention_period.FromSeconds(86400)
    with suppress(RPCError):  # another test has registered it
        await client.workflow_service.register_namespace(request)


def _copied(file: Path, *copies: Path) -> None:
    """What `cp` makes of a file: others, also under its own name."""
    for copy in copies:
        shutil.copy(file, copy.with_suffix(".new"))
        copy.with_suffix(".new").rename(copy)


@pytest.mark.parametrize("script", scripts(), ids=lambda script: script.name)
async def test_the_commands_of_the_documentation_work(script: Script, session: Session, tmp_path: Path) -> None:
    if any(" adopt " in line for line in script.lines):
        _copied(tmp_path / "tasks.db", tmp_path / "copy.db", tmp_path / "tasks.db")
    try:
        if any("TASKS_URL" in line for line in script.lines):
            tasks = DurableTasks(Settings(db=tmp_path / "served.db", auth="token"))
            async with serving(tasks, port=0) as url:
                token = await issue(tasks.store, org="default", subject="ann", roles=["agent"])
                session.learn("http://127.0.0.1:8000", url)
                session.learn("dt_…", token.text)
                for line in script.lines:
                    await session.run(line)
            return
        for line in script.lines:
            await session.run(line)
    finally:
        await session.stop()
