"""Cancelling and retrying many tasks: what fits is changed as if it were done singly, and nothing else.

It must not know how the rows are found.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from durable_tasks import DurableTasks, NewTask, Org, Settings, TaskState, bulk, errors
from durable_tasks.store import listing
from tests.store.support import query


@pytest_asyncio.fixture
async def org(tmp_path: Path) -> AsyncIterator[Org]:
    async with DurableTasks(Settings(db=tmp_path / "tasks.db")) as tasks:
        yield tasks.org("acme")


async def states(org: Org) -> dict[str, TaskState]:
    return {task.title: task.state for task in (await org.list(limit=1000)).items}


async def kinds(org: Org, title: str) -> list[str]:
    (task,) = (await org.list(text=title)).items
    return [event.kind for event in await org.events(task_id=task.id)]


async def failed(org: Org, title: str, **fields: Any) -> str:
    made = await org.create(title, mode="manual", **fields)
    claim = await org.claim(made.id, agent_id="ann")
    await org.fail(made.id, "no", token=claim.token)
    return made.id


async def test_what_fits_is_cancelled_and_nothing_else(org: Org) -> None:
    await org.create("wanted", mode="manual", labels=["a"])
    held = await org.create("held", mode="manual", labels=["a"])
    claim = await org.claim(held.id, agent_id="ann")
    await org.create("follows", mode="manual", depends_on=[held.id])
    await org.create("other", mode="manual", labels=["b"])
    await failed(org, "ended", labels=["a"])
    foreseen = await org.cancel_many(labels=["a"], dry_run=True)
    assert (foreseen.dry_run, foreseen.matched, foreseen.changed, foreseen.more) == (True, 2, 0, False)
    assert set((await states(org)).values()) == {"pending", "claimed", "blocked", "failed"}
    done = await org.cancel_many(labels=["a"], reason="not needed")
    assert (done.dry_run, done.matched, done.changed, done.more, done.next_cursor) == (False, 2, 2, False, None)
    assert await states(org) == {
        "wanted": "cancelled", "held": "cancelled", "follows": "cancelled", "other": "pending", "ended": "failed",
    }  # fmt: skip
    assert await kinds(org, "wanted") == ["task.created", "task.cancelled"]
    assert (await org.get(held.id)).reason == "not needed"
    with pytest.raises(errors.Conflict):
        await org.complete(held.id, token=claim.token)
    assert (await org.cancel_many(labels=["a"])).matched == 0


async def test_what_failed_or_was_cancelled_is_retried(org: Org) -> None:
    await failed(org, "failed", capability="scan")
    cancelled = await org.create("cancelled", mode="manual", capability="scan")
    await org.cancel(cancelled.id)
    await failed(org, "other")
    assert (await org.retry_many(capability="scan", state="failed")).changed == 1
    assert await states(org) == {"failed": "pending", "cancelled": "cancelled", "other": "failed"}
    assert (await org.retry_many(capability="scan", state=["pending", "cancelled"])).changed == 1
    assert await kinds(org, "cancelled") == ["task.created", "task.cancelled", "task.retried"]
    for nothing in ("pending", "completed"):
        for dry_run in (True, False):
            assert (await org.retry_many(state=nothing, dry_run=dry_run)).matched == 0


async def test_one_that_refuses_holds_up_no_other(org: Org) -> None:
    await failed(org, "a", labels=["x"])
    group = await org.pipeline("g", [NewTask(name="member", labels=("x",))])
    (member,) = await org.workflow_tasks(group.id)
    claim = await org.claim(member.id, agent_id="ann")
    await org.fail(member.id, "no", token=claim.token)
    await failed(org, "b", labels=["x"])
    done = await org.retry_many(labels=["x"])
    assert (done.matched, done.changed, done.more) == (3, 2, False)
    assert await states(org) == {"a": "pending", "member": "failed", "b": "pending"}
    assert (await org.get_workflow(group.id)).state == "failed"


async def test_one_that_falls_with_another_is_cancelled_once(org: Org) -> None:
    made = await org.create_many([NewTask(name=f"n{n}", depends_on=(f"n{n - 1}",) if n else ()) for n in range(5)])
    done = await org.cancel_many(ids=[task.id for task in made])
    assert (done.matched, done.changed) == (5, 1)
    assert set((await states(org)).values()) == {"cancelled"}
    assert await kinds(org, "n4") == ["task.created", "task.cancelled"]


async def test_a_task_that_moved_meanwhile_is_left_alone(org: Org, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(3):
        await org.create(f"{n}", mode="manual")
    store = org._host.store
    change_many = store.change_many

    async def claim_first(*asked: Any) -> int:
        await org.next(agent_id="ann")
        return await change_many(*asked)

    monkeypatch.setattr(store, "change_many", claim_first)
    done = await org.cancel_many(state="pending")
    assert (done.matched, done.changed) == (3, 2)
    assert await states(org) == {"0": "claimed", "1": "cancelled", "2": "cancelled"}


async def test_pages_go_on_where_the_last_ended(org: Org, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "BUDGET", 10)
    monkeypatch.setattr(bulk, "_LOOKS", 2)
    await org.create_many([NewTask(name=f"n{n}", mode="manual") for n in range(45)])  # type: ignore[arg-type]
    await org.create_many([NewTask(name=f"wanted {n}", mode="manual") for n in range(5)])  # type: ignore[arg-type]
    changed, cursor, calls = [], None, 0
    while calls == 0 or cursor is not None:
        done = await org.cancel_many(text="wanted", cursor=cursor, limit=3)
        assert done.more is (done.next_cursor is not None)
        changed.append(done.changed)
        cursor, calls = done.next_cursor, calls + 1
    assert (changed[:2], sum(changed)) == ([0, 0], 5)
    assert (await org.count(state="cancelled")).counts == {"cancelled": 5}


async def test_others_are_served_between_the_steps(org: Org, tmp_path: Path) -> None:
    """Many small transactions: a claim that is made meanwhile is committed before the last of them."""
    await org.create_many([NewTask(name=f"n{n}", mode="manual", labels=("x",)) for n in range(400)])  # type: ignore[arg-type]
    await org.create("urgent", mode="manual", priority="urgent")
    cancelling = asyncio.create_task(org.cancel_many(labels=["x"]))
    while (await org.count(state="cancelled")).counts == {}:
        assert not cancelling.done()
    assert await org.next(agent_id="ann") is not None
    assert (await cancelling).changed == 400
    order = query(tmp_path / "tasks.db", "SELECT seq FROM dt_events WHERE kind = 'task.claimed'")
    assert order[0][0] < query(tmp_path / "tasks.db", "SELECT MAX(seq) FROM dt_events")[0][0]


@pytest.mark.parametrize(
    "asked", [{}, {"labels": []}, {"state": "pending", "limit": 0}, {"state": "open"}, {"text": "x", "cursor": "x"}]
)
async def test_without_a_filter_nothing_is_changed(org: Org, asked: Any) -> None:
    await org.create("x", mode="manual")
    await failed(org, "y")
    for change in (org.cancel_many, org.retry_many):
        with pytest.raises(errors.InvalidInput):
            await change(**asked)
    assert await states(org) == {"x": "pending", "y": "failed"}
