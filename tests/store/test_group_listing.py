"""Lists of workflows, and of what was done in one: filters, order, pages, and work that stays bounded.

It must not know how the rows are found.
"""

from typing import Any

import pytest

from durable_tasks import NewTask, Org, errors
from durable_tasks.store import group_listing
from durable_tasks.testing import ManualClock


async def names(org: Org, **filters: Any) -> list[str]:
    found: list[str] = []
    cursor = None
    while True:
        page = await org.list_workflows(limit=2, cursor=cursor, **filters)
        found += [workflow.name for workflow in page.items]
        cursor = page.next_cursor
        if cursor is None:
            return found


async def test_workflows_are_found_by_text_state_and_space(org: Org) -> None:
    for name, description in (("Survey A", ""), ("other", "a SURVEY too"), ("third", ""), ("survey B", "")):
        made = await org.dag(name, [NewTask(name="x")], description=description, space_id=name[-1].lower())
        if name == "third":
            await org.cancel_workflow(made.id)
    assert await names(org) == ["survey B", "third", "other", "Survey A"]
    assert await names(org, text="survey") == ["survey B", "other", "Survey A"]
    assert await names(org, text="survey", state=["pending", "cancelled"], space_id="a") == ["Survey A"]
    assert await names(org, state="cancelled") == ["third"]
    assert await names(org, text="%") == []
    for wrong in ("", "x" * 257, 7):
        with pytest.raises(errors.InvalidInput):
            await org.list_workflows(text=wrong)  # type: ignore[arg-type]


async def test_a_page_that_has_looked_at_enough_says_where_to_go_on(org: Org, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_listing, "BUDGET", 4)
    for n in range(10):
        await org.dag("needle" if n == 0 else f"{n}", [NewTask(name="x")])
    first = await org.list_workflows(text="needle")
    assert (first.items, first.next_cursor is not None) == ([], True)
    assert await names(org, text="needle") == ["needle"]
    assert len(await names(org)) == 10


async def test_the_attempts_of_a_workflow_oldest_first(org: Org, clock: ManualClock) -> None:
    group = await org.fan_out("g", [NewTask(name=f"m{n}", max_retries=1) for n in range(3)])
    other = await org.fan_out("other", [NewTask(name="m")])
    for _ in range(2):
        for member in await org.workflow_tasks(group.id):
            claim = await org.claim(member.id, agent_id="ann")
            await org.release(member.id, token=claim.token)
        await clock.advance(1)
    (one,) = await org.workflow_tasks(other.id)
    await org.claim(one.id, agent_id="bob")
    members = [task.id for task in await org.workflow_tasks(group.id)]
    found, cursor = [], None
    while True:
        page = await org.workflow_attempts(group.id, limit=2, cursor=cursor)
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    assert [(attempt.task_id, attempt.number) for attempt in found] == [(id, n) for n in (1, 2) for id in members]
    assert {attempt.state for attempt in found} == {"released"}
    with pytest.raises(errors.NotFound):
        await org.workflow_attempts("nobody's")
    first = await org.workflow_attempts(group.id, limit=1)
    for wrong in ("x", first.next_cursor):
        with pytest.raises(errors.InvalidInput):
            await org.workflow_attempts(other.id, cursor=wrong)
