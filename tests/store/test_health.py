"""What an operator is told of the file, and of one organisation: what waits and why, the outbox, dead letters.

It must not know Temporal: the tests send nothing.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from durable_tasks.clock import SystemIds
from durable_tasks.errors import NotFound
from durable_tasks.models import Engine, Mode, NewTask, Placement, Task, TaskState
from durable_tasks.ports import Errand, OutboxKind, Room
from durable_tasks.store.drafts import draft
from durable_tasks.store.health import OrgHealth
from durable_tasks.store.store import Store
from durable_tasks.store.transaction import Rules
from durable_tasks.testing import ManualClock
from tests.store.support import query

ACME, RIVAL = "acme", "rival"


class Desk:
    """A store of the Temporal engine, whose clock the test moves."""

    def __init__(self, path: Path) -> None:
        self.clock = ManualClock()
        rules = Rules(namespace_of=lambda org_id: f"ns-{org_id}")
        self.store = Store(path, clock=self.clock, ids=SystemIds(), rules=rules, patience=5.0)

    async def add(self, placement: Placement = Placement.MANUAL, org_id: str = ACME, **fields: object) -> Task:
        mode = Mode.MANUAL if placement is Placement.MANUAL else Mode.AUTO
        new = NewTask(**{"title": "a task", **fields})  # type: ignore[arg-type]
        return await self.store.create(org_id, draft(new, mode=mode, placement=placement, engine=Engine.TEMPORAL))

    async def errands(self, org_id: str | None = None) -> list[Errand]:
        room = Room(most=99, waiting={}, can_run=lambda capability: True)
        due = await self.store.errands(self.clock.now(), limit=99, room=room, skip=frozenset(), parked=frozenset())
        return [one for one in due.errands if org_id in (None, one.ref.org_id)]

    async def start_all(self) -> None:
        for errand in await self.errands():
            await self.store.acknowledge(errand, run_id="run")

    async def health(self, org_id: str = ACME, *, limit: int = 100) -> OrgHealth:
        return await self.store.org_health(org_id, quiet_for=30, limit=limit)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path / "tasks.db")
    await desk.store.open()
    await desk.store.settle_engine(Engine.TEMPORAL)
    yield desk
    await desk.store.close()


async def test_an_organisation_without_anything(desk: Desk) -> None:
    await desk.add(org_id=RIVAL)
    await desk.clock.advance(60)
    found = await desk.health()
    assert (found.engine, found.tasks, found.waiting, found.more_waiting) == ("temporal", {}, [], False)
    assert (found.outbox.waiting, found.outbox.oldest_at, found.outbox.error) == (0, None, None)


async def test_open_tasks_are_counted_by_state_and_those_that_have_ended_are_not(desk: Desk) -> None:
    first = await desk.add()
    await desk.add(depends_on=[first.id])
    await desk.add(delay="1h")
    done = await desk.add()
    claim = await desk.store.claim(ACME, done.id, "ann", None, None)
    await desk.store.complete(ACME, done.id, None, claim.token, None)
    await desk.add(org_id=RIVAL)
    assert (await desk.health()).tasks == {"pending": 1, "blocked": 1, "scheduled": 1}


async def test_what_waits_is_listed_by_state_and_says_for_what(desk: Desk) -> None:
    later = await desk.add(delay="1h")
    pending = await desk.add()
    urgent = await desk.add(priority="urgent")
    blocked = await desk.add(depends_on=[pending.id])
    held = await desk.add()
    await desk.store.claim(ACME, held.id, "ann", None, None)
    unsent = await desk.add(Placement.EXTERNAL, queue="gpu", capability="render", priority="low")
    await desk.add(org_id=RIVAL, title="secret")
    await desk.clock.advance(60)
    await desk.add(title="new")
    found = await desk.health()
    assert [one.task_id for one in found.waiting] == [held.id, urgent.id, pending.id, unsent.id, later.id, blocked.id]
    said = {one.task_id: one.why for one in found.waiting}
    assert said[held.id] == "'ann', who has claimed it, to start"
    assert said[pending.id] == "a claim"
    assert said[unsent.id] == "its start to be sent to Temporal"
    assert said[blocked.id].startswith("its dependency ")
    of_file = {one.task_id: one for one in (await desk.store.health(quiet_for=30, limit=100)).waiting}
    assert all(of_file[one.task_id] == one for one in found.waiting)
    assert "secret" in {one.title for one in of_file.values()}


async def test_no_more_are_listed_than_asked_for(desk: Desk) -> None:
    for _ in range(4):
        await desk.add()
    await desk.add(delay="1h")
    await desk.clock.advance(60)
    some, all_of_them = await desk.health(limit=4), await desk.health(limit=5)
    assert ([one.state for one in some.waiting], some.more_waiting) == ([TaskState.PENDING] * 4, True)
    assert (len(all_of_them.waiting), all_of_them.more_waiting) == (5, False)


async def test_the_outbox_is_the_organisations_own(desk: Desk) -> None:
    first = await desk.add()
    await desk.start_all()
    await desk.add(org_id=RIVAL)
    await desk.clock.advance(10)
    queued_at = desk.clock.now()
    claim = await desk.store.claim(ACME, first.id, "ann", None, None)  # a sync: older than the start after it
    await desk.clock.advance(10)
    second = await desk.add(Placement.EXTERNAL, queue="gpu")
    (start,) = (one for one in await desk.errands(ACME) if one.ref.subject_id == second.id)
    await desk.store.defer(start, until=desk.clock.now() + 1, error="it is busy")
    (theirs,) = await desk.errands(RIVAL)
    await desk.store.reject(theirs, error="secret")
    await desk.clock.advance(60)
    found = await desk.health()
    assert claim.task.id == first.id
    assert (found.outbox.org_id, found.outbox.waiting, found.outbox.dead_letters) == (ACME, 2, 0)
    assert found.outbox.oldest_at is not None
    assert found.outbox.oldest_at.timestamp() == queued_at
    assert found.outbox.error == "it is busy"
    (waiting,) = (one for one in found.waiting if one.task_id == second.id)
    assert (waiting.why, waiting.error) == ("its start to be sent to Temporal, tried 1 times", "it is busy")
    of_rival, of_file = await desk.health(RIVAL), await desk.store.health(quiet_for=30, limit=100)
    assert (of_rival.outbox.waiting, of_rival.outbox.dead_letters) == (0, 1)
    assert of_file.outboxes == [found.outbox, of_rival.outbox]


async def test_a_dead_letter_is_for_its_own_organisation_to_send_again(desk: Desk) -> None:
    task = await desk.add()
    await desk.add(org_id=RIVAL)
    for errand in await desk.errands():
        await desk.store.reject(errand, error="too large")
    (letter,) = await desk.store.dead_letters(ACME)
    assert (letter.org_id, letter.subject_id, letter.kind) == (ACME, task.id, OutboxKind.START)
    for wrong in (letter.id.replace("start", "sync"), f"{letter.id}:x", task.id, "99", ":", ""):
        with pytest.raises(NotFound):
            await desk.store.redrive(wrong, ACME)
    with pytest.raises(NotFound):
        await desk.store.redrive(letter.id, RIVAL)
    assert await desk.store.redrive(letter.id, ACME) == letter
    assert (await desk.store.get(ACME, task.id)).state is TaskState.PENDING
    assert [one.org_id for one in await desk.store.dead_letters()] == [RIVAL]


async def test_no_more_dead_letters_than_asked_for_the_oldest_first(desk: Desk) -> None:
    made = []
    for _ in range(3):
        made.append((await desk.add()).id)
        (start,) = await desk.errands()
        await desk.store.reject(start, error="too large")
        await desk.clock.advance(1)
    assert [one.subject_id for one in await desk.store.dead_letters(ACME, 2)] == made[:2]


async def test_settled_are_those_that_have_not_moved_and_that_nothing_is_to_be_sent_for(desk: Desk) -> None:
    settled, told, moved = [await desk.add() for _ in range(3)]
    await desk.add(org_id=RIVAL)
    await desk.start_all()
    await desk.clock.advance(60)
    before = desk.clock.now() - 30
    await desk.store.claim(ACME, told.id, "ann", None, None)
    claim = await desk.store.claim(ACME, moved.id, "ann", None, None)
    await desk.store.start(ACME, moved.id, claim.token, None)
    await desk.add()
    found = await desk.store.settled(ACME, before=before, limit=10)
    assert [one.ref.subject_id for one in found] == [settled.id]
    assert await desk.store.settled(ACME, before=before, limit=0) == []
    assert len(await desk.store.settled(RIVAL, before=before, limit=10)) == 1


async def test_a_probe_writes_at_most_once_a_second(desk: Desk) -> None:
    def written() -> str:
        return str(query(desk.store.path, "SELECT value FROM dt_meta WHERE key = 'probed'")[0][0])

    await asyncio.gather(*(desk.store.probe() for _ in range(50)))
    first = written()
    await desk.clock.advance(0.5)
    await desk.store.probe()
    assert written() == first
    await desk.clock.advance(0.5)
    await desk.store.probe()
    assert float(written()) == float(first) + 1.0
