"""People at tasks: one is taken from its holder and given to another, reserved for groups, and talked about.

It must not test claims as such.
"""

import time
from pathlib import Path
from typing import Any

import pytest

from durable_tasks import Claim, DurableTasks, NewTask, Org, errors
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


# ----- groups


async def test_a_member_takes_what_is_the_groups(org: Org) -> None:
    await org.create("for sales", assigned_to="group:sales", priority="urgent")
    legal = await org.create("for legal", assigned_to="group:legal")
    await org.create("for all", priority="low")
    assert legal.assigned_to == "group:legal"
    claim = await org.next(agent_id="ann", groups=["legal", "board"])
    assert claim is not None
    assert (claim.task.id, claim.task.assigned_to) == (legal.id, "ann")
    released = await org.release(legal.id, token=claim.token)
    assert released.assigned_to == "group:legal"
    assert (await org.claim(legal.id, agent_id="bob", groups={"legal"})).task.assigned_to == "bob"


async def test_nobody_else_takes_it(org: Org, db: Path) -> None:
    task = await org.create("for legal", assigned_to="group:legal")
    before = everything(db)
    for agent, groups in (("ann", ()), ("ann", ("sales", "leg", "group:legal")), ("legal", ())):
        assert await org.next(agent_id=agent, groups=groups) is None
        with pytest.raises(errors.AlreadyClaimed) as caught:
            await org.claim(task.id, agent_id=agent, groups=groups)
        assert caught.value.assigned_to == "group:legal"
    for call in (
        org.claim(task.id, agent_id="group:legal"), org.next(agent_id="group:legal"),
        org.next_many(1, agent_id="group:legal"),
        org.next(agent_id="ann", groups="legal"), org.next(agent_id="ann", groups=[""]),
        org.next(agent_id="ann", groups=[f"g{n}" for n in range(501)]),
        org.create("x", assigned_to="group:"), org.update(task.id, assigned_to="group:"),
    ):  # fmt: skip
        with pytest.raises(errors.InvalidInput):
            await call
    malformed: list[Any] = [None, 5, [5], [["legal"]]]
    for groups in malformed:  # signals and updates of Temporal bring whatever their senders write
        with pytest.raises(errors.InvalidInput):
            await org.claim(task.id, agent_id="ann", groups=groups)
    assert everything(db) == before


async def test_what_a_member_holds_is_nobody_elses(org: Org) -> None:
    task = await org.create("for legal", assigned_to="group:legal")
    await org.claim(task.id, agent_id="ann", groups=["legal"])
    with pytest.raises(errors.AlreadyClaimed):
        await org.claim(task.id, agent_id="bob", groups=["legal"])


async def test_it_is_given_back_to_the_group(org: Org) -> None:
    task = await org.create("for legal", assigned_to="group:legal")
    await org.claim(task.id, agent_id="ann", groups=["legal"])
    task = await org.update(task.id, assigned_to="group:legal")
    assert (task.state, task.assigned_to) == ("pending", "group:legal")


async def test_the_most_urgent_of_many_groups_comes_first(org: Org) -> None:
    """However many groups and capabilities, nobody else's write waits long for who asks for them."""
    groups, able = [f"g{n}" for n in range(500)], [f"c{n}" for n in range(99)]
    for n, priority in ((0, 1), (77, 3), (499, 2), (120, 3)):
        await org.create(f"{n}", assigned_to=f"group:g{n}", priority=priority, mode="manual", capability=f"c{n % 99}")
    await org.create("plain", assigned_to="group:g5")
    began = time.process_time()
    claims = await org.next_many(9, agent_id="ann", groups=groups, capabilities=able)
    assert time.process_time() - began < 2
    assert [claim.task.title for claim in claims] == ["77", "120", "499", "0", "plain"]


async def test_a_repeated_next_is_answered_again_whatever_the_groups_are_by_then(org: Org) -> None:
    await org.create("for legal", assigned_to="group:legal")
    first = await org.next(agent_id="ann", groups=["legal"], command_id="c")
    assert first is not None
    assert await org.next(agent_id="ann", command_id="c") == first


async def test_completing_and_taking_the_next_of_the_group(org: Org) -> None:
    claim = await claimed(org, agent="ann")
    await org.create("for legal", assigned_to="group:legal")
    _, after = await org.complete_and_next(claim.task.id, token=claim.token, agent_id="ann", groups=["legal"])
    assert after is not None


# ----- comments


async def test_what_is_said_is_kept_among_the_events_and_changes_nothing_else(org: Org) -> None:
    claim = await claimed(org, agent="ann")
    first = await org.comment(claim.task.id, "which one?", author="bob")
    assert (first.kind, first.task_id, first.data["by"], first.data["text"]) == (
        "task.commented", claim.task.id, "bob", "which one?",
    )  # fmt: skip
    assert await org.get(claim.task.id) == claim.task
    await org.complete(claim.task.id, token=claim.token)
    last = await org.comment(claim.task.id, "ä" * 8192)
    assert last.data["by"] is None
    assert [event for event in await org.events(task_id=claim.task.id) if event.kind == "task.commented"] == [
        first, last,
    ]  # fmt: skip


async def test_a_comment_is_said_once(org: Org, db: Path) -> None:
    task = await org.create("x")
    first = await org.comment(task.id, "one", author="ann", command_id="c")
    before = everything(db)
    assert await org.comment(task.id, "one", author="ann", command_id="c") == first
    with pytest.raises(errors.IdempotencyConflict):
        await org.cancel(task.id, command_id="c")
    assert everything(db) == before


async def test_a_comment_on_nothing_or_of_nothing_is_refused(org: Org, tasks: DurableTasks, db: Path) -> None:
    task = await org.create("x")
    before = everything(db)
    bad: list[Any] = ["", "x" * 8193, 5, "\ud800"]
    for wrong in bad:
        with pytest.raises(errors.InvalidInput):
            await org.comment(task.id, wrong)
    with pytest.raises(errors.InvalidInput):
        await org.comment(task.id, "x", author="")
    for stranger in (org.comment("nobody", "x"), tasks.org("umbrella").comment(task.id, "x")):
        with pytest.raises(errors.NotFound):
            await stranger
    assert everything(db) == before
