"""A stream of events: read as they come, and opened again after whatever cut it, without gap or repeat.

It must not know which events are wanted.
"""

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

import httpx

from durable_tasks.client.calls import CONNECT, Calls, jittered, reason
from durable_tasks.client.refusals import error_of, may_pass
from durable_tasks.errors import DurableTasksError, ServerUnavailable
from durable_tasks.models import Event
from durable_tasks.ports import Clock

SHORTEST_REST = 0.1
LONG = 5.0
"""Seconds after which a connection was of use even without an event."""
SILENCE = 45.0
"""Seconds without a byte after which a connection is dead: a server says something every 15."""


@dataclass(slots=True)
class Block:
    """What one empty line ends."""

    id: str | None = None
    data: str | None = None
    retry: str | None = None


async def blocks(chunks: AsyncIterator[bytes]) -> AsyncIterator[Block]:
    """The blocks of a stream (WHATWG HTML, "Server-sent events"). One that a cut has left unfinished is none.

    Lines end by LF or CR LF and by nothing else: a JSON text may hold other characters that some take for ends."""
    rest, block, empty = b"", Block(), True
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            name, _, value = line.decode().removesuffix("\r").partition(":")
            value = value.removeprefix(" ")
            if name == value == "":
                if not empty:
                    yield block
                block, empty = Block(), True
            elif name == "data":
                block.data, empty = value if block.data is None else f"{block.data}\n{value}", False
            elif name == "id":
                block.id, empty = value, False
            elif name == "retry":
                block.retry, empty = value, False


class Stream:
    """The events of one path of the API, after a place."""

    def __init__(self, calls: Calls, clock: Clock, path: str, after: int | None) -> None:
        self._calls = calls
        self._clock = clock
        self._url = f"{calls.url}/v1{path}"
        self._place = None if after is None else str(after)
        self._lived = False
        """Whether the last connection brought an event."""
        self._opened = math.inf
        """When it was answered, if ever: a server that drops every one at once is as good as away."""
        self._rest = SHORTEST_REST
        """Seconds that the server wants clients to wait before they come back."""

    async def follow(self) -> AsyncGenerator[Event, None]:
        """Every event, for ever. Raises what the server refuses, and ServerUnavailable when it was away for longer
        than the client's patience."""
        self._calls.require_open()
        backoff = self._calls.backoff()
        while True:
            self._lived, self._opened = False, math.inf
            try:
                async with aclosing(self._once()) as events:
                    async for event in events:
                        yield event
                failed: DurableTasksError = ServerUnavailable(f"{self._url} ends its streams", url=self._url)
            except httpx.RequestError as error:
                failed = ServerUnavailable(f"{self._url} does not answer: {reason(error)}", url=self._url)
            if self._lived or self._clock.steady() - self._opened > LONG:
                backoff = self._calls.backoff()
                await self._clock.wait_for(asyncio.Event(), jittered(self._rest))
            elif not await backoff.rest():
                raise failed

    async def _once(self) -> AsyncGenerator[Event, None]:
        """What one connection brings."""
        headers = self._calls.headers(Accept="text/event-stream")
        if self._place is not None:
            headers["Last-Event-ID"] = self._place
        timeout = httpx.Timeout(SILENCE, connect=CONNECT)
        async with self._calls.http.stream("GET", self._url, headers=headers, timeout=timeout) as response:
            if not response.is_success:
                await response.aread()
                failed = error_of(response, self._calls.url)
                if may_pass(response, failed):
                    return
                raise failed
            self._opened = self._clock.steady()
            async for block in blocks(response.aiter_bytes()):
                if block.retry is not None and block.retry.isdecimal():
                    self._rest = max(SHORTEST_REST, int(block.retry) / 1000)
                if block.data is not None:
                    self._lived = True
                    yield self._event(block.data)
                if block.id is not None:
                    self._place = block.id

    def _event(self, text: str) -> Event:
        try:
            return Event.model_validate_json(text, extra="ignore")  # a newer server may say more
        except ValueError as error:
            raise ServerUnavailable(
                f"{self._url} streams something else than events; is the address right?", url=self._url
            ) from error
