"""The HTTP API beside the facade that it stands on: 64 callers who create, read, take and complete tasks.

It must not know how they call. The server has a process of its own; this one only drives it.
"""

import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.load import VERBS, InProcess, Load, load
from benchmarks.local import opened
from benchmarks.measure import Case, Goal, Options, Reading
from benchmarks.served import connections, served

CALLERS = 64
WARM_UP = 1.0
SECONDS = 5.0
SECONDS_IN_FULL = 60.0


async def _rounds(options: Options) -> AsyncIterator[list[Reading]]:
    seconds = SECONDS_IN_FULL if options.full else SECONDS
    for _ in range(options.runs):
        facade, facade_cpu = await _by_facade(options.directory, seconds)
        http, http_cpu = await _by_http(options.directory, seconds)
        yield [
            _throughput(f"facade, {CALLERS} callers", facade, facade_cpu, None),
            _throughput(f"http, {CALLERS} connections", http, http_cpu, facade),
            Reading("http, whole loops", http.loops / http.seconds, "/s"),
            *(
                Reading(f"http {verb}, {name}", took * 1e3, "ms", ratio=took / facade.quantile(verb, share))
                for verb in VERBS
                for name, share in (("p50", 0.5), ("p99", 0.99))
                for took in [http.quantile(verb, share)]
            ),
        ]


async def _by_facade(directory: Path, seconds: float) -> tuple[Load, float]:
    """What they did, and the CPU of this process."""
    async with opened(directory) as tasks:
        callers = [InProcess(tasks.org(), f"agent {number}") for number in range(CALLERS)]
        await load(callers, WARM_UP)
        cpu = time.process_time()
        done = await load(callers, seconds)
        return done, time.process_time() - cpu


async def _by_http(directory: Path, seconds: float) -> tuple[Load, float | None]:
    """What they did, and the CPU of the server's process where the system tells it."""
    tells = sys.platform == "linux"
    with TemporaryDirectory(dir=directory) as folder:
        async with served(Path(folder) / "tasks.db") as server, connections(server, CALLERS) as callers:
            await load(callers, WARM_UP)
            cpu = server.cpu() if tells else None
            done = await load(callers, seconds)
            return done, None if cpu is None else server.cpu() - cpu


def _throughput(name: str, done: Load, cpu: float | None, peer: Load | None) -> Reading:
    rate = done.operations / done.seconds
    return Reading(
        name,
        rate,
        "/s",
        cpu_us=None if cpu is None else cpu / done.operations * 1e6,
        ratio=None if peer is None else rate / (peer.operations / peer.seconds),
    )


HTTP = Case(
    "http",
    f"create, get, next and complete by {CALLERS} callers over HTTP, beside the facade",
    _rounds,
    (Goal(f"http, {CALLERS} connections", "ratio", 0.1, at_least=True),),
)
