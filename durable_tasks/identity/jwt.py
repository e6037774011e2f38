"""JSON Web Tokens: believed when the issuer has signed them, for us, and not too long ago.

It must not know where the issuer's keys come from.
"""

from typing import Any

import jwt
from jwt.exceptions import PyJWTError

from durable_tasks.access import Principal
from durable_tasks.errors import Unauthenticated
from durable_tasks.identity.keys import Keys
from durable_tasks.identity.proof import principal
from durable_tasks.ports import Clock
from durable_tasks.settings import Settings

LEEWAY = 30.0
"""Seconds by which the issuer's clock may be off."""
_REFUSED = (PyJWTError, TypeError, ValueError, OverflowError, RecursionError)
"""What comes of a bad token: the library's own errors, and of older releases what JSON and its values give."""


class Jwt:
    """Implements proof.Check."""

    def __init__(self, settings: Settings, keys: Keys, clock: Clock) -> None:
        self._settings = settings
        self._keys = keys
        self._clock = clock
        self._algorithms = settings.jwt_algorithms.split(",")

    async def __call__(self, text: str) -> Principal:
        try:
            claims = await self._claims(text)
            self._check_lifetime(claims)
        except _REFUSED as error:
            raise Unauthenticated("this token is no JWT that is accepted here, or has expired") from error
        settings = self._settings
        return principal(
            claim(claims, settings.jwt_org_claim),
            claims["sub"],
            claim(claims, settings.jwt_role_claim),
            claim(claims, settings.jwt_group_claim),
        )

    def _check_lifetime(self, claims: dict[str, Any]) -> None:
        """Raises Unauthenticated when it lives too long, from its issue or, where that is not said or to come, now."""
        now = self._clock.now()
        begun = min(float(claims.get("iat", now)), now)
        longest = self._settings.jwt_max_lifetime
        if float(claims["exp"]) - begun > longest + LEEWAY:
            raise Unauthenticated(f"this token lives longer than is accepted here, which is {longest:g} s")

    async def _claims(self, text: str) -> dict[str, Any]:
        header = jwt.get_unverified_header(text)
        if header.get("alg") not in self._algorithms:  # before anybody is asked for keys on its behalf
            raise Unauthenticated("the algorithm of this token's signature is not accepted here")
        key = await self._keys.find(header.get("kid"))
        return jwt.decode(
            text,
            key.material,
            algorithms=key.algorithms,
            issuer=self._settings.jwt_issuer,
            audience=self._settings.jwt_audience,
            leeway=LEEWAY,
            options={"require": ["exp", "iss", "aud", "sub"], "enforce_minimum_key_length": True},
        )


def claim(claims: dict[str, Any], name: str) -> Any:
    """The claim of this very name, dots and all; else the one that its parts lead to. None when there is none."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found
