"""Binding: what may listen where.

It must not know how anything listens.
"""

from durable_tasks.errors import ConfigurationError
from durable_tasks.loopback import is_loopback
from durable_tasks.settings import Settings


def check_binding(settings: Settings, host: str) -> None:
    """Raises ConfigurationError when listening on `host` would let whoever reaches it pass for somebody.
    A path, or `unix:` and one, is a socket of this machine."""
    if is_loopback(host) or host.startswith(("/", "unix:")):
        return
    if settings.auth in (None, "none"):
        raise ConfigurationError(
            f"whoever reaches {host!r} could do everything; set TASKS_AUTH to token, jwt or gateway, or listen on"
            " 127.0.0.1",
            setting="auth",
            value=settings.auth,
        )
    if settings.auth == "gateway" and settings.gateway_secret is None:
        raise ConfigurationError(
            f"whoever reaches {host!r} could write the gateway's headers; set TASKS_GATEWAY_SECRET, or listen on"
            " 127.0.0.1",
            setting="gateway_secret",
            value=None,
        )
