"""AgentTaskWorkflow: the Temporal twin of one task. It asks SQLite, sleeps, waits, and ends as SQLite ended.
It must not know the store, the executor or the relay: only contracts; and every line here is replayed."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from pydantic import ValidationError

    from durable_tasks.contracts import (
        CANCEL_TASK,
        JOIN_TASK,
        READ_TASK,
        RUN_TASK,
        STATUS_QUERY,
        SYNC_SIGNAL,
        TASK_WORKFLOW,
        RunRequest,
        TaskRef,
        TaskStatus,
        Verdict,
    )
    from durable_tasks.models import Placement, TaskState

# Above the threshold a retry waits on a server timer instead of occupying a workflow task.
_LOCAL = workflow.LocalActivityConfig(
    start_to_close_timeout=timedelta(seconds=10),
    retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=100), maximum_interval=timedelta(seconds=30)),
    local_retry_threshold=timedelta(seconds=1),
)
# TRY_CANCEL only ends the wait: a join that is cancelled leaves the handler alone.
_JOIN = workflow.ActivityConfig(
    start_to_close_timeout=timedelta(hours=1),
    heartbeat_timeout=timedelta(seconds=10),
    retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=10)),
    cancellation_type=workflow.ActivityCancellationType.TRY_CANCEL,
)
_SHORTEST_WAIT = 0.1
"""Seconds. The server's clock may run ahead of SQLite's: without a floor the workflow would spin."""
_NOT_HERE_FIRST = 2.0
_NOT_HERE_LONGEST = 30.0
_MESSAGE_LIMIT = 8192
_TYPE_LIMIT = 256
_CANCELLED_THERE = "cancelled in Temporal"
_OVER = frozenset({Verdict.ENDED, Verdict.SUPERSEDED})


@workflow.defn(name=TASK_WORKFLOW)
class AgentTaskWorkflow:
    """SQLite decides; this decides only when to ask again. A sync is a hint that asking is worthwhile."""

    @workflow.init
    def __init__(self, ref: TaskRef) -> None:
        self._ref = ref
        self._asked = 0
        self._answer: TaskStatus | None = None
        """SQLite's last own answer."""
        self._news: TaskStatus | None = None
        """The newest sync since then."""

    @workflow.run
    async def run(self, ref: TaskRef) -> Any:
        try:
            status = await self._until_over()
            await workflow.wait_condition(workflow.all_handlers_finished)
        except (asyncio.CancelledError, ActivityError) as stop:
            if not is_cancelled_exception(stop):
                raise
            status = await self._cancel()
            await workflow.wait_condition(workflow.all_handlers_finished)
            # Only the request itself, re-raised, ends a Temporal workflow as CANCELED.
            if status.state is TaskState.CANCELLED or status.verdict is Verdict.SUPERSEDED:
                raise
        return _conclude(self._ref, status)

    @workflow.signal(name=SYNC_SIGNAL)
    def sync(self, payload: Any = None) -> None:
        """What the task became. Accepted loosely: a payload that does not fit must not stop the workflow."""
        try:
            status = TaskStatus.model_validate(payload)
        except ValidationError as error:
            faults = error.errors(include_url=False, include_input=False, include_context=False)
            workflow.logger.warning("ignored a sync that is no task status: %s", faults)
            return
        if self._answer is not None and status.version <= self._answer.version:
            return
        # An end is news whatever its version: a forged high version must not hide it.
        if self._news is None or status.version > self._news.version or status.verdict in _OVER:
            self._news = status
            self._show(status)

    @workflow.query(name=STATUS_QUERY)
    def status(self) -> dict[str, Any] | None:
        """The task as this workflow last heard of it."""
        known = self._news or self._answer
        return None if known is None else known.model_dump(mode="json")

    async def _until_over(self) -> TaskStatus:
        status = await self._followed() if self._ref.placement is Placement.MANUAL else await self._driven()
        if status.verdict is Verdict.ENDED and status.state is TaskState.CANCELLED:
            # SQLite has queued a cancel for us; nothing but its arrival ends this wait.
            await workflow.wait_condition(lambda: False)
        return status

    async def _driven(self) -> TaskStatus:
        """Embedded: ask SQLite to run the task until it is over."""
        status = await self._run()
        pause = _NOT_HERE_FIRST
        while status.verdict not in _OVER:
            self._continue_when_suggested()
            if status.verdict is Verdict.LIVE:
                status = await self._join()
                continue
            if status.verdict is Verdict.NOT_HERE:
                await self._hear(pause)
                pause = min(pause * 2, _NOT_HERE_LONGEST)
            else:
                await self._hear(_seconds_until(status.wait_until))
                pause = _NOT_HERE_FIRST
            status = await self._run()
        return status

    async def _followed(self) -> TaskStatus:
        """Manual: somebody else works on it; wait, for weeks if need be, for a sync that tells the end."""
        status = await self._read()
        while status.verdict not in _OVER:
            self._continue_when_suggested()
            await workflow.wait_condition(self._worth_reading)
            status = await self._read()
        return status

    def _worth_reading(self) -> bool:
        told_over = self._news is not None and self._news.verdict in _OVER
        return told_over or workflow.info().is_continue_as_new_suggested()

    async def _hear(self, seconds: float | None) -> None:
        """Wait for news, at most so long (None: until it comes)."""
        with suppress(TimeoutError):
            await workflow.wait_condition(lambda: self._news is not None, timeout=seconds)

    def _continue_when_suggested(self) -> None:
        # Nothing is carried over: the next run's first step reads all it needs from SQLite.
        if workflow.info().is_continue_as_new_suggested():
            workflow.continue_as_new(self._ref)

    async def _run(self) -> TaskStatus:
        self._asked += 1
        request = RunRequest(ref=self._ref, request=f"{workflow.info().run_id}/{self._asked}")
        return await self._ask(RUN_TASK, request)

    async def _read(self) -> TaskStatus:
        return await self._ask(READ_TASK, self._ref)

    async def _cancel(self) -> TaskStatus:
        return await self._ask(CANCEL_TASK, self._ref, workflow.cancellation_reason() or _CANCELLED_THERE)

    async def _ask(self, activity: str, *arguments: Any) -> TaskStatus:
        self._news = None
        with _refusals_shown():
            status = await workflow.execute_local_activity(activity, args=arguments, result_type=TaskStatus, **_LOCAL)
        return self._learn(status)

    async def _join(self) -> TaskStatus:
        with _refusals_shown():
            status = await workflow.execute_activity(JOIN_TASK, self._ref, result_type=TaskStatus, **_JOIN)
        return self._learn(status)

    def _learn(self, status: TaskStatus) -> TaskStatus:
        self._answer = status
        if self._news is not None and self._news.version <= status.version:
            self._news = None
        self._show(status)
        return status

    def _show(self, status: TaskStatus) -> None:
        workflow.set_current_details(f"{status.state}, attempt {status.attempt}, version {status.version}")


@contextmanager
def _refusals_shown() -> Iterator[None]:
    """An activity's final refusal becomes the workflow's own failure, so that its type is seen at the top."""
    try:
        yield
    except ActivityError as error:
        if isinstance(error.cause, ApplicationError):
            raise ApplicationError(error.cause.message, type=error.cause.type, non_retryable=True) from error
        raise


def _seconds_until(instant: float | None) -> float | None:
    return None if instant is None else max(instant - workflow.time(), _SHORTEST_WAIT)


def _conclude(ref: TaskRef, status: TaskStatus) -> Any:
    """Return the output, or raise what ends the Temporal workflow as the task ended."""
    if status.verdict is Verdict.SUPERSEDED:
        raise ApplicationError(
            f"generation {ref.generation} is no longer the newest of task {ref.task_id}",
            type=Verdict.SUPERSEDED,
            non_retryable=True,
        )
    if status.state is TaskState.FAILED:
        error = status.error
        message, kind = ("failed", "failed") if error is None else (error.message, error.type)
        raise ApplicationError(message[:_MESSAGE_LIMIT], type=kind[:_TYPE_LIMIT], non_retryable=True)
    if status.output_in_store:
        return {"output_in_store": True, "task_id": ref.task_id}
    return status.output
