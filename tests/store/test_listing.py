"""Lists and counts: which tasks each filter means, pages in order, and work that stays bounded.

It must not know how the rows are found.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from durable_tasks import DurableTasks, NewTask, Org, Settings, Task, TaskState, errors
from durable_tasks.store import listing
from durable_tasks.testing import ManualClock


async def titles(org: Org, **filters: Any) -> list[str]:
    """What every page of the list has; counting finds as many."""
    found: list[str] = []
    cursor = None
    while True:
        page = await org.list(limit=2, cursor=cursor, **filters)
        found += [task.title for task in page.items]
        cursor = page.next_cursor
        if cursor is None:
            counted = await org.count(**filters)
            assert (counted.complete, sum(counted.counts.values())) == (True, len(found))
            return found


async def make(org: Org, title: str, **fields: Any) -> Task:
    return await org.create(title, mode="manual", **fields)


async def test_the_order_of_a_list_holds_over_states_and_pages(org: Org) -> None:
    for number, priority in enumerate((1, 3, 0, 1, 2, 3, 0, 1)):
        await make(org, f"{number}", priority=priority)
    await org.next(agent_id="ann")
    await org.claim((await org.list(priority="low", limit=1)).items[0].id, agent_id="ann")
    assert await titles(org) == ["1", "5", "4", "0", "3", "7", "2", "6"]
    assert await titles(org, priority=["low", "urgent"]) == ["1", "5", "2", "6"]
    assert await titles(org, state="claimed") == ["1", "2"]
    assert await titles(org, state=["claimed", "pending"], priority=1) == ["0", "3", "7"]


async def test_text_is_found_in_title_and_description_whatever_its_case(org: Org) -> None:
    await make(org, "Read the Contract")
    await make(org, "Sign", description="once it was READ")
    await make(org, "ÄNDERUNG prüfen")
    await make(org, "100% done_")
    assert await titles(org, text="read") == ["Read the Contract", "Sign"]
    assert await titles(org, text="änderung") == await titles(org, text="Änderung") == ["ÄNDERUNG prüfen"]
    assert await titles(org, text="0%") == await titles(org, text="E_") == ["100% done_"]
    for nothing in ("%", "_"):
        assert await titles(org, text=nothing) == ["100% done_"]
    for nothing in ("*", "Read*", "a_d", "'", "\\"):
        assert await titles(org, text=nothing) == []


async def test_what_waits_for_somebody(org: Org) -> None:
    held = await make(org, "held by ann")
    await org.claim(held.id, agent_id="ann")
    await make(org, "reserved for ann", assigned_to="ann")
    await make(org, "for anybody")
    await make(org, "for the group", assigned_to="group:legal")
    await make(org, "reserved, and not ready", assigned_to="ann", delay="1h")
    await make(org, "not ready", delay="1h")
    bobs = await make(org, "held by bob")
    await org.claim(bobs.id, agent_id="bob")
    await make(org, "reserved for bob", assigned_to="bob")
    ended = await make(org, "over", assigned_to="ann")
    await org.cancel(ended.id)
    await org.create("automatic", mode="auto", capability="x")
    anns = ["held by ann", "reserved for ann", "for anybody", "reserved, and not ready"]
    assert await titles(org, waiting_for=["ann"]) == anns
    assert sorted(await titles(org, waiting_for=["ann", "group:legal"])) == sorted([*anns, "for the group"])
    assert await titles(org, waiting_for=["ann"], state="claimed") == ["held by ann"]
    assert await titles(org, waiting_for=["nobody"]) == ["for anybody"]


async def test_a_released_task_waits_for_whom_it_was_reserved_for(org: Org) -> None:
    made = await make(org, "x", assigned_to="ann")
    claim = await org.claim(made.id, agent_id="ann")
    await org.release(made.id, token=claim.token)
    assert await titles(org, waiting_for=["ann"]) == ["x"]
    assert await titles(org, waiting_for=["bob"]) == []


async def test_overdue_is_what_was_not_done_by_its_deadline(org: Org, clock: ManualClock) -> None:
    await make(org, "missed", deadline="1h")
    done = await make(org, "done in time", deadline="1h")
    claim = await org.claim(done.id, agent_id="ann")
    await org.complete(done.id, token=claim.token)
    failed = await make(org, "failed in time", deadline="1h")
    claim = await org.claim(failed.id, agent_id="ann")
    await org.fail(failed.id, "no", token=claim.token)
    await make(org, "later", deadline="3h")
    await make(org, "never due")
    assert await titles(org, overdue=True) == []
    await clock.advance(timedelta(hours=2).total_seconds())
    assert await titles(org, overdue=True) == ["missed"]
    assert sorted(await titles(org, overdue=False)) == ["done in time", "failed in time", "later", "never due"]


async def test_the_other_filters(org: Org) -> None:
    parent = await make(org, "parent", created_by="ann", space_id="legal")
    await make(org, "child", parent_task_id=parent.id, labels=["a", "b"])
    await make(org, "urgent child", parent_task_id=parent.id, priority="urgent", assigned_to="bob")
    await org.create("automatic", mode="auto", capability="x")
    group = await org.fan_out("g", [NewTask(name="m1"), NewTask(name="m2", priority="high")], max_parallel=1)  # type: ignore[arg-type]
    assert await titles(org, parent_task_id=parent.id) == ["urgent child", "child"]
    assert await titles(org, parent_task_id=parent.id, labels=["b", "a"]) == ["child"]
    assert await titles(org, parent_task_id=parent.id, state="claimed") == []
    assert await titles(org, mode="auto") == ["automatic"]
    assert await titles(org, created_by="ann") == await titles(org, space_id="legal") == ["parent"]
    assert await titles(org, capability="x") == ["automatic"]
    assert await titles(org, assigned_to="bob") == ["urgent child"]
    assert await titles(org, workflow_id=group.id) == ["m2", "m1"]
    assert await titles(org, workflow_id=group.id, state="blocked") == ["m2"]
    some = [task.id for task in (await org.list(limit=1000)).items]
    assert await titles(org, ids=some[:3], priority="urgent") == ["urgent child"]
    assert len(await titles(org, ids=some[:5])) == 5
    assert await titles(org, ids=["nobody's"]) == []


async def test_another_organisations_tasks_are_in_no_list(tmp_path: Path) -> None:
    async with DurableTasks(Settings(db=tmp_path / "tasks.db")) as tasks:
        theirs = await make(tasks.org("rival"), "secret", labels=["a"])
        await make(tasks.org("rival"), "secret child", parent_task_id=theirs.id)
        group = await tasks.org("rival").fan_out("g", [NewTask(name="secret member")])
        acme = tasks.org("acme")
        ways: list[dict[str, Any]] = [
            {}, {"ids": [theirs.id]}, {"parent_task_id": theirs.id}, {"workflow_id": group.id}, {"waiting_for": ["x"]},
            {"text": "secret"}, {"labels": ["a"]},
        ]  # fmt: skip
        for filters in ways:
            assert await titles(acme, **filters) == []


@pytest.fixture
def small_budget(monkeypatch: pytest.MonkeyPatch) -> int:
    """Rows that a page may look at."""
    monkeypatch.setattr(listing, "BUDGET", 10)
    monkeypatch.setattr(listing, "COUNT_BUDGET", 10)
    return 10


async def test_a_page_that_has_looked_at_enough_says_where_to_go_on(org: Org, small_budget: int) -> None:
    await org.create_many([NewTask(name=f"n{n}", mode="manual", priority=n % 4) for n in range(40)])  # type: ignore[arg-type]
    await make(org, "needle", priority="low")
    sizes, found, cursor = [], [], None
    while True:
        page = await org.list(text="needle", cursor=cursor)
        sizes.append(len(page.items))
        found += [task.title for task in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == ["needle"]
    assert sizes == [0, 0, 0, 0, 1]
    assert len((await org.list(limit=40)).items) == 40  # nothing is looked at in vain
    counted = await org.count(text="n", state="pending")
    assert (counted.counts, counted.complete) == ({TaskState.PENDING: small_budget}, False)
    assert (await org.count()).complete


async def test_pages_end_though_their_last_row_has_moved(org: Org) -> None:
    for title in "abcd":
        await make(org, title)
    page = await org.list(limit=2)
    await org.cancel(page.items[1].id)
    rest = await org.list(state="pending", cursor=page.next_cursor)
    assert [task.title for task in rest.items] == ["c", "d"]


@pytest.mark.parametrize(
    "filters",
    [
        {"text": ""}, {"text": "x" * 257}, {"text": "\ud800"}, {"ids": ["x"] * 101}, {"ids": "x"}, {"mode": "other"},
        {"overdue": "perhaps"}, {"waiting_for": "ann"}, {"unknown": 1}, {"state": "open"},
    ],
)  # fmt: skip
async def test_a_filter_that_means_nothing_is_refused(org: Org, filters: Any) -> None:
    for ask in (org.list, org.count):
        with pytest.raises(errors.InvalidInput):
            await ask(**filters)


async def test_a_search_looks_at_so_much_text_and_says_where_to_go_on(
    org: Org, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "LOOKED_AT", 10_000)
    long = "Ä needle in a haystack " + "x" * 4000
    made = [await make(org, f"n{n}", description=long if n == 6 else "x" * 4000) for n in range(9)]
    sizes, found, cursor = [], list[str](), None
    while True:
        page = await org.list(text="ä NEEDLE", cursor=cursor)
        sizes.append(len(page.items))
        found += [task.id for task in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == [made[6].id]
    assert sizes == [0, 0, 1, 0]
    counted = await org.count(text="x")
    assert (counted.counts, counted.complete) == ({TaskState.PENDING: 3}, False)
    assert (await org.list(text="needle", workflow_id="none")).items == []


async def test_a_search_does_not_go_from_the_title_into_the_description(org: Org) -> None:
    await make(org, "one", description="two")
    for text in ("onetwo", "one two", "ne\ntw"):
        assert (await org.list(text=text)).items == []


async def test_searching_among_the_members_of_a_group(org: Org, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "LOOKED_AT", 10_000)
    members = [NewTask(name=f"n{n}", mode="manual", description="x" * 4000) for n in range(5)]  # type: ignore[arg-type]
    group = await org.fan_out("all", members)
    first = await org.list(text="XX", workflow_id=group.id)
    rest = await org.list(text="XX", workflow_id=group.id, cursor=first.next_cursor)
    assert [task.name for task in (*first.items, *rest.items)] == [f"n{n}" for n in range(5)]
    assert len(first.items) == 3
