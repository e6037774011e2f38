"""External workers killed, too slow, or done while the owner of the file is away: each task ends once, nothing is lost.
It must not know how attempts are recorded; it looks at SQLite, at the server and at what the workers wrote down.
"""

import random
import time
import uuid
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from durable_tasks.contracts import AttemptEnd, AttemptEnding, TaskRef, task_workflow_id
from durable_tasks.lifecycle import HELD
from durable_tasks.models import AttemptState, NewTask, Placement, Task, TaskState
from durable_tasks.temporal.server import EmbeddedServer
from tests.faults.checker import faults, journal
from tests.faults.figures import count, keep, spread
from tests.faults.outside import SECONDS, Outside, Owner, at_once, pass_time
from tests.faults.processes import App

HEARTBEAT = 4.0
NOTICED = 20.0
"""Seconds within which a killed worker's task runs again: the heartbeat timeout and what a busy machine takes."""


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"


@pytest.fixture
def queue() -> str:
    return f"outside-{uuid.uuid4()}"


async def gated(owner: Owner, queue: str, gate: Path, times: int, **fields: Any) -> list[Task]:
    return [
        await owner.org.create("at the gate", capability="out/gate", queue=queue, input=str(gate), **fields)
        for _ in range(times)
    ]


# ----- a worker is killed


async def test_killed_workers_lose_one_attempt_each(db: Path, temporal_server: EmbeddedServer, queue: str) -> None:
    keep("external-kills-smoke", await kill_workers(db, temporal_server.address, queue, rounds=2))


@pytest.mark.acceptance
async def test_twenty_killed_workers_lose_one_attempt_each(
    db: Path, temporal_server: EmbeddedServer, queue: str
) -> None:
    rounds = count("TASKS_ACCEPTANCE_EXTERNAL", 20)
    keep("external-kills", await kill_workers(db, temporal_server.address, queue, rounds=rounds))


async def kill_workers(db: Path, address: str, queue: str, *, rounds: int) -> dict[str, Any]:
    owner = Owner(db, enabled=True, address=address, heartbeat_timeout=HEARTBEAT)
    crew: dict[int, Outside] = {}
    killed: dict[int, float] = {}
    again: list[float] = []
    lost = 0
    async with owner.tasks, AsyncExitStack() as ending:

        async def hire(name: str) -> None:
            worker = await ending.enter_async_context(Outside(db.parent, name, address=address, queue=queue))
            crew[worker.pid] = worker

        await hire("first")
        for number in range(rounds):
            await hire(str(number))
            gate = db.parent / f"gate-{number}"
            made = await gated(owner, queue, gate, 6, max_retries=1)
            lines = await owner.noted("began", 1, *(task.id for task in made))
            holder = {line["id"]: line["pid"] for line in lines}
            victim = random.choice([holder[task.id] for task in made])
            held = {task.id for task in made if holder[task.id] == victim}
            killed[victim] = await crew.pop(victim).kill()
            lines = await owner.noted("began", 2, *held)
            again += [line["at"] - killed[victim] for line in lines if line["id"] in held and line["attempt"] == 2]
            gate.touch()
            for task in made:
                done = await owner.org.wait(task.id, timeout=SECONDS)
                attempts = [one.state for one in await owner.org.attempts(task.id)]
                was_lost = [AttemptState.LOST] if task.id in held else []
                assert (done.state, done.lost_count, done.retry_count) == (TaskState.COMPLETED, len(was_lost), 0)
                assert attempts == [*was_lost, AttemptState.COMPLETED]
                assert done.output == f"attempt {len(attempts)}"
            lost += len(held)
        await owner.agree()
    assert at_once(journal(owner.journal), killed) == []
    assert faults(db) == []
    assert lost >= rounds
    assert max(again) < NOTICED
    return {"kills": rounds, "attempts_lost": lost, "run_again_after": spread(again), "stuck": 0, "at_once": 0}


# ----- the owner of the file is away


async def test_what_ends_while_the_owner_is_down_is_recorded(
    db: Path, temporal_server: EmbeddedServer, queue: str
) -> None:
    keep("owner-down-smoke", await owner_down(db, temporal_server.address, queue, rounds=2, seconds=5.0))


@pytest.mark.acceptance
async def test_what_ends_while_the_owner_is_down_for_a_minute_is_recorded(
    db: Path, temporal_server: EmbeddedServer, queue: str
) -> None:
    rounds, seconds = count("TASKS_ACCEPTANCE_OWNER_DOWN", 20), count("TASKS_ACCEPTANCE_OWNER_DOWN_SECONDS", 60)
    keep("owner-down", await owner_down(db, temporal_server.address, queue, rounds=rounds, seconds=seconds))


async def owner_down(db: Path, address: str, queue: str, *, rounds: int, seconds: float) -> dict[str, Any]:
    settings: dict[str, Any] = {"enabled": True, "address": address, "heartbeat_timeout": HEARTBEAT}
    tool = Owner(db, worker=False)
    """The test itself looks at the file and creates tasks, but serves nothing."""
    recorded: list[float] = []
    made: list[Task] = []
    async with AsyncExitStack() as ending:
        for number in range(2):
            await ending.enter_async_context(Outside(db.parent, str(number), address=address, queue=queue))
        for number in range(rounds):
            gate = db.parent / f"gate-{number}"
            async with App(db, "serve", name=f"owner-{number}", settings=settings) as app:
                await app.ready()
                async with tool.tasks:
                    batch = await gated(tool, queue, gate, 5)
                    fan = await tool.org.fan_out("members", [new_member(queue, gate) for _ in range(3)])
                    batch += await tool.org.workflow_tasks(fan.id)
                    await tool.noted("began", 1, *(task.id for task in batch))
                    await app.kill()
                    gate.touch()
                    await pass_time(seconds)
                    ended = {line["id"] for line in journal(tool.journal) if line["op"] == "ended"}
                    assert ended >= {task.id for task in batch}
                    assert {(await tool.org.get(task.id)).state for task in batch} <= HELD
            back = time.time()
            async with App(db, "serve", name=f"owner-{number}-again", settings=settings) as app, tool.tasks:
                await app.ready()
                for task in batch:
                    done = await tool.org.wait(task.id, timeout=SECONDS)
                    assert (done.state, done.output, done.attempt) == (TaskState.COMPLETED, "attempt 1", 1)
                assert (await tool.org.wait_workflow(fan.id, timeout=SECONDS)).state == "completed"
                recorded.append(time.time() - back)
                app.tell("end")
                assert await app.ends() == 0, app.stderr
            made += batch
        last = Owner(db, **settings)
        async with last.tasks:
            await last.agree()
    began = Counter(line["id"] for line in journal(tool.journal) if line["op"] == "began")
    assert began == {task.id: 1 for task in made}
    assert faults(db) == []
    return {"outages": rounds, "seconds_each": seconds, "results": len(made), "recorded_after": spread(recorded)}


def new_member(queue: str, gate: Path) -> NewTask:
    return NewTask(title="a member", capability="out/gate", queue=queue, input=str(gate))


# ----- a worker is too slow


async def test_a_late_result_of_a_timed_out_attempt_is_refused(
    db: Path, temporal_server: EmbeddedServer, queue: str
) -> None:
    await too_late(db, temporal_server.address, queue, rounds=2)


@pytest.mark.acceptance
async def test_twenty_late_results_of_timed_out_attempts_are_refused(
    db: Path, temporal_server: EmbeddedServer, queue: str
) -> None:
    rounds = count("TASKS_ACCEPTANCE_EXTERNAL", 20)
    await too_late(db, temporal_server.address, queue, rounds=rounds)
    keep("late-results", {"rounds": rounds, "accepted": 0})


async def too_late(db: Path, address: str, queue: str, *, rounds: int) -> None:
    owner = Owner(db, enabled=True, address=address, heartbeat_timeout=HEARTBEAT)
    retry: Any = {"initial": 0.1, "coefficient": 1.0}
    async with owner.tasks, Outside(db.parent, "slow", address=address, queue=queue):
        for number in range(rounds):
            gate = db.parent / f"gate-{number}"
            task = await owner.org.create(
                "too slow", capability="out/deaf", queue=queue, input=str(gate), timeout=1.0, max_retries=1, retry=retry
            )
            done = await owner.org.wait(task.id, timeout=SECONDS)
            assert (done.state, done.output, done.attempt, done.retry_count) == (
                TaskState.COMPLETED, "attempt 2", 2, 1,
            )  # fmt: skip
            # The first attempt's worker comes with its result now, and so does whoever has its token.
            gate.touch()
            await owner.noted("ended", 2, task.id)
            assert await record_late(owner, task) == TaskState.COMPLETED
            first, second = await owner.org.attempts(task.id)
            assert (first.state, second.state) == (AttemptState.FAILED, AttemptState.COMPLETED)
            assert first.error is not None
            assert first.error.type == "timeout"
            assert await owner.org.get(task.id) == done
        await owner.agree()
    assert faults(db) == []


async def record_late(owner: Owner, task: Task) -> TaskState:
    """Offer the first attempt's result to SQLite, as its Temporal workflow would; how the task stands then."""
    sql = "SELECT token FROM dt_attempts WHERE task_id = ? AND number = 1"
    (token,) = await owner.tasks.store.read(lambda conn: conn.execute(sql, (task.id,)).fetchone())
    ref = TaskRef(task_id=task.id, org_id=task.org_id, generation=1, placement=Placement.EXTERNAL)
    end = AttemptEnd(ref=ref, token=token, ending=AttemptEnding.COMPLETED, output="late")
    name = task_workflow_id(task.id, 1)
    return (await owner.tasks.store.record(end, namespace="default", workflow_id=name)).state


async def test_a_late_result_is_refused_while_the_second_attempt_runs(
    db: Path, temporal_server: EmbeddedServer, queue: str
) -> None:
    """The killed worker's attempt is lost; its result comes while the next one is at work."""
    address = temporal_server.address
    owner = Owner(db, enabled=True, address=address, heartbeat_timeout=HEARTBEAT)
    gate = db.parent / "gate"
    async with owner.tasks, Outside(db.parent, "first", address=address, queue=queue) as first:
        (task,) = await gated(owner, queue, gate, 1)
        await owner.noted("began", 1, task.id)
        async with Outside(db.parent, "second", address=address, queue=queue) as second:
            await first.kill()
            lines = await owner.noted("began", 2, task.id)
            assert lines[-1]["pid"] == second.pid
            before = await owner.org.get(task.id)
            assert await record_late(owner, task) in HELD
            assert (await owner.org.get(task.id)).attempt == before.attempt == 2
            gate.touch()
            done = await owner.org.wait(task.id, timeout=SECONDS)
            assert (done.state, done.output, done.lost_count) == (TaskState.COMPLETED, "attempt 2", 1)
            assert await second.stop() == 0, second.stderr
        await owner.agree()
    assert faults(db) == []
