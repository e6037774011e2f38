"""Claiming: who gets what in which order, once; leases, reservations, repeats, and calls cancelled midway.

It must not know groups or handlers.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from durable_tasks import Claim, DurableTasks, NewTask, Org, Priority, errors
from durable_tasks.client import Client
from durable_tasks.instants import utc
from durable_tasks.models import DEFAULT_LEASE
from durable_tasks.operations.requests import ClaimTask, NextTask
from durable_tasks.testing import ManualClock
from tests.store.support import AGENT, claimed, everything, opened, query, states, time_of, within

AGENTS = 20


async def drain(org: Org, agent: str, got: list[Claim], **options: Any) -> None:
    while (claim := await org.next(agent_id=agent, **options)) is not None:
        got.append(claim)
        await org.complete(claim.task.id, token=claim.token)


async def test_agents_at_once_get_every_task_once_and_in_order(org: Org) -> None:
    wanted = await org.create_many([NewTask(title=f"t{n}", priority=Priority(n % 4)) for n in range(200)])
    got: list[Claim] = []
    await asyncio.gather(*(drain(org, f"agent-{n}", got) for n in range(AGENTS)))
    assert len({claim.token for claim in got}) == 200
    order = sorted(range(200), key=lambda n: (-(n % 4), n))
    assert {claim.task.id for claim in got} == {task.id for task in wanted}
    events = [e.task_id for e in await org.events(limit=1000) if e.kind == "task.claimed"]
    assert events == [wanted[n].id for n in order]
    assert [len(await org.attempts(task.id)) for task in wanted] == [1] * 200


async def test_two_instances_on_one_file_share_a_queue(db: Path) -> None:
    got: list[Claim] = []
    async with opened(db) as one, opened(db) as two:
        await one.org().create_many([NewTask(title=f"t{n}") for n in range(60)])
        await within(asyncio.gather(*(drain(side.org(), f"agent-{n}", got) for n in range(4) for side in (one, two))))
        assert await one.store.audit() == []
    assert len({claim.task.id for claim in got}) == len(got) == 60


async def test_next_many_gives_a_slice_of_the_same_order(org: Org) -> None:
    made = await org.create_many([NewTask(title=f"t{n}", priority=Priority(int(p))) for n, p in enumerate("0123012")])
    claims = await org.next_many(3, agent_id=AGENT)
    assert [claim.task.id for claim in claims] == [made[3].id, made[2].id, made[6].id]
    assert len(await org.next_many(100, agent_id=AGENT)) == 4
    assert await org.next_many(100, agent_id=AGENT) == []


async def test_a_released_task_keeps_its_place(org: Org) -> None:
    first, second = await org.create("first"), await org.create("second")
    claim = await org.next(agent_id=AGENT)
    assert claim is not None
    await org.release(claim.task.id, token=claim.token)
    assert [c.task.id for c in await org.next_many(2, agent_id=AGENT)] == [first.id, second.id]


@pytest.mark.parametrize(
    ("asked", "given_tasks"),
    [
        (None, ["code", "none", "text"]),
        (["code"], ["code", "none"]),
        (["text", "code"], ["code", "none", "text"]),
        (["text", "text"], ["none", "text"]),
        (["other"], ["none"]),
        ([], ["none"]),
    ],
)
async def test_capabilities(org: Org, asked: list[str] | None, given_tasks: list[str]) -> None:
    for name in ("code", "none", "text"):
        await org.create(name, mode="manual", capability=None if name == "none" else name)
    claims = await org.next_many(9, agent_id=AGENT, capabilities=asked)
    assert [claim.task.title for claim in claims] == given_tasks


async def test_capabilities_keep_the_order_of_priority_and_age(org: Org) -> None:
    for title, capability, priority in [("a", "x", 0), ("b", None, 2), ("c", "y", 3), ("d", "x", 2), ("e", None, 0)]:
        await org.create(title, mode="manual", capability=capability, priority=priority)
    claims = await org.next_many(9, agent_id=AGENT, capabilities=["x"])
    assert [claim.task.title for claim in claims] == ["b", "d", "a", "e"]


async def test_agents_see_neither_other_spaces_nor_other_organisations_nor_handlers_tasks(tasks: DurableTasks) -> None:
    await tasks.org("acme").create("elsewhere", space_id="other")
    await tasks.org("rival").create("foreign")
    await tasks.org("acme").create("automatic", capability="x")
    assert await tasks.org("acme").next(agent_id=AGENT) is None
    claim = await tasks.org("acme").next(agent_id=AGENT, space_id="other")
    assert claim is not None
    assert claim.task.title == "elsewhere"


async def test_a_reserved_task_goes_to_its_agent_only(org: Org, db: Path) -> None:
    task = await org.create("for bob", assigned_to="bob", priority="urgent")
    await org.create("for all")
    before = everything(db)
    with pytest.raises(errors.AlreadyClaimed, match="bob") as caught:
        await org.claim(task.id, agent_id="alice")
    assert (caught.value.assigned_to, caught.value.task_id) == ("bob", task.id)
    assert everything(db) == before
    assert titles(await org.next_many(9, agent_id="alice")) == ["for all"]
    assert titles(await org.next_many(9, agent_id="bob")) == ["for bob"]


async def test_a_reservation_survives_release_and_can_be_moved(org: Org) -> None:
    task = await org.create("for bob", assigned_to="bob")
    claim = await org.claim(task.id, agent_id="bob")
    assert (await org.release(task.id, token=claim.token)).assigned_to == "bob"
    assert await org.next(agent_id="alice") is None
    assert (await org.update(task.id, assigned_to="alice")).assigned_to == "alice"
    assert await org.next(agent_id="bob") is None
    await org.update(task.id, assigned_to=None)
    assert titles(await org.next_many(2, agent_id="carol")) == ["for bob"]


def titles(claims: Any) -> list[str]:
    return [claim.task.title for claim in claims]


async def test_a_lease_ends_without_heartbeats(tasks: DurableTasks, org: Org) -> None:
    task, token, expires = await claimed(org, lease=60)
    await time_of(tasks).advance(59.9)
    assert (await org.get(task.id)).state == "claimed"
    assert expires is not None
    await time_of(tasks).advance(0.2)
    lost = await org.get(task.id)
    assert (lost.state, lost.lost_count, lost.retry_count, lost.assigned_to) == ("pending", 1, 0, None)
    with pytest.raises(errors.StaleToken):
        await org.heartbeat(task.id, token=token)
    with pytest.raises(errors.StaleToken):
        await org.complete(task.id, token=token)
    assert [one.state.value for one in await org.attempts(task.id)] == ["lost"]


async def test_a_claim_lasts_an_hour_where_no_lease_is_said(tasks: DurableTasks, org: Org) -> None:
    """Alike in Python, over HTTP and MCP (whose operations these requests are), and for the client."""
    await org.create("task")
    claim = await org.next(agent_id=AGENT)
    assert claim is not None
    assert (claim.lease_expires_at, DEFAULT_LEASE) == (utc(tasks.clock.now() + 3600), 3600)
    for verbs in (Org, Client):
        for name in ("next", "next_many", "claim", "complete_and_next"):
            assert signature(getattr(verbs, name)).parameters["lease"].default == 3600
    assert {NextTask().lease, ClaimTask(task_id="x").lease} == {3600}


@pytest.mark.parametrize("renew", ["heartbeat", "progress"])
async def test_heartbeats_and_progress_keep_a_lease(tasks: DurableTasks, org: Org, renew: str) -> None:
    task, token, _ = await claimed(org, lease=60)
    for _ in range(4):
        await time_of(tasks).advance(50)
        await (org.heartbeat(task.id, token=token) if renew == "heartbeat" else org.progress(task.id, 5, token=token))
    assert (await org.get(task.id)).state == "claimed"
    await time_of(tasks).advance(61)
    assert (await org.get(task.id)).state == "pending"


async def test_without_a_lease_a_claim_is_held(tasks: DurableTasks, org: Org) -> None:
    task, token, expires = await claimed(org, lease=None)
    await time_of(tasks).advance(86400 * 400)
    beat = await org.heartbeat(task.id, token=token)
    assert (expires, beat) == (None, (None, False))
    assert (await org.complete(task.id, token=token)).state == "completed"


async def test_a_claim_that_lapses_time_and_again_never_poisons_its_task(tasks: DurableTasks, org: Org) -> None:
    task = await org.create("slow people", max_retries=0)
    for count in range(1, 12):
        assert await org.next(agent_id=AGENT, lease=1) is not None
        await time_of(tasks).advance(1)
        found = await org.get(task.id)
        assert (found.state, found.lost_count, found.error) == ("pending", count, None)
    claim = await org.next(agent_id=AGENT)
    assert claim is not None
    assert (await org.complete(task.id, token=claim.token)).state == "completed"
    assert await tasks.store.audit() == []


async def test_a_cancelled_agent_hears_it_and_confirms(tasks: DurableTasks, org: Org) -> None:
    task, token, _ = await claimed(org)
    await org.cancel(task.id, reason="changed plans")
    assert (await org.heartbeat(task.id, token=token)).cancel_requested
    assert [one.state.value for one in await org.attempts(task.id)] == ["cancelling"]
    assert not await org.has_active_task(AGENT)
    done = await org.release(task.id, token=token)
    assert (done.state, done.reason) == ("cancelled", "changed plans")
    assert [one.state.value for one in await org.attempts(task.id)] == ["cancelled"]


async def test_a_silent_cancelled_agent_is_given_up_after_the_grace(tasks: DurableTasks, org: Org) -> None:
    task, token, _ = await claimed(org)
    await org.cancel(task.id)
    await org.retry(task.id)
    await time_of(tasks).advance(29.9)
    assert await org.next(agent_id="agent-2") is None
    await time_of(tasks).advance(0.2)
    assert await org.next(agent_id="agent-2") is not None
    with pytest.raises(errors.StaleToken):
        await org.release(task.id, token=token)


async def test_complete_and_next_is_one_commit(org: Org, tasks: DurableTasks) -> None:
    task, token, _ = await claimed(org)
    following = await org.create("following")
    commits = []
    unsubscribe = tasks.store.subscribe(lambda notice: commits.append(notice) if notice.orgs else None)
    done, claim = await org.complete_and_next(task.id, {"n": 1}, token=token, agent_id=AGENT)
    unsubscribe()
    assert claim is not None
    assert (done.state, done.output, claim.task.id, claim.task.state) == (
        "completed",
        {"n": 1},
        following.id,
        "claimed",
    )
    assert len(commits) == 1
    done, nothing = await org.complete_and_next(claim.task.id, token=claim.token, agent_id=AGENT)
    assert (done.state, nothing) == ("completed", None)


async def test_complete_and_next_gives_what_its_completion_released(org: Org) -> None:
    task, token, _ = await claimed(org)
    child = await org.create("child", depends_on=[task.id])
    _, claim = await org.complete_and_next(task.id, token=token, agent_id=AGENT)
    assert claim is not None
    assert claim.task.id == child.id


async def test_a_refused_complete_claims_nothing(org: Org, db: Path) -> None:
    task, _, _ = await claimed(org)
    await org.create("following")
    before = everything(db)
    with pytest.raises(errors.StaleToken):
        await org.complete_and_next(task.id, token="wrong", agent_id=AGENT)
    assert everything(db) == before


Verb = Callable[[Org, str, str, str], Awaitable[Any]]
REPEATABLE: dict[str, Verb] = {
    "claim": lambda org, task, _, command: org.claim(task, agent_id=AGENT, command_id=command),
    "start": lambda org, task, token, command: org.start(task, token=token, command_id=command),
    "progress": lambda org, task, token, command: org.progress(task, 9, token=token, command_id=command),
    "complete": lambda org, task, token, command: org.complete(task, 1, token=token, command_id=command),
    "fail": lambda org, task, token, command: org.fail(task, "no", token=token, command_id=command),
    "release": lambda org, task, token, command: org.release(task, token=token, command_id=command),
    "cancel": lambda org, task, _, command: org.cancel(task, command_id=command),
    "update": lambda org, task, _, command: org.update(task, title="new", command_id=command),
}


async def prepared(org: Org, verb: str) -> tuple[str, str]:
    if verb == "claim":
        return (await org.create("task")).id, ""
    claim = await claimed(org, max_retries=3)
    return claim.task.id, claim.token


@pytest.mark.parametrize("verb", list(REPEATABLE))
async def test_a_repeated_command_gets_its_first_answer(org: Org, db: Path, verb: str) -> None:
    task_id, token = await prepared(org, verb)
    call = REPEATABLE[verb]
    first = await call(org, task_id, token, "c1")
    await org.create("something else happens")
    with suppress(errors.Conflict):
        await org.cancel(task_id)  # the task goes on; the repeat must not look at it
    before = everything(db)
    again = await call(org, task_id, token, "c1")
    assert everything(db) == before
    if isinstance(first, Claim):
        assert (again.token, again.task) == (first.token, first.task)
    else:
        assert again == first


async def test_a_command_id_names_one_verb(org: Org, db: Path) -> None:
    task_id, token = await prepared(org, "start")
    await org.start(task_id, token=token, command_id="c1")
    before = everything(db)
    with pytest.raises(errors.IdempotencyConflict, match="c1"):
        await org.complete(task_id, token=token, command_id="c1")
    assert everything(db) == before


async def test_a_refused_command_is_not_remembered(org: Org) -> None:
    task, token, _ = await claimed(org)
    with pytest.raises(errors.StaleToken):
        await org.complete(task.id, token="wrong", command_id="c1")
    assert (await org.complete(task.id, token=token, command_id="c1")).state == "completed"


# ----- cancelled at any instant


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def cancel_after(call: Awaitable[Any], count: int) -> bool:
    """Whether the call was still under way after `count` turns of the loop, and so was cancelled."""
    running = asyncio.ensure_future(call)
    await turns(count)
    running.cancel()
    try:
        await running
    except asyncio.CancelledError:
        return True
    return False


async def nothing_is_held(org: Org, tasks: DurableTasks) -> None:
    # One write more: whatever was to be undone is ahead of it.
    await org.create("marker", space_id="markers")
    assert (await org.list(state=["claimed", "running"])).items == []
    assert not await org.has_active_task(AGENT)


def cancelling(call: "asyncio.Task[Any]") -> None:
    call.cancel()


CLAIMING: dict[str, Callable[[Org, str], Awaitable[Any]]] = {
    "next": lambda org, task: org.next(agent_id=AGENT),
    "next_many": lambda org, task: org.next_many(2, agent_id=AGENT),
    "claim": lambda org, task: org.claim(task, agent_id=AGENT),
    "claim with a command": lambda org, task: org.claim(task, agent_id=AGENT, command_id=f"c/{task}"),
}


@pytest.mark.parametrize("verb", list(CLAIMING))
async def test_a_claim_cancelled_at_any_turn_is_left_behind_nowhere(tasks: DurableTasks, org: Org, verb: str) -> None:
    outcomes = set()
    for count in range(61):
        task = await org.create(f"cancelled after {count}")
        cancelled = await cancel_after(CLAIMING[verb](org, task.id), count)
        outcomes.add(cancelled)
        if cancelled:
            await nothing_is_held(org, tasks)
        for held in (await org.list(state="claimed")).items:
            await org.cancel(held.id)
        for left in (await org.list(state="pending", space_id="default")).items:
            await org.cancel(left.id)
    assert True in outcomes


async def test_a_wait_for_that_times_out_leaves_no_claim(org: Org, tasks: DurableTasks) -> None:
    await org.create("wanted")
    for timeout in (0, 1e-6, 1e-5, 1e-4, 5e-4, 1e-3, 2e-3):
        claim = None
        with suppress(TimeoutError):
            claim = await asyncio.wait_for(org.next(agent_id=AGENT), timeout)
        if claim is None:
            await nothing_is_held(org, tasks)
        else:
            await org.release(claim.task.id, token=claim.token)


@pytest.mark.parametrize("commit_first", [True, False])
async def test_a_call_cancelled_around_its_commit(tasks: DurableTasks, org: Org, commit_first: bool) -> None:
    """The two edges: after the commit but before the caller hears of it, and while the thread commits."""
    task = await org.create("wanted")
    call = asyncio.create_task(org.next(agent_id=AGENT))

    def cancel(notice: Any) -> None:
        if notice.orgs:
            call.cancel()

    unsubscribe = tasks.store.subscribe(cancel) if commit_first else None
    if not commit_first:
        await turns(3)
        call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    if unsubscribe is not None:
        unsubscribe()
    await nothing_is_held(org, tasks)
    assert (await org.get(task.id)).state == "pending"


async def test_complete_and_next_cancelled_midway_keeps_the_completion_and_no_claim(
    tasks: DurableTasks, org: Org
) -> None:
    task, token, _ = await claimed(org)
    following = await org.create("following")
    call = asyncio.create_task(org.complete_and_next(task.id, token=token, agent_id=AGENT))
    unsubscribe = tasks.store.subscribe(lambda notice: cancelling(call))
    with pytest.raises(asyncio.CancelledError):
        await call
    unsubscribe()
    await nothing_is_held(org, tasks)
    assert states([await org.get(task.id), await org.get(following.id)]) == ["completed", "pending"]


async def test_a_cancelled_claim_may_be_repeated_by_its_command(tasks: DurableTasks, org: Org) -> None:
    """The repeat must not be handed the very claim that is being taken back, wherever the first call stood."""
    for count in range(30):
        task = await org.create(f"cancelled after {count}")
        call = asyncio.create_task(org.claim(task.id, agent_id=AGENT, command_id="c1"))
        await turns(count)
        call.cancel()
        claim = await org.claim(task.id, agent_id=AGENT, command_id="c1")
        await org.create("marker", space_id="markers")
        assert (await org.heartbeat(task.id, token=claim.token)).cancel_requested is False
        await asyncio.wait([call])


async def test_a_cancelled_repeat_takes_nothing_back(tasks: DurableTasks, org: Org) -> None:
    task = await org.create("wanted")
    claim = await org.claim(task.id, agent_id=AGENT, command_id="c1")
    call = asyncio.create_task(org.claim(task.id, agent_id=AGENT, command_id="c1"))
    unsubscribe = tasks.store.subscribe(lambda notice: cancelling(call))
    with pytest.raises(asyncio.CancelledError):
        await call
    unsubscribe()
    await org.create("marker", space_id="markers")
    assert (await org.get(task.id)).state == "claimed"
    await org.heartbeat(task.id, token=claim.token)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(counts=st.lists(st.integers(0, 60), min_size=30, max_size=30))
def test_a_crowd_cancelled_at_random(tmp_path_factory: pytest.TempPathFactory, counts: list[int]) -> None:
    async def crowd() -> None:
        async with opened(tmp_path_factory.mktemp("crowd") / "app.db", ManualClock()) as tasks:
            org = tasks.org()
            await org.create_many([NewTask(title=f"t{n}") for n in range(20)])
            calls = [cancel_after(org.next(agent_id=f"agent-{n}"), count) for n, count in enumerate(counts)]
            cancelled = await asyncio.gather(*calls)
            await org.create("marker", space_id="markers")
            held = (await org.list(state="claimed", limit=100)).items
            lucky = {f"agent-{n}" for n, was in enumerate(cancelled) if not was}
            assert {task.assigned_to for task in held} <= lucky
            assert await tasks.store.audit() == []

    asyncio.run(crowd())


async def test_a_call_that_nobody_waits_for_any_more_is_not_run(org: Org, db: Path) -> None:
    before = query(db, "SELECT COUNT(*) FROM dt_tasks")
    call = asyncio.create_task(org.create("never"))
    await turns(1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await org.create("marker")
    assert query(db, "SELECT COUNT(*) FROM dt_tasks")[0][0] <= before[0][0] + 2


async def test_a_heartbeat_or_progress_never_costs_an_editor_a_conflict(org: Org) -> None:
    task = await org.create("edited while held")
    claim = await org.claim(task.id, agent_id=AGENT)
    await org.heartbeat(task.id, token=claim.token)
    await org.progress(task.id, 40, token=claim.token)
    assert (await org.update(task.id, title="edited", version=claim.task.version)).title == "edited"
