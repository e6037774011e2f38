"""Heads: what a request says before its body, for those who look at a line or two of it.

They must not know what the lines mean.
"""

from starlette.types import Scope


def head_of(scope: Scope) -> dict[bytes, bytes]:
    """The header lines by their names, which ASGI gives in small letters; of a name that comes twice, the first."""
    return dict([*scope["headers"]][::-1])
