"""Progress reports of one run: thread-safe, coalesced, one write under way at a time.

It must not know handlers or slots.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from durable_tasks.errors import Conflict, DurableTasksError
from durable_tasks.ports import Assignment

log = logging.getLogger("durable_tasks.executor")


class ReportStore(Protocol):
    """Where progress is written."""

    async def report(self, assignment: Assignment, percent: float, message: str | None) -> None: ...


class ProgressReport:
    """Called by the handler from any thread. While one write runs, only the newest report waits."""

    def __init__(
        self, assignment: Assignment, store: ReportStore, spawn: Callable[[Coroutine[Any, Any, None], str], None]
    ) -> None:
        self._assignment = assignment
        self._store = store
        self._spawn = spawn
        self._loop = asyncio.get_running_loop()
        self._newest: tuple[float, str | None] | None = None
        self._writing = False

    def __call__(self, percent: float, message: str | None) -> None:
        self._loop.call_soon_threadsafe(self._note, percent, message)

    def _note(self, percent: float, message: str | None) -> None:
        self._newest = (percent, message)
        if not self._writing:
            self._writing = True
            self._spawn(self._write(), f"durable_tasks progress {self._assignment.task.id}")

    async def _write(self) -> None:
        try:
            while self._newest is not None:
                (percent, message), self._newest = self._newest, None
                await self._store.report(self._assignment, percent, message)
        except Conflict:
            log.debug("progress of an ended attempt was refused", extra={"task_id": self._assignment.task.id})
        except DurableTasksError as error:
            log.warning("progress was not recorded", extra={"task_id": self._assignment.task.id, "error": error.code})
        finally:
            self._writing = False
