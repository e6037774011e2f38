"""The console: what an operator does to a file, beside the application that runs it or instead of it.

It must not know SQL, Temporal's client or any surface; it never runs a handler nor a worker.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from durable_tasks.access import Principal
from durable_tasks.clock import SystemClock, SystemIds
from durable_tasks.contracts import Command, CommandAnswer
from durable_tasks.diagnosis import CONNECT_WITHIN, MOST_LISTED, STUCK_FOR, Diagnosis, diagnose
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
from durable_tasks.models import Actor, Engine
from durable_tasks.ports import Clock, DeadLetter
from durable_tasks.settings import Settings
from durable_tasks.store import backup as backups
from durable_tasks.store import schema
from durable_tasks.store.health import StoreHealth
from durable_tasks.store.store import Store
from durable_tasks.store.tokens import ApiToken
from durable_tasks.store.transaction import Rules

if TYPE_CHECKING:
    from durable_tasks.temporal.engine import TemporalEngine

MEND_WITHIN = 10.0
"""Seconds that what follows from mending may take to be sent; what is held back or parked is reported instead."""


class Console:
    """Use it as `async with Console(settings) as console:`. The application may run meanwhile."""

    def __init__(self, settings: Settings, clock: Clock | None = None, actor: Actor | None = None) -> None:
        """`actor`: who operates, for the record."""
        self.settings = settings
        self._actor = actor
        self._clock = clock or SystemClock()
        ids = SystemIds()
        rules = Rules.of(settings, instance=f"console-{os.getpid()}-{ids.task()}")
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
        async with AsyncExitStack() as looking:
            speaks = self.settings.enabled or health.engine == Engine.TEMPORAL
            engine = await looking.enter_async_context(self._looking()) if speaks else None
            return await diagnose(self._store, engine, self.settings, self._clock, health)

    async def audit(self, *, deep: bool = False) -> list[str]:
        """What is not what it was when it was stored, in words; the first 1,000. `deep`: also what SQLite finds
        damaged. It goes through the whole file, page by page; nobody is held up. Raises StoreError."""
        return await self._store.audit(deep=deep)

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

    async def redrive(self, letter_id: str) -> DeadLetter:
        """Send one again. Raises NotFound, Conflict."""
        return await self._store.by(self._actor).redrive(letter_id)

    async def switch(self, wanted: Engine, *, drain: bool = False, within: DurationLike = "5m") -> None:
        """Hand the open tasks to the engine `wanted`. `drain`: also wait until Temporal was told to end what it ran.
        Raises WaitTimeout, TemporalUnavailable, and ConfigurationError for a displaced file."""
        if drain or wanted is Engine.TEMPORAL:
            self._refuse_displaced()
        await self._store.by(self._actor).settle_engine(wanted)
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
        return await self._store.by(self._actor).adopt(replaces=replaces)

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
        until = self._clock.steady() + within
        try:
            while left := await self._unsent():
                if not await self._clock.wait_for(committed, until - self._clock.steady()):
                    raise WaitTimeout(
                        f"after {within:g} s there are still {left} messages for Temporal; run it again", waiting=left
                    )
                committed.clear()
        finally:
            unsubscribe()

    async def _unsent(self) -> int:
        return sum(outbox.waiting for outbox in (await self._store.health(quiet_for=0, limit=1)).outboxes)


async def backup(settings: Settings, target: Path, clock: Clock | None = None) -> int:
    """Copy the whole file as it is at one instant, whatever its schema, and check the copy; the size in bytes.
    Writers go on. Raises InvalidInput when `target` exists, StoreError."""
    # The store stays closed: opening it would migrate the file, and a backup is what comes before that.
    _refuse_missing(settings.db)
    return await asyncio.to_thread(backups.copy, settings.db, target, now=(clock or SystemClock()).now())


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
