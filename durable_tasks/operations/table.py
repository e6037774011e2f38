"""The table of operations: every verb of the facade that surfaces offer, with the role that it needs.

It must not know a surface's protocol, nor decide anything that the facade decides.
"""

from collections.abc import Mapping

from durable_tasks.access import Role
from durable_tasks.diagnosis import OrgDiagnosis
from durable_tasks.errors import WaitTimeout
from durable_tasks.models import Attempt, Changed, Event, Task, TaskCounts, Workflow
from durable_tasks.operations import answers, durable, many, requests, standing
from durable_tasks.operations.operation import Caller, Operation
from durable_tasks.operations.requests import given, several
from durable_tasks.ports import DeadLetter
from durable_tasks.standing import Activity, Explanation, Queues

# ----- tasks


async def create_task(caller: Caller, request: requests.CreateTask) -> Task:
    """Create a task."""
    fields = {**given(request), "created_by": caller.named(request.created_by, "created_by")}
    return await caller.org.create(**fields)


async def create_tasks(caller: Caller, request: requests.CreateTasks) -> answers.Tasks:
    """Create many tasks, all or none; they may depend on each other by name."""
    return answers.Tasks(items=tuple(await caller.org.create_many(caller.as_creator(request.tasks))))


async def get_task(caller: Caller, request: requests.OfTask) -> Task:
    """Get one task."""
    return await caller.org.get(request.task_id)


async def update_task(caller: Caller, request: requests.UpdateTask) -> Task:
    """Edit an open task."""
    fields = given(request, "task_id", "version", "command_id")
    return await caller.org.update(request.task_id, version=request.version, command_id=request.command_id, **fields)


async def next_task(caller: Caller, request: requests.NextTask) -> answers.Claimed | None:
    """Claim the most urgent, then oldest, ready manual task; nothing when there is none."""
    claim = await caller.org.next(
        agent_id=caller.named(request.agent_id),
        space_id=request.space_id,
        capabilities=request.capabilities,
        groups=caller.principal.groups,
        lease=request.lease,
        command_id=request.command_id,
    )
    return None if claim is None else answers.Claimed.of(claim)


async def claim_task(caller: Caller, request: requests.ClaimTask) -> answers.Claimed:
    """Claim this very task."""
    agent_id = caller.named(request.agent_id)
    claim = await caller.org.claim(
        request.task_id,
        agent_id=agent_id,
        groups=caller.principal.groups,
        lease=request.lease,
        command_id=request.command_id,
    )
    return answers.Claimed.of(claim)


async def start_task(caller: Caller, request: requests.StartTask) -> Task:
    """Say that the work on a claimed task has begun."""
    return await caller.org.start(
        request.task_id, token=await caller.token(request.task_id, request.token), command_id=request.command_id
    )


async def heartbeat_task(caller: Caller, request: requests.HeartbeatTask) -> answers.Beat:
    """Renew the lease of a claimed task; learn whether it was cancelled."""
    return answers.Beat.of(
        await caller.org.heartbeat(request.task_id, token=await caller.token(request.task_id, request.token))
    )


async def progress_task(caller: Caller, request: requests.ProgressTask) -> Task:
    """Report progress, 0 to 100; renews the lease."""
    return await caller.org.progress(
        request.task_id,
        request.percent,
        token=await caller.token(request.task_id, request.token),
        message=request.message,
        command_id=request.command_id,
    )


async def complete_task(caller: Caller, request: requests.CompleteTask) -> Task:
    """End a claimed task well."""
    return await caller.org.complete(
        request.task_id,
        request.output,
        token=await caller.token(request.task_id, request.token),
        command_id=request.command_id,
    )


async def fail_task(caller: Caller, request: requests.FailTask) -> Task:
    """End a claimed task badly: it is retried while retries remain and `retryable`, else failed."""
    return await caller.org.fail(
        request.task_id,
        request.error,
        token=await caller.token(request.task_id, request.token),
        retryable=request.retryable,
        retry_after=request.retry_after,
        command_id=request.command_id,
    )


async def release_task(caller: Caller, request: requests.ReleaseTask) -> Task:
    """Give a claimed task back without using a retry; also how to say that a cancelled attempt has stopped."""
    return await caller.org.release(
        request.task_id, token=await caller.token(request.task_id, request.token), command_id=request.command_id
    )


async def cancel_task(caller: Caller, request: requests.CancelTask) -> Task:
    """Cancel a task at once; its attempt is told to stop."""
    return await caller.org.cancel(request.task_id, reason=request.reason, command_id=request.command_id)


async def retry_task(caller: Caller, request: requests.RetryTask) -> Task:
    """Run a failed or cancelled task again."""
    return await caller.org.retry(request.task_id, command_id=request.command_id)


async def comment_task(caller: Caller, request: requests.CommentTask) -> Event:
    """Say something about a task, also after its end."""
    return await caller.org.comment(
        request.task_id, request.text, author=caller.principal.subject, command_id=request.command_id
    )


async def wait_task(caller: Caller, request: requests.WaitTask) -> answers.Waited:
    """Wait for the end of a task, for a minute at most; ask again to wait on."""
    try:
        return answers.Waited(ended=True, task=await caller.org.wait(request.task_id, timeout=request.timeout))
    except WaitTimeout:
        return answers.Waited(ended=False, task=await caller.org.get(request.task_id))


async def list_attempts(caller: Caller, request: requests.OfTask) -> answers.Attempts:
    """List every execution of a task, oldest first."""
    return answers.Attempts(items=tuple(await caller.org.attempts(request.task_id)))


async def list_events(caller: Caller, request: requests.ListEvents) -> answers.Events:
    """List events in order: of the organisation, a task or a workflow."""
    found = await caller.org.events(
        task_id=request.task_id, workflow_id=request.workflow_id, after=request.after, limit=request.limit
    )
    return answers.Events(items=tuple(found))


# ----- workflows


async def create_workflow(caller: Caller, request: requests.CreateWorkflow) -> Workflow:
    """Create a pipeline, a fan_out or a dag of tasks."""
    options = given(request, "kind", "name", "tasks", "join", "max_parallel")
    options["created_by"] = caller.named(request.created_by, "created_by")
    caller.check_creators(request.tasks)
    if request.kind == "fan_out":
        return await caller.org.fan_out(
            request.name, request.tasks, join=request.join, max_parallel=request.max_parallel, **options
        )
    create = caller.org.pipeline if request.kind == "pipeline" else caller.org.dag
    return await create(request.name, request.tasks, **options)


async def list_workflows(caller: Caller, request: requests.ListWorkflows) -> answers.Listed[Workflow]:
    """List workflows, newest first."""
    page = await caller.org.list_workflows(
        state=several(request.state),
        space_id=request.space_id,
        text=request.text,
        limit=request.limit,
        cursor=request.cursor,
    )
    return answers.Listed[Workflow].of(page)


async def list_workflow_attempts(caller: Caller, request: requests.ListWorkflowAttempts) -> answers.Listed[Attempt]:
    """List every execution of a workflow's tasks, oldest first."""
    page = await caller.org.workflow_attempts(request.workflow_id, limit=request.limit, cursor=request.cursor)
    return answers.Listed[Attempt].of(page)


async def get_workflow(caller: Caller, request: requests.GetWorkflow) -> answers.WorkflowWithTasks:
    """Get a workflow with a page of its tasks."""
    workflow = await caller.org.get_workflow(request.workflow_id)
    page = await caller.org.workflow_page(
        request.workflow_id, limit=request.limit, cursor=request.cursor, full=request.full
    )
    return answers.WorkflowWithTasks(workflow=workflow, tasks=tuple(page.items), next_cursor=page.next_cursor)


async def graph_workflow(caller: Caller, request: requests.GraphWorkflow) -> answers.Graph:
    """Get the graph of a workflow: its tasks and what they wait for."""
    page = await caller.org.workflow_nodes(request.workflow_id, limit=request.limit, cursor=request.cursor)
    return answers.Graph(workflow_id=request.workflow_id, nodes=tuple(page.items), next_cursor=page.next_cursor)


async def add_tasks(caller: Caller, request: requests.AddTasks) -> answers.Tasks:
    """Add tasks to an open workflow; a pipeline grows at its end."""
    caller.check_creators(request.tasks)
    added = await caller.org.add_tasks(request.workflow_id, request.tasks, command_id=request.command_id)
    return answers.Tasks(items=tuple(added))


async def cancel_workflow(caller: Caller, request: requests.CancelWorkflow) -> Workflow:
    """Cancel a workflow and its open tasks."""
    return await caller.org.cancel_workflow(request.workflow_id, reason=request.reason, command_id=request.command_id)


async def retry_workflow(caller: Caller, request: requests.RetryWorkflow) -> Workflow:
    """Reopen a failed or cancelled workflow: its failed and cancelled tasks run again."""
    return await caller.org.retry_workflow(request.workflow_id, command_id=request.command_id)


async def wait_workflow(caller: Caller, request: requests.WaitWorkflow) -> answers.WaitedWorkflow:
    """Wait for the end of a workflow, for a minute at most; ask again to wait on."""
    try:
        ended = await caller.org.wait_workflow(request.workflow_id, timeout=request.timeout)
        return answers.WaitedWorkflow(ended=True, workflow=ended)
    except WaitTimeout:
        return answers.WaitedWorkflow(ended=False, workflow=await caller.org.get_workflow(request.workflow_id))


_TASK = "/tasks/{task_id}"
_WORKFLOW = "/workflows/{workflow_id}"
_TEMPORAL = "/temporal/workflow"  # its id is in the query or the body: it may hold slashes
_ALL = (
    Operation("create_task", Role.AGENT, "POST", "/tasks", requests.CreateTask, Task, create_task, status=201),
    Operation(
        "create_tasks", Role.AGENT, "POST", "/tasks/bulk", requests.CreateTasks, answers.Tasks, create_tasks, status=201
    ),
    Operation(
        "list_tasks", Role.VIEWER, "GET", "/tasks", requests.ListTasks, answers.Listed[Task], many.list_tasks,
        repeatable=True,
    ),
    Operation(
        "count_tasks", Role.VIEWER, "GET", "/tasks/counts", requests.CountTasks, TaskCounts, many.count_tasks,
        repeatable=True,
    ),
    Operation(
        "cancel_tasks", Role.OPERATOR, "POST", "/tasks/cancel", requests.CancelTasks, Changed, many.cancel_tasks,
        destructive=True,
    ),
    Operation("retry_tasks", Role.OPERATOR, "POST", "/tasks/retry", requests.RetryTasks, Changed, many.retry_tasks),
    Operation("next_task", Role.AGENT, "POST", "/tasks/next", requests.NextTask, answers.Claimed | None, next_task),
    Operation("get_task", Role.VIEWER, "GET", _TASK, requests.OfTask, Task, get_task, repeatable=True),
    Operation("update_task", Role.AGENT, "PATCH", _TASK, requests.UpdateTask, Task, update_task),
    Operation("claim_task", Role.AGENT, "POST", f"{_TASK}/claim", requests.ClaimTask, answers.Claimed, claim_task),
    Operation("start_task", Role.AGENT, "POST", f"{_TASK}/start", requests.StartTask, Task, start_task),
    Operation(
        "heartbeat_task", Role.AGENT, "POST", f"{_TASK}/heartbeat", requests.HeartbeatTask, answers.Beat,
        heartbeat_task, repeatable=True,
    ),
    Operation(
        "progress_task", Role.AGENT, "POST", f"{_TASK}/progress", requests.ProgressTask, Task, progress_task,
        repeatable=True,
    ),
    Operation(
        "complete_task", Role.AGENT, "POST", f"{_TASK}/complete", requests.CompleteTask, Task, complete_task,
        repeatable=True,
    ),
    Operation("fail_task", Role.AGENT, "POST", f"{_TASK}/fail", requests.FailTask, Task, fail_task, repeatable=True),
    Operation("release_task", Role.AGENT, "POST", f"{_TASK}/release", requests.ReleaseTask, Task, release_task),
    Operation(
        "cancel_task", Role.AGENT, "POST", f"{_TASK}/cancel", requests.CancelTask, Task, cancel_task,
        repeatable=True, destructive=True,
    ),
    Operation("retry_task", Role.AGENT, "POST", f"{_TASK}/retry", requests.RetryTask, Task, retry_task),
    Operation(
        "comment_task", Role.AGENT, "POST", f"{_TASK}/comments", requests.CommentTask, Event, comment_task, status=201
    ),
    Operation(
        "wait_task", Role.VIEWER, "GET", f"{_TASK}/wait", requests.WaitTask, answers.Waited, wait_task,
        repeatable=True,
    ),
    Operation(
        "list_attempts", Role.VIEWER, "GET", f"{_TASK}/attempts", requests.OfTask, answers.Attempts, list_attempts,
        repeatable=True,
    ),
    Operation(
        "list_events", Role.VIEWER, "GET", "/events", requests.ListEvents, answers.Events, list_events,
        repeatable=True,
    ),
    Operation(
        "create_workflow", Role.AGENT, "POST", "/workflows", requests.CreateWorkflow, Workflow, create_workflow,
        status=201,
    ),
    Operation(
        "list_workflows", Role.VIEWER, "GET", "/workflows", requests.ListWorkflows, answers.Listed[Workflow],
        list_workflows, repeatable=True,
    ),
    Operation(
        "get_workflow", Role.VIEWER, "GET", _WORKFLOW, requests.GetWorkflow, answers.WorkflowWithTasks, get_workflow,
        repeatable=True,
    ),
    Operation(
        "list_workflow_attempts", Role.VIEWER, "GET", f"{_WORKFLOW}/attempts", requests.ListWorkflowAttempts,
        answers.Listed[Attempt], list_workflow_attempts, repeatable=True,
    ),
    Operation(
        "graph_workflow", Role.VIEWER, "GET", f"{_WORKFLOW}/graph", requests.GraphWorkflow, answers.Graph,
        graph_workflow, repeatable=True,
    ),
    Operation(
        "add_tasks", Role.AGENT, "POST", f"{_WORKFLOW}/tasks", requests.AddTasks, answers.Tasks, add_tasks, status=201
    ),
    Operation(
        "cancel_workflow", Role.AGENT, "POST", f"{_WORKFLOW}/cancel", requests.CancelWorkflow, Workflow,
        cancel_workflow, repeatable=True, destructive=True,
    ),
    Operation(
        "retry_workflow", Role.AGENT, "POST", f"{_WORKFLOW}/retry", requests.RetryWorkflow, Workflow, retry_workflow
    ),
    Operation(
        "wait_workflow", Role.VIEWER, "GET", f"{_WORKFLOW}/wait", requests.WaitWorkflow, answers.WaitedWorkflow,
        wait_workflow, repeatable=True,
    ),
    Operation("get_me", Role.VIEWER, "GET", "/me", requests.Nothing, answers.Me, standing.get_me, repeatable=True),
    Operation(
        "list_orgs", Role.VIEWER, "GET", "/orgs", requests.Nothing, answers.Orgs, standing.list_orgs,
        repeatable=True,
    ),
    Operation(
        "explain_task", Role.VIEWER, "GET", f"{_TASK}/explanation", requests.OfTask, Explanation,
        standing.explain_task, repeatable=True,
    ),
    Operation(
        "list_queues", Role.VIEWER, "GET", "/queues", requests.Nothing, Queues, standing.list_queues,
        repeatable=True,
    ),
    Operation(
        "measure_org", Role.VIEWER, "GET", "/activity", requests.Nothing, Activity, standing.measure_org,
        repeatable=True,
    ),
    Operation(
        "diagnose_org", Role.OPERATOR, "GET", "/doctor", requests.Nothing, OrgDiagnosis, standing.diagnose_org,
        repeatable=True,
    ),
    Operation(
        "redrive_dead_letter", Role.OPERATOR, "POST", "/dead-letters/{letter_id}/redrive", requests.OfDeadLetter,
        DeadLetter, standing.redrive_dead_letter,
    ),
    Operation(
        "describe_task", Role.OPERATOR, "GET", f"{_TASK}/durable", requests.OfTask, answers.DurableView,
        durable.describe_task, repeatable=True, temporal=True,
    ),
    Operation(
        "signal_task", Role.OPERATOR, "POST", f"{_TASK}/signal", requests.SignalTask, answers.Signalled,
        durable.signal_task, status=202, temporal=True,
    ),
    Operation(
        "query_task", Role.OPERATOR, "GET", f"{_TASK}/query/{{query}}", requests.QueryTask, answers.Queried,
        durable.query_task, repeatable=True, temporal=True,
    ),
    Operation(
        "start_temporal_workflow", Role.OPERATOR, "POST", _TEMPORAL, requests.StartTemporalWorkflow,
        answers.TemporalWorkflow, durable.start_temporal_workflow, status=201, temporal=True,
    ),
    Operation(
        "describe_temporal_workflow", Role.OPERATOR, "GET", _TEMPORAL, requests.OfTemporalWorkflow,
        answers.TemporalWorkflow, durable.describe_temporal_workflow, repeatable=True, temporal=True,
    ),
    Operation(
        "signal_temporal_workflow", Role.OPERATOR, "POST", f"{_TEMPORAL}/signal", requests.SignalTemporalWorkflow,
        answers.Told, durable.signal_temporal_workflow, status=202, temporal=True,
    ),
    Operation(
        "cancel_temporal_workflow", Role.OPERATOR, "POST", f"{_TEMPORAL}/cancel", requests.OfTemporalWorkflow,
        answers.Told, durable.cancel_temporal_workflow, status=202, repeatable=True, destructive=True, temporal=True,
    ),
    Operation(
        "terminate_temporal_workflow", Role.OPERATOR, "POST", f"{_TEMPORAL}/terminate",
        requests.TerminateTemporalWorkflow, answers.Told, durable.terminate_temporal_workflow, status=202,
        repeatable=True, destructive=True, temporal=True,
    ),
)  # fmt: skip

OPERATIONS: Mapping[str, Operation] = {operation.name: operation for operation in _ALL}
