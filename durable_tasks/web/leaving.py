"""Leaving: a caller who hangs up before a slow answer is there ends the work for it.

It must not know what is asked.
"""

import asyncio
from types import TracebackType

from starlette.requests import Request
from starlette.responses import Response

PATIENCE = 0.05
"""Seconds before anybody looks, and at most twice as many: an answer that is there sooner costs no timer of its own."""


class Looks:
    """Looks, one after another, at the answers of one application that are slow. No timer runs while none is made."""

    def __init__(self) -> None:
        self._new: set[Leaving] = set()
        self._older: set[Leaving] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, leaving: "Leaving") -> None:
        self._new.add(leaving)
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # an application may be started again, on another
            self._loop = loop
            loop.call_later(PATIENCE, self._look, loop)

    def discard(self, leaving: "Leaving") -> None:
        self._new.discard(leaving)
        self._older.discard(leaving)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not loop:
            return
        for leaving in self._older:
            leaving.look(loop)
        self._older, self._new = self._new, set()
        if self._older:
            loop.call_later(PATIENCE, self._look, loop)
        else:
            self._loop = None


class Leaving:
    """Entered around the making of an answer. `gone`: it was given up, for its caller has left."""

    def __init__(self, request: Request, looks: Looks) -> None:
        self.gone = False
        self._request = request
        self._looks = looks
        self._answering: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None

    def __enter__(self) -> "Leaving":
        self._answering = asyncio.current_task()
        self._looks.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._looks.discard(self)
        if self._watching is not None:
            self._watching.cancel()
        if not self.gone or self._answering is None or self._answering.uncancel():
            return False  # somebody else cancelled it too
        return kind is not None and issubclass(kind, asyncio.CancelledError)

    def look(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on see whether the caller hangs up."""
        self._watching = loop.create_task(self._watch(), name="durable_tasks leaving")

    async def _watch(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        if self._answering is not None:
            self._answering.cancel()


def nobody() -> Response:
    """For a connection that is closed."""
    return Response(status_code=499)
