"""The external worker: a process without the SQLite file that executes the tasks of one work queue.
It must not know organisations or the terminal; it is told which namespace and queue, and whom to tell.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import Worker

from durable_tasks.ports import Clock
from durable_tasks.settings import Settings
from durable_tasks.temporal.faults import Fault, fault_of, pause
from durable_tasks.temporal.plugin import DurableTasksPlugin
from durable_tasks.temporal.profile import connect_options
from durable_tasks.temporal.runtime import runtime

_log = logging.getLogger(__name__)

_CALL = 10.0
"""Seconds for one call in all."""
_LONGEST_PAUSE = 5.0
_LONG_ENOUGH = 60.0
"""Seconds of service after which a failure is the first of its kind."""
_LONGEST_LINE = 300
_LAST_BREATH = 0.3
"""Seconds; measured, see github.com/temporalio/sdk-python/issues/300."""
_LOOK = 0.1
"""Seconds between two looks whether the server knows us as a poller: it tells nobody by itself."""
_STOP = 15.0
"""Seconds beyond the grace for handlers to stop and for the last answers to reach the server."""


class ExternalWorker:
    """Serves the queue until cancelled; then its handlers have `shutdown_grace` to finish, and are released.

    Raises ConfigurationError when the settings or Temporal's profile cannot be right."""

    def __init__(
        self,
        plugin: DurableTasksPlugin,
        settings: Settings,
        *,
        namespace: str,
        queue: str,
        clock: Clock,
        tell: Callable[[str], None],
    ) -> None:
        self._plugin = plugin
        self._settings = settings
        self._options = connect_options(settings)
        self._namespace = namespace
        self._queue = queue
        self._clock = clock
        self._tell = tell
        self._told = ""
        self.polling = asyncio.Event()
        """The server has us among the pollers of the queue."""

    async def run(self) -> None:
        failures = 0
        while True:
            started = self._clock.steady()
            try:
                await self._serve(await self._connect())
            except (RuntimeError, RPCError, TimeoutError) as error:
                failures = 1 if self._clock.steady() - started > _LONG_ENOUGH else failures + 1
                self._tell_once(self._explain(error))
                await self._clock.wait_for(asyncio.Event(), pause(failures, longest=_LONGEST_PAUSE))

    async def _connect(self) -> Client:
        """A client of a server that answers and has the namespace."""
        async with asyncio.timeout(_CALL):
            client = await Client.connect(
                self._settings.address, namespace=self._namespace, runtime=runtime(), **self._options
            )
            await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=self._namespace))
        return client

    def _explain(self, error: RuntimeError | RPCError | TimeoutError) -> str:
        fault = Fault.TRANSIENT if isinstance(error, RuntimeError) else fault_of(error)
        place = f"namespace {self._namespace} at {self._settings.address}"
        if fault is Fault.NAMESPACE:
            return f"there is no {place} yet; waiting for it"
        if fault is Fault.FORBIDDEN:
            return f"Temporal refuses {place}; trying again: {_line(error)}"
        return f"cannot serve {place}; trying again: {_line(error)}"

    def _tell_once(self, text: str) -> None:
        if text != self._told:
            self._tell(text)
        self._told = text

    async def _serve(self, client: Client) -> None:
        worker = self._build(client)
        serving = asyncio.create_task(worker.run(), name=f"external worker on {self._queue}")
        listing = asyncio.create_task(self._until_listed(client))
        try:
            await asyncio.wait({serving, listing}, return_when=asyncio.FIRST_COMPLETED)
            if not serving.done():
                self._told = ""
                self.polling.set()
            # Shielded: a cancelled run() would cut its own shutdown short.
            await asyncio.shield(serving)
        finally:
            listing.cancel()
            await self._stop(worker, serving, listing)

    async def _until_listed(self, client: Client) -> None:
        request = DescribeTaskQueueRequest(
            namespace=self._namespace,
            task_queue=TaskQueue(name=self._queue),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
        )
        try:
            while True:
                answer = await client.workflow_service.describe_task_queue(request)
                if any(poller.identity == client.identity for poller in answer.pollers):
                    return
                await self._clock.wait_for(asyncio.Event(), _LOOK)
        except RPCError as error:
            _log.info("cannot see the pollers of %s: %s", self._queue, error.message)  # it may be forbidden to look

    async def _stop(self, worker: Worker, serving: asyncio.Task[None], listing: asyncio.Task[None]) -> None:
        stopping = asyncio.create_task(worker.shutdown())
        _, late = await asyncio.wait({serving, stopping}, timeout=self._settings.shutdown_grace + _STOP)
        if late:
            self._tell("the worker did not stop in time and is given up")
        for task in late:
            task.cancel()
        await asyncio.gather(serving, stopping, listing, return_exceptions=True)
        # The SDK's client cannot be closed: a process that exits at once may be aborted by its threads.
        await self._clock.wait_for(asyncio.Event(), _LAST_BREATH)

    def _build(self, client: Client) -> Worker:
        return Worker(
            client,
            task_queue=self._queue,
            plugins=[self._plugin],
            max_concurrent_activities=self._settings.max_concurrent,
            graceful_shutdown_timeout=timedelta(seconds=self._settings.shutdown_grace),
        )


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:_LONGEST_LINE] or type(error).__name__
