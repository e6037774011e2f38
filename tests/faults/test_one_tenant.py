"""One organisation does its worst at the writer: how long the others' creates take meanwhile."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from durable_tasks import DurableTasks, NewTask, Org, Settings
from durable_tasks.models import Mode
from tests.faults.figures import keep, spread

LONGEST_STEP = 1.0
"""Seconds that another's create may take while something is done in steps; a step takes less than a tenth of that."""
LONGEST_CALL = 5.0
"""The same while the largest call there is writes its tasks: all of them or none, so in one transaction."""


def waiting(count: int, *parents: str) -> list[NewTask]:
    return [NewTask(title="waits", mode=Mode.MANUAL, depends_on=parents)] * count


async def large_parent(org: Org) -> Callable[[bool], Awaitable[object]]:
    parent = await org.create("parent", mode="manual")
    for _ in range(3):
        await org.create_many(waiting(10_000, parent.id))

    async def end(well: bool) -> object:
        if not well:
            return await org.cancel(parent.id)
        claim = await org.claim(parent.id, agent_id="worst")
        return await org.complete(parent.id, token=claim.token)

    return end


async def completing(org: Org) -> Callable[[], Awaitable[object]]:
    end = await large_parent(org)
    return lambda: end(True)


async def cancelling(org: Org) -> Callable[[], Awaitable[object]]:
    end = await large_parent(org)
    return lambda: end(False)


async def cancelling_a_group(org: Org) -> Callable[[], Awaitable[object]]:
    made = await org.fan_out("wide", waiting(10_000))
    return lambda: org.cancel_workflow(made.id)


async def retrying_a_group(org: Org) -> Callable[[], Awaitable[object]]:
    made = await org.fan_out("wide", waiting(10_000))
    await org.cancel_workflow(made.id)
    return lambda: org.retry_workflow(made.id)


async def flooding(org: Org) -> Callable[[], Awaitable[object]]:
    return lambda: asyncio.gather(*(org.create("flood", mode="manual") for _ in range(1_000)))


async def creating_many(org: Org) -> Callable[[], Awaitable[object]]:
    return lambda: org.create_many(waiting(10_000))


async def depending_on_many(org: Org) -> Callable[[], Awaitable[object]]:
    names = tuple(f"n{n}" for n in range(20))
    first = [NewTask(name=name, mode=Mode.MANUAL) for name in names]
    return lambda: org.create_many(first + waiting(1_000, *names))


@pytest.mark.acceptance
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("worst", "longest"),
    [
        (completing, LONGEST_STEP),
        (cancelling, LONGEST_STEP),
        (cancelling_a_group, LONGEST_STEP),
        (retrying_a_group, LONGEST_STEP),
        (flooding, LONGEST_STEP),
        (creating_many, LONGEST_CALL),
        (depending_on_many, LONGEST_CALL),
    ],
)
async def test_others_create_while_one_does_its_worst(
    tmp_path: Path, worst: Callable[[Org], Awaitable[Callable[[], Awaitable[object]]]], longest: float
) -> None:
    async with DurableTasks(Settings(db=tmp_path / "tasks.db", enabled=False)) as tasks:
        other, took = tasks.org("other"), list[float]()
        act = await worst(tasks.org("worst"))
        await other.create("before", mode="manual")
        acting = asyncio.ensure_future(act())
        while not (acting.done() and await nothing_is_left(tasks)):
            begun = time.perf_counter()
            await other.create("another", mode="manual")
            took.append(time.perf_counter() - begun)
            await tasks.clock.wait_for(asyncio.Event(), 0.005)
        await acting
    keep(f"one-tenant-{worst.__name__}", spread(took))
    assert max(took) < longest


async def nothing_is_left(tasks: DurableTasks) -> bool:
    return await tasks.store.read(
        lambda conn: conn.execute("SELECT NOT EXISTS (SELECT 1 FROM dt_remainders)").fetchone()[0] == 1
    )
