"""A process that waits for work, without Temporal: its memory, and the CPU that waiting costs.

It must not measure itself: `python -m benchmarks.idle DIR SECONDS` is the process, run() starts it.
"""

import asyncio
import json
import resource
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measure import Case, Goal, Options, Reading

SECONDS = 10.0


async def _rounds(options: Options) -> AsyncIterator[list[Reading]]:
    for _ in range(options.runs):
        with TemporaryDirectory(dir=options.directory) as folder:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "benchmarks.idle", folder, str(SECONDS), stdout=asyncio.subprocess.PIPE
            )
            answer, _ = await process.communicate()
        found = json.loads(answer)
        yield [
            Reading("memory (RSS)", found["megabytes"], "MB"),
            Reading("CPU while waiting", found["cpu_percent"], "%"),
        ]


async def _wait_for_work(directory: Path, seconds: float) -> dict[str, float]:
    """Run one task through a handler, so that everything is loaded, then wait."""
    # Imported here: the parent needs none of it.
    from durable_tasks.app import DurableTasks
    from durable_tasks.settings import Settings

    tasks = DurableTasks(Settings(db=directory / "tasks.db", enabled=False))
    tasks.handler("noop")(_noop)
    async with tasks:
        task = await tasks.org().create("first", capability="noop")
        await tasks.org().wait(task.id)
        started = time.process_time()
        await asyncio.sleep(seconds)
        spent = time.process_time() - started
        return {"megabytes": _megabytes(), "cpu_percent": spent / seconds * 100}


async def _noop(_: object, __: object) -> None:
    return None


def _megabytes() -> float:
    """The resident set now where the system tells it, else its largest size."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 / 1024


IDLE = Case(
    "idle",
    f"a process without Temporal that waits {SECONDS:g} s for work, by itself",
    _rounds,
    (Goal("memory (RSS)", "value", 50), Goal("CPU while waiting", "value", 0.5)),
)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_wait_for_work(Path(sys.argv[1]), float(sys.argv[2])))))
