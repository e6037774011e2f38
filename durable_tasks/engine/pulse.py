"""The pulse: a thread that keeps the process's lease while its event loop is blocked, and says what blocks it.

It must not know SQLite, nor who runs handlers: how to renew, and whose code is on the loop, it is told.
"""

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

log = logging.getLogger("durable_tasks.engine")

FRAMES = 3
TELL_EVERY = 60.0
"""Seconds between two complaints of the same silence."""


class Pulse:
    """Asks the event loop for a sign of life every `every` seconds. While it owes one, `renew` is called here, with
    how long the loop has been silent, but not after `longest` seconds: what is silent for so long will not come back,
    and others should have its work. A loop that is not running at all (between two `run_until_complete`) gets no such
    help. Ends with the loop, or with `stop`."""

    def __init__(
        self,
        *,
        every: float,
        longest: float,
        renew: Callable[[float], None],
        culprit: Callable[[], str | None],
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._every = every
        self._longest = longest
        self._steady = steady
        self._renew = renew
        self._culprit = culprit
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._asked_at = 0.0
        self._answered = True
        self._told_at: float | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="durable_tasks pulse", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()

    def _answer(self) -> None:
        """On the loop: it runs."""
        if self._told_at is not None:
            log.warning("the event loop runs again, after %.1f s", self._steady() - self._asked_at)
            self._told_at = None
        self._answered = True

    # ----- below: in the thread

    def _watch(self) -> None:
        while not self._stopped.wait(self._every) and not self._loop.is_closed():
            if self._answered:
                with suppress(RuntimeError):  # it was closed just now
                    self._ask()
            elif self._loop.is_running():
                self._help()

    def _ask(self) -> None:
        self._answered, self._asked_at = False, self._steady()
        self._loop.call_soon_threadsafe(self._answer)

    def _help(self) -> None:
        now = self._steady()
        silent = now - self._asked_at
        if silent < self._longest:
            self._renew(silent)
        if silent < 1.5 * self._every:  # not for what a busy machine does
            return
        if self._told_at is None or now - self._told_at >= TELL_EVERY:
            self._told_at = now
            culprit = self._culprit()
            whose = "" if culprit is None else f" by {culprit}: a blocking call in an async handler; make it `def`"
            log.warning("the event loop has been blocked for %.1f s%s; it is %s", silent, whose, self._place())
            if silent >= self._longest:
                log.critical("the lease of this process is not kept any longer; others may begin what it has")

    def _place(self) -> str:
        """Where the loop's thread is now, innermost call first."""
        frame: FrameType | None = sys._current_frames().get(self._loop_thread)
        if frame is None:
            return "nowhere to be seen"
        stack = traceback.extract_stack(frame)[: -FRAMES - 1 : -1]
        return "in " + ", called by ".join(f"{one.name} ({one.filename}:{one.lineno})" for one in stack)
