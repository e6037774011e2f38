"""Access: who calls, in which organisation, and what a role may do.

It must not know how somebody proved who they are, nor any surface.
"""

from collections.abc import Awaitable, Callable, Mapping
from enum import IntEnum
from typing import Annotated, Protocol

from pydantic import AfterValidator, Field

from durable_tasks.models import MAX_GROUPS, OF_GROUP, Actor, Frozen, Group, assignees, check_org


class Role(IntEnum):
    """Each may do what those below it may."""

    VIEWER = 0
    """Looks at tasks, workflows and events."""
    AGENT = 1
    """Creates tasks and works on them: a person or a program."""
    OPERATOR = 2
    """Keeps the organisation's work going: Temporal's side, and what is wrong with it."""
    ADMIN = 3
    """Decides who may do what."""


def _is_somebody(subject: str) -> str:
    if subject.startswith(OF_GROUP):  # it would pass for every member
        raise ValueError(f"{subject!r} is a group, and nobody's name")
    return subject


class Principal(Frozen):
    """Who calls. `subject` is a person or a program, by the name under which its acts are recorded."""

    org: Annotated[str, AfterValidator(check_org)]
    subject: Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_is_somebody)]
    roles: frozenset[Role]
    groups: frozenset[Group] = Field(frozenset(), max_length=MAX_GROUPS)
    """Those that the caller belongs to: what is assigned to one of them, the caller may take."""
    proved: bool = True
    """False where everybody on this machine passes for the same: the subject is a name, and shows nothing."""

    @property
    def actor(self) -> Actor:
        """As events record the caller."""
        return Actor(name=self.subject, proved=self.proved)

    @property
    def names(self) -> frozenset[str]:
        """Those under which tasks are the caller's own."""
        return frozenset((self.subject, *assignees(self.groups)))

    def may(self, role: Role) -> bool:
        """Whether one of the roles is at least `role`."""
        return max(self.roles, default=-1) >= role


class Asking(Protocol):
    """What is known of a request before anybody knows whose it is; Starlette's `Request` is one."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Their names are found in any case."""
        ...


Authenticate = Callable[[Asking], Awaitable[Principal]]
"""The one hook: who asks. Raises Unauthenticated when they do not prove it."""
