"""Stopping: how an application learns that its server has been told to stop, before the server waits for answers.

It must not know which server that is, nor what is to be ended.
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def told_to_stop(leave: Callable[[], None]) -> Iterator[None]:
    """Call `leave` on the event loop when a signal comes that somebody, mostly the server, takes as a call to stop.

    Servers end the lifespan last, and wait for open answers first: for a stream, without end. Whoever handled the
    signal before still does. Where nobody does, or outside of the main thread, nothing is changed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    listening = [link for number in _SIGNALS if (link := _Link.added(number, loop, leave)) is not None]
    try:
        yield
    finally:
        for link in reversed(listening):
            link.remove()


class _Link:
    """One more handler of a signal, before the one that was there."""

    def __init__(
        self, number: int, loop: asyncio.AbstractEventLoop, leave: Callable[[], None], before: Callable[..., object]
    ) -> None:
        self._number = number
        self._loop = loop
        self._before = before
        self._leave: Callable[[], None] | None = leave

    @classmethod
    def added(cls, number: int, loop: asyncio.AbstractEventLoop, leave: Callable[[], None]) -> "_Link | None":
        before = signal.getsignal(number)
        if not callable(before) or before is signal.default_int_handler:
            return None  # it ends the process, or is ignored: nobody stops in order
        link = cls(number, loop, leave, before)
        signal.signal(number, link)
        signal.siginterrupt(number, False)  # as asyncio has it for its own
        return link

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._leave is not None:
            with suppress(RuntimeError):  # the loop is closed: nothing is open any more
                self._loop.call_soon_threadsafe(self._leave)
        self._before(number, frame)

    def remove(self) -> None:
        """Whoever has put a handler before this one since goes on to call it: then it only hands on."""
        self._leave = None
        current: object = signal.getsignal(self._number)
        if current is self:
            signal.signal(self._number, self._before)
