"""Buckets: how often somebody may ask, as tokens that come back with time.

They must not know who asks for what.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable

SECONDS = 2.0
"""How much of its rate somebody may have at once."""


class Buckets:
    """One bucket for each key. Those that were not used for longest are forgotten, full or not, above `most`."""

    def __init__(self, rate: float, steady: Callable[[], float], *, most: int = 10_000) -> None:
        self._rate = rate
        self._full = max(1.0, rate * SECONDS)
        self._steady = steady
        self._most = most
        self._of: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def take(self, key: Hashable) -> float:
        """Take one token. 0 when there was one; else the seconds until there is."""
        left, now = self._left(key)
        is_there = left >= 1.0
        self._of[key] = (left - 1.0 if is_there else left, now)
        self._of.move_to_end(key)
        if len(self._of) > self._most:
            self._of.popitem(last=False)
        return 0.0 if is_there else (1.0 - left) / self._rate

    def missing(self, key: Hashable) -> float:
        """The seconds until there is a token; nothing is taken."""
        left, _ = self._left(key)
        return 0.0 if left >= 1.0 else (1.0 - left) / self._rate

    def _left(self, key: Hashable) -> tuple[float, float]:
        now = self._steady()
        left, at = self._of.get(key, (self._full, now))
        left += (now - at) * self._rate
        return (left if left < self._full else self._full), now
