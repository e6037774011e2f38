"""API tokens, `dt_<id>_<secret>`: how one is made, shown once, and believed.

It must not know where they are kept.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple, Protocol

from durable_tasks.access import Principal, Role
from durable_tasks.durations import DurationLike, parse_duration
from durable_tasks.errors import InvalidInput, Unauthenticated
from durable_tasks.identity.proof import named_groups, principal
from durable_tasks.models import OF_GROUP
from durable_tasks.ports import Clock
from durable_tasks.store.tokens import ApiToken

PREFIX = "dt_"
"""What tells an API token from a JWT, and lets scanners find one that was published."""
_FORM = re.compile(r"dt_([0-9A-Za-z-]{1,64})_([0-9a-f]{64})")

_ROLES = {role.name.lower() for role in Role}


class Keeper(Protocol):
    """Where tokens are kept: a Console, or the store of a running DurableTasks."""

    async def create_token(self, principal: Principal, digest: bytes, lifetime: float | None) -> ApiToken: ...


class Issued(NamedTuple):
    """A new token. `text` is all that its caller needs, and is kept nowhere."""

    token: ApiToken
    text: str


async def issue(
    keeper: Keeper,
    *,
    org: str,
    subject: str,
    roles: Iterable[str],
    groups: Iterable[str] = (),
    lifetime: DurationLike | None = None,
) -> Issued:
    """Make a token for a person or program. Without `lifetime` it lasts until it is revoked. Raises InvalidInput."""
    wanted = list(roles)
    if not wanted or not {*wanted} <= _ROLES:
        said = ", ".join(wanted) or "none"
        raise InvalidInput(f"a token has one or more of the roles viewer, agent, operator and admin, not {said}")
    belongs = list(groups)
    if len(named_groups(belongs)) < len({*belongs}):
        raise InvalidInput(f"a group has a name that can be shown, of at most 250 characters; not all do: {belongs}")
    try:
        owner = principal(org, subject, wanted, belongs)
    except Unauthenticated as error:
        raise InvalidInput(f"nobody can be {subject!r} of {org!r}: {error.message}") from error
    secret = secrets.token_hex(32)
    seconds = None if lifetime is None else parse_duration(lifetime)
    token = await keeper.create_token(owner, _digest(secret), seconds)
    return Issued(token, f"{PREFIX}{token.id}_{secret}")


class Tokens:
    """Implements proof.Check. It asks the file each time: what is revoked is refused at once, in every process."""

    def __init__(self, find: Callable[[str], Awaitable[ApiToken | None]], clock: Clock) -> None:
        self._find = find
        self._clock = clock

    async def __call__(self, text: str) -> Principal:
        form = _FORM.fullmatch(text)
        token = None if form is None else await self._find(form[1])
        if form is None or token is None or not hmac.compare_digest(token.digest, _digest(form[2])):
            raise Unauthenticated("this API token is not known here")
        if not token.is_valid(self._clock.now()):
            raise Unauthenticated("this API token has expired or was revoked")
        if token.principal.subject.startswith(OF_GROUP):  # made before such names were refused
            raise Unauthenticated("this API token is for a group; make one for each member")
        return token.principal


def _digest(secret: str) -> bytes:
    # A slow hash protects what people can remember. Nobody guesses 256 random bits, and each request would pay.
    return hashlib.sha256(secret.encode()).digest()
