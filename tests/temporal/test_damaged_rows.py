"""Rows of the hand-over to Temporal that are damaged in the file: each costs itself only, and is seen.
They must not be damaged in ways that SQLite itself refuses.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from durable_tasks.models import Placement, Task, TaskState
from durable_tasks.ports import Submission
from durable_tasks.temporal.server import EmbeddedServer
from tests.temporal.desk import ORG, Desk
from tests.temporal.test_engine import running
from tests.temporal.test_reconciler import Counter, counter  # noqa: F401 (a fixture)
from tests.temporal.test_relay import relaying

NO_TEXT = "CAST(x'66ff6f' AS TEXT)"
DAMAGES = {
    "nowhere": "UPDATE dt_submissions SET placement = 'nowhere' WHERE subject_id = :id",
    "gone": "DELETE FROM dt_submissions WHERE subject_id = :id",
    "a group": "UPDATE dt_submissions SET placement = 'group' WHERE subject_id = :id",
    "of others": "UPDATE dt_outbox SET org_id = 'others' WHERE subject_id = :id",
}


def damage(path: Path, sql: str, task: Task) -> None:
    with closing(sqlite3.connect(path)) as conn, conn:
        assert conn.execute(sql, {"id": task.id}).rowcount == 1


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path / "tasks.db")
    await desk.open()
    yield desk
    await desk.store.close()


async def state(desk: Desk, task: Task) -> tuple[TaskState, str | None]:
    found = await desk.store.get(ORG, task.id)
    return found.state, found.error.type if found.error else None


@pytest.mark.parametrize("how", DAMAGES)
async def test_a_start_that_cannot_be_read_is_a_dead_letter_and_holds_up_no_other(
    desk: Desk, temporal_server: EmbeddedServer, how: str
) -> None:
    broken, whole = await desk.add(priority=3), await desk.add()
    damage(desk.store.path, DAMAGES[how], broken)
    async with relaying(desk, temporal_server.address):
        await desk.reaches(lambda: desk.submission_state(whole), "open")
    (letter,) = await desk.store.dead_letters()
    assert (letter.subject_id, letter.error) == (broken.id, "it cannot be read")
    assert await state(desk, broken) == (TaskState.FAILED, "unreadable")
    assert (await desk.store.events(ORG, task_id=broken.id, after=0, limit=9))[-1].kind == "task.failed"
    later = await desk.add()
    assert [errand.ref.subject_id for errand in await desk.errands()] == [later.id]


async def test_many_that_cannot_be_read_fill_no_page(desk: Desk, temporal_server: EmbeddedServer) -> None:
    for _ in range(5):
        broken = await desk.add(priority=3)
        damage(desk.store.path, DAMAGES["nowhere"], broken)
    whole = await desk.add()
    found = await desk.store.submissions(states=("outbox",), after="", limit=2)
    assert [one.ref.subject_id for one in found] == [whole.id]
    async with relaying(desk, temporal_server.address):
        await desk.reaches(lambda: desk.submission_state(whole), "open")
    assert len(await desk.store.dead_letters()) == 5


async def test_text_that_is_no_utf_8_is_sent_all_the_same(desk: Desk, temporal_server: EmbeddedServer) -> None:
    broken = await desk.add()
    damage(desk.store.path, f"UPDATE dt_tasks SET title = {NO_TEXT} WHERE id = :id", broken)
    async with relaying(desk, temporal_server.address):
        await desk.reaches(lambda: desk.submission_state(broken), "open")


@pytest.mark.parametrize("how", ["nowhere", "a group"])
async def test_what_cannot_be_read_is_compared_by_nobody_and_the_others_are(
    counter: Counter,  # noqa: F811
    how: str,
) -> None:
    broken, _ = await counter.submit(really=False)
    missing, _ = await counter.submit(really=False)
    damage(counter.desk.store.path, DAMAGES[how], broken)
    assert [drift.subject_id for drift in await counter.reconciler.drift()] == [missing.id]
    await counter.sweep(minutes=1)
    assert [await counter.desk.generation(task) for task in (broken, missing)] == [1, 2]


async def test_what_cannot_be_mended_keeps_the_sweep_from_no_other(
    counter: Counter,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stuck, _ = await counter.submit(really=False)
    others = [(await counter.submit(really=False))[0] for _ in range(3)]
    resubmit = counter.desk.store.resubmit

    async def breaking(submission: Submission) -> bool:
        if submission.ref.subject_id == stuck.id:
            raise KeyError("a fault of ours")
        return await resubmit(submission)

    monkeypatch.setattr(counter.desk.store, "resubmit", breaking)
    await counter.sweep(minutes=1)
    assert [await counter.desk.generation(task) for task in (stuck, *others)] == [1, 2, 2, 2]


async def test_a_part_that_breaks_is_noted(
    desk: Desk, temporal_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[str] = []
    all_noted = asyncio.Event()

    def note(part: str) -> None:
        noted.append(part)
        if {"temporal relay", "temporal reconciler", "temporal observer", "temporal fleet"} <= {*noted}:
            all_noted.set()

    async def break_down(*_: object, **__: object) -> Any:
        raise AssertionError("a fault of ours")

    for question in ("errands", "tenants", "remote_attempts"):
        monkeypatch.setattr(desk.store, question, break_down)
    async with running(desk, temporal_server.address, note_failure=note), asyncio.timeout(60):
        await all_noted.wait()


async def test_a_worker_that_ends_at_once_is_begun_again_after_a_pause(
    desk: Desk, temporal_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[float] = []
    noted: list[str] = []
    enough = asyncio.Event()

    async def end_at_once(worker: object) -> None:
        begun.append(desk.clock.steady())
        if len(begun) == 4:
            enough.set()
        raise AssertionError("a fault of ours")

    monkeypatch.setattr("durable_tasks.temporal.worker.StoreWorker.run", end_at_once)
    await desk.add(Placement.MANUAL)
    async with running(desk, temporal_server.address, note_failure=noted.append), asyncio.timeout(60):
        await enough.wait()
    assert min(later - earlier for earlier, later in pairwise(begun)) >= 0.2
    assert noted.count("temporal worker") >= 3
