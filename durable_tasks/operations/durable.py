"""Temporal's side: operations that look there directly, or act there, in the organisation's namespace.

They must not know Temporal's client; the host's durable store does.
"""

from dataclasses import asdict
from typing import Any

from durable_tasks.operations import answers, requests
from durable_tasks.operations.operation import Caller


async def describe_task(caller: Caller, request: requests.OfTask) -> answers.DurableView:
    """See how a task stands in SQLite and in Temporal."""
    seen = await caller.host.durable.status(request.task_id, org=caller.principal.org)
    return answers.DurableView(
        task=seen.task,
        namespace=seen.namespace,
        workflow_id=seen.workflow_id,
        run_id=seen.run_id,
        temporal=seen.temporal,
    )


async def signal_task(caller: Caller, request: requests.SignalTask) -> answers.Signalled:
    """Send a signal to the task's Temporal workflow. Nobody answers it: a refusal is only shown there."""
    payload = {**request.payload, "by": caller.principal.subject}
    await caller.host.durable.signal(request.task_id, request.signal, payload, org=caller.principal.org)
    return answers.Signalled(task_id=request.task_id, signal=request.signal)


async def query_task(caller: Caller, request: requests.QueryTask) -> answers.Queried:
    """Ask the task's Temporal workflow."""
    answer = await caller.host.durable.query(request.task_id, request.query, org=caller.principal.org)
    return answers.Queried(task_id=request.task_id, query=request.query, answer=answer)


async def start_temporal_workflow(caller: Caller, request: requests.StartTemporalWorkflow) -> answers.TemporalWorkflow:
    """Start a Temporal workflow of your own in the organisation's namespace."""
    executions = await caller.host.durable.executions(org=caller.principal.org)
    return _shown(
        await executions.start(
            request.workflow_type,
            request.workflow_id,
            queue=request.queue,
            arguments=request.arguments,
            timeout=request.timeout,
        )
    )


async def describe_temporal_workflow(caller: Caller, request: requests.OfTemporalWorkflow) -> answers.TemporalWorkflow:
    """See how a Temporal workflow of the organisation's namespace stands, by its Temporal id."""
    executions = await caller.host.durable.executions(org=caller.principal.org)
    return _shown(await executions.describe(request.workflow_id))


async def signal_temporal_workflow(caller: Caller, request: requests.SignalTemporalWorkflow) -> answers.Told:
    """Send a signal to a Temporal workflow of your own."""
    executions = await caller.host.durable.executions(org=caller.principal.org)
    await executions.signal(request.workflow_id, request.signal, request.arguments)
    return answers.Told(told="signal", workflow_id=request.workflow_id)


async def cancel_temporal_workflow(caller: Caller, request: requests.OfTemporalWorkflow) -> answers.Told:
    """Ask a Temporal workflow of your own to end."""
    executions = await caller.host.durable.executions(org=caller.principal.org)
    await executions.cancel(request.workflow_id)
    return answers.Told(told="cancel", workflow_id=request.workflow_id)


async def terminate_temporal_workflow(caller: Caller, request: requests.TerminateTemporalWorkflow) -> answers.Told:
    """End a Temporal workflow of your own at once."""
    executions = await caller.host.durable.executions(org=caller.principal.org)
    await executions.terminate(request.workflow_id, reason=request.reason)
    return answers.Told(told="terminate", workflow_id=request.workflow_id)


def _shown(execution: Any) -> answers.TemporalWorkflow:
    return answers.TemporalWorkflow(**asdict(execution))
