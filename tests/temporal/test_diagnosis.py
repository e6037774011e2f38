"""One organisation's diagnosis on a real server: its namespace, drift and workers, and nothing of anybody else's.

It must not know surfaces.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from durable_tasks import DurableTasks, Settings
from durable_tasks.console import looking
from durable_tasks.diagnosis import OrgDiagnosis, diagnose_org
from durable_tasks.ports import Drift, Queue
from durable_tasks.temporal.engine import TemporalEngine
from durable_tasks.temporal.server import EmbeddedServer
from tests.earlier import Earlier

DEADLINE = 30.0


class Place:
    """A file, left by an application that ran a minute ago, and how to look at it now."""

    def __init__(self, folder: Path, address: str, **settings: Any) -> None:
        self.settings = Settings(db=folder / "tasks.db", enabled=True, address=address, **settings)
        self.acme, self.rival = (f"{name}-{folder.name}".replace("_", "-") for name in ("acme", "rival"))

    @asynccontextmanager
    async def application(self) -> AsyncIterator[DurableTasks]:
        async with DurableTasks(self.settings, clock=Earlier()) as tasks:
            yield tasks

    @asynccontextmanager
    async def beside(self, *, connected: bool = True) -> AsyncIterator[tuple[DurableTasks, TemporalEngine]]:
        async with (
            DurableTasks(Settings(db=self.settings.db, worker=False)) as tasks,
            looking(self.settings, tasks.store, tasks.clock) as engine,
        ):
            if connected:
                await engine.wait_connected(DEADLINE)
            yield tasks, engine

    async def diagnose(self, org_id: str) -> OrgDiagnosis:
        async with self.beside() as (tasks, engine):
            return await diagnose_org(tasks.store, engine, self.settings, tasks.clock, org_id)


@pytest.fixture
def place(tmp_path: Path, temporal_server: EmbeddedServer) -> Place:
    return Place(tmp_path, temporal_server.address)


async def handed_over(tasks: DurableTasks) -> None:
    """Wait until Temporal has everything."""
    committed = asyncio.Event()
    unsubscribe = tasks.store.subscribe(lambda notice: committed.set())
    async with asyncio.timeout(DEADLINE):
        while await tasks.store.submissions(states=("outbox",), after="", limit=1):
            await committed.wait()
            committed.clear()
    unsubscribe()


async def test_drift_is_the_organisations_own(place: Place) -> None:
    async with place.application() as tasks:
        mine = await tasks.org(place.acme).create("lost")
        await tasks.org(place.acme).create("well")
        theirs = await tasks.org(place.rival).create("secret")
        await handed_over(tasks)
    for task in (mine, theirs):
        there = await Client.connect(place.settings.address, namespace=task.org_id)
        await there.get_workflow_handle(f"task/{task.id}/1").terminate()
    found = await place.diagnose(place.acme)
    side = found.temporal
    assert side is not None
    assert (side.namespace, side.up, side.error, side.compared) == (place.acme, True, None, 2)
    assert side.server_version
    assert side.capabilities
    assert side.drift == (Drift(place.acme, mine.id, 1, mine.state, "TERMINATED"),)
    assert (found.healthy, found.tasks) == (False, {"pending": 2})
    told = found.model_dump_json()
    assert [word for word in (place.rival, theirs.id, "secret", place.settings.address) if word in told] == []
    async with place.beside() as (_, engine):
        assert len(await engine.drift()) == 2, "else there was nothing to keep quiet about"


async def test_what_agrees_is_well_while_the_application_runs(place: Place) -> None:
    async with place.application() as tasks:
        await tasks.org(place.acme).create("well")
        await handed_over(tasks)
        found = await tasks.diagnose(place.acme)
        nothing = await tasks.diagnose("nobody-yet")
    assert found.temporal is not None
    assert (found.healthy, found.temporal.up, found.temporal.drift) == (True, True, ())
    assert found.temporal.compared == 0, "it has not settled"
    assert nothing.temporal is not None
    assert (nothing.healthy, nothing.temporal.up, nothing.temporal.drift) == (True, None, ())


async def test_asking_makes_no_namespace(place: Place) -> None:
    async with place.application() as tasks:
        await tasks.diagnose(place.acme)
        assert tasks.temporal is not None
        assert place.acme not in {one.namespace for one in (await tasks.durable.doctor()).namespaces}


async def test_what_moves_while_it_is_looked_at_is_no_drift(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async with place.application() as tasks:
        task = await tasks.org(place.acme).create("soon done")
        await handed_over(tasks)
    async with place.beside() as (tasks, engine):
        settled = tasks.store.settled

        async def settled_and_gone(org_id: str, **options: Any) -> Any:
            """It ends on both sides between the look into SQLite and the one into Temporal."""
            found = await settled(org_id, **options)
            org = tasks.org(org_id)
            await org.complete(task.id, token=(await org.claim(task.id, agent_id="ann")).token)
            there = await Client.connect(place.settings.address, namespace=org_id)
            await there.get_workflow_handle(f"task/{task.id}/1").terminate()
            return found

        monkeypatch.setattr(tasks.store, "settled", settled_and_gone)
        compared = await engine.compare(place.acme)
    assert (compared.drift, compared.compared) == ([], 1)


async def test_all_who_ask_share_one_comparison(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async with place.application() as tasks:
        for org_id in (place.acme, place.rival):
            await tasks.org(org_id).create("well")
        await handed_over(tasks)
    async with place.beside() as (tasks, engine):
        settled, asked = tasks.store.settled, []

        async def counting(org_id: str, **options: Any) -> Any:
            asked.append(org_id)
            return await settled(org_id, **options)

        monkeypatch.setattr(tasks.store, "settled", counting)

        async def diagnose() -> OrgDiagnosis:
            return await diagnose_org(tasks.store, engine, place.settings, tasks.clock, place.acme)

        first = await asyncio.gather(*(diagnose() for _ in range(20)))
        assert await diagnose() == first[0]
        assert {one.temporal.compared for one in first if one.temporal} == {1}
        await engine.compare(place.rival)
    assert asked == [place.acme, place.rival]


async def test_the_workers_of_the_queues_that_its_tasks_wait_for(place: Place) -> None:
    async with place.application() as tasks:
        await tasks.org(place.acme).create("Render", capability="render", queue="gpu")
        await tasks.org(place.rival).create("Render", capability="render", queue="secret")
        await handed_over(tasks)
    found = await place.diagnose(place.acme)
    assert found.temporal is not None
    assert found.temporal.queues == (Queue(place.acme, "gpu", 0),)
    assert ["gpu" in one.why for one in found.waiting] == [True]


async def test_a_namespace_of_another_organisation_is_not_looked_at(
    tmp_path: Path, temporal_server: EmbeddedServer
) -> None:
    name = f"shared-{tmp_path.name}".replace("_", "-")
    place = Place(tmp_path, temporal_server.address, namespace=name)
    async with place.application() as tasks:
        await tasks.org().create("secret", capability="render", queue="gpu")
        await handed_over(tasks)
    found = await place.diagnose(name)
    assert found.temporal is not None
    assert (found.temporal.up, found.temporal.drift, found.temporal.queues) == (False, None, ())
    assert found.temporal.error == "it belongs to another organisation"
    assert "default" not in found.model_dump_json()


async def test_a_namespace_that_is_missing_holds_up_nobody_else(place: Place) -> None:
    async with Place(place.settings.db.parent, "127.0.0.1:1").application() as tasks:
        await tasks.org().create("well")
        await tasks.org(place.acme).create("left")
    found = await place.diagnose(place.acme)  # which registers none
    assert found.temporal is not None
    assert (found.healthy, found.temporal.up, found.temporal.drift) == (False, False, None)
    assert "not found" in str(found.temporal.error)
    other = await place.diagnose("default")
    assert other.temporal is not None
    assert (other.temporal.up, other.temporal.drift) == (True, ())


async def test_without_a_server_the_file_is_told_of(tmp_path: Path) -> None:
    place = Place(tmp_path, "127.0.0.1:1")
    async with place.application() as tasks:
        task = await tasks.org(place.acme).create("Read it")
    async with place.beside(connected=False) as (tasks, engine), asyncio.timeout(1):
        found = await diagnose_org(tasks.store, engine, place.settings, tasks.clock, place.acme)
    side = found.temporal
    assert side is not None
    assert (side.server_version, side.up, side.error, side.drift) == (None, False, "Temporal does not answer", None)
    assert (found.healthy, found.outbox.waiting, [one.task_id for one in found.waiting]) == (False, 1, [task.id])
    assert "127.0.0.1" not in found.model_dump_json()


async def test_a_server_that_hangs_costs_a_few_seconds(tmp_path: Path, temporal_server: EmbeddedServer) -> None:
    async with EmbeddedServer(binary=temporal_server.binary) as server:
        place = Place(tmp_path, server.address)
        async with place.application() as tasks:
            await tasks.org(place.acme).create("Read it")
            await handed_over(tasks)
        async with place.beside() as (tasks, engine):
            os.kill(server.pid, signal.SIGSTOP)
            try:
                async with asyncio.timeout(6):
                    found = await diagnose_org(tasks.store, engine, place.settings, tasks.clock, place.acme)
            finally:
                os.kill(server.pid, signal.SIGCONT)
    assert found.temporal is not None
    assert (found.temporal.error, found.temporal.drift) == ("Temporal does not answer", None)
