"""Connections: how many there may be, and how long one may say, or take, nothing.

They must not know what is asked on them; that is HTTP's and the application's affair.
"""

import logging
from collections import Counter
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from durable_tasks.web.visit import Visit

log = logging.getLogger("durable_tasks.web")

HEAD = 10.0
"""Seconds in which a request's head has to be there, from the connection's beginning or the last answer on; and in
which of an answer at least `_LEAST` has to be taken."""
_LEAST = 4096
"""Bytes."""
_LINGER = 0.5
"""Seconds that a refused connection stays open: closed at once, its refusal would be lost."""
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nRetry-After: 5\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%s"
)
_PROBLEM = (
    b'{"type": "urn:durable-tasks:too_many_connections", "title": "Too many connections", "status": 503,'
    b' "detail": "the server has as many connections as it can have", "code": "too_many_connections",'
    b' "request_id": "", "facts": {}, "errors": []}'
)


class Crowd:
    """The connections of one server."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._few = max(1, most // 4)
        self._inside: set[Connection] = set()
        self._lingering = 0
        self._refused = 0

    @property
    def burst(self) -> int:
        """How many may be accepted before those are closed that make room for them."""
        return self._few

    def enter(self, connection: "Connection") -> bool:
        """Whether there is room: who asks nothing, or proves nothing, makes room for who may."""
        if len(self._inside) >= self._most and not self._make_room():
            return False
        self._inside.add(connection)
        return True

    def leave(self, connection: "Connection") -> None:
        self._inside.discard(connection)

    def refuse(self, connection: "Connection") -> None:
        self._refused += 1
        transport = connection.transport
        if self._lingering >= self._few:
            transport.abort()
            return
        self._lingering += 1
        transport.write(_BUSY % (len(_PROBLEM), _PROBLEM))
        connection.loop.call_later(_LINGER, self._forget, connection)

    def sweep(self, now: float) -> None:
        """Close what has said or taken nothing for too long. What is open for a request is that request's affair."""
        if self._refused:
            log.warning(
                "connections were refused: there is no room", extra={"refused": self._refused, "most": self._most}
            )
            self._refused = 0
        for connection in [one for one in self._inside if one.silence(now) > HEAD]:
            connection.transport.abort()

    def _forget(self, connection: "Connection") -> None:
        self._lingering -= 1
        connection.transport.close()

    def _make_room(self) -> bool:
        """Close, of the address that has most connections that wait for their other end or on which nobody has proved
        who he is, the one that waits longest."""
        waiting = [one for one in self._inside if one.is_waiting or not one.is_known]
        if not waiting:
            return False
        greediest, _ = Counter(one.address for one in waiting).most_common(1)[0]
        longest = min((one for one in waiting if one.address == greediest), key=lambda one: one.waiting_since)
        self._inside.discard(longest)
        longest.transport.abort()
        return True


class Connection(H11Protocol):  # by name: with httptools installed uvicorn's choice would be a parser without a bound
    """One connection."""

    def __init__(self, crowd: Crowd, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self._crowd = crowd
        self._refused = False
        self._was_known = False
        self.address = ""
        self.waiting_since = self.loop.time()
        self._untaken = 0

    @property
    def is_waiting(self) -> bool:
        """Whether only its other end can go on: no request is being answered, or what was answered is not taken."""
        return self.cycle is None or self.cycle.response_complete or self.flow.write_paused

    @property
    def is_known(self) -> bool:
        """Whether somebody has proved who he is, by what is asked on it now or by what was asked before that."""
        return self._was_known or self._is_proved()

    def silence(self, now: float) -> float:
        """For how many seconds its other end has let it wait. While some of an answer is left, each part of it that is
        taken counts: that it is written here into a buffer does not mean that it has arrived."""
        untaken = self.transport.get_write_buffer_size()
        taken = self._untaken - untaken
        if not self.is_waiting or taken < 0 or taken >= _LEAST or (taken and not untaken):
            self.waiting_since, self._untaken = now, untaken
        return now - self.waiting_since

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        if not self._crowd.enter(self):
            self._refused = True
            self._crowd.refuse(self)

    def data_received(self, data: bytes) -> None:
        if not self._refused:
            super().data_received(data)

    def on_response_complete(self) -> None:
        self.waiting_since = self.loop.time()
        self._was_known = self._is_proved()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._crowd.leave(self)
        super().connection_lost(exc)
        if (visit := Visit.begun(self.scope)) is not None:
            visit.hang_up()

    def _is_proved(self) -> bool:
        visit = Visit.begun(self.scope)
        return visit is not None and visit.principal is not None
