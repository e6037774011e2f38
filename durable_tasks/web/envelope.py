"""The envelope of every request and answer: an id, a limit to its size, and an answer even when our code breaks.

It must not know what is asked, nor who asks.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from durable_tasks.web import refusals, request_id
from durable_tasks.web.heads import head_of
from durable_tasks.web.problems import Refusal, refused_as, too_large, too_many_parts, too_slow, two_lengths, unforeseen

log = logging.getLogger("durable_tasks.web")

_ID = request_id.HEADER.lower().encode()
LONGEST = 30.0
"""Seconds in which a request's body has to be there."""
MOST_PARTS = 128 * 1024
"""Objects and lists of a body. To read one takes as long as 30 bytes of text, and meanwhile nothing else runs; a
number or a short text, of which there is one more than there are commas, takes an eighth of that."""


class Envelope:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, *, largest: int, make_id: Callable[[], str], steady: Callable[[], float]) -> None:
        self._app = app
        self._largest = largest
        self._make_id = make_id
        self._refusals = refusals.Refusals(log, steady)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        head = head_of(scope)
        said = head.get(_ID)
        chosen = (said and request_id.sane(said.decode("latin-1"))) or self._make_id()
        facts = {"request_id": chosen, "method": scope["method"], "path": scope["path"]}
        token, noted = request_id.current.set(chosen), refusals.current.set(facts)
        try:
            stamped = _Stamped(send, chosen)
            await self._answer(scope, self._measured(receive), stamped, head)
            self._log(facts, stamped.status, scope)
        finally:
            request_id.current.reset(token)
            refusals.current.reset(noted)

    def _log(self, facts: dict[str, Any], status: int | None, scope: Scope) -> None:
        facts |= {"status": status, "address": (scope.get("client") or ("",))[0]}
        self._refusals.tell(status or 0, facts)
        log.info("answered a request", extra=facts)

    async def _answer(self, scope: Scope, receive: Receive, send: "_Stamped", head: dict[bytes, bytes]) -> None:
        if b"content-length" in head and b"transfer-encoding" in head:  # where it ends is a matter of opinion
            await refused_as(two_lengths())(scope, receive, send)
            return
        announced = head.get(b"content-length", b"")
        if announced.isdigit() and int(announced) > self._largest:
            await refused_as(too_large(self._largest))(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        except Refusal as refusal:
            if send.status is not None:
                raise
            await refused_as(refusal)(scope, receive, send)
        except Exception:
            log.exception("a request broke", extra=refusals.current.get())
            if send.status is not None:
                raise  # too late to say so: the server cuts the connection
            await unforeseen()(scope, receive, send)

    def _measured(self, receive: Receive) -> Receive:
        """A body without Content-Length is known to be too large only while it comes, and how long it takes as well."""
        size, parts, commas, whole, until = 0, 0, 0, False, 0.0

        async def measured() -> Message:
            nonlocal size, parts, commas, whole, until
            if whole:
                return await receive()  # who waits for the other end to leave
            until = until or asyncio.get_running_loop().time() + LONGEST
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError as error:
                raise too_slow(LONGEST) from error
            whole = not message.get("more_body", False)
            body = message.get("body", b"")
            size += len(body)
            if size > self._largest:
                raise too_large(self._largest)
            parts += body.count(b"{") + body.count(b"[")  # in texts too: nothing is read yet
            commas += body.count(b",")
            if parts + commas // 8 > MOST_PARTS:
                raise too_many_parts(MOST_PARTS)
            return message

        return measured


class _Stamped:
    """Sends what it is given, the request's id among its headers."""

    def __init__(self, send: Send, chosen: str) -> None:
        self._send = send
        self._chosen = chosen.encode("latin-1")
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), (_ID, self._chosen)]
        await self._send(message)
