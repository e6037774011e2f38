"""The authenticator: the way, or ways, in which settings want callers to prove who they are.

It must not know surfaces; each is handed the one hook that comes out.
"""

from pathlib import Path

from durable_tasks.access import Asking, Authenticate, Principal
from durable_tasks.app import DurableTasks
from durable_tasks.errors import ConfigurationError, Unauthenticated
from durable_tasks.identity.gateway import Gateway
from durable_tasks.identity.local import Local
from durable_tasks.identity.proof import Check, bearer
from durable_tasks.identity.tokens import PREFIX, Tokens
from durable_tasks.settings import Settings
from durable_tasks.store.tokens import ApiToken


def authenticator(tasks: DurableTasks) -> Authenticate:
    """What the setting `auth` asks for. Reads the key's file, asks nobody. Raises ConfigurationError."""
    settings = tasks.settings
    if settings.auth is None:
        raise ConfigurationError(
            "nothing says how callers prove who they are; set TASKS_AUTH to token, jwt or gateway, or to none for"
            " development on this machine",
            setting="auth",
            value=None,
        )
    if settings.auth == "none":
        return Local(settings.org)
    if settings.auth == "gateway":
        return Gateway(settings)
    ways = settings.auth.split(",")
    return _Bearer(
        token=_tokens(tasks) if "token" in ways else None,
        jwt=_jwt(tasks) if "jwt" in ways else None,
    )


class _Bearer:
    """API tokens and JWTs come in the same header, and their beginnings tell them apart."""

    def __init__(self, *, token: Check | None, jwt: Check | None) -> None:
        self._token = token
        self._jwt = jwt

    async def __call__(self, asking: Asking) -> Principal:
        text = bearer(asking)
        check = self._token if text.startswith(PREFIX) else self._jwt
        if check is None:
            raise Unauthenticated("this kind of token is not accepted here")
        return await check(text)


def _tokens(tasks: DurableTasks) -> Check:
    async def find(token_id: str) -> ApiToken | None:
        return await tasks.store.find_token(token_id)  # asked for each time: there is no store before start()

    return Tokens(find, tasks.clock)


def _jwt(tasks: DurableTasks) -> Check:
    # Loaded only here: cryptography is heavy, and API tokens do without it.
    from durable_tasks.identity.jwks import fetch
    from durable_tasks.identity.jwt import Jwt
    from durable_tasks.identity.keys import GivenKey, PublishedKeys

    settings = tasks.settings
    algorithms = settings.jwt_algorithms.split(",")
    url = settings.jwt_jwks_url
    if url is not None:
        return Jwt(settings, PublishedKeys(lambda: fetch(url), algorithms, tasks.clock), tasks.clock)
    return Jwt(settings, GivenKey(_key_text(settings), algorithms), tasks.clock)


def _key_text(settings: Settings) -> str:
    if settings.jwt_key is not None:
        return settings.jwt_key.get_secret_value()
    path = settings.jwt_key_file or Path()
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"the file with the key of JWTs, {str(path)!r} (TASKS_JWT_KEY_FILE), cannot be read", setting="jwt_key_file"
        ) from error
