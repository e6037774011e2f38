"""Commands: the signals and updates that people send straight to a Temporal workflow, taken loosely.
It must not know what a command does: SQLite decides that, and whoever constructs this asks it."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from durable_tasks.contracts import EXECUTION_LIMIT, Command, CommandAnswer, CommandVerb
    from durable_tasks.wording import message_of

Answer = dict[str, Any]
Obey = Callable[[Command], Awaitable[Answer]]
"""Carries a command to SQLite; its `task_id` is "" when the sender named none. Raises ApplicationError: refused."""

_ADDRESS = frozenset({"command_id", "task_id"})
_INVALID_INPUT = "invalid_input"
"""The code of errors.InvalidInput."""


class Commands:
    """Serves every verb, as a signal and as an update, from the moment it is constructed."""

    def __init__(self, org_id: str, *, obey: Obey, refused: Callable[[str], None]) -> None:
        self._org_id = org_id
        self._obey = obey
        self._refused = refused
        self._signals = 0
        for verb in CommandVerb:
            self._serve(verb)

    def _serve(self, verb: CommandVerb) -> None:
        # `*more`: a sender's superfluous argument must not fail the workflow task, again and again.
        async def signal(payload: Any = None, *more: Any) -> None:
            self._signals += 1
            await self._heed(verb, payload, f"{workflow.info().run_id}/{self._signals}")

        async def update(payload: Any = None, *more: Any) -> Answer:
            info = workflow.current_update_info()
            return await self._carry(verb, payload, info.id if info is not None else "")

        def check(payload: Any = None, *more: Any) -> None:
            check_shape(payload)  # here already: what is refused so leaves no trace in the history

        workflow.set_signal_handler(verb, signal)
        workflow.set_update_handler(verb, update, validator=check)

    async def _heed(self, verb: CommandVerb, payload: Any, fallback_id: str) -> None:
        """A signal has nobody to answer: a refusal is shown where people look, and the workflow goes on."""
        try:
            await self._carry(verb, payload, fallback_id)
        except ApplicationError as error:
            workflow.logger.warning("refused the signal %s: %s", verb, error.message)
            self._refused(f"{verb}: {error.message}")

    async def _carry(self, verb: CommandVerb, payload: Any, fallback_id: str) -> Answer:
        """What cannot be sent on, such as half a character, is refused: as any other error it would fail the workflow
        task again and again."""
        try:
            check_shape(payload)
            return await self._obey(self._command(verb, payload, fallback_id))
        except (TypeError, ValueError, ArithmeticError, RecursionError) as error:
            raise refusal(f"the command cannot be sent on: {message_of(error, 1000)}") from error

    def _command(self, verb: CommandVerb, payload: dict[str, Any] | None, fallback_id: str) -> Command:
        given = payload or {}
        own_id, task_id = given.get("command_id"), given.get("task_id", "")
        if not isinstance(task_id, str):
            raise refusal("task_id must be a string")
        return Command(
            org_id=self._org_id,
            task_id=task_id,
            verb=verb,
            command_id=own_id if isinstance(own_id, str) and own_id else fallback_id,
            arguments={name: value for name, value in given.items() if name not in _ADDRESS},
        )


def check_shape(payload: Any) -> None:
    """All that can be said without SQLite. Raises ApplicationError."""
    if payload is None:
        return
    if not isinstance(payload, dict):
        raise refusal(f"a command takes one object, or nothing; it was given a {type(payload).__name__}")
    size = len(json.dumps(payload))
    if size > EXECUTION_LIMIT:
        raise refusal(f"the command is {size} bytes of JSON, the limit is {EXECUTION_LIMIT}")


def refusal(message: str, code: str = _INVALID_INPUT) -> ApplicationError:
    return ApplicationError(message, type=code, non_retryable=True)


def shown(answer: CommandAnswer) -> Answer:
    """What the sender of an update is told."""
    status = answer.status
    told: Answer = {"state": status.state.value, "version": status.version, "attempt": status.attempt}
    return told if answer.token is None else told | {"token": answer.token}
