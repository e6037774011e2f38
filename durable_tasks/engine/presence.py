"""Presence: this process's lease and lock, the death of others, leadership.

It must not know what a process runs.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from durable_tasks.errors import StoreError
from durable_tasks.ports import Clock
from durable_tasks.store.processes import Handles, ProcessLock, is_free, sweep

log = logging.getLogger("durable_tasks.engine")

BEATS_PER_LEASE = 5


class PresenceStore(Protocol):
    """What presence needs of SQLite."""

    async def register(self, lease: float, handles: Handles) -> None: ...

    async def renew(self, lease: float, handles: Handles) -> bool: ...

    async def stand(self, *, relays: bool) -> bool: ...

    async def retire(self, instance: str) -> int: ...

    async def other_processes(self) -> list[tuple[str, float]]: ...


class Presence:
    """Keeps the process row alive and retires those of dead processes."""

    def __init__(
        self,
        store: PresenceStore,
        clock: Clock,
        *,
        db: Path,
        instance: str,
        lease: float,
        relays: bool,
        handles: Callable[[], Handles],
    ) -> None:
        self._store = store
        self._clock = clock
        self._db = db
        self._instance = instance
        self._lease = lease
        self._lock = ProcessLock(db, instance)
        self._relays = relays
        self._handles = handles
        self._renewed_at = clock.now()
        self._never = asyncio.Event()
        self.leading = False
        self.on_declared_dead: Callable[[], None] = lambda: None
        self.on_burial: Callable[[], None] = lambda: None
        self.on_leading: Callable[[bool], None] = lambda leading: None

    async def enter(self) -> None:
        """Take the lock, write the row, and end at once what dead processes left behind."""
        self._lock.acquire()
        try:
            await self._store.register(self._lease, self._handles())
            await self._bury_the_dead(trust_leases=True)
            await self._stand()
        except BaseException:
            self._lock.release()
            raise

    async def leave(self) -> None:
        """Remove the row; another process becomes the leader at its next beat."""
        try:
            await self._store.retire(self._instance)
        finally:
            self._lock.release()

    def drop(self) -> None:
        """Free the lock without a word to the file; others find it free and do the rest."""
        self._lock.release()

    async def beat(self) -> None:
        """Renew, elect and bury, until cancelled."""
        while True:
            await self._clock.wait_for(self._never, self._lease / BEATS_PER_LEASE)
            try:
                await self._renew()
                await self._bury_the_dead(trust_leases=self._is_punctual())
                await self._stand()
            except StoreError as error:
                log.warning(
                    "this process could not renew its lease", extra={"error": error.code, "said": error.message}
                )

    async def _renew(self) -> None:
        if await self._store.renew(self._lease, self._handles()):
            return
        log.error(
            "this process stalled past its lease; its attempts were given away", extra={"instance": self._instance}
        )
        self.on_declared_dead()
        await self._store.register(self._lease, self._handles())

    def _is_punctual(self) -> bool:
        """Whether this renewal came in time. If not, something held up everybody (the application kept the write
        lock, the clock jumped): another's lease that is over then says nothing about that process."""
        before, self._renewed_at = self._renewed_at, self._clock.now()
        return self._renewed_at - before <= self._lease / 2

    async def _bury_the_dead(self, *, trust_leases: bool) -> None:
        for instance, lease_until in await self._store.other_processes():
            if (trust_leases and lease_until <= self._clock.now()) or is_free(self._db, instance):
                lost = await self._store.retire(instance)
                sweep(self._db, instance)
                log.warning("a process is gone", extra={"instance": instance, "lost_attempts": lost})
                self.on_burial()

    async def _stand(self) -> None:
        leading = await self._store.stand(relays=self._relays)
        if leading != self.leading:
            self.leading = leading
            self.on_leading(leading)
