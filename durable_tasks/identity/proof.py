"""Proof: what a request shows of its caller, read with distrust, and the Principal made of it once it is believed.

It must not know which proofs are believed.
"""

import re
from collections.abc import Awaitable, Callable

from pydantic import ValidationError

from durable_tasks.access import Asking, Principal, Role
from durable_tasks.errors import Unauthenticated
from durable_tasks.models import MAX_GROUPS, OF_GROUP

Check = Callable[[str], Awaitable[Principal]]
"""Believes a bearer token, and says whose it is. Raises Unauthenticated when it does not."""

LONGEST = 16 * 1024
"""Characters of an Authorization header: more than servers and gateways let pass."""
_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*) *", re.IGNORECASE)
_BETWEEN = re.compile(r"[\s,]+")


def sole(asking: Asking, name: str) -> str | None:
    """The header's value. One that comes twice is refused: the first may be the client's, the second a proxy's."""
    wanted = name.lower()
    found = [value for key, value in asking.headers.items() if key.lower() == wanted]
    if len(found) > 1:
        raise Unauthenticated(f"the header {name} must not come twice")
    return found[0] if found else None


def bearer(asking: Asking) -> str:
    """The token of the Authorization header."""
    said = sole(asking, "Authorization")
    if said is None:
        raise Unauthenticated("say who calls, with the header Authorization: Bearer TOKEN")
    found = _BEARER.fullmatch(said) if len(said) <= LONGEST else None
    if found is None:
        raise Unauthenticated(f"the header Authorization must read Bearer TOKEN, with at most {LONGEST} characters")
    return found[1]


def principal(org: object, subject: object, roles: object, groups: object = None) -> Principal:
    """Raises Unauthenticated unless organisation, subject and groups can be those of a caller."""
    if not isinstance(org, str) or not isinstance(subject, str):
        raise Unauthenticated("the proof must name an organisation and a subject, each as text")
    if not subject.isprintable() or subject != subject.strip():  # it is recorded, logged and shown to people
        raise Unauthenticated("the proof names a subject with characters that cannot be shown")
    try:
        return Principal(org=org, subject=subject, roles=known_roles(roles), groups=named_groups(groups))
    except ValidationError as error:
        raise Unauthenticated(
            "the proof names an organisation or a subject that cannot exist here (a subject is no group:…), or more"
            f" than {MAX_GROUPS} groups"
        ) from error


def known_roles(said: object) -> frozenset[Role]:
    """The roles in a list, or in text with spaces or commas. Other names are other applications' and count for
    nothing; whoever is left without any may do nothing."""
    names = _BETWEEN.split(said) if isinstance(said, str) else said if isinstance(said, list) else []
    return frozenset(role for role in Role if role.name.lower() in names)


def named_groups(said: object) -> frozenset[str]:
    """The groups in a list, or in text with commas: their names may have spaces. What can be no group's name is
    nobody's to be assigned to, and counts for nothing."""
    names = said.split(",") if isinstance(said, str) else said if isinstance(said, list) else []
    stripped = {name.strip() for name in names if isinstance(name, str) and name.isprintable()}
    return frozenset(name for name in stripped if 0 < len(name) <= 256 - len(OF_GROUP))
