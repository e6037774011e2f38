"""Claims of several processes are linearizable: each call takes effect at one instant between call and answer.
It must not know how the store keeps them apart.
"""

import asyncio
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import environment
from tests.faults.claims_app import CALLS
from tests.faults.figures import count, keep
from tests.faults.linearizability import Call, linearizable

PROCESSES = 4
CALLERS = 6


def calls(*given: tuple[int, int, str, bool, str | None, Any]) -> list[Call]:
    return [Call(*one) for one in given]


GOOD = calls(
    (0, 10, "claim", True, "a", 1), (5, 20, "claim", False, None, None), (11, 12, "start", True, "a", None),
    (13, 30, "release", True, "a", None), (14, 15, "get", True, None, ("running", 1)),
    (16, 40, "claim", True, "b", 2), (41, 42, "complete", False, "a", None), (43, 44, "complete", True, "b", None),
    (45, 46, "complete", True, "b", None), (47, 48, "get", True, None, ("completed", 2)),
)  # fmt: skip
WRONG = {
    "two hold it": calls((0, 1, "claim", True, "a", 1), (2, 3, "claim", True, "b", 2)),
    "an old token counts": [*GOOD[:6], Call(41, 42, "complete", True, "a")],
    "a read of the past": [*GOOD, Call(50, 51, "get", True, None, ("running", 1))],
    "nobody holds it and it is refused": calls((0, 1, "claim", False, None, None)),
    "an attempt is skipped": calls((0, 1, "claim", True, "a", 2)),
    "a completed task is released": [*GOOD, Call(50, 51, "release", True, "b")],
}


def test_what_could_have_happened_is_found() -> None:
    assert linearizable(GOOD)


@pytest.mark.parametrize("story", WRONG)
def test_what_could_not_is_not(story: str) -> None:
    assert not linearizable(WRONG[story])


async def fight(folder: Path, waves: int, seed: int) -> list[Path]:
    """The books of all processes."""
    books = [folder / f"book-{number}" for number in range(PROCESSES)]
    processes = []
    for number, book in enumerate(books):
        config = {"db": str(folder / "tasks.db"), "book": str(book), "name": str(number), "waves": waves}
        arguments = json.dumps({**config, "seed": f"{seed}/{number}", "callers": CALLERS})
        program = (sys.executable, "-m", "tests.faults.claims_app", arguments)
        processes.append(await asyncio.create_subprocess_exec(*program, env=environment()))
    try:
        assert await asyncio.gather(*(process.wait() for process in processes)) == [0] * PROCESSES
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
    return books


def histories(books: list[Path]) -> Iterator[list[Call]]:
    by_task: dict[str, list[Call]] = {}
    for book in books:
        with book.open(encoding="utf-8") as lines:
            for line in lines:
                task_id, *call = json.loads(line)
                by_task.setdefault(task_id, []).append(Call(*call))
    yield from by_task.values()


async def judge(folder: Path, waves: int, seed: int) -> dict[str, Any]:
    print(f"\nseed {seed}")
    operations = claims = tasks = 0
    for history in histories(await fight(folder, waves, seed)):
        assert linearizable(history), sorted(history)
        tasks, operations = tasks + 1, operations + len(history)
        claims += sum(call.verb == "claim" and call.ok for call in history)
    return {
        "seed": seed,
        "processes": PROCESSES,
        "operations": operations,
        "tasks": tasks,
        "claims": claims,
        "wrong": 0,
    }


async def test_what_four_processes_see_of_claims_is_linearizable(tmp_path: Path) -> None:
    figures = await judge(tmp_path, 4, random.randrange(10**9))
    keep("linearizable-smoke", figures)
    assert figures["claims"] > 0


@pytest.mark.acceptance
async def test_a_million_calls_are_linearizable(tmp_path: Path) -> None:
    """So many calls as asked for, at least; those of `next` that find nothing are not counted."""
    asked = count("TASKS_ACCEPTANCE_CALLS", 1_000_000)
    waves = 1 + asked * 5 // (4 * PROCESSES * CALLERS * CALLS)
    figures = await judge(tmp_path, waves, count("TASKS_ACCEPTANCE_SEED", random.randrange(10**9)))
    keep("linearizable", figures)
    assert figures["operations"] >= asked
