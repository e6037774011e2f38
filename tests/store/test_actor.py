"""Who did it: what events and attempts record of those who act, and that nobody can take it back.

It must not know surfaces: what they prove of a caller is tested with them.
"""

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from durable_tasks import Actor, DurableTasks, NewTask, Org, errors
from durable_tasks.store.events import event_hash
from tests.store.support import AGENT, claimed, opened, query, steps, time_of

ANN = Actor(name="ann", proved=True)
SAID = Actor(name=AGENT)

Act = Callable[[Org], Awaitable[object]]


async def actors(org: Org, task_id: str | None = None) -> dict[str, Actor | None]:
    """Kind of event → who did it, the last time."""
    return {event.kind: event.actor for event in await org.events(task_id=task_id)}


async def _work(org: Org) -> None:
    await org.claim((await org.create("work")).id, agent_id=AGENT, command_id="c1")


async def _end(org: Org, verb: str) -> None:
    claim = await claimed(org)
    if verb == "fail":
        await org.fail(claim.task.id, "no", token=claim.token)
        await org.retry(claim.task.id)
    elif verb == "complete_and_next":
        await org.complete_and_next(claim.task.id, token=claim.token, agent_id=AGENT)
    else:
        await getattr(org, verb)(claim.task.id, token=claim.token)


async def _group(org: Org) -> None:
    group = await org.fan_out("group", steps("a", "b"))
    await org.add_tasks(group.id, steps("c"))
    await org.cancel_workflow(group.id)
    await org.retry_workflow(group.id)


async def _progress(org: Org) -> None:
    claim = await claimed(org)
    await org.start(claim.task.id, token=claim.token)
    await org.progress(claim.task.id, 5, token=claim.token)


async def _many(org: Org) -> None:
    await org.create_many([NewTask(name="a", labels=("x",)), NewTask(name="b", labels=("x",))])
    await org.cancel_many(labels=["x"])
    await org.retry_many(labels=["x"])


async def _edit(org: Org) -> None:
    task = await org.create("task")
    await org.update(task.id, title="new")
    await org.comment(task.id, "well")
    await org.next(agent_id=AGENT)


ACTS: dict[str, Act] = {
    "claim": _work,
    "complete": lambda org: _end(org, "complete"),
    "complete_and_next": lambda org: _end(org, "complete_and_next"),
    "release": lambda org: _end(org, "release"),
    "fail, retry": lambda org: _end(org, "fail"),
    "group": _group,
    "progress": _progress,
    "many": _many,
    "edit": _edit,
}


@pytest.mark.parametrize("act", list(ACTS))
async def test_every_event_says_who_did_it(org: Org, act: str) -> None:
    await ACTS[act](org.by(ANN))
    followed = {"workflow.running"}
    assert {event.kind: event.actor for event in await org.events() if event.kind not in followed}
    assert {event.actor for event in await org.events() if event.kind not in followed} == {ANN}


async def test_a_name_that_is_only_given_is_said(org: Org) -> None:
    task = await org.create("task", created_by="maker")
    claim = await org.claim(task.id, agent_id=AGENT)
    await org.comment(task.id, "well", author="critic")
    await org.complete(task.id, token=claim.token)
    assert await actors(org) == {
        "task.created": Actor(name="maker"),
        "task.claimed": SAID,
        "task.commented": Actor(name="critic"),
        "task.completed": SAID,
    }
    assert [(one.agent_id, one.actor) for one in await org.attempts(task.id)] == [(AGENT, SAID)]


async def test_who_gives_no_name_is_nobody(org: Org) -> None:
    task = await org.create("task")
    await org.update(task.id, title="new")
    await org.cancel(task.id)
    assert {event.actor for event in await org.events()} == {None}


async def test_who_acts_for_an_agent_is_on_record_beside_it(org: Org) -> None:
    task = await org.create("task")
    await org.by(ANN).claim(task.id, agent_id="bob")
    (attempt,) = await org.attempts(task.id)
    assert (attempt.agent_id, attempt.actor, (await org.get(task.id)).assigned_to) == ("bob", ANN, "bob")
    assert (await actors(org))["task.claimed"] == ANN


async def test_the_creator_is_who_acts_unless_another_is_given(org: Org) -> None:
    made = await org.by("ann").create_many([NewTask(name="a"), NewTask(name="b", created_by="bob")])
    group = await org.by("ann").dag("group", steps("c"))
    (member,) = await org.workflow_tasks(group.id)
    assert [*(one.created_by for one in (*made, member)), group.created_by] == ["ann", "bob", "ann", "ann"]


async def test_what_follows_is_nobodys_act(org: Org, tasks: DurableTasks) -> None:
    """Time that is over, dependants, and a group that ends with its last member."""
    first, child = await org.create_many([NewTask(name="a"), NewTask(name="b", depends_on=("a",))])
    group = await org.pipeline("group", steps("c"))
    (member,) = await org.workflow_tasks(group.id)
    mine = org.by(ANN)
    await mine.cancel(first.id)
    claim = await mine.claim(member.id, agent_id="ann")
    await mine.complete(member.id, token=claim.token)
    late, _, _ = await claimed(mine, lease=5)
    await time_of(tasks).advance(6)
    await tasks.store.expire()
    assert await actors(org, child.id) == {"task.created": None, "task.cancelled": None}
    assert (await actors(org))["workflow.completed"] is None
    assert (await actors(org, late.id))["task.lost"] is None
    assert (await actors(org, first.id))["task.cancelled"] == ANN


async def test_a_handler_is_nobody(db: Path) -> None:
    async with opened(db) as tasks:
        tasks.handler("echo")(lambda ctx, task: ctx.progress(5))
        task = await tasks.org().by(ANN).create("task", capability="echo")
        await tasks.org().wait(task.id, timeout=30)
        found = await actors(tasks.org(), task.id)
        assert found.pop("task.created") == ANN
        assert set(found.values()) == {None}
        assert (await tasks.org().attempts(task.id))[0].actor is None


async def test_in_the_applications_transaction(org: Org, db: Path) -> None:
    with closing(sqlite3.connect(db, isolation_level=None)) as conn:
        conn.execute("BEGIN IMMEDIATE")
        task = await org.by(ANN).create_in(conn, "bill")
        conn.execute("COMMIT")
    assert (await actors(org, task.id), task.created_by) == ({"task.created": ANN}, "ann")


@pytest.mark.parametrize("name", ["", "x" * 257, 7])
async def test_a_name_that_cannot_be_recorded(org: Org, name: str) -> None:
    with pytest.raises(errors.InvalidInput):
        org.by(name)


# ----- whose a task is to give away


@pytest.mark.parametrize("assigned", ["ann", "group:legal"])
async def test_what_is_reserved_for_others_is_not_given_away(org: Org, assigned: str) -> None:
    task = await org.create("approve", assigned_to=assigned)
    bot = org.by("bot", names=["bot"])
    for wanted in ("bot", "bob", None):
        with pytest.raises(errors.Forbidden, match="reserved for"):
            await bot.update(task.id, assigned_to=wanted)
    assert (await org.get(task.id)).assigned_to == assigned
    given = await org.by("ann", names=["ann", "group:legal"]).update(task.id, assigned_to="bob")
    assert given.assigned_to == "bob"


async def test_what_others_hold_is_not_taken_from_them(org: Org) -> None:
    claim = await claimed(org, agent="ann")
    with pytest.raises(errors.Forbidden, match="held by 'ann'"):
        await org.by("bot", names=["bot"]).update(claim.task.id, assigned_to="bot")
    assert (await org.complete(claim.task.id, token=claim.token)).state == "completed"


async def test_what_is_free_may_be_given_to_anybody_and_a_program_may_give_everything(org: Org) -> None:
    task = await org.create("free")
    assert (await org.by("bot", names=["bot"]).update(task.id, assigned_to="ann")).assigned_to == "ann"
    assert (await org.by("bot").update(task.id, assigned_to="bot")).assigned_to == "bot"


# ----- the log itself


@pytest.mark.parametrize("change", ["DELETE FROM dt_events", "UPDATE dt_events SET actor = NULL"])
async def test_the_log_takes_nothing_back(org: Org, db: Path, change: str) -> None:
    await org.by(ANN).create("task")
    with closing(sqlite3.connect(db)) as conn, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        conn.execute(change)


@pytest.mark.parametrize("forged", [None, "'proved:bob'", "'said:ann'"])
async def test_a_forged_actor_is_found(db: Path, forged: str | None) -> None:
    async with opened(db) as tasks:
        await tasks.org().by(ANN).create("task")
    with closing(sqlite3.connect(db)) as conn, conn:
        conn.execute("DROP TRIGGER dt_events_keep")
        conn.execute(f"UPDATE dt_events SET actor = {forged or 'NULL'}")
    async with opened(db) as tasks:
        assert await tasks.store.audit() == ["acme: event 1 does not match its hash"]


def before_actors(db: Path) -> None:
    """Make the file as a release left it that recorded no actors."""
    with closing(sqlite3.connect(db)) as conn, conn:
        conn.create_function("hash_without", 7, lambda *values: event_hash(*values))
        conn.execute("DROP TRIGGER dt_events_stay")
        (keep,) = conn.execute("SELECT sql FROM sqlite_master WHERE name = 'dt_events_keep'").fetchone()
        conn.execute("DROP TRIGGER dt_events_keep")
        conn.execute("UPDATE dt_events SET hash = hash_without(org_id, seq, kind, at, task_id, workflow_id, data)")
        conn.execute(keep)
        for column in ("dt_events DROP actor", "dt_attempts DROP actor", "dt_commands DROP caller"):
            conn.execute(f"ALTER TABLE {column}")
        conn.execute("ALTER TABLE dt_commands DROP content")
        conn.execute("DELETE FROM dt_migrations WHERE number = 9")


async def test_a_file_of_an_earlier_release(db: Path) -> None:
    async with opened(db) as tasks:
        claim = await claimed(tasks.org())
    before_actors(db)
    async with opened(db) as tasks:
        org = tasks.org()
        assert await tasks.store.audit() == []
        assert {event.actor for event in await org.events()} == {None}
        await org.by(ANN).complete(claim.task.id, token=claim.token)
        assert await actors(org) == {"task.created": None, "task.claimed": None, "task.completed": ANN}
        assert await tasks.store.audit() == []


async def test_commands_of_an_earlier_release(db: Path) -> None:
    """Nobody wrote down whose they were: a token is handed to the agent only whom the answer names."""
    async with opened(db) as tasks:
        task = await tasks.org().create("task")
        claim = await tasks.org().claim(task.id, agent_id="ann", command_id="c1")
        started = await tasks.org().start(task.id, token=claim.token, command_id="c2")
    before_actors(db)
    async with opened(db) as tasks:
        ann, eve = tasks.org().by(ANN), tasks.org().by(Actor(name="eve", proved=True))
        with pytest.raises(errors.IdempotencyConflict):
            await eve.claim(task.id, agent_id="eve", command_id="c1")
        assert (await ann.claim(task.id, agent_id="ann", command_id="c1")).token == claim.token
        assert await ann.start(task.id, token=claim.token, command_id="c2") == started
        with pytest.raises(errors.IdempotencyConflict):
            await ann.release(task.id, token=claim.token, command_id="c2")
    assert query(db, "SELECT COUNT(*) FROM dt_commands") == [(2,)]
