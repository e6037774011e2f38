"""Executions: the attempts that external workers have of one Temporal workflow, and how each of them ended.
It must not know tasks from groups, nor what SQLite makes of an end."""

import asyncio
from collections.abc import Collection, Coroutine, Iterable
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.common import Priority, RawValue, RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError, TimeoutError, TimeoutType

with workflow.unsafe.imports_passed_through():
    from pydantic import ValidationError

    from durable_tasks.contracts import EXECUTE, AttemptEnd, AttemptEnding, Begun, Execution, execution_id
    from durable_tasks.durations import LONGEST
    from durable_tasks.models import TaskError

T = TypeVar("T")

_NO_LIMIT = timedelta(days=365)
"""The server wants a limit of some kind; a lost worker is noticed by its heartbeats long before."""
_SUMMARY_LIMIT = 200
_JSON = b"json/plain"
_NULL = b"binary/null"
_RELEASED = "released"


class Executions:
    """Work that outlives a cancellation of the workflow itself: what SQLite has begun is always recorded."""

    def __init__(self) -> None:
        self._work: list[asyncio.Task[Any]] = []
        self._handles: dict[str, workflow.ActivityHandle[Any]] = {}
        self.stopping = False

    @property
    def open(self) -> int:
        """How many pieces of work are not done."""
        return len(self._work)

    @property
    def running(self) -> Collection[str]:
        """The execution ids that are with an external worker, or wait for one."""
        return self._handles.keys()

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Do `work` aside: a cancelled workflow stops waiting for it, and `stopped` waits for it still."""
        task = asyncio.create_task(work)
        self._work.append(task)
        task.add_done_callback(self._work.remove)
        return task

    async def run(self, begun: Begun, execution: Execution) -> AttemptEnd:
        """Have one attempt executed on its work queue. However it ends, that is the answer."""
        ended = _Ended(begun, execution)
        if self.stopping:
            return ended.released()
        name = execution_id(begun.ref.task_id, begun.status.attempt)
        self._handles[name] = handle = _start(name, begun, execution)
        try:
            return ended.returned(await handle)
        except asyncio.CancelledError:
            return ended.released()
        except ActivityError as error:
            return ended.raised(error.cause)
        finally:
            del self._handles[name]

    def stop(self, names: Iterable[str]) -> None:
        """Ask the workers of these attempts to stop; unknown names are of attempts that have ended."""
        for name in names:
            if name in self._handles:
                self._handles[name].cancel()

    async def stopped(self) -> None:
        """Begin nothing more, stop everything, and wait until all of it is recorded."""
        self.stopping = True
        self.stop(list(self._handles))
        await workflow.wait_condition(lambda: not self._work)


def _start(name: str, begun: Begun, execution: Execution) -> workflow.ActivityHandle[Any]:
    capability, title = execution.task.get("capability"), execution.task.get("title")
    return workflow.start_activity(
        EXECUTE,
        execution,
        activity_id=name,
        task_queue=begun.queue,
        result_type=RawValue,
        # No schedule-to-start limit: a worker may come as late as it likes.
        start_to_close_timeout=_NO_LIMIT if begun.timeout is None else timedelta(seconds=begun.timeout),
        heartbeat_timeout=timedelta(seconds=execution.heartbeat),
        # SQLite counts the attempts.
        retry_policy=RetryPolicy(maximum_attempts=1),
        cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=f"{capability}: {title}"[:_SUMMARY_LIMIT],
        priority=Priority(priority_key=4 - begun.ref.priority),
    )


class _Ended:
    """The ways in which one attempt can end."""

    def __init__(self, begun: Begun, execution: Execution) -> None:
        self._ref = begun.ref
        self._token = execution.token

    def released(self) -> AttemptEnd:
        return self._as(AttemptEnding.RELEASED)

    def returned(self, raw: RawValue) -> AttemptEnd:
        # Decoded here: an output that cannot be read must fail its attempt, not every try of the workflow task.
        encoding = raw.payload.metadata.get("encoding", b"")
        if encoding not in (_JSON, _NULL):
            return self._unreadable(f"the output is encoded as {encoding!r}, not as JSON")
        try:
            output = workflow.payload_converter().from_payload(raw.payload)
        except (ValueError, RuntimeError) as error:
            return self._unreadable(f"the output cannot be read: {error}")
        return self._as(AttemptEnding.COMPLETED, output=output)

    def raised(self, cause: BaseException | None) -> AttemptEnd:
        if isinstance(cause, TimeoutError):
            in_time = cause.type is not TimeoutType.START_TO_CLOSE
            return self._as(AttemptEnding.LOST if in_time else AttemptEnding.TIMEOUT)
        if isinstance(cause, CancelledError):
            return self.released()
        if not isinstance(cause, ApplicationError):
            return self._as(AttemptEnding.FAILED, error=TaskError(type=type(cause).__name__, message=str(cause)))
        return self.released() if cause.type == _RELEASED else self._failed(cause)

    def _failed(self, cause: ApplicationError) -> AttemptEnd:
        said = cause.details[0] if cause.details and isinstance(cause.details[0], dict) else {}
        return self._as(
            AttemptEnding.FAILED,
            error=TaskError(type=cause.type or "unknown", message=cause.message, details=_details(said.get("error"))),
            retryable=not cause.non_retryable,
            retry_after=_retry_after(cause, said.get("retry_after")),
        )

    def _unreadable(self, why: str) -> AttemptEnd:
        return self._as(AttemptEnding.FAILED, error=TaskError(type="unreadable_output", message=why), retryable=False)

    def _as(self, ending: AttemptEnding, **facts: Any) -> AttemptEnd:
        return AttemptEnd(ref=self._ref, token=self._token, ending=ending, **facts)


def _details(said: Any) -> Any:
    """Of a whole TaskError its details; anything else that a worker of another kind sent counts as the details."""
    try:
        return TaskError.model_validate(said).details
    except ValidationError:
        return said


def _retry_after(cause: ApplicationError, said: Any) -> float | None:
    if cause.next_retry_delay is not None:
        said = cause.next_retry_delay.total_seconds()
    is_number = isinstance(said, int | float) and not isinstance(said, bool)
    # Compared before it is a float: an integer may be larger than any.
    return float(min(said, LONGEST)) if is_number and said >= 0 else None
