"""Nobody reads what a command says: servers go on, and stop at the first signal; other commands end without noise.

It must not know what they say.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.cli.running import Ended, environment, free_port, run

LONGEST = 60.0


class Unheard:
    """A command whose stdout and stderr are pipes that can be closed at the reading end."""

    def __init__(self, cwd: Path) -> None:
        self._cwd = cwd
        self.process: asyncio.subprocess.Process
        self._ends: list[int] = []

    async def start(self, *arguments: str) -> None:
        (self._ends, theirs) = map(list, zip(os.pipe(), os.pipe(), strict=True))
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "durable_tasks", *arguments),
            cwd=self._cwd, env=environment(), stdin=asyncio.subprocess.DEVNULL, stdout=theirs[0], stderr=theirs[1],
        )  # fmt: skip
        for end in theirs:
            os.close(end)

    async def hear(self, wanted: bytes) -> None:
        """Until it says so on stderr."""
        heard = b""
        async with asyncio.timeout(LONGEST):
            while wanted not in heard:
                chunk = await asyncio.to_thread(os.read, self._ends[1], 4096)
                assert chunk, heard
                heard += chunk

    def close(self) -> None:
        for end in self._ends:
            os.close(end)
        self._ends = []

    async def ended(self) -> int:
        async with asyncio.timeout(LONGEST):
            return await self.process.wait()


@pytest.mark.parametrize("early", [False, True], ids=["after it was ready", "from the start"])
@pytest.mark.parametrize(
    ("arguments", "ready"),
    [(("serve", "--port", "0", "--json"), b"READY"), (("up", "--port", "0", "--json"), b"Ctrl-C stops everything")],
)
async def test_a_server_stops_at_the_first_signal(
    binary: Path, tmp_path: Path, arguments: tuple[str, ...], ready: bytes, early: bool
) -> None:
    command = Unheard(tmp_path)
    port = str(free_port())
    await command.start(*(port if argument == "0" else argument for argument in arguments))
    try:
        if early:
            command.close()
            await _connected(int(port))
        else:
            await command.hear(ready)
            command.close()
        command.process.send_signal(signal.SIGTERM)
        assert await command.ended() == 0
    finally:
        if command.process.returncode is None:
            command.process.kill()


async def test_so_does_a_worker(tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(
        "from durable_tasks import Handlers\nhandlers = Handlers()\nhandlers.handler('x')(print)\n"
    )
    command = Unheard(tmp_path)
    await command.start("worker", "work:handlers", "--address", f"127.0.0.1:{free_port()}")
    try:
        await command.hear(b"trying again")  # there is no Temporal at that address
        command.close()
        command.process.send_signal(signal.SIGTERM)
        assert await command.ended() == 0
    finally:
        if command.process.returncode is None:
            command.process.kill()


async def test_a_command_whose_data_nobody_takes_ends_in_silence(tmp_path: Path) -> None:
    ended = await shell("task create x | true", tmp_path)
    assert (ended.code, ended.err) == (0, "")


async def test_a_full_disk_is_named(tmp_path: Path) -> None:
    ended = await shell("task create x >/dev/full", tmp_path)
    assert (ended.code, ended.err) == (1, "error: stdout cannot be written: No space left on device\n")


async def test_closed_streams_are_no_trouble(tmp_path: Path) -> None:
    assert (await shell("task create x <&- >&- 2>&-", tmp_path)).code == 0


async def shell(line: str, cwd: Path) -> Ended:
    """`durable-tasks` as a shell runs it, on a file."""
    assert (await run("migrate", cwd=cwd)).code == 0
    code = f"import os; os.execvp('sh', ['sh', '-c', '{sys.executable} -m durable_tasks ' + {line!r}])"
    return await run(cwd=cwd, program=("-c", code))


async def _connected(port: int) -> None:
    async with asyncio.timeout(LONGEST):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.to_thread(os.sched_yield)
            else:
                writer.close()
                return
