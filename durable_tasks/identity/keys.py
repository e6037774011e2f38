"""Keys: what the signature of a JWT is checked with, given in settings or published by the issuer.

It must not know what a JWT says.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from http.client import HTTPException
from typing import Any, NamedTuple, Protocol

import jwt
from jwt.exceptions import PyJWTError
from pydantic import BaseModel, ConfigDict, ValidationError

from durable_tasks.errors import ConfigurationError, Unauthenticated
from durable_tasks.ports import Clock

log = logging.getLogger("durable_tasks.identity")

FRESH = 300.0
"""Seconds after which published keys are looked at again."""
STALE = 3600.0
"""Seconds for which they count while the issuer cannot be asked."""
FLOOR = 30.0
"""Seconds between two looks, however many tokens name keys that nobody knows."""
RETRY = 5.0
"""Seconds before the next look after one that failed."""
PATIENCE = 6.0
"""Seconds that a caller waits for a look, even when a thread or the network hangs."""


class Key(NamedTuple):
    """A key, and those of the algorithms that settings allow which it may be used with."""

    material: Any
    algorithms: list[str]


class Keys(Protocol):
    async def find(self, kid: str | None) -> Key:
        """The key that a token names. Raises Unauthenticated when there is none."""
        ...


class GivenKey:
    """Implements Keys: one key from settings, whatever name a token gives it."""

    def __init__(self, text: str, algorithms: list[str]) -> None:
        """`text` is a public key in PEM, or a shared secret: what the algorithms are for. Raises ConfigurationError."""
        shared = algorithms[0].startswith("HS")
        self._key = Key(_secret(text, algorithms) if shared else _public_key(text, algorithms), algorithms)

    async def find(self, kid: str | None) -> Key:
        return self._key


def _secret(text: str, algorithms: list[str]) -> bytes:
    secret, needed = text.encode(), max(int(name[2:]) for name in algorithms) // 8
    if not all(_fits(secret, name) for name in algorithms):
        raise _wrong(f"{algorithms[0]} needs a secret; a public key that served as one would be known to everybody")
    if len(secret) < needed:
        raise _wrong(f"a secret for {', '.join(algorithms)} needs at least {needed} bytes")
    return secret


def _public_key(text: str, algorithms: list[str]) -> Any:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(text.encode())
    except ValueError as error:
        raise _wrong("it is no public key in PEM (-----BEGIN PUBLIC KEY-----)") from error
    for name in algorithms:
        if not _fits(key, name):
            raise _wrong(f"this public key is not for {name}; correct TASKS_JWT_ALGORITHMS")
    return key


def _wrong(why: str) -> ConfigurationError:
    return ConfigurationError(f"the key of JWTs (TASKS_JWT_KEY, TASKS_JWT_KEY_FILE) is wrong: {why}", setting="jwt_key")


def _fits(material: Any, algorithm: str) -> bool:
    try:
        jwt.get_algorithm_by_name(algorithm).prepare_key(material)
    except (PyJWTError, TypeError, ValueError):
        return False
    return True


class PublishedKeys:
    """Implements Keys: those of the issuer (JWKS). Nobody waits for a look at them while the key they need is
    known; the look is taken in a thread."""

    def __init__(self, fetch: Callable[[], bytes], algorithms: list[str], clock: Clock) -> None:
        self._fetch = fetch
        self._algorithms = algorithms
        self._clock = clock
        self._keys: dict[str | None, Key] = {}
        self._seen_at = float("-inf")
        self._not_before = float("-inf")
        self._looking: asyncio.Future[None] | None = None

    async def find(self, kid: str | None) -> Key:
        now = self._clock.steady()
        if (self._known(kid, now) is None or now - self._seen_at >= FRESH) and now >= self._not_before:
            self._not_before = now + FLOOR
            self._looking = asyncio.get_running_loop().run_in_executor(None, self._look, now)
        key = self._known(kid, now)
        if key is None and self._looking is not None:
            await asyncio.wait(
                (self._looking,), timeout=PATIENCE
            )  # the look goes on, for others: who leaves ends nothing
            key = self._known(kid, now)
        if key is None:
            raise Unauthenticated("the key that signed this token is not known here, or cannot be asked for now")
        return key

    def _known(self, kid: str | None, now: float) -> Key | None:
        if now - self._seen_at >= STALE:
            return None
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid)

    def _look(self, now: float) -> None:
        """In a thread. Fails in the log only: what is known goes on to count for a while."""
        try:
            self._keys, self._seen_at = _read(self._fetch(), self._algorithms), now
        except (OSError, HTTPException, ValueError, RecursionError) as error:
            self._not_before = now + RETRY
            log.warning("the issuer's keys cannot be had", extra={"said": str(error)})


class _Published(BaseModel):
    """One key of a JWKS, as far as it says what it is for."""

    model_config = ConfigDict(extra="allow")
    kty: str
    kid: str | None = None
    alg: str | None = None
    use: str | None = None


def _read(document: bytes, algorithms: list[str]) -> dict[str | None, Key]:
    """Key id → key, without those that are for something else. Raises ValueError when it is no JWKS at all."""
    said = json.loads(document)
    listed = said.get("keys") if isinstance(said, dict) else None
    if not isinstance(listed, list):
        raise ValueError("that is no JWKS: it has no list of keys")
    found: dict[str | None, Key] = {}
    for entry in listed:
        key = _key(entry, algorithms)
        if key is not None:
            found[entry.get("kid")] = key
    return found


def _key(entry: Any, algorithms: list[str]) -> Key | None:
    try:
        said = _Published.model_validate(entry)
        wanted = [name for name in algorithms if said.alg in (None, name)]
        if said.use not in (None, "sig") or said.kty == "oct" or not wanted:
            return None
        material = jwt.PyJWK(entry).key
    except (ValidationError, PyJWTError):  # a key of a kind that comes after us must not cost the others
        return None
    usable = [name for name in wanted if _fits(material, name)]
    return Key(material, usable) if usable else None
