"""The Temporal engine: connection, worker, relay and reconciler of one process, started and stopped as one.
It must not know handlers, SQL or who leads; it is told.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from temporalio.worker import WorkflowRunner

from durable_tasks.activities.task import TaskActivities
from durable_tasks.contracts import store_queue
from durable_tasks.errors import Closed, TemporalUnavailable
from durable_tasks.ports import Clock, SubmissionStore, Subscribe, TaskBridge
from durable_tasks.settings import Settings
from durable_tasks.temporal.connection import Connection
from durable_tasks.temporal.faults import pause
from durable_tasks.temporal.reconciler import Drift, Reconciler
from durable_tasks.temporal.relay import Relay
from durable_tasks.temporal.worker import StoreWorker

_log = logging.getLogger(__name__)

_OPEN_PER_SLOT = 4


class TemporalEngine:
    """Every process that owns the file runs the worker; only the leader also runs relay and reconciler."""

    def __init__(
        self,
        settings: Settings,
        store: SubmissionStore,
        bridge: TaskBridge,
        subscribe: Subscribe,
        clock: Clock,
        *,
        runner: WorkflowRunner | None = None,
    ) -> None:
        self.address = settings.address
        self._clock = clock
        self._connection = Connection(address=settings.address, namespace=settings.namespace, clock=clock)
        self._worker = StoreWorker(
            connection=self._connection,
            queue=store_queue(store.file_uuid),
            activities=TaskActivities(bridge).all,
            max_concurrent=settings.max_concurrent,
            clock=clock,
            runner=runner,
        )
        self._reconciler = Reconciler(store=store, connection=self._connection, clock=clock)
        self._relay = Relay(
            store=store,
            connection=self._connection,
            subscribe=subscribe,
            clock=clock,
            max_open=_OPEN_PER_SLOT * settings.max_concurrent,
            on_started=bridge.started,
            on_missing=self._reconciler.hasten,
        )
        self._always: list[asyncio.Task[None]] = []
        self._leading: list[asyncio.Task[None]] = []

    @property
    def connected(self) -> bool:
        """Whether the server answers and the namespace exists, as far as known."""
        return self._connection.connected

    def start(self) -> None:
        """Return at once; connecting goes on in the background, for as long as it takes."""
        if not self._always:
            self._always = [
                self._supervise("connection", self._connection.run),
                self._supervise("worker", self._worker.run),
            ]

    async def stop(self) -> None:
        """Stop everything, within a few seconds even when Temporal does not answer."""
        await self.lead(False)
        stopping, self._always = self._always, []
        await _cancel(stopping)

    async def lead(self, leads: bool) -> None:
        """Become or cease to be the one that sends and reconciles. After lead(False) nothing is sent."""
        if leads and not self._always:
            raise Closed("the Temporal engine is not started")
        if leads and not self._leading:
            self._leading = [
                self._supervise("relay", self._relay.run),
                self._supervise("reconciler", self._reconciler.run),
            ]
        elif not leads:
            resigning, self._leading = self._leading, []
            await _cancel(resigning)

    async def wait_connected(self, timeout: float | None = None) -> None:
        """Raises TemporalUnavailable when it has not come up within `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._connection.up()
        except TimeoutError:
            raise TemporalUnavailable(
                f"Temporal at {self.address} did not answer within {timeout} s", address=self.address
            ) from None

    async def drift(self) -> list[Drift]:
        """Every task on which SQLite and Temporal disagree now. Raises TemporalUnavailable."""
        return await self._reconciler.drift()

    def _supervise(self, name: str, run: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        return asyncio.create_task(self._keep_running(name, run), name=f"temporal {name}")

    async def _keep_running(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """One part's failure, of the store for instance, must neither end it nor the others."""
        failures = 0
        while True:
            started = self._clock.now()
            try:
                await run()
            except Exception:
                failures = 1 if self._clock.now() - started > 60 else failures + 1
                rest = pause(failures)
                _log.exception("the Temporal %s failed; it runs again in %.1f s", name, rest)
                await self._clock.wait(asyncio.Event(), self._clock.now() + rest)


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
