"""Refusals: the errors of the TaskBridge in Temporal's words, so that what may pass is tried again and no more.
It must not know what was asked, nor who asks."""

from collections.abc import Awaitable
from typing import TypeVar

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from durable_tasks.errors import Closed, DurableTasksError, InvalidInput, InvalidOutput, NotFound, StoreError

T = TypeVar("T")


async def answered(asking: Awaitable[T]) -> T:
    """SQLite's answer: a missing task will not appear, everything else may pass."""
    try:
        return await asking
    except DurableTasksError as error:
        raise _failure(error, final=isinstance(error, NotFound)) from error


async def obeyed(asking: Awaitable[T]) -> T:
    """What became of a command: a refusal is an answer, only the trouble of this process may pass."""
    try:
        return await asking
    except DurableTasksError as error:
        raise _failure(error, final=not isinstance(error, StoreError | Closed)) from error
    except (TypeError, ValueError) as error:
        # Its arguments came from anywhere, unchecked; tried for ever, they would keep the sender waiting for ever.
        raise ApplicationError(str(error), type=InvalidInput.code, non_retryable=True) from error


def _failure(error: DurableTasksError, *, final: bool) -> ApplicationError:
    # Benign: to the worker a refusal is an answer, not an alarm with a traceback.
    category = ApplicationErrorCategory.BENIGN if final else ApplicationErrorCategory.UNSPECIFIED
    details = [{"errors": error.errors}] if isinstance(error, InvalidOutput) else []
    return ApplicationError(error.message, *details, type=error.code, non_retryable=final, category=category)
