"""A wall clock that is set: what lasts goes on as if it had not been, what is planned for an instant follows it.

It must not know handlers' ways or agents' beyond what ends by time.
"""

import asyncio
import itertools
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from durable_tasks import DurableTasks, Org, RetryPolicy, Task, TaskContext, errors
from durable_tasks.instants import utc
from durable_tasks.lifecycle import is_terminal
from durable_tasks.models import TaskState
from durable_tasks.store.moves import due_at
from durable_tasks.store.timekeeping import Timekeeper, move_intervals
from durable_tasks.testing import ManualClock
from tests.store.support import AGENT, claimed, opened, query, within

HOUR, DAY = 3600.0, 86400.0
BEAT = 3.0
"""Seconds in which every process writes at least once, and so notices."""

each_way = pytest.mark.parametrize("by", [-DAY, -HOUR, HOUR, DAY])


async def state_of(org: Org, task: Task) -> tuple[str, int]:
    found = await org.get(task.id)
    return found.state.value, found.attempt


def error_of(task: Task) -> str | None:
    return None if task.error is None else task.error.type


def instant(clock: ManualClock, seconds: float) -> datetime:
    return utc(clock.now() + seconds)


# ----- what lasts


@each_way
async def test_a_claim_keeps_what_its_lease_had_left(clock: ManualClock, org: Org, by: float) -> None:
    made = await claimed(org, lease=60.0)
    await clock.advance(20)
    await clock.jump(by)
    await clock.advance(39)
    task = await org.get(made.task.id)
    assert (task.state, task.lease_expires_at) == ("claimed", instant(clock, 1))
    await clock.advance(1)
    assert await state_of(org, task) == ("pending", 1)


@each_way
async def test_a_heartbeat_is_not_too_late_after_a_jump(clock: ManualClock, org: Org, by: float) -> None:
    made = await claimed(org, lease=60.0)
    await clock.jump(by)
    await org.heartbeat(made.task.id, token=made.token)
    await clock.advance(59)
    assert (await org.complete(made.task.id, token=made.token)).state == "completed"


@each_way
async def test_a_handler_has_all_of_its_timeout(clock: ManualClock, tasks: DurableTasks, org: Org, by: float) -> None:
    begun = asyncio.Event()

    @tasks.handler("x")
    async def handle(ctx: TaskContext, task: Task) -> None:
        begun.set()
        await asyncio.Event().wait()

    task = await org.create("long", capability="x", timeout=600.0, max_retries=0)
    await within(begun.wait())
    await clock.advance(90)
    await clock.jump(by)
    await clock.advance(509)
    assert await state_of(org, task) == ("running", 1)
    await clock.advance(1)
    assert error_of(await within(org.wait(task.id))) == "timeout"


@each_way
async def test_an_edited_timeout_counts_from_the_start(
    clock: ManualClock, tasks: DurableTasks, org: Org, by: float
) -> None:
    made = await claimed(org, lease=None, timeout=600.0)
    await org.start(made.task.id, token=made.token)
    await clock.jump(by)
    await clock.advance(BEAT)
    await org.update(made.task.id, timeout=60.0)
    await clock.advance(56)
    assert await state_of(org, made.task) == ("running", 1)
    await clock.advance(1)
    assert await state_of(org, made.task) != ("running", 1)


@each_way
async def test_a_back_off_lasts_as_long_as_it_was_meant_to(
    clock: ManualClock, tasks: DurableTasks, org: Org, by: float
) -> None:
    calls: list[float] = []

    @tasks.handler("x")
    async def handle(ctx: TaskContext, task: Task) -> None:
        calls.append(clock.steady())
        raise ConnectionError

    hourly = RetryPolicy(initial=HOUR, maximum=HOUR)
    task = await org.create("again", capability="x", max_retries=1, retry=hourly)
    async with asyncio.timeout(30):
        async for event in org.watch(after=0):
            if event.kind == "task.retrying":
                break
    await clock.jump(by)
    await clock.advance(HOUR - 1)
    assert len(calls) == 1
    await clock.advance(1)
    assert (await within(org.wait(task.id))).state == "failed"
    assert calls[1] - calls[0] == HOUR


@each_way
async def test_a_delay_lasts_as_long_as_it_was_meant_to(clock: ManualClock, org: Org, by: float) -> None:
    first = await org.create("first")
    alone = await org.create("alone", delay=HOUR)
    after = await org.create("after", delay=HOUR, depends_on=(first.id,))
    await clock.jump(by)
    await clock.advance(BEAT)
    assert (await org.get(after.id)).not_before == instant(clock, HOUR - BEAT)
    claim = await org.claim(first.id, agent_id=AGENT)
    await org.complete(first.id, token=claim.token)
    await clock.advance(HOUR - BEAT - 1)
    assert [await state_of(org, task) for task in (alone, after)] == [("scheduled", 0)] * 2
    await clock.advance(1)
    assert [await state_of(org, task) for task in (alone, after)] == [("pending", 0)] * 2


@each_way
async def test_who_does_not_stop_has_all_of_its_grace(db: Path, clock: ManualClock, by: float) -> None:
    async with opened(db, clock, cancel_grace="30s") as tasks:
        org = tasks.org()
        made = await claimed(org, lease=60.0)
        await org.cancel(made.task.id)
        before = query(db, "SELECT stop_by FROM dt_tasks WHERE stop_by IS NOT NULL")[0][0] - clock.now()
        await clock.jump(by)
        await clock.advance(BEAT)
        after = query(db, "SELECT stop_by, due_at FROM dt_tasks WHERE stop_by IS NOT NULL")
        assert after == [(clock.now() + before - BEAT,) * 2]
        await clock.advance(before - BEAT)
        assert query(db, "SELECT 1 FROM dt_tasks WHERE stop_by IS NOT NULL") == []


@each_way
async def test_what_is_to_be_sent_again_does_not_wait_for_the_clock(db: Path, clock: ManualClock, by: float) -> None:
    async with opened(db, clock) as tasks:
        await tasks.org().create("x")
        outbox = "INSERT INTO dt_outbox (subject_id, generation, kind, org_id, priority, request_id, tries, due_at,"
        with closing(sqlite3.connect(db)) as conn, conn:
            for name, tries, due in (("new", 0, 0.0), ("deferred", 3, 30.0)):
                conn.execute(
                    f"{outbox} created_at) VALUES (?, 1, 'sync', 'acme', 1, '', ?, ?, 0)",
                    (name, tries, clock.now() + due),
                )
        await clock.jump(by)
        await clock.advance(BEAT)
        left = dict(query(db, "SELECT subject_id, due_at FROM dt_outbox"))
        assert left["deferred"] == clock.now() + 30 - BEAT
        assert left["new"] <= clock.now()


# ----- what is planned


async def test_what_is_planned_for_an_instant_follows_the_wall_clock(clock: ManualClock, org: Org) -> None:
    later = await org.create("later", not_before=instant(clock, DAY))
    due = await org.create("due", deadline=instant(clock, DAY))
    await clock.jump(-HOUR)
    await clock.advance(DAY)
    assert (await state_of(org, later), await state_of(org, due)) == (("scheduled", 0), ("pending", 0))
    await clock.jump(HOUR)
    await clock.advance(BEAT)
    assert (await state_of(org, later), await state_of(org, due)) == (("pending", 0), ("failed", 0))


async def test_a_deadline_goes_by_the_wall_clock_and_the_lease_beside_it_does_not(clock: ManualClock, org: Org) -> None:
    made = await claimed(org, lease=2 * HOUR, deadline=instant(clock, DAY))
    await clock.jump(HOUR)
    await clock.advance(HOUR)
    task = await org.get(made.task.id)
    assert (task.state, task.lease_expires_at) == ("claimed", instant(clock, HOUR))
    await clock.jump(DAY)
    await clock.advance(BEAT)
    assert error_of(await org.get(task.id)) == "deadline"


# ----- who moves it, and when not


@each_way
async def test_two_processes_move_it_once(db: Path, clock: ManualClock, by: float) -> None:
    async with opened(db, clock) as one, opened(db, clock) as two:
        made = await claimed(one.org(), lease=60.0)
        await clock.jump(by)
        await asyncio.gather(*(tasks.org().create("x") for tasks in (one, two) for _ in range(3)))
        await clock.advance(BEAT)
        task = await two.org().get(made.task.id)
        assert task.lease_expires_at == instant(clock, 60 - BEAT)
        for tasks in (one, two):
            await tasks.org().create("y")
        await clock.jump(-by)
        await clock.advance(BEAT)
        assert (await one.org().get(task.id)).lease_expires_at == instant(clock, 60 - 2 * BEAT)


async def test_a_jump_while_no_process_runs_is_noticed_too(db: Path, clock: ManualClock) -> None:
    async with opened(db, clock) as tasks:
        made = await claimed(tasks.org(), lease=60.0)
    await clock.jump(-HOUR)
    await clock.advance(10)
    async with opened(db, clock) as tasks:
        assert (await tasks.org().get(made.task.id)).lease_expires_at == instant(clock, 50)


async def test_after_the_machine_has_started_anew_nothing_is_moved(db: Path, clock: ManualClock) -> None:
    """Nobody knows how long it was off: the wall clock is all there is."""
    async with opened(db, clock) as tasks:
        made = await claimed(tasks.org(), lease=60.0)
        ends = made.lease_expires_at
    async with opened(db, ManualClock(clock.now() - HOUR)) as tasks:
        await tasks.org().create("x")
        assert (await tasks.org().get(made.task.id)).lease_expires_at == ends


async def test_a_machine_that_starts_without_knowing_the_time_delays_nothing(db: Path, clock: ManualClock) -> None:
    """What is from before stays where it is when the clock is put right; what was begun meanwhile is moved along."""
    outbox = (
        "INSERT INTO dt_outbox (subject_id, generation, kind, org_id, priority, request_id, tries, due_at, created_at)"
        " VALUES (?, 1, 'sync', 'acme', 1, '', 0, ?, 0)"
    )
    async with opened(db, clock) as tasks:
        org = tasks.org()
        first = await org.create("first")
        await claimed(org, lease=600.0)
        await org.create("delayed", delay=900.0)
        await org.create("blocked", delay=60.0, depends_on=(first.id,))
        with writing(db) as conn:
            conn.execute(outbox, ("unsent", clock.now() - 1))
    before = dict(query(db, "SELECT title, due_at FROM dt_tasks WHERE due_at IS NOT NULL"))
    wrong = ManualClock(100.0)
    async with opened(db, wrong) as tasks:
        org = tasks.org()
        await wrong.advance(20)
        await org.create("meanwhile", delay=300.0)
        for name, due in (("deferred", 30.0), ("late", -1.0)):
            with writing(db) as conn:
                conn.execute(outbox, (name, wrong.now() + due))
        await wrong.jump(clock.now() + 200 - wrong.now())
        await wrong.advance(BEAT)
        now = wrong.now()
        after = dict(query(db, "SELECT title, due_at FROM dt_tasks WHERE due_at IS NOT NULL"))
        assert after.pop("meanwhile") == now - BEAT + 300
        assert after == before
        assert query(db, "SELECT not_before FROM dt_tasks WHERE title = 'blocked'") == [(clock.now() + 60,)]
        sent = dict(query(db, "SELECT subject_id, due_at FROM dt_outbox"))
        assert sent == {"unsent": clock.now() - 1, "deferred": now - BEAT + 30, "late": 119.0}
        # From here on it is like any other.
        await wrong.jump(HOUR)
        await wrong.advance(BEAT)
        moved = dict(query(db, "SELECT title, due_at FROM dt_tasks WHERE due_at IS NOT NULL"))
        assert moved == {title: at + HOUR for title, at in after.items()} | {"meanwhile": now - BEAT + 300 + HOUR}


@each_way
async def test_what_is_added_in_a_foreign_transaction_just_after_a_jump_lasts_as_long(
    db: Path, clock: ManualClock, org: Org, by: float
) -> None:
    await org.create("x")
    with writing(db) as conn:
        conn.execute("BEGIN IMMEDIATE")
        await clock.jump(by)
        made = await org.create_in(conn, "delayed", delay=60.0)
        conn.execute("COMMIT")
    await clock.advance(BEAT)
    assert (await org.get(made.id)).not_before == instant(clock, 60 - BEAT)


async def test_where_clocks_cannot_be_compared_the_process_that_came_last_moves_it(db: Path) -> None:
    """As outside Linux: the other leaves it alone, also when it is the first to see the next one."""
    clocks = (ManualClock(), ManualClock())
    async with opened(db, clocks[0]) as one, opened(db, clocks[1]) as two:
        made = await claimed(one.org(), lease=60.0)
        await two.org().create("x")
        for _ in range(2):
            for tasks, clock in ((two, clocks[1]), (one, clocks[0])):
                await clock.jump(HOUR)
                await tasks.org().create("y")
            assert (await two.org().get(made.task.id)).lease_expires_at == instant(clocks[1], 60)


async def test_small_steps_move_nothing_until_they_add_up(db: Path, clock: ManualClock) -> None:
    async with opened(db, clock) as tasks:
        made = await claimed(tasks.org(), lease=60.0)
        for _ in range(3):
            assert (await tasks.org().get(made.task.id)).lease_expires_at == made.lease_expires_at
            await clock.jump(-0.75)
            await tasks.org().create("x")
        moved = (await tasks.org().get(made.task.id)).lease_expires_at
        assert moved == instant(clock, 60.0)
        assert made.lease_expires_at == instant(clock, 62.25)


async def test_an_operation_that_fails_does_not_take_the_move_back(db: Path, clock: ManualClock, org: Org) -> None:
    made = await claimed(org, lease=60.0)
    await clock.jump(HOUR)
    with pytest.raises(errors.StaleToken):
        await org.complete(made.task.id, token="another")
    assert (await org.get(made.task.id)).lease_expires_at == instant(clock, 60)


@pytest.mark.parametrize("kept", ["", "[]", "5", '["boot"]', "null", '["boot", null]'])
async def test_what_nobody_can_read_stops_no_write(db: Path, clock: ManualClock, kept: str) -> None:
    async with opened(db, clock) as tasks:
        await tasks.org().create("x")
    with closing(sqlite3.connect(db)) as conn, conn:
        conn.execute("UPDATE dt_meta SET value = ? WHERE key = 'clock'", (kept,))
    async with opened(db, clock) as tasks:
        await tasks.org().create("x")
    assert json.loads(query(db, "SELECT value FROM dt_meta WHERE key = 'clock'")[0][0])[0] == clock.boot()


class Halting(ManualClock):
    """A clock whose reader is held up for an hour between its first two looks at it."""

    def __init__(self) -> None:
        super().__init__()
        self.halts = False

    def now(self) -> float:
        if self.halts:
            self.halts = False
            self._now += HOUR
            self._steady += HOUR
        return super().now()


async def test_a_process_that_is_held_up_between_two_looks_takes_that_for_no_jump(db: Path) -> None:
    """Its wall clock is read after an hour, its steady one before."""
    clock = Halting()
    async with opened(db, clock) as tasks:
        made = await claimed(tasks.org(), lease=2 * HOUR)
    with writing(db) as conn:
        times = Timekeeper(clock)
        conn.execute("BEGIN IMMEDIATE")
        clock.halts = True
        assert times.tell(conn) is False
        assert times.now() == clock.now()
    async with opened(db, clock) as tasks:
        assert (await tasks.org().get(made.task.id)).lease_expires_at == made.lease_expires_at


# ----- what the statement says


@contextmanager
def writing(db: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(db, isolation_level=None)) as conn:
        yield conn


async def test_the_next_instant_of_every_row_is_what_it_is_elsewhere(db: Path, clock: ManualClock) -> None:
    """Every state with every set of instants, whether it can have them or not."""
    async with opened(db, clock) as tasks:
        await tasks.org().create("x")
    instants = ("stop_by", "deadline_at", "wake_at", "lease_expires_at", "timeout_at")
    columns = ("id", "state", "token", "completed_at", "due_at", *instants)
    with writing(db) as conn:
        others = [name for _, name, *_ in conn.execute("PRAGMA table_info(dt_tasks)") if name not in (*columns, "seq")]
        copy = f"INSERT INTO dt_tasks ({', '.join((*columns, *others))}) SELECT {', '.join('?' * len(columns))},"
        wanted: dict[str, Any] = {}
        either = [(None, 100.0 + number) for number in range(len(instants))]
        for state, times in itertools.product(TaskState, itertools.product(*either)):
            row: dict[str, Any] = dict(zip(instants, times, strict=True)) | {"state": state.value}
            row["due_at"] = due_at(row)
            completed = 1.0 if is_terminal(state) else None
            name = json.dumps([state.value, *times])
            values = (name, state.value, "t", completed, row["due_at"], *times)
            conn.execute(f"{copy} {', '.join(others)} FROM dt_tasks WHERE seq = 1", values)
            wanted[name] = _moved(row, 50.0) if row["due_at"] is not None else row
        move_intervals(conn, 100.0, 50.0)
        found = conn.execute(f"SELECT id, due_at, {', '.join(instants)} FROM dt_tasks WHERE seq > 1").fetchall()
        for name, due, *times in found:
            assert (due, *times) == (wanted[name]["due_at"], *(wanted[name][one] for one in instants)), name


def _moved(row: dict[str, Any], by: float) -> dict[str, Any]:
    lasting = ["stop_by", "lease_expires_at", "timeout_at", *(["wake_at"] if row["state"] == "retrying" else [])]
    if row["state"] != "retrying" and all(row[name] is None for name in lasting):
        return row
    moved = row | {name: row[name] + by for name in lasting if row[name] is not None}
    return moved | {"due_at": due_at(moved)}
