"""Pages of tasks: short unless asked in full, and no larger than an answer has room for."""

import pytest

from durable_tasks import DurableTasks, NewTask, Org, Task, errors
from durable_tasks.models import Mode, TaskError
from durable_tasks.store import claims, groups, pages
from durable_tasks.store.rows import OMITTED

FORM = {"type": "object"}


@pytest.fixture
def little_room(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(pages, "ROOM", 10_000)
    monkeypatch.setattr("durable_tasks.store.group_listing.ROOM", 10_000)
    return 10_000


async def with_everything(org: Org) -> Task:
    task = await org.create("read", mode="manual", input={"page": 1}, form=FORM, max_retries=3)
    claim = await org.claim(task.id, agent_id="ann")
    failure = TaskError(type="torn", message="page 5 is missing", details={"page": 5})
    await org.fail(task.id, failure, token=claim.token, retryable=False)
    await org.retry(task.id)
    claim = await org.claim(task.id, agent_id="ann")
    await org.complete(task.id, {"pages": 8}, token=claim.token)
    return await org.get(task.id)


async def test_lists_leave_out_what_is_large_and_say_so(org: Org) -> None:
    task = await with_everything(org)
    (short,) = (await org.list()).items
    assert short.omitted == OMITTED
    assert (short.input, short.output, short.form) == (None, None, None)
    (full,) = (await org.list(full=True)).items
    assert full == task
    assert (full.input, full.output, full.form, full.omitted) == ({"page": 1}, {"pages": 8}, FORM, ())
    left = {"input": None, "output": None, "form": None, "omitted": OMITTED}
    assert short == task.model_copy(update=left)


async def test_lists_say_why_a_task_failed_but_not_its_details(org: Org) -> None:
    task = await org.create("read", mode="manual")
    claim = await org.claim(task.id, agent_id="ann")
    failure = TaskError(type="torn", message="page 5 is missing", details={"page": 5})
    await org.fail(task.id, failure, token=claim.token, retryable=False)
    (short,) = (await org.list()).items
    assert short.error == TaskError(type="torn", message="page 5 is missing")
    (full,) = (await org.list(full=True)).items
    assert full.error == failure


async def test_a_page_ends_where_the_room_ends(org: Org, little_room: int) -> None:
    made = [await org.create(f"n{n}", mode="manual", description="x" * 4000, priority=n % 2) for n in range(5)]
    huge = await org.create("huge", mode="manual", input="x" * 3 * little_room)
    for full, most in ((False, 3), (True, 2)):
        sizes, found, cursor = [], list[str](), None
        while True:
            page = await org.list(cursor=cursor, full=full)
            sizes.append(len(page.items))
            found += [task.id for task in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert found == [made[1].id, made[3].id, huge.id, made[0].id, made[2].id, made[4].id]
        assert max(sizes) == most


async def test_members_come_in_input_order_page_by_page(org: Org, little_room: int) -> None:
    members = [
        NewTask(name=f"n{n}", mode=Mode.MANUAL, input="x" * 4000, depends_on=("n4",) if n < 4 else ()) for n in range(5)
    ]
    group = await org.dag("all", members)
    names = [f"n{n}" for n in range(5)]
    first = await org.workflow_page(group.id, limit=2)
    assert [(task.name, task.input, task.omitted) for task in first.items] == [(n, None, OMITTED) for n in names[:2]]
    rest = await org.workflow_page(group.id, cursor=first.next_cursor)
    assert [task.name for task in rest.items] == names[2:]
    assert rest.next_cursor is None
    full = await org.workflow_page(group.id, full=True)
    assert len(full.items) == 2
    every = await org.workflow_tasks(group.id)
    assert [(task.name, task.input) for task in every] == [(n, "x" * 4000) for n in names]
    nodes = await org.workflow_nodes(group.id, limit=4)
    assert [node.name for node in nodes.items] == names[:4]
    assert nodes.items[0].depends_on == (every[4].id,)
    assert [n.name for n in (await org.workflow_nodes(group.id, cursor=nodes.next_cursor)).items] == ["n4"]


async def test_members_of_others_are_not_found(tasks: DurableTasks, org: Org) -> None:
    group, other = await org.fan_out("a", [NewTask(name="x")]), await org.fan_out("b", [NewTask(name="x")] * 1)
    with pytest.raises(errors.NotFound):
        await tasks.org("rival").workflow_page(group.id)
    with pytest.raises(errors.NotFound):
        await tasks.org("rival").workflow_nodes(group.id)
    two = await org.fan_out("c", [NewTask(title="x"), NewTask(title="y")])
    cursor = (await org.workflow_page(two.id, limit=1)).next_cursor
    with pytest.raises(errors.InvalidInput, match="cursor"):
        await org.workflow_page(other.id, cursor=cursor)


async def test_a_workflow_has_only_so_many_tasks(org: Org, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "MAX_MEMBERS", 3)
    group = await org.fan_out("all", [NewTask(title="x", mode=Mode.MANUAL)] * 2)
    await org.add_tasks(group.id, [NewTask(title="y", mode=Mode.MANUAL)])
    with pytest.raises(errors.InvalidInput, match="at most 3 tasks"):
        await org.add_tasks(group.id, [NewTask(title="z", mode=Mode.MANUAL)])
    assert (await org.get_workflow(group.id)).total == 3


async def test_a_task_shows_its_newest_attempts(org: Org, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "HISTORY", 2)
    task = await org.create("x", mode="manual")
    for _ in range(3):
        claim = await org.claim(task.id, agent_id="ann")
        await org.release(task.id, token=claim.token)
    assert [attempt.number for attempt in await org.attempts(task.id)] == [2, 3]
