"""Conclusion: ends a Temporal workflow as SQLite ended its task or group.
It must not know how the end was reached, nor cancellation: only a real request ends a workflow as CANCELED."""

from typing import Any

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from durable_tasks.contracts import GroupRef, GroupStatus, TaskRef, TaskStatus, Verdict
    from durable_tasks.models import TaskError

_MESSAGE_LIMIT = 8192
_TYPE_LIMIT = 256

OVER = frozenset({Verdict.ENDED, Verdict.SUPERSEDED})
"""Verdicts after which there is nothing left to ask."""


def conclude(ref: TaskRef | GroupRef, status: TaskStatus | GroupStatus) -> Any:
    """Return the output, or raise what ends the Temporal workflow as its subject ended."""
    subject, name = ("task", "task_id") if isinstance(ref, TaskRef) else ("workflow", "workflow_id")
    if status.verdict is Verdict.SUPERSEDED:
        raise ApplicationError(
            f"generation {ref.generation} is no longer the newest of {subject} {ref.subject_id}",
            type=Verdict.SUPERSEDED,
            non_retryable=True,
        )
    if status.state == "failed":
        error = status.error or TaskError(type="failed", message="failed")
        raise ApplicationError(error.message[:_MESSAGE_LIMIT], type=error.type[:_TYPE_LIMIT], non_retryable=True)
    if status.output_in_store:
        return {"output_in_store": True, name: ref.subject_id}
    return status.output


def ends_cancelled(status: TaskStatus | GroupStatus) -> bool:
    """Whether a cancel request, raised again, is the right end: not when the task had ended otherwise before it."""
    return status.state == "cancelled" or status.verdict is Verdict.SUPERSEDED
