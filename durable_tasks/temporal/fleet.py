"""The fleet: the few store workers of this process, started where there is work and parked where there is none.
It must not know what the workers run, nor what the relay sends.
"""

import asyncio
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest, DescribeTaskQueueResponse
from temporalio.service import RPCError

from durable_tasks.ports import Clock, Notice, SubmissionStore, Subscribe
from durable_tasks.temporal.faults import pause
from durable_tasks.temporal.namespaces import Namespace, Namespaces
from durable_tasks.temporal.pace import Pace
from durable_tasks.temporal.worker import StoreWorker

_log = logging.getLogger(__name__)

_SLICE = 3.0
"""Seconds a worker with work to do is left alone though another namespace waits for one."""
_GLANCE = 1.0
"""The same for one that found nothing to do."""
_LEARN = 1.0
"""Seconds between two looks at who is busy, while commits say that it may have changed."""
_LEARN_ANYWAY = 30.0
_STILL_THERE = 5.0
"""Seconds between two looks at whether the namespaces of our workers are up."""
_LASTED = 60.0
"""Seconds after which a worker that ends by itself is the first again."""
_PROBE_BUSY = 2.0
_PROBE_QUIET = 30.0
_PROBES_PER_SECOND = 20.0
_PROBE_CALL = timedelta(seconds=2)
_TYPES = (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY)


@dataclass(eq=False, slots=True)
class _Shift:
    """One worker from start to park."""

    worker: StoreWorker
    task: asyncio.Task[None]
    since: float
    leaving: bool = False


class Fleet:
    """At most `most` workers at a time. Without one a namespace loses only promptness: its embedded tasks run all
    the same, and what Temporal has for us waits in its queue, where the probes find it."""

    def __init__(
        self,
        *,
        store: SubmissionStore,
        namespaces: Namespaces,
        build: Callable[[Namespace], StoreWorker],
        queue: str,
        subscribe: Subscribe,
        clock: Clock,
        most: int,
        idle: float,
        note_failure: Callable[[str], None] = lambda part: None,
    ) -> None:
        self._store = store
        self._namespaces = namespaces
        self._build = build
        self._queue = queue
        self._subscribe = subscribe
        self._clock = clock
        self._most = most
        self._idle = idle
        self._note_failure = note_failure
        self._shifts: dict[str, _Shift] = {}
        self._waiting: dict[str, None] = {}
        """Who wants a worker, in the order of asking."""
        self._busy: frozenset[str] = frozenset()
        self._rested: set[str] = set()
        """Busy ones whose last shift had nothing to do: a probe, not their being busy, brings them back."""
        self._probe_at: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        """Of workers that ended by themselves, in a row."""
        self._resting: dict[str, float] = {}
        """Until when their namespaces are given no other."""
        self._stale = True
        self._learnt_at = -math.inf
        self._wake = asyncio.Event()
        self._changed = asyncio.Event()
        """Who is parked has changed."""
        self._probes = Pace(clock, _PROBES_PER_SECOND)

    @property
    def live(self) -> list[str]:
        """The namespaces that have a worker now."""
        return sorted(name for name, shift in self._shifts.items() if not shift.leaving)

    def need(self, name: str) -> None:
        """There is, or will be, something to do in this namespace."""
        shift = self._shifts.get(name)
        if shift is not None and not shift.leaving:
            shift.worker.expect()
        elif name not in self._waiting:
            self._rested.discard(name)
            self._waiting[name] = None
            self._wake.set()

    async def run(self) -> None:
        """Give workers to those who need them, until cancelled. Raises StoreError."""
        unsubscribe = self._subscribe(self._noticed)
        unregister = self._namespaces.on_reset(lambda name: self._wake.set())
        try:
            async with asyncio.TaskGroup() as parts:
                parts.create_task(self._probe())
                while True:
                    self._wake.clear()
                    await self._learn()
                    self._park_idle()
                    self._hire()
                    self._watch()
                    await self._clock.wait_for(self._wake, self._next_look() - self._clock.steady())
        finally:
            unsubscribe()
            unregister()
            await self._disband()

    def _noticed(self, notice: Notice) -> None:
        if (notice.outbox or notice.foreign) and not self._stale:
            self._stale = True
            self._wake.set()

    async def _learn(self) -> None:
        """Ask the store who is busy, if that may have changed."""
        now = self._clock.steady()
        if now - self._learnt_at < (_LEARN if self._stale else _LEARN_ANYWAY):
            return
        self._stale, self._learnt_at = False, now
        tenants = await self._store.tenants()
        self._busy = frozenset(tenant.namespace for tenant in tenants if tenant.busy)
        self._rested &= self._busy
        for tenant in tenants:
            self._namespaces.get(tenant.namespace)
            self._probe_at.setdefault(tenant.namespace, now)
        room = self._most - len(self._shifts) - len(self._waiting)
        for name in sorted(self._busy - self._shifts.keys() - self._waiting.keys()):
            if name not in self._rested or room > 0:
                self.need(name)
                room -= 1
        self._changed.set()

    def _park_idle(self) -> None:
        for name, shift in self._shifts.items():
            if not self._namespaces.get(name).up:
                self._park(name, shift)
                self._waiting.setdefault(name)
            elif name not in self._busy and shift.worker.quiet_for >= self._idle:
                self._park(name, shift)

    def _hire(self) -> None:
        now = self._clock.steady()
        self._resting = {name: until for name, until in self._resting.items() if until > now}
        wanting = [name for name in self._waiting if self._namespaces.get(name).up and name not in self._resting]
        for name in wanting:
            if len(self._shifts) >= self._most:
                break
            if name not in self._shifts:
                self._start(name)
        unserved = sum(name in self._waiting for name in wanting)
        leaving = sum(shift.leaving for shift in self._shifts.values())
        self._evict(unserved - leaving)

    def _watch(self) -> None:
        """One in which something is open is looked at often, even without a worker: it may have been deleted."""
        for name in self._probe_at.keys() | self._shifts.keys() | self._waiting.keys():
            in_use = name in self._shifts or name in self._waiting or name in self._busy
            self._namespaces.get(name).watch(in_use, "fleet")

    def _evict(self, count: int) -> None:
        """Make room for those who wait: first who has no work, then who found none, then who had a worker longest."""
        if count <= 0 or len(self._shifts) < self._most:
            return
        now = self._clock.steady()
        ranked = sorted(
            (self._usefulness(name, shift), shift.since, name)
            for name, shift in self._shifts.items()
            if not shift.leaving
        )
        due = [(useful, name) for useful, since, name in ranked if now - since >= (_SLICE if useful == 2 else _GLANCE)]
        for useful, name in due[:count]:
            self._park(name, self._shifts[name])
            if useful == 2:
                self._waiting.setdefault(name)
            elif useful == 1:
                self._rested.add(name)

    def _usefulness(self, name: str, shift: _Shift) -> int:
        if shift.worker.quiet_for < _GLANCE:
            return 2
        return 1 if name in self._busy else 0

    def _start(self, name: str) -> None:
        namespace = self._namespaces.get(name)
        worker = self._build(namespace)
        task = asyncio.create_task(worker.run(), name=f"temporal worker in {name}")
        self._shifts[name] = _Shift(worker, task, self._clock.steady())
        self._waiting.pop(name, None)
        task.add_done_callback(lambda ended: self._ended(name, ended))

    def _park(self, name: str, shift: _Shift) -> None:
        if not shift.leaving:
            shift.leaving = True
            shift.task.cancel()

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        shift = self._shifts.pop(name)
        self._probe_at[name] = self._clock.steady() + _PROBE_BUSY
        if not shift.leaving and not task.cancelled():
            self._failed(name, shift, task.exception())
        self._changed.set()
        self._wake.set()

    def _failed(self, name: str, shift: _Shift, error: BaseException | None) -> None:
        """Another worker is given to the namespace after a pause: what ends at once would else begin for ever."""
        now = self._clock.steady()
        self._failures[name] = 1 if now - shift.since > _LASTED else self._failures.get(name, 0) + 1
        rest = pause(self._failures[name])
        self._resting[name] = now + rest
        self._note_failure("temporal worker")
        _log.error("the worker in %s ended by itself; another begins in %.1f s", name, rest, exc_info=error)
        self._waiting.setdefault(name)

    async def _disband(self) -> None:
        for name, shift in self._shifts.items():
            self._park(name, shift)
        await asyncio.gather(*(shift.task for shift in self._shifts.values()), return_exceptions=True)

    def _next_look(self) -> float:
        now = self._clock.steady()
        instants = [self._learnt_at + (_LEARN if self._stale else _LEARN_ANYWAY), *self._resting.values()]
        if self._shifts:
            instants.append(now + _STILL_THERE)
        for name, shift in self._shifts.items():
            if name not in self._busy:
                instants.append(now + max(self._idle - shift.worker.quiet_for, 0.0))
            if self._waiting:
                instants += (shift.since + span for span in (_GLANCE, _SLICE))
        # What is past has been dealt with as far as it could be.
        return min((instant for instant in instants if instant > now), default=now + _GLANCE)

    # ----- probes

    async def _probe(self) -> None:
        """Ask Temporal, slowly and in turn, whether something waits for a parked namespace."""
        while True:
            self._changed.clear()
            due = self._next_probe()
            wait = math.inf if due is None else due[0] - self._clock.steady()
            if due is None or wait > 0:
                await self._clock.wait_for(self._changed, wait)
                continue
            name = due[1]
            busy = name in self._busy
            self._probe_at[name] = self._clock.steady() + (_PROBE_BUSY if busy else _PROBE_QUIET)
            if await self._has_backlog(self._namespaces.get(name)):
                self.need(name)

    def _next_probe(self) -> tuple[float, str] | None:
        return min(
            (
                (at, name)
                for name, at in self._probe_at.items()
                if name not in self._shifts and name not in self._waiting and self._namespaces.get(name).up
            ),
            default=None,
        )

    async def _has_backlog(self, namespace: Namespace) -> bool:
        for kind in _TYPES:
            await self._probes.turn()
            try:
                seen = await namespace.reach(describe_queue(namespace, self._queue, kind))
            except (RPCError, TimeoutError) as error:
                _log.info("cannot probe the namespace %s: %r", namespace.name, error)
                return False
            if seen.stats.approximate_backlog_count:
                return True
        return False

    async def pollers(self, namespace: Namespace) -> int:
        """How many workers, of all processes, ask for our Temporal workflows there. Raises RPCError, TimeoutError."""
        seen = await namespace.reach(describe_queue(namespace, self._queue, _TYPES[0]))
        return len(seen.pollers)


async def describe_queue(namespace: Namespace, queue: str, kind: TaskQueueType.ValueType) -> DescribeTaskQueueResponse:
    request = DescribeTaskQueueRequest(
        namespace=namespace.name, task_queue=TaskQueue(name=queue), task_queue_type=kind, report_stats=True
    )
    return await namespace.client.workflow_service.describe_task_queue(request, timeout=_PROBE_CALL)
