"""The relay: carries the outbox's errands to Temporal, several at once, and tells the store how each went.
It must not know why an errand exists, nor SQL; only the leader runs one.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import assert_never

from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import Payloads, WorkflowExecution, WorkflowType
from temporalio.api.common.v1 import Priority as PriorityMessage
from temporalio.api.enums.v1 import (
    WorkflowExecutionStatus,
    WorkflowIdConflictPolicy,
    WorkflowIdReusePolicy,
)
from temporalio.api.sdk.v1 import UserMetadata
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    RequestCancelWorkflowExecutionRequest,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    StartWorkflowExecutionResponse,
    TerminateWorkflowExecutionRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError

from durable_tasks.contracts import (
    MEMO_FILE,
    MEMO_GENERATION,
    MEMO_ID,
    SYNC_SIGNAL,
    Verdict,
    is_embedded,
    store_queue,
)
from durable_tasks.errors import StoreError
from durable_tasks.ports import Clock, Errand, Intake, Notice, OutboxKind, Room, SubmissionStore, Subscribe
from durable_tasks.temporal.faults import Fault, fault_of, pause
from durable_tasks.temporal.namespaces import Namespace, Namespaces

_log = logging.getLogger(__name__)

_AT_ONCE = 32
_OF_ONE = 28
"""Of one organisation, so that what others have need not wait behind its backlog."""
_TASK_TIMEOUT = Duration(seconds=10)
"""Shorter ones collapse under load: a workflow task whose local activity waits would be given out twice."""
_SUMMARY_BYTES = 160
"""Of titles and reasons. Temporal refuses a summary whose payload exceeds 400 bytes, and JSON may double it."""
_DETAILS_BYTES = 9000
"""The same for details, where Temporal's limit is 20,000 bytes."""
_OVER = (Verdict.ENDED, Verdict.SUPERSEDED)
_BROKEN = 30.0
"""Seconds a row rests that made us raise what we did not foresee."""


class Relay:
    """Level-triggered: it sends what the outbox holds now. A row that fails waits alone, an organisation whose
    namespace is not up waits for that; the others go on."""

    def __init__(
        self,
        *,
        store: SubmissionStore,
        namespaces: Namespaces,
        subscribe: Subscribe,
        clock: Clock,
        intake: Intake,
        max_waiting: int,
        begin_ahead: bool,
        on_start: Callable[[str], None],
        on_missing: Callable[[str], None],
    ) -> None:
        """`begin_ahead`: an embedded task need not wait for Temporal's word. At most `max_waiting` of one organisation
        are started for which there is no slot."""
        self._store = store
        self._namespaces = namespaces
        self._subscribe = subscribe
        self._clock = clock
        self._intake = intake
        self._max_waiting = max_waiting
        self._begin_ahead = begin_ahead
        self._on_start = on_start
        self._on_missing = on_missing
        self._wake = asyncio.Event()
        self._sending: dict[int, Errand] = {}
        self._last_org = ""
        self._orgs: dict[str, Namespace] = {}
        """Of every organisation that anything was sent for."""
        self._held_back = False
        """The last look left rows behind, for want of senders or of free starts."""

    @property
    def parked(self) -> dict[str, str]:
        """Organisations that are not served now, and why."""
        return {org: str(namespace.error) for org, namespace in self._orgs.items() if not namespace.up}

    async def run(self) -> None:
        """Pump until cancelled. Raises StoreError when the store cannot be read or written."""
        unsubscribe = self._subscribe(self._noticed)
        forget_room = self._intake.on_room(self._wake.set)
        unregister = self._namespaces.on_reset(lambda name: self._wake.set())
        try:
            async with asyncio.TaskGroup() as senders:
                while True:
                    self._wake.clear()
                    due, next_at = await self._due()
                    for errand, namespace in due:
                        self._sending[errand.id] = errand
                        senders.create_task(self._send(errand, namespace))
                    await self._clock.wait(self._wake, next_at)
        finally:
            unsubscribe()
            forget_room()
            unregister()

    def _noticed(self, notice: Notice) -> None:
        if notice.outbox or notice.foreign or (self._held_back and notice.ended):
            self._wake.set()

    async def _due(self) -> tuple[list[tuple[Errand, Namespace]], float | None]:
        """What to send now, and when to look again. What is due and not taken is being sent or held back: the end of
        that wakes us."""
        limit = _AT_ONCE - len(self._sending)
        if limit <= 0:
            self._held_back = True
            return [], None
        sending = Counter(errand.ref.org_id for errand in self._sending.values())
        full = frozenset(org_id for org_id, count in sending.items() if count >= _OF_ONE)
        found = await self._store.errands(
            self._clock.now(),
            limit=limit,
            room=self._room(),
            skip=frozenset(self._sending),
            parked=full.union(self.parked),
        )
        self._held_back = found.held_back or bool(full)
        due = []
        for errand in found.errands:
            if errand.kind is OutboxKind.START:
                self._last_org = errand.ref.org_id
            namespace = self._namespace_of(errand)
            if namespace.up and sending[errand.ref.org_id] < _OF_ONE:
                sending[errand.ref.org_id] += 1
                due.append((errand, namespace))
            else:
                self._held_back = True
        return due, found.next_at

    def _room(self) -> Room:
        waiting = self._intake.waiting()
        for errand in self._sending.values():
            if errand.kind is OutboxKind.START and is_embedded(errand.ref):
                waiting.setdefault(errand.ref.org_id, set()).add(errand.ref.subject_id)
        return Room(
            most=self._max_waiting,
            waiting=waiting,
            can_run=self._intake.can_run,
            after=self._last_org,
        )

    def _namespace_of(self, errand: Errand) -> Namespace:
        org_id = errand.ref.org_id
        namespace = self._orgs[org_id] = self._namespaces.get(errand.namespace)
        if not namespace.up:
            self._wake.set()  # it is parked from now on: look again for what others have
        return namespace

    async def _send(self, errand: Errand, namespace: Namespace) -> None:
        try:
            await self._try(errand, namespace)
        except StoreError:
            raise
        except Exception as error:
            # Ours to fix; meanwhile this row must neither stop the others nor spin.
            _log.exception("the %s of %s failed", errand.kind, errand.workflow_id)
            await self._defer(errand, error, _BROKEN)
        finally:
            del self._sending[errand.id]
            self._wake.set()

    async def _try(self, errand: Errand, namespace: Namespace) -> None:
        client = namespace.client
        try:
            call = await self._call(client, errand)
        except (TypeError, ValueError) as error:
            _log.error("the %s of %s cannot be encoded: %r", errand.kind, errand.workflow_id, error)
            await self._store.reject(errand, error=f"cannot be encoded: {error!r}")
            return
        if errand.kind is OutboxKind.START:
            self._on_start(namespace.name)
        try:
            answer, begun = await self._reach(namespace, errand, call)
            started = not isinstance(answer, StartWorkflowExecutionResponse) or await self._is_started(
                namespace, errand, answer
            )
        except (RPCError, TimeoutError) as error:
            await self._failed(errand, error)
            return
        if not started:
            await self._closed(errand)
        elif not isinstance(answer, StartWorkflowExecutionResponse):
            await self._forget_older(errand)
            await self._store.acknowledge(errand)
        elif begun:
            await self._store.acknowledge(errand, run_id=answer.run_id)
        else:
            await self._intake.begin_started(errand, answer.run_id)

    async def _reach(self, namespace: Namespace, errand: Errand, call: Awaitable[object]) -> tuple[object, bool]:
        """Make the call, and begin the task it is about meanwhile. Raises RPCError, TimeoutError, StoreError."""
        if errand.kind is not OutboxKind.START or not self._begin_ahead:
            return await namespace.reach(call), False
        calling = asyncio.ensure_future(namespace.reach(call))
        try:
            begun = await self._intake.begin_ahead(errand)
            return await calling, begun
        finally:
            calling.cancel()

    async def _call(self, client: Client, errand: Errand) -> Awaitable[object]:
        """The call that runs the errand, built but not yet made. `retry=True` throughout: without it an eager
        start never reaches the worker, and two seconds are lost."""
        service = client.workflow_service
        match errand.kind:
            case OutboxKind.START:
                start = await start_request(client, errand, self._store.file_uuid)
                return service.start_workflow_execution(start, retry=True)
            case OutboxKind.SYNC:
                return service.signal_workflow_execution(await _sync_request(client, errand), retry=True)
            case OutboxKind.CANCEL:
                return service.request_cancel_workflow_execution(_cancel_request(client, errand), retry=True)
            case OutboxKind.TERMINATE:
                return service.terminate_workflow_execution(_terminate_request(client, errand), retry=True)
            case _:
                assert_never(errand.kind)

    async def _is_started(self, namespace: Namespace, errand: Errand, answer: StartWorkflowExecutionResponse) -> bool:
        """A repeated start answers like a first one, even for a Temporal workflow that has ended since."""
        if answer.status != WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING:
            return False
        return answer.started or await self._is_ours(namespace, errand, answer.run_id)

    async def _is_ours(self, namespace: Namespace, errand: Errand, run_id: str) -> bool:
        execution = WorkflowExecution(workflow_id=errand.workflow_id, run_id=run_id)
        request = DescribeWorkflowExecutionRequest(namespace=errand.namespace, execution=execution)
        client = namespace.client
        seen = await namespace.reach(client.workflow_service.describe_workflow_execution(request, retry=True))
        ours = client.data_converter.payload_converter.to_payload(self._store.file_uuid)
        return seen.workflow_execution_info.memo.fields[MEMO_FILE].data == ours.data

    async def _failed(self, errand: Errand, error: RPCError | TimeoutError) -> None:
        match fault_of(error):
            case Fault.CLOSED | Fault.MISSING:
                await self._closed(errand)
            case Fault.PERMANENT:
                _log.error("Temporal refuses the %s of %s: %r", errand.kind, errand.workflow_id, error)
                await self._store.reject(errand, error=str(error))
            case Fault.FORBIDDEN:
                # Its namespace is down from now on, and the organisation waits for that to change.
                _log.error("Temporal forbids the %s of %s: %r", errand.kind, errand.workflow_id, error)
                await self._defer(errand, error, 0.0)
            case Fault.NAMESPACE:
                await self._defer(errand, error, 0.0)
            case Fault.TRANSIENT:
                _log.info("%s of %s failed for now: %r", errand.kind, errand.workflow_id, error)
                await self._defer(errand, error, pause(errand.tries))

    async def _closed(self, errand: Errand) -> None:
        if errand.kind is OutboxKind.TERMINATE:
            await self._store.acknowledge(errand)  # that it is gone was all we wanted
            return
        await self._store.moot(errand)
        await self._forget_older(errand)
        if errand.status.verdict not in _OVER:
            _log.warning("%s has no running workflow in Temporal, but its task is open", errand.workflow_id)
            self._on_missing(errand.namespace)

    async def _forget_older(self, errand: Errand) -> None:
        """A generation that the task or group has left counts as open only until it was told. If its Temporal
        workflow runs on all the same, the reconciler finds that."""
        if errand.status.verdict is Verdict.SUPERSEDED:
            for submission in (await self._store.find([errand.workflow_id])).values():
                await self._store.close_submission(submission)

    async def _defer(self, errand: Errand, error: Exception, seconds: float) -> None:
        text = str(error) or type(error).__name__
        await self._store.defer(errand, until=self._clock.now() + seconds, error=text)


async def start_request(client: Client, errand: Errand, file_uuid: str) -> StartWorkflowExecutionRequest:
    """The raw request: the SDK's own call has no request id, which alone makes a repeated start safe."""
    ref = errand.ref
    request = StartWorkflowExecutionRequest(
        namespace=errand.namespace,
        workflow_id=errand.workflow_id,
        workflow_type=WorkflowType(name=ref.workflow_type),
        task_queue=TaskQueue(name=store_queue(file_uuid)),
        input=Payloads(payloads=await client.data_converter.encode([ref])),
        workflow_task_timeout=_TASK_TIMEOUT,
        identity=client.identity,
        request_id=errand.request_id,
        workflow_id_reuse_policy=WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
        workflow_id_conflict_policy=WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
        # The first step of every one is a question to SQLite: best asked by the very process that starts it.
        request_eager_execution=True,
        # Ours: 0 low to 3 urgent. Temporal's: 1 first to 5 last, 3 its default.
        priority=PriorityMessage(priority_key=4 - errand.priority),
    )
    memo = {MEMO_FILE: file_uuid, MEMO_ID: ref.subject_id, MEMO_GENERATION: ref.generation}
    texts = [_short(errand.title), _short(errand.details, _DETAILS_BYTES, keep="\n")]
    *memos, summary, details = await client.data_converter.encode([*memo.values(), *texts])
    for name, payload in zip(memo, memos, strict=True):
        request.memo.fields[name].CopyFrom(payload)
    request.user_metadata.CopyFrom(UserMetadata(summary=summary, details=details if errand.details else None))
    return request


async def _sync_request(client: Client, errand: Errand) -> SignalWorkflowExecutionRequest:
    return SignalWorkflowExecutionRequest(
        namespace=errand.namespace,
        # No run id: after continue-as-new the newest run is meant.
        workflow_execution=WorkflowExecution(workflow_id=errand.workflow_id),
        signal_name=SYNC_SIGNAL,
        input=Payloads(payloads=await client.data_converter.encode([errand.status])),
        identity=client.identity,
        request_id=errand.request_id,
    )


def _cancel_request(client: Client, errand: Errand) -> RequestCancelWorkflowExecutionRequest:
    return RequestCancelWorkflowExecutionRequest(
        namespace=errand.namespace,
        workflow_execution=WorkflowExecution(workflow_id=errand.workflow_id),
        first_execution_run_id=errand.run_id or "",
        identity=client.identity,
        request_id=errand.request_id,
        reason=_short(errand.status.reason or ""),
    )


def _terminate_request(client: Client, errand: Errand) -> TerminateWorkflowExecutionRequest:
    return TerminateWorkflowExecutionRequest(
        namespace=errand.namespace,
        workflow_execution=WorkflowExecution(workflow_id=errand.workflow_id),
        first_execution_run_id=errand.run_id or "",
        identity=client.identity,
        reason=_short(errand.status.reason or "superseded"),
    )


def _short(text: str, limit: int = _SUMMARY_BYTES, keep: str = "") -> str:
    printable = "".join(letter if letter.isprintable() or letter in keep else " " for letter in text)
    return printable.encode()[:limit].decode(errors="ignore")
