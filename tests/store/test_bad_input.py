"""Every bad input is refused by its own error, which names the value and what to do; and nothing changes.

It must not test what good input leads to.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from durable_tasks import DurableTasks, NewTask, Org, RetryPolicy, TaskError, errors
from durable_tasks.store import cursors
from tests.store.support import AGENT, claimed, everything, make, opened, steps, within

Call = Callable[[Any], Awaitable[Any]]  # Any: the calls are wrong on purpose
CYCLE: dict[str, Any] = {}
CYCLE["itself"] = CYCLE
DEEP: list[Any] = []
for _ in range(100_000):
    DEEP = [DEEP]

# name: (call, error, what its message holds)
BAD: dict[str, tuple[Call, type[errors.DurableTasksError], str]] = {
    "capability": (lambda o: o.create("x", capability="no good"), errors.InvalidInput, "'no good' is not a capability"),
    "capability newline": (lambda o: o.create("x", capability="a\n"), errors.InvalidInput, r"is not a capability"),
    "asked capability": (lambda o: o.next(agent_id=AGENT, capabilities=["a b"]), errors.InvalidInput, "'a b'"),
    "capabilities as text": (lambda o: o.next(agent_id=AGENT, capabilities="code"), errors.InvalidInput, "a list of"),
    "too many capabilities": (
        lambda o: o.next(agent_id=AGENT, capabilities=[f"c{n}" for n in range(101)]), errors.InvalidInput, "100"),
    "negative timeout": (lambda o: o.create("x", timeout=-5), errors.InvalidInput, "cannot be negative: -5"),
    "zero timeout": (lambda o: o.create("x", timeout=0), errors.InvalidInput, "above 0; leave it out"),
    "nonsense duration": (lambda o: o.create("x", delay="soon"), errors.InvalidInput, "'soon' is not a duration; give"),
    "infinite duration": (lambda o: o.create("x", deadline=float("inf")), errors.InvalidInput, "inf"),
    "two starts": (
        lambda o: o.create("x", delay=1, not_before="2030-01-01T00:00:00Z"), errors.InvalidInput, "not both"),
    "naive time": (lambda o: o.create("x", not_before="2030-01-01T00:00:00"), errors.InvalidInput, "timezone"),
    "no title": (lambda o: o.create(), errors.InvalidInput, "needs a title or a name"),
    "empty title": (lambda o: o.create(""), errors.InvalidInput, "title"),
    "title of another kind": (lambda o: o.create(5), errors.InvalidInput, "title"),
    "surrogate title": (lambda o: o.create("\ud800"), errors.InvalidInput, "title"),
    "unknown field": (lambda o: o.create("x", colour="red"), errors.InvalidInput, "colour"),
    "priority": (lambda o: o.create("x", priority="hot"), errors.InvalidInput, "'hot' is not a priority: low, normal"),
    "priority number": (lambda o: o.create("x", priority=4), errors.InvalidInput, "priority"),
    "priority boolean": (lambda o: o.create("x", priority=True), errors.InvalidInput, "True is not a priority"),
    "negative retries": (lambda o: o.create("x", max_retries=-1), errors.InvalidInput, "-1"),
    "unknown dependency": (lambda o: o.create("x", depends_on=["nobody"]), errors.UnknownDependency, "'nobody'"),
    "unknown parent": (lambda o: o.create("x", parent_task_id="nobody"), errors.NotFound, "'nobody'"),
    "queue": (lambda o: o.create("x", queue="\n"), errors.InvalidInput, "is not a name"),
    "not json": (lambda o: o.create("x", input=object()), errors.InvalidInput, "input cannot be stored as JSON"),
    "nan": (lambda o: o.create("x", input={"a": [float("nan")]}), errors.InvalidInput, "input cannot be stored"),
    "infinity": (lambda o: o.create("x", input=float("-inf")), errors.InvalidInput, "input cannot be stored"),
    "set": (lambda o: o.create("x", input={1, 2}), errors.InvalidInput, "input cannot be stored as JSON"),
    "bytes": (lambda o: o.create("x", input=b"raw"), errors.InvalidInput, "input cannot be stored as JSON"),
    "itself": (lambda o: o.create("x", input=CYCLE), errors.InvalidInput, "input cannot be stored as JSON"),
    "too deep": (lambda o: o.create("x", input=DEEP), errors.InvalidInput, "input cannot be stored as JSON"),
    "odd key": (lambda o: o.create("x", input={"a": [{1: 2}]}), errors.InvalidInput, "key 1; JSON keys are strings"),
    "surrogate": (lambda o: o.create("x", input="\ud800"), errors.InvalidInput, "input cannot be stored as JSON"),
    "oversized input": (lambda o: o.create("x", input="x" * 2**20), errors.PayloadTooLarge, "1048578 bytes"),
    "oversized in bytes": (lambda o: o.create("x", input="é" * 2**19), errors.PayloadTooLarge, "1048578 bytes"),
    "oversized metadata": (lambda o: o.create("x", metadata={"a": "x" * 65536}), errors.PayloadTooLarge, "metadata is"),
    "too many labels": (lambda o: o.create("x", labels=["l"] * 65), errors.InvalidInput, "labels"),
    "labels as text": (lambda o: o.create("x", labels="red"), errors.InvalidInput, "labels"),
    "nothing to create": (lambda o: o.create_many([]), errors.InvalidInput, "give 1 to 10000 tasks, not 0"),
    "too many to create": (
        lambda o: o.create_many([NewTask(title="x")] * 10_001), errors.InvalidInput, "give 1 to 10000 tasks"),
    "too many dependencies": (
        lambda o: o.create_many([NewTask(title="x", depends_on=tuple(f"{n}" for n in range(2_001)))] * 10),
        errors.InvalidInput, "at most 20000 dependencies together, not 20010"),
    "no NewTask": (lambda o: o.create_many(["x"]), errors.InvalidInput, "'x' is not a NewTask"),
    "one bad of many": (
        lambda o: o.create_many([NewTask(title="good"), NewTask(title="bad", depends_on=("nobody",))]),
        errors.UnknownDependency, "'bad' depends on 'nobody'"),
    "cycle": (
        lambda o: o.create_many([NewTask(name="a", depends_on=("b",)), NewTask(name="b", depends_on=("a",))]),
        errors.DependencyCycle, "a → b → a"),
    "nothing to update": (lambda o: o.update("id"), errors.InvalidInput, "not nothing"),
    "what cannot be updated": (lambda o: o.update("id", state="completed"), errors.InvalidInput, "not state"),
    "removed title": (lambda o: o.update("id", title=None), errors.InvalidInput, "title cannot be removed; give a"),
    "agent": (lambda o: o.next(agent_id=""), errors.InvalidInput, "agent_id is a text of 1 to 256"),
    "agent of another kind": (lambda o: o.claim("id", agent_id=7), errors.InvalidInput, "not 7"),
    "lease": (lambda o: o.next(agent_id=AGENT, lease=0), errors.InvalidInput, "above 0 seconds, not 0"),
    "negative lease": (lambda o: o.next(agent_id=AGENT, lease="-1"), errors.InvalidInput, "cannot be negative: '-1'"),
    "limit": (lambda o: o.list(limit=0), errors.InvalidInput, "from 1 to 1000, not 0"),
    "large limit": (lambda o: o.next_many(1001, agent_id=AGENT), errors.InvalidInput, "from 1 to 1000, not 1001"),
    "state": (lambda o: o.list(state="done"), errors.InvalidInput, "done"),
    "workflow state": (lambda o: o.list_workflows(state="done"), errors.InvalidInput, "pending, running"),
    "cursor": (lambda o: o.list(cursor="abc"), errors.InvalidInput, "'abc' is not a cursor of this list"),
    "another lists cursor": (lambda o: o.list(cursor="WzVd"), errors.InvalidInput, "'WzVd' is not a cursor"),
    "empty cursor": (lambda o: o.list_workflows(cursor="W10"), errors.InvalidInput, "'W10' is not a cursor"),
    "cursor of no task": (
        lambda o: o.list(cursor=cursors.make(1, "nobody")), errors.InvalidInput, "is not a cursor of this list"),
    "cursor of no workflow": (
        lambda o: o.list_workflows(cursor=cursors.make("nobody")), errors.InvalidInput, "is not a cursor of this list"),
    "huge cursor": (
        lambda o: o.list(cursor=cursors.make(2**80, "nobody")), errors.InvalidInput, "is not a cursor of this list"),
    "huge event number": (lambda o: o.events(after=2**80), errors.InvalidInput, "after is the number of an event"),
    "negative event number": (lambda o: o.events(after=-1), errors.InvalidInput, "not -1"),
    "event number as text": (lambda o: o.events(after="7"), errors.InvalidInput, "not '7'"),
    "event number as fraction": (lambda o: o.events(after=1.5), errors.InvalidInput, "not 1.5"),
    "event number to watch from": (lambda o: anext(o.watch(after=2**80)), errors.InvalidInput, "number of an event"),
    "progress": (lambda o: o.progress("id", 101, token="t"), errors.InvalidInput, "from 0 to 100, not 101"),
    "progress text": (lambda o: o.progress("id", "half", token="t"), errors.InvalidInput, "not 'half'"),
    "long reason": (lambda o: o.cancel("id", reason="x" * 9000), errors.InvalidInput, "reason is a text of 0 to 8192"),
    "large error": (
        lambda o: o.fail("id", TaskError(type="x", message="y" * 9000), token="t"),
        errors.InvalidInput, "error.message"),
    "odd details": (
        lambda o: o.fail("id", TaskError(type="x", message="y", details={1: 2}), token="t"),
        errors.InvalidInput, "error.details has the key 1"),
    "output": (lambda o: o.complete("id", object(), token="t"), errors.InvalidInput, "output cannot be stored"),
    "join": (lambda o: o.fan_out("w", steps("a"), join=2), errors.InvalidInput, "from 1 to 1, not 2"),
    "join word": (lambda o: o.fan_out("w", steps("a"), join="most"), errors.InvalidInput, "not 'most'"),
    "max_parallel": (lambda o: o.fan_out("w", steps("a"), max_parallel=0), errors.InvalidInput, "at least 1, not 0"),
    "max_parallel text": (lambda o: o.fan_out("w", steps("a"), max_parallel="2"), errors.InvalidInput, "not '2'"),
    "policy": (
        lambda o: o.dag("w", steps("a"), failure_policy="panic"), errors.InvalidInput, '"continue", not \'panic\''),
    "group option": (lambda o: o.dag("w", steps("a"), colour="red"), errors.InvalidInput, "not colour"),
    "group key": (lambda o: o.dag("w", steps("a"), idempotency_key={}), errors.InvalidInput, "idempotency_key"),
    "group author": (lambda o: o.dag("w", steps("a"), created_by=5), errors.InvalidInput, "created_by"),
    "group name": (lambda o: o.dag("", steps("a")), errors.InvalidInput, "name is a text of 1 to 512"),
    "wait": (lambda o: o.wait("nobody"), errors.NotFound, "'nobody'"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(BAD))
async def test_bad_input(org: Org, db: Path, name: str) -> None:
    call, kind, said = BAD[name]
    before = everything(db)
    with pytest.raises(errors.DurableTasksError) as caught:
        await call(org)
    assert type(caught.value) is kind
    assert said in caught.value.message
    assert len(caught.value.message) < 1000
    assert everything(db) == before


async def test_another_organisations_task_is_unknown_as_a_dependency(tasks: DurableTasks, db: Path) -> None:
    foreign = await tasks.org("rival").create("theirs")
    before = everything(db)
    with pytest.raises(errors.UnknownDependency, match="no task of organisation 'acme'"):
        await tasks.org("acme").create("mine", depends_on=[foreign.id])
    with pytest.raises(errors.UnknownDependency):
        await tasks.org("acme").dag("mine", [NewTask(name="a", depends_on=(foreign.id,))])
    with pytest.raises(errors.NotFound):
        await tasks.org("acme").create("mine", parent_task_id=foreign.id)
    assert everything(db) == before


ORGS = ["acme\n", "", ".", "..", "-a", "a/b", "a b", "é", "x" * 129, "temporal-system", "Temporal-System", "null", 5]


@pytest.mark.parametrize("org_id", ORGS)
async def test_bad_organisations(tasks: DurableTasks, org_id: Any) -> None:
    with pytest.raises(errors.InvalidOrg) as caught:
        tasks.org(org_id)
    assert repr(org_id) in caught.value.message
    assert caught.value.org == org_id


async def test_a_bad_default_organisation_stops_the_start(db: Path) -> None:
    with pytest.raises(errors.InvalidOrg, match="reserved"):
        await make(db, org="temporal-system").start()
    assert not db.exists()


@pytest.mark.parametrize("org_id", ["a", "A.b_c-1", "x" * 128, "0"])
async def test_good_organisations(tasks: DurableTasks, org_id: str) -> None:
    assert (await tasks.org(org_id).create("x")).org_id == org_id


async def test_the_error_of_a_wrong_token_says_which_attempt(org: Org) -> None:
    task, _, _ = await claimed(org)
    with pytest.raises(errors.StaleToken, match="attempt 1") as caught:
        await org.complete(task.id, token="wrong")
    assert (caught.value.task_id, caught.value.state) == (task.id, "claimed")


@pytest.mark.parametrize("version", [True, 1.0, "1"])
async def test_a_version_that_is_none(org: Org, db: Path, version: Any) -> None:
    task = await org.create("task")
    before = everything(db)
    with pytest.raises(errors.InvalidInput, match="version is a whole number"):
        await org.update(task.id, title="second", version=version)
    assert everything(db) == before


async def test_a_stale_edit(org: Org, db: Path) -> None:
    task = await org.create("task")
    await org.update(task.id, title="first", version=task.version)
    before = everything(db)
    with pytest.raises(errors.VersionConflict, match="read it again") as caught:
        await org.update(task.id, title="second", version=task.version)
    assert (caught.value.version, caught.value.expected) == (2, 1)
    assert everything(db) == before


@pytest.mark.parametrize("operation", ["create", "create_many"])
async def test_a_key_with_other_content(org: Org, db: Path, operation: str) -> None:
    first = await org.create("one", idempotency_key="k")
    before = everything(db)
    assert (await org.create("one", idempotency_key="k")).id == first.id
    other: Awaitable[Any] = (
        org.create("two", idempotency_key="k")
        if operation == "create"
        else org.create_many([NewTask(title="zero"), NewTask(title="two", idempotency_key="k")])
    )
    with pytest.raises(errors.IdempotencyConflict, match="use a new key") as caught:
        await other
    assert (caught.value.key, caught.value.id) == ("k", first.id)
    assert everything(db) == before


async def test_a_key_belongs_to_its_organisation(tasks: DurableTasks) -> None:
    one = await tasks.org("acme").create("x", idempotency_key="k")
    two = await tasks.org("rival").create("y", idempotency_key="k")
    assert one.id != two.id


def test_a_retry_policy_that_cannot_be() -> None:
    for values in ({"coefficient": 0.5}, {"initial": -1}, {"maximum": float("inf")}, {"other": 1}):
        with pytest.raises(ValueError):
            RetryPolicy(**values)


# ----- closed, another loop, a fork


async def test_before_start_and_after_stop(db: Path) -> None:
    tasks = make(db)
    with pytest.raises(errors.Closed, match=r"call start\(\) first"):
        await tasks.org().create("x")
    await tasks.start()
    org = tasks.org()
    waiting = asyncio.create_task(org.wait((await org.create("x")).id))
    watching = asyncio.ensure_future(anext(org.watch()))
    await asyncio.sleep(0)
    await tasks.stop()
    for call in (org.create("y"), org.list(), waiting, watching):
        with pytest.raises(errors.Closed, match=r"call start\(\) first"):
            await within(call)
    await tasks.stop()
    async with tasks:
        assert (await tasks.org().list()).items[0].title == "x"


async def test_a_watcher_that_reads_while_it_stops_is_told_so(db: Path) -> None:
    """However far the watchers have come at that moment."""
    tasks = make(db)
    await tasks.start()
    org = tasks.org()
    await org.create("x")
    watching = []
    stopping = asyncio.create_task(tasks.stop())
    while not stopping.done():
        watching.append(asyncio.ensure_future(anext(org.watch())))
        await asyncio.sleep(0)
    await stopping
    for watcher in watching:
        with pytest.raises(errors.Closed, match=r"call start\(\) first"):
            await within(watcher)


async def test_another_event_loop(tasks: DurableTasks, org: Org, db: Path) -> None:
    async def elsewhere() -> None:
        with pytest.raises(errors.Closed, match="another event loop"):
            await org.create("x")
        with pytest.raises(errors.Closed, match="another event loop"):
            await tasks.stop()

    before = everything(db)
    await asyncio.to_thread(asyncio.run, elsewhere())
    assert everything(db) == before
    assert (await org.create("still open")).state == "pending"


async def test_a_loop_that_ended_without_stop_can_be_followed_by_another(db: Path) -> None:
    tasks = make(db)

    async def forgetful() -> None:
        await tasks.start()
        await tasks.org().create("x")

    await asyncio.to_thread(asyncio.run, forgetful())
    async with tasks:
        assert [task.title for task in (await tasks.org().list()).items] == ["x"]


FORK = """
import asyncio, os, sys
from durable_tasks import DurableTasks, Settings, errors
async def main():
    async with DurableTasks(Settings(db=sys.argv[1], enabled=False)) as tasks:
        task = await tasks.org().create("before")
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                await tasks.org().create("in the fork")
            except errors.Closed as error:
                code = 0 if "fork" in error.message else 2
            try:
                await tasks.stop()
            except BaseException:
                code += 10
            os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
        assert (await tasks.org().create("after")).state == "pending"
        assert [one.title for one in (await tasks.org().list()).items] == ["before", "after"]
asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_is_told_to_start_its_own(db: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK, str(db)], timeout=60, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 0


async def test_an_idle_instance_starts_and_stops_many_times(db: Path) -> None:
    for _ in range(5):
        async with opened(db) as tasks:
            await tasks.start()
            assert (await tasks.org().list()).items == []
