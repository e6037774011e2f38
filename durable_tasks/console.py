"""The console: what an operator does to a file, beside the application that runs it or instead of it.

It must not know SQL, Temporal's client or any surface; it never runs a handler nor a worker.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from durable_tasks.clock import SystemClock, SystemIds
from durable_tasks.contracts import Command, CommandAnswer
from durable_tasks.durations import DurationLike, parse_duration
from durable_tasks.engine.waiters import Waiters
from durable_tasks.errors import Closed, ConfigurationError, TemporalUnavailable, WaitTimeout
from durable_tasks.executor.bridge import Bridge
from durable_tasks.executor.executor import Executor
from durable_tasks.handlers import Handlers
from durable_tasks.models import Engine
from durable_tasks.ports import Clock, DeadLetter
from durable_tasks.settings import Settings
from durable_tasks.store.health import StoreHealth
from durable_tasks.store.store import Store
from durable_tasks.store.transaction import Rules

if TYPE_CHECKING:
    from durable_tasks.temporal.engine import TemporalEngine, TemporalReport
    from durable_tasks.temporal.reconciler import Drift

CONNECT_WITHIN = 5.0
"""Seconds that Temporal may take to answer before the rest is reported without it."""
STUCK_FOR = 30.0
"""Seconds without a move after which an open task is listed with what it waits for."""
MOST_LISTED = 100


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What `durable-tasks doctor` prints. `healthy`: nothing of it needs a person."""

    db: str
    displaced: str | None
    store: StoreHealth
    dead_letters: "list[DeadLetter]"
    temporal: "TemporalReport | None"
    """None: durable mode is off."""
    drift: "list[Drift] | None"
    """None: Temporal could not be asked."""
    said: str | None
    """Why it could not."""

    @property
    def healthy(self) -> bool:
        reached = self.temporal is None or self.drift == []
        return reached and self.displaced is None and not self.dead_letters


class Console:
    """Use it as `async with Console(settings) as console:`. The application may run meanwhile."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        ids = SystemIds()
        rules = Rules(
            instance=f"console-{os.getpid()}-{ids.task()}",
            max_lost=settings.max_lost,
            cancel_grace=settings.cancel_grace,
            switch_grace=settings.switch_grace,
            queue=settings.queue,
            runs_here=settings.worker or not settings.enabled,
            namespace_of=settings.namespace_of,
        )
        self._store = Store(settings.db, clock=self._clock, ids=ids, rules=rules, patience=settings.busy_timeout)
        self._open = AsyncExitStack()

    async def __aenter__(self) -> "Console":
        if not self._settings.db.exists():
            raise ConfigurationError(
                f"there is no file {self._settings.db}; name it with --db or TASKS_DB",
                setting="db",
                value=str(self._settings.db),
            )
        await self._store.open()
        self._open.push_async_callback(self._store.close)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    async def diagnose(self) -> Diagnosis:
        """How both sides stand, as far as Temporal answers within a few seconds."""
        health = await self._store.health(quiet_for=STUCK_FOR, limit=MOST_LISTED)
        letters = await self._store.dead_letters()
        report, drift, said = None, None, None
        if self._settings.enabled or health.engine == Engine.TEMPORAL:
            async with self._looking() as engine:
                try:
                    await engine.wait_connected(CONNECT_WITHIN)
                    drift = await engine.drift()
                except TemporalUnavailable as error:
                    said = error.message
                report = await engine.report()
        return Diagnosis(
            db=str(self._settings.db.resolve()),
            displaced=self._store.displaced,
            store=health,
            dead_letters=letters,
            temporal=report,
            drift=drift,
            said=said,
        )

    async def mend(self) -> None:
        """Reconcile once, without waiting for rows to settle, and send what follows from it unless another process
        does. Raises TemporalUnavailable, ConfigurationError for a displaced file."""
        self._refuse_displaced()
        async with self._looking() as engine:
            await engine.wait_connected(CONNECT_WITHIN)
            await engine.sweep()
            await self._send_all(engine, within=30.0)

    async def dead_letters(self) -> list[DeadLetter]:
        """What Temporal refuses for ever, oldest first."""
        return await self._store.dead_letters()

    async def redrive(self, number: int) -> DeadLetter:
        """Send one again. Raises NotFound, Conflict."""
        return await self._store.redrive(number)

    async def switch(self, wanted: Engine, *, drain: bool, within: DurationLike = "5m") -> None:
        """Hand the open tasks to the engine `wanted`. `drain`: also wait until Temporal was told to end what it ran.
        Raises WaitTimeout, TemporalUnavailable."""
        await self._store.settle_engine(wanted)
        if drain:
            async with self._looking() as engine:
                await engine.wait_connected(CONNECT_WITHIN)
                await self._send_all(engine, within=parse_duration(within))

    async def adopt(self, *, replaces: bool) -> int:
        """Make a copied or restored file one that may speak to Temporal; answers how many tasks start again.
        Raises ConfigurationError when the file is what it was."""
        if self._store.displaced is None:
            raise ConfigurationError(
                f"{self._settings.db} is no copy: nothing is to be adopted", setting="db", value=str(self._settings.db)
            )
        return await self._store.adopt(replaces=replaces)

    def _refuse_displaced(self) -> None:
        if self._store.displaced is not None:
            raise ConfigurationError(
                f"{self._store.displaced}; say whose tasks these are with `durable-tasks adopt`",
                setting="db",
                value=str(self._settings.db),
            )

    @asynccontextmanager
    async def _looking(self) -> "AsyncIterator[TemporalEngine]":
        """Temporal without a worker: an executor without slots begins nothing."""
        from durable_tasks.temporal.engine import TemporalEngine

        store, settings = self._store, self._settings.model_copy(update={"register_namespaces": False})
        executor = Executor(Handlers(), store, self._clock, slots=0, cancel_grace=settings.cancel_grace)
        bridge = Bridge(store, executor, Waiters().waiting, self._clock, _refuse)
        engine = TemporalEngine(settings, store, bridge, store.subscribe, self._clock)
        engine.start(serving=False)
        try:
            yield engine
        finally:
            await engine.stop()

    async def _send_all(self, engine: "TemporalEngine", within: float) -> None:
        """Until the outbox is empty: by the process that relays, or by this one when there is none."""
        await engine.lead(await self._relays_nobody())
        committed = asyncio.Event()
        unsubscribe = self._store.subscribe(lambda notice: committed.set())
        until = self._clock.now() + within
        try:
            while left := await self._unsent():
                if not await self._clock.wait(committed, until):
                    raise WaitTimeout(f"{left} errands to Temporal are still not sent", waiting=left, timeout=within)
                committed.clear()
        finally:
            unsubscribe()

    async def _unsent(self) -> int:
        return sum(outbox.waiting for outbox in (await self._store.health(quiet_for=0, limit=1)).outboxes)

    async def _relays_nobody(self) -> bool:
        now = self._clock.now()
        return all(lease_until <= now for _, lease_until in await self._store.other_processes())


async def _refuse(command: Command, *, namespace: str, workflow_id: str) -> CommandAnswer:
    raise Closed("an operator's console serves no commands")
