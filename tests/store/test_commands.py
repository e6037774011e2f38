"""Commands: an id belongs to its caller and to what it asked; the first answer is for nobody and nothing else.

It must not know HTTP, whose callers are tested with it.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from durable_tasks import Actor, Claim, Org, errors
from tests.store.support import claimed, everything, steps

ID = "once"


class Setting(NamedTuple):
    """What the commands are about: a task, its token where it is claimed, and a group."""

    task: str
    token: str
    group: str


class Asked(NamedTuple):
    """One command, the same with other content where it has any, and the state that it needs."""

    same: Callable[[Org, Setting], Awaitable[Any]]
    other: Callable[[Org, Setting], Awaitable[Any]] | None
    needs: str = "claimed"


COMMANDS: dict[str, Asked] = {
    "claim": Asked(
        lambda org, on: org.claim(on.task, agent_id="ann", command_id=ID),
        lambda org, on: org.claim(on.task, agent_id="ann", lease=7, command_id=ID),
        "free",
    ),
    "next": Asked(
        lambda org, on: org.next(agent_id="ann", command_id=ID),
        lambda org, on: org.next(agent_id="ann", lease=7, command_id=ID),
        "free",
    ),
    "start": Asked(lambda org, on: org.start(on.task, token=on.token, command_id=ID), None),
    "progress": Asked(
        lambda org, on: org.progress(on.task, 5, token=on.token, command_id=ID),
        lambda org, on: org.progress(on.task, 6, token=on.token, command_id=ID),
    ),
    "complete": Asked(
        lambda org, on: org.complete(on.task, "yes", token=on.token, command_id=ID),
        lambda org, on: org.complete(on.task, "no", token=on.token, command_id=ID),
    ),
    "fail": Asked(
        lambda org, on: org.fail(on.task, "no", token=on.token, command_id=ID),
        lambda org, on: org.fail(on.task, "no", token=on.token, retryable=False, command_id=ID),
    ),
    "release": Asked(lambda org, on: org.release(on.task, token=on.token, command_id=ID), None),
    "cancel": Asked(
        lambda org, on: org.cancel(on.task, command_id=ID),
        lambda org, on: org.cancel(on.task, reason="another", command_id=ID),
    ),
    "retry": Asked(lambda org, on: org.retry(on.task, command_id=ID), None, "failed"),
    "update": Asked(
        lambda org, on: org.update(on.task, title="new", command_id=ID),
        lambda org, on: org.update(on.task, title="newer", command_id=ID),
    ),
    "comment": Asked(
        lambda org, on: org.comment(on.task, "well", command_id=ID),
        lambda org, on: org.comment(on.task, "ill", command_id=ID),
    ),
    "add_tasks": Asked(
        lambda org, on: org.add_tasks(on.group, steps("b"), command_id=ID),
        lambda org, on: org.add_tasks(on.group, steps("c"), command_id=ID),
    ),
    "cancel_workflow": Asked(
        lambda org, on: org.cancel_workflow(on.group, command_id=ID),
        lambda org, on: org.cancel_workflow(on.group, reason="another", command_id=ID),
    ),
    "retry_workflow": Asked(
        lambda org, on: org.retry_workflow(on.group, command_id=ID),
        lambda org, on: org.cancel_workflow(on.group, command_id=ID),
        "cancelled group",
    ),
}
OTHERS = [name for name, asked in COMMANDS.items() if asked.other is not None]


async def setting(org: Org, needs: str) -> Setting:
    group = await org.dag("group", steps("a", assigned_to="nobody"))
    if needs == "cancelled group":
        await org.cancel_workflow(group.id)
    if needs == "free":
        return Setting((await org.create("task")).id, "", group.id)
    claim = await claimed(org, agent="ann", max_retries=3)
    if needs == "failed":
        await org.fail(claim.task.id, "no", token=claim.token, retryable=False)
    return Setting(claim.task.id, claim.token, group.id)


@pytest.fixture
def ann(org: Org) -> Org:
    return org.by(Actor(name="ann", proved=True))


@pytest.mark.parametrize("name", list(COMMANDS))
async def test_the_same_caller_with_the_same_hears_the_first_answer(ann: Org, db: Path, name: str) -> None:
    asked = COMMANDS[name]
    on = await setting(ann, asked.needs)
    first, before = await asked.same(ann, on), everything(db)
    again = await asked.same(ann, on)
    if isinstance(first, Claim):
        assert (again.token, again.task) == (first.token, first.task)
    else:
        assert again == first
    assert everything(db) == before


@pytest.mark.parametrize("name", OTHERS)
async def test_another_content_is_a_conflict(ann: Org, db: Path, name: str) -> None:
    asked = COMMANDS[name]
    assert asked.other is not None
    on = await setting(ann, asked.needs)
    await asked.same(ann, on)
    before = everything(db)
    with pytest.raises(errors.IdempotencyConflict, match=ID):
        await asked.other(ann, on)
    assert everything(db) == before


@pytest.mark.parametrize("caller", [Actor(name="eve", proved=True), Actor(name="ann"), None], ids=str)
@pytest.mark.parametrize("name", list(COMMANDS))
async def test_another_caller_is_a_conflict(ann: Org, org: Org, db: Path, name: str, caller: Actor | None) -> None:
    """Also who only says that he is the first."""
    asked = COMMANDS[name]
    on = await setting(ann, asked.needs)
    await asked.same(ann, on)
    before = everything(db)
    with pytest.raises(errors.IdempotencyConflict, match=ID):
        await asked.same(org if caller is None else org.by(caller), on)
    assert everything(db) == before


async def test_the_id_of_a_next_is_shown_as_it_was_given(org: Org, db: Path) -> None:
    await org.create("task")
    assert await org.by("ann").next(agent_id="ann", command_id="same") is not None
    with pytest.raises(errors.IdempotencyConflict) as caught:
        await org.by("eve").next(agent_id="ann", command_id="same")
    assert caught.value.message.startswith("the command id 'same' was used for another next_task on ")
    assert (caught.value.facts["key"], caught.value.facts["operation"]) == ("same", "next_task")
