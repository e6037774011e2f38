"""Whose a task is: what is reserved for somebody or held by somebody, others leave alone unless they created it.

It must not know roles: `names` says as whom somebody may act.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from durable_tasks import NewTask, Org, errors
from tests.store.support import claimed

Act = Callable[[Org, str], Awaitable[Any]]

ACTS: dict[str, Act] = {
    **{
        name: lambda org, task_id, name=name, value=value: org.update(task_id, **{name: value})  # type: ignore[misc]
        for name, value in {
            "title": "pay eve",
            "description": "much",
            "metadata": {"sum": 9},
            "deadline": 1,
            "timeout": 1,
            "labels": ["x"],
            "priority": 3,
            "assigned_to": "eve",
        }.items()
    },
    "cancel": lambda org, task_id: org.cancel(task_id),
}


def acting(org: Org, name: str, *names: str) -> Org:
    return org.by(name, names=[name, *names])


@pytest.mark.parametrize("assigned", ["ann", "group:legal"])
@pytest.mark.parametrize("act", ACTS)
async def test_what_is_reserved_is_changed_by_whom_it_is_for_and_its_creator(org: Org, act: str, assigned: str) -> None:
    for somebody in (acting(org, "ann", "group:legal"), acting(org, "boss"), org):
        task = await acting(org, "boss").create("approve", assigned_to=assigned)
        with pytest.raises(errors.Forbidden, match=f"reserved for '{assigned}'"):
            await ACTS[act](acting(org, "eve"), task.id)
        assert await org.get(task.id) == task
        assert (await ACTS[act](somebody, task.id)).version > task.version


@pytest.mark.parametrize("act", ACTS)
async def test_what_is_held_is_changed_by_its_holder(org: Org, act: str) -> None:
    for somebody in (acting(org, "ann"), org):
        task = await acting(org, "boss").create("approve")
        held = (await org.claim(task.id, agent_id="ann")).task
        for other in (acting(org, "eve"), acting(org, "boss")):
            with pytest.raises(errors.Forbidden, match="held by 'ann'"):
                await ACTS[act](other, task.id)
        assert await org.get(task.id) == held
        assert (await ACTS[act](somebody, task.id)).version > held.version


async def test_what_has_ended_is_run_again_by_whom_it_is_for_and_its_creator(org: Org) -> None:
    for somebody in (acting(org, "ann"), acting(org, "boss"), org):
        task = await acting(org, "boss").create("approve", assigned_to="ann")
        await org.cancel(task.id)
        with pytest.raises(errors.Forbidden, match="may retry it"):
            await acting(org, "eve").retry(task.id)
        assert (await somebody.retry(task.id)).state == "pending"


@pytest.mark.parametrize("left", [0, 1], ids=["failed", "retrying"])
async def test_what_was_rejected_is_asked_again_but_not_taken_by_its_creator(org: Org, left: int) -> None:
    boss = acting(org, "boss")
    task = await boss.create("approve", assigned_to="ann", max_retries=left)
    claim = await org.claim(task.id, agent_id="ann")
    await org.fail(task.id, "no", token=claim.token)
    if not left:
        task = await boss.retry(task.id)
        assert (task.state, task.assigned_to) == ("pending", "ann")
    before = await org.get(task.id)
    for change in ({"assigned_to": "boss"}, {"assigned_to": None}, {"title": "harmless"}):
        with pytest.raises(errors.Forbidden, match="reserved for 'ann', and an attempt has failed"):
            await boss.update(task.id, **change)
    assert await org.get(task.id) == before
    assert (await acting(org, "ann").update(task.id, assigned_to="boss")).assigned_to == "boss"
    assert (await boss.update(task.id, title="mine now")).title == "mine now"


async def test_what_was_given_back_is_still_its_creators(org: Org) -> None:
    boss = acting(org, "boss")
    task = await boss.create("approve", assigned_to="ann")
    claim = await org.claim(task.id, agent_id="ann")
    await org.release(task.id, token=claim.token)
    assert (await boss.update(task.id, assigned_to="ben")).assigned_to == "ben"


async def test_what_is_nobodys_is_everybodys(org: Org) -> None:
    eve = acting(org, "eve")
    failed = await claimed(org, agent="ann")
    await org.fail(failed.task.id, "no", token=failed.token)
    assert (await eve.retry(failed.task.id)).state == "pending"
    assert (await eve.update(failed.task.id, title="new")).title == "new"
    assert (await eve.cancel(failed.task.id)).state == "cancelled"


@pytest.mark.parametrize("held", [True, False])
async def test_a_workflow_with_what_is_anothers_is_called_off_by_whoever_created_it(org: Org, held: bool) -> None:
    for somebody in (acting(org, "boss"), acting(org, "ann"), org):
        workflow = await acting(org, "boss").fan_out("pay", [NewTask(title="a"), NewTask(title="b")])
        task = (await org.list(workflow_id=workflow.id)).items[0]
        if held:
            await org.claim(task.id, agent_id="ann")
        else:
            await org.update(task.id, assigned_to="ann")
        whose = "held by 'ann'" if held else "reserved for 'ann'"
        before = await org.get_workflow(workflow.id)
        with pytest.raises(errors.Forbidden, match=f"task {task.id} is {whose}.* may cancel it"):
            await acting(org, "eve").cancel_workflow(workflow.id)
        assert await org.get_workflow(workflow.id) == before
        assert (await somebody.cancel_workflow(workflow.id)).state == "cancelled"


async def test_a_workflow_with_what_is_anothers_is_reopened_by_whoever_created_it(org: Org) -> None:
    workflow = await acting(org, "boss").fan_out("pay", [NewTask(title="a", assigned_to="ann"), NewTask(title="b")])
    await org.cancel_workflow(workflow.id)
    with pytest.raises(errors.Forbidden, match=r"reserved for 'ann'.* may retry it"):
        await acting(org, "eve").retry_workflow(workflow.id)
    assert (await org.get_workflow(workflow.id)).state == "cancelled"
    assert (await acting(org, "boss").retry_workflow(workflow.id)).state == "running"


async def test_a_workflow_that_is_nobodys_is_everybodys(org: Org) -> None:
    workflow = await acting(org, "boss").fan_out("pay", [NewTask(title="a"), NewTask(title="b", assigned_to="ann")])
    own, anns = sorted((await org.list(workflow_id=workflow.id)).items, key=lambda task: task.title)
    claim = await org.claim(anns.id, agent_id="ann")
    await org.complete(anns.id, token=claim.token)
    await org.claim(own.id, agent_id="eve")
    assert (await acting(org, "eve").cancel_workflow(workflow.id)).state == "cancelled"
    assert (await acting(org, "bob").retry_workflow(workflow.id)).state == "running"


async def test_of_many_those_of_others_stay_as_they_are(org: Org) -> None:
    await org.create_many([NewTask(name="a", labels=("x",), assigned_to="ann"), NewTask(name="b", labels=("x",))])
    changed = await acting(org, "eve").cancel_many(labels=["x"])
    assert (changed.matched, changed.changed) == (2, 1)


async def test_what_was_edited_is_on_record(org: Org) -> None:
    task = await org.create("approve")
    for title in ("one", "two", "one"):
        await org.update(task.id, title=title)
    hashes = [event.data["values_hash"] for event in await org.events(task_id=task.id) if event.kind == "task.updated"]
    assert hashes[0] == hashes[2] != hashes[1]
