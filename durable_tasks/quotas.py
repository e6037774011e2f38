"""Quotas: how much somebody may have of what piles up, counted now and then, and what is left of it between two counts.

They must not know how anything is counted, nor who is held to them.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, Self

from durable_tasks.errors import DurableTasksError, QuotaExceeded
from durable_tasks.ports import Clock
from durable_tasks.settings import Settings

AGAIN = 1.0
"""Seconds for which a count that leaves too little stands: who asks again and again has nothing counted."""
_PARTS = 100
"""One part in so many is given away between two counts, so that counting costs next to nothing of what is given. Each
process on the file counts for itself: all but one may exceed a quota by as much."""
_REMEMBERED = 10_000

Owner = tuple[str, ...]
"""Who has what is counted: an organisation, or a task of one."""


@dataclass(frozen=True, slots=True)
class Limit:
    """`most`: 0 for none. `has`: what its owner has, in words. `retry_after`: seconds after which there may be room by
    itself; None: there will not be."""

    setting: str
    most: int
    has: str
    advice: str
    retry_after: float | None = None

    def refusal(self, owner: Owner, used: int, wanted: int = 1) -> QuotaExceeded:
        has = self.has.format(owner[-1], f"{used} of at most {self.most}")
        return QuotaExceeded(
            f"{has}, which leaves no room for {wanted} more; {self.advice}, or ask whoever runs this server to raise"
            f" {self.setting}",
            quota=self.setting,
            limit=self.most,
            used=used,
            wanted=wanted,
            retry_after=self.retry_after,
        )


@dataclass(slots=True)
class _Seen:
    """What the last count has left to one owner."""

    left: int = 0
    free: int = 0
    """How much of that is given away before the next count."""
    given: int = 0
    over: int = 0
    """How much was ever given to calls, and to those that are over. The difference may not be in the file yet."""
    at: float = float("-inf")
    counted: asyncio.Event | None = None
    """Set at the end of the count that is under way."""


class Allowance:
    """What one call may take of what is left to its owner, while it is entered. What it was refused, others may."""

    __slots__ = ("_given", "_limit", "_owner", "_seen", "left")

    def __init__(self, limit: Limit, owner: Owner, seen: _Seen, wanted: int) -> None:
        self.left = seen.left
        self._limit = limit
        self._owner = owner
        self._seen = seen
        self._given = min(wanted, seen.left)

    def take(self, wanted: int) -> None:
        """Raise QuotaExceeded when that is more than is left."""
        if wanted > self.left:
            raise self._limit.refusal(self._owner, self._limit.most - self.left, wanted)

    def __enter__(self) -> Self:
        self._seen.left -= self._given
        self._seen.free -= self._given
        self._seen.given += self._given
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._seen.over += self._given
        if kind is not None and issubclass(kind, DurableTasksError):
            self._seen.left += self._given
            self._seen.free += self._given


class Quota:
    """What each owner has left of a limit."""

    def __init__(self, limit: Limit, count: Callable[..., Awaitable[int]], clock: Clock) -> None:
        """`count`: how much an owner has."""
        self._limit = limit
        self._count = count
        self._clock = clock
        self._seen: OrderedDict[Owner, _Seen] = OrderedDict()

    async def allow(self, *owner: str, wanted: int = 1, sure: bool = False) -> Allowance:
        """For a call that stores `wanted` more, to be entered at once. `sure`: it does if it is done at all, and is
        refused here; of any other the file knows whether it was done before, or cannot be. Raises QuotaExceeded."""
        if not self._limit.most:
            return Allowance(self._limit, owner, _Seen(left=wanted), wanted)
        seen = self._of(owner)
        while self._is_due(seen, wanted):
            if seen.counted is None:
                await self._look(owner, seen)
                break
            await seen.counted.wait()
        allowance = Allowance(self._limit, owner, seen, wanted)
        if sure:
            allowance.take(wanted)
        return allowance

    def _of(self, owner: Owner) -> _Seen:
        seen = self._seen.get(owner)
        if seen is None:
            seen = self._seen[owner] = _Seen()
            if len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
        else:
            self._seen.move_to_end(owner)
        return seen

    def _is_due(self, seen: _Seen, wanted: int) -> bool:
        """Whether to count: all that was free is given away, or there may be room again."""
        if wanted <= seen.free:
            return False
        return wanted <= seen.left or self._clock.steady() - seen.at >= AGAIN

    async def _look(self, owner: Owner, seen: _Seen) -> None:
        seen.counted, over = asyncio.Event(), seen.over
        try:
            used = await self._count(*owner) + seen.given - over
            seen.left = max(0, self._limit.most - used)
            seen.free = min(seen.left, max(1, self._limit.most // _PARTS))
            seen.at = self._clock.steady()
        finally:
            seen.counted.set()
            seen.counted = None


class Counts(Protocol):
    """What quotas ask of the file."""

    async def count_open(self, org_id: str, most: int) -> int:
        """An organisation's open tasks, as far as `most`."""
        ...

    async def count_comments(self, org_id: str, task_id: str) -> int: ...


class Quotas:
    """Those that one process on a file keeps, as the settings have them."""

    def __init__(self, settings: Settings, counts: Counts, clock: Clock) -> None:
        tasks, comments = settings.most("org_open_tasks"), settings.most("task_comments")
        self.open_tasks = Quota(
            Limit(
                "org_open_tasks",
                tasks,
                "organisation {!r} has {} open tasks",
                "wait until some have ended, or cancel some",
                retry_after=AGAIN,
            ),
            lambda org_id: counts.count_open(org_id, tasks),
            clock,
        )
        self.comments = Quota(
            Limit("task_comments", comments, "task {} has {} comments", "say more in another task"),
            counts.count_comments,
            clock,
        )
