"""One run: a handler's call for one attempt, in a task or a daemon thread, and how it ended.

It must not know slots or storage.
"""

import asyncio
import contextvars
import logging
import threading
import traceback
from collections.abc import Callable
from typing import Any

from durable_tasks.durations import parse_duration
from durable_tasks.errors import DurableTasksError, InvalidInput, NonRetryable, RetryAfter
from durable_tasks.handlers import Handler, TaskContext, dump_output
from durable_tasks.models import TaskError
from durable_tasks.ports import Assignment, Ending, Outcome

log = logging.getLogger("durable_tasks.executor")

MESSAGE_LIMIT = 8 * 1024
Report = Callable[[float, str | None], None]


class Run:
    """The handler of one attempt under way. `ended` resolves to its outcome, or to None when it was given up."""

    def __init__(self, assignment: Assignment, handler: Handler, report: Report) -> None:
        self.assignment = assignment
        self.ended: asyncio.Future[Outcome | None] = asyncio.get_running_loop().create_future()
        self._handler = handler
        self._cancelled = threading.Event()
        self._context = TaskContext(assignment.task, prior=assignment.prior, report=report, cancelled=self._cancelled)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Call the handler. What keeps it from starting (no thread to be had) is its failure, and nobody else's."""
        try:
            self._begin()
        except Exception as error:
            self._resolve(to_outcome(error))

    def refuse(self) -> None:
        """Do not start: the attempt was ended before we heard of it."""
        self._cancelled.set()
        self._resolve(Outcome(Ending.RELEASED))

    def _begin(self) -> None:
        task_id = self.assignment.task.id
        if self._handler.is_async:
            self._task = asyncio.create_task(self._call(), name=f"durable_tasks handler {task_id}")
            # A task that is cancelled before its first step never enters _call.
            self._task.add_done_callback(lambda _: self._resolve(Outcome(Ending.RELEASED)))
        else:
            loop, context = asyncio.get_running_loop(), contextvars.copy_context()
            # A thread of its own, and a daemon: a handler that never returns must not hold a pool or the exit.
            threading.Thread(
                target=context.run,
                args=(self._call_in_thread, loop),
                name=f"durable_tasks handler {task_id}",
                daemon=True,
            ).start()

    @property
    def stopping(self) -> bool:
        return self._cancelled.is_set()

    def is_run_by(self, task: "asyncio.Task[Any] | None") -> bool:
        return self._task is not None and self._task is task

    def stop(self) -> None:
        """Ask the handler to stop: an async one is cancelled, a sync one sees ctx.cancelled."""
        self._cancelled.set()
        if self._task is not None:
            self._task.cancel()

    def give_up(self) -> None:
        """Wait no longer for a handler that was asked to stop. Its late result goes nowhere."""
        self._resolve(None)

    async def _call(self) -> None:
        try:
            value = await self._handler.call(self._context)
            self._resolve(Outcome(Ending.COMPLETED, output=dump_output(value)))
        except asyncio.CancelledError:
            # Asked by us: the row decides what becomes of the task. Else the handler was cancelled from
            # inside, which is a failure like any other.
            self._resolve(
                Outcome(Ending.RELEASED) if self.stopping else _failure("CancelledError", "the handler was cancelled")
            )
            raise
        except Exception as error:
            self._resolve(to_outcome(error))
        except BaseException as error:
            self._resolve(to_outcome(error))
            raise

    def _call_in_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            value = self._handler.call(self._context)
            outcome = Outcome(Ending.COMPLETED, output=dump_output(value))
        except BaseException as error:  # SystemExit in a thread would vanish without a word
            outcome = to_outcome(error)
        try:
            loop.call_soon_threadsafe(self._resolve, outcome)
        except RuntimeError:
            log.warning("a handler ended after its event loop had closed", extra={"task_id": self.assignment.task.id})

    def _resolve(self, outcome: Outcome | None) -> None:
        if not self.ended.done():
            self.ended.set_result(outcome)


def to_outcome(error: BaseException) -> Outcome:
    """What a handler's exception means for its task."""
    details: dict[str, Any] = {"traceback": _traceback(error)}
    if isinstance(error, DurableTasksError) and error.facts:
        details["facts"] = {name: _storable(repr(value)[:1000]) for name, value in error.facts.items()}
    described = TaskError(type=type(error).__name__, message=_said(error)[:MESSAGE_LIMIT], details=details)
    return Outcome(
        Ending.FAILED,
        error=described,
        retryable=not isinstance(error, NonRetryable),
        retry_after=_seconds(error) if isinstance(error, RetryAfter) else None,
    )


def _seconds(error: RetryAfter) -> float | None:
    """The wait that a handler asked for; the task's own backoff when it is no duration."""
    try:
        return parse_duration(error.seconds)
    except InvalidInput as refusal:
        log.warning("a handler raised RetryAfter with no duration", extra={"said": refusal.message})
        return None


def _failure(kind: str, message: str) -> Outcome:
    return Outcome(Ending.FAILED, error=TaskError(type=kind, message=message))


def _said(error: BaseException) -> str:
    try:
        return _storable(str(error) or repr(error))
    except Exception:  # an exception whose own words fail must not cost the slot
        return "<the exception cannot say what it is>"


def _traceback(error: BaseException) -> str:
    return _storable("".join(traceback.format_exception(error, limit=-8))[-MESSAGE_LIMIT:])


def _storable(text: str) -> str:
    """Without lone surrogates: they are no UTF-8."""
    return text.encode(errors="replace").decode()
