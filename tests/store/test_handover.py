"""What Temporal's workflows ask of SQLite: external attempts, groups, namespaces, switching, copied files.

It must not know Temporal: the tests ask as its workflows would.
"""

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from durable_tasks.clock import SystemIds
from durable_tasks.contracts import (
    AttemptEnd,
    AttemptEnding,
    Begun,
    GroupRef,
    MembersRequest,
    RunRequest,
    TaskRef,
    Verdict,
    group_workflow_id,
    task_workflow_id,
)
from durable_tasks.errors import Conflict, NotFound
from durable_tasks.models import (
    Engine,
    Mode,
    NewTask,
    Placement,
    Priority,
    Task,
    TaskError,
    TaskState,
    Workflow,
    WorkflowState,
)
from durable_tasks.org import Org
from durable_tasks.ports import Asked, Errand, OutboxKind, Room
from durable_tasks.store.drafts import draft
from durable_tasks.store.groups import GroupDraft
from durable_tasks.store.store import Store
from durable_tasks.store.transaction import Rules
from durable_tasks.testing import ManualClock

ORG = "acme"
NAMESPACE = "ns-acme"


def open_store(path: Path, clock: ManualClock) -> Store:
    rules = Rules(instance="one", switch_grace=60.0, namespace_of=lambda org_id: f"ns-{org_id}")
    return Store(path, clock=clock, ids=SystemIds(), rules=rules, patience=5.0)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = open_store(tmp_path / "app.db", ManualClock())
    await store.open()
    await store.register(60.0, None)
    await store.settle_engine(Engine.TEMPORAL)
    yield store
    await store.close()


def clock_of(store: Store) -> ManualClock:
    assert isinstance(store._clock, ManualClock)
    return store._clock


async def add(store: Store, placement: Placement = Placement.EXTERNAL, org_id: str = ORG, **fields: object) -> Task:
    mode = Mode.MANUAL if placement is Placement.MANUAL else Mode.AUTO
    new = NewTask(**{"title": "a task", "capability": "x", **fields})  # type: ignore[arg-type]
    return await store.create(org_id, draft(new, mode=mode, placement=placement, engine=Engine.TEMPORAL))


async def add_group(store: Store, members: list[NewTask], placement: Placement, **facts: object) -> Workflow:
    mode = Mode.MANUAL if placement is Placement.MANUAL else Mode.AUTO
    drafts = tuple(draft(new, mode=mode, placement=placement, engine=Engine.TEMPORAL) for new in members)
    given = {
        "kind": "fan_out", "name": "g", "description": "", "space_id": "default", "metadata": "{}",
        "created_by": None, "required": None, "max_parallel": None, "failure_policy": "continue",
        "idempotency_key": None, "content": "", "members": drafts,
    }  # fmt: skip
    return await store.create_group(ORG, GroupDraft(**{**given, **facts}))  # type: ignore[arg-type]


def ref_of(task: Task, generation: int = 1) -> TaskRef:
    return TaskRef(task_id=task.id, org_id=task.org_id, generation=generation, placement=task.placement)


def group_ref(group: Workflow, generation: int = 1) -> GroupRef:
    return GroupRef(workflow_id=group.id, org_id=ORG, generation=generation, kind=group.kind)


async def begin(store: Store, task: Task, request: str = "run/1", generation: int = 1) -> Begun:
    return await store.begin_remote(
        RunRequest(ref=ref_of(task, generation), request=request),
        namespace=NAMESPACE,
        workflow_id=task_workflow_id(task.id, generation),
    )


async def record(store: Store, begun: Begun, ending: AttemptEnding, **facts: object) -> TaskState:
    assert begun.execution is not None
    end = AttemptEnd(ref=begun.ref, token=begun.execution.token, ending=ending, **facts)  # type: ignore[arg-type]
    workflow_id = task_workflow_id(begun.ref.task_id, begun.ref.generation)
    return (await store.record(end, namespace=NAMESPACE, workflow_id=workflow_id)).state


async def begin_members(store: Store, group: Workflow, request: str = "run/1", limit: int = 100) -> list[Begun]:
    asked = MembersRequest(ref=group_ref(group), request=request, limit=limit)
    batch = await store.begin_members(asked, namespace=NAMESPACE, workflow_id=group_workflow_id(group.id, 1))
    return list(batch.begun)


async def record_member(store: Store, group: Workflow, begun: Begun, output: object) -> None:
    assert begun.execution is not None
    end = AttemptEnd(ref=begun.ref, token=begun.execution.token, ending=AttemptEnding.COMPLETED, output=output)
    await store.record(end, namespace=NAMESPACE, workflow_id=group_workflow_id(group.id, 1))


async def errands(store: Store, parked: frozenset[str] = frozenset()) -> list[Errand]:
    now = clock_of(store).now()
    room = Room(most=40, waiting={}, can_run=lambda capability: True)
    return (await store.errands(now, limit=100, room=room, skip=frozenset(), parked=parked)).errands


async def acknowledge_all(store: Store) -> list[OutboxKind]:
    kinds = []
    for errand in await errands(store):
        await store.acknowledge(errand, run_id="run")
        kinds.append(errand.kind)
    return kinds


class TestExternal:
    async def test_begin_claims_for_the_queue_and_repeats_itself(self, store: Store) -> None:
        task = await add(store, queue="gpu", input={"n": 1}, timeout=5)
        first, again = await begin(store, task), await begin(store, task)
        assert first == again
        assert first.execution is not None
        assert (first.queue, first.timeout) == ("gpu", 5.0)
        assert first.execution.to_task().input == {"n": 1}
        now = await store.get(ORG, task.id)
        assert (now.state, now.assigned_to, now.lease_expires_at) == (TaskState.CLAIMED, "queue:gpu", None)

    async def test_who_is_called_as_the_queue_does_not_hold_it(self, store: Store) -> None:
        task = await add(store, queue="gpu")
        assert (await begin(store, task)).execution is not None
        org = Org(SimpleNamespace(store=store), ORG)
        assert await org.held_token(task.id, agent_id="queue:gpu") == ""

    async def test_only_the_workflow_that_drives_it_may_begin(self, store: Store) -> None:
        task = await add(store)
        asked = RunRequest(ref=ref_of(task), request="run/1")
        foreign = await store.begin_remote(asked, namespace="ns-other", workflow_id=task_workflow_id(task.id, 1))
        assert (foreign.execution, foreign.status.verdict) == (None, Verdict.SUPERSEDED)
        assert (await store.get(ORG, task.id)).state is TaskState.PENDING

    async def test_a_later_run_of_the_workflow_takes_a_lost_attempt_over(self, store: Store) -> None:
        task = await add(store)
        await begin(store, task, "run/1")
        second = await begin(store, task, "reset/1")
        assert second.execution is not None
        now = await store.get(ORG, task.id)
        assert (now.attempt, now.lost_count, now.state) == (2, 1, TaskState.CLAIMED)

    @pytest.mark.parametrize(
        ("ending", "state", "lost"),
        [
            (AttemptEnding.COMPLETED, TaskState.COMPLETED, 0),
            (AttemptEnding.FAILED, TaskState.RETRYING, 0),
            (AttemptEnding.TIMEOUT, TaskState.RETRYING, 0),
            (AttemptEnding.LOST, TaskState.PENDING, 1),
            (AttemptEnding.RELEASED, TaskState.PENDING, 0),
        ],
    )
    async def test_every_end_is_recorded_once(
        self, store: Store, ending: AttemptEnding, state: TaskState, lost: int
    ) -> None:
        task = await add(store, max_retries=1)
        begun = await begin(store, task)
        error = TaskError(type="Boom", message="no") if ending is AttemptEnding.FAILED else None
        assert await record(store, begun, ending, error=error) is state
        assert await record(store, begun, ending, error=error) is state
        now = await store.get(ORG, task.id)
        assert (now.lost_count, now.attempt, now.version) == (lost, 1, now.version)
        assert len(await store.history(ORG, task.id)) == 1

    async def test_a_late_end_of_an_attempt_that_was_given_away_is_refused(self, store: Store) -> None:
        task = await add(store)
        begun = await begin(store, task)
        await begin(store, task, "reset/1")
        assert await record(store, begun, AttemptEnding.COMPLETED, output=1) is TaskState.CLAIMED

    async def test_a_cancelled_attempt_is_over_when_its_worker_has_stopped(self, store: Store) -> None:
        task = await add(store)
        begun = await begin(store, task)
        await store.cancel(ORG, task.id, None, None)
        assert (await store.history(ORG, task.id))[0].state == "cancelling"
        await record(store, begun, AttemptEnding.RELEASED)
        assert (await store.history(ORG, task.id))[0].state == "cancelled"

    async def test_an_output_too_large_fails_the_task(self, store: Store) -> None:
        task = await add(store, max_retries=3)
        begun = await begin(store, task)
        assert await record(store, begun, AttemptEnding.COMPLETED, output="x" * 1024 * 1024) is TaskState.FAILED
        error = (await store.get(ORG, task.id)).error
        assert error is not None
        assert error.type == "payload_too_large"

    async def test_prior_outputs_above_the_limit_fail_the_task(self, store: Store) -> None:
        large = "x" * (900 * 1024)
        parents = [await add(store, input=None) for _ in range(2)]
        child = await add(store, depends_on=[parent.id for parent in parents])
        for parent in parents:
            await record(store, await begin(store, parent), AttemptEnding.COMPLETED, output=large)
        begun = await begin(store, child)
        assert (begun.execution, begun.status.state) == (None, TaskState.FAILED)
        assert begun.status.error is not None
        assert begun.status.error.type == "payload_too_large"

    async def test_an_observed_attempt_runs_and_shows_its_progress(self, store: Store) -> None:
        task = await add(store, timeout=5)
        await begin(store, task)
        [attempt] = await store.remote_attempts(after="", limit=10)
        assert (attempt.task_id, attempt.started, attempt.execution_id) == (task.id, False, f"{task.id}/1")
        await store.observe(attempt, 40.0, "half")
        now = await store.get(ORG, task.id)
        assert (now.state, now.progress, now.progress_message) == (TaskState.RUNNING, 40.0, "half")
        await clock_of(store).advance(60)
        await store.expire()
        assert (await store.get(ORG, task.id)).state is TaskState.RUNNING, "Temporal times it, not SQLite"

    async def test_a_task_that_ends_by_its_own_workflow_needs_no_sync(self, store: Store) -> None:
        task = await add(store)
        assert await acknowledge_all(store) == [OutboxKind.START]
        await record(store, await begin(store, task), AttemptEnding.COMPLETED)
        assert await errands(store) == []

    async def test_a_deadline_that_passes_while_it_runs_is_told(self, store: Store) -> None:
        task = await add(store, deadline=10)
        await acknowledge_all(store)
        await begin(store, task)
        await clock_of(store).advance(11)
        await store.expire()
        assert (await store.get(ORG, task.id)).state is TaskState.FAILED
        assert await acknowledge_all(store) == [OutboxKind.SYNC]


class TestGroups:
    async def test_a_group_is_handed_over_as_one(self, store: Store) -> None:
        await add_group(store, [NewTask(name=f"m{n}") for n in range(3)], Placement.EMBEDDED)
        [start] = await errands(store)
        assert start.ref.workflow_type == "FanOutWorkflow"

    async def test_manual_members_are_handed_over_by_themselves_too(self, store: Store) -> None:
        await add_group(store, [NewTask(name="m0")], Placement.MANUAL)
        types = sorted(one.ref.workflow_type for one in await errands(store))
        assert types == ["AgentTaskWorkflow", "FanOutWorkflow"]

    async def test_embedded_members_are_begun_once_the_groups_workflow_runs(self, store: Store) -> None:
        from durable_tasks.ports import Appetite

        appetite = Appetite((), True, 10)
        await add_group(store, [NewTask(name="a"), NewTask(name="b")], Placement.EMBEDDED)
        taken, _ = await store.take(appetite, "")
        assert taken == []
        await acknowledge_all(store)
        taken, _ = await store.take(appetite, "")
        assert [one.task.name for one in taken] == ["a", "b"]

    async def test_external_members_are_begun_in_batches_urgent_first(self, store: Store) -> None:
        members = [
            NewTask(name="low", priority=Priority.LOW),
            NewTask(name="urgent", priority=Priority.URGENT),
            NewTask(name="normal"),
        ]
        group = await add_group(store, members, Placement.EXTERNAL)
        first = await begin_members(store, group, limit=2)
        assert [one.execution.task["name"] for one in first if one.execution] == ["urgent", "normal"]
        assert await begin_members(store, group, limit=2) == first, "the same request again"
        second = await begin_members(store, group, "run/2", limit=2)
        assert [one.execution.task["name"] for one in second if one.execution] == ["low"]

    async def test_the_groups_workflow_hears_of_its_end_and_gets_the_outputs(self, store: Store) -> None:
        group = await add_group(store, [NewTask(name="a"), NewTask(name="b")], Placement.EXTERNAL)
        await acknowledge_all(store)
        for number, begun in enumerate(await begin_members(store, group)):
            await record_member(store, group, begun, number)
        status = await store.group_status(group_ref(group))
        assert (status.verdict, status.state, status.output) == (Verdict.ENDED, WorkflowState.COMPLETED, [0, 1])
        assert await errands(store) == [], "it knows from the record's answer that it must ask"

    async def test_a_groups_end_by_other_hands_is_told(self, store: Store) -> None:
        group = await add_group(store, [NewTask(name="a", deadline=10)], Placement.EXTERNAL)
        await acknowledge_all(store)
        await clock_of(store).advance(11)
        await store.expire()
        assert (await store.get_group(ORG, group.id)).state is WorkflowState.FAILED
        assert await acknowledge_all(store) == [OutboxKind.SYNC]

    async def test_a_member_that_was_cancelled_while_it_runs_is_to_be_stopped(self, store: Store) -> None:
        group = await add_group(store, [NewTask(name="a"), NewTask(name="b")], Placement.EXTERNAL)
        first, _ = await begin_members(store, group)
        await acknowledge_all(store)
        await store.cancel(ORG, first.ref.task_id, None, None)
        status = await store.group_status(group_ref(group))
        assert status.stop == (f"{first.ref.task_id}/1",)
        assert await acknowledge_all(store) == [OutboxKind.SYNC]

    async def test_a_reopened_member_is_ready_once_its_old_attempt_has_stopped(self, store: Store) -> None:
        group = await add_group(store, [NewTask(name="a")], Placement.EXTERNAL)
        await acknowledge_all(store)
        await begin_members(store, group)
        await store.cancel_group(ORG, group.id, None)
        await store.retry_group(ORG, group.id)
        for _ in range(3):
            await acknowledge_all(store)
        assert (await store.group_status(group_ref(group, 2))).ready == 0
        await clock_of(store).advance(31)
        await store.expire()
        assert (await store.group_status(group_ref(group, 2))).ready == 1
        assert [(one.kind, one.ref.generation) for one in await errands(store)] == [(OutboxKind.SYNC, 2)]

    async def test_a_batch_is_no_larger_than_a_message(self, store: Store) -> None:
        members = [NewTask(name=f"m{n}", input="\u6f22" * 200_000) for n in range(4)]
        group = await add_group(store, members, Placement.EXTERNAL)
        batch = await begin_members(store, group)
        assert 1 <= len(batch) < 4
        assert sum(len(one.model_dump_json().encode()) for one in batch) < 2 * 1024 * 1024

    async def test_a_cancelled_group_is_cancelled_in_temporal(self, store: Store) -> None:
        group = await add_group(store, [NewTask(name="a")], Placement.EXTERNAL)
        await acknowledge_all(store)
        await store.cancel_group(ORG, group.id, None)
        assert OutboxKind.CANCEL in await acknowledge_all(store)

    async def test_a_reopened_group_is_handed_over_again(self, store: Store) -> None:
        group = await add_group(store, [NewTask(name="a")], Placement.EXTERNAL)
        await acknowledge_all(store)
        await store.cancel_group(ORG, group.id, None)
        await acknowledge_all(store)
        await store.retry_group(ORG, group.id)
        assert [one.workflow_id for one in await errands(store)] == [group_workflow_id(group.id, 2)]
        older = await store.group_status(group_ref(group))
        assert (older.verdict, older.state) == (Verdict.ENDED, WorkflowState.CANCELLED)


class TestHandover:
    async def test_each_organisation_has_a_namespace_of_its_own(self, store: Store) -> None:
        for org_id in ("acme", "beta"):
            await add(store, org_id=org_id)
        assert [(t.org_id, t.namespace, t.busy) for t in await store.tenants()] == [
            ("acme", "ns-acme", True),
            ("beta", "ns-beta", True),
        ]
        assert {one.ref.org_id for one in await errands(store, frozenset({"acme"}))} == {"beta"}

    async def test_only_a_workflow_started_for_it_may_ask_about_a_task(self, store: Store) -> None:
        task, other = await add(store), await add(store)
        group = await add_group(store, [NewTask(name="a")], Placement.EXTERNAL)
        [member] = (await store.members(ORG, group.id)).items
        own = task_workflow_id(task.id, 1)
        await store.require_asker(ref_of(task), namespace=NAMESPACE, workflow_id=own)
        await store.require_asker(ref_of(member), namespace=NAMESPACE, workflow_id=group_workflow_id(group.id, 1))
        for namespace, workflow_id in (
            ("ns-evil", own),
            (NAMESPACE, task_workflow_id(other.id, 1)),
            (NAMESPACE, task_workflow_id(task.id, 2)),
            (NAMESPACE, "mine"),
        ):
            with pytest.raises(NotFound):
                await store.require_asker(ref_of(task), namespace=namespace, workflow_id=workflow_id)

    async def test_two_organisations_cannot_share_one(self, tmp_path: Path) -> None:
        rules = Rules(namespace_of=lambda org_id: "same")
        store = Store(tmp_path / "b.db", clock=ManualClock(), ids=SystemIds(), rules=rules, patience=5.0)
        await store.open()
        await store.settle_engine(Engine.TEMPORAL)
        await add(store, org_id="acme")
        with pytest.raises(Conflict, match="belongs to another organisation"):
            await add(store, org_id="beta", delay=60)
        await store.close()

    async def test_a_lost_workflow_loses_its_external_attempt(self, store: Store) -> None:
        task = await add(store)
        await acknowledge_all(store)
        begun = await begin(store, task)
        [submission] = await store.submissions(states=("open",), after="", limit=10)
        assert await store.resubmit(submission)
        assert not await store.resubmit(submission), "the row has moved on"
        now = await store.get(ORG, task.id)
        assert (now.state, now.generation, now.lost_count) == (TaskState.PENDING, 2, 1)
        assert await record(store, begun, AttemptEnding.COMPLETED) is TaskState.PENDING

    async def test_a_refused_start_fails_the_task_until_it_is_redriven(self, store: Store) -> None:
        task = await add(store)
        [start] = await errands(store)
        await store.reject(start, error="too large")
        assert (await store.get(ORG, task.id)).state is TaskState.FAILED
        [letter] = await store.dead_letters()
        assert (letter.subject_id, letter.error) == (task.id, "too large")
        await store.redrive(letter.id)
        assert await store.dead_letters() == []
        assert [one.workflow_id for one in await errands(store)] == [task_workflow_id(task.id, 2)]

    async def test_a_refused_start_fails_the_group_until_it_is_redriven(self, store: Store) -> None:
        group = await add_group(store, [NewTask(name="a")], Placement.EXTERNAL)
        [start] = await errands(store)
        await store.reject(start, error="too large")
        failed = await store.get_group(ORG, group.id)
        assert failed.error is not None
        assert (failed.state, failed.error.type) == (WorkflowState.FAILED, "submit_rejected")
        [letter] = await store.dead_letters()
        await store.redrive(letter.id)
        assert (await store.get_group(ORG, group.id)).state is WorkflowState.RUNNING

    async def test_switched_off_everything_goes_on_locally_and_temporal_is_told(self, store: Store) -> None:
        here, there = await add(store, Placement.EMBEDDED), await add(store)
        group = await add_group(store, [NewTask(name="a")], Placement.EMBEDDED)
        await acknowledge_all(store)
        begun = await begin(store, there)
        await store.settle_engine(Engine.LOCAL)
        assert set(await acknowledge_all(store)) == {OutboxKind.TERMINATE}
        for task in (here, there):
            now = await store.get(ORG, task.id)
            assert (now.engine, now.generation) == (Engine.LOCAL, 2)
        assert (await store.get_group(ORG, group.id)).generation == 2
        assert (await store.get(ORG, there.id)).state is TaskState.CLAIMED, "it may still run"
        await clock_of(store).advance(61)
        await store.expire()
        assert (await store.get(ORG, there.id)).state is TaskState.PENDING
        assert await record(store, begun, AttemptEnding.COMPLETED) is TaskState.PENDING

    async def test_switched_off_and_on_an_attempt_outside_keeps_its_time(self, store: Store) -> None:
        task = await add(store)
        await acknowledge_all(store)
        await begin(store, task)
        await store.settle_engine(Engine.LOCAL)
        await store.settle_engine(Engine.TEMPORAL)
        assert (await begin(store, task, "later/1", generation=3)).execution is None
        await clock_of(store).advance(61)
        await store.expire()
        assert (await begin(store, task, "later/2", generation=3)).execution is not None

    async def test_switched_on_everything_is_handed_over(self, store: Store) -> None:
        await store.settle_engine(Engine.LOCAL)
        await add(store, Placement.EMBEDDED)
        await add_group(store, [NewTask(name="a")], Placement.EMBEDDED)
        assert await errands(store) == []
        await store.settle_engine(Engine.TEMPORAL)
        assert sorted(one.ref.workflow_type for one in await errands(store)) == ["AgentTaskWorkflow", "FanOutWorkflow"]

    async def test_health_says_what_waits_for_what(self, store: Store) -> None:
        sent = await add(store, queue="gpu")
        await acknowledge_all(store)
        await begin(store, sent)
        waiting = await add(store)
        await clock_of(store).advance(120)
        health = await store.health(quiet_for=60, limit=10)
        said = {one.task_id: one.why for one in health.waiting}
        assert said[sent.id] == "a worker of the queue 'gpu'"
        assert said[waiting.id] == "its start to be sent to Temporal"
        assert [(o.org_id, o.waiting) for o in health.outboxes] == [(ORG, 1)]


class TestOutbox:
    async def test_organisations_take_turns_from_one_look_to_the_next(self, store: Store) -> None:
        for org_id in ("a", "a", "b", "b", "c"):
            await add(store, org_id=org_id)
        served: list[str] = []
        for _ in range(5):
            room = Room(most=9, waiting={}, can_run=lambda capability: True, after=served[-1] if served else "")
            due = await store.errands(clock_of(store).now(), limit=1, room=room, skip=frozenset(), parked=frozenset())
            served += [errand.ref.org_id for errand in due.errands]
            await store.acknowledge(due.errands[0], run_id="run")
        assert served == ["a", "b", "c", "a", "b"]

    async def test_organisations_without_room_hide_nobody_behind_them(self, store: Store) -> None:
        full = [await add(store, Placement.EMBEDDED, org_id=f"a{number}") for number in range(4)]
        await add(store, org_id="z")
        waiting = {task.org_id: {task.id} for task in full}
        room = Room(most=1, waiting=waiting, can_run=lambda capability: True)
        due = await store.errands(clock_of(store).now(), limit=2, room=room, skip=frozenset(), parked=frozenset())
        assert [errand.ref.org_id for errand in due.errands] == ["z"]
        assert due.held_back

    async def test_what_another_process_has_begun_takes_no_room(self, store: Store) -> None:
        first, second = [await add(store, Placement.EMBEDDED) for _ in range(2)]
        room = Room(most=1, waiting={ORG: {first.id}}, can_run=lambda capability: True)
        now = clock_of(store).now()
        [start, _] = await errands(store)
        skip = frozenset({start.id})
        due = await store.errands(now, limit=9, room=room, skip=skip, parked=frozenset())
        assert (due.errands, due.held_back) == ([], True)
        await begin(store, first)
        due = await store.errands(now, limit=9, room=room, skip=skip, parked=frozenset())
        assert [errand.ref.subject_id for errand in due.errands] == [second.id]

    async def test_what_nobody_here_runs_takes_no_room_from_what_runs_here(self, store: Store) -> None:
        foreign = [await add(store, Placement.EMBEDDED, capability="foreign") for _ in range(3)]
        own = await add(store, Placement.EMBEDDED, capability="own")
        waiting = {ORG: {task.id for task in foreign[:2]}}
        room = Room(most=2, waiting=waiting, can_run=lambda capability: capability == "own")
        due = await store.errands(clock_of(store).now(), limit=9, room=room, skip=frozenset(), parked=frozenset())
        assert [errand.ref.subject_id for errand in due.errands] == [own.id]

    async def test_what_has_no_room_hides_no_later_retry(self, store: Store) -> None:
        waits = await add(store, Placement.EMBEDDED)
        await add(store)
        now = clock_of(store).now()
        for errand in await errands(store):
            embedded = errand.ref.placement is Placement.EMBEDDED  # type: ignore[union-attr]
            await store.defer(errand, until=now if embedded else now + 5, error="busy")
        room = Room(most=1, waiting={ORG: {waits.id}}, can_run=lambda capability: True)
        due = await store.errands(now, limit=9, room=room, skip=frozenset(), parked=frozenset())
        assert (due.errands, due.held_back, due.next_at) == ([], True, now + 5)

    @pytest.mark.parametrize("placement", [Placement.MANUAL, Placement.EMBEDDED])
    async def test_a_refused_start_fails_also_what_was_begun(self, store: Store, placement: Placement) -> None:
        task = await add(store, placement, max_retries=3)
        [start] = await errands(store)
        if placement is Placement.MANUAL:
            await store.claim(ORG, task.id, "ana", None, None)
        else:
            asked = Asked(ref_of(task), "start", NAMESPACE, task_workflow_id(task.id, 1))
            await store.begin(asked, lambda capability: True)
        await store.reject(start, error="too large")
        failed = await store.get(ORG, task.id)
        assert failed.error is not None
        assert (failed.state, failed.error.type) == (TaskState.FAILED, "submit_rejected")
        assert (await store.history(ORG, task.id))[0].state == "cancelling"
        [letter] = await store.dead_letters()
        await store.redrive(letter.id)
        assert (await store.get(ORG, task.id)).generation == 2

    async def test_what_had_ended_before_the_refusal_is_not_run_again(self, store: Store) -> None:
        task = await add(store)
        [start] = await errands(store)
        await store.cancel(ORG, task.id, "the user said no", None)
        await store.reject(start, error="too large")
        [letter] = await store.dead_letters()
        await store.redrive(letter.id)
        now = await store.get(ORG, task.id)
        assert (now.state, now.generation) == (TaskState.CANCELLED, 1)


class TestIdentity:
    async def test_a_file_that_was_moved_is_still_itself(self, store: Store, tmp_path: Path) -> None:
        await store.close()
        moved = tmp_path / "moved.db"
        os.rename(tmp_path / "app.db", moved)
        again = open_store(moved, ManualClock())
        await again.open()
        assert again.displaced is None
        await again.close()

    async def test_a_copy_is_no_original_until_it_is_adopted(self, store: Store, tmp_path: Path) -> None:
        task = await add(store)
        await acknowledge_all(store)
        await begin(store, task)
        await store.close()
        shutil.copy(tmp_path / "app.db", tmp_path / "copy.db")
        copy = open_store(tmp_path / "copy.db", clock_of(store))
        await copy.open()
        assert copy.displaced is not None
        assert await copy.adopt(replaces=False) == 1
        assert [one.kind for one in await errands(copy)] == [OutboxKind.START], "the original's are left to it"
        now = await copy.get(ORG, task.id)
        assert (now.generation, now.state, now.lost_count) == (2, TaskState.PENDING, 1)
        await copy.close()
        adopted = open_store(tmp_path / "copy.db", clock_of(store))
        await adopted.open()
        assert adopted.displaced is None
        assert adopted.file_uuid != store.file_uuid
        await adopted.close()

    async def test_an_older_state_written_over_the_file_is_noticed(self, store: Store, tmp_path: Path) -> None:
        path = tmp_path / "app.db"
        task = await add(store)
        await acknowledge_all(store)
        await store.close()
        backup = path.read_bytes()
        again = open_store(path, clock_of(store))
        await again.open()
        assert again.displaced is None
        await again.close()
        with path.open("r+b") as file:
            file.write(backup)
        restored = open_store(path, clock_of(store))
        await restored.open()
        assert restored.displaced is not None
        assert "older state" in restored.displaced
        uuid = restored.file_uuid
        assert await restored.adopt(replaces=True) == 1
        assert {one.kind for one in await errands(restored)} == {OutboxKind.START, OutboxKind.TERMINATE}
        assert (await restored.get(ORG, task.id)).generation == 2
        await restored.close()
        adopted = open_store(path, clock_of(store))
        await adopted.open()
        assert (adopted.displaced, adopted.file_uuid) == (None, uuid)
        await adopted.close()
