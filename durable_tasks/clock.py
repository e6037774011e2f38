"""The system's clock and ids: the ports' implementations that production uses.

It must not know what the time or the names are for.
"""

import asyncio
import os
import time


class SystemClock:
    """Wall-clock time. Waiting uses the loop's monotonic clock, at most a minute at a stretch, so that a
    wall clock that jumps is noticed."""

    def now(self) -> float:
        return time.time()

    async def wait(self, event: asyncio.Event, until: float | None) -> bool:
        while not event.is_set():
            left = None if until is None else until - time.time()
            if left is not None and left <= 0:
                return False
            try:
                async with asyncio.timeout(None if left is None else min(left, 60.0)):
                    await event.wait()
            except TimeoutError:
                continue
        return True


class SystemIds:
    """UUIDv7 (RFC 9562 §5.7) with a 12-bit counter in rand_a, so that ids of one process ascend."""

    def __init__(self) -> None:
        self._last = 0

    def task(self) -> str:
        noise = int.from_bytes(os.urandom(10))
        # The counter of a millisecond begins anywhere: from 0 on it would tell how many ids others were given in it.
        stamp = time.time_ns() // 1_000_000 << 12 | noise >> 69
        # A full counter borrows from the next millisecond: order matters more than a millisecond does.
        self._last = stamp = max(stamp, self._last + 1)
        value = (stamp >> 12) << 80 | 0x7000 << 64 | (stamp & 0xFFF) << 64
        value |= 0x8000000000000000 | noise & 0x3FFFFFFFFFFFFFFF
        text = f"{value:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def token(self) -> str:
        return os.urandom(12).hex()
