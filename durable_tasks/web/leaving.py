"""Leaving: a caller who hangs up before a slow answer is there ends the work for it.

It must not know what is asked.
"""

import asyncio
from types import TracebackType

from starlette.requests import Request
from starlette.responses import Response

PATIENCE = 0.05
"""Seconds before anybody looks: an answer that is there sooner costs nothing more than a timer."""


class Leaving:
    """Entered around the making of an answer. `gone`: it was given up, for its caller has left."""

    def __init__(self, request: Request) -> None:
        self.gone = False
        self._request = request
        self._loop = asyncio.get_running_loop()
        self._answering: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None

    def __enter__(self) -> "Leaving":
        self._answering = asyncio.current_task()
        self._timer = self._loop.call_later(PATIENCE, self._look)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._timer.cancel()
        if self._watching is not None:
            self._watching.cancel()
        if not self.gone or self._answering is None or self._answering.uncancel():
            return False  # somebody else cancelled it too
        return kind is not None and issubclass(kind, asyncio.CancelledError)

    def _look(self) -> None:
        self._watching = self._loop.create_task(self._watch(), name="durable_tasks leaving")

    async def _watch(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        if self._answering is not None:
            self._answering.cancel()


def nobody() -> Response:
    """For a connection that is closed."""
    return Response(status_code=499)
