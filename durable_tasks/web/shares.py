"""Shares: how much of this process one organisation, one caller or one address may have: of its connections, its time.

They must not know HTTP, nor what is asked.
"""

import asyncio
import resource
from collections import Counter, OrderedDict
from contextlib import AbstractContextManager, nullcontext

from durable_tasks.access import Principal
from durable_tasks.errors import RateLimited
from durable_tasks.ports import Clock
from durable_tasks.settings import Settings
from durable_tasks.web.buckets import Buckets
from durable_tasks.web.turns import MANY, Company, Turns

MOST_LONG = 1000
"""Waits, and as many streams, of one organisation at a time, where there are descriptors enough for four times that."""
_MOST = 8192
_UNPROVED_RATE = 10.0
"""Requests a second of one address that prove nothing, before more are answered late."""
_QUICK_REFUSALS = 20.0
"""Refusals a second that are answered at once. More come late: who asks again at once costs as much as work does."""
_LATE = 1.0
_REMEMBERED = 10_000
_AGAIN = 1.0
"""Seconds after which somebody who had too much open may try again."""


def raise_descriptor_limit() -> None:
    """As many files and connections as the system allows this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connections() -> int:
    """How many connections there may be: half as many as descriptors. The others are for the file, for Temporal and for
    connections that come and are refused."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if soft == resource.RLIM_INFINITY else max(8, min(_MOST, soft // 2))


def half(most: int) -> int:
    """What one caller may have of his organisation's: he leaves some to the others."""
    return (most + 1) // 2


def give_back(taken: Counter[object], *keys: object) -> None:
    """One of each."""
    for key in keys:
        taken[key] -= 1
        if not taken[key]:
            del taken[key]


class Shares:
    """What is open for whom, how often each has asked, and whose turn it is. Without the setting `limits` only what is
    open counts: descriptors have an end whoever asks."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        room = connections()
        self.org_most, self.caller_most, self.long_most = room // 2, room * 3 // 8, min(MOST_LONG, room // 4)
        """Requests open at once of an organisation, of a caller; waits, and as many streams, of an organisation."""
        self.limited = settings.limits
        self._company = Company(clock.steady)
        self.heads, self.turns = Turns(self._company), Turns(self._company)
        """Whose turn it is to be looked at, until it is proved who asks; and to be worked on."""
        self._clock = clock
        self._open: Counter[object] = Counter()
        self._orgs = Buckets(settings.org_rate, clock.steady)
        self._callers = Buckets(settings.caller_rate, clock.steady)
        self._unproved = Buckets(_UNPROVED_RATE, clock.steady)
        self._refusals = Buckets(_QUICK_REFUSALS, clock.steady)
        self._late_most, self._late = room // 4, 0
        self._proved: OrderedDict[int, str] = OrderedDict()

    def line(self, address: str, proof: str) -> str:
        """With whom a request waits before it is looked at: its organisation's, or, unproved, those of its address."""
        return self._proved.get(hash(proof)) or f"@{address}"

    def proved(self, proof: str, org_id: str) -> None:
        self._company.saw(org_id)
        if proof and self.limited:
            self._proved[hash(proof)] = org_id
            self._proved.move_to_end(hash(proof))
            if len(self._proved) > _REMEMBERED:
                self._proved.popitem(last=False)

    def anonymous(self, line: str) -> None:
        """A request that everybody may make, as those for health and the page: it takes many at once to be company."""
        if self.heads.length(line) > MANY:
            self._company.came()

    async def disproved(self, address: str, proof: str) -> None:
        """Nothing is refused before it was looked at: what others at an address showed says nothing about a proof. It
        is the answer to one that was none that comes late, where there were many."""
        self._company.saw(f"@{address}")
        self._proved.pop(hash(proof), None)
        if self.limited and self._unproved.take(address):
            await self._be_late()

    async def open(self, principal: Principal) -> None:
        """One more request, until `close`. Raises RateLimited."""
        org, caller = principal.org, (principal.org, principal.subject)
        if self.limited:
            wait = self._callers.take(caller) or self._orgs.take(org)
            if wait:
                await self._refuse(org, wait, "you, or your organisation, ask too often")
        if self._open[org] >= self.org_most or self._open[caller] >= self.caller_most:
            await self._refuse(org, _AGAIN, "you, or your organisation, have too many requests open")
        self._open[org] += 1
        self._open[caller] += 1

    def close(self, principal: Principal) -> None:
        give_back(self._open, principal.org, (principal.org, principal.subject))

    def resting(self, org_id: str) -> AbstractContextManager[None]:
        """While a request of the organisation only waits."""
        return self.turns.resting(org_id) if self.limited else nullcontext()

    async def refused(self, org_id: str) -> None:
        """Return when the organisation may be told that it was refused."""
        if self._refusals.take(org_id):
            await self._be_late()

    async def _refuse(self, org_id: str, wait: float, why: str) -> None:
        await self.refused(org_id)
        raise RateLimited(f"{why}; ask again in {wait:.3g} s, and less often", retry_after=round(wait, 3))

    async def _be_late(self) -> None:
        if self._late < self._late_most:
            self._late += 1
            try:
                await self._clock.wait_for(asyncio.Event(), _LATE)
            finally:
                self._late -= 1
