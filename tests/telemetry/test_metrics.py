"""Metrics: what a scrape says after known work.

They must not know the registry; they read the text that Prometheus reads.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families as parse

from durable_tasks import DurableTasks, NonRetryable, Settings, Task, TaskContext
from durable_tasks.telemetry.metrics import Metrics
from durable_tasks.temporal.server import EmbeddedServer
from durable_tasks.testing import ManualClock

SECONDS = 30.0
Sample = dict[tuple[str, ...], float]


@asynccontextmanager
async def measured(tasks: DurableTasks) -> AsyncIterator[Metrics]:
    async with tasks:
        metrics = Metrics(tasks)
        with metrics.counting():
            yield metrics


async def scraped(metrics: Metrics, name: str) -> Sample:
    """The samples of one metric, by their label values in the order of the label names."""
    families = parse((await metrics.render()).decode())
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
        if sample.name == f"durable_tasks_{name}"
    }


async def test_levels_are_those_of_the_file(tmp_path: Path) -> None:
    clock = ManualClock()
    tasks = DurableTasks(Settings(db=tmp_path / "tasks.db", worker=False), clock=clock)
    async with measured(tasks) as metrics:
        await tasks.org("one").create("first", capability="review", mode="manual")
        await clock.advance(90)
        await tasks.org("two").create("second", capability="review", mode="manual")
        await tasks.org("two").create("third", mode="manual", delay="1h")
        ended = await tasks.org("two").create("fourth", mode="manual")
        await tasks.org("two").cancel(ended.id)
        assert await scraped(metrics, "open_tasks") == {("review", "pending"): 2, ("", "scheduled"): 1}
        assert await scraped(metrics, "ready_age_seconds") == {("review",): 90}
        claim = await tasks.org("one").next(agent_id="ana", capabilities=("review",), lease=None)
        assert claim is not None
        assert await scraped(metrics, "open_tasks") == {
            ("review", "claimed"): 1, ("review", "pending"): 1, ("", "scheduled"): 1,
        }  # fmt: skip
        assert await scraped(metrics, "ready_age_seconds") == {("review",): 0}
        assert await scraped(metrics, "claim_wait_seconds_sum") == {("review",): 90}
        assert await scraped(metrics, "processes") == {(): 1}


async def test_attempts_are_counted_by_capability_and_outcome(tmp_path: Path) -> None:
    tasks = DurableTasks(Settings(db=tmp_path / "tasks.db"))

    @tasks.handler("sum")
    async def add(ctx: TaskContext, task: Task) -> object:
        if task.input is None:
            raise NonRetryable("nothing to add")
        return sum(task.input)

    async with measured(tasks) as metrics:
        org = tasks.org()
        made = [await org.create("sum", capability="sum", input=value) for value in ([1], [2, 3], None)]
        for task in made:
            await org.wait(task.id, timeout=SECONDS)
        held = await org.create("by hand", mode="manual")
        claim = await org.claim(held.id, agent_id="ana")
        await org.release(held.id, token=claim.token)
        claim = await org.claim(held.id, agent_id="ana")
        await org.start(held.id, token=claim.token)
        await org.cancel(held.id)
        await org.release(held.id, token=claim.token)
        assert await scraped(metrics, "attempts_total") == {
            ("sum", "completed"): 2, ("sum", "failed"): 1, ("", "released"): 1, ("", "stopped"): 1,
        }  # fmt: skip
        assert await scraped(metrics, "attempt_seconds_count") == {("sum",): 3, ("",): 1}
        assert await scraped(metrics, "claim_wait_seconds_count") == {("sum",): 3, ("",): 2}
        assert (await scraped(metrics, "commit_operations_sum"))[()] >= 10


async def test_two_instances_count_apart(tmp_path: Path) -> None:
    first, second = (DurableTasks(Settings(db=tmp_path / f"{name}.db", worker=False)) for name in "ab")
    async with measured(first) as one, measured(second) as other:
        await first.org().create("only here", mode="manual")
        assert await scraped(one, "open_tasks") == {("", "pending"): 1}
        assert await scraped(other, "open_tasks") == {}


async def test_scrapes_at_once_see_whole_answers(tmp_path: Path) -> None:
    tasks = DurableTasks(Settings(db=tmp_path / "tasks.db", worker=False))
    async with measured(tasks) as metrics:
        await tasks.org().create("one", mode="manual")
        seen = await asyncio.gather(*(scraped(metrics, "open_tasks") for _ in range(20)))
        assert seen == [{("", "pending"): 1}] * 20


async def test_temporals_side_is_shown(tmp_path: Path, temporal_server: EmbeddedServer) -> None:
    tasks = DurableTasks(Settings(db=tmp_path / "tasks.db", enabled=True, address=temporal_server.address))
    async with measured(tasks) as metrics:
        engine = tasks.temporal
        assert engine is not None
        await engine.wait_connected(SECONDS)
        await tasks.org().create("by hand", mode="manual")
        await engine.sweep()
        assert await scraped(metrics, "temporal_connected") == {(): 1}
        assert await scraped(metrics, "drift") == {(): 0}
        assert await scraped(metrics, "parked_organisations") == {(): 0}
        assert await scraped(metrics, "dead_letters") == {(): 0}
        assert list(await scraped(metrics, "pollers")) == [("default",)]
