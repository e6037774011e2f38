"""An application that runs no handler itself, and a `durable-tasks worker` elsewhere; and what every placement refuses.
It must not know how work reaches the worker: it looks at SQLite, and at the files that the worker has open.
"""

import os
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from durable_tasks.errors import PayloadTooLarge
from durable_tasks.models import AttemptState, NewTask, Placement, Task, TaskState
from durable_tasks.store.rows import PAYLOAD_LIMIT
from durable_tasks.temporal.server import EmbeddedServer
from tests.faults.checker import faults, journal
from tests.faults.outside import SECONDS, Outside, Owner, at_once

FAN = 200
BEAT = 2.0
"""The heartbeat timeout, and the lease of the process that owns the file."""
LARGEST = "x" * (PAYLOAD_LIMIT - 2)
"""As JSON it is as large as a payload may be."""


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "app" / "tasks.db"


@asynccontextmanager
async def working(db: Path, server: EmbeddedServer, **settings: Any) -> AsyncIterator[tuple[Owner, Outside]]:
    """An application without handlers, and one worker, in another directory, for all that names no queue."""
    db.parent.mkdir(exist_ok=True)
    queue = f"work-{uuid.uuid4()}"
    owner = Owner(db, enabled=True, worker=False, queue=queue, address=server.address, **settings)
    owner.journal = db.parent.parent / "outside"
    worker = Outside(db.parent.parent, "elsewhere", address=server.address, queue=queue)
    async with owner.tasks, worker:
        yield owner, worker
        assert open_files_below(worker.pid, db.parent) == []
        await owner.agree()
    assert not owner.runs
    assert faults(db) == []


def open_files_below(pid: int, folder: Path) -> list[str]:
    """What the process has open of the application's folder."""
    links = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            links.append(os.readlink(entry))
        except FileNotFoundError:  # closed since
            continue
    assert links, "the process is not to be seen"
    return [link for link in links if link.startswith(str(folder))]


async def completed(owner: Owner, task_id: str) -> Task:
    done = await owner.org.wait(task_id, timeout=SECONDS)
    assert done.state is TaskState.COMPLETED, done
    assert done.placement is Placement.EXTERNAL
    return done


# ----- all kinds of work, elsewhere


async def test_a_pipeline_hands_outputs_on(db: Path, temporal_server: EmbeddedServer) -> None:
    async with working(db, temporal_server) as (owner, _):
        steps = [NewTask(name=f"step-{n}", capability="out/echo", input=n) for n in range(3)]
        made = await owner.org.pipeline("three", steps)
        assert (await owner.org.wait_workflow(made.id, timeout=SECONDS)).state == "completed"
        *_, last = await owner.org.workflow_tasks(made.id)
        first = {"got": 0, "prior": {}}
        second = {"got": 1, "prior": {"step-0": first}}
        assert (await completed(owner, last.id)).output == {"got": 2, "prior": {"step-0": first, "step-1": second}}


async def test_a_wide_fan_out_runs_each_member_once(db: Path, temporal_server: EmbeddedServer) -> None:
    async with working(db, temporal_server) as (owner, _):
        members = [NewTask(name=f"member-{n}", capability="out/echo", input=n) for n in range(FAN)]
        made = await owner.org.fan_out("wide", members)
        done = await owner.org.wait_workflow(made.id, timeout=SECONDS)
        assert (done.state, done.counts) == ("completed", {TaskState.COMPLETED: FAN})
        outputs = [task.output["got"] for task in await owner.org.workflow_tasks(made.id)]
        assert outputs == list(range(FAN))
    began = Counter(line["id"] for line in journal(owner.journal) if line["op"] == "began")
    assert Counter(began.values()) == {1: FAN}


async def test_retries_complete(db: Path, temporal_server: EmbeddedServer) -> None:
    async with working(db, temporal_server) as (owner, _):
        retry: Any = {"initial": 0.1, "coefficient": 1.0}
        single = await owner.org.create("flaky", capability="out/flaky", max_retries=2, retry=retry)
        group = await owner.org.fan_out(
            "flaky", [NewTask(name="one", capability="out/flaky", max_retries=2, retry=retry)]
        )
        (member,) = await owner.org.workflow_tasks(group.id)
        for task_id in (single.id, member.id):
            done = await completed(owner, task_id)
            assert (done.output, done.attempt, done.retry_count, done.lost_count) == ("the third", 3, 2, 0)
            states = [attempt.state for attempt in await owner.org.attempts(task_id)]
            assert states == [AttemptState.FAILED, AttemptState.FAILED, AttemptState.COMPLETED]
    assert at_once(journal(owner.journal), {}) == []


async def test_a_handler_may_take_longer_than_any_lease(db: Path, temporal_server: EmbeddedServer) -> None:
    """Its progress is seen in SQLite while it runs, and nobody takes it for lost."""
    async with working(db, temporal_server, heartbeat_timeout=BEAT, process_lease=BEAT) as (owner, worker):
        gate = db.parent.parent / "gate"
        task = await owner.org.create("long", capability="out/gate", input=str(gate))

        async def seen() -> tuple[Any, ...]:
            now = await owner.org.get(task.id)
            return now.state, now.progress, now.progress_message

        await owner.committed(seen, (TaskState.RUNNING, 50.0, "at the gate"))
        assert open_files_below(worker.pid, db.parent) == []
        began = (await owner.noted("began", 1, task.id))[0]["at"]
        clock = owner.tasks.clock
        long = owner.tasks.settings.heartbeat_timeout * 3
        beacon = await owner.org.create("a clock", mode="manual", delay=max(0.0, began + long - clock.now()))

        async def due() -> TaskState:
            return (await owner.org.get(beacon.id)).state

        await owner.committed(due, TaskState.PENDING)
        gate.touch()
        done = await completed(owner, task.id)
        assert (done.attempt, done.lost_count, done.retry_count, done.progress) == (1, 0, 0, 100.0)
        assert clock.now() - began > long
        await owner.org.cancel(beacon.id)


async def test_typed_inputs_and_outputs(db: Path, temporal_server: EmbeddedServer) -> None:
    async with working(db, temporal_server) as (owner, _):
        fits = await owner.org.create("typed", capability="out/area", input={"width": 6, "height": 7})
        assert (await completed(owner, fits.id)).output == {"square": 42}
        wrong = await owner.org.create("mistyped", capability="out/area", input={"width": "wide"})
        failed = await owner.org.wait(wrong.id, timeout=SECONDS)
        assert failed.state is TaskState.FAILED
        assert failed.error is not None
        assert "width" in failed.error.message


# ----- sizes


async def test_the_largest_input_arrives(db: Path, temporal_server: EmbeddedServer) -> None:
    async with working(db, temporal_server) as (owner, _):
        task = await owner.org.create("large", capability="out/size", input=LARGEST)
        assert (await completed(owner, task.id)).output == len(LARGEST)


async def test_prior_outputs_above_the_cap_fail_the_task(db: Path, temporal_server: EmbeddedServer) -> None:
    """Each fits by itself; together they are more than a worker can be given."""
    async with working(db, temporal_server) as (owner, _):
        large = 900 * 1024
        steps = [
            NewTask(name="one", capability="out/large", input=large),
            NewTask(name="two", capability="out/large", input=large),
            NewTask(name="three", capability="out/echo"),
        ]
        for made in (
            await owner.org.pipeline("too much", steps),
            await owner.org.dag(
                "too much", [*steps[:2], NewTask(name="three", capability="out/echo", depends_on=("one", "two"))]
            ),
        ):
            assert (await owner.org.wait_workflow(made.id, timeout=SECONDS)).state == "failed"
            one, two, three = await owner.org.workflow_tasks(made.id)
            assert [one.state, two.state, three.state] == [TaskState.COMPLETED, TaskState.COMPLETED, TaskState.FAILED]
            assert three.error is not None
            assert three.error.type == "payload_too_large"
            assert three.attempt == 0


@pytest.mark.parametrize("placement", list(Placement))
async def test_an_input_above_the_limit_is_refused_before_anything_is_stored(
    db: Path, temporal_server: EmbeddedServer, placement: Placement
) -> None:
    db.parent.mkdir()
    owner = Owner(db, enabled=True, address=temporal_server.address)
    how: dict[Placement, dict[str, Any]] = {
        Placement.EMBEDDED: {"capability": "in/gate"},
        Placement.EXTERNAL: {"capability": "out/size", "queue": "elsewhere"},
        Placement.MANUAL: {"mode": "manual"},
    }
    async with owner.tasks:
        fits = await owner.org.create("just fits", input=LARGEST, **how[placement])
        assert fits.placement is placement
        too_large = "x" * (3 * 1024 * 1024)
        for refused in (
            owner.org.create("too large", input=too_large, **how[placement]),
            owner.org.create("just too large", input=LARGEST + "x", **how[placement]),
            owner.org.create_many(
                [NewTask(title="fits", **how[placement]), NewTask(title="x", input=too_large, **how[placement])]
            ),
            owner.org.fan_out(
                "members",
                [NewTask(title="fits", **how[placement]), NewTask(title="x", input=too_large, **how[placement])],
            ),
        ):
            with pytest.raises(PayloadTooLarge) as refusal:
                await refused
            assert refusal.value.limit == PAYLOAD_LIMIT
        assert [task.id for task in (await owner.org.list()).items] == [fits.id]
        assert (await owner.org.list_workflows()).items == []
        owner.go_on.set()
        await owner.org.cancel(fits.id)
        await owner.agree()
    assert faults(db) == []
