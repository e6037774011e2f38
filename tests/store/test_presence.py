"""Who lives and who is dead among the processes of a file, and what a process does that was declared dead.

It must not signal real processes: instances of the test's own stand for them, with clocks moved by hand.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from durable_tasks import DurableTasks, Task, TaskContext
from durable_tasks.engine.peers import PeerSight
from durable_tasks.engine.pulse import Pulse
from durable_tasks.ports import Peer
from durable_tasks.store.connection import connect
from durable_tasks.testing import ManualClock
from tests.store.support import make, opened, query, spin_until, within

LEASE = 15.0
BEAT = 3.0
"""Seconds between two renewals with that lease."""


# ----- what an observer makes of beats

# (steady seconds, beats) of each look → stalled at the last one. The lease is 15 s.
LOOKS: list[tuple[list[tuple[int, int]], bool]] = [
    ([(0, 7)], False),
    ([(t, 7) for t in range(0, 15, 3)], False),
    ([(t, 7) for t in range(0, 16, 3)], True),
    ([(t, 7 + t // 12) for t in range(0, 25, 3)], False),
    ([(t, 7 + t // 12) for t in range(0, 25, 3)] + [(t, 9) for t in range(27, 40, 3)], True),
    ([(0, 7), (16, 7)], False),  # the observer was late itself
    ([(0, 7), (3, 7), (6, 7), (9, 7), (17, 7), (20, 7)], False),
    ([(0, 7), (9, 7), *((t, 7) for t in range(12, 25, 3))], True),
    ([(0, 7), (9, 7), *((t, 7) for t in range(12, 22, 3))], False),
]


@pytest.mark.parametrize(("looks", "expected"), LOOKS)
def test_a_process_has_stalled_when_a_punctual_observer_saw_no_beat_for_a_lease(
    looks: list[tuple[int, int]], expected: bool
) -> None:
    watch, found = PeerSight(LEASE), set[str]()
    for now, beats in looks:
        found = watch.stalled([Peer("other", (beats, 0.0), LEASE)], 1e6 + now)
    assert (found == {"other"}) is expected


def test_the_lease_is_that_of_who_is_watched() -> None:
    watch, impatient = PeerSight(LEASE), PeerSight(1.0)
    peer = Peer("other", (0, 0.0), 60.0)
    assert [t for t in range(0, 70, 3) if watch.stalled([peer], t)] == [60, 63, 66, 69]
    assert next(t / 5 for t in range(0, 5 * 70) if impatient.stalled([peer], t / 5)) == 60
    rowless = Peer("no row", None, None)
    assert next(t for t in range(100, 130, 3) if watch.stalled([rowless], t)) == 115


async def test_a_wall_clock_that_stands_still_or_jumps_is_no_death(db: Path) -> None:
    """The row's lease is over by the wall clock; the beats go on."""
    clock = ManualClock()
    async with holding(db, clock) as (tasks, task), opened(db, clock, worker=False):
        for jump in (3600.0, -7200.0, 3600.0):
            await clock.jump(jump)
            for _ in range(6):
                await clock.advance(BEAT)
        assert (await tasks.org().get(task.id)).attempt == 1


# ----- burial


class holding:
    """An instance whose handler `hold` has begun and goes on until it is stopped or the test ends."""

    def __init__(self, db: Path, clock: ManualClock, **settings: Any) -> None:
        self.tasks = make(db, clock, **settings)
        self.begun, self.go = asyncio.Event(), asyncio.Event()
        self.stopped = 0

        @self.tasks.handler("hold")
        async def hold(ctx: TaskContext, task: Task) -> str:
            self.begun.set()
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                self.stopped += 1
                raise
            return "held"

    async def __aenter__(self) -> tuple[DurableTasks, Task]:
        await self.tasks.start()
        task = await self.tasks.org().create("held", capability="hold")
        await within(self.begun.wait())
        return self.tasks, task

    async def __aexit__(self, *_: object) -> None:
        self.go.set()
        await within(self.tasks.stop())


async def test_who_starts_does_not_bury_who_holds_its_lock(db: Path) -> None:
    """The lease in the file is long over: a program kept the write lock, the machine slept, the clock jumped."""
    late, fresh = ManualClock(), ManualClock()
    async with holding(db, late) as (_, task):
        await fresh.advance(10 * LEASE)
        for worker in (False, True):
            async with opened(db, fresh, worker=worker) as tool:
                found = await tool.org().get(task.id)
                assert (found.state, found.attempt, found.lost_count) == ("running", 1, 0)


async def bury(db: Path, clock: ManualClock) -> None:
    """Another process watches for a lease and sees no beat of those whose clocks stand still."""
    async with opened(db, clock, worker=False):
        for _ in range(6):
            await clock.advance(BEAT)


async def test_a_buried_process_stops_what_it_runs_and_returns_under_another_name(db: Path) -> None:
    late = ManualClock()
    stalled = holding(db, late)
    async with stalled as (tasks, task):
        [(before,)] = query(db, "SELECT instance FROM dt_processes")
        await bury(db, ManualClock())
        # Its clock stands: it learns of its burial by asking for work after another's commit, not by a beat.
        await spin_until(lambda: stalled.stopped == 1)
        again = await running(tasks, task, 2)
        [(after,)] = query(db, "SELECT instance FROM dt_processes")
        assert after != before
        assert query(db, "SELECT DISTINCT process FROM dt_tasks WHERE process IS NOT NULL") == [(after,)]
        assert (again.attempt, again.lost_count) == (2, 1)
        assert await tasks.store.audit() == []


async def running(tasks: DurableTasks, task: Task, attempt: int) -> Task:
    """The task once that attempt of it runs."""
    async with asyncio.timeout(30):
        async for _ in tasks.org().watch(after=0):
            found = await tasks.org().get(task.id)
            if (found.state, found.attempt) == ("running", attempt):
                return found
    raise AssertionError


async def test_a_buried_process_takes_nothing_before_its_old_attempts_have_ended(db: Path) -> None:
    late, let_go = ManualClock(), threading.Event()
    begun: list[int] = []
    async with opened(db, late, cancel_grace=30) as tasks:

        @tasks.handler("deaf")
        def deaf(ctx: TaskContext, task: Task) -> None:
            begun.append(ctx.attempt)
            let_go.wait(30)

        try:
            task = await tasks.org().create("deaf", capability="deaf")
            await spin_until(lambda: begun == [1])
            await bury(db, ManualClock())
            await tasks.org().create("another", capability="deaf")
            await late.advance(29)
            assert (begun, query(db, "SELECT COUNT(*) FROM dt_processes")) == ([1], [(0,)])
            assert (await tasks.org().get(task.id)).state == "pending"
            await late.advance(2)  # it is given up: its thread goes on unheeded
            await spin_until(lambda: len(begun) == 3)
        finally:
            let_go.set()
        assert sorted(begun) == [1, 1, 2]


@pytest.mark.parametrize("alive", [False, True], ids=["lock free", "lock held"])
async def test_an_attempt_whose_process_has_no_row_is_recovered(db: Path, alive: bool) -> None:
    """However it came about: its owner's row is gone, and it dies before it says so, or lives and begins anew."""
    late, clock = ManualClock(), ManualClock()
    async with holding(db, late) as (tasks, task):
        with closing(connect(db)) as conn:
            conn.execute("DELETE FROM dt_processes")
        if not alive:
            assert tasks._running is not None
            tasks._running.presence.drop()
        async with opened(db, clock, worker=False) as other:
            await running(other, task, 2)
            known = query(db, "SELECT 1 FROM dt_tasks JOIN dt_processes ON process = instance WHERE id = ?", task.id)
            assert known == [(1,)]


# ----- a blocked loop


async def test_a_blocked_loop_keeps_its_lease_and_is_named(
    db: Path, caplog: pytest.LogCaptureFixture, clock: ManualClock
) -> None:
    async with opened(db, clock, process_lease=1.0) as tasks:
        beats: list[int] = []

        @tasks.handler("hog")
        async def hog(ctx: TaskContext, task: Task) -> None:
            until = time.monotonic() + 20
            while len(set(beats)) < 3 and time.monotonic() < until:
                beats.append(query(db, "SELECT beats FROM dt_processes")[0][0])
                threading.Event().wait(0.05)

        task = await tasks.org().create("task", capability="hog")
        await within(tasks.org().wait(task.id))
        assert len(set(beats)) >= 3
        await spin_until(lambda: "the event loop runs again" in caplog.text)
        assert (
            f"by the handler of 'hog' (task {task.id}, attempt 1): a blocking call in an async handler" in caplog.text
        )
        assert "hog (" in caplog.text


async def test_a_loop_that_does_not_run_is_not_helped() -> None:
    """Nor one that has ended: nothing of it lives that a lease could protect."""
    renewals: list[float] = []
    loop = asyncio.new_event_loop()

    async def begin() -> Pulse:
        pulse = Pulse(every=0.01, longest=600.0, renew=renewals.append, culprit=lambda: None)
        pulse.start()
        return pulse

    def drive() -> Pulse:
        made = loop.run_until_complete(begin())
        threading.Event().wait(0.2)
        return made

    pulse = await asyncio.to_thread(drive)
    assert (renewals, pulse._thread.is_alive()) == ([], True)
    loop.close()
    await asyncio.to_thread(pulse._thread.join, 10)
    assert not pulse._thread.is_alive()


async def test_a_loop_that_is_hung_is_named_each_minute_and_not_helped_for_ever(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now, renewals = [0.0], list[float]()
    pulse = Pulse(every=0.01, longest=600.0, renew=renewals.append, culprit=lambda: "it", steady=lambda: now[0])

    def hang_until(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline
            threading.Event().wait(0.01)

    pulse.start()
    try:
        hang_until(lambda: bool(renewals))
        for count, seconds in enumerate((30.0, 90.0, 599.0), 1):
            now[0] = seconds
            hang_until(lambda count=count: caplog.text.count("has been blocked") == count)  # type: ignore[misc]
        assert "not kept any longer" not in caplog.text
        now[0] = 660.0
        hang_until(lambda: "not kept any longer" in caplog.text)
        helped = len(renewals)
        now[0] = 720.0
        hang_until(lambda: caplog.text.count("not kept any longer") == 2)
        assert len(renewals) == helped
        assert max(renewals) < 600
    finally:
        pulse.stop()
