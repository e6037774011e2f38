"""Workers without the SQLite file as processes of their own, and what every test of commands and workers asks.
It must not know what is done to them; only processes started here are ever signalled.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from durable_tasks.app import DurableTasks
from durable_tasks.clock import SystemClock
from durable_tasks.models import Task
from durable_tasks.ports import Clock
from durable_tasks.settings import Settings
from tests.faults.checker import journal
from tests.faults.worker_app import settled_drift

ROOT = Path(__file__).resolve().parent.parent.parent
SECONDS = 60.0
PROMPT = 25.0
"""Less than the reconciler gives a row to settle: both sides agree without its help."""
_LOOK = 0.05
_STOPPED = 30.0


async def until(look: Callable[[], Awaitable[Any]], wanted: Callable[[Any], bool]) -> Any:
    """What `look` answers once it is wanted: another process tells nobody by itself."""
    clock = SystemClock()
    seen = None
    try:
        async with asyncio.timeout(SECONDS):
            while not wanted(seen := await look()):
                await clock.wait_for(asyncio.Event(), _LOOK)
    except TimeoutError:
        raise AssertionError(f"after {SECONDS:g} s it is still {seen!r:.2000}") from None
    return seen


async def pass_time(seconds: float) -> None:
    """An outage has a length, and there is nothing to wait for in it."""
    clock = SystemClock()
    await clock.wait_for(asyncio.Event(), seconds)


class Outside:
    """One `durable-tasks worker` of tests.faults.external_handlers, in a directory of its own."""

    def __init__(self, folder: Path, name: str, *, address: str, queue: str, org: str = "default", **env: str) -> None:
        self.name = name
        self._home = folder / f"worker-{name}"
        self._errors = folder / f"worker-{name}.stderr"
        self._env = {"OUTSIDE_JOURNAL": str(folder / "outside"), **env}
        self._where = ("--address", address, "--queue", queue, "--org", org)
        self.process: asyncio.subprocess.Process

    async def start(self) -> Self:
        """Return when the server lists it among the pollers of its queue."""
        self._home.mkdir(parents=True)
        with self._errors.open("wb") as errors:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "durable_tasks", "worker", "--json", *self._where,
                "tests.faults.external_handlers:handlers",
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, cwd=self._home,
                env={**os.environ, "PYTHONPATH": str(ROOT), **self._env},
            )  # fmt: skip
        assert self.process.stdout is not None
        async with asyncio.timeout(SECONDS):
            said = await self.process.stdout.readline()
        assert said, self.stderr
        assert json.loads(said)["ready"] is True
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

    async def kill(self) -> float:
        """When it was dead."""
        os.kill(self.pid, signal.SIGKILL)
        await self.process.communicate()
        return time.time()

    async def stop(self) -> int:
        """As an operator does; its exit code."""
        os.kill(self.pid, signal.SIGTERM)
        async with asyncio.timeout(_STOPPED):
            await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode


class Owner:
    """An application on the file, in the process of the test. Its handlers wait for `go_on`."""

    def __init__(self, db: Path, *, clock: Clock | None = None, **settings: Any) -> None:
        self.tasks = DurableTasks(Settings(db=db, **settings), clock=clock)
        self.org = self.tasks.org()
        self.journal = db.parent / "outside"
        self.runs: Counter[str] = Counter()
        self.go_on = asyncio.Event()

        @self.tasks.handler("in/gate")
        async def gate(ctx: Any, task: Task) -> str:
            self.runs[task.id] += 1
            await self.go_on.wait()
            return f"attempt {ctx.attempt}"

        @self.tasks.handler("in/broken")
        async def broken(ctx: Any, task: Task) -> str:
            self.runs[task.id] += 1
            if not self.go_on.is_set():
                raise ValueError("not yet")
            return "mended"

    async def agree(self) -> None:
        """Both sides come to agree, with nothing left to be sent, and the log tells how it came to this."""
        assert await settled_drift(self.tasks, until=PROMPT) == []
        assert await self.tasks.store.audit() == []

    async def committed(self, look: Callable[[], Awaitable[Any]], wanted: Any) -> None:
        """Await `look()` after every commit until it answers `wanted`."""
        changed = asyncio.Event()
        unsubscribe = self.tasks.store.subscribe(lambda notice: changed.set())
        seen = None
        try:
            async with asyncio.timeout(SECONDS):
                while (seen := await look()) != wanted:
                    await changed.wait()
                    changed.clear()
        except TimeoutError:
            raise AssertionError(f"still {seen!r} instead of {wanted!r}") from None
        finally:
            unsubscribe()

    async def is_open(self, subject_id: str) -> bool:
        """Whether Temporal runs the newest generation of the task or group, as far as SQLite knows."""
        sql = "SELECT state FROM dt_submissions WHERE subject_id = ? ORDER BY generation DESC LIMIT 1"
        found = await self.tasks.store.read(lambda conn: conn.execute(sql, (subject_id,)).fetchone())
        return found is not None and found[0] == "open"

    async def started_there(self, *subject_ids: str) -> None:
        for subject_id in subject_ids:
            await self.committed(lambda one=subject_id: self.is_open(one), True)  # type: ignore[misc]

    async def noted(self, op: str, times: int, *task_ids: str) -> list[dict[str, Any]]:
        """The journal, once it has that of each of these tasks so often."""

        async def look() -> list[dict[str, Any]]:
            return journal(self.journal)

        def enough(lines: list[dict[str, Any]]) -> bool:
            counts = Counter(line["id"] for line in lines if line["op"] == op)
            return all(counts[task_id] >= times for task_id in task_ids)

        seen: list[dict[str, Any]] = await until(look, enough)
        return seen


def at_once(lines: list[dict[str, Any]], killed: dict[int, float]) -> list[str]:
    """Every execution that began while an earlier one of its task went on. `killed`: processes, and when."""
    over: dict[tuple[str, int], float] = {}
    for line in lines:
        if line["op"] != "began":
            over[line["id"], line["attempt"]] = line["at"]
    found, earlier = [], dict[str, list[dict[str, Any]]]()
    for line in lines:
        if line["op"] == "began":
            for one in earlier.setdefault(line["id"], []):
                end = over.get((one["id"], one["attempt"]), killed.get(one["pid"], float("inf")))
                if end > line["at"]:
                    found.append(f"{line} began while {one} went on")
            earlier[line["id"]].append(line)
    return found
