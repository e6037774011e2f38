"""`diagnose_org` and `redrive_dead_letter` over HTTP: for operators, of their own organisation, whoever is beside them.

It must not need Temporal: tests/temporal/test_diagnosis.py asks a real server.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from durable_tasks import DurableTasks, Org, Settings, diagnosis
from durable_tasks.access import Role
from durable_tasks.ports import Errand, Room
from durable_tasks.testing import ManualClock
from durable_tasks.web.app import create_app
from tests.foreign import SECRET, foreign
from tests.store.support import everything
from tests.web.asking import api, as_caller, authenticate

OPERATOR = as_caller(role=Role.OPERATOR)
NOWHERE = "127.0.0.1:1"
AT = f"tcp connect error, {NOWHERE}: refused by /var/lib/temporal.sock"

World = tuple[DurableTasks, httpx.AsyncClient]


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """In durable mode, at an address where nobody answers. What waits at all has waited long enough to be told."""
    monkeypatch.setattr(diagnosis, "STUCK_FOR", 0.0)
    async with api(tmp_path, enabled=True, address=NOWHERE) as made:
        yield made


async def start_of(tasks: DurableTasks, org: Org, title: str) -> Errand:
    """The start of a new task, which waits for Temporal."""
    task = await org.create(title, capability="render", queue="gpu")
    room = Room(most=999, waiting={}, can_run=lambda capability: True)
    due = await tasks.store.errands(tasks.clock.now(), limit=999, room=room, skip=frozenset(), parked=frozenset())
    (errand,) = (one for one in due.errands if one.ref.subject_id == task.id)
    return errand


async def trouble(tasks: DurableTasks, org: Org, title: str, error: str) -> str:
    """A start that Temporal has refused, and one that met an error; the id of the dead letter."""
    await tasks.store.reject(await start_of(tasks, org, title), error=error)
    await tasks.store.defer(await start_of(tasks, org, title), until=tasks.clock.now() + 60, error=error)
    return (await tasks.store.dead_letters(org.id))[-1].id


async def told(client: httpx.AsyncClient) -> dict[str, Any]:
    answer = await client.get("/v1/doctor", headers=OPERATOR)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_without_durable_mode_it_says_what_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "STUCK_FOR", 0.0)
    async with api(tmp_path) as (tasks, client):
        made = await tasks.org("acme").create("Read it")
        found = await told(client)
    assert (found["org_id"], found["healthy"], found["engine"], found["displaced"]) == ("acme", True, "local", False)
    assert (found["tasks"], found["temporal"], found["dead_letters"]) == ({"pending": 1}, None, [])
    (waiting,) = found["waiting"]
    assert (waiting["task_id"], waiting["title"], waiting["why"]) == (made.id, "Read it", "a claim")
    assert (found["outbox"]["waiting"], found["outbox"]["dead_letters"]) == (0, 0)


async def test_what_is_wrong_is_told_without_addresses_and_paths(world: World) -> None:
    tasks, client = world
    letter = await trouble(tasks, tasks.org("acme"), "Read it", AT)
    found = await told(client)
    assert (found["healthy"], found["engine"]) == (False, "temporal")
    assert [one["id"] for one in found["dead_letters"]] == [letter]
    assert found["outbox"]["error"] == found["waiting"][0]["error"] == "tcp connect error, …: refused by …"
    assert (found["outbox"]["waiting"], found["outbox"]["dead_letters"]) == (1, 1)
    assert (found["temporal"]["up"], found["temporal"]["drift"]) == (False, None)
    assert found["temporal"]["error"] == "Temporal does not answer"
    assert [word for word in (NOWHERE, str(tasks.settings.db.parent), "temporal.sock") if word in str(found)] == []


async def test_nothing_shows_that_somebody_else_is_there(world: World) -> None:
    tasks, client = world
    rival = tasks.org("rival")
    for number in range(3):  # so that the numbers of rows differ from those of a file of one's own
        await trouble(tasks, rival, SECRET, f"{SECRET} {number}")
    await trouble(tasks, tasks.org("acme"), "own", "busy")
    alone = await told(client)
    await foreign(tasks, "rival")
    await foreign(tasks, "other")
    letter = await trouble(tasks, rival, SECRET, SECRET)
    assert await told(client) == alone
    assert [word for word in (SECRET, "rival", letter) if word in str(alone)] == []
    assert len(alone["dead_letters"]) == len(alone["waiting"]) == 1


async def test_the_ids_of_dead_letters_count_nothing(world: World) -> None:
    tasks, client = world
    letter = await trouble(tasks, tasks.org("acme"), "own", "too large")
    (found,) = (await told(client))["dead_letters"]
    assert found["id"] == letter == f"{found['subject_id']}:1:start"


async def test_a_dead_letter_is_sent_again(world: World) -> None:
    tasks, client = world
    letter = await trouble(tasks, tasks.org("acme"), "Read it", f"too large for {NOWHERE}")
    (waiting,) = (await told(client))["dead_letters"]
    task = await tasks.org("acme").get(waiting["subject_id"])
    assert (task.state, task.error and task.error.type) == ("failed", "submit_rejected")
    answer = await client.post(f"/v1/dead-letters/{letter}/redrive", headers=OPERATOR)
    assert (answer.status_code, answer.json()) == (200, waiting)
    assert (await tasks.org("acme").get(task.id)).state == "pending"
    assert (await told(client))["dead_letters"] == []
    again = await client.post(f"/v1/dead-letters/{letter}/redrive", headers=OPERATOR)
    assert (again.status_code, again.json()["code"]) == (404, "not_found")


async def test_anothers_dead_letter_is_as_if_nobody_had_it(world: World) -> None:
    tasks, client = world
    await trouble(tasks, tasks.org("acme"), "own", "too large")
    theirs = await trouble(tasks, tasks.org("rival"), SECRET, SECRET)
    nobodys = "01900000-0000-7000-8000-000000000000:1:start"
    before = everything(tasks.settings.db)
    headers = {**OPERATOR, "X-Request-Id": "the-same"}
    said = []
    for letter in (theirs, nobodys):
        answer = await client.post(f"/v1/dead-letters/{letter}/redrive", headers=headers)
        assert answer.status_code == 404
        said.append(answer.text.replace(letter, "<id>"))
    assert said[0] == said[1]
    assert everything(tasks.settings.db) == before
    rivals = as_caller("rival", role=Role.OPERATOR)
    assert (await client.post(f"/v1/dead-letters/{theirs}/redrive", headers=rivals)).status_code == 200


@pytest.mark.parametrize("role", [Role.VIEWER, Role.AGENT])
async def test_only_operators_may(role: Role, world: World) -> None:
    tasks, client = world
    letter = await trouble(tasks, tasks.org("acme"), "own", "too large")
    before = everything(tasks.settings.db)
    headers = as_caller(role=role)
    assert (await client.get("/v1/doctor", headers=headers)).status_code == 403
    assert (await client.post(f"/v1/dead-letters/{letter}/redrive", headers=headers)).status_code == 403
    assert everything(tasks.settings.db) == before


async def test_much_is_cut_and_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks, client = world
    monkeypatch.setattr(diagnosis, "MOST_LISTED", 2)
    for number in range(3):
        await trouble(tasks, tasks.org("acme"), f"task {number}", "too large")
    found = await told(client)
    assert (len(found["waiting"]), found["more_waiting"]) == (2, True)
    assert (len(found["dead_letters"]), found["outbox"]["dead_letters"]) == (2, 3)
    assert found["tasks"] == {"pending": 3}


async def test_it_says_which_processes_would_run_what(tmp_path: Path) -> None:
    clock = ManualClock()
    settings = Settings(db=tmp_path / "tasks.db", process_lease=15)
    tasks, beside, idle = (
        DurableTasks(settings.model_copy(update={"worker": worker}), clock=clock) for worker in (True, True, False)
    )
    tasks.handler("render")(lambda ctx, task: None)
    beside.handler("print")(lambda ctx, task: None)
    idle.handler("never")(lambda ctx, task: None)
    transport = httpx.ASGITransport(create_app(tasks, authenticate=authenticate))
    async with tasks.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        alone = (await told(client))["workers"]
        assert alone == {"processes": 1, "capabilities": ["render"], "without_capability": False, "led": True}
        async with idle, beside:
            assert (await told(client))["workers"]["capabilities"] == ["print", "render"]
            beside.default_handler(lambda ctx, task: None)
            await clock.advance(5)  # it says so with its next sign of life
            assert (await told(client))["workers"] == {
                "processes": 2, "capabilities": ["print", "render"], "without_capability": True, "led": True
            }  # fmt: skip
        assert (await told(client))["workers"] == alone
