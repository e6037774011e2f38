"""The same code over an Org in the application and over a Client of its API: same verbs, answers and errors.

It must not know HTTP.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from durable_tasks import DurableTasks, NewTask, Org, Settings, Task, TaskError, TaskState, errors
from durable_tasks.client import Client
from durable_tasks.models import FilterFields
from durable_tasks.web.server import serving
from tests.store.support import query
from tests.web.asking import api, authenticate

Tasks = Org | Client
NOBODY = "01900000-0000-7000-8000-000000000000"
DEADLINE = 20.0


@pytest_asyncio.fixture(params=["in the application", "over HTTP"])
async def org(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Tasks]:
    tasks = DurableTasks(Settings(db=tmp_path / "tasks.db"))
    async with serving(tasks, port=0, authenticate=authenticate) as url:

        @tasks.handler("double")
        def double(ctx: Any, task: Task) -> int:
            return int(task.input) * 2

        if request.param == "in the application":
            yield tasks.org("acme")
        else:
            async with Client(url, "acme:ann:OPERATOR") as client:
                yield client


def test_a_client_has_every_verb_with_the_same_arguments() -> None:
    def verbs(kind: type) -> dict[str, list[tuple[str, Any, Any]]]:
        return {
            name: [(one.name, one.kind, one.default) for one in inspect.signature(function).parameters.values()]
            for name, function in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_")
        }

    there, here = verbs(Client), verbs(Org)
    del here["held_token"]  # over HTTP a call without a token is of what its caller holds
    del here["by"]  # over HTTP the token says who acts
    del here["create_in"]  # a transaction of the caller's does not reach over HTTP
    assert {name: there.get(name) for name in here} == here
    assert set(there) - set(here) == {"call", "close"}


async def test_the_life_of_a_manual_task(org: Tasks) -> None:
    made = await org.create(
        "Read it", priority="high", labels=["legal"], input={"page": 1}, deadline=timedelta(hours=1), mode="manual"
    )
    assert (made.org_id, made.state, made.priority) == ("acme", TaskState.PENDING, 2)
    assert await org.get(made.id) == made
    edited = await org.update(made.id, title="Read it twice", assigned_to=None, version=made.version)
    assert (edited.title, edited.version) == ("Read it twice", made.version + 1)
    claim = await org.next(agent_id="ann", lease="5m")
    assert claim is not None
    assert (claim.task.id, claim.task.assigned_to) == (made.id, "ann")
    assert claim.lease_expires_at is not None
    assert await org.has_active_task("ann")
    assert (await org.start(made.id, token=claim.token)).state is TaskState.RUNNING
    beat = await org.heartbeat(made.id, token=claim.token)
    assert (beat.cancel_requested, beat.lease_expires_at is not None) == (False, True)
    seen = await org.progress(made.id, 40, token=claim.token, message="nearly")
    assert (seen.progress, seen.progress_message) == (40.0, "nearly")
    done = await org.complete(made.id, {"fine": [1, None, "ü"]}, token=claim.token)
    assert (done.state, done.output) == (TaskState.COMPLETED, {"fine": [1, None, "ü"]})
    assert await org.wait(made.id) == done
    said = await org.comment(made.id, "Well read.", command_id="c")
    assert (said.kind, said.data["text"], said.data["state"]) == ("task.commented", "Well read.", "completed")
    assert await org.comment(made.id, "Well read.", command_id="c") == said
    assert [one.state for one in await org.attempts(made.id)] == ["completed"]
    kinds = [event.kind for event in await org.events(task_id=made.id)]
    assert kinds == [
        f"task.{kind}" for kind in ("created", "updated", "claimed", "started", "progress", "completed", "commented")
    ]
    assert not await org.has_active_task("ann")
    assert await org.next(agent_id="ann") is None


async def test_failing_releasing_cancelling_retrying(org: Tasks) -> None:
    made = await org.create("Sign it", max_retries=1, retry={"initial": 0, "maximum": 0})  # type: ignore[arg-type]
    claim = await org.claim(made.id, agent_id="ann", lease=None)
    assert claim.lease_expires_at is None
    assert (await org.release(made.id, token=claim.token)).state is TaskState.PENDING
    claim = await org.claim(made.id, agent_id="bob")
    failed = await org.fail(made.id, TaskError(type="ink", message="empty", details={"pen": 2}), token=claim.token)
    assert failed.state is TaskState.RETRYING
    assert failed.error == TaskError(type="ink", message="empty", details={"pen": 2})
    cancelled = await org.cancel(made.id, reason="not needed")
    assert (cancelled.state, cancelled.reason) == (TaskState.CANCELLED, "not needed")
    assert (await org.retry(made.id)).state is TaskState.PENDING
    claim = await org.claim(made.id, agent_id="ann")
    last = await org.fail(made.id, "no", token=claim.token, retryable=False)
    assert (last.state, last.error) == (TaskState.FAILED, TaskError(type="failed", message="no"))


async def test_many_at_once(org: Tasks) -> None:
    made = await org.create_many(
        [NewTask(name="sign", depends_on=("read",), mode="manual"), NewTask(name="read", mode="manual")]  # type: ignore[arg-type]
    )
    assert [task.title for task in made] == ["sign", "read"]
    assert made[0].depends_on == (made[1].id,)
    await org.create("and this", mode="manual")
    claims = await org.next_many(5, agent_id="ann")
    assert [claim.task.title for claim in claims] == ["read", "and this"]
    done, following = await org.complete_and_next(made[1].id, "ok", token=claims[0].token, agent_id="ann")
    assert (done.state, following is not None and following.task.id) == ("completed", made[0].id)
    page = await org.list(state=["claimed", "running"], limit=1)
    assert ([task.title for task in page.items], page.next_cursor is not None) == (["sign"], True)
    rest = await org.list(state="claimed", cursor=page.next_cursor)
    assert ([task.title for task in rest.items], rest.next_cursor) == (["and this"], None)


async def test_many_by_a_filter(org: Tasks) -> None:
    made = await org.create("Read the contract", mode="manual", labels=["legal"], created_by="eve", priority="high")
    await org.create(
        "Its annex", mode="manual", parent_task_id=made.id, assigned_to="bob", description="of the CONTRACT"
    )
    await org.create("Something else", mode="manual", labels=["legal"])
    filters: list[FilterFields] = [
        {"text": "contract"}, {"ids": [made.id]}, {"parent_task_id": made.id}, {"waiting_for": ["bob", "eve"]},
        {"created_by": "eve", "overdue": False}, {"mode": "manual", "labels": ["legal"], "priority": "high"},
        {"overdue": True}, {"state": ["pending", "claimed"], "priority": [1, "high"]},
    ]  # fmt: skip
    found = [[task.title for task in (await org.list(**each)).items] for each in filters]
    assert [len(titles) for titles in found] == [2, 1, 1, 3, 1, 1, 0, 3]
    counted = await org.count(labels=["legal"])
    assert (counted.counts, counted.complete) == ({TaskState.PENDING: 2}, True)
    foreseen = await org.cancel_many(labels=["legal"], dry_run=True)
    assert (foreseen.matched, foreseen.changed, foreseen.dry_run) == (2, 0, True)
    first = await org.cancel_many(labels=["legal"], limit=1, reason="not needed")
    assert (first.changed, first.more) == (1, True)
    assert (await org.cancel_many(labels=["legal"], cursor=first.next_cursor)).changed == 1
    assert (await org.get(made.id)).reason == "not needed"
    assert (await org.retry_many(labels=["legal"])).changed == 2
    for refused in (org.cancel_many, org.retry_many):
        with pytest.raises(errors.InvalidInput):
            await refused()


async def test_workflows(org: Tasks) -> None:
    members = [NewTask(name=f"m{n}", capability="double", input=n) for n in range(3)]
    made = await org.fan_out("doubling", members, max_parallel=2, metadata={"for": "ann"}, failure_policy="continue")
    ended = await org.wait_workflow(made.id, timeout=DEADLINE)
    assert (ended.state, ended.total, ended.metadata) == ("completed", 3, {"for": "ann"})
    assert [task.output for task in await org.workflow_tasks(made.id)] == [0, 2, 4]
    executions = await org.workflow_attempts(made.id, limit=2)
    assert (len(executions.items), executions.next_cursor is not None) == (2, True)
    assert len((await org.workflow_attempts(made.id, cursor=executions.next_cursor)).items) == 1
    assert (await org.list_workflows(text="DOUBL")).items == [ended]
    pipeline = await org.pipeline("two", [NewTask(name="a"), NewTask(name="b")], created_by="ann")
    (added,) = await org.add_tasks(pipeline.id, [NewTask(name="c")])
    assert added.workflow_id == pipeline.id
    assert (await org.cancel_workflow(pipeline.id, reason="no")).state == "cancelled"
    assert (await org.retry_workflow(pipeline.id)).state == "running"
    dag = await org.dag("d", [NewTask(name="x"), NewTask(name="y", depends_on=("x",))])
    assert (await org.get_workflow(dag.id)).kind == "dag"
    listed = await org.list_workflows(state="completed")
    assert ([one.id for one in listed.items], listed.next_cursor) == ([made.id], None)


async def test_waiting_and_watching(org: Tasks) -> None:
    made = await org.create("Wait for me", mode="manual")
    with pytest.raises(errors.WaitTimeout) as waited:
        await org.wait(made.id, timeout=0.05)
    assert (waited.value.id, waited.value.timeout) == (made.id, 0.05)
    seen: list[str] = []

    async def watch() -> None:
        async for event in org.watch(task_id=made.id, after=0):
            seen.append(event.kind)
            if event.kind == "task.completed":
                return

    watching = asyncio.create_task(watch())
    await org.create("Something else")
    claim = await org.claim(made.id, agent_id="ann")
    waiting = asyncio.create_task(org.wait(made.id))
    await org.complete(made.id, 7, token=claim.token)
    async with asyncio.timeout(DEADLINE):
        assert (await waiting).output == 7
        await watching
    assert seen == ["task.created", "task.claimed", "task.completed"]


async def test_a_workflow_is_watched_amid_the_events_of_others(org: Tasks) -> None:
    workflow = await org.dag("d", [NewTask(name="a", mode="manual")])  # type: ignore[arg-type]
    (task,) = await org.workflow_tasks(workflow.id)
    seen: list[str] = []

    async def watch() -> None:
        async for event in org.watch(workflow_id=workflow.id, after=0):
            seen.append(event.kind)
            if event.kind == "workflow.completed":
                return

    watching = asyncio.create_task(watch())
    for step in range(3):
        await org.create_many([NewTask(title=f"other {step}")] * 20)
    claim = await org.claim(task.id, agent_id="ann")
    await org.create("another")
    await org.complete(task.id, token=claim.token)
    async with asyncio.timeout(DEADLINE):
        await watching
    # The dag is running from the claim on; its own end comes with its member's.
    assert [kind for kind in seen if kind.startswith("task.")] == ["task.created", "task.claimed", "task.completed"]


REFUSED: dict[str, tuple[Any, type[errors.DurableTasksError], dict[str, Any]]] = {
    "unknown": (lambda org, task: org.get(NOBODY), errors.NotFound, {"id": NOBODY}),
    "odd id": (lambda org, task: org.get("../x y?#%"), errors.NotFound, {"id": "../x y?#%"}),
    "held": (lambda org, task: org.claim(task.id, agent_id="eve"), errors.AlreadyClaimed, {"assigned_to": "ann"}),
    "stale": (lambda org, task: org.complete(task.id, token="old"), errors.StaleToken, {"state": "claimed"}),
    "edited": (lambda org, task: org.update(task.id, title="x", version=99), errors.VersionConflict, {"version": 2}),
    "over": (lambda org, task: org.retry(task.id), errors.IllegalMove, {"verb": "retry"}),
    "unknown parent": (
        lambda org, task: org.create("x", depends_on=[NOBODY]), errors.UnknownDependency, {"dependency": NOBODY}
    ),
    "circle": (
        lambda org, task: org.dag("x", [NewTask(name="a", depends_on=("b",)), NewTask(name="b", depends_on=("a",))]),
        errors.DependencyCycle,
        {},
    ),
    "other content": (
        lambda org, task: org.create("other", idempotency_key="k"), errors.IdempotencyConflict, {"key": "k"}
    ),
    "no title": (lambda org, task: org.create(), errors.InvalidInput, {}),
    "odd duration": (lambda org, task: org.create("x", timeout="soon"), errors.InvalidInput, {}),
    "no such field": (lambda org, task: org.update(task.id, colour="red"), errors.InvalidInput, {}),
    "nothing to edit": (lambda org, task: org.update(task.id), errors.InvalidInput, {}),
    "no JSON": (lambda org, task: org.create("x", input=object()), errors.InvalidInput, {}),
    "no number": (lambda org, task: org.create("x", input=float("nan")), errors.InvalidInput, {}),
    "half a character": (lambda org, task: org.create("x", input="\ud800"), errors.InvalidInput, {}),
    "no tasks": (lambda org, task: org.fan_out("x", []), errors.InvalidInput, {}),
    "odd option": (lambda org, task: org.pipeline("x", [NewTask(name="a")], colour=1), errors.InvalidInput, {}),
    "too large": (lambda org, task: org.create("x", input="x" * 1_100_000), errors.PayloadTooLarge, {}),
    "odd progress": (lambda org, task: org.progress(task.id, 101, token="x"), errors.InvalidInput, {}),
    "a watch of both": (
        lambda org, task: anext(aiter(org.watch(task_id="a", workflow_id="b"))), errors.InvalidInput, {}
    ),
    "a watch of nothing": (lambda org, task: anext(aiter(org.watch(task_id=NOBODY))), errors.NotFound, {"id": NOBODY}),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
async def test_refusals_are_the_same_errors(case: str, org: Tasks) -> None:
    made = await org.create("held", idempotency_key="k", mode="manual")
    task = (await org.claim(made.id, agent_id="ann")).task
    call, kind, facts = REFUSED[case]
    with pytest.raises(errors.DurableTasksError) as refused:
        async with asyncio.timeout(DEADLINE):
            await call(org, task)
    assert type(refused.value) is kind
    assert refused.value.message
    assert {name: refused.value.facts.get(name) for name in facts} == facts
    assert (await org.get(task.id)) == task
    assert len((await org.list()).items) == 1


async def test_what_carries_a_command_id_is_done_once(org: Tasks) -> None:
    await org.create("one", mode="manual")
    await org.create("two", mode="manual")
    first = await org.next(agent_id="ann", command_id="n-1")
    again = await org.next(agent_id="ann", command_id="n-1")
    assert first is not None
    assert again is not None
    assert (again.task.id, again.token) == (first.task.id, first.token)
    with pytest.raises(errors.IdempotencyConflict):
        await org.next(agent_id="bob", command_id="n-1")
    workflow = await org.pipeline("two", [NewTask(name="a")])
    added = [await org.add_tasks(workflow.id, [NewTask(name="b")], command_id="a-1") for _ in range(2)]
    assert added[0][0].id == added[1][0].id
    with pytest.raises(errors.IdempotencyConflict):
        await org.add_tasks(workflow.id, [NewTask(name="c")], command_id="a-1")
    for _ in range(2):
        assert (await org.cancel_workflow(workflow.id, command_id="c-1")).state == "cancelled"
    generations = {(await org.retry_workflow(workflow.id, command_id="r-1")).generation for _ in range(2)}
    assert generations == {2}
    with pytest.raises(errors.IdempotencyConflict):
        await org.cancel_workflow(workflow.id, command_id="r-1")


async def test_an_operator_diagnoses_from_elsewhere(tmp_path: Path) -> None:
    async with api(tmp_path) as (tasks, http), Client("http://api", "acme:olga:OPERATOR", http=http) as client:
        await tasks.org("acme").create("x")
        found = await client.call("diagnose_org")
        assert found == await tasks.diagnose("acme")
        assert (found.healthy, found.tasks, found.temporal) == (True, {TaskState.PENDING: 1}, None)
        with pytest.raises(errors.NotFound, match="no dead letter"):
            await client.call("redrive_dead_letter", letter_id=f"{NOBODY}:1:start")


async def test_ids_of_other_commands_do_not_stand_in_the_way_of_next(org: Tasks) -> None:
    made = await org.create("x", mode="manual", input={"page": 1})
    await org.update(made.id, title="y", command_id="1")
    claim = await org.next(agent_id="ann", command_id="1")
    assert claim is not None
    assert (claim.task.title, claim.task.input) == ("y", {"page": 1})
    assert (await org.update(made.id, title="y", command_id="1")).input == {"page": 1}


async def test_a_repeated_next_says_nothing_of_who_holds_the_task_now(org: Tasks) -> None:
    await org.create("x", mode="manual")
    first = await org.next(agent_id="ann", command_id="n", lease="10m")
    assert first is not None
    await org.release(first.task.id, token=first.token)
    await org.claim(first.task.id, agent_id="bob", lease="5h")
    again = await org.next(agent_id="ann", command_id="n", lease="10m")
    assert again is not None
    assert (again.token, again.lease_expires_at) == (first.token, first.task.lease_expires_at)
    with pytest.raises(errors.StaleToken):
        await org.complete(again.task.id, token=again.token)


async def test_a_client_does_not_have_the_file_keep_every_answer(tmp_path: Path) -> None:
    async with api(tmp_path) as (tasks, http), Client("http://api", "acme:ann:AGENT", http=http) as client:
        await client.create("x", mode="manual", input="x" * 100_000)
        claim = await client.next(agent_id="ann")
        assert claim is not None
        for percent in range(30):
            await client.progress(claim.task.id, percent, token=claim.token)
        await client.complete(claim.task.id, token=claim.token)
        kept = query(tasks.settings.db, "SELECT COUNT(*), SUM(LENGTH(answer)) FROM dt_commands")
    assert kept[0][0] == 1
    assert kept[0][1] < 5000


async def test_other_operations_go_by_their_names(tmp_path: Path) -> None:
    async with api(tmp_path) as (tasks, http), Client("http://api/v1/", "acme:ann:AGENT", http=http) as client:
        made = await client.pipeline("two", [NewTask(name="a"), NewTask(name="b")])
        graph = await client.call("graph_workflow", workflow_id=made.id)
        assert [node.name for node in graph.nodes] == ["a", "b"]
        with pytest.raises(errors.InvalidInput, match="paint_task"):
            await client.call("paint_task")
        with pytest.raises(errors.Forbidden) as refused:
            await client.call("describe_task", task_id=NOBODY)
        assert refused.value.role == "operator"
        with pytest.raises(errors.Forbidden):
            await client.call("diagnose_org")
        assert (
            await client.call("get_task", task_id=(await tasks.org("acme").create("x")).id)
        ).created_at <= datetime.now(UTC)
        assert "ann" not in repr(client)
