"""A TaskBridge whose tasks live in memory: it keeps the port's promises, and a test moves its tasks by hand.
It must not know Temporal: what asks it are the real activities, run by a real worker.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

from durable_tasks.contracts import (
    AttemptEnd,
    AttemptEnding,
    Batch,
    Begun,
    Command,
    CommandAnswer,
    CommandVerb,
    Execution,
    GroupRef,
    GroupStatus,
    MembersRequest,
    RunRequest,
    TaskRef,
    TaskStatus,
    Verdict,
    execution_id,
)
from durable_tasks.errors import IllegalMove, InvalidInput, NotFound
from durable_tasks.lifecycle import HELD, is_terminal
from durable_tasks.models import Placement, TaskError, TaskState, WorkflowState

DEADLINE = 20.0


class ScriptedBridge:
    """Every change of a task makes its next version, as in SQLite."""

    def __init__(self, work_queue: str = "") -> None:
        self.tasks: dict[str, TaskStatus] = {}
        self.calls: Counter[str] = Counter()
        self.requests: list[str] = []
        self.reasons: list[str] = []
        self.before_cancel: Callable[[], object] = lambda: None
        self.before_command: Callable[[], object] = lambda: None
        self.failures: list[Exception] = []
        """Each is raised once, by the next calls."""
        self.work_queue = work_queue
        self.heartbeat = 10.0
        self.timeout: float | None = None
        self.inputs: dict[str, Any] = {}
        self.ends: list[AttemptEnd] = []
        self.retries = 0
        """How many failures are followed by another attempt."""
        self.commands: list[Command] = []
        self.group: ScriptedGroup | None = None
        self._begun: dict[str, Begun] = {}
        self._batches: dict[str, Batch] = {}
        self._answers: dict[str, CommandAnswer] = {}
        self._changed = asyncio.Event()

    def put(self, task_id: str, verdict: Verdict, state: TaskState, **facts: Any) -> TaskStatus:
        before = self.tasks.get(task_id)
        version = 1 if before is None else before.version + 1
        attempt = facts.pop("attempt", 0 if before is None else before.attempt)
        self.tasks[task_id] = TaskStatus(verdict=verdict, state=state, version=version, attempt=attempt, **facts)
        self._announce()
        return self.tasks[task_id]

    async def called(self, name: str, times: int = 1) -> None:
        await self._until(lambda: self.calls[name] >= times, DEADLINE)
        assert self.calls[name] >= times, f"{name} was called {self.calls[name]} times, not {times}"

    # ----- tasks

    async def run(self, request: RunRequest, *, namespace: str, workflow_id: str, run_id: str) -> TaskStatus:
        _check(request.ref, namespace, workflow_id)
        assert request.request.startswith(f"{run_id}/")
        self.requests.append(request.request)
        self._called("run")
        await self._settled(request.ref, 0.05)
        return self._status(request.ref)

    async def join(self, ref: TaskRef, *, namespace: str, workflow_id: str, patience: float) -> TaskStatus:
        self._called("join")
        await self._settled(ref, patience)
        return self._status(ref)

    async def read(self, ref: TaskRef, *, namespace: str, workflow_id: str) -> TaskStatus:
        _check(ref, namespace, workflow_id)
        self._called("read")
        return self._status(ref)

    async def cancel(self, ref: TaskRef, *, namespace: str, workflow_id: str, reason: str) -> TaskStatus:
        self.before_cancel()
        self.reasons.append(reason)
        status = self._status(ref)
        if not is_terminal(status.state) and status.verdict is not Verdict.SUPERSEDED:
            self.put(ref.task_id, Verdict.ENDED, TaskState.CANCELLED, reason=reason)
        self._called("cancel")
        return self._status(ref)

    # ----- external attempts

    async def begin(self, request: RunRequest, *, namespace: str, workflow_id: str) -> Begun:
        _check(request.ref, namespace, workflow_id)
        self._called("begin")
        status = self._status(request.ref)
        if request.request not in self._begun:
            ready = status.verdict is not Verdict.SUPERSEDED and status.state in (
                TaskState.PENDING,
                TaskState.RETRYING,
            )
            if not ready:
                return Begun(ref=request.ref, status=status)
            self._begun[request.request] = self._begin(request.ref)
        return self._begun[request.request]

    def _begin(self, ref: TaskRef) -> Begun:
        attempt = self.tasks[ref.task_id].attempt + 1
        status = self.put(ref.task_id, Verdict.LIVE, TaskState.CLAIMED, attempt=attempt, assigned_to="queue:work")
        task = {"id": ref.task_id, "title": "a task", "capability": "echo", "input": self.inputs.get(ref.task_id)}
        execution = Execution(task=task, token=execution_id(ref.task_id, attempt), heartbeat=self.heartbeat)
        return Begun(ref=ref, status=status, execution=execution, queue=self.work_queue, timeout=self.timeout)

    async def record(self, end: AttemptEnd, *, namespace: str, workflow_id: str) -> TaskStatus:
        assert namespace
        assert workflow_id
        before = self._status(end.ref)
        current = before.verdict is not Verdict.SUPERSEDED and before.state in HELD
        if current and end.token == execution_id(end.ref.task_id, before.attempt):
            self._record(end)
        self.ends.append(end)
        if self.group is not None:
            self.group.roll_up(self.tasks)
        self._called("record")
        return self.tasks[end.ref.task_id]

    def _record(self, end: AttemptEnd) -> None:
        if end.ending is AttemptEnding.COMPLETED:
            self.put(end.ref.task_id, Verdict.ENDED, TaskState.COMPLETED, output=end.output)
        elif end.ending in (AttemptEnding.LOST, AttemptEnding.RELEASED):
            self.put(end.ref.task_id, Verdict.LIVE, TaskState.PENDING)
        elif end.retryable and self.retries > 0:
            self.retries -= 1
            self.put(end.ref.task_id, Verdict.WAIT, TaskState.RETRYING, wait_until=0.0)
        else:
            error = end.error or TaskError(type=end.ending, message="too long")
            self.put(end.ref.task_id, Verdict.ENDED, TaskState.FAILED, error=error)

    # ----- commands

    async def command(self, command: Command, *, namespace: str, workflow_id: str) -> CommandAnswer:
        assert namespace
        assert workflow_id
        self.before_command()
        self.commands.append(command)
        if self.failures:
            raise self.failures.pop(0)
        if command.command_id not in self._answers:
            self._answers[command.command_id] = self._obeyed(command)
        self._called("command")
        return self._answers[command.command_id]

    def _obeyed(self, command: Command) -> CommandAnswer:
        if command.task_id not in self.tasks:
            raise NotFound(f"there is no task {command.task_id}", id=command.task_id)
        before, given = self.tasks[command.task_id], command.arguments
        if is_terminal(before.state):
            raise IllegalMove(f"the task is {before.state}", state=before.state)
        match command.verb:
            case CommandVerb.CLAIM:
                if "agent_id" not in given:
                    raise InvalidInput("claim needs agent_id")
                facts: dict[str, Any] = {"attempt": before.attempt + 1, "assigned_to": given["agent_id"]}
                return CommandAnswer(status=self._claimed(command, **facts), token="fence")
            case CommandVerb.PROGRESS:
                facts = {"progress": given["percent"], "progress_message": given.get("message")}
                return CommandAnswer(status=self._claimed(command, assigned_to=before.assigned_to, **facts))
            case CommandVerb.COMPLETE:
                state, facts = TaskState.COMPLETED, {"output": given.get("output")}
            case CommandVerb.FAIL:
                state, facts = TaskState.FAILED, {"error": TaskError(type="agent", message=given["error"])}
            case CommandVerb.CANCEL:
                state, facts = TaskState.CANCELLED, {"reason": given.get("reason")}
            case CommandVerb.RELEASE:
                return CommandAnswer(status=self.put(command.task_id, Verdict.LIVE, TaskState.PENDING))
            case CommandVerb.UPDATE:
                return CommandAnswer(status=self.put(command.task_id, Verdict.LIVE, before.state))
        return CommandAnswer(status=self.put(command.task_id, Verdict.ENDED, state, **facts))

    def _claimed(self, command: Command, **facts: Any) -> TaskStatus:
        return self.put(command.task_id, Verdict.LIVE, TaskState.CLAIMED, **facts)

    # ----- groups

    async def run_group(self, ref: GroupRef, *, namespace: str, workflow_id: str) -> GroupStatus:
        return self._group("run_group", ref, namespace, workflow_id)

    async def read_group(self, ref: GroupRef, *, namespace: str, workflow_id: str) -> GroupStatus:
        return self._group("read_group", ref, namespace, workflow_id)

    async def cancel_group(self, ref: GroupRef, *, namespace: str, workflow_id: str, reason: str) -> GroupStatus:
        self.before_cancel()
        self.reasons.append(reason)
        if self.group is not None and self.group.verdict is Verdict.LIVE:
            self.cancel_all(reason)
        return self._group("cancel_group", ref, namespace, workflow_id)

    def cancel_all(self, reason: str) -> None:
        assert self.group is not None
        for member in self.group.members:
            if not is_terminal(self.tasks[member].state):
                self.put(member, Verdict.ENDED, TaskState.CANCELLED, reason=reason)
        self.group.end(WorkflowState.CANCELLED)

    async def begin_members(self, request: MembersRequest, *, namespace: str, workflow_id: str) -> Batch:
        self._called("begin_members")
        if request.request not in self._batches:
            begun = self._begin_ready(request)
            status = self._group("", request.ref, namespace, workflow_id)
            self._batches[request.request] = Batch(status=status, begun=begun)
        return self._batches[request.request]

    def _begin_ready(self, request: MembersRequest) -> tuple[Begun, ...]:
        assert self.group is not None
        if self.group.verdict is not Verdict.LIVE or self.group.held_back:
            return ()
        ready = self.group.ready(self.tasks)[: min(request.limit, self.group.batch)]
        return tuple(self._begin(_member(request.ref, name)) for name in ready)

    def _group(self, call: str, ref: GroupRef, namespace: str, workflow_id: str) -> GroupStatus:
        assert namespace
        assert workflow_id == f"workflow/{ref.workflow_id}/{ref.generation}"
        if call:
            self._called(call)
        if self.failures:
            raise self.failures.pop(0)
        if self.group is None:
            raise NotFound(f"there is no workflow {ref.workflow_id}", id=ref.workflow_id)
        return self.group.status(self.tasks)

    # ----- what they share

    def _status(self, ref: TaskRef) -> TaskStatus:
        if self.failures:
            raise self.failures.pop(0)
        if ref.task_id not in self.tasks:
            raise NotFound(f"there is no task {ref.task_id}", id=ref.task_id)
        return self.tasks[ref.task_id]

    async def _settled(self, ref: TaskRef, seconds: float) -> None:
        def settled() -> bool:
            status = self.tasks.get(ref.task_id)
            return status is None or status.verdict is not Verdict.LIVE

        await self._until(settled, seconds)

    async def _until(self, condition: Callable[[], bool], seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    await self._changed.wait()
        except TimeoutError:
            return

    def _called(self, name: str) -> None:
        self.calls[name] += 1
        self._announce()

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class ScriptedGroup:
    """A group over tasks of a ScriptedBridge: it completes with its last member and fails with its first failure."""

    def __init__(self, members: list[str], *, batch: int = 100) -> None:
        self.members = members
        self.batch = batch
        """How many members one answer begins at most, as SQLite limits the bytes of an answer."""
        self.held_back = False
        """Members are ready, and yet none is begun."""
        self.verdict = Verdict.LIVE
        self.state = WorkflowState.RUNNING
        self.stop: tuple[str, ...] = ()
        self.error: TaskError | None = None
        self.output: Any = None
        self.output_in_store = False
        self._version = 1

    def ready(self, tasks: dict[str, TaskStatus]) -> list[str]:
        return [name for name in self.members if tasks[name].state is TaskState.PENDING]

    def end(self, state: WorkflowState, **facts: Any) -> None:
        self.verdict, self.state = Verdict.ENDED, state
        for name, value in facts.items():
            setattr(self, name, value)
        self._version += 1

    def roll_up(self, tasks: dict[str, TaskStatus]) -> None:
        statuses = [tasks[name] for name in self.members]
        failed = next((status for status in statuses if status.state is TaskState.FAILED), None)
        if self.verdict is not Verdict.LIVE:
            return
        if failed is not None:
            self.end(WorkflowState.FAILED, error=failed.error)
        elif all(status.state is TaskState.COMPLETED for status in statuses):
            self.end(WorkflowState.COMPLETED, output=[status.output for status in statuses])

    def status(self, tasks: dict[str, TaskStatus]) -> GroupStatus:
        return GroupStatus(
            verdict=self.verdict,
            state=self.state,
            version=self._version,
            ready=len(self.ready(tasks)) if self.verdict is Verdict.LIVE else 0,
            stop=self.stop,
            output=self.output,
            output_in_store=self.output_in_store,
            error=self.error,
        )


def _check(ref: TaskRef, namespace: str, workflow_id: str) -> None:
    assert namespace
    assert workflow_id == f"task/{ref.task_id}/{ref.generation}"


def _member(ref: GroupRef, task_id: str) -> TaskRef:
    return TaskRef(task_id=task_id, org_id=ref.org_id, generation=ref.generation, placement=Placement.EXTERNAL)
