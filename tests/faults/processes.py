"""Starting, hearing and killing the processes of worker_app; only ones started here are ever signalled.
It must not know what they do.
"""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parent.parent.parent
DEADLINE = 120.0
SETTLING = 400.0
"""Seconds to work off what is left and to agree; the application itself gives up sooner."""


class App:
    """One process. Its lines are read by the test's event loop; its stderr goes to a file beside its journals."""

    def __init__(
        self, db: Path, mode: str, *, name: str = "app", environment: Mapping[str, str] | None = None, **config: Any
    ) -> None:
        self.db, self.name = db, name
        self._environment = dict(environment or {})
        self._config = {"db": str(db), "mode": mode, "name": name, **config}
        self._errors = Path(config.get("journals") or db.parent) / f"{name}.stderr"
        self.process: asyncio.subprocess.Process

    async def start(self) -> Self:
        with self._errors.open("wb") as errors:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.faults.worker_app", json.dumps(self._config),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **self._environment},
                limit=2**24,
            )  # fmt: skip
        return self

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.returncode is None:
            await self.kill()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def stderr(self) -> str:
        return self._errors.read_text()

    async def line(self, start: str, within: float = DEADLINE) -> str:
        """The next line that begins with `start`, without it; other lines are skipped."""
        assert self.process.stdout is not None
        async with asyncio.timeout(within):
            while text := (await self.process.stdout.readline()).decode():
                if text.startswith(start):
                    return text.removeprefix(start).strip()
        raise AssertionError(f"{self.name} ended without a line {start!r}: {self.stderr}")

    async def ready(self) -> float:
        """When it was ready, by its own clock."""
        return float(await self.line("READY"))

    async def settled(self) -> None:
        """It has worked off what was left, both sides agree, and it ends well."""
        said = json.loads(await self.line("DRAINED", SETTLING))
        if said != {"stuck": [], "drift": [], "audit": []}:
            raise AssertionError(f"{self.name} ended with {said}")
        assert await self.ends() == 0, self.stderr

    def tell(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n".encode())

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def stall(self) -> None:
        """Stop it, but not while it holds SQLite's write lock: nobody could go on before it does."""
        while True:
            self.signal(signal.SIGSTOP)
            with closing(sqlite3.connect(self.db, timeout=1.0, isolation_level=None)) as conn:
                try:
                    conn.execute("BEGIN IMMEDIATE")
                    conn.execute("ROLLBACK")
                    return
                except sqlite3.OperationalError:
                    self.signal(signal.SIGCONT)

    async def kill(self) -> None:
        self.signal(signal.SIGKILL)
        await self.process.communicate()

    async def lives_for(self, seconds: float) -> None:
        """Let it go on for so long; that it ends by itself meanwhile is an error."""
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(seconds):
                while await self.process.stdout.readline():
                    pass
        except TimeoutError:
            return
        raise AssertionError(f"{self.name} ended by itself: {self.stderr}")

    async def notes_more(self, journal: Path) -> None:
        """Let it go on until it has noted more there; that it does not is an error."""
        before = os.path.getsize(journal)
        for _ in range(60):
            await self.lives_for(0.5)
            if os.path.getsize(journal) > before:
                return
        raise AssertionError(f"{self.name} did not go on: {self.stderr[-2000:]}")

    async def ends(self) -> int:
        """Wait until it ends by itself; its exit code."""
        async with asyncio.timeout(DEADLINE):
            await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode
