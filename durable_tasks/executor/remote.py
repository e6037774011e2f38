"""The runner of external workers: calls the handler of one attempt, away from the SQLite file.

It must not know Temporal, slots or storage; who asks says when to stop, and bears the outcome home.
"""

import asyncio
import math
from collections.abc import Callable

from durable_tasks.errors import NotFound
from durable_tasks.executor.run import Report, Run
from durable_tasks.handlers import Handler, Handlers
from durable_tasks.models import TaskError
from durable_tasks.ports import Assignment, Clock, Ending, Outcome


class RemoteRunner:
    """Implements ports.HandlerRunner. A handler that ignores being stopped is given up after `cancel_grace` seconds."""

    def __init__(self, handlers: Handlers, clock: Clock, *, cancel_grace: float) -> None:
        self._handlers = handlers
        self._clock = clock
        self._cancel_grace = cancel_grace

    async def run(
        self, assignment: Assignment, report: Callable[[float, str | None], None], cancelled: asyncio.Event
    ) -> Outcome:
        run = Run(assignment, self._handler(assignment.task.capability), _from_any_thread(report))
        run.start()
        try:
            in_time = await self._until_ended_or_told(run, cancelled)
            outcome = await self._end(run)
        finally:
            _abandon(run)
        return outcome if in_time else _timed_out(assignment)

    def _handler(self, capability: str | None) -> Handler:
        handler = self._handlers.find(capability)
        if handler is not None:
            return handler
        wanted = "tasks without a capability" if capability is None else f"the capability {capability!r}"
        here = ", ".join(repr(name) for name in self._handlers.capabilities) or "none"
        raise NotFound(f"this worker has no handler for {wanted}; its capabilities: {here}", id=capability)

    async def _until_ended_or_told(self, run: Run, cancelled: asyncio.Event) -> bool:
        """False when the attempt's time is over."""
        timeout = run.assignment.timeout
        woken = asyncio.Event()
        told = asyncio.ensure_future(cancelled.wait())
        for future in (run.ended, told):
            future.add_done_callback(lambda _: woken.set())
        try:
            return await self._clock.wait_for(woken, math.inf if timeout is None else timeout)
        finally:
            told.cancel()

    async def _end(self, run: Run) -> Outcome:
        """How it ended; it is told to stop if it has not."""
        if not run.ended.done():
            run.stop()
            ended = asyncio.Event()
            run.ended.add_done_callback(lambda _: ended.set())
            await self._clock.wait_for(ended, self._cancel_grace)
            run.give_up()
        return await run.ended or Outcome(Ending.RELEASED)


def _from_any_thread(report: Report) -> Report:
    loop = asyncio.get_running_loop()

    def tell(percent: float, message: str | None) -> None:
        loop.call_soon_threadsafe(report, percent, message)

    return tell


def _abandon(run: Run) -> None:
    """Leave nothing behind, also when the caller itself was cancelled."""
    if not run.ended.done():
        run.stop()
        run.give_up()


def _timed_out(assignment: Assignment) -> Outcome:
    message = f"the attempt ran longer than its timeout, {assignment.task.timeout} s"
    return Outcome(Ending.FAILED, error=TaskError(type="timeout", message=message))
