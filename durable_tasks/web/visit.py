"""A visit: one request from its head to its answer, counted for whoever has made it once that is known.

It must not know what is asked, nor how somebody proves who they are.
"""

import asyncio
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from durable_tasks.access import Principal
from durable_tasks.web import refusals
from durable_tasks.web.heads import head_of
from durable_tasks.web.problems import caller_left
from durable_tasks.web.shares import Shares
from durable_tasks.web.turns import TOGETHER

_KEY = "durable_tasks.visit"
_START = "http.response.start"
_REFUSED = 429
"""The status of what would be more than a share: after its own work was done, of a quota or of waits."""
_WITH_BODY = ("POST", "PUT", "PATCH")
"""Methods whose body is read: it is waited for."""
_LARGE = 16 * 1024
"""Bytes of a body above which nothing else of its organisation is worked on, in company: to read it, to do what it says
and to answer it takes as long as many others do."""


class Visits:
    """ASGI middleware: gives each request its visit."""

    def __init__(self, app: ASGIApp, *, shares: Shares) -> None:
        self._app = app
        self._shares = shares

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        visit = Visit(self._shares, scope, receive, send)
        scope[_KEY] = visit
        await visit.begin()
        try:
            await self._app(scope, visit.receive, visit.send)
        finally:
            visit.end()


class Visit:
    """Nothing is worked on before it is its organisation's turn, and before the whole request is there: who sends
    slowly takes nobody's turn."""

    def __init__(self, shares: Shares, scope: Scope, receive: Receive, send: Send) -> None:
        head = head_of(scope)
        self.address = _address(scope)
        self.principal: Principal | None = None
        self._shares = shares
        self._proof = head.get(b"authorization", b"").decode("latin-1")
        self._receive, self._send = receive, send
        has_body = head.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in head
        self._coming = has_body and scope["method"] in _WITH_BODY
        self._asks = not has_body and scope["method"] == "GET"
        self._came: Message | None = None
        """What was received for the application before it asked."""
        self._line = shares.line(self.address, self._proof)
        self._in_line: asyncio.Task[None] | None = None
        """What waits until it may be looked at."""
        self._has_hung_up = False
        self._is_head = False
        """Nobody has proved yet whose it is, and it has its turn to be looked at."""
        self._working = False
        self._body = 0
        """Bytes of it so far."""

    async def begin(self) -> None:
        """Return when it may be looked at: of a thousand that come at once a few, so that others come between. Raises
        Refusal when whoever asks hangs up before."""
        if not self._shares.limited:
            return
        self._in_line = asyncio.current_task()
        try:
            await self._shares.heads.begin(self._line)
        except asyncio.CancelledError:
            if not self._has_hung_up or self._in_line is None or self._in_line.uncancel():
                raise  # somebody else cancelled it too
            raise caller_left() from None
        finally:
            self._in_line = None
        self._is_head = True

    def hang_up(self) -> None:
        """Whoever asks has left: connections that come and go leave nothing behind that waits."""
        if self._in_line is not None and not self._has_hung_up:
            self._has_hung_up = True
            self._in_line.cancel()

    def _seen(self) -> None:
        if self._is_head:
            self._is_head = False
            self._shares.heads.end(self._line)

    async def _leave_unproved(self) -> None:
        """What proves nothing is looked at and answered in one step of the loop. It keeps its turn for one more: else
        none of a thousand would meet another, and each step would be as long as all of theirs."""
        await asyncio.sleep(0)
        self._shares.anonymous(self._line)
        self._seen()

    @staticmethod
    def of(scope: Scope) -> "Visit":
        visit: Visit = scope[_KEY]
        return visit

    @staticmethod
    def begun(scope: Mapping[str, object] | None) -> "Visit | None":
        """That of a request as its server knows it, once the application has it."""
        visit = None if scope is None else scope.get(_KEY)
        return visit if isinstance(visit, Visit) else None

    async def disproved(self) -> None:
        await self._leave_unproved()
        await self._shares.disproved(self.address, self._proof)

    async def proved(self, principal: Principal) -> None:
        """It is this principal's. Returns when it may be worked on. Raises RateLimited, and Refusal when whoever asked
        something did not wait for that."""
        self._seen()
        self._shares.proved(self._proof, principal.org)
        refusals.note(org_id=principal.org, subject=principal.subject)
        await self._shares.open(principal)
        self.principal = principal
        if not self._coming:
            await self._work()

    async def receive(self) -> Message:
        message, self._came = self._came or await self._receive(), None
        if self._coming:
            self._body += len(message.get("body", b""))
        if self._coming and not message.get("more_body", False):
            self._coming = False
            if message["type"] == "http.request":
                await self._work()
        return message

    async def send(self, message: Message) -> None:
        """Whoever takes the answer may be slow: no turn is kept for that. What comes without a length is still made."""
        if self._is_head:
            await self._leave_unproved()
        if self._working and (_has_length(message) if message["type"] == _START else not message.get("more_body")):
            self.worked()
        if message.get("status") == _REFUSED and self.principal is not None:
            await self._shares.refused(self.principal.org)
        await self._send(message)

    def worked(self) -> None:
        """Nothing is left but to send the answer, or what happens as it happens."""
        if self._working and self.principal is not None:
            self._working = False
            self._shares.turns.end(self.principal.org, self._size)

    def end(self) -> None:
        self._seen()
        if self.principal is not None:
            self.worked()
            self._shares.close(self.principal)

    async def _work(self) -> None:
        if self._shares.limited and self.principal is not None and not self._working:
            waited = await self._shares.turns.begin(self.principal.org, self.principal.subject, self._size)
            self._working = True
            if waited and self._asks and await self._has_left():
                raise caller_left()

    async def _has_left(self) -> bool:
        """Whether the caller of what has no body has hung up. If not, the server says so at once too."""
        self._came = await self._receive()
        return bool(self._came["type"] == "http.disconnect")

    @property
    def _size(self) -> int:
        return TOGETHER if self._body > _LARGE else 1


def _has_length(message: Message) -> bool:
    return any(name == b"content-length" for name, _ in message.get("headers", ()))


def _address(scope: Scope) -> str:
    """Where it comes from; of IPv6 the network, for that is what one machine has."""
    host: str = (scope.get("client") or ("", 0))[0]
    return ":".join(host.split(":")[:4]) if ":" in host else host
