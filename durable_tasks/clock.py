"""The system's clock and ids: the ports' implementations that production uses.

It must not know what the time or the names are for.
"""

import asyncio
import math
import os
import time
import uuid
from pathlib import Path

LOOK_EVERY = 5.0
"""Seconds after which who waits for an instant looks at the wall clock again: it may have jumped."""


class SystemClock:
    """Implements ports.Clock: the machine's wall clock, and its monotonic clock, which stands while it is suspended."""

    def __init__(self) -> None:
        self._alone = uuid.uuid4().hex

    def now(self) -> float:
        return time.time()

    def steady(self) -> float:
        return time.monotonic()

    def boot(self) -> str:
        """Where the system does not name its start, this clock can be compared with itself only."""
        try:
            started = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            # A container may have a monotonic clock of its own.
            return f"{started} {os.readlink('/proc/self/ns/time')}"
        except OSError:
            return self._alone

    async def wait(self, event: asyncio.Event, until: float | None) -> bool:
        if until is None:
            return await event.wait()
        while (left := until - self.now()) > 0:
            if await self.wait_for(event, min(left, LOOK_EVERY)):
                return True
        return event.is_set()

    async def wait_for(self, event: asyncio.Event, seconds: float) -> bool:
        if not event.is_set():
            try:
                async with asyncio.timeout(None if seconds == math.inf else seconds):
                    await event.wait()
            except TimeoutError:
                return event.is_set()
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
