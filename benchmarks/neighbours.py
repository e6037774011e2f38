"""What one organisation at its worst costs another: `python -m benchmarks.neighbours`.

It must not know how the server keeps them apart. The worst is done by another process: here it would be measured too.
"""

import argparse
import asyncio
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.attacks import ATTACKS
from benchmarks.served import ROOT, Connection, Served, connections, served
from durable_tasks import DurableTasks, NewTask, Settings
from durable_tasks.console import Console
from durable_tasks.identity.tokens import issue

TEXT = "lorem ipsum dolor sit amet " * 2400
USUAL = 1024
"""Descriptors that a process may have where nobody has said otherwise."""
PATIENCE = 60.0
"""Seconds after which the other organisation gives a call up."""
PAUSE = 0.005


@dataclass(slots=True)
class Line:
    """How long the other organisation's calls took, in ms, and how many were refused or given up."""

    took: list[float] = field(default_factory=list)
    failed: int = 0


async def fill(db: Path, tasks_of_64k: int, members_of_1m: int) -> str:
    """Much to read, of the organisation `greedy`. Answers the id of its workflow."""
    async with DurableTasks(Settings(db=db)) as tasks:
        org = tasks.org("greedy")
        for start in range(0, tasks_of_64k, 100):
            news = [NewTask(title=f"t{start + n}", capability="none", description=TEXT) for n in range(100)]
            await org.create_many(news)
        first = [NewTask(title="m", capability="none", input="x" * 1_000_000)]
        group = await org.fan_out("large", first)
        for _ in range(1, members_of_1m):
            await org.add_tasks(group.id, first)
        return group.id


@asynccontextmanager
async def attacked(name: str, server: Served, token: str, workflow: str) -> AsyncIterator[None]:
    """While another process does its worst."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.attacks", name, server.host, str(server.port), token, workflow, cwd=ROOT
    )
    try:
        await asyncio.sleep(2)
        yield
    finally:
        process.kill()
        await process.wait()
        await _idle(server)


async def _idle(server: Served) -> None:
    """Return when the server has done what the attack has left it, or after a minute."""
    for _ in range(60):
        before = server.cpu()
        await asyncio.sleep(1)
        if server.cpu() - before < 0.1:
            return


async def live(server: Served, seconds: float) -> Line:
    """Create, get and claim, one after the other on one connection, and get once more on a new one."""
    line, until = Line(), time.monotonic() + seconds
    async with connections(server, 1) as (kept,):
        task_id = await kept.create()
        while time.monotonic() < until or len(line.took) < 20:
            for step in ("create", "get", "next", "new"):
                began = time.monotonic()
                try:
                    async with asyncio.timeout(PATIENCE):
                        task_id = await _step(step, kept, server, task_id)
                except (OSError, AssertionError, asyncio.IncompleteReadError):
                    line.failed += 1
                line.took.append((time.monotonic() - began) * 1000)
            await asyncio.sleep(PAUSE)
    return line


async def _step(step: str, kept: Connection, server: Served, task_id: str) -> str:
    if step == "create":
        return await kept.create()
    if step == "get":
        await kept.get(task_id)
    elif step == "next":
        await kept.next()
    else:
        async with connections(server, 1) as (new,):
            await new.get(task_id)
    return task_id


async def measure(folder: Path, names: Sequence[str], tasks_of_64k: int, members_of_1m: int, seconds: float) -> None:
    db = folder / "tasks.db"
    async with served(db) as server:
        workflow = await fill(db, tasks_of_64k, members_of_1m)
        async with Console(Settings(db=db)) as console:
            token = await issue(console, org="greedy", subject="worst", roles=["agent"])
        await live(server, 1)
        for name in ("quiet", *names):
            _forget_peak(server)
            if name == "quiet":
                report(name, await live(server, seconds), server)
                continue
            async with attacked(name, server, token.text, workflow):
                report(name, await live(server, seconds), server)


def _forget_peak(server: Served) -> None:
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")


def report(name: str, line: Line, server: Served) -> None:
    p50, p99 = (statistics.quantiles(line.took, n=100, method="inclusive")[n] for n in (49, 98))
    peak = next(one for one in server._proc("status").splitlines() if one.startswith("VmHWM"))
    print(
        f"| {name:22} | {len(line.took):5} | {line.failed:3} | {p50:7.1f} | {p99:7.1f} | {max(line.took):8.1f}"
        f" | {int(peak.split()[1]) // 1024:5} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.neighbours", description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000, help="tasks with 64 KiB of description (10,000)")
    parser.add_argument("--members", type=int, default=300, help="members with 1 MiB of input (300)")
    parser.add_argument("--seconds", type=float, default=10, help="for each line (10)")
    parser.add_argument("--only", nargs="*", choices=list(ATTACKS), help="these attacks (all)")
    given = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (USUAL, hard))
    print("| one organisation does  | calls | failed | p50 ms | p99 ms | longest ms | peak MB |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Path(folder), given.only or list(ATTACKS), given.tasks, given.members, given.seconds))


if __name__ == "__main__":
    main()
