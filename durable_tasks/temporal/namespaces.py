"""The namespaces in use at the server: whether each exists and lets us in, registered on first use, each on its own.
They must not know organisations, tasks or workers.
"""

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import NamespaceState
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeWorkflowExecutionRequest,
    RegisterNamespaceRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from durable_tasks.ports import Clock
from durable_tasks.temporal.connection import Connection
from durable_tasks.temporal.faults import Fault, fault_of, pause
from durable_tasks.temporal.pace import Pace

T = TypeVar("T")

_log = logging.getLogger(__name__)

_OFTEN = 5.0
"""Seconds between two looks at a namespace in use: a worker hears nothing of one that was deleted."""
_OFTEN_PER_SECOND = 20.0
"""Looks at all that are in use, in sum: the more there are, the longer each waits."""
_RARELY = 120.0
_FORBIDDEN = 30.0
"""Seconds before we ask again where a person has to act first."""
_LONGEST_PAUSE = 10.0
_SOON = 0.5
_AT_ONCE = 0.2
_SETTLING = 15.0
"""Seconds after it came up in which some part of the server may not know it yet, as caches are."""
_PROPAGATION = 2.0
"""Seconds a namespace may be missing before we register it: a booting server answers before its own exist."""
_NOBODY = "durable-tasks/nobody"
"""No Temporal workflow of ours has such an id."""
_RETENTION = timedelta(hours=72)
_LOOKS_PER_SECOND = 100.0
_REGISTRATIONS_PER_SECOND = 10.0


@dataclass(frozen=True, slots=True)
class NamespaceReport:
    """How one namespace stands, for people."""

    namespace: str
    up: bool
    error: str | None
    since: float
    """Unix seconds: since when it has been up, or not."""


class Namespace:
    """One namespace as it was last seen. Whoever calls it says so through `reach`, so that its trouble is noticed."""

    def __init__(self, name: str, connection: Connection, clock: Clock, stir: Callable[[], None]) -> None:
        self.name = name
        self.error: str | None = "not asked for yet"
        self.since = clock.now()
        self.look_at = 0.0
        self.looking = False
        self.tries = 0
        self.missing_since: float | None = None
        self._settled_at = 0.0
        self._lamented = False
        self._id: str | None = None
        self._ready = asyncio.Event()
        self._seen = asyncio.Event()
        self._watchers: set[str] = set()
        self._connection = connection
        self._clock = clock
        self._stir = stir

    @property
    def up(self) -> bool:
        """Whether it exists at a server that answers, as far as known."""
        return self._ready.is_set()

    @property
    def client(self) -> Client:
        """Raises TemporalUnavailable before the first connect."""
        return self._connection.client(self.name)

    async def ready(self) -> Client:
        """Wait until it is up."""
        await self._ready.wait()
        return self.client

    async def seen(self) -> None:
        """Wait until it was looked at once: before that, not being up means nothing."""
        await self._seen.wait()

    async def reach(self, call: Awaitable[T]) -> T:
        """Await one call, for at most ten seconds in all. Raises RPCError, or TimeoutError."""
        try:
            return await self._connection.reach(call)
        except (RPCError, TimeoutError) as error:
            self._doubt(error)
            raise

    @property
    def watched(self) -> bool:
        return bool(self._watchers)

    def watch(self, closely: bool, who: str) -> None:
        """Look at it every few seconds, or rarely: closely as long as anybody wants that."""
        if closely and who not in self._watchers:
            self._watchers.add(who)
            self._look_within(_OFTEN)
        elif not closely:
            self._watchers.discard(who)

    def suspect(self) -> None:
        """Something went wrong that may be its fault: look soon."""
        self._look_within(_SOON)

    def set_up(self, namespace_id: str, *, look_in: float) -> bool:
        """True when it was not up, or is another one than before: what was known of its workflows may be wrong."""
        now = self._clock.steady()
        same = self._id == namespace_id
        came_up = not self.up
        if came_up:
            self.since = self._clock.now()
        if not same:
            self._settled_at = now + _SETTLING
        level = logging.DEBUG if same and not self._lamented else logging.INFO
        if came_up or not same:
            _log.log(level, "the namespace %s at %s is up", self.name, self._connection.address)
        self._id, self.error, self.tries, self.missing_since, self._lamented = namespace_id, None, 0, None, False
        self._ready.set()
        self._seen.set()
        self.look_at = now + look_in
        return came_up or not same

    def set_down(self, error: str, *, look_in: float, hopeful: bool = False) -> None:
        """`hopeful`: it is on its way, or somebody else says what is wrong; nobody needs to be told."""
        if self.up:
            self.since = self._clock.now()
        if not hopeful and not self._lamented:
            self._lamented = True
            _log.warning("the namespace %s cannot be used: %s", self.name, error)
        self.error = error
        self._ready.clear()
        self._seen.set()
        self.look_at = self._clock.steady() + look_in
        self._stir()

    def report(self) -> NamespaceReport:
        return NamespaceReport(self.name, self.up, self.error, self.since)

    def _doubt(self, error: RPCError | TimeoutError) -> None:
        match fault_of(error):
            case Fault.NAMESPACE:
                self.set_down(said_by(error), look_in=_SOON, hopeful=self._clock.steady() < self._settled_at)
            case Fault.FORBIDDEN:
                self.set_down(said_by(error), look_in=_FORBIDDEN)
            case Fault.TRANSIENT:
                self.suspect()
            case _:
                pass  # about one Temporal workflow, not about the namespace

    def _look_within(self, seconds: float) -> None:
        if self.look_at > self._clock.steady() + seconds:
            self.look_at = self._clock.steady() + seconds
            self._stir()


class Namespaces:
    """All namespaces of one connection. Each is looked at, registered and retried alone."""

    def __init__(self, *, connection: Connection, clock: Clock, register: bool) -> None:
        self._connection = connection
        self._clock = clock
        self._register = register
        self._all: dict[str, Namespace] = {}
        self._wake = asyncio.Event()
        self._listeners: list[Callable[[str], None]] = []
        self._looks = Pace(clock, _LOOKS_PER_SECOND)
        self._registrations = Pace(clock, _REGISTRATIONS_PER_SECOND)

    def get(self, name: str) -> Namespace:
        """The namespace of that name; the first time it is asked for, it is looked for at the server."""
        if name not in self._all:
            self._all[name] = Namespace(name, self._connection, self._clock, self._wake.set)
            self._wake.set()
        return self._all[name]

    def on_reset(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Call `listener` with the name of a namespace that came (back) up, or that is another one than before:
        its server may have forgotten everything. The answer unregisters it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def report(self) -> list[NamespaceReport]:
        return [self._all[name].report() for name in sorted(self._all)]

    async def run(self) -> None:
        """Look at each namespace when it is due, until cancelled."""
        unregister = self._connection.on_lost(self._lost)
        try:
            async with asyncio.TaskGroup() as lookers:
                while True:
                    await self._connection.up()
                    self._wake.clear()
                    for namespace in self._due():
                        await self._looks.turn()
                        namespace.looking = True
                        lookers.create_task(self._look(namespace))
                    await self._clock.wait_for(self._wake, self._next_look() - self._clock.steady())
        finally:
            unregister()

    def _lost(self) -> None:
        for namespace in self._all.values():
            why = f"Temporal at {self._connection.address} does not answer"
            namespace.set_down(why, look_in=0.0, hopeful=True)

    def _due(self) -> list[Namespace]:
        now = self._clock.steady()
        return [one for one in self._all.values() if one.look_at <= now and not one.looking]

    def _next_look(self) -> float:
        return min((one.look_at for one in self._all.values() if not one.looking), default=math.inf)

    async def _look(self, namespace: Namespace) -> None:
        request = DescribeNamespaceRequest(namespace=namespace.name)
        service = self._connection.client(namespace.name).workflow_service
        try:
            answer = await self._connection.reach(service.describe_namespace(request, timeout=timedelta(seconds=5)))
            seen = answer.namespace_info
            if seen.state == NamespaceState.NAMESPACE_STATE_DELETED:
                await self._not_seen(namespace, Fault.NAMESPACE, "it is deleted")
            elif not namespace.up and not await self._is_usable(namespace):
                namespace.set_down("it is not yet known to all of the server", look_in=_AT_ONCE, hopeful=True)
            else:
                self._see(namespace, seen.id)
        except (RPCError, TimeoutError) as error:
            await self._not_seen(namespace, fault_of(error), said_by(error))
        finally:
            namespace.looking = False
            self._wake.set()

    async def _is_usable(self, namespace: Namespace) -> bool:
        """Whether other calls work too: for about a second after its registration they do not. Raises RPCError,
        TimeoutError."""
        request = DescribeWorkflowExecutionRequest(
            namespace=namespace.name, execution=WorkflowExecution(workflow_id=_NOBODY)
        )
        service = self._connection.client(namespace.name).workflow_service
        call = service.describe_workflow_execution(request, timeout=timedelta(seconds=5))
        try:
            await self._connection.reach(call)
        except RPCError as error:
            fault = fault_of(error)
            if fault in (Fault.FORBIDDEN, Fault.TRANSIENT):
                raise
            return fault is not Fault.NAMESPACE
        return True

    def _see(self, namespace: Namespace, namespace_id: str) -> None:
        if namespace.set_up(namespace_id, look_in=self._rest_of(namespace)):
            for listener in tuple(self._listeners):
                listener(namespace.name)

    def _rest_of(self, namespace: Namespace) -> float:
        """Jitter, so that a thousand namespaces seen at one start do not stay in step."""
        if not namespace.watched:
            return _RARELY * random.uniform(0.75, 1.0)
        watched = sum(one.watched for one in self._all.values())
        return max(_OFTEN, watched / _OFTEN_PER_SECOND) * random.uniform(0.75, 1.0)

    async def _not_seen(self, namespace: Namespace, fault: Fault, said: str) -> None:
        namespace.tries += 1
        look_in = pause(namespace.tries, longest=_LONGEST_PAUSE)
        if fault is Fault.TRANSIENT and namespace.up and namespace.tries < 2:
            namespace.look_at = self._clock.steady() + look_in  # one failure of one look is no news
            return
        hopeful = False
        if fault is Fault.FORBIDDEN:
            look_in = _FORBIDDEN
        if fault is Fault.NAMESPACE and self._register:
            now = self._clock.steady()
            if namespace.missing_since is None:
                namespace.missing_since = now
            look_in, said, hopeful = _SOON, f"{said} It will be registered.", True
            if now - namespace.missing_since >= _PROPAGATION:
                look_in, said, hopeful = await self._create(namespace)
        namespace.set_down(said, look_in=look_in, hopeful=hopeful)

    async def _create(self, namespace: Namespace) -> tuple[float, str, bool]:
        """Register it. When to look again, what to say of it until then, and whether there is hope."""
        request = RegisterNamespaceRequest(namespace=namespace.name)
        request.workflow_execution_retention_period.FromTimedelta(_RETENTION)
        await self._registrations.turn()
        service = self._connection.client(namespace.name).workflow_service
        try:
            await self._connection.reach(service.register_namespace(request))
        except (RPCError, TimeoutError) as error:
            if not isinstance(error, RPCError) or error.status is not RPCStatusCode.ALREADY_EXISTS:
                said = f"it is missing and cannot be registered: {said_by(error)}"
                return pause(namespace.tries, longest=_LONGEST_PAUSE), said, False
        else:
            _log.info("registered the namespace %s at %s", namespace.name, self._connection.address)
        return _AT_ONCE, "it was registered and is not there yet", True


def said_by(error: RPCError | TimeoutError) -> str:
    return str(error) or type(error).__name__
