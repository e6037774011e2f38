"""One fault stays one fault: a poison row, a cancelled caller or a busy file must not stop anybody else.

It must not test what goes right; the other files do.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from durable_tasks import DurableTasks, NewTask, Org, RetryAfter, Task, TaskContext, TaskState, errors
from durable_tasks.contracts import TaskRef, task_workflow_id
from durable_tasks.models import Placement
from durable_tasks.ports import Asked, Notice
from durable_tasks.store import writer
from durable_tasks.store.containment import contained
from durable_tasks.store.moves import get, move, stop_attempt
from durable_tasks.store.rows import Row
from durable_tasks.store.transaction import Transaction
from tests.store.support import AGENT, claimed, executor_of, make, opened, query, spin_until, time_of, within


@contextmanager
def locked(db: Path) -> Iterator[None]:
    """Another program holds the write lock."""
    with closing(sqlite3.connect(db, isolation_level=None)) as conn:
        conn.execute("BEGIN IMMEDIATE")
        yield
        conn.execute("COMMIT")


async def test_a_timeout_removed_under_way_stops_no_clock(tasks: DurableTasks, org: Org) -> None:
    held = await org.create("held", timeout="1s")
    claim = await org.claim(held.id, agent_id=AGENT)
    await org.start(held.id, token=claim.token)
    await org.update(held.id, timeout=None)
    delayed = await tasks.org("other").create("delayed", delay="2s")
    await time_of(tasks).advance(3)
    assert (await tasks.org("other").get(delayed.id)).state is TaskState.PENDING
    assert (await org.get(held.id)).state is TaskState.RUNNING


async def test_a_row_that_breaks_the_clock_costs_only_itself(tasks: DurableTasks, org: Org, db: Path) -> None:
    broken = await org.create("broken", timeout="1s", max_retries=1)
    claim = await org.claim(broken.id, agent_id=AGENT)
    await org.start(broken.id, token=claim.token)
    whole = await org.create("whole", delay="1s")
    with closing(sqlite3.connect(db)) as conn, conn:
        conn.execute("UPDATE dt_tasks SET retry = 'no JSON' WHERE id = ?", (broken.id,))
    await time_of(tasks).advance(2)
    assert (await org.get(whole.id)).state is TaskState.PENDING
    failure = (await org.get(broken.id)).error
    assert failure is not None
    assert failure.type == "timeout"


async def test_an_instant_that_is_not_the_rows_own_is_put_right(tasks: DurableTasks, org: Org, db: Path) -> None:
    await org.create("later", delay="1h")
    with closing(sqlite3.connect(db)) as conn, conn:
        conn.execute("UPDATE dt_tasks SET due_at = 1")
    await tasks.store.expire()
    assert (await tasks.store.expire())[0] == 0
    assert query(db, "SELECT due_at = wake_at, state FROM dt_tasks") == [(1, "scheduled")]


async def test_nobody_is_told_of_what_was_undone(tasks: DurableTasks, org: Org) -> None:
    claim = await claimed(org)
    told: list[Notice] = []

    def work(tx: Transaction, row: Row) -> None:
        changes = stop_attempt(tx, row)
        move(tx, row, TaskState.CANCELLED, "task.cancelled", **changes)
        raise ValueError("it breaks after it was told")

    def op(tx: Transaction) -> None:
        row = get(tx, "acme", claim.task.id)
        contained(tx, row["seq"], lambda: work(tx, row))
        assert len(tx.ended) == 1

    forget = tasks.store.subscribe(told.append)
    await tasks.store._write(op)
    forget()
    assert [len(notice.stop) for notice in told] == [1]
    assert [notice.ended for notice in told] == [[claim.task.id]]


async def test_what_is_too_deep_to_be_read_is_not_written(tasks: DurableTasks, org: Org) -> None:
    deep: list[object] = []
    for _ in range(150):
        deep = [deep]

    @tasks.handler("deep")
    async def answer(ctx: TaskContext, task: Task) -> object:
        return deep

    with pytest.raises(errors.InvalidInput, match="100 levels"):
        await org.create("deep", input=deep)
    failed = await org.wait((await org.create("deep", capability="deep")).id)
    assert failed.state is TaskState.FAILED


@pytest.mark.parametrize("wait", ["5m", timedelta(minutes=5), float("nan"), -1])
async def test_no_retry_after_strands_its_task(tasks: DurableTasks, org: Org, wait: float) -> None:
    @tasks.handler("later")
    async def later(ctx: TaskContext, task: Task) -> None:
        raise RetryAfter(wait)

    task = await org.create("later", capability="later", max_retries=3)
    await spin_until(lambda: tasks.running_handlers == 0 and _state(tasks, task) == "retrying")


@pytest.mark.parametrize("wait", [1e300, 10**400, timedelta.max])
async def test_a_pause_that_a_handler_asks_for_has_an_end(tasks: DurableTasks, org: Org, wait: float) -> None:
    """What is no duration is no pause either: then the task's own applies."""

    @tasks.handler("never")
    async def never(ctx: TaskContext, task: Task) -> None:
        raise RetryAfter(wait)

    task = await org.create("never", capability="never", max_retries=3)
    await spin_until(lambda: tasks.running_handlers == 0 and _state(tasks, task) == "retrying")
    ((wake_at,),) = query(tasks.settings.db, "SELECT wake_at FROM dt_tasks WHERE id = ?", task.id)
    assert wake_at <= tasks.clock.now() + task.retry.maximum


async def test_a_handler_that_waits_while_no_slot_is_free_is_told(db: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(db, max_concurrent=1) as tasks:
        org = tasks.org("acme")

        @tasks.handler("parent")
        async def wait(ctx: TaskContext, task: Task) -> str:
            child = await org.create("child", capability="parent")
            with pytest.raises(errors.WaitTimeout):
                await org.wait(child.id, timeout=0.05)
            await org.cancel(child.id)
            return child.id

        done = await within(org.wait((await org.create("parent", capability="parent")).id))
        said = [record.getMessage() for record in caplog.records if "no slot of this process is free" in record.message]
        assert len(said) == 1
        assert str(done.output) in said[0]


def _state(tasks: DurableTasks, task: Task) -> str:
    return str(query(tasks.settings.db, "SELECT state FROM dt_tasks WHERE id = ?", task.id)[0][0])


async def test_a_handler_that_gets_no_thread_fails_alone(
    tasks: DurableTasks, org: Org, monkeypatch: pytest.MonkeyPatch
) -> None:
    @tasks.handler("thread")
    def run(ctx: TaskContext, task: Task) -> str:
        return "done"

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", _no_thread)
        refused = await org.wait((await org.create("refused", capability="thread")).id)
    served = await org.wait((await org.create("served", capability="thread")).id)
    assert (refused.state, served.state) == (TaskState.FAILED, TaskState.COMPLETED)


def _no_thread(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


async def test_a_caller_cancelled_while_its_attempt_begins_leaves_it_running_here(db: Path) -> None:
    tasks = make(db, enabled=True, address="127.0.0.1:1", fallback="wait")
    ran = asyncio.Event()

    @tasks.handler("auto")
    async def auto(ctx: TaskContext, task: Task) -> None:
        ran.set()

    async with tasks:
        org = tasks.org("acme")
        task = await org.create("auto", capability="auto")
        ref = TaskRef(task_id=task.id, org_id="acme", generation=1, placement=Placement.EMBEDDED)
        executor = executor_of(tasks)
        await spin_until(lambda: executor.free == tasks.settings.max_concurrent)
        with locked(db):
            asked = Asked(ref, "run/1", "default", task_workflow_id(task.id, 1))
            asking = asyncio.create_task(executor.admit(asked))
            await spin_until(lambda: executor.free < tasks.settings.max_concurrent)  # it waits for the lock
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        await within(ran.wait())
        assert (await org.wait(task.id)).state is TaskState.COMPLETED


async def test_an_attempt_ended_in_the_commit_that_began_it_never_runs(db: Path) -> None:
    tasks = make(db, cancel_grace=1)
    runs: list[str] = []

    @tasks.handler("auto")
    async def auto(ctx: TaskContext, task: Task) -> None:
        runs.append(task.id)

    async with opened(db, worker=False) as other, tasks:
        org = tasks.org("acme")
        with locked(db):
            blocker = asyncio.create_task(org.create("blocker"))
            creating = asyncio.create_task(org.create("auto", capability="auto"))
            for _ in range(20):
                await asyncio.sleep(0)
            filling = asyncio.create_task(executor_of(tasks).fill())
            for _ in range(5):
                await asyncio.sleep(0)
            cancelling = asyncio.create_task(_cancel_all(org))
        await asyncio.gather(blocker, creating, filling, cancelling)
        task = (await creating).id
        assert (await org.wait(task)).state in (TaskState.CANCELLED, TaskState.COMPLETED)
        ended, (attempt, *_) = await org.get(task), [*await org.attempts(task), None]
        if ended.state is TaskState.COMPLETED:
            assert runs
        elif attempt is None or attempt.claimed_at == ended.completed_at:  # on a busy machine it may end in a later one
            assert not runs
        assert other.running_handlers == 0


async def _cancel_all(org: Org) -> None:
    page = await org.list(capability="auto")
    for task in page.items:
        with suppress(errors.IllegalMove):  # on a busy machine it may have completed before
            await org.cancel(task.id)


async def test_a_lease_begins_when_the_lock_is_had(tasks: DurableTasks, org: Org, db: Path) -> None:
    await org.create("wanted")
    with locked(db):
        claiming = asyncio.create_task(org.next(agent_id=AGENT, lease=5))
        for _ in range(20):
            await asyncio.sleep(0)
        await time_of(tasks).advance(4)
    claim = await within(claiming)
    assert claim.lease_expires_at.timestamp() == pytest.approx(tasks.clock.now() + 5)


async def test_a_checkpoint_that_fails_refuses_nobody(
    db: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(db) as tasks:
        monkeypatch.setattr(writer, "CHECKPOINT_OPERATIONS", 1)
        monkeypatch.setattr(writer, "connect", _no_connection)
        for number in range(5):
            await tasks.org("acme").create(f"task {number}")
    assert "could not be checkpointed" in caplog.text


def _no_connection(path: Path) -> sqlite3.Connection:
    raise sqlite3.OperationalError("unable to open database file")


async def test_a_process_without_temporal_keeps_nobody_from_relaying(db: Path) -> None:
    async with opened(db, worker=False) as producer, opened(db, enabled=True, address="127.0.0.1:1") as relayer:
        assert not await producer.store.stand(relays=False)
        assert await relayer.store.stand(relays=True)


async def test_a_task_retried_after_the_switch_goes_to_the_engine_of_today(db: Path) -> None:
    async with opened(db, enabled=True, address="127.0.0.1:1", worker=False) as durable:
        task = await durable.org("acme").create("auto", capability="auto")
        await durable.org("acme").cancel(task.id)
    tasks = make(db)

    @tasks.handler("auto")
    async def auto(ctx: TaskContext, task: Task) -> str:
        return "done"

    async with tasks:
        await tasks.org("acme").retry(task.id)
        assert (await tasks.org("acme").wait(task.id, timeout=10)).output == "done"


async def test_a_retried_workflow_takes_back_what_its_failed_members_had_let_go(tasks: DurableTasks, org: Org) -> None:
    group = await org.dag("g", [NewTask(name="a"), NewTask(name="b", depends_on=("a",), on_dependency_failure="run")])
    for outcome in ("a", "b"):
        claim = await org.next(agent_id=AGENT)
        assert claim is not None
        assert claim.task.name == outcome
        await org.fail(claim.task.id, "no", token=claim.token)
    await org.retry_workflow(group.id)
    states = {task.name: task.state for task in await org.workflow_tasks(group.id)}
    assert states == {"a": TaskState.PENDING, "b": TaskState.BLOCKED}
