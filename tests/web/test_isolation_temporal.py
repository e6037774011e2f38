"""Two organisations in durable mode, on a real Temporal server: neither reaches the other's Temporal workflows.

It must not know how namespaces are made.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio
from temporalio.client import WorkflowUpdateFailedError

from durable_tasks import DurableTasks, NewTask, Task
from durable_tasks.access import Role
from durable_tasks.operations.table import OPERATIONS
from durable_tasks.temporal.server import EmbeddedServer
from tests.foreign import Foreign, foreign, unknown
from tests.store.support import query
from tests.web.asking import api, as_caller
from tests.web.routes import WAYS, Ask

pytestmark = pytest.mark.asyncio(loop_scope="module")

DEADLINE = 60.0
START = "start_temporal_workflow"
DURABLE = {(one.method, f"/v1{one.path}") for one in OPERATIONS.values() if one.temporal and one.name != START}


class Town(NamedTuple):
    """Two organisations, each with a namespace of its own, and what the rival has."""

    tasks: DurableTasks
    client: httpx.AsyncClient
    acme: str
    rival: str
    theirs: Foreign

    async def heard(self, ask: Ask, org: str, role: Role = Role.OPERATOR) -> tuple[int, str]:
        headers = {**as_caller(org, role=role), "X-Request-Id": "the-same", **ask.headers}
        answer = await self.client.request(ask.method, ask.path, params=ask.query, json=ask.body, headers=headers)
        return answer.status_code, f"{sorted(answer.headers.items())}\n{answer.text}"

    async def own_task(self) -> Task:
        """A new one of acme's, which Temporal has."""
        task = await self.tasks.org(self.acme).create("own")
        await self.temporal_has(self.acme, task.id)
        return task

    async def temporal_has(self, org: str, task_id: str) -> None:
        """Wait until the task's Temporal workflow runs: before that everybody is told that it is missing."""
        await until(lambda: self._is_running(org, task_id))

    async def _is_running(self, org: str, task_id: str) -> bool:
        return (await self.tasks.durable.status(task_id, org=org)).temporal == "RUNNING"

    def rivals_rows(self) -> list[Any]:
        """What SQLite has of the rival's tasks and events."""
        db = self.tasks.settings.db
        return [
            query(db, f"SELECT * FROM dt_{table} WHERE org_id = ?", self.rival)
            for table in ("tasks", "workflows", "events", "idempotency")
        ]


async def until(look: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not await look():  # noqa: ASYNC110 (Temporal tells nobody)
            await asyncio.sleep(0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def town(tmp_path_factory: pytest.TempPathFactory, temporal_server: EmbeddedServer) -> AsyncIterator[Town]:
    """One for all: namespaces take seconds to come. Nothing here ends what the rival has."""
    folder, run = tmp_path_factory.mktemp("town"), uuid.uuid4().hex[:12]
    acme, rival = f"acme-{run}", f"rival-{run}"
    async with api(folder, enabled=True, address=temporal_server.address, shutdown_grace=1) as (tasks, client):
        assert tasks.temporal is not None
        await tasks.temporal.wait_connected(DEADLINE)
        town = Town(tasks, client, acme, rival, await foreign(tasks, rival))
        await town.temporal_has(rival, town.theirs.task)
        executions = await tasks.durable.executions(org=rival)
        await executions.start("Report", town.theirs.execution, queue="reports")
        yield town


async def test_durable_operations_know_nothing_of_another_organisation(town: Town) -> None:
    theirs, nobodys = town.theirs, unknown(town.theirs)
    await town.own_task()  # there is a namespace now
    ways = [way for way in WAYS if way.route in DURABLE]
    assert {way.route for way in ways} == DURABLE
    before = town.rivals_rows()
    for way in ways:
        status, told = await town.heard(way.ask(theirs), town.acme)
        assert status == 404, (str(way), told)
        assert (status, theirs.left_out_of(told)) == left_out(nobodys, await town.heard(way.ask(nobodys), town.acme))
        assert town.rival not in told
    assert town.rivals_rows() == before


async def test_those_whose_they_are_are_told_something_else(town: Town) -> None:
    """Else the test above would show nothing."""
    theirs, nobodys = town.theirs, unknown(town.theirs)
    tried = {("POST", "/v1/temporal/workflow/terminate")}  # so that the others do not depend on the order
    for way in WAYS:
        if way.route in DURABLE - tried:
            tried.add(way.route)
            assert (await town.heard(way.ask(theirs), town.rival))[0] < 300, str(way)
            assert (await town.heard(way.ask(nobodys), town.rival))[0] == 404, str(way)
    assert tried == DURABLE

    async def has_progressed() -> bool:
        return (await town.tasks.org(town.rival).get(theirs.task)).progress == 50

    await until(has_progressed)


def left_out(its: Foreign, told: tuple[int, str]) -> tuple[int, str]:
    return told[0], its.left_out_of(told[1])


async def test_without_a_namespace_an_organisation_is_told_the_same(town: Town) -> None:
    theirs, nobodys = town.theirs, unknown(town.theirs)
    for way in WAYS:
        if way.route in DURABLE:
            told = left_out(theirs, await town.heard(way.ask(theirs), "newcomer"))
            assert told == left_out(nobodys, await town.heard(way.ask(nobodys), "newcomer"))
            assert told[0] >= 400


async def test_what_drives_tasks_is_refused_by_its_form_whoever_has_it(town: Town) -> None:
    for ids in (town.theirs, unknown(town.theirs)):
        for driving in (f"task/{ids.task}/1", f"workflow/{ids.workflow}/1"):
            for verb, more in (("signal", {"signal": "cancel"}), ("cancel", {}), ("terminate", {})):
                ask = Ask("POST", f"/v1/temporal/workflow/{verb}", body={"workflow_id": driving, **more})
                assert (await town.heard(ask, town.acme))[0] == 422
    await town.temporal_has(town.rival, town.theirs.task)


async def test_an_id_that_another_has_is_free_in_ones_own_namespace(town: Town) -> None:
    body = {"workflow_id": town.theirs.execution, "workflow_type": "Report", "queue": "reports"}
    await town.own_task()
    executions = await town.tasks.durable.executions(org=town.rival)
    before = await executions.describe(town.theirs.execution)
    status, told = await town.heard(Ask("POST", "/v1/temporal/workflow", body=body), town.acme)
    assert (status, f'"namespace":"{town.acme}"' in told, before.run_id in told) == (201, True, False)
    for verb in ("cancel", "terminate"):
        ask = Ask("POST", f"/v1/temporal/workflow/{verb}", body={"workflow_id": town.theirs.execution})
        assert (await town.heard(ask, town.acme))[0] == 202
    assert await executions.describe(town.theirs.execution) == before


async def test_a_signal_to_ones_own_task_that_names_anothers_is_for_ones_own(town: Town) -> None:
    own = await town.own_task()
    before = town.rivals_rows()
    payload = {"task_id": town.theirs.task, "org_id": town.rival, "token": town.theirs.token, "agent_id": "mallory"}
    for signal in ("complete", "claim", "cancel"):
        body = {"signal": signal, "payload": payload}
        assert (await town.heard(Ask("POST", f"/v1/tasks/{own.id}/signal", body=body), town.acme))[0] == 202

    async def is_settled() -> bool:
        return (await town.tasks.org(town.acme).get(own.id)).state == "cancelled"

    await until(is_settled)
    assert town.rivals_rows() == before


async def test_commands_in_ones_own_namespace_do_not_reach_anothers_tasks(town: Town) -> None:
    """Sent past this API, by somebody who has Temporal's own client for the namespace."""
    org, task = town.tasks.org(town.acme), await town.own_task()
    group = await org.fan_out("own", [NewTask(name="auto", capability="nobody.has.it")])
    await town.temporal_has(town.acme, (await org.workflow_tasks(group.id))[0].id)
    client = town.tasks.durable.client_for_org(town.acme)
    before = town.rivals_rows()
    for driving in (f"task/{task.id}/1", f"workflow/{group.id}/1"):
        for task_id in (town.theirs.task, town.theirs.done):
            payload = {"task_id": task_id, "org_id": town.rival, "token": town.theirs.token, "agent_id": "mallory"}
            for verb in ("cancel", "complete"):
                with pytest.raises(WorkflowUpdateFailedError) as refused:
                    await client.get_workflow_handle(driving).execute_update(verb, payload)
                assert "secret" not in str(refused.value.cause)
    assert town.rivals_rows() == before


async def test_roles_in_durable_mode(town: Town) -> None:
    for way in WAYS:
        if way.route in DURABLE:
            for role in (Role.VIEWER, Role.AGENT):
                assert (await town.heard(way.ask(town.theirs), town.rival, role))[0] == 403
    assert (await town.tasks.org(town.rival).get(town.theirs.task)).state == "claimed"
