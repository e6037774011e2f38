"""Presence: this process's lease and lock, the death of others, leadership.

It must not know what a process runs.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from durable_tasks.engine.peers import PeerSight
from durable_tasks.engine.pulse import Pulse
from durable_tasks.errors import StoreError
from durable_tasks.ports import Clock, Ids, Notice, Peer
from durable_tasks.store.processes import Handles, ProcessLock, is_free, sweep

log = logging.getLogger("durable_tasks.engine")

BEATS_PER_LEASE = 5
LEASES_IN_SILENCE, LEAST_IN_SILENCE = 20, 600.0
"""For so many leases, and so many seconds at least, a blocked event loop keeps what it has: its handler lives, and
begun elsewhere too it would run twice. One that is blocked for longer counts as hung."""


class PresenceStore(Protocol):
    """What presence needs of SQLite."""

    @property
    def instance(self) -> str: ...

    def rename(self, instance: str) -> None: ...

    async def register(self, lease: float, handles: Handles) -> None: ...

    async def renew(self, lease: float, handles: Handles) -> bool: ...

    def keep(self, lease: float) -> None: ...

    async def stand(self, *, relays: bool) -> bool: ...

    async def retire(self, instance: str) -> int: ...

    async def peers(self) -> list[Peer]: ...


class Presence:
    """Keeps the process row alive and retires those of dead processes."""

    def __init__(
        self,
        store: PresenceStore,
        clock: Clock,
        ids: Ids,
        *,
        db: Path,
        lease: float,
        relays: bool,
        handles: Callable[[], Handles],
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._db = db
        self._lease = lease
        self._lock = ProcessLock(db, store.instance)
        self._relays = relays
        self._handles = handles
        self._sight = PeerSight(lease)
        self._pulse: Pulse | None = None
        self._buried = asyncio.Event()
        self.leading = False
        self.on_declared_dead: Callable[[], Awaitable[None]]
        """Stops what runs here, and answers when it has ended or was given up."""
        self.on_burial: Callable[[], None] = lambda: None
        self.on_leading: Callable[[bool], None] = lambda leading: None
        self.culprit: Callable[[], str | None] = lambda: None
        """Whose code is on the event loop, asked from another thread."""

    async def enter(self) -> None:
        """Take the lock, write the row, and end at once what dead processes left behind. Those that hold their lock
        live: whoever has only just come has not seen them stall."""
        self._lock.acquire()
        try:
            await self._store.register(self._lease, self._handles())
            await self._bury_the_dead()
            await self._stand()
        except BaseException:
            self._lock.release()
            raise
        self._pulse = Pulse(
            every=self._lease / BEATS_PER_LEASE,
            longest=max(LEASES_IN_SILENCE * self._lease, LEAST_IN_SILENCE),
            renew=lambda silent: self._store.keep(self._lease),
            culprit=self.culprit,
        )
        self._pulse.start()

    async def leave(self) -> None:
        """Remove the row; another process becomes the leader at its next beat."""
        try:
            await self._store.retire(self._store.instance)
        finally:
            self.drop()

    def drop(self) -> None:
        """Free the lock without a word to the file; others find it free and do the rest."""
        if self._pulse is not None:
            self._pulse.stop()
        self._lock.release()

    def heed(self, notice: Notice) -> None:
        if notice.buried:
            self._buried.set()

    async def beat(self) -> None:
        """Renew, elect and bury, until cancelled."""
        while True:
            await self._clock.wait_for(self._buried, self._lease / BEATS_PER_LEASE)
            try:
                if not await self._store.renew(self._lease, self._handles()):
                    await self._begin_anew()
                await self._bury_the_dead()
                await self._stand()
            except StoreError as error:
                log.warning(
                    "this process could not renew its lease", extra={"error": error.code, "said": error.message}
                )

    async def _begin_anew(self) -> None:
        """Another process has declared this one dead and given its attempts away. It takes no work while it has no
        row: first what still runs must end, then it comes back under a name of which nothing is left anywhere."""
        log.error(
            "this process stalled past its lease; its attempts were given away and are stopped here",
            extra={"instance": self._store.instance},
        )
        self._lead(False)
        await self.on_declared_dead()
        fresh = ProcessLock(self._db, self._ids.task())
        fresh.acquire()
        self._lock.release()
        self._lock = fresh
        self._store.rename(fresh.instance)
        await self._store.register(self._lease, self._handles())
        self._buried.clear()
        self.on_burial()

    async def _bury_the_dead(self) -> None:
        peers = await self._store.peers()
        stalled = self._sight.stalled(peers, self._clock.steady())
        for peer in peers:
            if peer.instance in stalled or is_free(self._db, peer.instance):
                lost = await self._store.retire(peer.instance)
                sweep(self._db, peer.instance)
                log.warning("a process is gone", extra={"instance": peer.instance, "lost_attempts": lost})
                self.on_burial()

    async def _stand(self) -> None:
        self._lead(await self._store.stand(relays=self._relays))

    def _lead(self, leading: bool) -> None:
        if leading != self.leading:
            self.leading = leading
            self.on_leading(leading)
