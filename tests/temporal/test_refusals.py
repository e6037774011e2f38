"""Refusals in Temporal's words: what the sender of an update can read of them.
They must not know how a command is obeyed.
"""

from collections.abc import Callable
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from durable_tasks.activities.refusals import FIRST_REST, LONGEST, LONGEST_REST, TRIES, answered, obeyed
from durable_tasks.errors import (
    AlreadyClaimed,
    Closed,
    DurableTasksError,
    InvalidOutput,
    NotFound,
    StaleToken,
    StoreBusy,
    StoreFull,
)

MISFITS = [{"pointer": "/amount", "code": "minimum", "message": "too little"}]


async def refuse(error: Exception, attempt: int = 1) -> ApplicationError:
    async def asking() -> None:
        raise error

    with pytest.raises(ApplicationError) as refused:
        await obeyed(asking(), lambda: attempt)
    return refused.value


async def test_what_does_not_fit_is_in_the_details() -> None:
    failure = await refuse(InvalidOutput("the output does not fit", task_id="x", errors=MISFITS))
    assert (failure.type, failure.non_retryable) == ("invalid_output", True)
    assert list(failure.details) == [{"errors": MISFITS}]


async def test_other_refusals_say_all_in_their_message() -> None:
    final, passing = await refuse(StaleToken("late", task_id="x")), await refuse(StoreBusy("busy"))
    assert (final.type, final.non_retryable, list(final.details)) == ("stale_token", True, [])
    assert (passing.type, passing.non_retryable) == ("store_busy", False)


async def test_what_nobody_foresaw_is_tried_a_few_times_and_then_told() -> None:
    for error in (AssertionError("odd"), RuntimeError("\ud800"), KeyError("x")):
        passing, final = await refuse(error), await refuse(error, attempt=TRIES)
        assert (passing.type, passing.non_retryable) == ("internal", False)
        assert (final.type, final.non_retryable) == ("internal", True)
        assert type(error).__name__ in final.message


@pytest.mark.parametrize("error", [OverflowError("too large"), ValueError("\ud800"), TypeError(), ZeroDivisionError()])
async def test_arguments_that_break_a_verb_are_refused_at_once(error: Exception) -> None:
    refused = await refuse(error)
    assert (refused.type, refused.non_retryable) == ("invalid_input", True)


async def told(error: Exception, attempt: int = 1) -> ApplicationError:
    """What a workflow hears in answer to its own question."""

    async def asking() -> None:
        raise error

    with pytest.raises(ApplicationError) as refused:
        await answered(asking(), lambda: attempt)
    return refused.value


@pytest.mark.parametrize("error", [StoreBusy("busy"), StoreFull("full"), Closed("closed")])
async def test_a_workflow_waits_for_trouble_to_pass_as_long_as_it_lasts(error: DurableTasksError) -> None:
    waiting = await told(error, attempt=10_000)
    assert (waiting.type, waiting.non_retryable, waiting.next_retry_delay) == (error.code, False, None)
    gone = await told(NotFound("no such task"))
    assert (gone.type, gone.non_retryable) == ("not_found", True)


@pytest.mark.parametrize("error", [AssertionError("odd"), KeyError("\ud800"), StaleToken("ours", task_id="x")])
async def test_a_workflow_asks_ever_more_slowly_what_breaks_as_nobody_foresaw(error: Exception) -> None:
    rests = []
    for attempt in (1, TRIES - 1, TRIES, TRIES + 1, 10_000):
        waiting = await told(error, attempt)
        assert (waiting.type, waiting.non_retryable) == ("internal", False)
        assert type(error).__name__ in waiting.message
        rests.append(waiting.next_retry_delay and waiting.next_retry_delay.total_seconds())
    assert rests == [None, None, FIRST_REST, 2 * FIRST_REST, LONGEST_REST]


LONG = "x" * 3_000_000


@pytest.mark.parametrize(
    "error", [AlreadyClaimed(LONG), NotFound(LONG), StoreBusy(LONG), ValueError(LONG), RuntimeError(LONG)]
)
@pytest.mark.parametrize("asked", [refuse, told])
async def test_what_is_said_is_never_too_large_to_be_sent(asked: Callable[..., Any], error: Exception) -> None:
    """Else the workflow task would fail, again and again."""
    failure = await asked(error)
    assert len(failure.message) <= LONGEST
    assert failure.__cause__ is None
