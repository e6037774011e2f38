"""The document: what OpenAPI says beyond the signatures: refusals, headers, who may call.

It must not know how requests are served.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from durable_tasks.models import Task
from durable_tasks.operations.operation import Operation
from durable_tasks.operations.table import OPERATIONS
from durable_tasks.web.examples import ANSWERS
from durable_tasks.web.problems import MEDIA_TYPE, Problem

_REFUSALS: Mapping[int, tuple[str, str]] = {
    400: ("MalformedJson", "The body is not JSON."),
    401: ("Unauthenticated", "Nobody has proved who calls."),
    403: ("Forbidden", "The caller's roles do not allow it."),
    404: ("NotFound", "There is no such thing in the caller's organisation."),
    409: ("Conflict", "The current state refuses it."),
    412: ("PreconditionFailed", "The task has another version."),
    413: ("TooLarge", "The request, or an input or output in it, is too large."),
    415: ("NotJson", "The body is not sent as JSON."),
    422: ("Invalid", "A value is wrong; nothing was changed."),
    429: ("TooMany", "The caller, or its organisation, asks or waits too often already."),
    500: ("Broken", "Something broke in the server."),
    503: ("Unavailable", "The store, or Temporal, cannot serve it now."),
    507: ("Full", "The disk of the store is full; nothing was stored."),
}
_WITH_HEADER = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After", 507: "Retry-After"}
_TEXT = {"schema": {"type": "string"}}
STREAM = "text/event-stream"
_MESSAGE = {
    "type": "object",
    "required": ["id", "event", "data"],
    "properties": {
        "id": {"type": "string", "description": "The event's number."},
        "event": {"type": "string", "description": "Its kind."},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/Event"},
        },
    },
}
SECURITY: list[dict[str, list[str]]] = [{"bearer": []}]


def refusals_of(operation: Operation) -> list[int]:
    """The statuses of refusal that the operation may have."""
    found = {401, 403, 422, 429, 500, 503}
    if "{" in operation.path:
        found.add(404)
    if not operation.reads:
        found |= {400, 404, 409, 413, 415, 507}
    if "version" in operation.request.model_fields:
        found.add(412)
    return sorted(found)


def refused(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Responses that refuse."""
    return {
        status: {"$ref": f"#/components/responses/{_REFUSALS[status][0]}", "description": _REFUSALS[status][1]}
        for status in statuses
    }


def responses_of(operation: Operation, other_form: str | None) -> dict[int | str, dict[str, Any]]:
    """Every response of the operation."""
    responses = refused(*refusals_of(operation))
    content = {} if other_form is None else {other_form: _TEXT}
    responses[operation.status] = {"content": content, "headers": _headers_of(operation)}
    if type(None) in getattr(operation.answer, "__args__", ()):
        responses[204] = {"description": "There is none."}
    return responses


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """Add what the operations refer to, and examples: FastAPI would leave out of those what is null."""
    for operation, described in _operations(document):
        described["security"] = SECURITY
        if operation.name in ANSWERS:
            content = described["responses"][str(operation.status)]["content"]
            content["application/json"]["example"] = ANSWERS[operation.name]
    for content in _streams(document):
        content.pop("schema")  # of the whole, which has no end; each message has one (OpenAPI 3.2's keyword)
        content["itemSchema"] = _MESSAGE
    components = document.setdefault("components", {})
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    components.setdefault("schemas", {}).update({**schema.pop("$defs"), "Problem": schema})
    components["responses"] = {name: _refusal(status, text) for status, (name, text) in _REFUSALS.items()}
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    return document


def _operations(document: dict[str, Any]) -> Iterator[tuple[Operation, dict[str, Any]]]:
    for path in document["paths"].values():
        for described in path.values():
            operation = OPERATIONS.get(described["operationId"])
            if operation is not None:
                yield operation, described


def _streams(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        for described in path.values():
            content = described["responses"].get("200", {}).get("content", {})
            if STREAM in content:
                yield content[STREAM]


def _refusal(status: int, description: str) -> dict[str, Any]:
    refusal: dict[str, Any] = {
        "description": description,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        "headers": {"X-Request-Id": _TEXT},
    }
    if status in _WITH_HEADER:
        refusal["headers"][_WITH_HEADER[status]] = _TEXT
    return refusal


def _headers_of(operation: Operation) -> dict[str, Any]:
    headers: dict[str, Any] = {"X-Request-Id": _TEXT}
    if operation.answer is Task:
        headers["ETag"] = {**_TEXT, "description": "The task's version, for If-Match."}
    if operation.status == 201 and "id" in getattr(operation.answer, "model_fields", ()):
        headers["Location"] = {**_TEXT, "description": "Where it is found."}
    if "cursor" in operation.request.model_fields:
        headers["Link"] = {**_TEXT, "description": 'The next page, rel="next".'}
    return headers
