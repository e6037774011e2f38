"""The id of the request that is being answered: what ties an answer to its lines in the log.

It must not know what is asked.
"""

import re
from contextvars import ContextVar

HEADER = "X-Request-Id"
current: ContextVar[str] = ContextVar("durable_tasks_request_id", default="")

_SANE = re.compile(r"[A-Za-z0-9._:+=/-]{1,128}")


def sane(text: str | None) -> str | None:
    """`text` if it may stand in a log and a header as it is, else None."""
    return text if text is not None and _SANE.fullmatch(text) else None
