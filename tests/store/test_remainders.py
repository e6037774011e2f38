"""What follows from one call for many tasks: in steps, between which others write; nothing lost, stuck or too early."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from durable_tasks import Claim, DurableTasks, NewTask, Org, TaskContext
from durable_tasks.errors import Conflict, IllegalMove
from durable_tasks.models import Mode, Task
from durable_tasks.ports import Notice
from durable_tasks.store import due, remainders, settlement
from durable_tasks.store.remainders import Work
from durable_tasks.store.settlement import reopen_members
from durable_tasks.store.transaction import STEP, Transaction
from tests.store.support import AGENT, nothing_remains, opened, query, time_of

MANY = 2 * STEP + STEP // 2


@pytest.fixture
async def stopped(tasks: DurableTasks, monkeypatch: pytest.MonkeyPatch) -> DurableTasks:
    """The same tasks without the clock that goes on with what is left: a test does, a step in each transaction."""
    monkeypatch.setattr(due, "MOMENT", -1.0)
    await stop_clock(tasks)
    return tasks


async def stop_clock(tasks: DurableTasks) -> None:
    async def nothing() -> tuple[int, float | None]:
        return 0, None

    assert tasks._running is not None
    tasks._running.wheel._expire = nothing
    await tasks.store.probe()  # what it has asked for before is done by then


async def go_on(tasks: DurableTasks) -> int:
    """Do all that is left; how many transactions that took."""
    steps = 0
    while (await tasks.store.expire())[0]:
        steps += 1
    assert left(tasks) == []
    return steps


def left(tasks: DurableTasks) -> list[tuple[Any, ...]]:
    return query(tasks.store.path, "SELECT work FROM dt_remainders ORDER BY seq")


def counted(tasks: DurableTasks, where: str = "1") -> dict[str, int]:
    sql = f"SELECT state, COUNT(*) FROM dt_tasks WHERE {where} GROUP BY state ORDER BY state"
    return dict(query(tasks.store.path, sql))


async def taken(org: Org, title: str = "parent") -> Claim:
    task = await org.create(title, mode="manual")
    return await org.claim(task.id, agent_id=AGENT)


async def children(org: Org, parent: Task, count: int = MANY, **fields: Any) -> None:
    await org.create_many([NewTask(title="child", mode=Mode.MANUAL, depends_on=(parent.id,), **fields)] * count)


# ----- dependants


async def test_dependants_become_ready_in_steps(stopped: DurableTasks) -> None:
    org, moved = stopped.org(), list[int]()
    parent = await taken(org)
    await children(org, parent.task)

    def look(notice: Notice) -> None:
        moved.append(counted(stopped)["pending"])

    stopped.store.subscribe(look)
    await org.complete(parent.task.id, token=parent.token)
    assert counted(stopped) == {"blocked": MANY - STEP, "completed": 1, "pending": STEP}
    assert await go_on(stopped) == 2
    assert counted(stopped) == {"completed": 1, "pending": MANY}
    assert moved[:3] == [STEP, 2 * STEP, MANY]
    assert query(stopped.store.path, "SELECT SUM(blocked_by) FROM dt_tasks") == [(0,)]


async def test_few_dependants_are_told_in_the_transaction_of_the_end(stopped: DurableTasks) -> None:
    org = stopped.org()
    parent = await taken(org)
    await children(org, parent.task, STEP - 1)
    await org.complete(parent.task.id, token=parent.token)
    assert (counted(stopped), left(stopped)) == ({"completed": 1, "pending": STEP - 1}, [])


@pytest.mark.parametrize("policy", ["cancel", "run", "wait"])
async def test_dependants_of_a_cancelled_task_follow_in_steps(stopped: DurableTasks, policy: Any) -> None:
    org = stopped.org()
    parent = await taken(org)
    await children(org, parent.task, on_dependency_failure=policy)
    await org.cancel(parent.task.id)
    assert left(stopped) == [("dependants",)]
    await go_on(stopped)
    ends = {"cancel": {"cancelled": MANY + 1}, "run": {"cancelled": 1, "pending": MANY}}
    assert counted(stopped) == ends.get(policy, {"blocked": MANY, "cancelled": 1})


async def test_what_was_left_is_done_after_a_restart(db: Path) -> None:
    async with opened(db) as tasks:
        await stop_clock(tasks)
        org = tasks.org()
        parent = await taken(org)
        await children(org, parent.task)
        await org.complete(parent.task.id, token=parent.token)
        assert left(tasks) == [("dependants",)]
    async with opened(db) as tasks:
        await nothing_remains(tasks)
        assert counted(tasks) == {"completed": 1, "pending": MANY}


async def test_a_running_process_does_what_is_left_by_itself(tasks: DurableTasks) -> None:
    org = tasks.org()
    parent = await taken(org)
    await children(org, parent.task)
    await org.complete(parent.task.id, token=parent.token)
    await nothing_remains(tasks)
    assert counted(tasks) == {"completed": 1, "pending": MANY}


async def test_a_parent_retried_meanwhile_is_waited_for_again(stopped: DurableTasks) -> None:
    org = stopped.org()
    parent = await org.create("parent", mode="manual")
    await children(org, parent)
    await org.cancel(parent.id)
    await org.retry(parent.id)
    await go_on(stopped)
    assert counted(stopped) == {"blocked": MANY - STEP, "cancelled": STEP, "pending": 1}
    claim = await org.claim(parent.id, agent_id=AGENT)
    await org.complete(parent.id, token=claim.token)
    await go_on(stopped)
    assert counted(stopped) == {"cancelled": STEP, "completed": 1, "pending": MANY - STEP}


async def test_a_child_made_meanwhile_knows_that_its_parent_has_ended(stopped: DurableTasks) -> None:
    org = stopped.org()
    parent = await taken(org)
    await children(org, parent.task)
    await org.complete(parent.task.id, token=parent.token)
    late = await org.create("late", mode="manual", depends_on=(parent.task.id,))
    assert late.state == "pending"
    await go_on(stopped)
    assert counted(stopped) == {"completed": 1, "pending": MANY + 1}


async def test_a_long_remainder_holds_up_no_short_one(stopped: DurableTasks) -> None:
    first, second = stopped.org("first"), stopped.org("second")
    long, short = await taken(first), await taken(second)
    await children(first, long.task, 5 * STEP)
    await children(second, short.task, STEP + 1)
    await first.complete(long.task.id, token=long.token)
    await second.complete(short.task.id, token=short.token)
    await stopped.store.expire()
    await stopped.store.expire()
    assert counted(stopped, "org_id = 'second'") == {"completed": 1, "pending": STEP + 1}
    assert left(stopped) == [("dependants",)]


# ----- groups


async def test_a_cancelled_workflow_is_so_at_once_and_none_of_its_members_begins(stopped: DurableTasks) -> None:
    org = stopped.org()
    made = await org.fan_out("wide", [NewTask(title="member", mode=Mode.MANUAL)] * MANY)
    ended = await org.cancel_workflow(made.id, reason="too late")
    assert (ended.state, ended.counts) == ("cancelled", {"cancelled": STEP, "pending": MANY - STEP})
    waiting = query(stopped.store.path, "SELECT id FROM dt_tasks WHERE state = 'pending' LIMIT 1")[0][0]
    with pytest.raises(IllegalMove, match="is being cancelled with its workflow"):
        await org.claim(waiting, agent_id=AGENT)
    assert await org.next(agent_id=AGENT) is None
    await go_on(stopped)
    assert query(stopped.store.path, "SELECT DISTINCT state, reason FROM dt_tasks") == [("cancelled", "too late")]


async def test_what_was_decided_by_some_is_cancelled_for_the_rest(stopped: DurableTasks) -> None:
    org = stopped.org()
    made = await org.fan_out("race", [NewTask(title="runner", mode=Mode.MANUAL)] * MANY, join="any")
    claim = await org.next(agent_id=AGENT)
    assert claim is not None
    await org.complete(claim.task.id, token=claim.token)
    assert (await org.get_workflow(made.id)).state == "completed"
    assert await org.next(agent_id=AGENT) is None
    await go_on(stopped)
    assert counted(stopped) == {"cancelled": MANY - 1, "completed": 1}


async def test_no_handler_begins_a_member_of_an_ended_workflow(stopped: DurableTasks) -> None:
    begun: list[str] = []

    @stopped.handler("work")
    async def work(ctx: TaskContext, task: Task) -> None:
        begun.append(task.id)

    org, ended = stopped.org(), asyncio.Event()
    gate = await taken(org)
    member = NewTask(title="member", capability="work", depends_on=(gate.task.id,))
    made = await org.fan_out("wide", [member] * MANY)
    # As a process finds it that was away meanwhile: ready members of a group that has ended.
    with sqlite3.connect(stopped.store.path) as conn:
        conn.execute("UPDATE dt_tasks SET state = 'pending', blocked_by = 0, ready_at = 1 WHERE state = 'blocked'")
        conn.execute(
            "UPDATE dt_workflows SET state = 'cancelled', completed_at = 1, active = total WHERE id = ?", (made.id,)
        )
        conn.execute("INSERT INTO dt_remainders (subject_id, work, after) VALUES (?, 'cancel', '')", (made.id,))
    other = await org.create("other", capability="work")
    stopped.store.subscribe(lambda notice: ended.set() if other.id in notice.ended else None)
    async with asyncio.timeout(30):
        await ended.wait()
    await go_on(stopped)
    assert begun == [other.id]
    assert counted(stopped, "capability = 'work'") == {"cancelled": MANY, "completed": 1}


async def test_a_reopened_workflow_does_not_fail_again_before_it_is_whole(stopped: DurableTasks) -> None:
    org = stopped.org()
    names = [NewTask(name=f"n{n}", mode=Mode.MANUAL) for n in range(MANY)]
    made = await org.fan_out("wide", names, failure_policy="fail_fast")
    await org.cancel_workflow(made.id)
    await go_on(stopped)
    again = await org.retry_workflow(made.id)
    assert (again.state, again.counts) == ("running", {"cancelled": MANY - STEP, "pending": STEP})
    claim = await org.next(agent_id=AGENT)
    assert claim is not None
    await org.complete(claim.task.id, token=claim.token)
    assert (await org.get_workflow(made.id)).state == "running"
    await go_on(stopped)
    assert counted(stopped) == {"completed": 1, "pending": MANY - 1}


async def test_a_pipeline_is_reopened_in_steps_and_in_order(stopped: DurableTasks) -> None:
    org = stopped.org()
    made = await org.pipeline("long", [NewTask(name=f"n{n}", mode=Mode.MANUAL) for n in range(MANY)])
    claim = await org.next(agent_id=AGENT)
    assert claim is not None
    await org.fail(claim.task.id, "no", token=claim.token)
    await go_on(stopped)
    assert counted(stopped) == {"cancelled": MANY - 1, "failed": 1}
    await org.retry_workflow(made.id)
    await go_on(stopped)
    assert counted(stopped) == {"blocked": MANY - 1, "pending": 1}


async def test_a_workflow_retried_while_it_is_cancelled_goes_on(stopped: DurableTasks) -> None:
    org = stopped.org()
    made = await org.fan_out("wide", [NewTask(title="member", mode=Mode.MANUAL)] * MANY, max_parallel=MANY - 1)
    await org.cancel_workflow(made.id)
    await org.retry_workflow(made.id)
    await go_on(stopped)
    assert (await org.get_workflow(made.id)).counts == {"blocked": 1, "pending": MANY - 1}


async def test_what_somebody_asked_for_is_his_act_to_its_last_step(stopped: DurableTasks) -> None:
    org = stopped.org()
    made = await org.fan_out("wide", [NewTask(title="member", mode=Mode.MANUAL)] * MANY)
    await org.by("ann").cancel_workflow(made.id)
    assert await org.by("bob").next(agent_id="bob") is None  # it meets a member that is still to be cancelled
    await go_on(stopped)
    await org.by("cid").retry_workflow(made.id)
    await go_on(stopped)
    sql = "SELECT kind, actor, COUNT(*) FROM dt_events WHERE kind IN ('task.cancelled', 'task.retried') GROUP BY 1, 2"
    found = query(stopped.store.path, sql)
    assert found == [("task.cancelled", "said:ann", MANY), ("task.retried", "said:cid", MANY)]


async def test_what_follows_from_an_end_is_nobodys_act_to_its_last_step(stopped: DurableTasks) -> None:
    org = stopped.org()
    await org.fan_out("race", [NewTask(title="runner", mode=Mode.MANUAL)] * MANY, join="any")
    claim = await org.next(agent_id=AGENT)
    assert claim is not None
    await org.by("ann").complete(claim.task.id, token=claim.token)
    assert await org.by("bob").next(agent_id="bob") is None
    await go_on(stopped)
    assert query(stopped.store.path, "SELECT DISTINCT actor FROM dt_events WHERE kind = 'task.cancelled'") == [(None,)]


async def test_a_workflow_cancelled_while_it_is_retried_stays_cancelled(stopped: DurableTasks) -> None:
    org = stopped.org()
    made = await org.fan_out("wide", [NewTask(title="member", mode=Mode.MANUAL)] * MANY)
    await org.cancel_workflow(made.id)
    await go_on(stopped)
    await org.retry_workflow(made.id)
    await org.cancel(query(stopped.store.path, "SELECT id FROM dt_tasks WHERE state = 'pending'")[0][0])
    await org.cancel_workflow(made.id)  # so few are open that nothing of it is left to do
    assert left(stopped) == []
    await go_on(stopped)
    assert counted(stopped) == {"cancelled": MANY}


async def test_a_workflow_that_has_ended_is_not_reopened(stopped: DurableTasks) -> None:
    org = stopped.org()
    made = await org.fan_out("wide", [NewTask(title="member", mode=Mode.MANUAL)])
    await org.cancel_workflow(made.id)
    await stopped.store._write(lambda tx: reopen_members(tx, made.id))
    assert counted(stopped) == {"cancelled": 1}


async def test_a_workflow_is_reopened_though_no_step_was_left_for_it(stopped: DurableTasks) -> None:
    org = stopped.org()
    made = await org.fan_out("wide", [NewTask(title="member", mode=Mode.MANUAL)] * MANY)
    await org.cancel_workflow(made.id)
    await go_on(stopped)
    await org.retry_workflow(made.id)

    def late(tx: Transaction) -> None:
        remainders.drop(tx, made.id)
        tx.steps = 0
        after = tx.one("SELECT seq FROM dt_tasks ORDER BY seq LIMIT 1 OFFSET ?", (STEP - 1,))
        assert after is not None
        reopen_members(tx, made.id, after=after[0])

    await stopped.store._write(late)
    assert left(stopped) == [("reopen",)]
    await go_on(stopped)
    assert counted(stopped) == {"pending": MANY}


async def test_a_limit_above_what_one_step_releases_leaves_nothing_to_do(stopped: DurableTasks) -> None:
    made = await stopped.org().fan_out("few", [NewTask(title="member", mode=Mode.MANUAL)] * 3, max_parallel=MANY)
    assert (made.counts, left(stopped)) == ({"pending": 3}, [])


async def test_members_are_released_in_steps_up_to_a_large_limit(stopped: DurableTasks) -> None:
    limit = MANY - 1
    made = await stopped.org().fan_out("wide", [NewTask(title="member", mode=Mode.MANUAL)] * MANY, max_parallel=limit)
    assert made.counts == {"blocked": MANY - STEP, "pending": STEP}
    assert await go_on(stopped) == 2
    assert counted(stopped) == {"blocked": 1, "pending": limit}


# ----- what breaks


async def test_what_breaks_is_put_off_and_holds_up_nobody(stopped: DurableTasks) -> None:
    org, now = stopped.org(), stopped.clock.now()
    made = await org.fan_out("wide", [NewTask(title="member", mode=Mode.MANUAL)] * 2)
    await org.cancel_workflow(made.id)
    with sqlite3.connect(stopped.store.path) as conn:
        conn.execute("UPDATE dt_workflows SET state = 'running', completed_at = NULL")
        conn.execute(
            "INSERT INTO dt_remainders (subject_id, work, after) VALUES (?, 'reopen', 'no number')", (made.id,)
        )
    parent = await taken(org)
    await children(org, parent.task)
    await org.complete(parent.task.id, token=parent.token)
    while (answer := await stopped.store.expire())[0]:
        pass
    assert counted(stopped) == {"cancelled": 2, "completed": 1, "pending": MANY}
    assert (left(stopped), answer[1]) == ([("reopen",)], now + remainders.AFTER_FAILURE)
    with sqlite3.connect(stopped.store.path) as conn:
        conn.execute("UPDATE dt_remainders SET after = '0'")
    await time_of(stopped).advance(remainders.AFTER_FAILURE)
    await go_on(stopped)
    assert counted(stopped) == {"completed": 1, "pending": MANY + 2}


async def test_what_was_put_off_does_not_wait_for_a_clock_that_was_set_back(stopped: DurableTasks) -> None:
    with sqlite3.connect(stopped.store.path) as conn:
        conn.execute(
            "INSERT INTO dt_remainders (subject_id, work, after, not_before) VALUES ('x', 'advance', '', 1e11)"
        )
    assert await go_on(stopped) == 1


async def test_an_end_stands_though_what_follows_from_it_breaks(
    stopped: DurableTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    org = stopped.org()
    made = await org.fan_out("one", [NewTask(title="member", mode=Mode.MANUAL)])
    claim = await org.next(agent_id=AGENT)
    assert claim is not None

    def breaks(tx: Transaction, workflow_id: str) -> None:
        raise Conflict("the namespace belongs to another")

    with monkeypatch.context() as patch:
        patch.setattr(settlement, "advance", breaks)
        assert (await org.complete(claim.task.id, token=claim.token)).state == "completed"
    assert left(stopped) == [("advance",)]
    await time_of(stopped).advance(remainders.AFTER_FAILURE)
    await go_on(stopped)
    assert (await org.get_workflow(made.id)).state == "completed"


async def test_one_kind_of_work_takes_the_place_of_no_other(stopped: DurableTasks) -> None:
    def leave(tx: Transaction) -> None:
        for work in Work:
            remainders.leave(tx, "one", work, after="0")
        remainders.leave(tx, "one", Work.DEPENDANTS, after="later")
        remainders.drop(tx, "one", Work.ADVANCE)
        taken = remainders.take(tx)
        assert taken is not None
        assert taken.work is Work.CANCEL

    await stopped.store._write(leave)
    assert query(stopped.store.path, "SELECT work, after FROM dt_remainders ORDER BY seq") == [
        ("reopen", "0"),
        ("dependants", "later"),
    ]
    await go_on(stopped)
