"""The reconciler: compares what SQLite handed over with what Temporal has, and has SQLite mend the rest.
It must not know SQL, and sends nothing itself; only the leader runs one.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import WorkflowExecutionStatus
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
)
from temporalio.service import RPCError

from durable_tasks.contracts import MEMO_FILE
from durable_tasks.errors import TemporalUnavailable
from durable_tasks.lifecycle import is_terminal
from durable_tasks.models import TaskState
from durable_tasks.ports import Clock, Submission, SubmissionStore
from durable_tasks.temporal.connection import Connection
from durable_tasks.temporal.faults import Fault, fault_of

_log = logging.getLogger(__name__)

_EVERY = 30.0
_SETTLED = 30.0
"""Seconds a row must be unchanged before its difference is one, and not a change on its way."""
_PAGE = 200
_AT_ONCE = 8
_PER_SECOND = 50.0
_LONGEST_NUDGE = 3600.0

MISSING = "MISSING"
RUNNING = "RUNNING"
_ENDS = {TaskState.COMPLETED: "COMPLETED", TaskState.FAILED: "FAILED", TaskState.CANCELLED: "CANCELED"}


@dataclass(frozen=True, slots=True)
class Drift:
    """A task on which the two sides disagree."""

    task_id: str
    generation: int
    sqlite_state: TaskState
    temporal_status: str
    """RUNNING, COMPLETED, FAILED, CANCELED, TERMINATED, TIMED_OUT, or MISSING."""


class Reconciler:
    """Acts on one submission at a time, only after asking Temporal about that very one; lists are hints."""

    def __init__(self, *, store: SubmissionStore, connection: Connection, clock: Clock) -> None:
        self._store = store
        self._connection = connection
        self._clock = clock
        self._reset = asyncio.Event()
        self._slot = 0.0
        self._nudged: dict[str, tuple[int, float]] = {}
        """How often each was nudged, and when it may be again: a deaf one must not fill its history."""

    async def run(self) -> None:
        """Sweep at once, after every reset of the connection, and periodically, until cancelled."""
        unregister = self._connection.on_reset(self.hasten)
        # Whatever happened before this process led, it has not been looked at.
        self._reset.set()
        try:
            while True:
                await self._connection.up()
                fresh = self._reset.is_set()
                self._reset.clear()
                await self.sweep(fresh=fresh)
                await self._clock.wait(self._reset, self._clock.now() + _EVERY)
        finally:
            unregister()

    def hasten(self) -> None:
        """Something is amiss: sweep now."""
        self._reset.set()

    async def sweep(self, *, fresh: bool = False) -> None:
        """Look at every open submission. `fresh`: the server may have lost everything, so a missing Temporal
        workflow is replaced without waiting until its row has settled."""
        await self._each(self._candidates(fresh), lambda submission: self._look(submission, fresh))

    async def drift(self) -> list[Drift]:
        """Every newest submission on which SQLite and Temporal disagree now. Changes nothing.
        Raises TemporalUnavailable when Temporal cannot be asked."""
        found: list[Drift] = []

        async def compare(submission: Submission) -> None:
            status = await self._status(submission)
            state = submission.status.state
            # Temporal forgets what has ended, after its retention or with an in-memory server: no disagreement.
            forgotten = status == MISSING and submission.state == "closed" and is_terminal(state)
            if status != _ENDS.get(state, RUNNING) and not forgotten:
                found.append(Drift(submission.ref.task_id, submission.ref.generation, state, status))

        try:
            await self._each(self._pages(("open", "closed")), compare)
        except* (RPCError, TimeoutError, TemporalUnavailable) as group:
            address = self._connection.address
            cause = group.exceptions[0]
            raise TemporalUnavailable(f"cannot compare with {address}: {cause!r}", address=address) from group
        return found

    async def _each(
        self, submissions: AsyncIterator[Submission], look: Callable[[Submission], Awaitable[None]]
    ) -> None:
        room = asyncio.Semaphore(_AT_ONCE)

        async def one(submission: Submission) -> None:
            try:
                await look(submission)
            finally:
                room.release()

        async with asyncio.TaskGroup() as lookers:
            async for submission in submissions:
                await room.acquire()
                lookers.create_task(one(submission))

    async def _pages(self, states: tuple[str, ...]) -> AsyncIterator[Submission]:
        after = ""
        while page := await self._store.submissions(states=states, after=after, limit=_PAGE):
            for submission in page:
                yield submission
            after = page[-1].workflow_id

    async def _candidates(self, fresh: bool) -> AsyncIterator[Submission]:
        async for submission in self._pages(("open",)):
            if submission.pending_errands == 0 and (fresh or self._settled(submission)):
                await self._pace()
                yield submission

    def _settled(self, submission: Submission) -> bool:
        return submission.updated_at <= self._clock.now() - _SETTLED

    async def _pace(self) -> None:
        """Keep below the rate that a server should bear for the sake of mere comparison."""
        now = self._clock.now()
        self._slot = max(now, self._slot + 1 / _PER_SECOND)
        if self._slot > now:
            await self._clock.wait(asyncio.Event(), self._slot)

    async def _look(self, submission: Submission, fresh: bool) -> None:
        try:
            status = await self._status(submission)
        except (RPCError, TimeoutError) as error:
            # Nothing was learnt; the next sweep asks again.
            _log.info("cannot describe %s: %r", submission.workflow_id, error)
            return
        if status == MISSING or (status != RUNNING and self._settled(submission)):
            await self._mend(submission, status)
        elif is_terminal(submission.status.state) and self._settled(submission):
            await self._nudge(submission)

    async def _mend(self, submission: Submission, status: str) -> None:
        self._nudged.pop(submission.workflow_id, None)
        if is_terminal(submission.status.state):
            await self._store.close_submission(submission)
        elif await self._store.resubmit(submission):
            _log.warning(
                "%s is %s in Temporal and its task %s is %s: started again as the next generation",
                submission.workflow_id,
                status,
                submission.ref.task_id,
                submission.status.state,
            )

    async def _nudge(self, submission: Submission) -> None:
        now = self._clock.now()
        times, not_before = self._nudged.get(submission.workflow_id, (0, now))
        if now < not_before:
            return
        wait = min(_EVERY * 2**times, _LONGEST_NUDGE)
        self._nudged[submission.workflow_id] = (min(times + 1, 30), now + wait)
        _log.info("%s still runs though its task is %s", submission.workflow_id, submission.status.state)
        await self._store.nudge(submission)

    async def _status(self, submission: Submission) -> str:
        """What Temporal says of it, MISSING when there is none of ours. Raises RPCError or TimeoutError."""
        request = DescribeWorkflowExecutionRequest(
            namespace=submission.namespace,
            # No run id: after continue-as-new the newest run is meant.
            execution=WorkflowExecution(workflow_id=submission.workflow_id),
        )
        service = self._connection.client.workflow_service
        try:
            seen = await self._connection.reach(service.describe_workflow_execution(request, retry=True))
        except RPCError as error:
            if fault_of(error) is Fault.MISSING:
                return MISSING
            raise
        return self._read(seen)

    def _read(self, seen: DescribeWorkflowExecutionResponse) -> str:
        info = seen.workflow_execution_info
        ours = self._connection.client.data_converter.payload_converter.to_payload(self._store.file_uuid)
        if info.memo.fields[MEMO_FILE].data != ours.data:
            return MISSING
        name: str = WorkflowExecutionStatus.Name(info.status)
        return name.removeprefix("WORKFLOW_EXECUTION_STATUS_")
