"""What each failure of a real server means to us, and the backoff.
It must not know who calls.
"""

import uuid

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    SignalWorkflowExecutionRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError

from durable_tasks.temporal.faults import Fault, fault_of, pause


async def signal(
    client: Client, workflow_id: str, namespace: str = "default", name: str = "sync", size: int = 0
) -> Fault:
    request = SignalWorkflowExecutionRequest(
        namespace=namespace,
        workflow_execution=WorkflowExecution(workflow_id=workflow_id),
        signal_name=name,
    )
    if size:
        request.input.payloads.add().data = uuid.uuid4().bytes * (size // 16)
    with pytest.raises(RPCError) as failure:
        await client.workflow_service.signal_workflow_execution(request)
    return fault_of(failure.value)


async def test_the_three_not_founds_differ(client: Client) -> None:
    handle = await client.start_workflow("Nothing", id=f"faults-{uuid.uuid4()}", task_queue="nobody")
    await handle.terminate()
    assert await signal(client, handle.id) is Fault.CLOSED
    assert await signal(client, "never-started") is Fault.MISSING
    assert await signal(client, "never-started", namespace="no-such-namespace") is Fault.NAMESPACE


async def test_a_missing_run_is_missing(client: Client) -> None:
    execution = WorkflowExecution(workflow_id="never-started", run_id=str(uuid.uuid4()))
    with pytest.raises(RPCError) as failure:
        await client.workflow_service.describe_workflow_execution(
            DescribeWorkflowExecutionRequest(namespace="default", execution=execution)
        )
    assert fault_of(failure.value) is Fault.MISSING


async def test_what_will_never_fit_is_permanent(client: Client) -> None:
    handle = await client.start_workflow("Nothing", id=f"faults-{uuid.uuid4()}", task_queue="nobody")
    assert await signal(client, handle.id, name="s" * 2000) is Fault.PERMANENT
    assert await signal(client, handle.id, size=3 * 2**20) is Fault.PERMANENT
    assert await signal(client, handle.id, size=6 * 2**20) is Fault.PERMANENT
    await handle.terminate()


def test_a_deadline_passes() -> None:
    assert fault_of(TimeoutError()) is Fault.TRANSIENT


@pytest.mark.parametrize("tries", [0, 1, 5, 10_000])
def test_pause_is_bounded(tries: int) -> None:
    pauses = [pause(tries) for _ in range(200)]
    assert all(0.2 <= seconds <= min(30.0, 0.2 * 2 ** min(tries, 30)) + 1e-9 for seconds in pauses)
    assert tries == 0 or len(set(pauses)) > 100
