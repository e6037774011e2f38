"""Turns and buckets: an organisation that asks much waits in its own line; who is alone has everything.

It must not know HTTP.
"""

import asyncio

import pytest

from durable_tasks.web.buckets import Buckets
from durable_tasks.web.turns import REMEMBERED, TOGETHER, Company, Turns


class Steady:
    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


async def begun(turns: Turns, org_id: str) -> bool:
    """Whether it is its turn at once. Else it goes again."""
    waiting = asyncio.ensure_future(turns.begin(org_id))
    for _ in range(3):
        await asyncio.to_thread(int)
    if not waiting.done():
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        return False
    await waiting
    return True


def crowded() -> Turns:
    """Where several have asked lately."""
    company = Company(Steady())
    company.saw("acme")
    company.saw("beta")
    return Turns(company)


async def test_who_is_alone_has_every_turn_and_in_company_a_few() -> None:
    steady = Steady()
    company = Company(steady)
    turns = Turns(company)
    for _ in range(3 * TOGETHER):
        company.saw("acme")
        assert await begun(turns, "acme")
    company.saw("beta")
    assert await begun(turns, "beta")
    assert not await begun(turns, "acme")
    steady.at += REMEMBERED + 1
    assert await begun(turns, "acme")


async def test_a_line_goes_on_in_order_as_turns_are_given_back() -> None:
    turns = crowded()
    await turns.begin("beta")
    for _ in range(TOGETHER):
        await turns.begin("acme")
    order: list[int] = []

    async def come(number: int) -> None:
        await turns.begin("acme")
        order.append(number)

    coming = [asyncio.create_task(come(number)) for number in range(3)]
    await asyncio.to_thread(int)
    gone = coming.pop(1)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    for _ in range(2):
        turns.end("acme")
    await asyncio.gather(*coming)
    assert order == [0, 2]


async def test_callers_of_an_organisation_are_called_in_turn() -> None:
    turns = crowded()
    await turns.begin("beta")
    for _ in range(TOGETHER):
        await turns.begin("acme", "greedy")
    order: list[str] = []

    async def come(caller: str) -> None:
        await turns.begin("acme", caller)
        order.append(caller)
        turns.end("acme")

    coming = [asyncio.create_task(come(caller)) for caller in (*["greedy"] * 20, "ann", "ann", "bob")]
    await asyncio.to_thread(int)
    turns.end("acme")
    await asyncio.gather(*coming)
    assert order[:6] == ["greedy", "ann", "bob", "greedy", "ann", "greedy"]


async def test_one_who_has_left_before_it_is_called_is_passed_over() -> None:
    turns = crowded()
    await turns.begin("beta")
    for _ in range(TOGETHER):
        await turns.begin("acme")
    first, second = (asyncio.create_task(turns.begin("acme")) for _ in range(2))
    await asyncio.to_thread(int)
    first.cancel()
    turns.end("acme")
    with pytest.raises(asyncio.CancelledError):
        await first
    async with asyncio.timeout(10):
        await second


async def test_one_who_leaves_as_it_is_called_hands_its_turn_on() -> None:
    turns = crowded()
    await turns.begin("beta")
    for _ in range(TOGETHER):
        await turns.begin("acme")
    first, second = (asyncio.create_task(turns.begin("acme")) for _ in range(2))
    await asyncio.to_thread(int)
    turns.end("acme")
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    async with asyncio.timeout(10):
        await second


async def test_who_rests_leaves_its_turn_to_others() -> None:
    turns = crowded()
    await turns.begin("beta")
    for _ in range(TOGETHER):
        await turns.begin("acme")
    with turns.resting("acme"):
        assert await begun(turns, "acme")
    assert not await begun(turns, "acme")


def test_tokens_come_back_with_time() -> None:
    steady = Steady()
    buckets = Buckets(10, steady)
    assert [buckets.take("ann") for _ in range(20)] == [0.0] * 20
    assert buckets.take("ann") == pytest.approx(0.1)
    assert buckets.missing("ann") == pytest.approx(0.1)
    assert (buckets.take("bob"), buckets.missing("cyd")) == (0.0, 0.0)
    steady.at += 0.25
    assert [buckets.take("ann") > 0 for _ in range(3)] == [False, False, True]
    steady.at += 3600
    assert [buckets.take("ann") > 0 for _ in range(21)] == [False] * 20 + [True]


def test_the_longest_unused_are_forgotten() -> None:
    buckets = Buckets(1, Steady(), most=2)
    for name in ("ann", "ann", "bob", "cyd"):
        buckets.take(name)
    assert buckets.take("cyd") == 0.0
    assert buckets.take("ann") == 0.0


async def test_what_takes_all_turns_is_alone_and_nobody_passes_it_in_its_line() -> None:
    turns = crowded()
    await turns.begin("acme")
    large = asyncio.create_task(turns.begin("acme", size=TOGETHER))
    await asyncio.sleep(0)
    assert not await begun(turns, "acme")
    turns.end("acme")
    await large
    assert not await begun(turns, "acme")
    assert await begun(turns, "beta")
    turns.end("acme", TOGETHER)
    assert await begun(turns, "acme")


async def test_who_leaves_the_line_lets_those_behind_him_go_on() -> None:
    turns = crowded()
    await turns.begin("acme")
    large = asyncio.create_task(turns.begin("acme", "a", TOGETHER))
    await asyncio.sleep(0)
    small = asyncio.create_task(turns.begin("acme", "b"))
    await asyncio.sleep(0)
    large.cancel()
    async with asyncio.timeout(10):
        await small
