"""The console: what an operator does to a file, beside the application that runs it or instead of it.

It must not know SQL, Temporal's client or any surface; it never runs a handler nor a worker.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from durable_tasks.access import Principal
from durable_tasks.clock import SystemClock, SystemIds
from durable_tasks.contracts import Command, CommandAnswer, store_queue
from durable_tasks.durations import DurationLike, parse_duration
from durable_tasks.engine.waiters import Waiters
from durable_tasks.errors import (
    Closed,
    ConfigurationError,
    StoreUnreadable,
    TemporalUnavailable,
    WaitTimeout,
)
from durable_tasks.executor.bridge import Bridge
from durable_tasks.executor.executor import Executor
from durable_tasks.handlers import Handlers
from durable_tasks.models import Engine, Placement
from durable_tasks.ports import Clock, DeadLetter
from durable_tasks.settings import Settings
from durable_tasks.store import backup as backups
from durable_tasks.store import schema
from durable_tasks.store.health import Outbox, StoreHealth, WaitingTask
from durable_tasks.store.store import Store
from durable_tasks.store.tokens import ApiToken
from durable_tasks.store.transaction import Rules

if TYPE_CHECKING:
    from durable_tasks.temporal.engine import TemporalEngine, TemporalReport
    from durable_tasks.temporal.pollers import Queue
    from durable_tasks.temporal.reconciler import Drift

CONNECT_WITHIN = 5.0
"""Seconds that Temporal may take to answer before the rest is reported without it."""
MEND_WITHIN = 10.0
"""Seconds that what follows from mending may take to be sent; what is held back or parked is reported instead."""
STUCK_FOR = 30.0
"""Seconds without a move after which an open task is listed with what it waits for."""
LOOK_AGAIN = 2.0
"""Seconds between the two looks that a difference must outlast: a change may be on its way."""
MOST_LISTED = 100


@dataclass(frozen=True, slots=True)
class Organisation:
    """One organisation's namespace and outbox."""

    org_id: str
    namespace: str
    up: bool | None
    """None: Temporal was not asked."""
    error: str | None
    """Why it is not up."""
    outbox: Outbox


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What `durable-tasks doctor` prints."""

    db: str
    displaced: str | None
    store: StoreHealth
    organisations: list[Organisation]
    dead_letters: "list[DeadLetter]"
    temporal: "TemporalReport | None"
    """None: durable mode is off."""
    queues: "list[Queue]"
    """The workers of the file's own queue, and of those that its waiting external tasks are for."""
    drift: "list[Drift] | None"
    """None: Temporal could not be asked."""
    said: str | None
    """Why it could not."""
    stuck_before: float
    """Unix seconds: what was to be sent before then, and met an error, is stuck."""

    @property
    def unreachable(self) -> bool:
        """Durable mode is on, and Temporal does not answer."""
        return self.temporal is not None and self.temporal.server_version is None

    @property
    def healthy(self) -> bool:
        """Whether nothing of it needs a person."""
        agrees = self.temporal is None or self.drift == []
        return agrees and self.displaced is None and not self.dead_letters and not self.stuck

    @property
    def stuck(self) -> list[Organisation]:
        """Organisations whose outbox has met an error and got no further."""
        return [one for one in self.organisations if one.outbox.error is not None and self._is_old(one.outbox)]

    def _is_old(self, outbox: Outbox) -> bool:
        return outbox.oldest_at is not None and outbox.oldest_at.timestamp() <= self.stuck_before


class Console:
    """Use it as `async with Console(settings) as console:`. The application may run meanwhile."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.settings = settings
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
        _refuse_missing(self.settings.db)  # opening would create it
        await self._store.open()
        self._open.push_async_callback(self._store.close)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    # ----- looking

    async def health(self) -> StoreHealth:
        """How the file stands, without Temporal."""
        return await self._store.health(quiet_for=STUCK_FOR, limit=MOST_LISTED)

    async def diagnose(self) -> Diagnosis:
        """How both sides stand, as far as Temporal answers within a few seconds. Changes nothing."""
        health = await self.health()
        report, drift, said, queues = None, None, None, []
        if self.settings.enabled or health.engine == Engine.TEMPORAL:
            async with self._looking() as engine:
                drift, said = await self._compare(engine)
                report = await engine.report()
                if report.server_version is not None:
                    queues = await self._queues(engine, report, health.waiting)
        return Diagnosis(
            db=str(self.settings.db.resolve()),
            displaced=self._store.displaced,
            store=health,
            organisations=await self._organisations(health.outboxes, report),
            dead_letters=await self._store.dead_letters(),
            temporal=report,
            queues=queues,
            drift=drift,
            said=said,
            stuck_before=self._clock.now() - STUCK_FOR,
        )

    async def _compare(self, engine: "TemporalEngine") -> "tuple[list[Drift] | None, str | None]":
        """What two looks a moment apart both see, or None and why Temporal could not be asked."""
        try:
            await engine.wait_connected(CONNECT_WITHIN)
        except TemporalUnavailable as error:
            # The default namespace may be missing, or forbidden, and the others be well.
            if (await engine.report()).server_version is None:
                return None, error.message
        try:
            seen = await engine.drift()
            if seen:
                await self._clock.wait(asyncio.Event(), self._clock.now() + LOOK_AGAIN)
                again = await engine.drift()
                seen = [one for one in seen if one in again]
        except TemporalUnavailable as error:
            return None, error.message
        return seen, None

    async def _queues(
        self, engine: "TemporalEngine", report: "TemporalReport", waiting: list[WaitingTask]
    ) -> "list[Queue]":
        from durable_tasks.temporal.pollers import pollers

        up = {one.namespace for one in report.namespaces if one.up}
        wanted = {(tenant.namespace, store_queue(engine.file_uuid)): None for tenant in await self._store.tenants()}
        for one in waiting:
            task = await self._store.get(one.org_id, one.task_id)
            if task.placement is Placement.EXTERNAL:
                wanted[self.settings.namespace_of(task.org_id), task.queue or self.settings.queue] = None
        return [await pollers(engine, namespace, queue) for namespace, queue in wanted if namespace in up]

    async def _organisations(self, outboxes: list[Outbox], report: "TemporalReport | None") -> list[Organisation]:
        states = {} if report is None else {one.namespace: one for one in report.namespaces}
        boxes = {outbox.org_id: outbox for outbox in outboxes}
        found = []
        for tenant in await self._store.tenants():
            state = states.get(tenant.namespace)
            up = None if report is None else state is not None and state.up
            error = None if up is not False else "it was not reached" if state is None else state.error
            outbox = boxes.get(tenant.org_id, Outbox(tenant.org_id, 0, None, 0, None))
            found.append(Organisation(tenant.org_id, tenant.namespace, up, error, outbox))
        return found

    # ----- mending

    async def mend(self) -> None:
        """Reconcile once, and send what follows from it; rows that changed in the last half minute are left alone.
        Raises TemporalUnavailable, and ConfigurationError for a displaced file."""
        health = await self.health()
        unsent = any(outbox.waiting for outbox in health.outboxes)
        if not (self.settings.enabled or health.engine == Engine.TEMPORAL or unsent):
            return
        self._refuse_displaced()
        async with self._looking() as engine:
            await engine.wait_connected(CONNECT_WITHIN)
            await engine.sweep()
            with suppress(TemporalUnavailable):
                await engine.drift()  # waits until each namespace was looked at, which the first sweep asked for
            await engine.sweep()
            with suppress(WaitTimeout):
                await self._send_all(engine, within=MEND_WITHIN)

    async def dead_letters(self) -> list[DeadLetter]:
        """What Temporal refuses for ever, oldest first."""
        return await self._store.dead_letters()

    async def redrive(self, number: int) -> DeadLetter:
        """Send one again. Raises NotFound, Conflict."""
        return await self._store.redrive(number)

    async def switch(self, wanted: Engine, *, drain: bool = False, within: DurationLike = "5m") -> None:
        """Hand the open tasks to the engine `wanted`. `drain`: also wait until Temporal was told to end what it ran.
        Raises WaitTimeout, TemporalUnavailable, and ConfigurationError for a displaced file."""
        if drain or wanted is Engine.TEMPORAL:
            self._refuse_displaced()
        await self._store.settle_engine(wanted)
        if drain and await self._unsent():
            async with self._looking() as engine:
                await engine.wait_connected(CONNECT_WITHIN)
                await self._send_all(engine, within=parse_duration(within))

    async def adopt(self, *, replaces: bool) -> int:
        """Make a copied or restored file one that may speak to Temporal; answers how many tasks start again.
        Raises ConfigurationError when the file is what it was."""
        if self._store.displaced is None:
            raise ConfigurationError(
                f"{self.settings.db} is no copy: nothing is to be adopted", setting="db", value=str(self.settings.db)
            )
        return await self._store.adopt(replaces=replaces)

    # ----- API tokens

    async def create_token(self, principal: Principal, digest: bytes, lifetime: float | None) -> ApiToken:
        """Keep what a new token stands for; `durable_tasks.identity.tokens.issue` makes one."""
        return await self._store.create_token(principal, digest, lifetime)

    async def list_tokens(self, org_id: str | None = None) -> list[ApiToken]:
        """Of one organisation, or of all; the oldest first."""
        return await self._store.list_tokens(org_id)

    async def revoke_token(self, token_id: str) -> ApiToken:
        """Refuse it from now on, in every process that has the file open. Raises NotFound."""
        return await self._store.revoke_token(token_id)

    # ----- the file

    @property
    def displaced(self) -> str | None:
        """Why the file may not speak to Temporal, in a sentence."""
        return self._store.displaced

    def _refuse_displaced(self) -> None:
        if self._store.displaced is not None:
            raise ConfigurationError(
                f"{self._store.displaced}; say whose tasks these are with `durable-tasks adopt`",
                setting="db",
                value=str(self.settings.db),
            )

    def _looking(self) -> "AbstractAsyncContextManager[TemporalEngine]":
        return looking(self.settings, self._store, self._clock)

    async def _send_all(self, engine: "TemporalEngine", within: float) -> None:
        """Until the outbox is empty. Another process may send at the same time: each errand counts once."""
        await engine.lead(True)
        committed = asyncio.Event()
        unsubscribe = self._store.subscribe(lambda notice: committed.set())
        until = self._clock.now() + within
        try:
            while left := await self._unsent():
                if not await self._clock.wait(committed, until):
                    raise WaitTimeout(
                        f"after {within:g} s there are still {left} messages for Temporal; run it again", waiting=left
                    )
                committed.clear()
        finally:
            unsubscribe()

    async def _unsent(self) -> int:
        return sum(outbox.waiting for outbox in (await self._store.health(quiet_for=0, limit=1)).outboxes)


async def backup(settings: Settings, target: Path) -> int:
    """Copy the whole file as it is at one instant, whatever its schema, and check the copy; the size in bytes.
    Writers go on. Raises InvalidInput when `target` exists, StoreError."""
    # The store stays closed: opening it would migrate the file, and a backup is what comes before that.
    _refuse_missing(settings.db)
    return await asyncio.to_thread(backups.copy, settings.db, target)


def _refuse_missing(db: Path) -> None:
    if not db.exists():
        raise StoreUnreadable(f"there is no file {db}; name one with --db or TASKS_DB", path=str(db))


async def pending_migrations(settings: Settings) -> list[str]:
    """What the file's schema lacks, by name. Raises StoreError and its kin."""
    return await asyncio.to_thread(schema.pending, settings.db)


async def migrate(settings: Settings, clock: Clock | None = None) -> list[str]:
    """Bring the file's schema up to date, or create the file; what was lacking. Raises StoreError and its kin."""
    now = (clock or SystemClock()).now()
    lacking = await pending_migrations(settings)
    await asyncio.to_thread(schema.prepare, settings.db, now=now, patience=settings.busy_timeout)
    return lacking


@asynccontextmanager
async def looking(settings: Settings, store: Store, clock: Clock) -> "AsyncIterator[TemporalEngine]":
    """Temporal without a worker, beside the processes that have one: an executor without slots begins nothing."""
    from durable_tasks.temporal.engine import TemporalEngine

    settings = settings.model_copy(update={"register_namespaces": False})
    executor = Executor(Handlers(), store, clock, slots=0, cancel_grace=settings.cancel_grace)
    bridge = Bridge(store, executor, Waiters().waiting, clock, _refuse)
    engine = TemporalEngine(settings, store, bridge, executor, store.subscribe, clock)
    engine.start(serving=False)
    try:
        yield engine
    finally:
        await engine.stop()


async def _refuse(command: Command, *, namespace: str, workflow_id: str) -> CommandAnswer:
    raise Closed("an operator's console serves no commands")
