"""Damage: a row of the file that cannot be read costs itself only, and is seen.

It must not test damage of the file itself, which SQLite finds.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from durable_tasks import DurableTasks, NewTask, Org, Task, TaskContext, TaskState, errors
from durable_tasks.models import Mode
from durable_tasks.store import dispatch, due, endings
from durable_tasks.store.rows import Row
from durable_tasks.store.transaction import Transaction
from tests.store.support import AGENT, executor_of, query, time_of, within

NO_TEXT = "CAST(x'66ff6f' AS TEXT)"
DAMAGES = {
    "labels": "'no JSON'", "metadata": "'{'", "input": "'[1,'", "depends_on": "'null'", "title": NO_TEXT,
    "description": NO_TEXT,
}  # fmt: skip


def damage(db: Path, task_id: str, column: str, value: str) -> None:
    with closing(sqlite3.connect(db)) as conn, conn:
        conn.execute(f"UPDATE dt_tasks SET {column} = {value} WHERE id = ?", (task_id,))


def echoing(tasks: DurableTasks) -> None:
    @tasks.handler("echo")
    async def echo(ctx: TaskContext, task: Task) -> Any:
        return task.input


@pytest.mark.parametrize("column", DAMAGES)
async def test_a_row_that_cannot_be_begun_costs_itself_only(
    tasks: DurableTasks, org: Org, db: Path, column: str
) -> None:
    """Made before there is a handler, so that a commit of another finds all of them ready."""
    broken = await org.create("broken", capability="echo", delay=1, priority="urgent")
    whole = [
        await tasks.org(name).create("whole", capability="echo", delay=1, input=name) for name in ("acme", "b", "c")
    ]
    damage(db, broken.id, column, DAMAGES[column])
    echoing(tasks)
    await time_of(tasks).advance(2)
    for task in whole:
        assert (await within(tasks.org(task.org_id).wait(task.id))).output == task.org_id
    failed = await within(org.wait(broken.id))
    assert failed.error is not None
    assert (failed.state, failed.error.type, failed.attempt) == (TaskState.FAILED, "unreadable", 0)
    assert [event.kind for event in await org.events(task_id=broken.id)][-1] == "task.failed"
    assert tasks.running_handlers == 0


@pytest.mark.parametrize("column", DAMAGES)
async def test_the_end_of_one_is_recorded_though_the_next_cannot_be_begun(
    tasks: DurableTasks, org: Org, db: Path, column: str
) -> None:
    executor_of(tasks)._slots = 1
    damaged: list[str] = []

    @tasks.handler("first")
    async def first(ctx: TaskContext, task: Task) -> str:
        for name in ("broken", "whole"):
            damaged.append((await org.create(name, capability="first" if name == "broken" else "echo")).id)
        damage(db, damaged[0], column, DAMAGES[column])
        return "done"

    echoing(tasks)
    task = await org.create("first", capability="first")
    assert (await within(org.wait(task.id))).output == "done"
    assert (await within(org.wait(damaged[1]))).state is TaskState.COMPLETED
    assert (await within(org.wait(damaged[0]))).state is TaskState.FAILED


@pytest.mark.parametrize("column", [*DAMAGES, "form"])
async def test_what_is_damaged_is_handed_to_nobody_and_shown_to_all(
    tasks: DurableTasks, org: Org, db: Path, column: str
) -> None:
    broken = await org.create("broken", priority="urgent")
    asked = await org.create("asked", priority="urgent")
    whole = await org.create("whole")
    for task in (broken, asked):
        damage(db, task.id, column, DAMAGES.get(column, "'{'"))
    page = await org.list()
    assert [task.id for task in page.items] == [broken.id, asked.id, whole.id]
    if DAMAGES.get(column) != NO_TEXT:
        shown = (await org.get(broken.id)).error
        assert shown is not None
        assert shown.message == f"the file is damaged here: {column}"
    with pytest.raises(errors.Conflict, match=r"damaged in the file"):
        await org.claim(asked.id, agent_id=AGENT)
    assert (await org.cancel(asked.id)).state is TaskState.CANCELLED
    claim = await org.next(agent_id=AGENT)
    assert claim is not None
    assert claim.task.id == whole.id
    assert (await org.get(broken.id)).state is TaskState.FAILED
    assert (await org.complete(whole.id, token=claim.token)).state is TaskState.COMPLETED


@pytest.mark.parametrize("column", ["deadline_at", "not_before"])
@pytest.mark.parametrize("value", [253402300800.0, -62135596801.0, 1e300, "9e999", "-9e999"])
async def test_an_instant_of_an_earlier_version_hides_nothing(
    tasks: DurableTasks, org: Org, db: Path, column: str, value: Any
) -> None:
    echoing(tasks)
    await org.fan_out("g", [NewTask(name="m", mode=Mode.MANUAL), NewTask(name="n", mode=Mode.MANUAL)])
    members = (await org.list()).items
    damage(db, members[0].id, column, str(value))
    other = await tasks.org("other").create("other", capability="echo", input=1)
    assert (await within(tasks.org("other").wait(other.id))).output == 1
    assert len((await org.list()).items) == 2
    assert getattr(await org.get(members[0].id), column).year in (1, 9999)


@pytest.mark.parametrize("column", ["error", "retry"])
async def test_what_is_only_shown_or_paces_a_retry_stops_nothing(
    tasks: DurableTasks, org: Org, db: Path, column: str
) -> None:
    group = await org.dag(
        "g", [NewTask(name="a", mode=Mode.MANUAL), NewTask(name="b", mode=Mode.MANUAL, depends_on=("a",))]
    )
    claim = await org.next(agent_id=AGENT)
    assert claim is not None
    damage(db, claim.task.id, column, "'{'")
    failed = await org.fail(claim.task.id, "no", token=claim.token)
    damage(db, claim.task.id, "error", "'{'")
    assert failed.state is TaskState.FAILED
    assert (await org.get_workflow(group.id)).state == "failed"
    kept = (await org.get(claim.task.id)).error
    assert kept is not None
    assert kept.type == "unreadable"


async def test_a_damaged_dependant_costs_itself_only(tasks: DurableTasks, org: Org, db: Path) -> None:
    echoing(tasks)
    parent = await org.create("parent", mode=Mode.MANUAL)
    broken, whole = [await org.create(name, capability="echo", depends_on=[parent.id]) for name in ("broken", "whole")]
    damage(db, broken.id, "title", NO_TEXT)
    damage(db, broken.id, "input", "'{'")
    claim = await org.claim(parent.id, agent_id=AGENT)
    assert (await org.complete(parent.id, token=claim.token)).state is TaskState.COMPLETED
    assert (await within(org.wait(whole.id))).state is TaskState.COMPLETED
    assert (await within(org.wait(broken.id))).state is TaskState.FAILED


async def test_a_damaged_event_or_workflow_hides_no_other(tasks: DurableTasks, org: Org, db: Path) -> None:
    groups = [await org.fan_out(name, [NewTask(name="m", mode=Mode.MANUAL)]) for name in ("a", "b")]
    seen = len(await org.events())
    kept = query(db, "SELECT data FROM dt_events WHERE seq = 1")
    with closing(sqlite3.connect(db)) as conn, conn:
        conn.execute("UPDATE dt_workflows SET metadata = '{' WHERE id = ?", (groups[0].id,))
    assert {group.id for group in (await org.list_workflows()).items} == {group.id for group in groups}
    assert (len(await org.events()), len(kept)) == (seen, 1)


async def test_a_row_in_no_known_state_ends_for_its_group_and_its_dependants_too(
    tasks: DurableTasks, org: Org, db: Path
) -> None:
    made = await org.fan_out("two", [NewTask(title="a", mode=Mode.MANUAL), NewTask(title="b", mode=Mode.MANUAL)])
    broken, whole = (await org.workflow_tasks(made.id))[:2]
    after = await org.create("after", mode="manual", depends_on=[broken.id], on_dependency_failure="run")
    claim = await org.claim(broken.id, agent_id=AGENT)
    with closing(sqlite3.connect(db)) as conn, conn:
        conn.execute("PRAGMA ignore_check_constraints = 1")
        conn.execute("UPDATE dt_tasks SET state = 'odd', due_at = 1 WHERE id = ?", (broken.id,))
    await tasks.store.expire()
    other = await org.claim(whole.id, agent_id=AGENT)
    await org.complete(whole.id, token=other.token)
    group = await org.get_workflow(made.id)
    assert (group.state, group.counts) == ("failed", {"completed": 1, "failed": 1})
    assert (await org.get(after.id)).state is TaskState.PENDING
    assert [event.kind for event in await org.events(task_id=broken.id)][-1] == "task.failed"
    assert query(db, "SELECT state FROM dt_attempts WHERE token = ?", claim.token) == [("failed",)]


@pytest.mark.parametrize("error", [MemoryError(), errors.Conflict("the namespace belongs to another")])
async def test_an_error_that_is_not_the_rows_own_only_puts_it_off(
    tasks: DurableTasks, org: Org, db: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    task = await org.create("healthy", delay=1)

    def breaks(tx: Transaction, seq: int) -> Row:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(due, "by_seq", breaks)
        await time_of(tasks).advance(2)
        await tasks.store.probe()
        await tasks.store.expire()
        assert (await org.get(task.id)).state is TaskState.SCHEDULED
    await time_of(tasks).advance(61)
    await tasks.store.expire()
    assert (await org.get(task.id)).state is TaskState.PENDING


async def test_an_end_that_breaks_for_no_fault_of_its_row_is_not_set_aside(
    tasks: DurableTasks, org: Org, monkeypatch: pytest.MonkeyPatch
) -> None:
    echoing(tasks)
    complete, failing = endings.end_completed, [MemoryError(), MemoryError()]

    def breaks(tx: Transaction, row: Row, output: str | None) -> None:
        if failing:
            raise failing.pop()
        complete(tx, row, output)

    monkeypatch.setattr(dispatch, "end_completed", breaks)
    task = await org.create("healthy", capability="echo", input="kept")
    assert (await within(org.wait(task.id))).output == "kept"
