"""Proof: what a request shows of its caller, read with distrust, and the Principal made of it once it is believed.

It must not know which proofs are believed.
"""

import re
from collections.abc import Awaitable, Callable

from pydantic import ValidationError

from durable_tasks.access import Asking, Principal, Role
from durable_tasks.errors import Unauthenticated

Check = Callable[[str], Awaitable[Principal]]
"""Believes a bearer token, and says whose it is. Raises Unauthenticated when it does not."""

LONGEST = 16 * 1024
"""Characters of an Authorization header: more than servers and gateways let pass."""
_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*) *", re.IGNORECASE)
_BETWEEN = re.compile(r"[\s,]+")


def sole(asking: Asking, name: str) -> str | None:
    """The header's value. One that comes twice is refused: the first may be the client's, the second a proxy's."""
    found = [value for key, value in asking.headers.items() if key.lower() == name.lower()]
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


def principal(org: object, subject: object, roles: object) -> Principal:
    """Raises Unauthenticated unless organisation and subject can be those of a caller."""
    if not isinstance(org, str) or not isinstance(subject, str):
        raise Unauthenticated("the proof must name an organisation and a subject, each as text")
    if not subject.isprintable() or subject != subject.strip():  # it is recorded, logged and shown to people
        raise Unauthenticated("the proof names a subject with characters that cannot be shown")
    try:
        return Principal(org=org, subject=subject, roles=known_roles(roles))
    except ValidationError as error:
        raise Unauthenticated("the proof names an organisation or a subject that cannot exist here") from error


def known_roles(said: object) -> frozenset[Role]:
    """The roles in a list, or in text with spaces or commas. Other names are other applications' and count for
    nothing; whoever is left without any may do nothing."""
    names = _BETWEEN.split(said) if isinstance(said, str) else said if isinstance(said, list) else []
    return frozenset(role for role in Role if role.name.lower() in names)
