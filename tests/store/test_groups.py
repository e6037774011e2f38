"""Workflows: order, joins, limits, policies, growth, cancelling and reopening, with manual members.

It must not know handlers beyond the one test of what a pipeline hands on.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from durable_tasks import Claim, DurableTasks, NewTask, Org, Task, TaskContext, Workflow, WorkflowState, errors
from durable_tasks.store import groups
from tests.store.support import AGENT, everything, nothing_remains, opened, query, states, steps, within


async def by_name(org: Org, workflow: Workflow) -> dict[str, str]:
    return {str(task.name): task.state.value for task in await org.workflow_tasks(workflow.id)}


async def take(org: Org, name: str | None = None) -> Claim:
    claim = await org.next(agent_id=AGENT)
    assert claim is not None
    assert name is None or claim.task.name == name
    return claim


async def complete(org: Org, name: str | None = None) -> Task:
    claim = await take(org, name)
    return await org.complete(claim.task.id, {"from": claim.task.name}, token=claim.token)


async def fail(org: Org, name: str | None = None) -> Task:
    claim = await take(org, name)
    return await org.fail(claim.task.id, "broken", token=claim.token)


async def kinds(org: Org, workflow: Workflow) -> list[str]:
    events = await org.events(workflow_id=workflow.id, limit=1000)
    return [event.kind for event in events if event.kind.startswith("workflow.")]


# ----- pipelines


async def test_a_pipeline_goes_step_by_step(org: Org) -> None:
    made = await org.pipeline("ship", steps("build", "test", "deploy"))
    assert (made.state, made.failure_policy, made.total) == ("pending", "fail_fast", 3)
    assert await by_name(org, made) == {"build": "pending", "test": "blocked", "deploy": "blocked"}
    for name in ("build", "test"):
        await complete(org, name)
        assert (await org.get_workflow(made.id)).state == "running"
    await complete(org, "deploy")
    ended = await org.get_workflow(made.id)
    assert (ended.state, ended.counts, ended.error) == ("completed", {"completed": 3}, None)
    assert ended.completed_at is not None
    assert await kinds(org, made) == ["workflow.created", "workflow.running", "workflow.completed"]


async def test_a_failed_step_ends_its_pipeline(org: Org) -> None:
    made = await org.pipeline("ship", steps("build", "test", "deploy"))
    await complete(org, "build")
    await fail(org, "test")
    ended = await org.get_workflow(made.id)
    assert await by_name(org, made) == {"build": "completed", "test": "failed", "deploy": "cancelled"}
    assert ended.error is not None
    assert (ended.state, ended.error.message) == ("failed", "task 'test' failed: broken")
    assert [task.reason for task in await org.workflow_tasks(made.id)] == [None, None, "dependency_failed"]


async def test_steps_see_the_outputs_before_them_by_name(db: Path) -> None:
    async with opened(db) as tasks:
        seen: list[dict[str, Any]] = []

        @tasks.handler("step")
        async def step(ctx: TaskContext, task: Task) -> str:
            seen.append(dict(ctx.prior))
            return f"{task.name} done"

        made = await tasks.org().pipeline("ship", steps("build", "test", "deploy", capability="step"))
        assert (await within(tasks.org().wait_workflow(made.id))).state == "completed"
    assert seen == [{}, {"build": "build done"}, {"build": "build done", "test": "test done"}]


async def test_a_pipeline_keeps_its_order_whatever_its_steps_refer_to(org: Org, db: Path) -> None:
    before = everything(db)
    with pytest.raises(errors.DependencyCycle) as caught:
        await org.pipeline("twisted", [NewTask(name="first", depends_on=("second",)), NewTask(name="second")])
    assert set(caught.value.cycle) == {"first", "second"}
    assert everything(db) == before


async def test_a_pipeline_grows_at_its_end(org: Org) -> None:
    made = await org.pipeline("ship", steps("build"))
    (added,) = await org.add_tasks(made.id, steps("deploy"))
    assert added.state == "blocked"
    await complete(org, "build")
    await complete(org, "deploy")
    ended = await org.get_workflow(made.id)
    assert (ended.state, ended.total, ended.join) == ("completed", 2, 2)
    with pytest.raises(errors.Conflict, match="completed"):
        await org.add_tasks(made.id, steps("late"))


# ----- fan-outs


@pytest.mark.parametrize(
    ("join", "ends", "state", "counts"),
    [
        ("all", "ccc", "completed", {"completed": 3}),
        ("all", "fcc", "failed", {"completed": 2, "failed": 1}),
        ("any", "c", "completed", {"completed": 1, "cancelled": 2}),
        ("any", "ffc", "completed", {"completed": 1, "failed": 2}),
        ("any", "fff", "failed", {"failed": 3}),
        (2, "cfc", "completed", {"completed": 2, "failed": 1}),
        (2, "cc", "completed", {"completed": 2, "cancelled": 1}),
        (2, "ff", "failed", {"failed": 2, "cancelled": 1}),
        (3, "ccc", "completed", {"completed": 3}),
    ],
)
async def test_joins(org: Org, join: Any, ends: str, state: str, counts: dict[str, int]) -> None:
    made = await org.fan_out("three", steps("a", "b", "c"), join=join)
    for place, end in enumerate(ends):
        assert (await org.get_workflow(made.id)).state == ("running" if place else "pending")
        await (complete(org) if end == "c" else fail(org))
    ended = await org.get_workflow(made.id)
    assert (ended.state, ended.counts) == (state, counts)
    assert await org.next(agent_id=AGENT) is None


async def test_the_rest_is_cancelled_in_the_transaction_that_decides(org: Org, tasks: DurableTasks) -> None:
    made = await org.fan_out("race", steps("a", "b", "c"), join="any")
    loser = await take(org, "a")
    await complete(org, "b")
    assert [task.reason for task in await org.workflow_tasks(made.id)] == [
        "workflow_completed",
        None,
        "workflow_completed",
    ]
    assert (await org.heartbeat(loser.task.id, token=loser.token)).cancel_requested
    with pytest.raises(errors.IllegalMove):
        await org.complete(loser.task.id, token=loser.token)
    decided = [event.at for event in await org.events() if event.kind in ("task.completed", "task.cancelled")]
    assert len(decided) == 3
    assert len(set(decided)) == 1


async def test_at_most_max_parallel_members_are_ready(org: Org) -> None:
    made = await org.fan_out("narrow", steps("a", "b", "c", "d", "e"), max_parallel=2)
    for left in (5, 4, 3, 2, 1):
        open_states = [state for state in (await by_name(org, made)).values() if state != "completed"]
        assert open_states == ["pending"] * min(2, left) + ["blocked"] * max(0, left - 2)
        await complete(org)
    assert (await org.get_workflow(made.id)).state == "completed"


async def test_a_failing_member_makes_room_too(org: Org) -> None:
    made = await org.fan_out("narrow", steps("a", "b", "c"), max_parallel=1)
    await fail(org, "a")
    await complete(org, "b")
    assert await by_name(org, made) == {"a": "failed", "b": "completed", "c": "pending"}
    await complete(org, "c")
    assert (await org.get_workflow(made.id)).state == "failed"


async def test_a_retried_member_waits_for_room(org: Org) -> None:
    made = await org.fan_out("narrow", steps("a", "b", "c"), max_parallel=1)
    failed = await fail(org, "a")
    await org.retry(failed.id)
    assert await by_name(org, made) == {"a": "blocked", "b": "pending", "c": "blocked"}
    for name in ("b", "a", "c"):
        await complete(org, name)
    assert (await org.get_workflow(made.id)).state == "completed"


async def test_a_retried_member_goes_at_once_when_there_is_room(org: Org) -> None:
    made = await org.fan_out("narrow", steps("a", "b", "c"), max_parallel=3)
    failed = await fail(org, "a")
    assert (await org.retry(failed.id)).id == failed.id
    assert await by_name(org, made) == {"a": "pending", "b": "pending", "c": "pending"}


async def test_a_delayed_member_takes_its_place(org: Org) -> None:
    made = await org.fan_out("narrow", [*steps("a", delay="1h"), *steps("b")], max_parallel=1)
    assert await by_name(org, made) == {"a": "scheduled", "b": "blocked"}


async def test_a_workflow_does_not_grow_without_end(org: Org, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "MAX_MEMBERS", 3)
    made = await org.fan_out("three", steps("a", "b"))
    await org.add_tasks(made.id, steps("c"))
    with pytest.raises(errors.InvalidInput, match="at most 3 tasks; this one would have 4"):
        await org.add_tasks(made.id, steps("d"))


async def test_added_tasks_count_for_all(org: Org) -> None:
    made = await org.fan_out("grows", steps("a"), max_parallel=1)
    await org.add_tasks(made.id, steps("b", "c"))
    for name in ("a", "b"):
        await complete(org, name)
    assert (await org.get_workflow(made.id)).state == "running"
    await complete(org, "c")
    assert (await org.get_workflow(made.id)).state == "completed"


# ----- graphs


DIAMOND = [
    NewTask(name="last", depends_on=("left", "right")),
    NewTask(name="left", depends_on=("first",)),
    NewTask(name="right", depends_on=("first",)),
    NewTask(name="first"),
]


async def test_a_dag_runs_by_its_names_and_lists_in_input_order(org: Org) -> None:
    made = await org.dag("diamond", DIAMOND)
    assert [task.name for task in await org.workflow_tasks(made.id)] == ["last", "left", "right", "first"]
    await complete(org, "first")
    await complete(org, None)
    assert (await by_name(org, made))["last"] == "blocked"
    await complete(org, None)
    await complete(org, "last")
    assert (await org.get_workflow(made.id)).state == "completed"


async def test_create_many_answers_in_input_order(org: Org) -> None:
    made = await org.create_many(DIAMOND)
    assert [task.name for task in made] == ["last", "left", "right", "first"]
    assert states(made) == ["blocked", "blocked", "blocked", "pending"]
    assert made[0].depends_on == (made[1].id, made[2].id)


@pytest.mark.parametrize("kind", ["dag", "create_many"])
async def test_cycles_and_unknown_names_are_refused_whole(org: Org, db: Path, kind: str) -> None:
    async def make(*new: NewTask) -> Any:
        return await (org.dag("graph", list(new)) if kind == "dag" else org.create_many(list(new)))

    before = everything(db)
    with pytest.raises(errors.DependencyCycle) as caught:
        await make(
            NewTask(name="a", depends_on=("c",)), NewTask(name="b", depends_on=("a",)),
            NewTask(name="c", depends_on=("b",)), NewTask(title="a"),
        )  # fmt: skip
    assert set(caught.value.cycle) == {"a", "b", "c"}
    with pytest.raises(errors.DependencyCycle, match="self → self"):
        await make(NewTask(name="self", depends_on=("self",)))
    with pytest.raises(errors.UnknownDependency, match="nobody") as unknown:
        await make(NewTask(name="a"), NewTask(name="b", depends_on=("a", "nobody")))
    assert unknown.value.dependency == "nobody"
    with pytest.raises(errors.InvalidInput, match="two tasks have the name 'a'"):
        await make(NewTask(name="a"), NewTask(name="a"))
    assert everything(db) == before


async def test_members_may_depend_on_tasks_outside(org: Org) -> None:
    outside = await org.create("outside")
    made = await org.dag("graph", [NewTask(name="a", depends_on=(outside.id,))])
    assert await by_name(org, made) == {"a": "blocked"}
    await complete(org)
    assert await by_name(org, made) == {"a": "pending"}


@pytest.mark.parametrize(
    ("policy", "states_after", "workflow"),
    [
        ("fail_fast", {"a": "failed", "b": "cancelled", "c": "cancelled"}, "failed"),
        ("continue", {"a": "failed", "b": "cancelled", "c": "pending"}, "running"),
    ],
)
async def test_policies(org: Org, policy: str, states_after: dict[str, str], workflow: str) -> None:
    tasks = [NewTask(name="a"), NewTask(name="b", depends_on=("a",)), NewTask(name="c")]
    made = await org.dag("graph", tasks, failure_policy=policy)
    await fail(org, "a")
    assert await by_name(org, made) == states_after
    assert (await org.get_workflow(made.id)).state == workflow


# ----- dependencies between single tasks


@pytest.mark.parametrize("end", ["failed", "cancelled"])
@pytest.mark.parametrize(("policy", "state"), [("cancel", "cancelled"), ("run", "pending"), ("wait", "blocked")])
async def test_what_becomes_of_dependants(org: Org, end: str, policy: Any, state: str) -> None:
    parent = await org.create("parent")
    child = await org.create("child", depends_on=[parent.id], on_dependency_failure=policy)
    await (fail(org) if end == "failed" else org.cancel(parent.id))
    late = await org.create("late", depends_on=[parent.id], on_dependency_failure=policy)
    assert states([await org.get(child.id), late]) == [state, state]
    if state == "cancelled":
        assert [(await org.get(child.id)).reason, late.reason] == ["dependency_failed"] * 2


async def test_a_waiting_dependant_goes_on_when_its_parent_is_retried(org: Org) -> None:
    parent = await org.create("parent")
    child = await org.create("child", depends_on=[parent.id], on_dependency_failure="wait")
    await fail(org)
    await org.retry(parent.id)
    await complete(org)
    assert (await org.get(child.id)).state == "pending"


async def test_a_cancelled_dependant_can_be_retried_after_its_parent_completed(org: Org) -> None:
    """While it was cancelled nobody told it that its parent had completed."""
    parent = await org.create("parent")
    child = await org.create("child", depends_on=[parent.id])
    await fail(org)
    with pytest.raises(errors.Conflict, match="retry that one first"):
        await org.retry(child.id)
    await org.retry(parent.id)
    assert (await org.retry(child.id)).state == "blocked"
    await org.cancel(child.id)
    await complete(org)
    assert (await org.retry(child.id)).state == "pending"


async def test_a_cancellation_runs_down_a_long_chain(org: Org, tasks: DurableTasks) -> None:
    made = await org.create_many([NewTask(name=f"n{n}", depends_on=(f"n{n - 1}",) if n else ()) for n in range(1000)])
    await org.cancel(made[0].id)
    await nothing_remains(tasks)
    assert (await org.get(made[-1].id)).state == "cancelled"
    assert (await org.list(state="blocked")).items == []


# ----- cancelling and reopening


async def test_a_cancelled_workflow_cancels_its_open_members(org: Org) -> None:
    made = await org.fan_out("three", steps("a", "b", "c"))
    await complete(org, "a")
    held = await take(org, "b")
    ended = await org.cancel_workflow(made.id, reason="too late")
    assert (ended.state, ended.counts) == ("cancelled", {"completed": 1, "cancelled": 2})
    assert [task.reason for task in await org.workflow_tasks(made.id)] == [None, "too late", "too late"]
    assert (await org.heartbeat(held.task.id, token=held.token)).cancel_requested
    assert (await org.cancel_workflow(made.id)).version == ended.version
    await complete_workflow(org)


async def complete_workflow(org: Org) -> None:
    done = await org.fan_out("one", steps("z"))
    await complete(org, "z")
    with pytest.raises(errors.IllegalMove, match="completed"):
        await org.cancel_workflow(done.id)
    with pytest.raises(errors.IllegalMove, match="only a failed or cancelled one"):
        await org.retry_workflow(done.id)


async def test_a_member_of_a_closed_workflow_is_not_retried_alone(org: Org, db: Path) -> None:
    made = await org.pipeline("ship", steps("build", "test"))
    failed = await fail(org, "build")
    before = everything(db)
    with pytest.raises(errors.Conflict, match="use retry_workflow") as caught:
        await org.retry(failed.id)
    assert (caught.value.task_id, (await org.get_workflow(made.id)).state) == (failed.id, "failed")
    assert everything(db) == before


async def test_a_failed_workflow_is_reopened_where_it_stopped(org: Org) -> None:
    made = await org.pipeline("ship", steps("build", "test", "deploy"))
    await complete(org, "build")
    await fail(org, "test")
    again = await org.retry_workflow(made.id)
    assert (again.state, again.generation, again.error, again.completed_at) == ("running", 2, None, None)
    assert await by_name(org, made) == {"build": "completed", "test": "pending", "deploy": "blocked"}
    for name in ("test", "deploy"):
        await complete(org, name)
    assert (await org.get_workflow(made.id)).state == "completed"


async def test_a_reopened_workflow_keeps_its_limit(org: Org) -> None:
    made = await org.fan_out("narrow", steps("a", "b", "c", "d"), max_parallel=2)
    await org.cancel_workflow(made.id)
    await org.retry_workflow(made.id)
    assert list((await by_name(org, made)).values()) == ["pending", "pending", "blocked", "blocked"]
    for _ in range(4):
        await complete(org)
    assert (await org.get_workflow(made.id)).state == "completed"


async def test_a_reopened_member_knows_what_completed_meanwhile(org: Org) -> None:
    tasks = [NewTask(name="a"), NewTask(name="b", depends_on=("a",)), NewTask(name="c")]
    made = await org.dag("graph", tasks)
    await org.cancel((await org.workflow_tasks(made.id))[1].id)
    await complete(org, "a")
    await complete(org, "c")
    assert (await org.get_workflow(made.id)).state == "failed"
    await org.retry_workflow(made.id)
    await complete(org, "b")
    assert (await org.get_workflow(made.id)).state == "completed"


# ----- keys, lists and sizes


async def test_a_key_makes_one_workflow(org: Org, db: Path) -> None:
    first = await org.dag("graph", steps("a", "b"), idempotency_key="k")
    before = everything(db)
    assert (await org.dag("graph", steps("a", "b"), idempotency_key="k")).id == first.id
    with pytest.raises(errors.IdempotencyConflict, match="'k'"):
        await org.dag("graph", steps("a", "c"), idempotency_key="k")
    assert everything(db) == before


async def test_workflows_are_listed_newest_first_by_pages(org: Org) -> None:
    made = [await org.fan_out(f"w{n}", steps("a")) for n in range(5)]
    await org.cancel_workflow(made[2].id)
    page = await org.list_workflows(state=["pending", "running"], limit=3)
    assert [one.name for one in page.items] == ["w4", "w3", "w1"]
    rest = await org.list_workflows(state=["pending", "running"], limit=3, cursor=page.next_cursor)
    assert ([one.name for one in rest.items], rest.next_cursor) == (["w0"], None)
    assert [one.name for one in (await org.list_workflows(state=WorkflowState.CANCELLED)).items] == ["w2"]


async def test_other_organisations_see_no_workflow(tasks: DurableTasks) -> None:
    made = await tasks.org("acme").fan_out("mine", steps("a"))
    rival = tasks.org("rival")
    for call in (
        rival.get_workflow(made.id), rival.workflow_tasks(made.id), rival.cancel_workflow(made.id),
        rival.retry_workflow(made.id), rival.add_tasks(made.id, steps("b")), rival.wait_workflow(made.id, timeout=1),
    ):  # fmt: skip
        with pytest.raises(errors.NotFound, match=made.id):
            await call
    assert (await rival.list_workflows()).items == []


async def test_waiting_for_a_workflow_ends_with_it(org: Org) -> None:
    made = await org.fan_out("one", steps("a"))
    waiting = asyncio.create_task(org.wait_workflow(made.id))
    await complete(org)
    assert (await within(waiting)).state == "completed"


async def test_ten_thousand_members(org: Org, tasks: DurableTasks, db: Path) -> None:
    """The costs that could grow with the square show here: creating, releasing one, cancelling the rest."""
    made = await org.fan_out("wide", [NewTask(name=f"n{n}") for n in range(10_000)], max_parallel=100)
    await nothing_remains(tasks)
    assert (await org.get_workflow(made.id)).counts == {"pending": 100, "blocked": 9_900}
    for n in range(50):
        await complete(org, f"n{n}")
    assert (await org.get_workflow(made.id)).counts == {"pending": 100, "blocked": 9_850, "completed": 50}
    await org.cancel_workflow(made.id)
    await nothing_remains(tasks)
    assert query(db, "SELECT state, COUNT(*) FROM dt_tasks GROUP BY state ORDER BY state") == [
        ("cancelled", 9_950),
        ("completed", 50),
    ]


async def test_a_pipeline_of_ten_thousand_ends_when_its_first_step_fails(org: Org, tasks: DurableTasks) -> None:
    made = await org.pipeline("long", [NewTask(name=f"n{n}") for n in range(10_000)])
    await fail(org, "n0")
    assert (await org.get_workflow(made.id)).state == "failed"
    await nothing_remains(tasks)
    assert (await org.get_workflow(made.id)).counts == {"failed": 1, "cancelled": 9_999}
