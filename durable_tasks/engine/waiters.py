"""Waiters: callers that wait for a task, a workflow or an event, woken by commits.

It must not know what they wait for beyond an id or an organisation.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from durable_tasks.ports import Notice


class Waiters:
    """Events by id. A foreign change wakes everybody: they look again and wait on."""

    def __init__(self) -> None:
        self._by_key: dict[str, set[asyncio.Event]] = {}

    @contextmanager
    def waiting(self, key: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever something happens to `key`; clear it before looking."""
        event = asyncio.Event()
        self._by_key.setdefault(key, set()).add(event)
        try:
            yield event
        finally:
            events = self._by_key[key]
            events.discard(event)
            if not events:
                del self._by_key[key]

    def heed(self, notice: Notice) -> None:
        if notice.foreign:
            self.wake_all()
            return
        for task_id in notice.ended:
            self._wake(task_id)
        for org_id in notice.orgs:
            self._wake(org_key(org_id))

    def wake_all(self) -> None:
        for key in list(self._by_key):
            self._wake(key)

    def _wake(self, key: str) -> None:
        for event in self._by_key.get(key, ()):
            event.set()


def org_key(org_id: str) -> str:
    """The key of an organisation's events: no task id contains a colon."""
    return f"events:{org_id}"
