"""PipelineWorkflow, FanOutWorkflow, DagWorkflow: the Temporal twin of one workflow (group), the same for every kind.
It must not know order or readiness, which SQLite alone decides, nor the store: only contracts."""

import asyncio
from contextlib import suppress
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from pydantic import ValidationError

    from durable_tasks.contracts import (
        BEGIN_MEMBERS,
        CANCEL_GROUP,
        COMMAND_TASK,
        DAG_WORKFLOW,
        FAN_OUT_WORKFLOW,
        PIPELINE_WORKFLOW,
        PROGRESS_QUERY,
        READ_GROUP,
        RECORD_TASK,
        RUN_GROUP,
        STATUS_QUERY,
        SYNC_SIGNAL,
        Batch,
        Begun,
        Command,
        CommandAnswer,
        CommandVerb,
        Execution,
        GroupRef,
        GroupStatus,
        MembersRequest,
        TaskStatus,
        Verdict,
    )
    from durable_tasks.models import WorkflowState

from durable_tasks.workflows.asking import (
    CANCELLED_THERE,
    Asks,
    Rest,
    ask,
    cancel_request,
    handlers_finished,
    history_is_long,
)
from durable_tasks.workflows.commands import Answer, Commands, refusal, shown
from durable_tasks.workflows.conclusion import OVER, conclude, ends_cancelled
from durable_tasks.workflows.execution import Executions

IN_FLIGHT = 100
"""Members that one run has executed at a time."""
_BATCH_PAUSE = 0.01
"""Seconds. A timer makes the SDK send what it has: an answer and the activities of its batch fill one message."""
_MANY_RECORDED = 25
_SHOWN_LIMIT = 500


class GroupCourse:
    """One group's way from its start to its end. Embedded members run elsewhere; external ones are executed here."""

    def __init__(self, ref: GroupRef) -> None:
        self._ref = ref
        self._asks = Asks()
        self._rest = Rest()
        self._executions = Executions()
        self._answer: GroupStatus | None = None
        """SQLite's newest own answer."""
        self._told = False
        """Somebody said since then that something changed."""
        self._recorded = 0
        """Ends that were recorded since members were last begun."""
        self._pause: float | None = None
        self._refusal = ""
        workflow.set_signal_handler(SYNC_SIGNAL, self._sync)
        workflow.set_query_handler(STATUS_QUERY, self._status)
        workflow.set_query_handler(PROGRESS_QUERY, self._progress)
        Commands(ref.org_id, obey=self._obey, refused=self._note_refusal)

    async def run(self) -> Any:
        try:
            status = await self._until_over()
            await handlers_finished()
        except (asyncio.CancelledError, ActivityError) as stop:
            if not is_cancelled_exception(stop):
                raise
            status = await self._cancel(workflow.cancellation_reason())
            await self._executions.stopped()
            await handlers_finished()
            # Only the request itself, re-raised, ends a Temporal workflow as CANCELED.
            if ends_cancelled(status):
                raise
        return conclude(self._ref, status)

    # ----- what others tell and ask

    def _sync(self, payload: Any = None, *more: Any) -> None:
        """Only a hint, whatever its version: the group's does not change with every member that becomes ready."""
        try:
            GroupStatus.model_validate(payload)
        except ValidationError as error:
            faults = error.errors(include_url=False, include_input=False, include_context=False)
            workflow.logger.warning("ignored a sync that is no group status: %s", faults)
            return
        self._told = True

    def _status(self) -> dict[str, Any] | None:
        """The group as this workflow last heard of it."""
        return None if self._answer is None else self._answer.model_dump(mode="json")

    def _progress(self) -> dict[str, Any] | None:
        if self._answer is None:
            return None
        return {
            "state": self._answer.state.value,
            "ready": self._answer.ready,
            "executing": len(self._executions.running),
        }

    async def _obey(self, command: Command) -> Answer:
        if not command.task_id:
            return await self._obey_for_all(command)
        answer = await ask(COMMAND_TASK, command, result=CommandAnswer)
        self._told = True
        return shown(answer)

    async def _obey_for_all(self, command: Command) -> Answer:
        if command.verb is not CommandVerb.CANCEL:
            raise refusal("say as task_id which member of the workflow is meant")
        reason = command.arguments.get("reason")
        status = await self._cancel(reason if isinstance(reason, str) else "")
        self._told = True
        if not ends_cancelled(status):
            raise refusal(f"the workflow is {status.state} already", code="conflict")
        return {"state": status.state.value, "version": status.version}

    def _note_refusal(self, why: str) -> None:
        self._refusal = why
        self._show()

    # ----- the course of the group

    async def _until_over(self) -> GroupStatus:
        status = await self._ask(RUN_GROUP, self._ref)
        while status.verdict not in OVER:
            status = await self._advance(status)
        # Members can outlive their group: it was enough that some completed, or one failed.
        await self._executions.stopped()
        if status.verdict is Verdict.ENDED and status.state is WorkflowState.CANCELLED:
            await cancel_request()
        return status

    async def _advance(self, status: GroupStatus) -> GroupStatus:
        """One step: begin what is ready, or wait until something is worth asking."""
        if history_is_long():
            return await self._leave()
        if status.ready and self._room and self._pause is None:
            return await self._begin()
        await self._hear()
        return await self._begin() if self._recorded and self._room else await self._read()

    async def _leave(self) -> GroupStatus:
        """Continue as new. Activities would not survive it, so those under way are waited for first."""
        await workflow.wait_condition(lambda: self._told or not self._executions.open)
        if self._executions.open:
            return await self._read()
        await handlers_finished()
        workflow.continue_as_new(self._ref)

    @property
    def _room(self) -> int:
        return IN_FLIGHT - self._executions.open

    async def _begin(self) -> GroupStatus:
        self._recorded = 0
        beginning = self._executions.spawn(self._batch(self._room))
        await workflow.wait_condition(beginning.done)
        batch = beginning.result()
        if batch.begun:
            self._rest.over()
            await workflow.sleep(_BATCH_PAUSE)
        # Ready, and yet nothing was begun: asking at once would give the same answer.
        self._pause = self._rest.longer() if batch.status.ready and not batch.begun else None
        return batch.status

    async def _batch(self, limit: int) -> Batch:
        request = MembersRequest(ref=self._ref, request=self._asks.next(), limit=limit)
        self._told = False
        batch = await ask(BEGIN_MEMBERS, request, result=Batch)
        for begun in batch.begun:
            if begun.execution is not None:
                self._executions.spawn(self._execute(begun, begun.execution))
        self._learn(batch.status)
        return batch

    async def _execute(self, begun: Begun, execution: Execution) -> None:
        end = await self._executions.run(begun, execution)
        try:
            await ask(RECORD_TASK, end, result=TaskStatus)
        except ApplicationError as error:
            workflow.logger.warning("the end of task %s was refused: %s", begun.ref.task_id, error.message)
        self._recorded += 1

    async def _hear(self) -> None:
        with suppress(TimeoutError):
            await workflow.wait_condition(self._worth_asking, timeout=self._pause)
        self._pause = None

    def _worth_asking(self) -> bool:
        return self._told or self._batch_recorded() or history_is_long()

    def _batch_recorded(self) -> bool:
        """Ends come in crowds: one question after a crowd, not one after each."""
        recording = self._executions.open - len(self._executions.running)
        return self._recorded > 0 and (recording == 0 or self._recorded >= _MANY_RECORDED)

    # ----- questions

    async def _read(self) -> GroupStatus:
        return await self._ask(READ_GROUP, self._ref)

    async def _cancel(self, reason: str | None) -> GroupStatus:
        return await self._ask(CANCEL_GROUP, self._ref, reason or CANCELLED_THERE)

    async def _ask(self, activity: str, *arguments: Any) -> GroupStatus:
        self._told = False
        status = await ask(activity, *arguments, result=GroupStatus)
        self._learn(status)
        return status

    def _learn(self, status: GroupStatus) -> None:
        self._answer = status
        self._executions.stop(status.stop)
        self._show()

    def _show(self) -> None:
        if self._answer is None:
            return
        lines = [f"**{self._answer.state}**, {self._answer.ready} ready, {len(self._executions.running)} executing"]
        if self._refusal:
            lines.append(f"Refused: {self._refusal}"[:_SHOWN_LIMIT])
        workflow.set_current_details("\n\n".join(lines))


@workflow.defn(name=PIPELINE_WORKFLOW)
class PipelineWorkflow:
    @workflow.init
    def __init__(self, ref: GroupRef) -> None:
        self._course = GroupCourse(ref)

    @workflow.run
    async def run(self, ref: GroupRef) -> Any:
        return await self._course.run()


@workflow.defn(name=FAN_OUT_WORKFLOW)
class FanOutWorkflow:
    @workflow.init
    def __init__(self, ref: GroupRef) -> None:
        self._course = GroupCourse(ref)

    @workflow.run
    async def run(self, ref: GroupRef) -> Any:
        return await self._course.run()


@workflow.defn(name=DAG_WORKFLOW)
class DagWorkflow:
    @workflow.init
    def __init__(self, ref: GroupRef) -> None:
        self._course = GroupCourse(ref)

    @workflow.run
    async def run(self, ref: GroupRef) -> Any:
        return await self._course.run()


GROUP_WORKFLOW_TYPES = (PipelineWorkflow, FanOutWorkflow, DagWorkflow)
