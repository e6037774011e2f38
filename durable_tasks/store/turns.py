"""Turns: what waits for the file, organisation by organisation: many calls of one do not come before all others'.

It must not know what waits, nor for which connection.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Container, Sequence
from typing import Any, Generic, Protocol, TypeVar


class Waiting(Protocol):
    """What one caller waits for."""

    @property
    def org_id(self) -> str:
        """Whose turn it takes; empty for the host's own affairs."""
        ...

    @property
    def answer(self) -> "asyncio.Future[Any]": ...


W = TypeVar("W", bound=Waiting)


class Turns(Generic[W]):
    """Organisations take turns, each with its oldest first."""

    def __init__(self) -> None:
        self._of: OrderedDict[str, deque[W]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._of)

    def add(self, one: W) -> None:
        queue = self._of.get(one.org_id)
        if queue is None:
            queue = self._of[one.org_id] = deque()
        queue.append(one)

    def put_back(self, taken: Sequence[W], begun: int = 0) -> None:
        """What was taken and not begun is its organisation's first again. Who had something begun comes after all who
        had nothing: else one who always has more to do would always come first."""
        for one in reversed(taken[begun:]):
            self._of.setdefault(one.org_id, deque()).appendleft(one)
            self._of.move_to_end(one.org_id, last=False)
        for org_id in dict.fromkeys(one.org_id for one in taken[:begun]):
            if org_id in self._of:
                self._of.move_to_end(org_id)

    def take_many(self, most: int) -> list[W]:
        """The next ones, up to so many, whose callers still wait."""
        taken: list[W] = []
        while self._of and len(taken) < most:
            org_id, queue = next(iter(self._of.items()))
            del self._of[org_id]
            room = 1 if self._of else most - len(taken)  # who is alone has it all
            while queue and room:
                one = queue.popleft()
                if not one.answer.done():
                    taken.append(one)
                    room -= 1
            if queue:
                self._of[org_id] = queue  # behind the others
        return taken

    def take(self, skip: Container[str] = ()) -> W | None:
        """The next one, not of an organisation in `skip`, whose caller still waits."""
        while (org_id := next((one for one in self._of if one not in skip), None)) is not None:
            queue = self._of.pop(org_id)
            while queue:
                one = queue.popleft()
                if not one.answer.done():
                    if queue:
                        self._of[org_id] = queue  # behind the others
                    return one
        return None
