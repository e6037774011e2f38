"""People at tasks: one is taken from its holder and given to another, reserved for groups, and talked about.

It must not test claims as such.
"""

from pathlib import Path

import pytest

from durable_tasks import Claim, NewTask, Org, errors
from tests.store.support import claimed, everything

# ----- reassigning


async def kinds(org: Org, claim: Claim) -> list[str]:
    return [event.kind for event in await org.events(task_id=claim.task.id)]


@pytest.mark.parametrize("started", [False, True])
async def test_what_somebody_holds_is_given_to_another(org: Org, started: bool) -> None:
    claim = await claimed(org, agent="ann", timeout=60)
    if started:
        await org.start(claim.task.id, token=claim.token)
        await org.progress(claim.task.id, 40, token=claim.token)
    task = await org.update(
        claim.task.id, assigned_to="bob", timeout=90, version=(await org.get(claim.task.id)).version
    )
    assert (task.state, task.assigned_to, task.progress, task.started_at) == ("pending", "bob", 0, None)
    for late in (org.complete(task.id, token=claim.token), org.heartbeat(task.id, token=claim.token)):
        with pytest.raises(errors.StaleToken):
            await late
    with pytest.raises(errors.AlreadyClaimed):
        await org.claim(task.id, agent_id="ann")
    assert (await kinds(org, claim))[-2:] == ["task.released", "task.updated"]
    assert (await org.events(task_id=task.id))[-2].data["why"] == "reassigned"
    taken = await org.next(agent_id="bob")
    assert taken is not None
    done = await org.complete(task.id, token=taken.token)
    assert (done.assigned_to, done.retry_count, done.lost_count) == ("bob", 0, 0)
    assert [(one.agent_id, one.state) for one in await org.attempts(task.id)] == [
        ("ann", "released"),
        ("bob", "completed"),
    ]


async def test_given_to_nobody_it_is_anybodys(org: Org) -> None:
    claim = await claimed(org, agent="ann", assigned_to="ann")
    assert (await org.update(claim.task.id, assigned_to=None)).assigned_to is None
    assert await org.next(agent_id="bob") is not None


async def test_given_to_its_holder_it_stays_with_them(org: Org) -> None:
    claim = await claimed(org, agent="ann")
    task = await org.update(claim.task.id, assigned_to="ann")
    assert (task.state, task.assigned_to) == ("claimed", "ann")
    assert (await org.release(task.id, token=claim.token)).assigned_to == "ann"


async def test_an_edit_of_something_else_takes_nothing_from_anybody(org: Org) -> None:
    claim = await claimed(org, agent="ann", assigned_to="ann")
    await org.update(claim.task.id, title="another")
    assert (await org.complete(claim.task.id, token=claim.token)).state == "completed"


async def test_a_refused_edit_takes_nothing_from_anybody(org: Org, db: Path) -> None:
    claim = await claimed(org, agent="ann")
    before = everything(db)
    with pytest.raises(errors.VersionConflict):
        await org.update(claim.task.id, assigned_to="bob", version=claim.task.version + 1)
    assert everything(db) == before


async def test_a_member_is_given_to_another(org: Org) -> None:
    made = await org.fan_out("w", [NewTask(name="a"), NewTask(name="b")], max_parallel=1)
    first, second = await org.workflow_tasks(made.id)
    await org.claim(first.id, agent_id="ann")
    await org.update(first.id, assigned_to="bob")
    claim = await org.next(agent_id="bob")
    assert claim is not None
    assert (claim.task.id, (await org.get(second.id)).state) == (first.id, "blocked")
    await org.complete(first.id, token=claim.token)
    assert (await org.get(second.id)).state == "pending"
