"""Running `durable-tasks` as a user does: another process, its two streams, its exit code, and who is left over.

It must not know the commands.
"""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
_LONGEST = 150.0


class Ended(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """Its one line of JSON."""
        (line,) = self.out.splitlines()
        return json.loads(line)


class Up:
    """A running `durable-tasks`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.heard = ""

    async def hear(self, wanted: str) -> str:
        """The next line on stderr that contains `wanted`."""
        assert self.process.stderr is not None
        async with asyncio.timeout(_LONGEST):
            while line := (await self.process.stderr.readline()).decode():
                self.heard += line
                if wanted in line:
                    return line
        raise AssertionError(f"ended without saying {wanted!r}:\n{self.heard}")

    async def ended(self) -> Ended:
        async with asyncio.timeout(_LONGEST):
            out, err = await self.process.communicate()
        assert self.process.returncode is not None
        return Ended(self.process.returncode, out.decode(), self.heard + err.decode())

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


_PROGRAM = ("-m", "durable_tasks")


@asynccontextmanager
async def started(*arguments: str | Path, cwd: Path, program: Sequence[str] = _PROGRAM) -> AsyncIterator[Up]:
    """`durable-tasks …` as a process; killed at the end when it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *program, *map(str, arguments),
        cwd=cwd, env=environment(), stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    up = Up(process)
    try:
        yield up
    finally:
        if process.returncode is None:
            process.kill()
            await up.ended()


async def run(*arguments: str | Path, cwd: Path, program: Sequence[str] = _PROGRAM) -> Ended:
    """`durable-tasks …` from start to end."""
    async with started(*arguments, cwd=cwd, program=program) as command:
        return await command.ended()


async def run_without(module: str, *arguments: str | Path, cwd: Path) -> Ended:
    """The same where `module` is not installed."""
    code = f"import sys; sys.modules[{module!r}] = None; from durable_tasks.cli.main import main; main()"
    return await run(*arguments, cwd=cwd, program=("-c", code))


def environment() -> dict[str, str]:
    """This process's environment without settings of ours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TASKS_", "HANZO_", "TEMPORAL_"))}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}


def free_port() -> int:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port: int = holder.getsockname()[1]
        return port


def processes(*words: str) -> list[int]:
    """Processes whose command line has every one of `words` as an argument."""
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                arguments = (place / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue  # it has ended
            if set(words) <= set(arguments):
                found.append(int(place.name))
    return found


async def all_gone(pids: list[int], deadline: float = 10.0) -> None:
    """Raises TimeoutError when one of these processes is still there after `deadline` seconds."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(deadline):
        for pid in pids:
            try:
                fd = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            ended = asyncio.Event()
            loop.add_reader(fd, ended.set)
            try:
                await ended.wait()
            finally:
                loop.remove_reader(fd)
                os.close(fd)
