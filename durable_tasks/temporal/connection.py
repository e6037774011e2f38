"""The connection to Temporal: connects until it succeeds, watches that it stays, bounds every call in time.
It must not know tasks, workflows or SQLite.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import cache
from typing import TypeVar

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.runtime import LogForwardingConfig, LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter
from temporalio.service import RPCError, RPCStatusCode

from durable_tasks.errors import TemporalUnavailable
from durable_tasks.ports import Clock
from durable_tasks.temporal.faults import Fault, fault_of, pause

T = TypeVar("T")

_log = logging.getLogger(__name__)

_CALL = 10.0
"""Seconds for one call in all. The SDK's own timeout counts per try, and it tries for ten seconds or more."""
_WATCH = 5.0
"""Seconds between two looks at a healthy connection: no event tells that an idle server was replaced."""
_LONGEST_PAUSE = 5.0
_PROPAGATION = 2.0
"""Seconds a namespace may be missing before we register it: a booting server answers before its own exist."""
_RETENTION = timedelta(hours=72)


@cache
def _runtime() -> Runtime:
    """The SDK's native runtime. One per process, made on first use, for each owns a thread pool; it carries
    no state of ours. Its logs go to Python's logging: by default they would go to stdout."""
    forwarding = LogForwardingConfig(logger=logging.getLogger("durable_tasks.temporal.core"))
    logs = LoggingConfig(TelemetryFilter(core_level="ERROR", other_level="ERROR"), forwarding=forwarding)
    return Runtime(telemetry=TelemetryConfig(logging=logs))


class Connection:
    """One client for one address and namespace. The SDK's client reconnects by itself and cannot be closed;
    this class knows whether it is connected now, and when the other side may have forgotten everything."""

    def __init__(self, *, address: str, namespace: str, clock: Clock) -> None:
        self.address = address
        self.namespace = namespace
        self._clock = clock
        self._client: Client | None = None
        self._up = asyncio.Event()
        self._doubt = asyncio.Event()
        self._namespace_id: str | None = None
        self._listeners: list[Callable[[], None]] = []

    @property
    def connected(self) -> bool:
        return self._up.is_set()

    @property
    def client(self) -> Client:
        if self._client is None:
            raise TemporalUnavailable(f"not connected to Temporal at {self.address} yet", address=self.address)
        return self._client

    async def up(self) -> Client:
        """Wait until the server answers and the namespace exists."""
        await self._up.wait()
        return self.client

    def on_reset(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` whenever the connection came (back) up, or another server answers at the address:
        what was known of its workflows may be wrong. The answer unregisters it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def reach(self, call: Awaitable[T]) -> T:
        """Await one call, for at most ten seconds in all. Raises RPCError, or TimeoutError."""
        try:
            async with asyncio.timeout(_CALL):
                return await call
        except (RPCError, TimeoutError) as error:
            if isinstance(error, TimeoutError) or error.status is RPCStatusCode.UNAVAILABLE:
                self.suspect()
            raise

    def suspect(self) -> None:
        """Something went wrong that may be the connection's fault: look now."""
        self._doubt.set()

    async def run(self) -> None:
        """Connect, then watch, until cancelled."""
        await self._connect()
        missing_since: float | None = None
        tries = 0
        while True:
            self._doubt.clear()
            fault = await self._look()
            if fault is None:
                tries, missing_since = 0, None
                await self._clock.wait(self._doubt, self._clock.now() + _WATCH)
                continue
            if fault is Fault.NAMESPACE:
                missing_since = missing_since or self._clock.now()
                if self._clock.now() - missing_since >= _PROPAGATION:
                    await self._register()
            tries += 1
            await self._rest(tries)

    async def _connect(self) -> None:
        tries = 0
        while self._client is None:
            try:
                async with asyncio.timeout(_CALL):
                    self._client = await Client.connect(
                        self.address,
                        namespace=self.namespace,
                        data_converter=pydantic_data_converter,
                        runtime=_runtime(),
                    )
            except (RuntimeError, RPCError, TimeoutError) as error:
                tries += 1
                level = logging.WARNING if tries == 1 else logging.DEBUG
                _log.log(level, "cannot connect to Temporal at %s (try %d): %r", self.address, tries, error)
                await self._rest(tries)

    async def _look(self) -> Fault | None:
        """Ask for the namespace: that proves server and namespace, and its id names this very server."""
        request = DescribeNamespaceRequest(namespace=self.namespace)
        try:
            async with asyncio.timeout(_CALL):
                answer = await self.client.workflow_service.describe_namespace(
                    request, timeout=timedelta(seconds=_CALL / 2)
                )
        except (RPCError, TimeoutError) as error:
            self._set_down(error)
            return fault_of(error)
        self._set_up(answer.namespace_info.id)
        return None

    def _set_down(self, error: RPCError | TimeoutError) -> None:
        if self.connected:
            _log.warning("lost Temporal at %s, namespace %s: %r", self.address, self.namespace, error)
        self._up.clear()

    def _set_up(self, namespace_id: str) -> None:
        same = self.connected and self._namespace_id == namespace_id
        self._namespace_id = namespace_id
        self._up.set()
        if not same:
            _log.info("connected to Temporal at %s, namespace %s", self.address, self.namespace)
            for listener in tuple(self._listeners):
                listener()

    async def _register(self) -> None:
        request = RegisterNamespaceRequest(namespace=self.namespace)
        request.workflow_execution_retention_period.FromTimedelta(_RETENTION)
        try:
            async with asyncio.timeout(_CALL):
                await self.client.workflow_service.register_namespace(request)
        except (RPCError, TimeoutError) as error:
            if isinstance(error, RPCError) and error.status is RPCStatusCode.ALREADY_EXISTS:
                return
            _log.error("namespace %s is missing and cannot be registered: %r", self.namespace, error)
        else:
            _log.info("registered namespace %s at %s", self.namespace, self.address)

    async def _rest(self, tries: int) -> None:
        # A doubt must not cut this short: it would turn an outage into a storm of looks.
        await self._clock.wait(asyncio.Event(), self._clock.now() + pause(tries, longest=_LONGEST_PAUSE))
