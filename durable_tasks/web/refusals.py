"""Refusals: one line in the log for each request that is not served, with the reason and who asked.

They must not know how an answer looks.
"""

from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from logging import Logger
from typing import Any

from durable_tasks.web.buckets import Buckets

current: ContextVar[dict[str, Any]] = ContextVar("durable_tasks_request_facts")
"""What the log says of the request that is being answered."""
_LOGGED = (401, 403, 429)
"""And whatever is the server's own affair."""
_RATE = 5.0
"""Lines a second of one kind for one organisation: who is refused all the time fills nobody's disk."""


def note(**facts: Any) -> None:
    """Something that the log should say of this request, unless that is known already."""
    known = current.get(None)
    if known is not None:
        for name, value in facts.items():
            known.setdefault(name, value)


class Refusals:
    """What is logged of the requests that one application does not serve."""

    def __init__(self, log: Logger, steady: Callable[[], float]) -> None:
        self._log = log
        self._lines = Buckets(_RATE, steady)
        self._left_out: Counter[int] = Counter()

    def tell(self, status: int, facts: dict[str, Any]) -> None:
        if status not in _LOGGED and status < 500:
            return
        if self._lines.take((status, facts.get("org_id"))):
            self._left_out[status] += 1
            return
        if left_out := self._left_out.pop(status, 0):
            facts = {**facts, "left_out": left_out}
        said = "a request was refused" if status < 500 else "a request could not be served"
        self._log.warning(said, extra=facts)
