"""Asking: how a Temporal workflow puts a question to SQLite, and what both workflows do while they wait.
It must not know what is asked, nor what the answers mean."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

T = TypeVar("T")

# Above the threshold a retry waits on a server timer instead of occupying a workflow task.
_LOCAL = workflow.LocalActivityConfig(
    start_to_close_timeout=timedelta(seconds=10),
    retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=100), maximum_interval=timedelta(seconds=30)),
    local_retry_threshold=timedelta(seconds=1),
)
_SHORTEST_WAIT = 0.1
"""Seconds. The server's clock may run ahead of SQLite's: without a floor the workflow would spin."""
FIRST_PAUSE = 2.0
LONGEST_PAUSE = 30.0
CANCELLED_THERE = "cancelled in Temporal"


async def ask(activity: str, *arguments: Any, result: type[T]) -> T:
    """The answer to one local activity, asked until the store can give it."""
    with refusals_shown():
        answer: T = await workflow.execute_local_activity(activity, args=arguments, result_type=result, **_LOCAL)
    return answer


@contextmanager
def refusals_shown() -> Iterator[None]:
    """An activity's final refusal becomes the workflow's own failure, so that its type is seen at the top."""
    try:
        yield
    except ActivityError as error:
        if isinstance(error.cause, ApplicationError):
            raise ApplicationError(error.cause.message, type=error.cause.type, non_retryable=True) from error
        raise


class Asks:
    """Numbers what may change something: asked twice under one name, it is done once."""

    def __init__(self) -> None:
        self._count = 0

    def next(self) -> str:
        self._count += 1
        return f"{workflow.info().run_id}/{self._count}"


class Rest:
    """How long to wait before asking again what had no useful answer: ever longer, until it had one."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def longer(self) -> float:
        self._seconds = min(max(self._seconds * 2, FIRST_PAUSE), LONGEST_PAUSE)
        return self._seconds

    def over(self) -> None:
        self._seconds = 0.0


def seconds_until(instant: float | None) -> float | None:
    return None if instant is None else max(instant - workflow.time(), _SHORTEST_WAIT)


def history_is_long() -> bool:
    return workflow.info().is_continue_as_new_suggested()


async def handlers_finished() -> None:
    """Whoever sent a command gets an answer before the run ends."""
    await workflow.wait_condition(workflow.all_handlers_finished)


async def cancel_request() -> None:
    """Wait for the cancel request that SQLite has queued for this workflow; nothing but its arrival ends this."""
    await workflow.wait_condition(lambda: False)
    raise asyncio.CancelledError
