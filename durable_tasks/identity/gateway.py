"""The trusted gateway: it has authenticated the caller already, and names them in headers.

It must not know how the gateway did that.
"""

import hmac

from durable_tasks.access import Asking, Principal
from durable_tasks.errors import Unauthenticated
from durable_tasks.identity.pages import refuse_other_sites
from durable_tasks.identity.proof import principal, sole
from durable_tasks.settings import Settings


class Gateway:
    """Implements access.Authenticate. What it believes, whoever reaches this process can write, unless there is
    a secret: without one `binding` keeps other machines away, and this the pages of other sites."""

    def __init__(self, settings: Settings) -> None:
        secret = settings.gateway_secret
        self._settings = settings
        self._secret = None if secret is None else secret.get_secret_value().encode()

    async def __call__(self, asking: Asking) -> Principal:
        settings = self._settings
        if self._secret is None:
            refuse_other_sites(asking, "without TASKS_GATEWAY_SECRET")
        elif not _same(sole(asking, settings.gateway_secret_header), self._secret):
            raise Unauthenticated("this request did not come through the gateway")
        return principal(
            _read(asking, settings.gateway_org_header),
            _read(asking, settings.gateway_subject_header),
            _read(asking, settings.gateway_roles_header),
            None if settings.gateway_groups_header is None else _read(asking, settings.gateway_groups_header),
        )


def _read(asking: Asking, name: str) -> str | None:
    """The header as UTF-8 where it is that, as gateways send names; servers hand it on as Latin-1."""
    said = sole(asking, name)
    try:
        return None if said is None else said.encode("latin-1").decode()
    except UnicodeError:
        return said


def _same(said: str | None, secret: bytes) -> bool:
    # Constant time: an answer that comes the later the more characters are right would tell the secret.
    return said is not None and hmac.compare_digest(said.encode(errors="replace"), secret)
