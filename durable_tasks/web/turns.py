"""Turns: of how many organisations' requests something is done at once, so that many of one keep nobody else waiting.

They must not know what a request does.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

TOGETHER = 2
"""Requests of one organisation that are worked on at once while others ask too; the rest wait in line."""
MANY = 8
"""Requests of one line at once that are company by themselves: more than a browser opens connections to one server."""
REMEMBERED = 10.0
"""Seconds for which somebody else's request counts: an organisation that is alone has everything."""


class _Turn(NamedTuple):
    """One that somebody waits for. `size`: as many as this it takes."""

    size: int
    begun: asyncio.Future[None]


@dataclass(slots=True)
class _Line:
    """One organisation's. Its callers are called in turn, however many requests each has in it."""

    working: int = 0
    waiting: OrderedDict[str, deque[_Turn]] = field(default_factory=OrderedDict)

    def join(self, caller: str, size: int) -> _Turn:
        turn = _Turn(size, asyncio.get_running_loop().create_future())
        self.waiting.setdefault(caller, deque()).append(turn)
        return turn

    def first(self) -> _Turn:
        return next(iter(self.waiting.values()))[0]

    def call(self) -> _Turn:
        caller, turns = next(iter(self.waiting.items()))
        turn = turns.popleft()
        self.waiting.move_to_end(caller)
        if not turns:
            del self.waiting[caller]
        return turn

    def leave(self, caller: str, turn: _Turn) -> None:
        turns = self.waiting.get(caller, deque())
        if turn in turns:  # else it was called as it left
            turns.remove(turn)
            if not turns:
                del self.waiting[caller]


class Company:
    """Whether several have asked lately."""

    def __init__(self, steady: Callable[[], float]) -> None:
        self._steady = steady
        self._last: str | None = None
        self._until = 0.0

    def saw(self, who: str) -> None:
        if who != self._last:
            if self._last is not None:
                self.came()
            self._last = who

    def came(self) -> None:
        """Somebody did who is company whoever else asks."""
        self._until = self._steady() + REMEMBERED

    def is_there(self) -> bool:
        return self._steady() < self._until


class Turns:
    """Whose turn it is. Every organisation has its own line, so the length of one is nobody else's affair. Without
    company nobody waits."""

    def __init__(self, company: Company) -> None:
        self._company = company
        self._lines: dict[str, _Line] = {}

    def length(self, org_id: str) -> int:
        """How much of it is worked on or waits."""
        line = self._lines.get(org_id)
        return 0 if line is None else line.working + sum(map(len, line.waiting.values()))

    async def begin(self, org_id: str, caller: str = "", size: int = 1) -> bool:
        """Wait for a turn of the caller's, which counts as so many. Each is given back with `end`. Answers whether it
        took any time."""
        line = self._lines.get(org_id)
        if line is None:
            line = self._lines[org_id] = _Line()
        if not line.waiting and self._has_room(line, size):
            line.working += size
            return False
        turn = line.join(caller, size)
        try:
            await turn.begun
        except asyncio.CancelledError:
            if turn.begun.done() and not turn.begun.cancelled():
                self.end(org_id, size)  # it was just given to somebody who has gone
            else:
                line.leave(caller, turn)
                self._go_on(org_id, line)  # there may be room for a smaller one behind it
            raise
        return True

    def end(self, org_id: str, size: int = 1) -> None:
        line = self._lines[org_id]
        line.working -= size
        self._go_on(org_id, line)

    def _go_on(self, org_id: str, line: _Line) -> None:
        while line.waiting and self._has_room(line, line.first().size):
            turn = line.call()
            if not turn.begun.done():
                line.working += turn.size
                turn.begun.set_result(None)
        self._forget(org_id, line)

    @contextmanager
    def resting(self, org_id: str) -> Iterator[None]:
        """Give a turn back while there is nothing to do but wait; afterwards it is taken again at once."""
        self.end(org_id)
        try:
            yield
        finally:
            self._lines.setdefault(org_id, _Line()).working += 1

    def _has_room(self, line: _Line, size: int) -> bool:
        return line.working + size <= TOGETHER or not self._company.is_there()

    def _forget(self, org_id: str, line: _Line) -> None:
        if not line.working and not line.waiting and self._lines.get(org_id) is line:
            del self._lines[org_id]
