"""Pages: those of other sites in this machine's browser, also when they rebind their own name to this machine.

It must not know who is believed.
"""

import re

from durable_tasks.access import Asking
from durable_tasks.errors import Unauthenticated
from durable_tasks.identity.proof import sole

_HERE = re.compile(r"(?:https?://)?(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?", re.IGNORECASE)


def refuse_other_sites(asking: Asking, why: str) -> None:
    """Such a page writes whatever headers it wants, but its own name is in Host or Origin: no page writes those.
    Raises Unauthenticated, which begins with `why`."""
    for header in ("host", "origin"):
        said = sole(asking, header)
        if said is not None and not _HERE.fullmatch(said):
            raise Unauthenticated(f"{why} only this machine is served, not the {header} of this")
