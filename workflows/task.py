"""AgentTaskWorkflow: the Temporal twin of one task. It asks SQLite, sleeps, waits, and ends as SQLite ended.
It must not know the store, the executor or the relay: only contracts; and every line here is replayed."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from pydantic import ValidationError

    from durable_tasks.contracts import (
        ATTEMPT_QUERY,
        BEGIN_TASK,
        CANCEL_TASK,
        COMMAND_TASK,
        JOIN_TASK,
        PROGRESS_QUERY,
        READ_TASK,
        RECORD_TASK,
        RUN_TASK,
        STATUS_QUERY,
        SYNC_SIGNAL,
        TASK_WORKFLOW,
        Begun,
        Command,
        CommandAnswer,
        RunRequest,
        TaskRef,
        TaskStatus,
        Verdict,
        execution_id,
    )
    from durable_tasks.lifecycle import HELD
    from durable_tasks.models import Placement, TaskState

from durable_tasks.workflows.asking import (
    CANCELLED_THERE,
    Asks,
    Rest,
    ask,
    cancel_request,
    handlers_finished,
    history_is_long,
    refusals_shown,
    seconds_until,
)
from durable_tasks.workflows.commands import Answer, Commands, refusal, shown
from durable_tasks.workflows.conclusion import OVER, conclude, ends_cancelled
from durable_tasks.workflows.execution import Executions

Told = TypeVar("Told", TaskStatus, Begun)
"""What SQLite answers: how the task stands, alone or with what is to be executed."""

# TRY_CANCEL only ends the wait: a join that is cancelled leaves the handler alone.
_JOIN = workflow.ActivityConfig(
    start_to_close_timeout=timedelta(hours=1),
    heartbeat_timeout=timedelta(seconds=10),
    retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=10)),
    cancellation_type=workflow.ActivityCancellationType.TRY_CANCEL,
)
_SHOWN_LIMIT = 500


@workflow.defn(name=TASK_WORKFLOW)
class AgentTaskWorkflow:
    """SQLite decides; this decides only when to ask again. A sync is a hint that asking is worthwhile."""

    @workflow.init
    def __init__(self, ref: TaskRef) -> None:
        self._ref = ref
        self._asks = Asks()
        self._rest = Rest()
        self._executions = Executions()
        self._answer: TaskStatus | None = None
        """SQLite's newest own answer."""
        self._news: TaskStatus | None = None
        """The newest sync since then."""
        self._refusal = ""
        Commands(ref.org_id, obey=self._obey, refused=self._note_refusal)

    @workflow.run
    async def run(self, ref: TaskRef) -> Any:
        try:
            status = await self._until_over()
            await handlers_finished()
        except (asyncio.CancelledError, ActivityError) as stop:
            if not is_cancelled_exception(stop):
                raise
            status = await self._cancel()
            await self._executions.stopped()
            await handlers_finished()
            # Only the request itself, re-raised, ends a Temporal workflow as CANCELED.
            if ends_cancelled(status):
                raise
        return conclude(self._ref, status)

    # ----- what others tell and ask

    @workflow.signal(name=SYNC_SIGNAL)
    def sync(self, payload: Any = None, *more: Any) -> None:
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
        if self._news is None or status.version > self._news.version or status.verdict in OVER:
            self._news = status
            self._show()

    @workflow.query(name=STATUS_QUERY)
    def status(self) -> dict[str, Any] | None:
        """The task as this workflow last heard of it."""
        known = self._known
        return None if known is None else known.model_dump(mode="json")

    @workflow.query(name=PROGRESS_QUERY)
    def progress(self) -> dict[str, Any] | None:
        known = self._known
        return None if known is None else {"progress": known.progress, "message": known.progress_message}

    @workflow.query(name=ATTEMPT_QUERY)
    def attempt(self) -> dict[str, Any] | None:
        known = self._known
        if known is None:
            return None
        return {"attempt": known.attempt, "assigned_to": known.assigned_to, "state": known.state.value}

    async def _obey(self, command: Command) -> Answer:
        if command.task_id not in ("", self._ref.task_id):
            raise refusal(f"this is the workflow of task {self._ref.task_id}, not of {command.task_id}")
        meant = command.model_copy(update={"task_id": self._ref.task_id})
        answer = await ask(COMMAND_TASK, meant, result=CommandAnswer)
        self._learn(answer.status)
        return shown(answer)

    def _note_refusal(self, why: str) -> None:
        self._refusal = why
        self._show()

    # ----- the course of the task

    async def _until_over(self) -> TaskStatus:
        status = await self._course()
        if status.verdict is Verdict.ENDED and status.state is TaskState.CANCELLED:
            await cancel_request()
        return status

    async def _course(self) -> TaskStatus:
        if self._ref.placement is Placement.MANUAL:
            return await self._followed()
        return await self._driven()

    async def _driven(self) -> TaskStatus:
        """Ask SQLite for the task to be run until it is over."""
        status = await self._try()
        while status.verdict not in OVER:
            await self._continue_when_long()
            if status.verdict is Verdict.LIVE and self._ref.placement is Placement.EMBEDDED:
                status = await self._join()
                continue
            if status.verdict is Verdict.WAIT:
                self._rest.over()
                await self._hear(seconds_until(status.wait_until))
            else:
                await self._hear(self._rest.longer())
            status = await self._try()
        return status

    async def _try(self) -> TaskStatus:
        if self._ref.placement is Placement.EXTERNAL:
            return await self._watched(self._executions.spawn(self._attempts()))
        return await self._ask(RUN_TASK, self._request(), result=TaskStatus)

    async def _attempts(self) -> TaskStatus:
        """External: one attempt after another, while SQLite says that the next may begin at once."""
        while True:
            begun = await self._ask(BEGIN_TASK, self._request(), result=Begun)
            if begun.execution is None:
                return begun.status
            self._rest.over()
            end = await self._executions.run(begun, begun.execution)
            status = await self._ask(RECORD_TASK, end, result=TaskStatus)
            if status.verdict is not Verdict.LIVE or self._executions.stopping or history_is_long():
                return status

    async def _watched(self, attempts: asyncio.Task[TaskStatus]) -> TaskStatus:
        """Wait for the attempts, and stop the one under way when SQLite has given it up."""
        while not attempts.done():
            await workflow.wait_condition(lambda: attempts.done() or self._given_up(self._news or self._answer))
            if not attempts.done() and not self._given_up(self._answer):
                await self._read()  # a sync may be forged
            if self._given_up(self._answer):
                self._executions.stop(list(self._executions.running))
                await workflow.wait_condition(lambda: not self._executions.running)
        return attempts.result()

    def _given_up(self, status: TaskStatus | None) -> bool:
        """Whether `status` says that the attempt which is being executed is not the current one any more."""
        if status is None or not self._executions.running:
            return False
        if status.verdict in OVER or status.state not in HELD:
            return True
        return execution_id(self._ref.task_id, status.attempt) not in self._executions.running

    async def _followed(self) -> TaskStatus:
        """Manual: somebody else works on it; wait, for weeks if need be, for word that it is over."""
        status = await self._read()
        while status.verdict not in OVER:
            await self._continue_when_long()
            await workflow.wait_condition(lambda: self._told_over() or history_is_long())
            if self._told_over():
                status = await self._read()
        return status

    def _told_over(self) -> bool:
        return any(told is not None and told.verdict in OVER for told in (self._news, self._answer))

    async def _hear(self, seconds: float | None) -> None:
        """Wait for news, at most so long (None: until it comes). The answer to a command is news too."""
        answer = self._answer
        with suppress(TimeoutError):
            await workflow.wait_condition(lambda: self._news is not None or self._answer is not answer, timeout=seconds)

    async def _continue_when_long(self) -> None:
        # Nothing is carried over: the next run's first step reads all it needs from SQLite.
        if history_is_long():
            await handlers_finished()
            workflow.continue_as_new(self._ref)

    # ----- questions

    def _request(self) -> RunRequest:
        return RunRequest(ref=self._ref, request=self._asks.next())

    async def _read(self) -> TaskStatus:
        return await self._ask(READ_TASK, self._ref, result=TaskStatus)

    async def _cancel(self) -> TaskStatus:
        return await self._ask(
            CANCEL_TASK, self._ref, workflow.cancellation_reason() or CANCELLED_THERE, result=TaskStatus
        )

    async def _ask(self, activity: str, *arguments: Any, result: type[Told]) -> Told:
        self._news = None
        answer = await ask(activity, *arguments, result=result)
        self._learn(answer.status if isinstance(answer, Begun) else answer)
        return answer

    async def _join(self) -> TaskStatus:
        with refusals_shown():
            status: TaskStatus = await workflow.execute_activity(JOIN_TASK, self._ref, result_type=TaskStatus, **_JOIN)
        self._learn(status)
        return status

    def _learn(self, status: TaskStatus) -> None:
        # Questions overlap, so that an answer can be older than one that is known already.
        if self._answer is None or status.version >= self._answer.version:
            self._answer = status
        if self._news is not None and self._news.version <= status.version:
            self._news = None
        self._show()

    @property
    def _known(self) -> TaskStatus | None:
        return self._news or self._answer

    def _show(self) -> None:
        if self._known is not None:
            workflow.set_current_details(_details(self._known, self._refusal))


def _details(status: TaskStatus, refusal: str) -> str:
    """A few lines for people who look at the workflow in Temporal."""
    by = f", {status.assigned_to}" if status.assigned_to else ""
    lines = [f"**{status.state}**, attempt {status.attempt}{by}"]
    if status.progress or status.progress_message:
        lines.append(f"{status.progress:g} % {status.progress_message or ''}".rstrip()[:_SHOWN_LIMIT])
    if refusal:
        lines.append(f"Refused: {refusal}"[:_SHOWN_LIMIT])
    return "\n\n".join(lines)
