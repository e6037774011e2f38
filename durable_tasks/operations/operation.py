"""An operation: what it is called, what it takes and answers, who may do it, and where HTTP has it.

It must not know which operations there are.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from durable_tasks.access import Principal, Role
from durable_tasks.diagnosis import OrgDiagnosis
from durable_tasks.errors import Forbidden
from durable_tasks.models import Engine
from durable_tasks.operations.requests import Request
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

    async def redrive(self, letter_id: str, *, org: str | None = None) -> DeadLetter: ...


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who calls, and the organisation that he acts in: no operation sees another."""

    host: Host
    principal: Principal

    @property
    def org(self) -> Org:
        return self.host.org(self.principal.org)

    def named(self, agent_id: str | None) -> str:
        """The agent that is meant: the caller's own name unless another is given."""
        return self.principal.subject if agent_id is None else agent_id

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

    async def run(self, caller: Caller, request: Request) -> Any:
        """Raises Forbidden, and what the facade raises."""
        if not caller.principal.may(self.role):
            raise Forbidden(
                f"{self.name} needs the role {self.role.name.lower()}", operation=self.name, role=self.role.name.lower()
            )
        return await self.do(caller, request)
