"""How an organisation's work goes, as it is told: why a task does not run, what waits where, how fast it goes.

It must not know surfaces.
"""

from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest

from durable_tasks import DurableTasks, NewTask, Org, TaskState
from durable_tasks.errors import NotFound
from durable_tasks.instants import utc
from durable_tasks.standing import Activity, Latency
from durable_tasks.store import standing
from durable_tasks.testing import ManualClock
from tests.store.support import claimed, opened, time_of

S = TaskState


@pytest.fixture
async def tasks(tmp_path: Path) -> AsyncIterator[DurableTasks]:
    async with opened(tmp_path / "tasks.db", ManualClock()) as tasks:
        yield tasks


@pytest.fixture
def org(tasks: DurableTasks) -> Org:
    return tasks.org()


@pytest.fixture
def clock(tasks: DurableTasks) -> ManualClock:
    return time_of(tasks)


# ----- one task


async def test_each_state_says_what_it_waits_for_and_since_when(org: Org, clock: ManualClock) -> None:
    ready = await org.create("ready", mode="manual")
    after = await org.create("after it", depends_on=[ready.id], mode="manual")
    held = await claimed(org, agent="ann", lease=None)
    began = clock.now()
    await clock.advance(30)
    await org.update(ready.id, title="edited, which does not make it ready anew")
    said = {task.id: await org.explain(task.id) for task in (ready, after, held.task)}
    assert (said[ready.id].state, said[ready.id].waits_for) == (S.PENDING, "a claim")
    assert said[ready.id].since == utc(began)
    assert said[after.id].waits_for == f"its dependency {ready.id}, which is pending"
    assert said[held.task.id].waits_for == "'ann', who has claimed it, to start"

    await org.start(held.task.id, token=held.token)
    running = await org.explain(held.task.id)
    assert (running.state, running.waits_for, running.since) == (S.RUNNING, None, utc(clock.now()))
    await clock.advance(5)
    await org.progress(held.task.id, 50, token=held.token)
    assert (await org.explain(held.task.id)).since == running.since
    await org.complete(held.task.id, token=held.token)
    ended = await org.explain(held.task.id)
    assert (ended.state, ended.waits_for, ended.since) == (S.COMPLETED, None, utc(clock.now()))


async def test_only_ones_own_tasks_are_explained(tasks: DurableTasks, org: Org) -> None:
    theirs = await tasks.org("rival").create("secret", mode="manual")
    with pytest.raises(NotFound):
        await org.explain(theirs.id)


# ----- queues


async def test_open_work_is_counted_by_sort_the_longest_queue_first(
    tasks: DurableTasks, org: Org, clock: ManualClock
) -> None:
    assert (await org.list_queues()).items == ()
    since = clock.now()
    await org.create_many([NewTask(title="x", capability="render", queue="gpu") for _ in range(3)])
    await clock.advance(10)
    await org.create("x", capability="render", queue="gpu")
    await claimed(org, mode="manual")
    other = await org.create("ready", mode="manual")
    await org.create("not ready", mode="manual", depends_on=[other.id])
    await org.create("later", mode="manual", delay="1h")
    await org.cancel((await org.create("ended", mode="manual")).id)
    await tasks.org("rival").create("secret", mode="manual")
    found = await org.list_queues()
    rows = [
        (one.mode, one.placement, one.queue, one.capability, one.ready, one.running, one.oldest_ready_at)
        for one in found.items
    ]
    assert rows == [
        ("auto", "external", "gpu", "render", 4, 0, utc(since)),
        ("manual", "manual", None, None, 1, 1, utc(clock.now())),
    ]
    assert found.complete


async def test_of_very_much_work_only_the_most_urgent_is_counted(org: Org, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "MOST_TASKS", 3)
    await org.create_many([NewTask(title="x", capability=f"c{n}", priority=n % 4) for n in range(6)])  # type: ignore[arg-type]
    found = await org.list_queues()
    assert not found.complete
    assert sum(one.ready for one in found.items) == 3
    assert {one.capability for one in found.items} == {"c3", "c2", "c1"}


# ----- activity


async def done(org: Org, clock: ManualClock, *, waits: float, runs: float) -> None:
    task = await org.create("x", mode="manual")
    await clock.advance(waits)
    claim = await org.claim(task.id, agent_id="ann", lease=None)
    await clock.advance(runs)
    await org.complete(task.id, token=claim.token)


def total(activity: Activity) -> tuple[int, int, int, int]:
    minutes = activity.minutes
    return (
        sum(one.created for one in minutes),
        sum(one.completed for one in minutes),
        sum(one.failed for one in minutes),
        sum(one.cancelled for one in minutes),
    )


async def test_each_minute_of_the_last_hour_has_what_happened_in_it(
    tasks: DurableTasks, org: Org, clock: ManualClock
) -> None:
    nothing = Latency(p50=None, p95=None, count=0)
    empty = await org.measure()
    assert (total(empty), empty.wait, empty.run) == ((0, 0, 0, 0), nothing, nothing)
    await done(org, clock, waits=20, runs=5)
    await clock.advance(3600)  # long ago
    await clock.advance(60 - clock.now() % 60)
    await done(org, clock, waits=70, runs=10)
    failing = await claimed(org, lease=None)
    await org.fail(failing.task.id, "no", token=failing.token)
    await org.cancel((await org.create("x", mode="manual")).id)
    await tasks.org("rival").create("secret", mode="manual")
    found = await org.measure()
    assert total(found) == (3, 1, 1, 1)
    assert [(one.created, one.completed, one.failed, one.cancelled) for one in found.minutes[-2:]] == [
        (1, 0, 0, 0), (2, 1, 1, 1)
    ]  # fmt: skip
    assert len(found.minutes) == 60
    instants = [one.at.timestamp() for one in found.minutes]
    assert [late - early for early, late in pairwise(instants)] == [60.0] * 59
    assert instants[-1] <= clock.now() < instants[-1] + 60
    # The failed one was claimed as soon as it was there, and given up at once.
    assert (found.wait, found.run) == (Latency(p50=0.0, p95=70.0, count=2), Latency(p50=0.0, p95=10.0, count=2))


async def test_the_percentiles_are_of_what_was_really_seen(org: Org, clock: ManualClock) -> None:
    for seconds in (8, 1, 2, 3, 4, 5, 6, 7, 9, 10, 100):
        await done(org, clock, waits=seconds, runs=2 * seconds)
    found = await org.measure()
    assert (found.wait, found.run) == (Latency(p50=6.0, p95=100.0, count=11), Latency(p50=12.0, p95=200.0, count=11))


async def test_a_task_that_was_given_back_waits_anew(org: Org, clock: ManualClock) -> None:
    first = await claimed(org, lease=None)
    await clock.advance(50)
    await org.release(first.task.id, token=first.token)
    await clock.advance(7)
    claim = await org.claim(first.task.id, agent_id="bob", lease=None)
    await clock.advance(1)
    await org.complete(first.task.id, token=claim.token)
    found = await org.measure()
    assert (found.wait, found.run) == (Latency(p50=7.0, p95=7.0, count=1), Latency(p50=1.0, p95=1.0, count=1))


async def test_of_very_many_events_only_the_newest_are_looked_at(
    org: Org, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "MOST_EVENTS", 5)
    for _ in range(4):
        await org.create("x", mode="manual")
        await org.create("x", mode="manual")
        await clock.advance(60)
    # One of the first minute with an event among the five is not looked at: nothing is said of that minute.
    found = await org.measure()
    assert [one.created for one in found.minutes] == [2, 2, 0]
    await org.create_many([NewTask(title="x") for _ in range(6)])
    assert (await org.measure()).minutes == ()
