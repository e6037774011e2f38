"""A conformance suite: what every store or facade that claims to be durable_tasks must do, as pytest tests.

It must not know how tasks are kept: it uses the verbs only.
"""

import asyncio
from typing import Any, NamedTuple

import pytest

from durable_tasks.app import DurableTasks
from durable_tasks.errors import (
    AlreadyClaimed,
    DependencyCycle,
    IdempotencyConflict,
    IllegalMove,
    InvalidInput,
    InvalidOutput,
    NotFound,
    StaleToken,
    UnknownDependency,
    VersionConflict,
)
from durable_tasks.models import Claim, NewTask, RetryPolicy, Task
from durable_tasks.org import Org

AGENT = "agent-1"


class _Held(NamedTuple):
    id: str
    token: str


async def _hold(org: Org, *, lease: float | None = 60.0, **fields: Any) -> _Held:
    task = await org.create("held", **fields)
    claim = await org.claim(task.id, agent_id=AGENT, lease=lease)
    return _Held(task.id, claim.token)


async def _take(org: Org) -> Claim:
    claim = await org.next(agent_id=AGENT)
    assert claim is not None
    return claim


async def _complete(org: Org) -> Task:
    claim = await _take(org)
    return await org.complete(claim.task.id, claim.task.title, token=claim.token)


@pytest.mark.asyncio
class StoreConformance:
    """Subclass it and give it a fixture `tasks`: started, empty, on a clock that `advance` can move.

        class TestMyStore(StoreConformance):
            @pytest.fixture
            async def tasks(self, tmp_path):
                async with DurableTasks(Settings(db=tmp_path / "app.db"), clock=ManualClock()) as tasks:
                    yield tasks

    Needs pytest-asyncio. Override `advance` when time is moved in another way."""

    async def advance(self, tasks: DurableTasks, seconds: float) -> None:
        """Let `seconds` pass, and whatever is due happen."""
        clock: Any = tasks.clock
        await clock.advance(seconds)

    @pytest.fixture
    def org(self, tasks: DurableTasks) -> Org:
        return tasks.org("conformance")

    # ----- verbs

    async def test_a_manual_task_goes_from_pending_to_completed(self, org: Org) -> None:
        task = await org.create("task", input={"a": [1, None, "é"]}, labels=["x"], metadata={"m": 1})
        assert (task.state, task.mode, task.input) == ("pending", "manual", {"a": [1, None, "é"]})
        claim = await org.claim(task.id, agent_id=AGENT)
        assert (claim.task.state, claim.task.assigned_to, claim.task.attempt) == ("claimed", AGENT, 1)
        assert await org.has_active_task(AGENT)
        assert (await org.start(task.id, token=claim.token)).state == "running"
        assert (await org.progress(task.id, 40, token=claim.token, message="on it")).progress == 40.0
        done = await org.complete(task.id, {"b": 2}, token=claim.token)
        assert (done.state, done.output, done.progress) == ("completed", {"b": 2}, 100.0)
        assert await org.get(task.id) == done
        assert not await org.has_active_task(AGENT)

    async def test_what_has_ended_stays_ended(self, org: Org) -> None:
        held = await _hold(org)
        await org.complete(held.id, 1, token=held.token)
        for call in (
            org.start(held.id, token=held.token), org.fail(held.id, "no", token=held.token), org.cancel(held.id),
            org.complete(held.id, 2, token=held.token), org.claim(held.id, agent_id=AGENT), org.retry(held.id),
            org.update(held.id, title="late"),
        ):  # fmt: skip
            with pytest.raises(IllegalMove):
                await call
        assert (await org.get(held.id)).output == 1

    async def test_a_wrong_token_changes_nothing(self, org: Org) -> None:
        held = await _hold(org)
        before = await org.get(held.id)
        for call in (
            org.start(held.id, token="wrong"), org.heartbeat(held.id, token="wrong"),
            org.complete(held.id, token="wrong"), org.fail(held.id, "no", token="wrong"),
            org.release(held.id, token="wrong"), org.progress(held.id, 1, token="wrong"),
        ):  # fmt: skip
            with pytest.raises(StaleToken):
                await call
        assert await org.get(held.id) == before

    async def test_an_output_that_does_not_fit_the_form_changes_nothing(self, org: Org) -> None:
        form = {"type": "object", "properties": {"amount": {"type": "number", "minimum": 1}}, "required": ["amount"]}
        task = await org.create("approve", form=form)
        claim = await org.claim(task.id, agent_id=AGENT)
        for wrong, place in ((None, ""), ({}, "/amount"), ({"amount": 0}, "/amount")):
            with pytest.raises(InvalidOutput) as refused:
                await org.complete(task.id, wrong, token=claim.token)
            assert [one["pointer"] for one in refused.value.errors] == [place]
        with pytest.raises(StaleToken):
            await org.complete(task.id, {}, token="wrong")
        assert await org.get(task.id) == claim.task
        done = await org.complete(task.id, {"amount": 1}, token=claim.token)
        assert (done.state, done.output, done.form) == ("completed", {"amount": 1}, form)
        assert await org.complete(task.id, {"amount": 1}, token=claim.token) == done

    async def test_cancel_is_immediate_and_a_late_result_is_refused(self, org: Org) -> None:
        held = await _hold(org)
        assert (await org.cancel(held.id, reason="enough")).state == "cancelled"
        assert (await org.heartbeat(held.id, token=held.token)).cancel_requested
        with pytest.raises(IllegalMove):
            await org.complete(held.id, token=held.token)
        assert (await org.get(held.id)).reason == "enough"

    async def test_an_edit_of_an_old_version_is_refused(self, org: Org) -> None:
        task = await org.create("task")
        edited = await org.update(task.id, priority="urgent", version=task.version)
        with pytest.raises(VersionConflict):
            await org.update(task.id, priority="low", version=task.version)
        assert (await org.get(task.id)).priority == edited.priority == 3

    async def test_organisations_do_not_see_each_other(self, tasks: DurableTasks, org: Org) -> None:
        task, other = await org.create("mine"), tasks.org("another")
        with pytest.raises(NotFound):
            await other.get(task.id)
        with pytest.raises(NotFound):
            await other.cancel(task.id)
        assert await other.next(agent_id=AGENT) is None
        assert (await other.list()).items == []
        assert list(await other.events()) == []

    # ----- order

    async def test_next_goes_by_priority_then_age(self, org: Org) -> None:
        made = [await org.create(str(n), priority=priority) for n, priority in enumerate((1, 3, 0, 3, 1))]
        claims = await org.next_many(9, agent_id=AGENT)
        assert [claim.task.id for claim in claims] == [made[n].id for n in (1, 3, 0, 4, 2)]
        assert await org.next(agent_id=AGENT) is None

    async def test_agents_at_once_get_each_task_once(self, org: Org) -> None:
        made = await org.create_many([NewTask(title=str(n)) for n in range(30)])
        claims = await asyncio.gather(*(org.next(agent_id=f"agent-{n}") for n in range(40)))
        assert sorted(claim.task.id for claim in claims if claim) == sorted(task.id for task in made)

    async def test_capabilities_and_reservations_decide_who_gets_what(self, org: Org) -> None:
        await org.create("code", mode="manual", capability="code")
        await org.create("any", mode="manual")
        await org.create("text", mode="manual", capability="text")
        await org.create("bobs", assigned_to="bob")
        claims = await org.next_many(9, agent_id=AGENT, capabilities=["code"])
        assert [claim.task.title for claim in claims] == ["code", "any"]
        with pytest.raises(AlreadyClaimed):
            await org.claim(claims[0].task.id, agent_id="bob")
        assert [claim.task.title for claim in await org.next_many(9, agent_id="bob")] == ["text", "bobs"]

    async def test_lists_come_in_order_by_pages(self, org: Org) -> None:
        made = [await org.create(str(n), priority=n % 3) for n in range(7)]
        seen: list[str] = []
        cursor = None
        while True:
            page = await org.list(limit=3, cursor=cursor)
            seen += [task.id for task in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert seen == [made[n].id for n in (2, 5, 1, 4, 0, 3, 6)]

    # ----- leases and retries

    async def test_a_lease_without_heartbeat_ends(self, tasks: DurableTasks, org: Org) -> None:
        held = await _hold(org, lease=60)
        await self.advance(tasks, 50)
        await org.heartbeat(held.id, token=held.token)
        await self.advance(tasks, 50)
        assert (await org.get(held.id)).state == "claimed"
        await self.advance(tasks, 11)
        lost = await org.get(held.id)
        assert (lost.state, lost.lost_count, lost.retry_count) == ("pending", 1, 0)
        with pytest.raises(StaleToken):
            await org.complete(held.id, token=held.token)

    async def test_retries_wait_and_are_counted(self, tasks: DurableTasks, org: Org) -> None:
        held = await _hold(org, max_retries=1, retry=RetryPolicy(initial=10))
        assert (await org.fail(held.id, "once", token=held.token)).state == "retrying"
        await self.advance(tasks, 9)
        assert (await org.get(held.id)).state == "retrying"
        await self.advance(tasks, 1)
        again = await org.claim(held.id, agent_id=AGENT)
        failed = await org.fail(held.id, "twice", token=again.token)
        assert failed.error is not None
        assert (failed.state, failed.retry_count, failed.error.message) == ("failed", 1, "twice")
        fresh = await org.retry(held.id)
        assert (fresh.state, fresh.retry_count, fresh.error) == ("pending", 0, None)

    async def test_delays_and_deadlines(self, tasks: DurableTasks, org: Org) -> None:
        later = await org.create("later", delay=30)
        late = await org.create("late", deadline=20)
        await self.advance(tasks, 20)
        missed = await org.get(late.id)
        assert missed.error is not None
        assert (missed.state, missed.error.type, (await org.get(later.id)).state) == ("failed", "deadline", "scheduled")
        await self.advance(tasks, 10)
        assert (await org.get(later.id)).state == "pending"

    # ----- dependencies and groups

    async def test_a_task_waits_for_all_its_dependencies(self, org: Org) -> None:
        parents = [await org.create("one"), await org.create("two")]
        child = await org.create("child", depends_on=[parent.id for parent in parents])
        assert child.state == "blocked"
        await _complete(org)
        assert (await org.get(child.id)).state == "blocked"
        await _complete(org)
        assert (await org.get(child.id)).state == "pending"

    async def test_a_failed_dependency_cancels_unless_told_otherwise(self, org: Org) -> None:
        parent = await org.create("parent")
        children = [
            await org.create("cancel", depends_on=[parent.id]),
            await org.create("run", depends_on=[parent.id], on_dependency_failure="run"),
            await org.create("wait", depends_on=[parent.id], on_dependency_failure="wait"),
        ]
        claim = await _take(org)
        await org.fail(parent.id, "broken", token=claim.token)
        assert [(await org.get(child.id)).state for child in children] == ["cancelled", "pending", "blocked"]

    async def test_cycles_and_unknown_dependencies_are_refused_whole(self, org: Org) -> None:
        with pytest.raises(DependencyCycle):
            await org.create_many([NewTask(name="a", depends_on=("b",)), NewTask(name="b", depends_on=("a",))])
        with pytest.raises(UnknownDependency):
            await org.create_many([NewTask(name="a"), NewTask(name="b", depends_on=("nobody",))])
        assert (await org.list()).items == []

    async def test_a_pipeline_goes_step_by_step(self, org: Org) -> None:
        made = await org.pipeline("p", [NewTask(name="a"), NewTask(name="b")])
        assert [task.state for task in await org.workflow_tasks(made.id)] == ["pending", "blocked"]
        assert (await _complete(org)).name == "a"
        assert (await _complete(org)).name == "b"
        assert (await org.get_workflow(made.id)).state == "completed"

    async def test_a_fan_out_joins_and_keeps_its_limit(self, org: Org) -> None:
        made = await org.fan_out("f", [NewTask(name=name) for name in "abc"], join=2, max_parallel=1)
        for _ in range(2):
            members = [task.state.value for task in await org.workflow_tasks(made.id)]
            assert members.count("pending") == 1
            await _complete(org)
        ended = await org.get_workflow(made.id)
        assert (ended.state, ended.counts) == ("completed", {"completed": 2, "cancelled": 1})

    async def test_a_failed_pipeline_can_be_reopened(self, org: Org) -> None:
        made = await org.pipeline("p", [NewTask(name="a"), NewTask(name="b")])
        claim = await _take(org)
        await org.fail(claim.task.id, "broken", token=claim.token)
        assert (await org.get_workflow(made.id)).state == "failed"
        await org.retry_workflow(made.id)
        for _ in range(2):
            await _complete(org)
        assert (await org.get_workflow(made.id)).state == "completed"

    # ----- idempotency

    async def test_a_key_makes_one_task(self, org: Org) -> None:
        first = await org.create("task", input=1, idempotency_key="k")
        assert (await org.create("task", input=1, idempotency_key="k")).id == first.id
        with pytest.raises(IdempotencyConflict):
            await org.create("task", input=2, idempotency_key="k")
        assert len((await org.list()).items) == 1

    async def test_a_repeated_end_or_command_gets_the_first_answer(self, org: Org) -> None:
        task = await org.create("task")
        claim = await org.claim(task.id, agent_id=AGENT, command_id="c1")
        assert (await org.claim(task.id, agent_id=AGENT, command_id="c1")).token == claim.token
        done = await org.complete(task.id, 1, token=claim.token)
        assert await org.complete(task.id, 1, token=claim.token) == done
        assert len(await org.attempts(task.id)) == 1

    async def test_bad_input_changes_nothing(self, org: Org) -> None:
        for fields in ({"timeout": -1}, {"capability": "b d"}, {"input": float("nan")}, {"priority": "hot"}):
            with pytest.raises(InvalidInput):
                await org.create("task", **fields)
        assert (await org.list()).items == []
        assert list(await org.events()) == []

    # ----- events and waiting

    async def test_events_tell_the_story_without_gaps(self, org: Org) -> None:
        held = await _hold(org)
        await org.start(held.id, token=held.token)
        await org.complete(held.id, token=held.token)
        events = await org.events()
        assert [event.kind for event in events] == ["task.created", "task.claimed", "task.started", "task.completed"]
        assert [event.seq for event in events] == [1, 2, 3, 4]
        assert [event.data["state"] for event in events] == ["pending", "claimed", "running", "completed"]
        assert [event.seq for event in await org.events(after=2)] == [3, 4]

    async def test_a_wait_ends_with_its_task(self, org: Org) -> None:
        held = await _hold(org)
        waiting = asyncio.create_task(org.wait(held.id))
        watching = asyncio.ensure_future(anext(org.watch(after=2)))
        await org.complete(held.id, "out", token=held.token)
        assert (await waiting).output == "out"
        assert (await watching).kind == "task.completed"
