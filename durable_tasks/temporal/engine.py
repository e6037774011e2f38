"""The Temporal engine: connection, workers, relay, reconciler and observer of one process, started and stopped as one.
It must not know handlers, SQL or who leads; it is told.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import WorkflowRunner

from durable_tasks.activities.group import GroupActivities
from durable_tasks.activities.task import TaskActivities
from durable_tasks.contracts import store_queue
from durable_tasks.errors import Closed, TemporalUnavailable
from durable_tasks.ports import Clock, Drift, Intake, Queue, SubmissionStore, Subscribe, TaskBridge
from durable_tasks.settings import Settings
from durable_tasks.temporal.comparisons import Comparison, Comparisons
from durable_tasks.temporal.connection import Connection
from durable_tasks.temporal.faults import pause
from durable_tasks.temporal.fleet import Fleet
from durable_tasks.temporal.namespaces import Namespace, NamespaceReport, Namespaces
from durable_tasks.temporal.observer import Observer
from durable_tasks.temporal.pollers import pollers
from durable_tasks.temporal.profile import connect_options
from durable_tasks.temporal.reconciler import Reconciler
from durable_tasks.temporal.relay import Relay
from durable_tasks.temporal.worker import StoreWorker

T = TypeVar("T")

_log = logging.getLogger(__name__)

_WAITING_PER_SLOT = 3
_MOST_COMPARED = 50
"""Submissions of one organisation, when somebody waits for the answer."""


@dataclass(frozen=True, slots=True)
class TemporalReport:
    """How Temporal stands, for people."""

    address: str
    connected: bool
    server_version: str | None
    """None: it does not answer."""
    capabilities: tuple[str, ...]
    namespaces: list[NamespaceReport]
    live: list[str]
    """Namespaces that have a worker in this process."""
    pollers: dict[str, int]
    """Workers of all processes on the store queue, of each namespace in `live`."""
    parked: dict[str, str]
    """Organisations that wait for their namespace, and why."""
    unknown: dict[str, int]
    """By namespace: running Temporal workflows with this file's mark that the file does not know."""


class TemporalEngine:
    """Every process that owns the file runs workers; only the leader also sends, reconciles and observes."""

    def __init__(
        self,
        settings: Settings,
        store: SubmissionStore,
        bridge: TaskBridge,
        intake: Intake,
        subscribe: Subscribe,
        clock: Clock,
        *,
        runner: WorkflowRunner | None = None,
        note_failure: Callable[[str], None] = lambda part: None,
    ) -> None:
        """`note_failure` is told which part has broken; it is run again."""
        self.address = settings.address
        self.file_uuid = store.file_uuid
        self.namespace_of = settings.namespace_of
        self._store = store
        self._clock = clock
        self._note_failure = note_failure
        self._connection = Connection(address=settings.address, clock=clock, options=connect_options(settings))
        self._namespaces = Namespaces(connection=self._connection, clock=clock, register=settings.register_namespaces)
        self._default = self._namespaces.get(settings.namespace)
        self._default.watch(True, "engine")
        queue = store_queue(store.file_uuid)
        # One thread: a step is a millisecond of Python that never waits, and more threads only fight for the GIL.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="durable_tasks workflows")
        activities = [*TaskActivities(bridge).all, *GroupActivities(bridge).all]

        def worker(namespace: Namespace) -> StoreWorker:
            return StoreWorker(
                namespace=namespace,
                queue=queue,
                activities=activities,
                max_concurrent=settings.max_concurrent,
                clock=clock,
                thread=self._thread,
                runner=runner,
            )

        self._fleet = Fleet(
            store=store,
            namespaces=self._namespaces,
            build=worker,
            queue=queue,
            subscribe=subscribe,
            clock=clock,
            most=settings.max_workers,
            idle=settings.worker_idle,
            note_failure=note_failure,
        )
        # The first start then finds a worker: without one it cannot be eager.
        self._fleet.need(settings.namespace)
        self._reconciler = Reconciler(
            store=store, namespaces=self._namespaces, live=lambda: self._fleet.live, clock=clock
        )
        self._relay = Relay(
            store=store,
            namespaces=self._namespaces,
            subscribe=subscribe,
            clock=clock,
            intake=intake,
            max_waiting=_WAITING_PER_SLOT * settings.max_concurrent,
            begin_ahead=settings.fallback == "local",
            on_start=self._fleet.need,
            on_missing=self._reconciler.hasten,
        )
        self._observer = Observer(store=store, namespaces=self._namespaces, subscribe=subscribe, clock=clock)
        self._comparisons = Comparisons(lambda org_id: self._reconciler.compare(org_id, limit=_MOST_COMPARED), clock)
        self._always: list[asyncio.Task[None]] = []
        self._leading: list[asyncio.Task[None]] = []

    @property
    def answering(self) -> bool:
        """Whether the server answered when it was last asked."""
        return self._connection.answering

    @property
    def connected(self) -> bool:
        """Whether the server answers and the default namespace exists, as far as known."""
        return self._connection.answering and self._default.up

    def client(self, namespace: str) -> Client:
        """Temporal's own client for one namespace. Raises TemporalUnavailable before the first connection."""
        return self._connection.client(namespace)

    async def reach(self, call: Awaitable[T]) -> T:
        """Await one call of such a client, bounded in time. Raises RPCError or TimeoutError."""
        return await self._connection.reach(call)

    def start(self, *, serving: bool = True) -> None:
        """Return at once; connecting goes on in the background, for as long as it takes. Not `serving`: only to
        look and to lead, without a worker."""
        if not self._always:
            self._always = [
                self._supervise("connection", self._connection.run),
                self._supervise("namespaces", self._namespaces.run),
            ]
            if serving:
                self._always.append(self._supervise("fleet", self._fleet.run))

    async def stop(self) -> None:
        """Stop everything, within a few seconds even when Temporal does not answer."""
        await self.lead(False)
        stopping, self._always = self._always, []
        await _cancel(stopping)
        await self._comparisons.stop()
        self._thread.shutdown(wait=False)

    async def lead(self, leads: bool) -> None:
        """Become or cease to be the one that sends and reconciles. After lead(False) nothing is sent."""
        if leads and not self._always:
            raise Closed("the Temporal engine is not started")
        if leads and not self._leading:
            self._leading = [
                self._supervise("relay", self._relay.run),
                self._supervise("reconciler", self._reconciler.run),
                self._supervise("observer", self._observer.run),
            ]
        elif not leads:
            resigning, self._leading = self._leading, []
            await _cancel(resigning)

    async def wait_connected(self, timeout: float | None = None) -> None:
        """Raises TemporalUnavailable when it has not come up within `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._default.ready()
        except TimeoutError:
            raise TemporalUnavailable(
                f"Temporal at {self.address} did not answer within {timeout} s", address=self.address
            ) from None

    async def drift(self) -> list[Drift]:
        """Every task and group on which SQLite and Temporal disagree now. Raises TemporalUnavailable."""
        return await self._reconciler.drift()

    async def count_unknown(self) -> None:
        """Look for running Temporal workflows of this file that it does not know, as an older state does not;
        `report` has how many. As far as the server's lists show them."""
        await self._reconciler.count_unknown()

    async def compare(self, org_id: str) -> Comparison:
        """The drift among some of what one organisation has open, as it was seconds ago at most; see
        Reconciler.compare. Raises TemporalUnavailable."""
        return await self._comparisons.of(org_id)

    @property
    def differences(self) -> int:
        """How many tasks and groups the last sweep of this process found to differ, and had mended."""
        return self._reconciler.differences

    async def sweep(self) -> None:
        """Reconcile once, now, without waiting for rows to settle."""
        await self._reconciler.sweep(fresh={tenant.namespace for tenant in await self._store.tenants()})

    async def owner(self, namespace: str) -> str | None:
        """The organisation that uses the namespace. Raises StoreError."""
        tenants = await self._store.tenants()
        return next((tenant.org_id for tenant in tenants if tenant.namespace == namespace), None)

    async def look(self, namespace: str) -> NamespaceReport:
        """How a namespace that something was handed over to stands, as soon as it was looked at once."""
        found = self._namespaces.get(namespace)
        await found.seen()
        return found.report()

    async def pollers(self, namespace: str, queue: str) -> Queue:
        """Who asks for the tasks of a queue, whatever it is for. Raises TemporalUnavailable before the engine is
        connected."""
        return await pollers(self._connection, namespace, queue)

    async def report(self) -> TemporalReport:
        """How Temporal stands now, asked as far as it answers. Raises StoreError."""
        version, capabilities = await self.server()
        live = self._fleet.live
        states = self._namespaces.report()
        down = {one.namespace: one.error or "not up" for one in states if not one.up}
        tenants = await self._store.tenants()
        return TemporalReport(
            address=self.address,
            connected=self.connected,
            server_version=version,
            capabilities=capabilities,
            namespaces=states,
            live=live,
            pollers=await self._pollers(live),
            parked={one.org_id: down[one.namespace] for one in tenants if one.namespace in down},
            unknown={name: count for name, count in self._reconciler.unknown.items() if count},
        )

    async def server(self) -> tuple[str | None, tuple[str, ...]]:
        """Its version and what it can do; (None, ()) when it does not answer."""
        try:
            seen = await self._connection.server()
        except (TemporalUnavailable, RPCError, TimeoutError) as error:
            _log.info("the server does not say what it is: %r", error)
            return None, ()
        return seen.server_version, tuple(field.name for field, value in seen.capabilities.ListFields() if value)

    async def _pollers(self, names: list[str]) -> dict[str, int]:
        counts = {}
        for name in names:
            try:
                counts[name] = await self._fleet.pollers(self._namespaces.get(name))
            except (RPCError, TimeoutError) as error:
                _log.info("the namespace %s does not say who polls: %r", name, error)
        return counts

    def _supervise(self, name: str, run: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        return asyncio.create_task(self._keep_running(name, run), name=f"temporal {name}")

    async def _keep_running(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """One part's failure, of the store for instance, must neither end it nor the others."""
        failures = 0
        while True:
            started = self._clock.steady()
            try:
                await run()
            except Exception:
                failures = 1 if self._clock.steady() - started > 60 else failures + 1
                rest = pause(failures)
                self._note_failure(f"temporal {name}")
                _log.exception("the Temporal %s failed; it runs again in %.1f s", name, rest)
                await self._clock.wait_for(asyncio.Event(), rest)


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
