"""The activity that external workers serve: one attempt of a task, its heartbeats, and its end in Temporal's words.
It must not know handlers, SQLite or a Temporal client; the runner it was given calls the handler."""

import asyncio
import json
import logging
from datetime import timedelta
from typing import Any

from pydantic_core import from_json
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from durable_tasks.contracts import EXECUTE, Execution, Shown
from durable_tasks.errors import InvalidInput, NotFound, PayloadTooLarge
from durable_tasks.models import TaskError
from durable_tasks.ports import Assignment, Ending, HandlerRunner, Outcome

log = logging.getLogger("durable_tasks.external")

NO_HANDLER = "no_handler"
RELEASED = "released"
OUTPUT_LIMIT = 1024 * 1024
DETAIL_LIMIT = 64 * 1024
MESSAGE_LIMIT = 8 * 1024
_TYPE_LIMIT = 256
_OFTEN = 1.0
"""Seconds between two heartbeats, at least: handlers may report progress in a tight loop."""
_SELDOM = 5.0
"""Seconds between two heartbeats, at most: the answer to one is how a worker hears of a cancellation."""
_LEAVING = 5.0
"""Seconds that a handler has to stop in once its worker's own grace is over."""


class ExecuteActivity:
    """Whatever the handler does, one attempt ends here in one of four ways: with an output, as a failure, released,
    or cancelled. Only the last is a CancelledError, so that Temporal shows CANCELED."""

    def __init__(self, runner: HandlerRunner) -> None:
        self._runner = runner

    @activity.defn(name=EXECUTE)
    async def execute(self, execution: dict[str, Any]) -> Any:
        """The Execution comes as plain JSON: so a worker with any payload converter can read it."""
        given = Execution.model_validate(execution)
        assignment = self._assignment(given)
        pulse = _Pulse(given.heartbeat)
        cancelled = asyncio.Event()
        running = asyncio.create_task(
            self._runner.run(assignment, pulse.report, cancelled), name=f"durable_tasks execute {assignment.task.id}"
        )
        try:
            await pulse.beat_until(running)
        except asyncio.CancelledError:
            cancelled.set()
            details = activity.cancellation_details()
            if details is None or details.cancel_requested:
                await pulse.beat_until(running)
                raise
            await _leave(running, pulse)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        return _result(running, assignment)

    def _assignment(self, given: Execution) -> Assignment:
        # Counted by our own clock: the server's may differ, and it has then given up on us before we do.
        limit = activity.info().start_to_close_timeout
        timeout = None if limit is None else limit.total_seconds()
        return Assignment(given.to_task(), given.token, timeout, given.prior)


class _Pulse:
    """The heartbeats of one attempt; each carries the newest progress."""

    def __init__(self, timeout: float) -> None:
        self._seldom = min(timeout / 3, _SELDOM)
        self._often = min(_OFTEN, self._seldom)
        self._shown: tuple[dict[str, Any], ...] = ()
        self._news = asyncio.Event()

    def report(self, percent: float, message: str | None) -> None:
        said = None if message is None else _cut(str(message), MESSAGE_LIMIT)
        self._shown = (Shown(progress=percent, message=said).model_dump(mode="json"),)
        self._news.set()

    async def beat_until(self, running: asyncio.Task[Outcome]) -> None:
        """Beat until the attempt has ended. It goes on while a cancelled handler takes its time to stop."""
        while not running.done():
            # First a moment's wait: what is done by then needs no heartbeat, and each is a call to the server.
            await asyncio.wait({running}, timeout=self._often)
            if running.done():
                return
            self._news.clear()
            activity.heartbeat(*self._shown)
            await self._listen(running, self._seldom - self._often)

    async def _listen(self, running: asyncio.Task[Outcome], seconds: float) -> None:
        news = asyncio.ensure_future(self._news.wait())
        try:
            await asyncio.wait({running, news}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()


async def _leave(running: asyncio.Task[Outcome], pulse: _Pulse) -> None:
    """The worker stops: wait a little for its handler. What is finished by then counts, all else is released, so
    that the task runs elsewhere at once and no retry is used."""
    try:
        async with asyncio.timeout(_LEAVING):
            await pulse.beat_until(running)
    except TimeoutError:
        log.warning("a handler outlived its worker's grace and was released")
    if not running.done() or running.exception() or running.result().ending is not Ending.COMPLETED:
        raise _released("the worker was stopped before the handler had finished")


def _result(running: asyncio.Task[Outcome], assignment: Assignment) -> Any:
    """The output of a completed attempt; else the error that says how it ended."""
    try:
        outcome = running.result()
    except NotFound as error:
        # As a failure, not a release: SQLite paces it by the task's own retries, and its error can be seen.
        log.error("%s", error.message)
        raise _failure(TaskError(type=NO_HANDLER, message=error.message)) from None
    if outcome.ending is Ending.RELEASED:
        raise _released("the handler was stopped")
    if outcome.ending is Ending.FAILED:
        why = outcome.error or TaskError(type="unknown", message="the handler failed and said nothing")
        log.warning("task %s failed: %s", assignment.task.id, why.type)
        raise _failure(why, retryable=outcome.retryable, retry_after=outcome.retry_after)
    try:
        return _checked(outcome.output, "output", OUTPUT_LIMIT)
    except InvalidInput as error:
        raise _failure(TaskError(type=error.code, message=error.message), retryable=False) from None


def _released(message: str) -> ApplicationError:
    return ApplicationError(message, type=RELEASED, non_retryable=True, category=ApplicationErrorCategory.BENIGN)


def _failure(error: TaskError, *, retryable: bool = True, retry_after: float | None = None) -> ApplicationError:
    """A failed attempt, small enough for every server. Benign: to Temporal's SDK a failed task is no alarm, and its
    traceback would be ours instead of the handler's, which is in the details."""
    kept = TaskError(
        type=_own(_cut(error.type, _TYPE_LIMIT)),
        message=_cut(error.message, MESSAGE_LIMIT),
        details=_details(error.details),
    )
    return ApplicationError(
        kept.message,
        {"error": kept.model_dump(mode="json"), "retry_after": retry_after},
        type=kept.type,
        non_retryable=not retryable,
        next_retry_delay=None if retry_after is None else timedelta(seconds=retry_after),
        category=ApplicationErrorCategory.BENIGN,
    )


def _own(kind: str) -> str:
    """A handler's exception may bear the name of what this worker says itself: a release would be run again at once,
    and no retry be used."""
    return f"exception {kind}" if kind == RELEASED else kind


def _details(details: Any) -> Any:
    try:
        return _checked(details, "details", DETAIL_LIMIT)
    except InvalidInput as error:
        return {"left_out": error.message}


def _checked(value: Any, field: str, limit: int) -> Any:
    """`value`, once it is known that it can be sent as JSON and read again. Raises InvalidInput, PayloadTooLarge."""
    try:
        text = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) <= limit:
            from_json(text)  # refuses what is nested too deeply: a workflow that cannot read it would hang
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{field} cannot be sent as JSON: {error}", field=field) from error
    if len(text) > limit:
        raise PayloadTooLarge(
            f"{field} is {len(text)} bytes as JSON, the limit is {limit}; store it elsewhere and return a reference",
            field=field,
            size=len(text),
            limit=limit,
        )
    return value


def _cut(text: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8."""
    return text.encode(errors="replace")[:limit].decode(errors="ignore")
