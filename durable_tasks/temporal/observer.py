"""The observer: asks Temporal how far the attempts of external workers are, and tells the store.
It must not know who reads it, nor end an attempt: only its workflow does; only the leader runs one.
"""

import asyncio
import logging
import math
from collections import defaultdict
from collections.abc import Sequence

from temporalio.api.common.v1 import Payload, WorkflowExecution
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionRequest
from temporalio.converter import DataConverter
from temporalio.service import RPCError

from durable_tasks.contracts import Shown
from durable_tasks.errors import StoreError
from durable_tasks.ports import Clock, Notice, RemoteAttempt, SubmissionStore, Subscribe
from durable_tasks.temporal.namespaces import Namespace, Namespaces
from durable_tasks.temporal.pace import Pace

_log = logging.getLogger(__name__)

_YOUNG = 3.0
"""Seconds since its last change before which an attempt is left alone."""
_EVERY = 2.0
_PAGE = 500
_PER_SECOND = 20.0


class Observer:
    """Between two rounds it sleeps: until a commit when no external attempt is open, else for two seconds."""

    def __init__(self, *, store: SubmissionStore, namespaces: Namespaces, subscribe: Subscribe, clock: Clock) -> None:
        self._store = store
        self._namespaces = namespaces
        self._subscribe = subscribe
        self._clock = clock
        self._wake = asyncio.Event()
        self._pace = Pace(clock, _PER_SECOND)
        self._told: dict[str, Shown | None] = {}
        """What the store was last told, by token."""

    async def run(self) -> None:
        """Observe until cancelled. Raises StoreError."""
        unsubscribe = self._subscribe(self._noticed)
        try:
            while True:
                if not await self.look():
                    await self._clock.wait_for(self._wake, math.inf)
                # The rest comes between news and look: what has just begun is not shown yet. It also keeps rounds
                # two seconds apart, however many commits there are.
                self._wake.clear()
                await self._clock.wait_for(asyncio.Event(), _EVERY)
        finally:
            unsubscribe()

    def _noticed(self, notice: Notice) -> None:
        if notice.orgs or notice.foreign:
            self._wake.set()

    async def look(self) -> bool:
        """One round over all external attempts. False when there are none."""
        open_tokens: set[str] = set()
        after = ""
        while page := await self._store.remote_attempts(after=after, limit=_PAGE):
            open_tokens.update(attempt.token for attempt in page)
            await self._look_at(page)
            after = page[-1].task_id
        self._told = {token: shown for token, shown in self._told.items() if token in open_tokens}
        return bool(open_tokens)

    async def _look_at(self, attempts: Sequence[RemoteAttempt]) -> None:
        by_workflow: dict[tuple[str, str], list[RemoteAttempt]] = defaultdict(list)
        # Most attempts are over before anybody could look at them: a describe of each would be half the load.
        now = self._clock.now()
        for attempt in attempts:
            if now - _YOUNG < attempt.moved_at <= now:
                continue
            by_workflow[attempt.namespace, attempt.workflow_id].append(attempt)
        for (name, workflow_id), members in by_workflow.items():
            namespace = self._namespaces.get(name)
            if namespace.up:
                await self._pace.turn()
                await self._compare(namespace, workflow_id, members)

    async def _compare(self, namespace: Namespace, workflow_id: str, attempts: Sequence[RemoteAttempt]) -> None:
        request = DescribeWorkflowExecutionRequest(
            namespace=namespace.name, execution=WorkflowExecution(workflow_id=workflow_id)
        )
        try:
            seen = await namespace.reach(namespace.client.workflow_service.describe_workflow_execution(request))
        except (RPCError, TimeoutError) as error:
            _log.info("cannot observe %s: %r", workflow_id, error)
            return
        pending = {activity.activity_id: activity for activity in seen.pending_activities}
        for attempt in attempts:
            activity = pending.get(attempt.execution_id)
            if activity is not None and activity.state == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED:
                await self._tell_apart(attempt, await self._shown(namespace, activity))

    async def _tell_apart(self, attempt: RemoteAttempt, shown: Shown | None) -> None:
        """A row that cannot take it must not keep the others from being observed. Raises StoreError."""
        try:
            await self._tell(attempt, shown)
        except StoreError:
            raise
        except Exception:
            _log.exception("what is known of an attempt could not be stored", extra={"task_id": attempt.task_id})

    async def _tell(self, attempt: RemoteAttempt, shown: Shown | None) -> None:
        if attempt.started and (shown is None or self._told.get(attempt.token) == shown):
            return
        if shown is None:
            await self._store.observe(attempt, None, None)
        else:
            await self._store.observe(attempt, shown.progress, shown.message)
        self._told[attempt.token] = shown

    async def _shown(self, namespace: Namespace, activity: PendingActivityInfo) -> Shown | None:
        return await decode_shown(namespace.client.data_converter, activity.heartbeat_details.payloads)


async def decode_shown(converter: DataConverter, details: Sequence[Payload]) -> Shown | None:
    """A worker of another make may send other details, or none: then nothing is known of its progress."""
    if not details:
        return None
    try:
        (shown,) = await converter.decode(details[:1], [Shown])
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        _log.debug("heartbeat details that are not ours: %r", error)
        return None
    return shown if isinstance(shown, Shown) else None
