"""One run: a handler's call for one attempt, in a task or a daemon thread, and how it ended.

It must not know slots or storage.
"""

import asyncio
import contextvars
import logging
import signal
import threading
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from types import MappingProxyType
from typing import Any

from durable_tasks.durations import parse_duration
from durable_tasks.errors import DurableTasksError, InvalidInput, NonRetryable, RetryAfter
from durable_tasks.handlers import Handler, TaskContext, dump_output
from durable_tasks.models import TaskError
from durable_tasks.ports import Assignment, Ending, Outcome
from durable_tasks.wording import message_of, shown, text_of, traceback_of, type_name

log = logging.getLogger("durable_tasks.executor")

MESSAGE_LIMIT = 8 * 1024
FACT_LIMIT = 1000
MOST_FACTS = 32
Report = Callable[[float, str | None], None]


class Run:
    """The handler of one attempt under way. `ended` resolves to its outcome, or to None when it was given up."""

    def __init__(self, assignment: Assignment, handler: Handler, report: Report) -> None:
        self.assignment = assignment
        self.ended: asyncio.Future[Outcome | None] = asyncio.get_running_loop().create_future()
        self._handler = handler
        self._cancelled = threading.Event()
        self._context = TaskContext(
            assignment.task, prior=assignment.prior or {}, report=report, cancelled=self._cancelled
        )
        self._task: asyncio.Task[None] | None = None

    def start(self, prior: Mapping[str, Any] | None = None) -> None:
        """Call the handler, with `prior` if that was still to be read. What keeps it from starting (no thread to be
        had) is its failure, and nobody else's."""
        if prior is not None:
            self._context.prior = MappingProxyType(prior)
        try:
            self._begin()
        except Exception as error:
            self._resolve(to_outcome(error))

    def refuse(self) -> None:
        """Do not start: the attempt was ended before we heard of it."""
        self._cancelled.set()
        self._resolve(Outcome(Ending.RELEASED))

    def fail(self, error: Exception) -> None:
        """Do not start: what the handler needs could not be had."""
        self._resolve(to_outcome(error))

    def _begin(self) -> None:
        task_id = self.assignment.task.id
        if self._handler.is_async:
            self._task = asyncio.create_task(self._call(), name=f"durable_tasks handler {task_id}")
            # A task that is cancelled before its first step never enters _call.
            self._task.add_done_callback(lambda _: self._resolve_if_cancelled())
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
        """Nothing that a handler raises may leave this coroutine but its cancellation: asyncio ends the event loop, and
        with it the process, for a task's SystemExit."""
        try:
            value = await self._handler.call(self._context)
            outcome = Outcome(Ending.COMPLETED, output=dump_output(value))
        except asyncio.CancelledError:
            # Asked by us: the row decides what becomes of the task. Else the handler was cancelled from
            # inside, which is a failure like any other.
            self._resolve(self._cancelled_outcome())
            raise
        except BaseException as error:
            if _is_pressed(error):
                raise
            outcome = to_outcome(error)
        self._resolve(outcome)

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

    def _cancelled_outcome(self) -> Outcome:
        """A release that nobody asked for would be tried again at once, for nothing, and for ever."""
        return Outcome(Ending.RELEASED) if self.stopping else _failure("CancelledError", "the handler was cancelled")

    def _resolve_if_cancelled(self) -> None:
        if not self.ended.done():
            self._resolve(self._cancelled_outcome())

    def _resolve(self, outcome: Outcome | None) -> None:
        if not self.ended.done():
            self.ended.set_result(outcome)


def _is_pressed(error: BaseException) -> bool:
    """Whether a person pressed Ctrl-C, and the handler only happened to run: that must still end the process."""
    if not issubclass(type(error), KeyboardInterrupt) or threading.current_thread() is not threading.main_thread():
        return False
    listener: Any = signal.getsignal(signal.SIGINT)
    if listener is signal.default_int_handler:
        return True  # it leaves no trace
    while isinstance(listener, partial):
        listener = listener.func
    code = getattr(listener, "__code__", None)
    return any(frame.f_code is code for frame, _ in traceback.walk_tb(error.__traceback__))


def to_outcome(error: BaseException) -> Outcome:
    """What a handler's exception means for its task. Whatever the exception does when it is asked: an outcome."""
    kind = type(error)
    retry_after = None
    try:
        details: dict[str, Any] = {"traceback": traceback_of(error, MESSAGE_LIMIT)}
        if issubclass(kind, DurableTasksError) and (facts := _facts(error)):
            details["facts"] = facts
        if issubclass(kind, RetryAfter):
            retry_after = _seconds(error)
    except BaseException:  # a property of the exception itself may raise anything
        details = {"traceback": "<the exception cannot be looked at>"}
    described = TaskError(type=type_name(error), message=message_of(error, MESSAGE_LIMIT), details=details)
    return Outcome(
        Ending.FAILED, error=described, retryable=not issubclass(kind, NonRetryable), retry_after=retry_after
    )


def _facts(error: Any) -> dict[str, str]:
    facts = islice(error.facts.items(), MOST_FACTS)
    return {text_of(name, FACT_LIMIT): shown(value, FACT_LIMIT) for name, value in facts}


def _seconds(error: Any) -> float | None:
    """The wait that a handler asked for; the task's own backoff when it is no duration."""
    try:
        return parse_duration(error.seconds)
    except InvalidInput as refusal:
        log.warning("a handler raised RetryAfter with no duration", extra={"refusal": refusal.message})
        return None


def _failure(kind: str, message: str) -> Outcome:
    return Outcome(Ending.FAILED, error=TaskError(type=kind, message=message))
