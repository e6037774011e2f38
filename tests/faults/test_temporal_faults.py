"""Temporal absent, switched off and on, or flooded: every task ends, once, and both sides agree.
It must not know relay or reconciler; it looks at SQLite and at the server.
"""

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowExecutionStatus

from durable_tasks.models import NewTask, Task, Workflow, WorkflowState
from durable_tasks.temporal.server import EmbeddedServer
from tests.faults.figures import count, keep
from tests.faults.work import Work, all_completed

SECONDS = 60.0


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"


async def test_without_temporal_everything_goes_on(db: Path) -> None:
    work = Work(db, enabled=True, address="127.0.0.1:1", fallback_after=0.5)
    async with work.tasks:
        made = [*await work.create("quick", 8), *await work.create(None, 4)]
        assert await work.finish(made) == all_completed(made)


async def test_a_manual_task_waits_and_its_workflow_ends_alike(db: Path, temporal_server: EmbeddedServer) -> None:
    work = Work(db, enabled=True, address=temporal_server.address)
    client = await Client.connect(temporal_server.address)
    async with work.tasks:
        completed, failed, cancelled = made = await work.create(None, 3)
        await work.committed(work.started_there, 3)
        handles = [client.get_workflow_handle(f"task/{task.id}/1") for task in made]
        assert [(await handle.describe()).status for handle in handles] == [WorkflowExecutionStatus.RUNNING] * 3
        claim = await work.org.claim(completed.id, agent_id="an agent")
        await work.org.complete(completed.id, {"answer": 42}, token=claim.token)
        claim = await work.org.claim(failed.id, agent_id="an agent")
        await work.org.fail(failed.id, "no", token=claim.token)
        await work.org.cancel(cancelled.id, reason="not needed")
        async with asyncio.timeout(SECONDS):
            ends = await asyncio.gather(*(handle.result() for handle in handles), return_exceptions=True)
        assert ends[0] == {"answer": 42}
        assert [(await handle.describe()).status for handle in handles] == [
            WorkflowExecutionStatus.COMPLETED,
            WorkflowExecutionStatus.FAILED,
            WorkflowExecutionStatus.CANCELED,
        ]
        await work.agree()


async def test_switched_off_and_on_with_work_in_flight(db: Path, temporal_server: EmbeddedServer) -> None:
    runs: Counter[str] = Counter()
    made: list[Task] = []
    groups: list[Workflow] = []
    for enabled in (True, False, True, False, True):
        # A slot for each that waits, so that the quick ones end at once.
        work = Work(db, enabled=enabled, address=temporal_server.address, shutdown_grace=0.2, max_concurrent=20)
        async with work.tasks:
            made += [*await work.create("patient", 2), *await work.create(None, 2), *await work.create("quick", 2)]
            members = [NewTask(title=name, capability=name, input=1) for name in ("patient", "quick")]
            groups.append(await work.org.fan_out("fan-out", members))
            if enabled:
                last_longer = sum(task.capability != "quick" for task in made) + len(groups)
                await work.committed(work.started_there, last_longer)
        runs += work.runs
    last = Work(db, enabled=True, address=temporal_server.address)
    last.go_on.set()
    async with last.tasks:
        assert await last.finish(made) == all_completed(made)
        for group in groups:
            assert (await last.org.wait_workflow(group.id, timeout=SECONDS)).state == WorkflowState.COMPLETED
        await last.agree()
        assert await last.started_there() == 0
        sql = "SELECT workflow_id FROM dt_submissions"
        submitted = await last.tasks.store.read(lambda conn: conn.execute(sql).fetchall())
    client = await Client.connect(temporal_server.address)
    for (workflow_id,) in submitted:
        status = (await client.get_workflow_handle(workflow_id).describe()).status
        assert status is not WorkflowExecutionStatus.RUNNING, workflow_id


@pytest.mark.parametrize("kind", ["block", "burn"])
async def test_a_queue_of_handlers_runs_each_once(db: Path, temporal_server: EmbeddedServer, kind: str) -> None:
    await flood(db, temporal_server.address, kind, 40, seconds=1.0 if kind == "block" else 0.05)


@pytest.mark.acceptance
@pytest.mark.parametrize("kind", ["block", "burn"])
async def test_six_hundred_handlers_run_each_once(db: Path, temporal_server: EmbeddedServer, kind: str) -> None:
    number = count("TASKS_ACCEPTANCE_FLOOD", 600)
    figures = await flood(db, temporal_server.address, kind, number, seconds=1.0 if kind == "block" else 0.1)
    keep(f"flood-{kind}", figures)


async def flood(db: Path, address: str, kind: str, number: int, *, seconds: float) -> dict[str, Any]:
    started = time.monotonic()
    work = Work(db, enabled=True, address=address)
    async with work.tasks:
        made = await work.create(kind, number, seconds)
        states = [(await work.org.wait(task.id, timeout=600)).state for task in made]
        took = time.monotonic() - started
        await work.agree()
    assert states == all_completed(made)
    assert Counter(work.runs.values()) == {1: number}
    return {"handlers": number, "seconds_each": seconds, "seconds": round(took, 1), "repeated": 0}
