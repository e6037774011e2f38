"""Live events: streams (SSE) that replay from SQLite what a client missed and go on with what happens.

It must not know who may look at which organisation beyond the caller it is given, nor the server that sends.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Message as Sent
from starlette.types import Receive, Scope, Send

from durable_tasks.access import Principal, Role
from durable_tasks.app import DurableTasks
from durable_tasks.errors import Closed, Forbidden, StoreError
from durable_tasks.models import Event
from durable_tasks.operations.operation import Caller
from durable_tasks.web.callers import Callers
from durable_tasks.web.channel import Channel, Message, Wanted
from durable_tasks.web.document import SECURITY, STREAM, refused
from durable_tasks.web.problems import too_many
from durable_tasks.web.shares import give_back, half
from durable_tasks.web.visit import Visit

log = logging.getLogger("durable_tasks.web")

KEEPALIVE = 15.0
"""Seconds of silence after which a comment is sent: proxies close what is silent."""
LONGEST = 30 * 60.0
"""Seconds after which a stream ends and its client comes back: it does not outlive deploys."""
CHECK = 5.0
"""Seconds after which it is looked again whether the client may still listen."""
RETRY = 2000
"""Milliseconds that a client waits before it comes back."""
PATIENCE = 30.0
"""Seconds that a client may take for what it was sent; then it is cut off."""
REPLAY_PAGE = 200
REPLAYS = 4
"""Replays that read SQLite at once: many clients that come back together must not keep other readers waiting."""

MayListen = Callable[[], Awaitable[bool]]
"""Whether who opened a stream may listen still."""
Place = Annotated[int | None, Query(ge=0, description="Replay what comes after this event; the header goes first.")]
LastEventId = Annotated[
    int | None, Header(alias="Last-Event-ID", ge=0, description="The last event that the client has.")
]


class Live:
    """The streams of one DurableTasks. Each organisation that somebody looks at is read once for all."""

    def __init__(self, tasks: DurableTasks, most: int) -> None:
        """`most`: streams of one organisation at a time, of which one caller may have half."""
        self._most = most
        self.patience = PATIENCE
        self._tasks = tasks
        self._channels: dict[str, Channel] = {}
        self._of: Counter[object] = Counter()
        self._readers: set[asyncio.Task[None]] = set()
        self._replays = asyncio.Semaphore(REPLAYS)
        self._closed = False

    @property
    def streams(self) -> int:
        """How many clients are listening now."""
        return sum(channel.listeners for channel in self._channels.values())

    def close(self) -> None:
        """End every stream, and any later one at once: a server cannot stop before its streams do. Idempotent."""
        self._closed = True
        for channel in self._channels.values():
            channel.end()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While streams may be opened: again, when an application starts again. At the end nothing is read any more."""
        self._replays, self._closed = asyncio.Semaphore(REPLAYS), False
        try:
            yield
        finally:
            self.close()
            await asyncio.gather(*self._readers)

    async def begin(
        self, principal: Principal, wanted: Wanted, place: int | None, may_listen: "MayListen"
    ) -> "EventStream":
        """The stream of what comes after `place`. Raises Refusal, StoreError, Closed."""
        org_id, caller = principal.org, (principal.org, principal.subject)
        if self._of[org_id] >= self._most:
            raise too_many(f"organisation {org_id!r} listens {self._most} times already; let some end first")
        if self._of[caller] >= half(self._most):
            raise too_many(f"{principal.subject!r} listens {half(self._most)} times already; let some end first")
        self._of.update((org_id, caller))  # now: many may ask at once
        over = partial(give_back, self._of, org_id, caller)
        try:
            newest = await self._tasks.store.last_seq(org_id)
        except BaseException:
            over()
            raise
        # A number that does not exist yet comes from a file that was restored since: what it stands for is gone.
        place = newest if place is None else min(place, newest)
        return EventStream(self.follow(org_id, wanted, place, may_listen), patience=self.patience, over=over)

    async def follow(
        self, org_id: str, wanted: Wanted, place: int, may_listen: "MayListen"
    ) -> AsyncGenerator[bytes, None]:
        """Events after `place` as SSE, and then those to come, each once and in order."""
        clock = self._tasks.clock
        ends, checks = clock.steady() + LONGEST, clock.steady() + CHECK
        yield b"retry: %d\nid: %d\n\n" % (RETRY, place)
        with self._listening(org_id) as (channel, news):
            speaks = clock.steady() + KEEPALIVE
            while not (channel.ended or self._closed) and clock.steady() < ends:
                news.clear()
                if clock.steady() >= checks:
                    if not await may_listen():
                        break
                    checks = clock.steady() + CHECK
                found = await self._next(channel, wanted, place)
                if found is None:
                    break
                messages, place = found
                if messages:
                    yield b"".join(message.text for message in messages)
                elif clock.steady() < min(speaks, ends):
                    await clock.wait_for(news, min(speaks, ends, checks) - clock.steady())
                    continue
                else:
                    yield b": still here\n\n"
                speaks = clock.steady() + KEEPALIVE
        # A client of a part of the events is ahead of the last that it was sent: it need not search them again.
        yield b"id: %d\n\n" % place

    async def _next(self, channel: Channel, wanted: Wanted, place: int) -> tuple[list[Message], int] | None:
        """What comes after `place`, and where that leads to. None when it cannot be read: the client comes back."""
        found = channel.after(place, wanted)
        if found is not None:
            return found
        try:
            position = channel.position
            page = await self._replayed(channel.org_id, wanted, place)
        except (Closed, StoreError) as error:
            log.warning("a replay of events ended early", extra={"org": channel.org_id, "error": error.code})
            return None
        return [Message.of(event) for event in page], page[-1].seq if page else max(place, position)

    async def _replayed(self, org_id: str, wanted: Wanted, place: int) -> list[Event]:
        async with self._replays:
            return await self._tasks.store.events(
                org_id, after=place, limit=REPLAY_PAGE, task_id=wanted.task_id, workflow_id=wanted.workflow_id
            )

    @contextmanager
    def _listening(self, org_id: str) -> Iterator[tuple[Channel, asyncio.Event]]:
        channel = self._channels.get(org_id)
        if channel is None:
            store, waiters, clock = self._tasks.store, self._tasks.waiters, self._tasks.clock
            channel = self._channels[org_id] = Channel(org_id, store, waiters, clock)
            reader = asyncio.create_task(self._read(channel), name=f"durable_tasks events of {org_id}")
            self._readers.add(reader)
            reader.add_done_callback(self._readers.discard)
        news = channel.join()
        try:
            yield channel, news
        finally:
            channel.leave(news)

    async def _read(self, channel: Channel) -> None:
        try:
            await channel.read()
        except Closed:
            log.debug("events are not read any more: durable_tasks has stopped")
        except Exception:  # whatever it was, streams that never end would look like an organisation at rest
            log.exception("events cannot be read; the streams end", extra={"org": channel.org_id})
        finally:
            channel.end()
            del self._channels[channel.org_id]


class EventStream(StreamingResponse):
    """Sends chunks as they come. A client that does not take one within `patience` seconds is cut off: it comes back
    with its last id and misses nothing, while a connection that nobody reads would be held for ever."""

    media_type = STREAM

    def __init__(self, chunks: AsyncGenerator[bytes, None], *, patience: float, over: Callable[[], None]) -> None:
        """`over` is called when it is."""
        # x-accel-buffering: nginx would keep events back to send them in larger pieces.
        super().__init__(chunks, headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        self._chunks = chunks
        self._patience = patience
        self._over = over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        Visit.of(scope).worked()
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._over()

    async def stream_response(self, send: Send) -> None:
        async def send_in_time(message: Sent) -> None:
            async with asyncio.timeout(self._patience):
                await send(message)

        async with aclosing(self._chunks):  # a client that leaves must not be listened for until garbage is collected
            try:
                await super().stream_response(send_in_time)
            except TimeoutError:
                log.warning("a client that does not read its events was cut off")


def live_routes(live: Live, callers: Callers) -> APIRouter:
    """`callers`: say who asks, and whether they are that still."""
    router = APIRouter(tags=["events"])
    AnyCaller = Annotated[Caller, Depends(callers)]
    said = "`id`: the event's number, `event`: its kind, `data`: the event in JSON."
    described: dict[str, Any] = {
        "response_class": EventStream,
        "status_code": 200,
        "responses": {200: {"description": said}, **refused(401, 403, 404, 422, 429, 500, 503)},
        "openapi_extra": {"security": SECURITY},
    }

    async def stream(
        request: Request, caller: Caller, wanted: Wanted, after: int | None, last: int | None
    ) -> EventStream:
        async def may_listen() -> bool:
            return await callers.still(request, caller.principal)

        return await live.begin(caller.principal, wanted, after if last is None else last, may_listen)

    @router.get("/v1/events/stream", operation_id="stream_events", **described)
    async def stream_events(
        request: Request, caller: AnyCaller, after: Place = None, last_event_id: LastEventId = None
    ) -> EventStream:
        """Follow the events of the organisation."""
        require_viewer(caller, "stream_events")
        return await stream(request, caller, Wanted(), after, last_event_id)

    @router.get("/v1/tasks/{task_id}/events/stream", operation_id="stream_task_events", **described)
    async def stream_task_events(
        request: Request, caller: AnyCaller, task_id: str, after: Place = None, last_event_id: LastEventId = None
    ) -> EventStream:
        """Follow the events of one task."""
        require_viewer(caller, "stream_task_events")
        await caller.org.get(task_id)
        return await stream(request, caller, Wanted(task_id=task_id), after, last_event_id)

    @router.get("/v1/workflows/{workflow_id}/events/stream", operation_id="stream_workflow_events", **described)
    async def stream_workflow_events(
        request: Request, caller: AnyCaller, workflow_id: str, after: Place = None, last_event_id: LastEventId = None
    ) -> EventStream:
        """Follow the events of a workflow and its tasks."""
        require_viewer(caller, "stream_workflow_events")
        await caller.org.get_workflow(workflow_id)
        return await stream(request, caller, Wanted(workflow_id=workflow_id), after, last_event_id)

    return router


def require_viewer(caller: Caller, operation: str) -> None:
    """Raises Forbidden."""
    if not caller.principal.may(Role.VIEWER):
        raise Forbidden(f"{operation} needs the role viewer", operation=operation, role="viewer")
