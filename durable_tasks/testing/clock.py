"""A clock that tests move by hand: hours pass at once, and nothing happens between two moves.

It must not know what waits on it.
"""

import asyncio
import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

START = 1_750_000_000.0
"""Where a clock begins: a Sunday in June 2025."""

STEADY_START = 1_000_000_000.0
"""What `steady` begins with: as coarse a number as the wall clock's, so that steps of tenths add up alike."""

TURNS = 3
"""Turns of the loop that tasks get to come here at all: one may only just have been created."""


@dataclass(eq=False, slots=True)
class _Waiter:
    task: "asyncio.Task[Any]"
    event: asyncio.Event
    left: Callable[[], float]
    """Seconds until its instant comes."""
    scope: asyncio.Timeout

    def is_resting(self) -> bool:
        return not self.event.is_set() and self.left() > 0


class ManualClock:
    """Implements ports.Clock. Time stands still until `advance`.

        tasks = DurableTasks(Settings(db=path), clock=ManualClock())
        await tasks.clock.advance(60)   # leases end, backoffs pass, timeouts fire; then this returns
        await tasks.clock.jump(-3600)   # somebody sets the wall clock; nothing takes longer or shorter for it

    For one event loop at a time."""

    def __init__(self, now: float = START) -> None:
        self._now = now
        self._steady = STEADY_START
        self._boot = uuid.uuid4().hex
        self._waiters: list[_Waiter] = []
        self._regulars: WeakSet[asyncio.Task[Any]] = WeakSet()
        self._stirred = asyncio.Event()

    def now(self) -> float:
        return self._now

    def steady(self) -> float:
        return self._steady

    def boot(self) -> str:
        return self._boot

    async def wait(self, event: asyncio.Event, until: float | None) -> bool:
        return await self._wait(event, (lambda: math.inf) if until is None else (lambda: until - self._now))

    async def wait_for(self, event: asyncio.Event, seconds: float) -> bool:
        ends = self._steady + seconds
        return await self._wait(event, lambda: ends - self._steady)

    async def _wait(self, event: asyncio.Event, left: Callable[[], float]) -> bool:
        task = asyncio.current_task()
        assert task is not None
        if task not in self._regulars:
            self._regulars.add(task)
            task.add_done_callback(lambda _: self._stirred.set())
        while not event.is_set():
            if left() <= 0:
                return False
            await self._rest(task, event, left)
        return True

    async def _rest(self, task: "asyncio.Task[Any]", event: asyncio.Event, left: Callable[[], float]) -> None:
        """Until the event comes or `advance` says that the instant has."""
        try:
            async with asyncio.timeout(None) as scope:
                waiter = _Waiter(task, event, left, scope)
                self._waiters.append(waiter)
                self._stirred.set()
                try:
                    await event.wait()
                finally:
                    self._waiters.remove(waiter)
        except TimeoutError:
            return

    async def advance(self, seconds: float, *, settle: float = 5.0) -> None:
        """Move time forward, wake whoever waited for an instant that has come, and let them do their work:
        return when all who ever waited here wait again or have ended, at the latest after `settle` real seconds.

        Raises ValueError for a step backwards."""
        if seconds < 0:
            raise ValueError(f"time goes forward, not by {seconds!r}")
        await self._move(seconds, seconds, settle)

    async def jump(self, seconds: float, *, settle: float = 5.0) -> None:
        """Set the wall clock forward or (below 0) back, while no time passes; then as `advance` does."""
        await self._move(seconds, 0.0, settle)

    async def _move(self, wall: float, steady: float, settle: float) -> None:
        await self.settle(settle)
        self._now += wall
        self._steady += steady
        now = asyncio.get_running_loop().time()
        for waiter in sorted(self._waiters, key=lambda one: one.left()):
            if waiter.left() <= 0:
                waiter.scope.reschedule(now)
        await self.settle(settle)

    async def settle(self, limit: float = 5.0) -> None:
        """Let those who wait here do what they were woken for. Gives up after `limit` real seconds: some may
        have gone on to wait for something else."""
        for _ in range(TURNS):
            await asyncio.sleep(0)
        try:
            async with asyncio.timeout(limit):
                while not self._is_settled():
                    self._stirred.clear()
                    await self._stirred.wait()
        except TimeoutError:
            return

    def _is_settled(self) -> bool:
        resting = {waiter.task for waiter in self._waiters if waiter.is_resting()}
        me = asyncio.current_task()
        return all(task.done() or task is me or task in resting for task in self._regulars)
