"""The shipped conformance suite, run on this package's own store; and the shipped clock.

It must not repeat what the suite tests.
"""

import asyncio

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
            await clock.wait(asyncio.Event(), clock.now() + 10)
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
        await clock.wait(asyncio.Event(), clock.now() + 1)
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
