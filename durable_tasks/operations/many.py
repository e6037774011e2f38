"""Operations on many tasks at once, those that a filter means.

They must not know how the tasks are found, nor decide anything that the facade decides.
"""

from durable_tasks.models import Changed, FilterFields, Task, TaskCounts, assignees
from durable_tasks.operations import answers, requests
from durable_tasks.operations.operation import Caller


async def list_tasks(caller: Caller, request: requests.ListTasks) -> answers.Listed[Task]:
    """List tasks, the most urgent first, then the oldest."""
    page = await caller.org.list(
        limit=request.limit, cursor=request.cursor, full=request.full, **_filters(caller, request)
    )
    return answers.Listed[Task].of(page)


async def count_tasks(caller: Caller, request: requests.CountTasks) -> TaskCounts:
    """Count tasks by state."""
    return await caller.org.count(**_filters(caller, request))


async def cancel_tasks(caller: Caller, request: requests.CancelTasks) -> Changed:
    """Cancel every open task that fits, a page of them at a time."""
    return await caller.org.cancel_many(
        dry_run=request.dry_run,
        limit=request.limit,
        cursor=request.cursor,
        reason=request.reason,
        **_filters(caller, request),
    )


async def retry_tasks(caller: Caller, request: requests.RetryTasks) -> Changed:
    """Run every failed or cancelled task that fits again, a page of them at a time."""
    return await caller.org.retry_many(
        dry_run=request.dry_run, limit=request.limit, cursor=request.cursor, **_filters(caller, request)
    )


def _filters(caller: Caller, request: requests.FilterTasks) -> FilterFields:
    """What the facade calls them. `waiting_for_me` is what only a surface can know."""
    me = caller.principal
    mine = (me.subject, *assignees(me.groups)) if request.waiting_for_me else ()
    return {
        "state": request.state,
        "space_id": request.space_id,
        "assigned_to": request.assigned_to,
        "priority": request.priority,
        "labels": request.labels,
        "workflow_id": request.workflow_id,
        "capability": request.capability,
        "mode": request.mode,
        "created_by": request.created_by,
        "parent_task_id": request.parent_task_id,
        "ids": request.ids,
        "text": request.text,
        "waiting_for": (*request.waiting_for, *mine),
        "overdue": request.overdue,
    }
