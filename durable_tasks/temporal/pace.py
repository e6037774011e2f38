"""Pace: a rate that calls of one purpose never exceed, however many there are.
It must not know what is called.
"""

import asyncio

from durable_tasks.ports import Clock


class Pace:
    """Gives out turns in order, at most `per_second` of them, without saving up unused ones."""

    def __init__(self, clock: Clock, per_second: float) -> None:
        self._clock = clock
        self._gap = 1 / per_second
        self._next = 0.0

    async def turn(self) -> None:
        """Wait for one's turn."""
        now = self._clock.steady()
        mine = max(now, self._next)
        self._next = mine + self._gap
        if mine > now:
            await self._clock.wait_for(asyncio.Event(), mine - now)
