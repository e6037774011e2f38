"""Comparisons that are shared: for how long, and what happens to those who wait when one fails or they give up.

It must not know what is compared.
"""

import asyncio

import pytest

from durable_tasks.errors import Closed, TemporalUnavailable
from durable_tasks.temporal.comparisons import Comparison, Comparisons
from durable_tasks.testing import ManualClock


class Compared:
    """Compares when it is told to, and counts."""

    def __init__(self) -> None:
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()
        self.asked: list[str] = []
        self.fails = False

    async def __call__(self, org_id: str) -> Comparison:
        self.asked.append(org_id)
        self.begun.set()
        await self.go_on.wait()
        if self.fails:
            raise TemporalUnavailable("it does not answer")
        return Comparison([], len(self.asked))


async def test_one_is_good_for_some_seconds() -> None:
    clock, compared = ManualClock(), Compared()
    compared.go_on.set()
    made = Comparisons(compared, clock)
    first = await made.of("acme")
    await clock.advance(9)
    assert await made.of("acme") is first
    await made.of("rival")
    await clock.advance(2)
    assert await made.of("acme") is not first
    assert compared.asked == ["acme", "rival", "acme"]


async def test_it_goes_on_for_the_next_when_one_has_given_up() -> None:
    compared = Compared()
    made = Comparisons(compared, ManualClock())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await made.of("acme")
    compared.go_on.set()
    assert (await made.of("acme")).compared == 1


async def test_a_failure_is_not_kept() -> None:
    compared = Compared()
    compared.fails = True
    compared.go_on.set()
    made = Comparisons(compared, ManualClock())
    for _ in range(2):
        with pytest.raises(TemporalUnavailable):
            await made.of("acme")
    compared.fails = False
    assert (await made.of("acme")).compared == 3


async def test_stopping_ends_those_under_way() -> None:
    compared = Compared()
    made = Comparisons(compared, ManualClock())
    waiting = asyncio.create_task(made.of("acme"))
    await compared.begun.wait()
    await made.stop()
    with pytest.raises(Closed):
        await waiting
