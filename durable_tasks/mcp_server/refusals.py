"""What an agent is told when a call fails: the stable code, the facts, and in words what to do next.

It must not know protocols, nor decide what is refused.
"""

import json
from collections.abc import Callable
from typing import Any

from pydantic_core import to_jsonable_python

from durable_tasks import errors
from durable_tasks.errors import DurableTasksError
from durable_tasks.lifecycle import FROM, HELD, Verb, is_terminal

_LONGEST_FACT = 500
"""Characters of JSON: an error must not repeat a large input."""

_CLAIM = "claim it with claim_task, and use the token of that claim"
_ASK_OPERATOR = "Nothing was changed. Ask an operator to run `durable-tasks doctor`."


def refusal(error: DurableTasksError) -> dict[str, Any]:
    """The error as an object of JSON."""
    facts = {name: _short(value) for name, value in error.facts.items()}
    return {"code": error.code, "message": error.message, "next_step": next_step(error), "facts": facts}


def next_step(error: DurableTasksError) -> str:
    """What the caller can do about it."""
    step = next(step for kind, step in _STEPS if isinstance(error, kind))
    return step if isinstance(step, str) else step(error)


def _after_illegal_move(error: DurableTasksError) -> str:
    verb, state = error.facts.get("verb"), str(error.facts.get("state"))
    if "task_id" not in error.facts:
        return "Look at it with get_workflow; only an open workflow is cancelled, only a failed or cancelled retried."
    if is_terminal(state):
        return _after_end(state)
    if verb == Verb.START:
        return "It has begun already: go on, and end with complete_task, fail_task or release_task."
    if verb in set(Verb) and FROM[Verb(verb)] <= HELD:
        return f"Nobody holds it (a claim ends with its lease): {_CLAIM}."
    if verb == Verb.CLAIM:
        return "Only a pending task that no handler runs is claimed: take another with next_task, or call wait_task."
    return "Look at it with get_task, or wait for its end with wait_task."


def _after_end(state: str) -> str:
    if state == "completed":
        return "It has completed, and nothing is left to do: read its output with get_task, or go on with next_task."
    return f"It has {'failed' if state == 'failed' else 'been cancelled'}: retry_task runs it again."


_STEPS: tuple[tuple[type[DurableTasksError], str | Callable[[DurableTasksError], str]], ...] = (
    (errors.PayloadTooLarge, "Send less: store large data elsewhere, and put its address into the task."),
    (errors.InvalidOutput, "Correct what `errors` names, by the `form` of the task (get_task), and call again."),
    (errors.UnknownDependency, "depends_on takes ids of tasks, or names of tasks in the same call; see list_tasks."),
    (errors.DependencyCycle, "Remove one of these dependencies."),
    (errors.InvalidInput, "Correct the named argument and call again."),
    (errors.NotFound, "Check the id: list_tasks and list_workflows show those of your organisation."),
    (errors.Unauthenticated, "Connect again with valid credentials."),
    (errors.Forbidden, "Ask an administrator for the role, or somebody who has it to do it."),
    (errors.IllegalMove, _after_illegal_move),
    (errors.AlreadyClaimed, "It is somebody else's: take another with next_task."),
    (errors.StaleToken, f"Your claim is over. If the task is pending, {_CLAIM}; else take another with next_task."),
    (errors.VersionConflict, "Read it again with get_task, and repeat update_task with the version found there."),
    (errors.IdempotencyConflict, "Use a new key for other content; the same key only to repeat the very same call."),
    (errors.Conflict, "Look at it with get_task or get_workflow, and do what the message says."),
    (errors.RateLimited, "Nothing was changed. Call again after retry_after seconds, and less often."),
    (errors.QuotaExceeded, "Nothing was changed, and calling again at once will not help: do what the message says."),
    (errors.WaitTimeout, "Call it again to wait on."),
    (errors.StoreBusy, "Nothing was changed. Call again in a few seconds."),
    (errors.StoreFull, "Nothing was changed: its disk is full. Ask an operator to make room, and call again then."),
    (
        errors.TemporalUnavailable,
        "Call again later. Tasks are safe meanwhile: get_task and list_tasks need no Temporal.",
    ),
    (errors.ConfigurationError, "It is not offered here: ask an operator to change the setting."),
    (DurableTasksError, _ASK_OPERATOR),
)


def _short(value: Any) -> Any:
    plain = to_jsonable_python(value, fallback=str)
    while isinstance(plain, list) and len(plain) > 1 and len(json.dumps(plain)) > _LONGEST_FACT:
        plain = plain[: len(plain) // 2]
    text = json.dumps(plain, ensure_ascii=False)
    return plain if len(text) <= _LONGEST_FACT else f"{text[:_LONGEST_FACT]}…"
