"""Local: for development, everybody on this machine may do everything.

It must not know where a process listens; binding.py refuses any place that others reach.
"""

import re

from durable_tasks.access import Asking, Principal, Role
from durable_tasks.errors import Unauthenticated

_HERE = re.compile(r"(?:https?://)?(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?", re.IGNORECASE)


class Local:
    """Whoever asks is the administrator of one organisation. Pages of other sites in this machine's browser are not:
    they come with their own name in Host or Origin."""

    def __init__(self, org: str) -> None:
        self._principal = Principal(org=org, subject="local", roles=frozenset({Role.ADMIN}))

    async def __call__(self, asking: Asking) -> Principal:
        for header in ("host", "origin"):
            said = asking.headers.get(header)
            if said is not None and not _HERE.fullmatch(said):
                raise Unauthenticated(f"without authentication only this machine is served, not the {header} of this")
        return self._principal
