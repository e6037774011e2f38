"""Incoming: commands that people send straight to Temporal, done here as the facade's own verbs.

It must not know signals or updates, nor SQL: a command is a verb with loose arguments, which are checked here.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from durable_tasks.contracts import Command, CommandAnswer, CommandVerb, TaskRef
from durable_tasks.errors import AlreadyClaimed, Conflict, InvalidInput, StaleToken
from durable_tasks.models import Actor, Claim, Task, TaskError
from durable_tasks.org import Org
from durable_tasks.ports import TEMPORAL
from durable_tasks.wording import shown
from durable_tasks.workflow_verbs import Host

Verb = Callable[[Org, Command], Awaitable[Task | Claim]]


class Incoming:
    """Obeys commands of the Temporal workflow that drives the task now, and of no other."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def obey(self, command: Command, *, namespace: str, workflow_id: str) -> CommandAnswer:
        """Raises what the verb raises, and Conflict when that Temporal workflow drives the task no more."""
        store = self._host.store
        if not await store.drives(command.org_id, command.task_id, namespace=namespace, workflow_id=workflow_id):
            raise Conflict(
                f"{workflow_id} does not drive task {command.task_id} any more; use its newest generation",
                task_id=command.task_id,
            )
        with store.obeying(workflow_id):
            answer = await self._do(command)
        task = answer.task if isinstance(answer, Claim) else answer
        ref = TaskRef(task_id=task.id, org_id=task.org_id, generation=task.generation, placement=task.placement)
        return CommandAnswer(status=await store.status(ref), token=answer.token if isinstance(answer, Claim) else None)

    async def _do(self, command: Command) -> Task | Claim:
        given = dict(command.arguments)
        if command.verb in _FENCED and "token" not in given:
            given["token"] = await self._token_of(command)
        try:
            org = Org(self._host, command.org_id).by(_actor(command))
            return await _VERBS[command.verb](org, command.model_copy(update={"arguments": given}))
        except StaleToken as refusal:
            if "token" in command.arguments:
                raise
            task = await self._host.store.get(command.org_id, command.task_id)
            agent = command.arguments["agent_id"]
            others = task.assigned_to not in (None, agent)
            whose = (
                f"belongs to {task.assigned_to!r}, not to {shown(agent)}"
                if others
                else f"{shown(agent)} does not hold it now"
            )
            raise AlreadyClaimed(
                f"task {task.id} is {task.state} and {whose}",
                task_id=task.id,
                state=task.state,
                assigned_to=task.assigned_to,
            ) from refusal

    async def _token_of(self, command: Command) -> str:
        """The token of the attempt that the agent holds now. Empty when it holds none: a command that was obeyed
        before still gets its first answer, any other is refused."""
        if "agent_id" not in command.arguments:
            raise InvalidInput(f"{command.verb} needs the token of the attempt, or the agent_id that holds it")
        agent_id = _text(command.arguments, "agent_id")
        return await self._host.store.held_token(command.org_id, command.task_id, agent_id)


def _actor(command: Command) -> Actor:
    """Whom the command names; nobody has proved it."""
    said = command.arguments.get("by", command.arguments.get("agent_id"))
    return Actor(name=said) if isinstance(said, str) and 0 < len(said) <= 256 else TEMPORAL


_FENCED = frozenset({CommandVerb.COMPLETE, CommandVerb.FAIL, CommandVerb.PROGRESS, CommandVerb.RELEASE})


async def _claim(org: Org, command: Command) -> Claim:
    given = command.arguments
    lease = {"lease": given["lease"]} if "lease" in given else {}
    return await org.claim(
        command.task_id,
        agent_id=_text(given, "agent_id"),
        groups=given.get("groups", ()),
        command_id=command.command_id,
        **lease,
    )


async def _complete(org: Org, command: Command) -> Task:
    given = command.arguments
    return await org.complete(command.task_id, given.get("output"), token=_token(given), command_id=command.command_id)


async def _fail(org: Org, command: Command) -> Task:
    given = command.arguments
    return await org.fail(
        command.task_id,
        _error(given.get("error")),
        token=_token(command.arguments),
        retryable=bool(given.get("retryable", True)),
        retry_after=given.get("retry_after"),
        command_id=command.command_id,
    )


async def _progress(org: Org, command: Command) -> Task:
    given = command.arguments
    percent = given.get("percent", given.get("progress"))
    if isinstance(percent, bool) or not isinstance(percent, int | float):
        raise InvalidInput(f"progress needs percent, a number from 0 to 100, not {shown(percent)}", percent=percent)
    return await org.progress(
        command.task_id,
        percent,
        message=given.get("message"),
        token=_token(command.arguments),
        command_id=command.command_id,
    )


async def _update(org: Org, command: Command) -> Task:
    fields = command.arguments.get("fields")
    if not isinstance(fields, dict) or not fields:
        raise InvalidInput(f"update needs fields, an object of what is to change, not {shown(fields)}", fields=fields)
    version = command.arguments.get("version")
    return await org.update(command.task_id, version=version, command_id=command.command_id, **fields)


async def _release(org: Org, command: Command) -> Task:
    return await org.release(command.task_id, token=_token(command.arguments), command_id=command.command_id)


async def _cancel(org: Org, command: Command) -> Task:
    return await org.cancel(command.task_id, reason=command.arguments.get("reason"), command_id=command.command_id)


_VERBS: Mapping[CommandVerb, Verb] = {
    CommandVerb.CLAIM: _claim,
    CommandVerb.COMPLETE: _complete,
    CommandVerb.FAIL: _fail,
    CommandVerb.PROGRESS: _progress,
    CommandVerb.UPDATE: _update,
    CommandVerb.RELEASE: _release,
    CommandVerb.CANCEL: _cancel,
}


def _token(given: Mapping[str, Any]) -> str:
    token = given["token"]
    if not isinstance(token, str):
        raise InvalidInput(f"token is a text, not {shown(token)}", token=token)
    return token


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidInput(f"{name} is a text, not {shown(value)}", **{name: value})
    return value


def _error(value: Any) -> str | TaskError:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, dict) and isinstance(value.get("message"), str):
        kind = value.get("type", "failed")
        return TaskError(type=str(kind), message=value["message"], details=value.get("details"))
    raise InvalidInput(f"fail needs error, a text or an object with a message, not {shown(value)}", error=value)
