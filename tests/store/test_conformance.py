"""The shipped conformance suite, run on this package's own store; and the shipped clock.

It must not repeat what the suite tests.
"""

import asyncio
import math

import pytest

from durable_tasks.testing import ManualClock, StoreConformance


class TestOwnStore(StoreConformance):
    """`tasks` comes from this folder's fixtures."""


async def test_time_stands_still_until_it_is_moved() -> None:
    clock, never = ManualClock(100.0), asyncio.Event()
    waits = [asyncio.create_task(clock.wait(never, until)) for until in (105.0, 110.0, 110.5)]
    await clock.advance(9.9)
    assert ([wait.done() for wait in waits], clock.now()) == ([True, False, False], 109.9)
    await clock.advance(0.1)
    assert [wait.done() for wait in waits] == [True, True, False]
    assert waits[0].result() is False
    never.set()
    assert await waits[2] is True


async def test_an_event_beats_an_instant_that_has_passed() -> None:
    clock, event = ManualClock(), asyncio.Event()
    assert await clock.wait(event, clock.now()) is False
    event.set()
    assert await clock.wait(event, clock.now() - 1) is True
    assert await clock.wait(event, None) is True


async def test_advance_returns_when_the_woken_have_done_their_work() -> None:
    clock, done = ManualClock(), []

    async def work() -> None:
        while True:
            await clock.wait_for(asyncio.Event(), 10)
            await asyncio.to_thread(lambda: None)
            done.append(clock.now())

    working = asyncio.create_task(work())
    start = clock.now()
    for _ in range(3):
        await clock.advance(10)
    assert done == [start + 10, start + 20, start + 30]
    working.cancel()
    await clock.settle()
    with pytest.raises(asyncio.CancelledError):
        await working


async def test_who_went_on_to_something_else_does_not_hold_time_for_ever() -> None:
    clock, elsewhere = ManualClock(), asyncio.Event()

    async def leave() -> None:
        await clock.wait_for(asyncio.Event(), 1)
        await elsewhere.wait()

    leaving = asyncio.create_task(leave())
    await clock.advance(1, settle=0.01)
    await clock.advance(1, settle=0.01)
    elsewhere.set()
    await leaving


async def test_a_cancelled_wait_is_forgotten() -> None:
    clock = ManualClock()
    waiting = asyncio.create_task(clock.wait(asyncio.Event(), None))
    await clock.advance(1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await clock.advance(1)


async def test_time_does_not_go_back() -> None:
    with pytest.raises(ValueError, match="-1"):
        await ManualClock().advance(-1)


@pytest.mark.parametrize("by", [-3600.0, 3600.0])
async def test_a_jump_moves_instants_and_no_durations(by: float) -> None:
    clock, never = ManualClock(), asyncio.Event()
    now, steady = clock.now(), clock.steady()
    instant = asyncio.create_task(clock.wait(never, now + 100))
    duration = asyncio.create_task(clock.wait_for(never, 100))
    await clock.jump(by)
    assert (clock.now() - now, clock.steady() - steady) == (by, 0.0)
    assert (instant.done(), duration.done()) == (by > 0, False)
    await clock.advance(99)
    assert not duration.done()
    await clock.advance(1)
    assert (await duration, instant.done()) == (False, by > 0)
    await clock.advance(3600)
    assert await instant is False


async def test_for_ever_is_a_duration() -> None:
    clock, event = ManualClock(), asyncio.Event()
    waiting = asyncio.create_task(clock.wait_for(event, math.inf))
    await clock.advance(1e9)
    assert not waiting.done()
    event.set()
    assert await waiting is True


async def test_two_clocks_have_nothing_to_do_with_each_other() -> None:
    clock = ManualClock()
    assert clock.boot() == clock.boot() != ManualClock().boot()
