"""Problems: how errors are said over HTTP (RFC 9457). The only place that knows which error has which status.

It must not know what raised them.
"""

import json
import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from durable_tasks.checks import in_words, place
from durable_tasks.errors import (
    Closed,
    ConfigurationError,
    Conflict,
    DurableTasksError,
    Forbidden,
    InvalidInput,
    InvalidOutput,
    NotFound,
    PayloadTooLarge,
    QuotaExceeded,
    RateLimited,
    StoreError,
    StoreFull,
    TemporalUnavailable,
    Unauthenticated,
)
from durable_tasks.web import refusals, request_id
from durable_tasks.wording import shown

MEDIA_TYPE = "application/problem+json"
CHALLENGE = 'Bearer realm="durable_tasks"'
RETRY_AFTER = "5"
"""Seconds after which a refusal that is not the caller's fault may have passed."""
_LONGEST = 512
_MOST_ERRORS = 20
"""Of one request: who sent it corrects those first."""
_SHOWN = 100
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_STATUS: tuple[tuple[type[DurableTasksError], int], ...] = (
    (PayloadTooLarge, 413),
    (InvalidInput, 422),
    (NotFound, 404),
    (Unauthenticated, 401),
    (Forbidden, 403),
    (Conflict, 409),
    (RateLimited, 429),
    (QuotaExceeded, 429),
    (StoreFull, 507),
    (StoreError, 503),
    (Closed, 503),
    (ConfigurationError, 503),
    (TemporalUnavailable, 503),
)
_OWN_AFFAIRS: Mapping[type[DurableTasksError], str] = {
    StoreFull: "the disk of the task store is full; nothing was stored",
    StoreError: "the task store cannot serve this now",
    Closed: "the server is stopping or not yet ready",
    ConfigurationError: "this server is not set up for that; durable mode may be off",
    TemporalUnavailable: "Temporal cannot be reached now",
}
"""What is said instead of the message, which names files, addresses or settings."""
_BROKEN = "something broke here; the log has it under this request id"


class FieldError(BaseModel):
    """What is wrong with one part of a request."""

    place: str = Field(description="body, query, path or header")
    field: str = Field(description="Its path within, such as `tasks.0.title`.")
    code: str
    message: str
    pointer: str | None = Field(None, description="Where in an output that its task's form refuses: a JSON pointer.")


class Problem(BaseModel):
    """Why a request was refused. `code` is stable; `detail` is for people."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    facts: dict[str, Any] = Field(description="The values that the problem speaks of.")
    errors: list[FieldError] = Field(description="Of a request that is not valid: what is wrong where.")


class Refusal(HTTPException):
    """A refusal that only HTTP knows."""

    def __init__(self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, detail, headers)
        self.code = code


def too_large(limit: int) -> Refusal:
    return Refusal(413, "request_too_large", f"a request has at most {limit} bytes")


def too_many_parts(limit: int) -> Refusal:
    return Refusal(
        413,
        "request_too_large",
        f"a request has at most {limit} objects and lists, or {8 * limit} commas; send it in parts",
    )


def too_slow(seconds: float) -> Refusal:
    return Refusal(408, "request_too_slow", f"a request's body comes within {seconds:g} s", {"Connection": "close"})


def caller_left() -> Refusal:
    return Refusal(499, "caller_left", "the caller has hung up")


def two_lengths() -> Refusal:
    said = "a request says how long its body is either with Content-Length or with Transfer-Encoding, not both"
    return Refusal(400, "two_lengths", said, {"Connection": "close"})


def nothing_here(detail: str) -> Refusal:
    return Refusal(404, "no_such_path", detail)


def not_json(said: str | None) -> Refusal:
    said = "without a Content-Type" if said is None else f"as {said[:100]!r}"
    return Refusal(415, "not_json", f"the body came {said}; send it as application/json")


def precondition_failed(detail: str) -> Refusal:
    return Refusal(412, "precondition_failed", detail)


def too_many(detail: str) -> Refusal:
    return Refusal(429, "too_many_waits", detail, {"Retry-After": RETRY_AFTER})


def from_another_site() -> Refusal:
    return Refusal(
        403,
        "cross_site",
        "a page of another site may change nothing here by what the browser knows of you; send the header"
        " Authorization, or ask from this site",
    )


def contradiction(detail: str) -> Refusal:
    return Refusal(422, InvalidInput.code, detail)


def told(error: DurableTasksError) -> tuple[int, str]:
    """The status of an error, and what its caller is told: of our own affairs less than the log."""
    status = status_of(error)
    refusals.note(error=error.code, said=error.message)
    if status < 500:
        return status, error.message
    return status, next((said for kind, said in _OWN_AFFAIRS.items() if isinstance(error, kind)), _BROKEN)


def status_of(error: DurableTasksError) -> int:
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    facts: Mapping[str, Any] | None = None,
    errors: Sequence[FieldError] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer that says it."""
    refusals.note(error=code, said=detail)
    said = Problem(
        type=f"urn:durable-tasks:{code}",
        title=code.replace("_", " ").capitalize(),
        status=status,
        detail=_text(detail),
        code=code,
        request_id=request_id.current.get(),
        facts=_shown(facts or {}),
        errors=list(errors),
    )
    always = {"Cache-Control": "no-store"}
    if status == 401:
        always["WWW-Authenticate"] = CHALLENGE
    if status in (503, 507):
        always["Retry-After"] = RETRY_AFTER
    body = json.dumps(said.model_dump())
    return Response(body, status_code=status, media_type=MEDIA_TYPE, headers={**always, **(headers or {})})


def unforeseen() -> Response:
    """The answer to a fault of ours: what it was stands in the log."""
    return problem(500, DurableTasksError.code, _BROKEN)


def handle_problems(app: FastAPI) -> None:
    """Have `app` answer every error as a problem."""
    app.add_exception_handler(DurableTasksError, _failed)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)


def refused_as(refusal: Refusal) -> Response:
    """The answer to what comes no further than a middleware."""
    return problem(refusal.status_code, refusal.code, refusal.detail, headers=refusal.headers)


async def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, DurableTasksError)
    status, detail = told(error)
    if status == 500:
        return unforeseen()
    errors = _misfits(error) if isinstance(error, InvalidOutput) else ()
    facts = error.facts if status < 500 else None
    return problem(status, error.code, detail, facts=facts, errors=errors, headers=when_to_retry(error))


def when_to_retry(error: DurableTasksError) -> dict[str, str]:
    """The header that says it, where that is known."""
    after = error.facts.get("retry_after") if isinstance(error, RateLimited | QuotaExceeded) else None
    return {} if after is None else {"Retry-After": str(max(1, math.ceil(after)))}


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    if any(one["type"] == "json_invalid" for one in found):
        return _malformed()
    errors = [_field_error(one) for one in found[:_MOST_ERRORS]]
    first = errors[0]
    where = f"{first.place} {first.field}" if first.field else first.place
    more = f"; {len(found) - _MOST_ERRORS} more errors are not listed" if len(found) > _MOST_ERRORS else ""
    return problem(422, InvalidInput.code, f"{where}: {first.message}{more}", errors=errors)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error, Refusal):
        return refused_as(error)
    if error.status_code == 405:
        return _wrong_method(request)
    if error.status_code == 404:
        return problem(404, "no_such_path", "there is nothing at this path; see openapi.json for what there is")
    if error.status_code == 400:
        return _malformed()
    return problem(error.status_code, HTTPStatus(error.status_code).name.lower(), error.detail, headers=error.headers)


def _malformed() -> Response:
    return problem(400, "malformed_json", "the body is not JSON")


def _wrong_method(request: Request) -> Response:
    headers = {"Allow": ", ".join(["OPTIONS", *(method for method in _METHODS if _takes(request, method))])}
    if request.method == "OPTIONS":
        return Response(status_code=204, headers=headers)
    return problem(405, "method_not_allowed", f"{request.method} is not possible here", headers=headers)


def _takes(request: Request, method: str) -> bool:
    scope = {**request.scope, "method": method}
    return any(route.matches(scope)[0] is Match.FULL for route in request.app.router.routes)


def _misfits(error: InvalidOutput) -> list[FieldError]:
    return [
        FieldError(
            place="body",
            field=_text(f"output{one['pointer'].replace('/', '.')}"),
            code=one["code"],
            message=_text(one["message"]),
            pointer=_text(one["pointer"]),
        )
        for one in error.errors
    ]


def _field_error(found: Mapping[str, Any]) -> FieldError:
    first, *rest = found["loc"]
    said = in_words(str(found["msg"])) + _it_was(found["input"])
    return FieldError(place=str(first), field=_text(place(rest)), code=found["type"], message=_text(said))


def _it_was(value: Any) -> str:
    """The wrong value, where it is one: an object that lacks something would not help."""
    if isinstance(value, str):
        return f"; it was {shown(value[:_SHOWN])}" + ("…" if len(value) > _SHOWN else "")
    return f"; it was {shown(value, _SHOWN)}" if isinstance(value, int | float) else ""


def _shown(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Those facts that are short: an answer must not give a caller's own megabytes back."""
    return {name: _plain(value) for name, value in facts.items() if _is_short(value)}


def _is_short(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return len(value) <= 100 and all(_is_short(item) and not isinstance(item, list | tuple) for item in value)
    if isinstance(value, str):
        return len(value) <= _LONGEST
    return value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value))


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return _text(value)
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _text(text: str) -> str:
    """Shortened, and without half characters, which no JSON document should hold."""
    return text[: 2 * _LONGEST].encode(errors="replace").decode()
