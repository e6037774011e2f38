"""Every state × every verb × right and wrong token: the result, or the exact error and nothing changed.

It must not use anything but the Python API to bring tasks into states.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from durable_tasks import Claim, DurableTasks, Heartbeat, Org, RetryPolicy, Task, errors
from durable_tasks.errors import AlreadyClaimed, DurableTasksError, IllegalMove, StaleToken, WaitTimeout
from tests.store.support import AGENT, claimed, everything, time_of

WRONG = "no-such-token"
Subject = tuple[str, str]
"""(task id, the token of its last attempt)"""


async def blocked(org: Org) -> Subject:
    parent = await org.create("parent")
    return (await org.create("blocked", depends_on=[parent.id])).id, WRONG


async def scheduled(org: Org) -> Subject:
    return (await org.create("scheduled", delay="1h")).id, WRONG


async def pending(org: Org) -> Subject:
    task, token, _ = await claimed(org)
    await org.release(task.id, token=token)
    return task.id, token


async def held(org: Org) -> Subject:
    task, token, _ = await claimed(org)
    return task.id, token


async def running(org: Org) -> Subject:
    task, token, _ = await claimed(org, max_retries=1)
    await org.start(task.id, token=token)
    return task.id, token


async def retrying(org: Org) -> Subject:
    task_id, token = await running(org)
    await org.fail(task_id, "broken", token=token)
    return task_id, token


async def completed(org: Org) -> Subject:
    task_id, token = await running(org)
    await org.complete(task_id, {"n": 1}, token=token)
    return task_id, token


async def failed(org: Org) -> Subject:
    task_id, token = await running(org)
    await org.fail(task_id, "broken", token=token, retryable=False)
    return task_id, token


async def cancelled(org: Org) -> Subject:
    """Cancelled while running: the attempt is still stopping."""
    task_id, token = await running(org)
    await org.cancel(task_id)
    return task_id, token


BUILD = {
    "blocked": blocked, "scheduled": scheduled, "pending": pending, "claimed": held, "running": running,
    "retrying": retrying, "completed": completed, "failed": failed, "cancelled": cancelled,
}  # fmt: skip

Call = Callable[[Org, str, str], Awaitable[Any]]
CALLS: dict[str, Call] = {
    "claim": lambda org, task, _: org.claim(task, agent_id=AGENT),
    "claim by another": lambda org, task, _: org.claim(task, agent_id="agent-2"),
    "start": lambda org, task, token: org.start(task, token=token),
    "heartbeat": lambda org, task, token: org.heartbeat(task, token=token),
    "progress": lambda org, task, token: org.progress(task, 50, token=token, message="half"),
    "complete": lambda org, task, token: org.complete(task, {"n": 1}, token=token),
    "complete otherwise": lambda org, task, token: org.complete(task, {"n": 2}, token=token),
    "fail": lambda org, task, token: org.fail(task, "broken", token=token),
    "fail otherwise": lambda org, task, token: org.fail(task, "very broken", token=token),
    "release": lambda org, task, token: org.release(task, token=token),
    "complete_and_next": lambda org, task, token: org.complete_and_next(
        task, {"n": 1}, token=token, agent_id=AGENT, space_id="nothing-there"
    ),
    "cancel": lambda org, task, _: org.cancel(task, reason="no longer wanted"),
    "retry": lambda org, task, _: org.retry(task),
    "update": lambda org, task, _: org.update(task, priority="urgent", labels=["seen"]),
    "wait": lambda org, task, _: org.wait(task, timeout=0),
    "get": lambda org, task, _: org.get(task),
}
REFUSED: dict[str, type[DurableTasksError]] = {
    "I": IllegalMove,
    "S": StaleToken,
    "A": AlreadyClaimed,
    "T": WaitTimeout,
}

# A state: the call's result. "=": the task comes back and nothing changes. "stop!": told to stop, nothing changes.
GRID = """
                    blocked   scheduled pending   claimed   running   retrying  completed failed    cancelled
claim               I         I         claimed   A         A         I         I         I         I
claim by another    I         I         claimed   A         A         I         I         I         I
start               I         I         S         running   I         S         I         I         I
heartbeat           I         I         S         renewed   renewed   S         I         I         stop!
progress            I         I         S         claimed   running   S         I         I         I
complete            I         I         S         completed completed S         =         I         I
complete otherwise  I         I         S         completed completed S         I         I         I
fail                I         I         S         failed    retrying  =         I         =         I
fail otherwise      I         I         S         failed    retrying  S         I         I         I
release             I         I         S         pending   pending   S         I         I         cancelled
complete_and_next   I         I         S         completed completed S         =         I         I
cancel              cancelled cancelled cancelled cancelled cancelled cancelled I         I         =
retry               I         I         I         I         I         I         I         pending   pending
update              blocked   scheduled pending   claimed   running   retrying  I         I         I
wait                T         T         T         T         T         T         =         =         =
get                 =         =         =         =         =         =         =         =         =
"""
WITH_WRONG_TOKEN = """
                    blocked   scheduled pending   claimed   running   retrying  completed failed    cancelled
start               I         I         S         S         S         S         I         I         I
heartbeat           I         I         S         S         S         S         I         I         I
progress            I         I         S         S         S         S         I         I         I
complete            I         I         S         S         S         S         I         I         I
fail                I         I         S         S         S         S         I         I         I
release             I         I         S         S         S         S         I         I         I
complete_and_next   I         I         S         S         S         S         I         I         I
"""


def column(table: str, state: str) -> dict[str, str]:
    head, *rows = [line for line in table.splitlines() if line.strip()]
    place = head.split().index(state)
    return {row[:20].strip(): row[20:].split()[place] for row in rows}


def test_the_grid_is_whole() -> None:
    assert set(column(GRID, "blocked")) == set(CALLS)
    assert GRID.split()[:9] == list(BUILD)


def as_text(answer: Any) -> str:
    if isinstance(answer, Heartbeat):
        return "stop!" if answer.cancel_requested else "renewed"
    if isinstance(answer, Claim):
        return answer.task.state.value
    return (answer[0] if isinstance(answer, tuple) else answer).state.value  # type: ignore[no-any-return]


async def refuses(call: Awaitable[Any], kind: type[DurableTasksError], task_id: str) -> None:
    with pytest.raises(DurableTasksError) as caught:
        await call
    assert type(caught.value) is kind
    assert task_id in caught.value.message
    if kind is not WaitTimeout:
        assert caught.value.task_id == task_id
        assert caught.value.state in caught.value.message


async def check(org: Org, db: Path, name: str, task_id: str, token: str, expected: str) -> None:
    before, was = everything(db), (await org.get(task_id)).state
    call = CALLS[name](org, task_id, token)
    if expected in REFUSED:
        await refuses(call, REFUSED[expected], task_id)
    else:
        answer = as_text(await call)
        assert answer == (was if expected == "=" else expected)
        if expected not in ("=", "stop!", "renewed"):
            assert (await org.get(task_id)).state == expected
    unchanged = expected in REFUSED or expected in ("=", "stop!")
    assert (everything(db) == before) is unchanged


@pytest.mark.parametrize("state", list(BUILD))
@pytest.mark.parametrize("tokens", ["right", "wrong"])
async def test_grid(tasks: DurableTasks, db: Path, state: str, tokens: str) -> None:
    org = tasks.org()
    for name, expected in column(GRID if tokens == "right" else WITH_WRONG_TOKEN, state).items():
        task_id, token = await BUILD[state](org)
        assert (await org.get(task_id)).state == state
        await time_of(tasks).advance(0.25)  # a renewed lease must differ from the first
        try:
            await check(org, db, name, task_id, token if tokens == "right" else WRONG, expected)
        except BaseException as error:
            error.add_note(f"{name} of a {state} task with the {tokens} token: expected {expected}")
            raise


@pytest.mark.parametrize("name", sorted(CALLS))
async def test_no_verb_reaches_into_another_organisation(tasks: DurableTasks, db: Path, name: str) -> None:
    mine, other = tasks.org("acme"), tasks.org("rival")
    task_id, token = await running(mine)
    before = everything(db)
    with pytest.raises(errors.NotFound) as caught:
        await CALLS[name](other, task_id, token)
    assert task_id in caught.value.message
    assert everything(db) == before


@pytest.mark.parametrize("name", sorted(CALLS))
async def test_no_verb_finds_what_is_not_there(org: Org, name: str) -> None:
    with pytest.raises(errors.NotFound, match="no-such-task"):
        await CALLS[name](org, "no-such-task", "token")


async def test_a_handlers_task_cannot_be_claimed(org: Org, db: Path) -> None:
    task = await org.create("auto", capability="nobody-has-it")
    before = everything(db)
    await refuses(org.claim(task.id, agent_id=AGENT), IllegalMove, task.id)
    assert await org.next(agent_id=AGENT) is None
    assert everything(db) == before


async def test_a_retried_task_begins_only_after_its_old_attempt_has_stopped(org: Org, db: Path) -> None:
    task_id, token = await cancelled(org)
    await org.retry(task_id)
    before = everything(db)
    await refuses(org.claim(task_id, agent_id="agent-2"), errors.Conflict, task_id)
    assert await org.next(agent_id="agent-2") is None
    assert everything(db) == before
    await org.release(task_id, token=token)
    claim = await org.next(agent_id="agent-2")
    assert claim is not None
    assert claim.task.id == task_id
    assert claim.token != token


async def test_a_retry_starts_with_fresh_counters(tasks: DurableTasks, org: Org) -> None:
    claim = await claimed(org, max_retries=1, retry=RetryPolicy(initial=1))
    await org.fail(claim.task.id, "once", token=claim.token)
    await time_of(tasks).advance(1)
    again = await org.claim(claim.task.id, agent_id=AGENT)
    await org.progress(claim.task.id, 30, token=again.token, message="x")
    ended = await org.fail(claim.task.id, "twice", token=again.token)
    assert (ended.retry_count, ended.generation, ended.progress) == (1, 1, 30.0)
    fresh = await org.retry(claim.task.id)
    assert_fresh(fresh)
    assert [one.state.value for one in await org.attempts(claim.task.id)] == ["failed", "failed"]


def assert_fresh(task: Task) -> None:
    assert (task.state, task.retry_count, task.lost_count, task.generation) == ("pending", 0, 0, 2)
    assert (task.error, task.reason, task.progress, task.completed_at, task.assigned_to) == (
        None,
        None,
        0.0,
        None,
        None,
    )
