"""A served file: `durable-tasks serve` in a process of its own, connections to it, and what that process uses.

It must not know what is asked. No client library: each costs more than the server, and would be measured with it.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.load import INPUT, OUTPUT
from durable_tasks.console import Console
from durable_tasks.identity.tokens import issue
from durable_tasks.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
_PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Memory:
    """What a process has in memory, in MB: its own pages, mapped files, and what it shares with others."""

    anonymous: float
    file: float
    shared: float

    @property
    def resident(self) -> float:
        return self.anonymous + self.file + self.shared


@dataclass(frozen=True, slots=True)
class Served:
    """A running server, and the token of an agent."""

    host: str
    port: int
    pid: int
    token: str

    def memory(self) -> Memory:
        """Linux only."""
        lines = dict(line.split(":", 1) for line in self._proc("status").splitlines())
        return Memory(*(int(lines[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile", "RssShmem")))

    def cpu(self) -> float:
        """Seconds of CPU so far. Linux only."""
        fields = self._proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _proc(self, name: str) -> str:
        return Path(f"/proc/{self.pid}/{name}").read_text(encoding="utf-8")


@asynccontextmanager
async def served(db: Path) -> AsyncIterator[Served]:
    """Serve a new file, without Temporal, to callers with API tokens. Raises AssertionError when it ends badly."""
    log = db.with_suffix(".log")
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "durable_tasks", "serve", "--db", str(db), "--port", "0", "--json",
            cwd=ROOT, env=_environment(), stdout=asyncio.subprocess.PIPE, stderr=errors,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        async with asyncio.timeout(_PATIENCE):
            line = await process.stdout.readline()
        if not line:
            raise AssertionError(f"the server did not come up: {log.read_text()}")
        said = json.loads(line)
        url = urlsplit(said["url"])
        async with Console(Settings(db=db)) as console:
            token = await issue(console, org="default", subject="agent", roles=["agent"])
        yield Served(str(url.hostname), int(url.port or 0), said["pid"], token.text)
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(_PATIENCE):
            code = await process.wait()
    if code != 0:
        raise AssertionError(f"the server ended with {code}: {log.read_text()}")


def _environment() -> dict[str, str]:
    ours = ("TASKS_", "HANZO_", "TEMPORAL_")
    return {**{name: value for name, value in os.environ.items() if not name.startswith(ours)}, "TASKS_AUTH": "token"}


class Connection:
    """Implements load.Caller on one connection, which is kept."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: Served) -> None:
        self._reader = reader
        self._writer = writer
        self._headers = (
            f" HTTP/1.1\r\nHost: {server.host}:{server.port}\r\nAuthorization: Bearer {server.token}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        )

    async def create(self) -> str:
        body = {"title": "translate", "mode": "manual", "input": INPUT}
        return str((await self._ask("POST", "/v1/tasks", body))["id"])

    async def get(self, task_id: str) -> None:
        await self._ask("GET", f"/v1/tasks/{task_id}")

    async def next(self) -> tuple[str, str]:
        claimed = await self._ask("POST", "/v1/tasks/next", {})
        return claimed["task"]["id"], claimed["token"]

    async def complete(self, task_id: str, token: str) -> None:
        await self._ask("POST", f"/v1/tasks/{task_id}/complete", {"token": token, "output": OUTPUT})

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The answer's JSON. Raises AssertionError when it is none, or a refusal."""
        content = b"" if body is None else json.dumps(body).encode()
        self._writer.write(f"{method} {path}{self._headers}{len(content)}\r\n\r\n".encode() + content)
        head = await self._reader.readuntil(b"\r\n\r\n")
        status = head[9:12].decode()
        lowered = head.lower()
        place = lowered.find(b"\r\ncontent-length:")
        length = 0 if place < 0 else int(lowered[place + 17 : lowered.index(b"\r\n", place + 2)])
        answer = await self._reader.readexactly(length)
        if status not in ("200", "201"):
            raise AssertionError(f"{method} {path} answered {status}: {answer.decode()}")
        return json.loads(answer)


@asynccontextmanager
async def connections(server: Served, count: int) -> AsyncIterator[Sequence[Connection]]:
    """So many callers, each with a connection of its own; all are the agent whose token the server has."""
    async with AsyncExitStack() as stack:
        made = []
        for _ in range(count):
            reader, writer = await asyncio.open_connection(server.host, server.port)
            stack.callback(writer.close)
            made.append(Connection(reader, writer, server))
        yield made
