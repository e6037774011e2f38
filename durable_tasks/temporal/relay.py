"""The relay: carries the outbox's errands to Temporal, several at once, and tells the store how each went.
It must not know why an errand exists, nor SQL; only the leader runs one.
"""

import asyncio
import logging
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
    TASK_WORKFLOW,
    store_queue,
)
from durable_tasks.errors import StoreError
from durable_tasks.lifecycle import is_terminal
from durable_tasks.models import Placement
from durable_tasks.ports import Clock, Errand, Notice, OutboxKind, SubmissionStore, Subscribe
from durable_tasks.temporal.connection import Connection
from durable_tasks.temporal.faults import Fault, fault_of, pause

_log = logging.getLogger(__name__)

_AT_ONCE = 32
_TASK_TIMEOUT = Duration(seconds=10)
"""Shorter ones collapse under load: a workflow task whose local activity waits would be given out twice."""
_TEXT_BYTES = 160
"""Of titles and reasons. Temporal refuses a summary whose payload exceeds 400 bytes, and JSON may double it."""
_PARKED = 30.0


class Relay:
    """Level-triggered: it sends what the outbox holds now. A row that fails waits alone; the others go on."""

    def __init__(
        self,
        *,
        store: SubmissionStore,
        connection: Connection,
        subscribe: Subscribe,
        clock: Clock,
        max_open: int,
        on_started: Callable[[Errand, str], Awaitable[None]],
        on_missing: Callable[[], None],
    ) -> None:
        self._store = store
        self._connection = connection
        self._subscribe = subscribe
        self._clock = clock
        self._max_open = max_open
        self._on_started = on_started
        self._on_missing = on_missing
        self._wake = asyncio.Event()
        self._sending: dict[int, OutboxKind] = {}
        self._held_back = False
        """The last look left rows behind, for want of senders or of free starts."""

    async def run(self) -> None:
        """Pump until cancelled. Raises StoreError when the store cannot be read or written."""
        unsubscribe = self._subscribe(self._noticed)
        try:
            async with asyncio.TaskGroup() as senders:
                while True:
                    await self._connection.up()
                    self._wake.clear()
                    for errand in await self._due():
                        self._sending[errand.id] = errand.kind
                        senders.create_task(self._send(errand))
                    await self._clock.wait(self._wake, await self._next_look())
        finally:
            unsubscribe()

    def _noticed(self, notice: Notice) -> None:
        if notice.outbox or notice.foreign or (self._held_back and notice.ended):
            self._wake.set()

    async def _due(self) -> list[Errand]:
        room = _AT_ONCE - len(self._sending)
        if room <= 0:
            self._held_back = True
            return []
        starts = await self._free_starts()
        found = await self._store.errands(self._clock.now(), limit=room, starts=starts, skip=frozenset(self._sending))
        self._held_back = len(found) == room or starts < room
        return found

    async def _free_starts(self) -> int:
        """How many embedded tasks may be handed over: beyond what the worker can take, they would only lose
        their order of priority in Temporal's queue."""
        underway = sum(kind is OutboxKind.START for kind in self._sending.values())
        opened = await self._store.open_embedded(self._connection.namespace)
        return max(0, self._max_open - opened - underway)

    async def _next_look(self) -> float | None:
        due = await self._store.next_errand_at()
        now = self._clock.now()
        if due is None or due > now:
            return due
        # What is due but was not taken is being sent or held back; the end of that wakes us.
        return None if self._sending or self._held_back else now + pause(0)

    async def _send(self, errand: Errand) -> None:
        try:
            await self._try(errand)
        except StoreError:
            raise
        except Exception as error:
            # Ours to fix; meanwhile this row must neither stop the others nor spin.
            _log.exception("the %s of %s failed", errand.kind, errand.workflow_id)
            await self._defer(errand, error, _PARKED)
        finally:
            del self._sending[errand.id]
            self._wake.set()

    async def _try(self, errand: Errand) -> None:
        client = self._connection.client
        try:
            call = await self._call(client, errand)
        except (TypeError, ValueError) as error:
            _log.error("the %s of %s cannot be encoded: %r", errand.kind, errand.workflow_id, error)
            await self._store.reject(errand, error=f"cannot be encoded: {error!r}")
            return
        try:
            answer = await self._connection.reach(call)
            started = not isinstance(answer, StartWorkflowExecutionResponse) or await self._is_started(
                client, errand, answer
            )
        except (RPCError, TimeoutError) as error:
            await self._failed(errand, error)
            return
        if not started:
            await self._closed(errand)
        elif isinstance(answer, StartWorkflowExecutionResponse):
            await self._on_started(errand, answer.run_id)
        else:
            await self._store.acknowledge(errand)

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

    async def _is_started(self, client: Client, errand: Errand, answer: StartWorkflowExecutionResponse) -> bool:
        """A repeated start answers like a first one, even for a Temporal workflow that has ended since."""
        if answer.status != WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING:
            return False
        return answer.started or await self._is_ours(client, errand, answer.run_id)

    async def _is_ours(self, client: Client, errand: Errand, run_id: str) -> bool:
        execution = WorkflowExecution(workflow_id=errand.workflow_id, run_id=run_id)
        request = DescribeWorkflowExecutionRequest(namespace=errand.namespace, execution=execution)
        seen = await self._connection.reach(client.workflow_service.describe_workflow_execution(request, retry=True))
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
                _log.error("Temporal forbids the %s of %s: %r", errand.kind, errand.workflow_id, error)
                await self._defer(errand, error, _PARKED)
            case Fault.NAMESPACE:
                self._connection.suspect()
                await self._defer(errand, error, pause(errand.tries))
            case Fault.TRANSIENT:
                _log.info("%s of %s failed for now: %r", errand.kind, errand.workflow_id, error)
                await self._defer(errand, error, pause(errand.tries))

    async def _closed(self, errand: Errand) -> None:
        if errand.kind is OutboxKind.TERMINATE:
            await self._store.acknowledge(errand)  # that it is gone was all we wanted
            return
        await self._store.moot(errand)
        if not is_terminal(errand.status.state):
            _log.warning("%s has no running workflow in Temporal, but its task is open", errand.workflow_id)
            self._on_missing()

    async def _defer(self, errand: Errand, error: Exception, seconds: float) -> None:
        text = str(error) or type(error).__name__
        await self._store.defer(errand, until=self._clock.now() + seconds, error=text)


async def start_request(client: Client, errand: Errand, file_uuid: str) -> StartWorkflowExecutionRequest:
    """The raw request: the SDK's own call has no request id, which alone makes a repeated start safe."""
    ref = errand.ref
    request = StartWorkflowExecutionRequest(
        namespace=errand.namespace,
        workflow_id=errand.workflow_id,
        workflow_type=WorkflowType(name=TASK_WORKFLOW),
        task_queue=TaskQueue(name=store_queue(file_uuid)),
        input=Payloads(payloads=await client.data_converter.encode([ref])),
        workflow_task_timeout=_TASK_TIMEOUT,
        identity=client.identity,
        request_id=errand.request_id,
        workflow_id_reuse_policy=WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
        workflow_id_conflict_policy=WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
        request_eager_execution=ref.placement is Placement.EMBEDDED,
        # Ours: 0 low to 3 urgent. Temporal's: 1 first to 5 last, 3 its default.
        priority=PriorityMessage(priority_key=4 - errand.priority),
    )
    memo = {MEMO_FILE: file_uuid, MEMO_ID: ref.task_id, MEMO_GENERATION: ref.generation}
    encoded = await client.data_converter.encode([*memo.values(), _short(errand.title)])
    for name, payload in zip(memo, encoded, strict=False):
        request.memo.fields[name].CopyFrom(payload)
    request.user_metadata.CopyFrom(UserMetadata(summary=encoded[-1]))
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


def _short(text: str) -> str:
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return printable.encode()[:_TEXT_BYTES].decode(errors="ignore")
