"""Extras: what a command needs beyond a bare installation, and how to install it.

It must not know the commands.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from durable_tasks.errors import ConfigurationError


@contextmanager
def needing(extra: str) -> Iterator[None]:
    """Around imports of what the extra brings. Raises ConfigurationError, which says what to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("durable_tasks"):
            raise  # a fault of ours
        raise ConfigurationError(
            f"{error.name} is missing; install it with: pip install 'durable-tasks[{extra}]'",
            setting="extra",
            value=extra,
        ) from error
