"""What one organisation's costliest reads cost another: `python -m benchmarks.neighbours`.

It must not know how the server keeps them apart.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path

from benchmarks.served import Connection, Served, connections, served
from durable_tasks import DurableTasks, NewTask, Settings
from durable_tasks.console import Console
from durable_tasks.identity.tokens import issue

TEXT = "lorem ipsum dolor sit amet " * 2400
Attack = Callable[[Served, str], Awaitable[None]]


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


async def ask(server: Served, path: str, patience: float | None = None) -> None:
    """One request on a connection of its own, which is closed after `patience` seconds, or read to its end."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        head = f"GET {path} HTTP/1.1\r\nHost: {server.host}:{server.port}\r\nAuthorization: Bearer {server.token}\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n".encode())
        async with asyncio.timeout(patience):
            while await reader.read(1 << 20):
                pass
    except TimeoutError:
        pass
    finally:
        writer.close()


async def hang_up(server: Served, workflow: str) -> None:
    """Twenty searches, none of which is waited for."""
    path = "/v1/tasks/counts?text=z%C3%89%C3%B6%20zz%C3%80"
    await asyncio.gather(*(ask(server, path, patience=0.01) for _ in range(20)))
    await asyncio.sleep(1)


async def search(server: Served, workflow: str) -> None:
    await asyncio.gather(*(ask(server, "/v1/tasks?text=z%C3%89%C3%B6%20zz%C3%80&limit=1000") for _ in range(4)))


async def lists(server: Served, workflow: str) -> None:
    await asyncio.gather(*(ask(server, "/v1/tasks?limit=1000") for _ in range(4)))


async def members(server: Served, workflow: str) -> None:
    await ask(server, f"/v1/workflows/{workflow}")


async def offsets(server: Served, workflow: str) -> None:
    await asyncio.gather(*(ask(server, "/api/tasks?offset=1500&limit=1000") for _ in range(2)))


ATTACKS: Mapping[str, Attack] = {
    "20 searches, hung up": hang_up, "4 searches": search, "4 lists of 64 KiB": lists, "members of 1 MiB": members,
    "2 lists by offset": offsets,
}  # fmt: skip


async def live(connection: Connection, seconds: float) -> list[float]:
    """Create, get and claim one after the other; the milliseconds of each."""
    took: list[float] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for step in ("create", "get", "next"):
            began = time.monotonic()
            if step == "create":
                task_id = await connection.create()
            elif step == "get":
                await connection.get(task_id)
            else:
                await connection.next()
            took.append((time.monotonic() - began) * 1000)
        await asyncio.sleep(0.005)
    return took


async def again(attack: Attack, server: Served, workflow: str) -> None:
    while True:
        await attack(server, workflow)


async def measure(folder: Path, tasks_of_64k: int, members_of_1m: int, seconds: float) -> None:
    db = folder / "tasks.db"
    async with served(db) as server:
        workflow = await fill(db, tasks_of_64k, members_of_1m)
        async with Console(Settings(db=db)) as console:
            token = await issue(console, org="greedy", subject="viewer", roles=["viewer"])
        greedy = replace(server, token=token.text)
        async with connections(server, 1) as (neighbour,):
            await live(neighbour, 1)
            report("quiet", await live(neighbour, seconds), server)
            for name, attack in ATTACKS.items():
                attacking = asyncio.create_task(again(attack, greedy, workflow))
                await asyncio.sleep(0.2)
                report(name, await live(neighbour, seconds), server)
                attacking.cancel()
                await asyncio.gather(attacking, return_exceptions=True)
                await ask(greedy, "/v1/tasks?limit=1")


def report(name: str, took: list[float], server: Served) -> None:
    p50, p99 = (statistics.quantiles(took, n=100)[n] for n in (49, 98))
    peak = next(line for line in server._proc("status").splitlines() if line.startswith("VmHWM"))
    print(
        f"{name:22} {len(took):5} calls, p50 {p50:7.1f} ms, p99 {p99:8.1f} ms, longest {max(took):8.1f} ms,"
        f" peak {int(peak.split()[1]) // 1024} MB",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.neighbours", description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000, help="tasks with 64 KiB of description (10,000)")
    parser.add_argument("--members", type=int, default=300, help="members with 1 MiB of input (300)")
    parser.add_argument("--seconds", type=float, default=10, help="for each line (10)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Path(folder), given.tasks, given.members, given.seconds))


if __name__ == "__main__":
    main()
