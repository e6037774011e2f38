"""The reconciler: compares what SQLite handed over with what Temporal has, and has SQLite mend the rest.
It must not know SQL, and sends nothing itself; only the leader runs one.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection

from temporalio.api.common.v1 import Memo, WorkflowExecution
from temporalio.api.enums.v1 import WorkflowExecutionStatus
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionRequest
from temporalio.converter import DataConverter
from temporalio.service import RPCError

from durable_tasks.contracts import MEMO_FILE, Verdict
from durable_tasks.errors import StoreError, TemporalUnavailable
from durable_tasks.lifecycle import is_terminal
from durable_tasks.ports import Clock, Drift, Submission, SubmissionStore
from durable_tasks.temporal.comparisons import Comparison
from durable_tasks.temporal.escalation import Escalation
from durable_tasks.temporal.faults import Fault, fault_of
from durable_tasks.temporal.listing import Listing
from durable_tasks.temporal.namespaces import Namespace, Namespaces
from durable_tasks.temporal.pace import Pace

_log = logging.getLogger(__name__)

_EVERY = 30.0
_SETTLED = 30.0
"""Seconds a row must be unchanged before its difference is one, and not a change on its way."""
_PAGE = 200
_AT_ONCE = 8
_PER_SECOND = 50.0
_DRIFT_PER_SECOND = 500.0
_PATIENCE = 10.0
"""Seconds that `drift` waits for the first look at a namespace."""

MISSING = "MISSING"
RUNNING = "RUNNING"
_ENDS = {"completed": "COMPLETED", "failed": "FAILED", "cancelled": "CANCELED"}
_OVER = (Verdict.ENDED, Verdict.SUPERSEDED)


class Reconciler:
    """Acts on one submission at a time, only after asking Temporal about that very one; lists are hints."""

    def __init__(
        self, *, store: SubmissionStore, namespaces: Namespaces, live: Callable[[], Collection[str]], clock: Clock
    ) -> None:
        self._store = store
        self._namespaces = namespaces
        self._clock = clock
        self._wake = asyncio.Event()
        self._fresh: set[str] = set()
        self._pace = Pace(clock, _PER_SECOND)
        self._drift_pace = Pace(clock, _DRIFT_PER_SECOND)
        self._escalation = Escalation(clock)
        self._listing = Listing(namespaces, store.file_uuid, live)
        self._found = 0
        self.differences = 0
        """Submissions that the last sweep found to differ and to have settled; it has them mended."""
        self.unknown: dict[str, int] = {}
        """Running Temporal workflows that carry our mark and that the store does not know, by namespace."""

    async def run(self) -> None:
        """Sweep at once, whenever a namespace was reset, and periodically, until cancelled."""
        unregister = self._namespaces.on_reset(self.hasten)
        try:
            # Whatever happened before this process led, it has not been looked at.
            self._fresh.update(tenant.namespace for tenant in await self._store.tenants())
            while True:
                self._wake.clear()
                fresh, self._fresh = frozenset(self._fresh), set()
                await self.sweep(fresh)
                await self._clock.wait_for(self._wake, _EVERY)
        finally:
            unregister()

    def hasten(self, namespace: str) -> None:
        """Something is amiss there: sweep now, and take what is missing for lost."""
        self._fresh.add(namespace)
        self._wake.set()

    async def sweep(self, fresh: Collection[str] = frozenset()) -> None:
        """Look at every open submission, and at what runs. `fresh`: namespaces whose server may have lost
        everything, where a missing Temporal workflow is replaced without waiting until its row has settled."""
        parked = await self._parked()
        before = self._found
        await self._each(
            self._candidates(parked, fresh), lambda one: self._apart(one, self._look(one, one.namespace in fresh))
        )
        await self._each(self._left_running(), lambda one: self._apart(one, self._look_at_left_running(one)))
        self.differences = self._found - before
        self._escalation.forget_old()

    async def drift(self) -> list[Drift]:
        """Every newest submission on which SQLite and Temporal disagree now. Changes nothing.
        Raises TemporalUnavailable, naming the namespace, when one cannot be asked."""
        for name in sorted({tenant.namespace for tenant in await self._store.tenants()}):
            await self._require(name)
        return [drift for _, drift in await self._differing(self._pages(("open", "closed")))]

    async def count_unknown(self) -> None:
        """Bring `unknown` up to date, without mending."""
        async for _ in self._left_running():
            pass

    async def compare(self, org_id: str, *, limit: int) -> Comparison:
        """The drift among at most `limit` open submissions of one organisation that have settled. One look at each is
        enough: nothing is on its way, and what has moved by the end of it is left out. Changes nothing.
        Raises TemporalUnavailable, naming the namespace, when it cannot be asked."""
        before = self._clock.now() - _SETTLED
        looked_at = await self._store.settled(org_id, before=before, limit=limit)
        found = await self._differing(_in_turn(looked_at))
        now = await self._store.find([one.workflow_id for one, _ in found])
        still = [drift for one, drift in found if now[one.workflow_id].version == one.version]  # none is ever deleted
        return Comparison(still, len(looked_at))

    async def _differing(self, submissions: AsyncIterator[Submission]) -> list[tuple[Submission, Drift]]:
        """Raises TemporalUnavailable."""
        found: list[tuple[Submission, Drift]] = []

        async def look(submission: Submission) -> None:
            await self._drift_pace.turn()
            status = await self._status_or_raise(submission)
            state = submission.status.state
            # Temporal forgets what has ended, after its retention or with an in-memory server: no disagreement.
            forgotten = status == MISSING and submission.state == "closed" and is_terminal(state)
            if status != _ENDS.get(state, RUNNING) and not forgotten:
                ref = submission.ref
                found.append((submission, Drift(ref.org_id, ref.subject_id, ref.generation, state, status)))

        try:
            await self._each(submissions, look)
        except* TemporalUnavailable as group:
            raise _first(group) from group
        return found

    # ----- which

    async def _parked(self) -> frozenset[str]:
        tenants = await self._store.tenants()
        return frozenset(tenant.org_id for tenant in tenants if not self._namespaces.get(tenant.namespace).up)

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

    async def _apart(self, submission: Submission, looking: Awaitable[None]) -> None:
        """One that cannot be looked at or mended, such as one whose row is damaged, must not keep the sweep from the
        others. Raises StoreError, which is about all of them."""
        try:
            await looking
        except StoreError:
            raise
        except Exception:
            _log.exception("%s could not be compared or mended", submission.workflow_id)

    async def _pages(self, states: tuple[str, ...], parked: frozenset[str] = frozenset()) -> AsyncIterator[Submission]:
        after = ""
        while page := await self._store.submissions(states=states, after=after, limit=_PAGE, parked=parked):
            for submission in page:
                yield submission
            after = page[-1].workflow_id

    async def _candidates(self, parked: frozenset[str], fresh: Collection[str]) -> AsyncIterator[Submission]:
        async for submission in self._pages(("open",), parked):
            if submission.pending_errands == 0 and (submission.namespace in fresh or self._settled(submission)):
                await self._pace.turn()
                yield submission

    async def _left_running(self) -> AsyncIterator[Submission]:
        """What a list of running Temporal workflows shows though SQLite is through with it."""
        for name in self._listing.round():
            self.unknown[name] = 0
            async for ids in self._listing.ours(name):
                known = await self._store.find(ids)
                self.unknown[name] += len(ids) - len(known)
                for submission in known.values():
                    if self._is_over(submission):
                        await self._pace.turn()
                        yield submission

    def _is_over(self, submission: Submission) -> bool:
        over = submission.status.verdict in _OVER
        return over and submission.pending_errands == 0 and self._settled(submission)

    def _settled(self, submission: Submission) -> bool:
        now = self._clock.now()
        return not now - _SETTLED < submission.updated_at <= now  # in the future: the clock was set back since

    # ----- what then

    async def _look(self, submission: Submission, fresh: bool) -> None:
        status = await self._status(submission)
        if status is None:
            return
        settled = self._settled(submission)
        if status != RUNNING and (settled or (fresh and status == MISSING)):
            await self._mend(submission, status)
        elif status == RUNNING and self._is_over(submission):
            await self._escalate(submission)

    async def _look_at_left_running(self, submission: Submission) -> None:
        if await self._status(submission) == RUNNING:
            await self._escalate(submission)

    async def _mend(self, submission: Submission, status: str) -> None:
        self._escalation.forget(submission)
        if is_terminal(submission.status.state):
            await self._store.close_submission(submission)
        elif await self._store.resubmit(submission):
            self._found += 1
            _log.warning(
                "%s is %s in Temporal and %s here: started again as the next generation",
                submission.workflow_id,
                status,
                submission.status.state,
            )

    async def _escalate(self, submission: Submission) -> None:
        kind = self._escalation.next(submission)
        if kind is not None:
            self._found += 1
            _log.info("%s still runs though it is over here: %s", submission.workflow_id, kind)
            await self._store.nudge(submission, kind)

    # ----- asking

    async def _status(self, submission: Submission) -> str | None:
        """None: nothing was learnt; the next sweep asks again."""
        namespace = self._namespaces.get(submission.namespace)
        if not namespace.up:
            return None
        try:
            return await self._describe(namespace, submission)
        except (RPCError, TimeoutError) as error:
            _log.info("cannot describe %s: %r", submission.workflow_id, error)
            return None

    async def _status_or_raise(self, submission: Submission) -> str:
        namespace = self._namespaces.get(submission.namespace)
        try:
            return await self._describe(namespace, submission)
        except (RPCError, TimeoutError) as error:
            raise _unavailable(namespace.name, repr(error)) from error

    async def _require(self, name: str) -> None:
        namespace = self._namespaces.get(name)
        try:
            async with asyncio.timeout(_PATIENCE):
                await namespace.seen()
        except TimeoutError:
            raise _unavailable(name, "it was not reached yet") from None
        if not namespace.up:
            raise _unavailable(name, str(namespace.error))

    async def _describe(self, namespace: Namespace, submission: Submission) -> str:
        """What Temporal says of it, MISSING when there is none of ours. Raises RPCError or TimeoutError."""
        request = DescribeWorkflowExecutionRequest(
            namespace=namespace.name,
            # No run id: after continue-as-new the newest run is meant.
            execution=WorkflowExecution(workflow_id=submission.workflow_id),
        )
        client = namespace.client
        try:
            seen = await namespace.reach(client.workflow_service.describe_workflow_execution(request, retry=True))
        except RPCError as error:
            if fault_of(error) is Fault.MISSING:
                return MISSING
            raise
        info = seen.workflow_execution_info
        if not is_ours(client.data_converter, info.memo, self._store.file_uuid):
            return MISSING
        name: str = WorkflowExecutionStatus.Name(info.status)
        return name.removeprefix("WORKFLOW_EXECUTION_STATUS_")


def is_ours(converter: DataConverter, memo: Memo, file_uuid: str) -> bool:
    """Whether a Temporal workflow carries the mark of this file."""
    return memo.fields[MEMO_FILE].data == converter.payload_converter.to_payload(file_uuid).data


async def _in_turn(submissions: list[Submission]) -> AsyncIterator[Submission]:
    for submission in submissions:
        yield submission


def _unavailable(namespace: str, why: str) -> TemporalUnavailable:
    return TemporalUnavailable(f"cannot compare with the namespace {namespace}: {why}", namespace=namespace)


def _first(group: ExceptionGroup[TemporalUnavailable]) -> TemporalUnavailable:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, ExceptionGroup) else first
