"""The load: callers that create, read, take and complete tasks, each in a loop, and how long every call took.

It must not know where the calls go: over HTTP and in this process they are the same.
"""

import asyncio
import time
from array import array
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from durable_tasks.org import Org

T = TypeVar("T")

INPUT = {"document": 4711, "language": "en", "pages": [1, 2, 3]}
OUTPUT = {"words": 42}
VERBS = ("create", "get", "next", "complete")


class Caller(Protocol):
    """One who calls, one call after the other. What is refused raises."""

    async def create(self) -> str:
        """A new manual task; its id."""
        ...

    async def get(self, task_id: str) -> None: ...

    async def next(self) -> tuple[str, str]:
        """Take the first that is ready; its id and the token."""
        ...

    async def complete(self, task_id: str, token: str) -> None: ...


@dataclass(slots=True)
class Load:
    """What the callers did."""

    seconds: float = 0.0
    took: dict[str, "array[float]"] = field(default_factory=lambda: {verb: array("d") for verb in VERBS})
    """By verb, the seconds of every call."""

    @property
    def operations(self) -> int:
        return sum(map(len, self.took.values()))

    @property
    def loops(self) -> int:
        return len(self.took["complete"])

    def quantile(self, verb: str, share: float) -> float:
        """The seconds that so large a share of the calls took at most."""
        ordered = sorted(self.took[verb])
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)]

    async def timed(self, verb: str, call: Awaitable[T]) -> T:
        started = time.perf_counter()
        answer = await call
        self.took[verb].append(time.perf_counter() - started)
        return answer


async def load(callers: Sequence[Caller], seconds: float) -> Load:
    """Let all of them call for so long; each then ends its loop. The first error ends everything."""
    done, started = Load(), time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for caller in callers:
            group.create_task(_loop(caller, started + seconds, done))
    done.seconds = time.perf_counter() - started
    return done


async def _loop(caller: Caller, until: float, done: Load) -> None:
    """Each has created one task more than it has taken, so `next` always finds one: perhaps another caller's."""
    while time.perf_counter() < until:
        task_id = await done.timed("create", caller.create())
        await done.timed("get", caller.get(task_id))
        held, token = await done.timed("next", caller.next())
        await done.timed("complete", caller.complete(held, token))


class InProcess:
    """Implements Caller in Python."""

    def __init__(self, org: Org, agent: str) -> None:
        self._org = org
        self._agent = agent

    async def create(self) -> str:
        return (await self._org.create("translate", mode="manual", input=INPUT)).id

    async def get(self, task_id: str) -> None:
        await self._org.get(task_id)

    async def next(self) -> tuple[str, str]:
        claim = await self._org.next(agent_id=self._agent)
        if claim is None:
            raise AssertionError("there was a ready task, and next did not find it")
        return claim.task.id, claim.token

    async def complete(self, task_id: str, token: str) -> None:
        await self._org.complete(task_id, OUTPUT, token=token)
