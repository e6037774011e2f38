"""Pipelines, fan-outs and DAGs through the whole: application, Temporal, and an external worker.
It must not know how groups are rolled up: it compares what users and Temporal see.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

from durable_tasks import DurableTasks, DurableTasksPlugin, Handlers, NewTask, Settings, Task, TaskContext, TaskState
from durable_tasks.errors import Conflict
from durable_tasks.models import Workflow, WorkflowState
from durable_tasks.temporal.server import EmbeddedServer
from tests.faults.figures import count, keep

WITHIN = 60.0
QUEUE = "elsewhere"


async def echo(ctx: TaskContext, task: Task) -> Any:
    """Its input, after what came before it; fails when told to."""
    if task.input == "fail":
        raise ValueError("told to")
    return [*ctx.prior.values(), task.input]


@asynccontextmanager
async def running(path: Path, server: EmbeddedServer, client: Client) -> AsyncIterator[DurableTasks]:
    handlers = Handlers()
    handlers.add("echo", echo)
    tasks = DurableTasks(Settings(db=path / "app.db", enabled=True, address=server.address, max_concurrent=20))
    tasks.handlers.add("echo", echo)
    async with Worker(client, task_queue=QUEUE, plugins=[DurableTasksPlugin(handlers)]), tasks:
        yield tasks


@pytest.fixture
async def tasks(tmp_path: Path, temporal_server: EmbeddedServer, client: Client) -> AsyncIterator[DurableTasks]:
    async with running(tmp_path, temporal_server, client) as tasks:
        yield tasks


@pytest.fixture(params=[None, QUEUE], ids=["embedded", "external"])
def queue(request: pytest.FixtureRequest) -> str | None:
    """Where the members run."""
    found: str | None = request.param
    return found


def member(queue: str | None, name: str, given: Any = None, **fields: Any) -> NewTask:
    return NewTask(name=name, capability="echo", queue=queue, input=given, **fields)


async def handed_over(tasks: DurableTasks, group: Workflow) -> WorkflowHandle[Any, Any]:
    """The group's Temporal workflow, once Temporal has it."""
    assert tasks.temporal is not None
    await tasks.temporal.wait_connected(WITHIN)
    handle = tasks.durable.client_for_org().get_workflow_handle(f"workflow/{group.id}/{group.generation}")
    until = tasks.clock.now() + WITHIN
    while tasks.clock.now() < until:
        try:
            await handle.describe()
            return handle
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
        await tasks.clock.wait_for(asyncio.Event(), 0.05)
    raise AssertionError(f"{handle.id} was never started")


async def temporal_end(tasks: DurableTasks, group: Workflow) -> tuple[WorkflowExecutionStatus | None, Any]:
    """How the group's Temporal workflow ended, and what it returned."""
    handle = await handed_over(tasks, group)
    try:
        result = await handle.result()
    except WorkflowFailureError as error:
        result = getattr(error.cause, "type", None)
    return (await handle.describe()).status, result


async def test_each_step_of_a_pipeline_sees_the_outputs_before_it(tasks: DurableTasks, queue: str | None) -> None:
    org = tasks.org()
    steps = [member(queue, "a", 1), member(queue, "b", 2), member(queue, "c", 3)]
    group = await org.pipeline("p", steps)
    assert (await org.wait_workflow(group.id, timeout=WITHIN)).state is WorkflowState.COMPLETED
    outputs = [[1], [[1], 2], [[1], [[1], 2], 3]]
    assert [task.output for task in await org.workflow_tasks(group.id)] == outputs
    assert await temporal_end(tasks, group) == (WorkflowExecutionStatus.COMPLETED, outputs)


async def test_a_dag_runs_in_the_order_of_its_names(tasks: DurableTasks, queue: str | None) -> None:
    org = tasks.org()
    group = await org.dag(
        "d",
        [
            member(queue, "top", 1),
            member(queue, "left", 2, depends_on=("top",)),
            member(queue, "right", 3, depends_on=("top",)),
            member(queue, "end", 4, depends_on=("left", "right")),
        ],
    )
    await org.wait_workflow(group.id, timeout=WITHIN)
    assert [task.output for task in await org.workflow_tasks(group.id)][-1] == [[[1], 2], [[1], 3], 4]
    assert (await temporal_end(tasks, group))[0] is WorkflowExecutionStatus.COMPLETED


async def test_a_fan_out_keeps_to_its_parallel_limit_and_to_input_order(tasks: DurableTasks, queue: str | None) -> None:
    org = tasks.org()
    group = await org.fan_out("f", [member(queue, f"m{n}", n) for n in range(30)], max_parallel=3)
    assert (await org.wait_workflow(group.id, timeout=WITHIN)).counts == {TaskState.COMPLETED: 30}
    assert await temporal_end(tasks, group) == (WorkflowExecutionStatus.COMPLETED, [[n] for n in range(30)])


async def test_one_failure_ends_a_fail_fast_group_and_cancels_the_rest(tasks: DurableTasks, queue: str | None) -> None:
    org = tasks.org()
    group = await org.pipeline("p", [member(queue, "a", "fail"), member(queue, "b", 2)])
    assert (await org.wait_workflow(group.id, timeout=WITHIN)).state is WorkflowState.FAILED
    assert [task.state for task in await org.workflow_tasks(group.id)] == [TaskState.FAILED, TaskState.CANCELLED]
    assert await temporal_end(tasks, group) == (WorkflowExecutionStatus.FAILED, "ValueError")


async def test_a_group_that_goes_on_after_failures_needs_only_some(tasks: DurableTasks, queue: str | None) -> None:
    org = tasks.org()
    members = [member(queue, "bad", "fail"), member(queue, "good", 1)]
    group = await org.fan_out("f", members, join="any", failure_policy="continue")
    assert (await org.wait_workflow(group.id, timeout=WITHIN)).state is WorkflowState.COMPLETED
    assert (await temporal_end(tasks, group))[0] is WorkflowExecutionStatus.COMPLETED


async def test_a_person_works_on_a_manual_member(tasks: DurableTasks, queue: str | None) -> None:
    org = tasks.org()
    steps = [member(queue, "draft", 1), NewTask(name="approve", mode="manual"), member(queue, "publish", 3)]  # type: ignore[arg-type]
    group = await org.pipeline("p", steps)
    draft, approve, _ = await org.workflow_tasks(group.id)
    await org.wait(draft.id, timeout=WITHIN)
    claim = await org.claim(approve.id, agent_id="ana")
    await org.complete(approve.id, "yes", token=claim.token)
    await org.wait_workflow(group.id, timeout=WITHIN)
    assert await temporal_end(tasks, group) == (WorkflowExecutionStatus.COMPLETED, [[1], "yes", [[1], "yes", 3]])
    status = await tasks.durable.status(approve.id)
    assert status.workflow_id == f"task/{approve.id}/1"


async def test_a_cancelled_group_cancels_its_members_on_both_sides(tasks: DurableTasks) -> None:
    org = tasks.org()
    group = await org.fan_out("f", [NewTask(name=f"m{n}", mode="manual") for n in range(3)])  # type: ignore[arg-type]
    await org.cancel_workflow(group.id)
    assert (await temporal_end(tasks, group))[0] is WorkflowExecutionStatus.CANCELED
    for task in await org.workflow_tasks(group.id):
        assert task.state is TaskState.CANCELLED


async def test_cancelled_in_temporal_it_is_cancelled_in_sqlite(tasks: DurableTasks) -> None:
    org = tasks.org()
    group = await org.fan_out("f", [NewTask(name=f"m{n}", mode="manual") for n in range(3)])  # type: ignore[arg-type]
    handle = await handed_over(tasks, group)
    with pytest.raises(WorkflowUpdateFailedError):
        await handle.execute_update("claim", {"task_id": "nobody", "agent_id": "ana"})  # so that it has begun
    await handle.cancel()
    assert (await org.wait_workflow(group.id, timeout=WITHIN)).state is WorkflowState.CANCELLED
    assert (await temporal_end(tasks, group))[0] is WorkflowExecutionStatus.CANCELED


async def test_a_failed_group_is_reopened_as_its_next_generation(tasks: DurableTasks, queue: str | None) -> None:
    org = tasks.org()
    group = await org.fan_out("f", [member(queue, "a", "fail"), member(queue, "b", 1)])
    failed = await org.wait_workflow(group.id, timeout=WITHIN)
    bad, _ = await org.workflow_tasks(group.id)
    with pytest.raises(Conflict):
        await org.retry(bad.id)
    reopened = await org.retry_workflow(group.id)
    assert reopened.generation == failed.generation + 1
    assert (await org.wait_workflow(group.id, timeout=WITHIN)).state is WorkflowState.FAILED
    assert await temporal_end(tasks, reopened) == (WorkflowExecutionStatus.FAILED, "ValueError")


@pytest.mark.acceptance
async def test_ten_thousand_members(tmp_path: Path, temporal_server: EmbeddedServer, client: Client) -> None:
    wanted = count("TASKS_ACCEPTANCE_MEMBERS", 10_000)
    async with running(tmp_path, temporal_server, client) as tasks:
        org = tasks.org()
        for queue in (None, QUEUE):
            started = tasks.clock.now()
            group = await org.fan_out("f", [member(queue, f"m{n}", n) for n in range(wanted)])
            done = await org.wait_workflow(group.id, timeout=900)
            assert done.counts == {TaskState.COMPLETED: wanted}
            assert (await temporal_end(tasks, group))[0] is WorkflowExecutionStatus.COMPLETED
            keep(f"members_{queue or 'embedded'}", {"members": wanted, "seconds": tasks.clock.now() - started})
