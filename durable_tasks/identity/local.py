"""Local: for development, everybody on this machine may do everything.

It must not know where a process listens; binding.py refuses any place that others reach.
"""

from durable_tasks.access import Asking, Principal, Role
from durable_tasks.identity.pages import refuse_other_sites


class Local:
    """Whoever asks is the administrator of one organisation. Pages of other sites in this machine's browser are not."""

    def __init__(self, org: str) -> None:
        self._principal = Principal(org=org, subject="local", roles=frozenset({Role.ADMIN}), proved=False)

    async def __call__(self, asking: Asking) -> Principal:
        refuse_other_sites(asking, "without authentication")
        return self._principal
