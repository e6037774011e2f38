"""Inputs: where in an HTTP request each field of an operation's request stands: path, query, body or header.

It must not know what becomes of them.
"""

import re
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError, create_model

from durable_tasks.operations.operation import Operation
from durable_tasks.operations.requests import KEYS, Nothing, Request
from durable_tasks.web.problems import contradiction

_IN_BRACES = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Inputs:
    """The places of one operation's fields."""

    request: type[Request]
    path: tuple[str, ...]
    rest: type[BaseModel] | None
    """Everything that is not in the path: the query of a GET, the body of any other."""
    key: str | None
    """The field that the header Idempotency-Key fills too."""
    versioned: bool
    """Whether If-Match fills its `version`."""

    @classmethod
    def of(cls, operation: Operation) -> "Inputs":
        fields = operation.request.model_fields
        path = tuple(_IN_BRACES.findall(operation.path))
        return cls(
            request=operation.request,
            path=path,
            rest=_rest(operation, path),
            key=next((key for key in KEYS if key in fields), None),
            versioned="version" in fields,
        )

    @property
    def may_be_empty(self) -> bool:
        """Whether a request needs no body."""
        if self.rest is None:
            return True
        try:
            self.rest()
        except ValidationError:
            return False
        return True

    def filled(self, path: dict[str, Any], rest: BaseModel | None, **headers: Any) -> Request:
        """The request; a header fills a field. Raises Refusal when the two contradict each other."""
        values = dict(path)
        if rest is not None:
            said = rest.model_fields_set & self.request.model_fields.keys()
            values |= {name: getattr(rest, name) for name in said}
        for name, value in headers.items():
            if values.get(name, value) != value and values[name] is not None:
                raise contradiction(f"{name} is {values[name]!r} in the body, but the header says {value!r}")
            values[name] = value
        return self.request(**values)


def _rest(operation: Operation, path: tuple[str, ...]) -> type[BaseModel] | None:
    request = operation.request
    left: dict[str, Any] = {
        name: (field.annotation, field) for name, field in request.model_fields.items() if name not in path
    }
    if not left:
        return None if operation.reads else Nothing
    if not path:
        return request
    return create_model(request.__name__, __base__=Request, __doc__=request.__doc__, **left)
