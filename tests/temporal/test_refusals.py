"""Refusals in Temporal's words: what the sender of an update can read of them.
They must not know how a command is obeyed.
"""

import pytest
from temporalio.exceptions import ApplicationError

from durable_tasks.activities.refusals import TRIES, obeyed
from durable_tasks.errors import InvalidOutput, StaleToken, StoreBusy

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
