"""An operation: what it is called, what it takes and answers, who may do it, and where HTTP has it.

It must not know which operations there are.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from durable_tasks.access import Principal, Role
from durable_tasks.diagnosis import OrgDiagnosis
from durable_tasks.errors import Forbidden
from durable_tasks.models import Actor, Engine, NewTask
from durable_tasks.operations.requests import Request
from durable_tasks.operations.tracebacks import without_tracebacks
from durable_tasks.org import Org
from durable_tasks.ports import DeadLetter
from durable_tasks.settings import Settings

Method = Literal["GET", "POST", "PATCH"]


class Host(Protocol):
    """What operations need of a DurableTasks."""

    settings: Settings

    @property
    def engine(self) -> Engine:
        """Which drives new tasks."""
        ...

    def org(self, org_id: str | None = None) -> Org: ...

    @property
    def durable(self) -> Any:
        """Raises ConfigurationError when durable mode is off."""
        ...

    async def diagnose(self, org: str | None = None) -> OrgDiagnosis: ...

    async def redrive(self, letter_id: str, *, org: str | None = None, by: Actor | None = None) -> DeadLetter: ...


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who calls, and the organisation that he acts in: no operation sees another."""

    host: Host
    principal: Principal

    @property
    def org(self) -> Org:
        """As the caller acts in it: on record, with what is his own unless he may act for others, and held to quotas
        unless everybody who calls is the same."""
        who = self.principal
        names = None if self.acts_for_others else who.names
        return self.host.org(who.org).by(who.actor, names=names, limited=who.proved)

    @property
    def acts_for_others(self) -> bool:
        return self.principal.may(Role.OPERATOR)

    def named(self, name: str | None, what: str = "agent_id") -> str:
        """Who is meant: the caller unless another is given. Raises Forbidden when he may not act for another."""
        subject = self.principal.subject
        if name is None or name == subject:
            return subject
        if not self.acts_for_others:
            raise Forbidden(
                f"{subject!r} acts in its own name only; the {what} {name!r} needs the role operator", role="operator"
            )
        return name

    def as_creator(self, tasks: Iterable[NewTask]) -> list[NewTask]:
        """The same with who creates each, which is then part of what a repeat of its key must say again. Raises
        Forbidden for a name that is not the caller's."""
        return [new.model_copy(update={"created_by": self.named(new.created_by, "created_by")}) for new in tasks]

    def check_creators(self, tasks: Iterable[NewTask]) -> None:
        """Raise Forbidden when one is to be created in a name that is not the caller's."""
        for new in tasks:
            self.named(new.created_by, "created_by")

    async def token(self, task_id: str, given: str | None) -> str:
        """The token that is given, or that of the attempt which the caller holds under his own name. Empty when there
        is none: the verb refuses it, and says how the task stands."""
        if given is not None:
            return given
        return await self.org.held_token(task_id, agent_id=self.principal.subject)


Do = Callable[[Caller, Any], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One row of the table."""

    name: str
    """verb_noun: the tool of MCP, the operationId of OpenAPI."""
    role: Role
    method: Method
    path: str
    """Below /v1; what stands in braces is taken from the request's fields."""
    request: type[Request]
    answer: Any
    do: Do
    status: int = 200
    """Of HTTP, when there is an answer; none is 204."""
    repeatable: bool = False
    """Doing it twice is doing it once."""
    destructive: bool = False
    """It ends or changes what others rely on."""
    temporal: bool = False
    """It needs durable mode."""

    @property
    def summary(self) -> str:
        return (self.do.__doc__ or self.name).strip().splitlines()[0]

    @property
    def reads(self) -> bool:
        return self.method == "GET"

    @property
    def waits(self) -> bool:
        """It is answered late: when something happens, or its timeout is over."""
        return self.reads and "timeout" in self.request.model_fields

    def admit(self, caller: Caller) -> None:
        """Raise Forbidden when the caller has not the role: before anything that he sends is looked at."""
        if not caller.principal.may(self.role):
            raise Forbidden(
                f"{self.name} needs the role {self.role.name.lower()}", operation=self.name, role=self.role.name.lower()
            )

    async def run(self, caller: Caller, request: Request) -> Any:
        """The answer, as far as the caller may see it. Raises Forbidden, and what the facade raises."""
        self.admit(caller)
        answer = await self.do(caller, request)
        return answer if caller.principal.may(Role.OPERATOR) else without_tracebacks(answer)
