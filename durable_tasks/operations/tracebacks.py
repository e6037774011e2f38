"""Tracebacks: what handlers' failures say of this program's own files and lines, and only operators need to read.

They must not know operations, nor how an answer is sent.
"""

from typing import Any

from pydantic import BaseModel

from durable_tasks.models import Attempt, Task

_DETAILS = "error.details"


def without_tracebacks(answer: Any) -> Any:
    """The same answer, with the details of errors left out where they hold a traceback; itself when none does."""
    if isinstance(answer, Task | Attempt):
        return _without(answer)
    if not isinstance(answer, BaseModel):
        return answer
    changed: dict[str, Any] = {}
    for name, part in answer:
        if isinstance(part, Task | Attempt):
            changed[name] = _without(part)
        elif isinstance(part, tuple) and part and isinstance(part[0], Task | Attempt):
            changed[name] = tuple(_without(one) for one in part)
    return answer.model_copy(update=changed) if changed else answer


def _without(one: Task | Attempt) -> Task | Attempt:
    error = one.error
    if error is None or not isinstance(error.details, dict) or "traceback" not in error.details:
        return one
    left: dict[str, Any] = {"error": error.model_copy(update={"details": None})}
    if isinstance(one, Task):
        left["omitted"] = tuple(dict.fromkeys((*one.omitted, _DETAILS)))
    return one.model_copy(update=left)
