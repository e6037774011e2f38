"""Refusals: the errors of the TaskBridge in Temporal's words, so that what may pass is tried again and no more.
It must not know what was asked, nor who asks."""

import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from durable_tasks.errors import Closed, DurableTasksError, InvalidInput, InvalidOutput, NotFound, StoreError
from durable_tasks.wording import message_of, type_name

T = TypeVar("T")

log = logging.getLogger("durable_tasks.temporal")

INTERNAL = "internal"
LONGEST = 8192
"""Characters of what a failure says: what is too large to be sent fails the workflow task, again and again. It has no
cause, whose words have no end."""
TRIES = 5
"""Of a command that broke in a way nobody foresaw; the pauses between them double, from a tenth of a second."""
FIRST_REST = 30.0
LONGEST_REST = 600.0
"""Seconds before a question that broke for the fifth time, and more, is asked again."""


def _attempt() -> int:
    return activity.info().attempt


async def answered(asking: Awaitable[T], attempt: Callable[[], int] = _attempt) -> T:
    """SQLite's answer to a workflow's own question: a missing task will not appear, everything else may pass."""
    try:
        return await asking
    except (StoreError, Closed, NotFound) as error:
        raise _failure(error, final=isinstance(error, NotFound)) from None
    except Exception as error:
        raise _unforeseen(error, attempt()) from None


async def obeyed(asking: Awaitable[T], attempt: Callable[[], int] = _attempt) -> T:
    """What became of a command: a refusal is an answer, only the trouble of this process may pass."""
    try:
        return await asking
    except DurableTasksError as error:
        raise _failure(error, final=not isinstance(error, StoreError | Closed)) from None
    except (TypeError, ValueError, ArithmeticError) as error:
        # Its arguments came from anywhere, unchecked; tried for ever, they would keep the sender waiting for ever.
        raise ApplicationError(message_of(error, LONGEST), type=InvalidInput.code, non_retryable=True) from None
    except Exception as error:
        # Perhaps it passes, perhaps it is a fault of ours: whoever sent the command must hear of it, and not wait for
        # ever with a Temporal workflow that cannot end.
        final = attempt() >= TRIES
        log.error("a command from Temporal broke", exc_info=error, extra={"final": final})
        raise ApplicationError(
            f"the command could not be done: {type_name(error)}: {message_of(error, 1000)}",
            type=INTERNAL,
            non_retryable=final,
        ) from None


def _unforeseen(error: Exception, attempt: int) -> ApplicationError:
    """Asked again, ever more slowly: perhaps a new version of ours can answer. A workflow that ended instead would only
    be begun anew, for its task is open."""
    rest = timedelta(seconds=min(FIRST_REST * 2 ** min(attempt - TRIES, 9), LONGEST_REST)) if attempt >= TRIES else None
    log.error("a question of a Temporal workflow broke", exc_info=error, extra={"attempt": attempt})
    said = f"the question cannot be answered: {type_name(error)}: {message_of(error, 1000)}"
    return ApplicationError(said, type=INTERNAL, next_retry_delay=rest)


def _failure(error: DurableTasksError, *, final: bool) -> ApplicationError:
    # Benign: to the worker a refusal is an answer, not an alarm with a traceback.
    category = ApplicationErrorCategory.BENIGN if final else ApplicationErrorCategory.UNSPECIFIED
    details = [{"errors": error.errors}] if isinstance(error, InvalidOutput) else []
    return ApplicationError(error.message[:LONGEST], *details, type=error.code, non_retryable=final, category=category)
