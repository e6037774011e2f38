"""Attempts lost with their process: when the next begins, which of several tasks is suspected, and which condemned.

It must not kill real processes: an instance that is dropped leaves file and lock as a kill would.
"""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from durable_tasks import DurableTasks, NewTask, Org, Task, TaskContext
from durable_tasks.store.suspects import is_their_turn, probation
from durable_tasks.testing import ManualClock
from tests.store.support import make, query, spin_until, within


class House:
    """One process after another on a file; what handlers they run is held until let go, a killer for ever."""

    def __init__(self, db: Path, clock: ManualClock, **settings: Any) -> None:
        self.db, self.clock, self.settings = db, clock, settings
        self.now: set[str] = set()
        self.go = asyncio.Event()
        self.tasks: DurableTasks

    async def open(self) -> Org:
        self.tasks = make(self.db, self.clock, **self.settings)

        @self.tasks.handler("x")
        async def handle(ctx: TaskContext, task: Task) -> str:
            self.now.add(task.title)
            try:
                await (asyncio.Event() if task.title == "killer" else self.go).wait()
            finally:
                self.now.discard(task.title)
            return "done"

        await self.tasks.start()
        return self.tasks.org()

    async def die(self) -> None:
        """Without a word to the file."""
        running = self.tasks._running
        assert running is not None
        self.tasks._running = None
        running.presence.drop()
        running.store.abandon()
        parts = [task for task in asyncio.all_tasks() if task.get_name().startswith("durable_tasks")]
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
        assert not self.now

    async def begins(self, titles: set[str]) -> None:
        await spin_until(lambda: self.now == titles)

    async def idle(self) -> None:
        """Whatever can begin now has begun."""
        await self.clock.settle()
        await within(self.tasks.store.probe())
        await self.clock.settle()


@pytest.fixture
async def house(db: Path, clock: ManualClock) -> Any:
    made = House(db, clock, max_lost=3)
    yield made
    made.go.set()
    if getattr(made, "tasks", None) is not None:
        await within(made.tasks.stop())


async def test_the_first_loss_is_made_good_at_once_and_later_ones_after_a_pause(house: House) -> None:
    org = await house.open()
    task = await org.create("task", capability="x")
    await house.begins({"task"})
    pauses = []
    for _ in range(4):
        await house.die()
        org = await house.open()
        await house.idle()
        pause = 0
        while not house.now:
            assert (await org.get(task.id)).state == "retrying"
            await house.clock.advance(1)
            await house.idle()
            pause += 1
        pauses.append(pause)
    assert pauses == [0, 1, 2, 4]
    assert await house.tasks.store.audit() == []


async def test_a_task_that_kills_its_process_while_alone_is_poison_and_nothing_else_is(house: House) -> None:
    org = await house.open()
    killer = await org.create("killer", capability="x", max_retries=9)
    others = await org.create_many([NewTask(title=f"innocent {n}", capability="x") for n in range(4)])
    deaths = 0
    while (found := await org.get(killer.id)).state != "failed":
        for _ in range(120):
            await house.idle()
            if "killer" in house.now:
                break
            house.go.set()  # innocents end
            await house.clock.advance(1)
            house.go = asyncio.Event()
        deaths += 1
        assert deaths < 9
        await house.die()
        org = await house.open()
    assert found.error is not None
    assert (found.error.type, found.retry_count, deaths) == ("poison", 0, 2 + 3)
    assert "while nothing ran beside them" in found.error.message
    house.go.set()
    for one in others:
        assert (await within(finished(house, org, one))).output == "done"
    assert query(house.db, "SELECT * FROM dt_suspects") == []
    assert await house.tasks.store.audit() == []


async def finished(house: House, org: Org, task: Task) -> Task:
    while True:
        found = await org.get(task.id)
        if found.state not in ("pending", "running", "retrying"):
            return found
        await house.clock.advance(1)
        await house.idle()


async def test_a_process_that_dies_time_and_again_condemns_none_of_many(house: House) -> None:
    """Whoever kills it: ten deaths, with three tasks to be at work each time."""
    house.settings["max_lost"] = 5
    org = await house.open()
    made = await org.create_many([NewTask(title=f"t{n}", capability="x") for n in range(3)])
    for _ in range(10):
        await house.idle()
        await house.die()
        org = await house.open()
        for _ in range(5):
            await house.clock.advance(1)
    assert {(await org.get(task.id)).state for task in made} <= {"pending", "running", "retrying"}
    house.go.set()
    assert {(await within(finished(house, org, task))).state for task in made} == {"completed"}


async def suspected(house: House, *titles: str) -> Org:
    """An instance on the file, where these have been lost twice together and wait to run again."""
    org = await house.open()
    await org.create_many([NewTask(title=title, capability="x") for title in titles])
    for _ in range(2):
        await house.begins(set(titles))
        await house.die()
        org = await house.open()
    assert query(house.db, "SELECT alone FROM dt_suspects") == [(0,)] * len(titles)
    return org


async def test_suspects_run_one_after_the_other_and_others_wait_no_longer_than_their_turn(house: House) -> None:
    org = await suspected(house, "a", "b")
    await house.clock.advance(1)
    await spin_until(lambda: len(house.now) == 1)
    await org.create("other", capability="x")
    await house.idle()
    assert len(house.now) == 1
    [first] = house.now
    await house.clock.advance(5)  # it was harmless for so long; but the second waits for its turn
    await house.idle()
    assert house.now == {first}
    await house.clock.advance(30)
    await house.begins({first, "other"})
    house.go.set()
    await house.begins(set())
    for _ in range(40):
        await house.clock.advance(1)
        await house.idle()
    assert {task.state for task in (await org.list()).items} == {"completed"}
    assert query(house.db, "SELECT * FROM dt_suspects") == []


async def test_a_damaged_suspect_costs_itself_only(house: House) -> None:
    org = await suspected(house, "damaged", "whole")
    with closing(sqlite3.connect(house.db)) as conn, conn:
        conn.execute("UPDATE dt_tasks SET input = '{' WHERE title = 'damaged'")
    house.go.set()
    for _ in range(40):
        await house.clock.advance(1)
        await house.idle()
    found = {task.title: (task.state, task.error and task.error.type) for task in (await org.list()).items}
    assert found == {"damaged": ("failed", "unreadable"), "whole": ("completed", None)}


async def test_a_busy_process_comes_to_rest_for_a_suspect_and_not_for_ever(house: House) -> None:
    org = await suspected(house, "suspect", "second")
    await org.create_many([NewTask(title="long", capability="x")])
    await house.begins({"long"})  # before the suspects' pause is over
    await house.clock.advance(1)
    await org.create("early", capability="x")
    await house.begins({"long", "early"})
    await house.clock.advance(6)  # now it is to come to rest
    await org.create("late", capability="x")
    await house.idle()
    assert house.now == {"long", "early"}
    await house.clock.advance(30)  # it did not: what is held up by it goes on
    await house.begins({"long", "early", "late"})
    for _ in range(565):
        await house.clock.advance(1)
    await house.begins({"long", "early", "late", "suspect", "second"})


async def test_restarts_in_good_order_are_no_losses(house: House) -> None:
    org = await house.open()
    task = await org.create("task", capability="x")
    for _ in range(6):
        await house.begins({"task"})
        stopping = asyncio.create_task(house.tasks.stop())
        while not stopping.done():
            await asyncio.sleep(0)
            await house.clock.advance(5, settle=0.2)
        await stopping
        org = await house.open()
    found = await org.get(task.id)
    assert (found.lost_count, found.retry_count) == (0, 0)


async def test_an_attempt_that_ends_by_itself_clears_its_task(house: House) -> None:
    org = await suspected(house, "a", "b")
    a = next(task for task in (await org.list()).items if task.title == "a")
    await org.cancel(a.id)
    assert len(query(house.db, "SELECT * FROM dt_suspects")) == 1
    house.go.set()
    await house.clock.advance(1)
    await spin_until(lambda: query(house.db, "SELECT * FROM dt_suspects") == [])


# ----- for how long


def test_a_suspect_is_watched_for_longer_after_each_loss() -> None:
    assert [probation(lost) for lost in (1, 2, 3, 4, 5, 6, 7, 10_000)] == [5, 5, 10, 20, 40, 60, 60, 60]


def test_others_make_way_for_a_suspect_half_a_minute_in_five() -> None:
    assert [t for t in range(1000) if is_their_turn(t)] == [
        *range(5, 35),
        *range(305, 335),
        *range(605, 635),
        *range(905, 935),
    ]
