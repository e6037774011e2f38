"""Temporal absent, away, forgetful or without its namespaces, leaders that die or stall, the engine off and on: nothing
is lost, stuck or done twice, and both sides agree again. It must not know relay, reconciler or presence.
"""

import asyncio
import os
import random
import signal
import sqlite3
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.operatorservice.v1 import DeleteNamespaceRequest
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client, WorkflowExecutionStatus

from durable_tasks.app import DurableTasks
from durable_tasks.org import Org
from durable_tasks.settings import Settings
from durable_tasks.temporal.server import EmbeddedServer
from tests.faults.checker import faults, journal
from tests.faults.figures import count, keep, spread
from tests.faults.processes import App
from tests.faults.work import Work, address_of, own_server, status_there

SECONDS = 60.0
CLIENTS = 4
PAUSE = 0.05
"""Seconds between two actions of a client: a load that Temporal can work off again."""
SLOTS = 40
"""Enough for all that is held, so that the rest goes on."""
HELD = 4
"""Of `open_all`, once a manual task was completed: a handler that waits, a manual task, a pipeline and a fan-out."""
RETENTION = 3 * 86400
DARK, DARK_ACCEPTED = 5.0, 60.0
"""Seconds that Temporal is away under load."""
LEASE = 2.0

Fault = Callable[[Path, EmbeddedServer], Awaitable[float]]
"""One round on a new file; how many seconds both sides needed to agree after all had ended."""


# ----- one round of each


async def absent_at_boot(db: Path, shared: EmbeddedServer) -> float:
    async with own_server(shared) as server:
        work = Work(
            db, orgs=["second"], enabled=True, address=address_of(server), fallback="wait", max_concurrent=SLOTS
        )
        async with work.tasks:
            for org in work.orgs:
                await work.open_all(org)
                await work.complete_one(org)
            assert not work.runs
            await server.start()
            await work.finish_all()
            return await work.agree()


async def restarted(db: Path, shared: EmbeddedServer) -> float:
    return await _killed_and_started(db, shared, db.with_name("temporal.db"), lost=0)


async def emptied(db: Path, shared: EmbeddedServer) -> float:
    return await _killed_and_started(db, shared, None, lost=2 * HELD)


async def _killed_and_started(db: Path, shared: EmbeddedServer, database: Path | None, *, lost: int) -> float:
    async with own_server(shared, database) as server:
        await server.start()
        work = Work(db, orgs=["second"], enabled=True, address=server.address, max_concurrent=SLOTS)
        async with work.tasks:
            for org in work.orgs:
                await work.open_all(org)
            await work.committed(work.unsent, 0)
            os.kill(server.pid, signal.SIGKILL)
            await server.wait_exit()
            for org in work.orgs:
                await work.complete_one(org)
                await work.open_all(org)
            await server.start()
            # Only what Temporal has lost starts again, and all of it.
            await work.committed(lambda: _started_again(work), lost)
            await work.finish_all()
            took = await work.agree()
            assert await _started_again(work, ever=True) == lost
            return took


async def namespace_missing(db: Path, shared: EmbeddedServer) -> float:
    name = f"missing-{uuid.uuid4()}"
    work = Work(
        db, orgs=[name], enabled=True, address=shared.address, max_concurrent=SLOTS,
        register_namespaces=False, fallback="wait",
    )  # fmt: skip
    client = await Client.connect(shared.address)
    async with work.tasks:
        org, parked = work.orgs
        await work.open_all(parked)
        await _goes_on(work, org)
        assert work.tasks.temporal is not None
        assert list((await work.tasks.temporal.report()).parked) == [name]
        assert await work.unsent() == 6  # each single task and each group
        await work.complete_one(parked)
        await _register(client, name)
        await work.open_all(org)
        await work.finish_all()
        return await work.agree()


async def namespace_deleted(db: Path, shared: EmbeddedServer) -> float:
    name = f"deleted-{uuid.uuid4()}"
    work = Work(db, orgs=[name], enabled=True, address=shared.address, max_concurrent=SLOTS)
    client = await Client.connect(shared.address)
    async with work.tasks:
        org, bereft = work.orgs
        for one in work.orgs:
            await work.open_all(one)
        await work.committed(work.unsent, 0)
        await client.operator_service.delete_namespace(DeleteNamespaceRequest(namespace=name))
        await _goes_on(work, org)
        await work.complete_one(bereft)
        # It is registered again, and what was open there starts again.
        await work.committed(lambda: _started_again(work), HELD)
        await _goes_on(work, org)
        await work.finish_all()
        return await work.agree()


async def _goes_on(work: Work, org: Org) -> None:
    """New tasks of this organisation end meanwhile."""
    for _ in range(5):
        task = await org.create("work", capability="quick", input=1)
        assert (await org.wait(task.id, timeout=SECONDS)).output == 1


async def _started_again(work: Work, *, ever: bool = False) -> int:
    states = "'open', 'closed'" if ever else "'open'"
    sql = f"SELECT COUNT(*) FROM dt_submissions WHERE generation > 1 AND state IN ({states})"
    return int(await work.tasks.store.read(lambda conn: conn.execute(sql).fetchone()[0]))


async def _register(client: Client, name: str) -> None:
    request = RegisterNamespaceRequest(namespace=name)
    request.workflow_execution_retention_period.seconds = RETENTION
    await client.workflow_service.register_namespace(request)


# ----- with processes under load


def load(db: Path, name: str, address: str, **settings: Any) -> App:
    chosen = {"enabled": True, "address": address, "shutdown_grace": 0.2, **settings}
    return App(
        db, "load", name=name, settings=chosen, orgs=["second"], seed=random.random(), clients=CLIENTS, pause=PAUSE
    )


async def down_under_load(db: Path, shared: EmbeddedServer, seconds: float = DARK) -> float:
    async with own_server(shared, db.with_name("temporal.db")) as server:
        await server.start()
        # Clients that wait for a handler's result go on meanwhile.
        async with load(db, "app", server.address, fallback_after=1.0) as app:
            await app.ready()
            await app.lives_for(random.uniform(0.5, 2.5))
            os.kill(server.pid, signal.SIGKILL)
            await server.wait_exit()
            before = len(journal(db.parent / "acknowledged"))
            await app.lives_for(seconds)
            assert len(journal(db.parent / "acknowledged")) > before
            await server.start()
            back = time.monotonic()
            await app.lives_for(1.0)
            app.tell("settle")
            await app.settled()
            return time.monotonic() - back


async def leader_killed(db: Path, shared: EmbeddedServer) -> float:
    async with load(db, "first", shared.address, process_lease=LEASE) as first:
        await first.ready()
        async with load(db, "second", shared.address, process_lease=LEASE) as second:
            await second.ready()
            await relayed_by(db, first)
            await first.lives_for(random.uniform(0.5, 2.5))
            await first.kill()
            await relayed_by(db, second)
            await second.lives_for(1.0)
            told = time.monotonic()
            second.tell("settle")
            await second.settled()
            return time.monotonic() - told


async def leader_stalled(db: Path, shared: EmbeddedServer) -> float:
    async with load(db, "first", shared.address, process_lease=LEASE) as first:
        await first.ready()
        async with load(db, "second", shared.address, process_lease=LEASE) as second:
            await second.ready()
            await relayed_by(db, first)
            await first.lives_for(random.uniform(0.5, 2.5))
            first.stall()
            await buried(db, first)
            await relayed_by(db, second)
            first.signal(signal.SIGCONT)
            await first.line("LOG durable_tasks.engine this process stalled past its lease")
            await first.lives_for(1.0)
            told = time.monotonic()
            for app in (first, second):
                app.tell("settle")
            await asyncio.gather(first.settled(), second.settled())
            return time.monotonic() - told


async def relayed_by(db: Path, app: App) -> None:
    """Wait until that process speaks to Temporal for the file."""
    sql = "SELECT 1 FROM dt_meta JOIN dt_processes ON instance = value WHERE key = 'relay' AND pid = ?"
    await until(db, lambda conn: conn.execute(sql, (app.pid,)).fetchone() is not None)


async def buried(db: Path, app: App) -> None:
    """Wait until the others have declared it dead."""
    sql = "SELECT 1 FROM dt_processes WHERE pid = ?"
    await until(db, lambda conn: conn.execute(sql, (app.pid,)).fetchone() is None)


async def until(db: Path, is_so: Callable[[sqlite3.Connection], bool]) -> None:
    """Each commit may have made it so."""
    committed = asyncio.Event()
    async with DurableTasks(Settings(db=db, worker=False)) as watcher, asyncio.timeout(SECONDS):
        watcher.store.subscribe(lambda notice: committed.set())
        while not await watcher.store.read(is_so):
            committed.clear()
            await committed.wait()


async def switched(db: Path, shared: EmbeddedServer) -> float:
    """On, off, on, off, on, each time under load; what an older generation left at Temporal is gone in the end."""
    for number, enabled in enumerate((True, False, True, False, True)):
        async with load(db, f"app-{number}", shared.address, enabled=enabled) as app:
            await app.ready()
            await app.lives_for(random.uniform(1.0, 2.0))
            if number < 4:
                app.tell("end")
                assert await app.ends() == 0, app.stderr
                continue
            told = time.monotonic()
            app.tell("settle")
            await app.settled()
            took = time.monotonic() - told
    with closing(sqlite3.connect(db)) as conn:
        (generations,) = conn.execute("SELECT MAX(generation) FROM dt_submissions").fetchone()
        moved = conn.execute(
            "SELECT namespace, workflow_id FROM dt_submissions WHERE subject_id IN"
            " (SELECT subject_id FROM dt_submissions WHERE generation > 1)"
        ).fetchall()
    assert generations > 1
    for namespace, workflow_id in moved:
        assert await status_there(shared, namespace, workflow_id) is not WorkflowExecutionStatus.RUNNING, workflow_id
    return took


# ----- the tests

FAULTS = (
    *(absent_at_boot, down_under_load, restarted, emptied),
    *(namespace_missing, namespace_deleted, leader_killed, leader_stalled, switched),
)
every_fault = pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)


@pytest.mark.timeout(900)
@every_fault
async def test_twice(tmp_path: Path, temporal_server: EmbeddedServer, fault: Fault) -> None:
    await rounds(tmp_path, temporal_server, fault, 2)


@pytest.mark.acceptance
@every_fault
async def test_twenty_times(tmp_path: Path, temporal_server: EmbeddedServer, fault: Fault) -> None:
    number = count("TASKS_ACCEPTANCE_ROUNDS", 20)
    keep(f"outage-{fault.__name__}", await rounds(tmp_path, temporal_server, fault, number))


@pytest.mark.acceptance
async def test_a_minute_without_temporal_under_load(tmp_path: Path, temporal_server: EmbeddedServer) -> None:
    async def minute(db: Path, shared: EmbeddedServer) -> float:
        return await down_under_load(db, shared, DARK_ACCEPTED)

    keep("outage-minute", await rounds(tmp_path, temporal_server, minute, count("TASKS_ACCEPTANCE_MINUTES", 20)))


async def rounds(folder: Path, shared: EmbeddedServer, fault: Fault, number: int) -> dict[str, Any]:
    """So many rounds, each on a file of its own. Raises AssertionError on the first broken promise."""
    settlings, created = [], 0
    for one in range(number):
        place = folder / str(one)
        place.mkdir()
        settlings.append(await fault(place / "tasks.db", shared))
        assert faults(place / "tasks.db") == []
        with closing(sqlite3.connect(place / "tasks.db")) as conn:
            created += conn.execute("SELECT COUNT(*) FROM dt_tasks").fetchone()[0]
    print(f"\n{settlings}")
    return {
        "rounds": number,
        "tasks": created,
        "lost": 0,
        "stuck": 0,
        "twice": 0,
        "drift": 0,
        "until_settled": spread(settlings),
    }
