"""A channel: the newest events of one organisation, read once per commit and kept at hand for everybody who listens.

It must not know HTTP or who listens: a listener keeps its own place and asks for what comes after it.
"""

import asyncio
from collections import deque
from dataclasses import dataclass

from durable_tasks.engine.waiters import Waiters, org_key
from durable_tasks.models import Event
from durable_tasks.ports import Clock
from durable_tasks.store.store import Store

PAGE = 500
"""Events that one read of SQLite brings."""
KEEP = 2000
KEEP_BYTES = 4 * 1024 * 1024
"""What is kept at hand. Who is further behind reads SQLite by himself."""
FEW = 10
"""Listeners who are told without a pause."""
AT_ONCE = 10
"""Listeners who are told in one turn of the event loop: whoever else has something to do there comes between."""
EACH = 0.001
LONGEST_PAUSE = 0.25
"""Seconds between two rounds of news to more than a few: so many for each listener, and at most. Telling a thousand
costs the event loop a tenth of a second, and others wait for it."""
BATCH = 100
"""Messages that one listener gets at once: it bounds what waits for a slow one."""


@dataclass(frozen=True, slots=True)
class Message:
    """An event as it is sent: encoded once for all."""

    seq: int
    task_id: str | None
    workflow_id: str | None
    text: bytes

    @classmethod
    def of(cls, event: Event) -> "Message":
        text = f"id: {event.seq}\nevent: {event.kind}\ndata: {event.model_dump_json()}\n\n"
        return cls(event.seq, event.task_id, event.workflow_id, text.encode())


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events of the organisation: those of a task or of a workflow with its tasks; else all."""

    task_id: str | None = None
    workflow_id: str | None = None

    def takes(self, message: Message) -> bool:
        return self.task_id in (None, message.task_id) and self.workflow_id in (None, message.workflow_id)


class Channel:
    """Nothing is queued per listener: a slow one costs no memory and holds up nobody."""

    def __init__(self, org_id: str, store: Store, waiters: Waiters, clock: Clock) -> None:
        self.org_id = org_id
        self.ended = False
        self.position = 0
        """The number of the newest event that was read; those before may be read in SQLite."""
        self._store = store
        self._waiters = waiters
        self._clock = clock
        self._over = asyncio.Event()
        self._happened: asyncio.Event | None = None
        self._listeners: dict[asyncio.Event, None] = {}
        self._untold: deque[asyncio.Event] = deque()
        self._recent: list[Message] = []
        self._size = 0

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    def join(self) -> asyncio.Event:
        """One more listens. His event is set when there is more, or the end: clear it, and then look."""
        news = asyncio.Event()
        self._listeners[news] = None
        return news

    def leave(self, news: asyncio.Event) -> None:
        del self._listeners[news]
        if not self._listeners and self._happened is not None:
            self._happened.set()

    def end(self) -> None:
        self.ended = True
        self._over.set()
        if self._happened is not None:
            self._happened.set()
        self._tell()

    async def read(self) -> None:
        """Read on while anybody listens. Raises StoreError, Closed."""
        with self._waiters.waiting(org_key(self.org_id)) as self._happened:
            self.position = await self._store.last_seq(self.org_id)
            self._tell()
            while self._listeners and not self.ended:
                self._happened.clear()
                page = await self._store.events(self.org_id, after=self.position, limit=PAGE)
                if page:
                    self._keep([Message.of(event) for event in page])
                    await self._pause()
                if len(page) < PAGE:
                    await self._happened.wait()

    async def _pause(self) -> None:
        if self.listeners > FEW:
            await self._clock.wait_for(self._over, min(self.listeners * EACH, LONGEST_PAUSE))

    def after(self, place: int, wanted: Wanted) -> tuple[list[Message], int] | None:
        """What is wanted of the messages after `place`, and the place that this leads to; no message: there is
        nothing more. None when it is too far back to be at hand."""
        start = place - (self.position - len(self._recent))  # numbers have no gaps
        if start < 0 or self.position == 0:
            return None
        found: list[Message] = []
        for message in self._recent[start:]:
            place = message.seq
            if wanted.takes(message):
                found.append(message)
                if len(found) == BATCH:
                    break
        return found, place

    def _keep(self, messages: list[Message]) -> None:
        self._recent += messages
        self._size += sum(len(message.text) for message in messages)
        self.position = messages[-1].seq
        while len(self._recent) > KEEP or self._size > KEEP_BYTES:
            half = (len(self._recent) + 1) // 2
            self._size -= sum(len(message.text) for message in self._recent[:half])
            del self._recent[:half]
        self._tell()

    def _tell(self) -> None:
        is_telling = bool(self._untold)
        self._untold = deque(self._listeners)
        if not is_telling:
            self._tell_some()

    def _tell_some(self) -> None:
        for _ in range(min(AT_ONCE, len(self._untold))):
            self._untold.popleft().set()
        if self._untold:
            asyncio.get_running_loop().call_soon(self._tell_some)
