"""The connection to Temporal: connects until it succeeds, watches that it stays, bounds every call in time.
It must not know tasks, workflows, SQLite, or whether a namespace exists.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, TypeVar

from temporalio.api.workflowservice.v1 import GetSystemInfoRequest, GetSystemInfoResponse
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from durable_tasks.errors import TemporalUnavailable
from durable_tasks.ports import Clock
from durable_tasks.temporal.converter import CONVERTER
from durable_tasks.temporal.faults import pause
from durable_tasks.temporal.runtime import runtime

T = TypeVar("T")

_log = logging.getLogger(__name__)

_CALL = 10.0
"""Seconds for one call in all. The SDK's own timeout counts per try, and it tries for ten seconds or more."""
_WATCH = 5.0
"""Seconds between two looks at a healthy connection: no event tells that an idle server went away."""
_LONGEST_PAUSE = 5.0
_GONE = (RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED)
"""What the client says when nobody answers; every other status is somebody's answer."""


class Connection:
    """One gRPC connection for one address and all its namespaces. The SDK's client reconnects by itself and
    cannot be closed; this class knows whether somebody answers now."""

    def __init__(self, *, address: str, clock: Clock, options: Mapping[str, Any] | None = None) -> None:
        self.address = address
        self._clock = clock
        self._options = dict(options or {})
        self._first: Client | None = None
        self._clients: dict[str, Client] = {}
        self._up = asyncio.Event()
        self._doubt = asyncio.Event()
        self._listeners: list[Callable[[], None]] = []

    @property
    def answering(self) -> bool:
        """Whether the server answered when it was last asked."""
        return self._up.is_set()

    async def up(self) -> None:
        """Wait until the server answers."""
        await self._up.wait()

    def client(self, namespace: str) -> Client:
        """The client of one namespace, over the connection of all. Raises TemporalUnavailable before the first
        connect."""
        if namespace not in self._clients:
            if self._first is None:
                raise TemporalUnavailable(f"not connected to Temporal at {self.address} yet", address=self.address)
            config = self._first.config()
            config["namespace"] = namespace
            self._clients[namespace] = Client(**config)
        return self._clients[namespace]

    def on_lost(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` when the server no longer answers. The answer unregisters it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def reach(self, call: Awaitable[T]) -> T:
        """Await one call, for at most ten seconds in all. Raises RPCError, or TimeoutError."""
        try:
            async with asyncio.timeout(_CALL):
                return await call
        except (RPCError, TimeoutError) as error:
            if _nobody_answered(error):
                self.suspect()
            raise

    def suspect(self) -> None:
        """Something went wrong that may be the connection's fault: look now."""
        self._doubt.set()

    async def server(self) -> GetSystemInfoResponse:
        """Version and capabilities of the server. Raises TemporalUnavailable, RPCError or TimeoutError."""
        if self._first is None:
            raise TemporalUnavailable(f"not connected to Temporal at {self.address} yet", address=self.address)
        async with asyncio.timeout(_CALL):
            return await self._first.workflow_service.get_system_info(
                GetSystemInfoRequest(), timeout=timedelta(seconds=_CALL / 2)
            )

    async def run(self) -> None:
        """Connect, then watch, until cancelled."""
        await self._connect()
        tries = 0
        while True:
            self._doubt.clear()
            if await self._answers():
                tries = 0
                await self._clock.wait_for(self._doubt, _WATCH)
            else:
                tries += 1
                await self._rest(tries)

    async def _connect(self) -> None:
        tries = 0
        options: dict[str, Any] = {"data_converter": CONVERTER, "runtime": runtime(), **self._options}
        while self._first is None:
            try:
                async with asyncio.timeout(_CALL):
                    self._first = await Client.connect(self.address, **options)
            except (RuntimeError, RPCError, TimeoutError) as error:
                tries += 1
                level = logging.WARNING if tries == 1 else logging.DEBUG
                _log.log(level, "cannot connect to Temporal at %s (try %d): %r", self.address, tries, error)
                await self._rest(tries)

    async def _answers(self) -> bool:
        try:
            await self.server()
        except (RPCError, TimeoutError) as error:
            if _nobody_answered(error):
                self._lose(error)
                return False
        if not self._up.is_set():
            _log.info("connected to Temporal at %s", self.address)
            self._up.set()
        return True

    def _lose(self, error: RPCError | TimeoutError) -> None:
        if not self._up.is_set():
            return
        _log.warning("lost Temporal at %s: %r", self.address, error)
        self._up.clear()
        for listener in tuple(self._listeners):
            listener()

    async def _rest(self, tries: int) -> None:
        # A doubt must not cut this short: it would turn an outage into a storm of looks.
        await self._clock.wait_for(asyncio.Event(), pause(tries, longest=_LONGEST_PAUSE))


def _nobody_answered(error: RPCError | TimeoutError) -> bool:
    return isinstance(error, TimeoutError) or error.status in _GONE
