"""The system's clock: waits for instants notice that it was set, waits for a while do not. The system's ids: they
ascend, they are UUIDs, and others cannot be counted by them.

It must not know what the time or the ids are for.
"""

import asyncio
import math
import subprocess
import sys
import uuid
from itertools import pairwise

import pytest

from durable_tasks import clock as module
from durable_tasks.clock import SystemClock, SystemIds


class SetClock(SystemClock):
    """A wall clock that is set to another time at the second look at it."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self._by, self._looks = by, 0

    def now(self) -> float:
        self._looks += 1
        return super().now() + (self._by if self._looks > 1 else 0.0)


async def test_who_waits_for_an_instant_notices_that_the_clock_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY", 0.01)
    clock = SetClock(3600)
    async with asyncio.timeout(30):
        assert await clock.wait(asyncio.Event(), SystemClock().now() + 3600) is False


async def test_who_waits_for_a_while_does_not_care_that_the_clock_was_set() -> None:
    clock = SetClock(-3600)
    clock.now()
    async with asyncio.timeout(30):
        assert await clock.wait_for(asyncio.Event(), 0.01) is False
        assert await clock.wait_for(asyncio.Event(), -1.0) is False


@pytest.mark.parametrize("seconds", [0.0, 60.0, math.inf])
async def test_an_event_that_has_come_ends_every_wait(seconds: float) -> None:
    clock, event = SystemClock(), asyncio.Event()
    event.set()
    assert await clock.wait_for(event, seconds) is True
    assert await clock.wait(event, clock.now() + seconds if seconds < math.inf else None) is True


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux names its start")
def test_processes_of_one_machine_can_compare_their_steady_clocks() -> None:
    code = "from durable_tasks.clock import SystemClock; clock = SystemClock(); print(clock.steady(), clock.boot())"
    here = SystemClock()
    before = here.steady()
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    steady, boot = said.strip().split(" ", 1)
    assert boot == here.boot()
    assert before <= float(steady) <= here.steady()


@pytest.fixture
def one_instant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 1_750_000_000_123_456_789)


@pytest.mark.usefixtures("one_instant")
def test_ids_of_one_process_ascend_also_when_many_are_made_at_once() -> None:
    ids = SystemIds()
    made = [ids.task() for _ in range(10_000)]
    assert made == sorted(set(made))
    assert {uuid.UUID(one).version for one in made} == {7}


@pytest.mark.usefixtures("one_instant")
def test_the_first_id_in_a_millisecond_may_be_anywhere() -> None:
    """From 0 on, it would tell how many ids this process had made in the same millisecond: perhaps for others."""
    begun = {SystemIds().task()[15:18] for _ in range(64)}
    assert len(begun) > 32


@pytest.mark.usefixtures("one_instant")
def test_two_ids_do_not_count_those_between_them() -> None:
    """Some that follow each other are farther apart than others with three between them."""
    ids = SystemIds()
    places = [place(ids.task()) for _ in range(5_000)][3_000:]  # once they follow each other by steps alone
    neighbours = [later - earlier for earlier, later in pairwise(places)]
    with_three_between = [later - earlier for earlier, later in zip(places, places[4:], strict=False)]
    assert max(neighbours) > min(with_three_between)


def place(one: str) -> int:
    """The id as a number, without the bits that are the same in all."""
    value = uuid.UUID(one).int
    return (value >> 80) << 74 | (value >> 64 & 0xFFF) << 62 | value & (1 << 62) - 1
