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
    """UUIDv7 (RFC 9562): a millisecond and 74 bits after it, which ascend in one process by random steps (§6.2,
    method 2). A counter would tell each who is given two ids how many others were given between them."""

    def __init__(self) -> None:
        self._last = 0

    def task(self) -> str:
        noise = int.from_bytes(os.urandom(17))
        begun = time.time_ns() // 1_000_000 << 74 | noise >> 64  # in the lowest quarter: the rest is for the steps
        step = 1 + (noise & (1 << 64) - 1)
        # After some 1,500 ids it borrows from the next millisecond: order matters more than a millisecond does.
        self._last = place = max(begun, self._last + step)
        high, low = place >> 62, place & (1 << 62) - 1
        text = f"{(high >> 12) << 80 | 0x7000 << 64 | (high & 0xFFF) << 64 | 1 << 63 | low:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def token(self) -> str:
        return os.urandom(12).hex()
