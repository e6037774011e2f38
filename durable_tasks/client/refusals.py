"""Refusals: which error of ours an answer of the server stands for, and whether it may pass.

It must not know what was asked.
"""

import re
from collections.abc import Iterator
from typing import Any

import httpx

from durable_tasks.errors import (
    Closed,
    ConfigurationError,
    DurableTasksError,
    HandlerError,
    InvalidInput,
    InvalidOutput,
    NotFound,
    PayloadTooLarge,
    QuotaExceeded,
    ServerUnavailable,
)

_SECONDS = re.compile(r"[0-9]{1,9}")
_PASSING = frozenset({429, 502, 503, 504, 507})


def _tree(kind: type[DurableTasksError]) -> Iterator[type[DurableTasksError]]:
    for child in kind.__subclasses__():
        if child.__module__ == kind.__module__ and child is not HandlerError:
            yield child
            yield from _tree(child)


_KINDS = {kind.code: kind for kind in _tree(DurableTasksError)}


def error_of(response: httpx.Response, url: str) -> DurableTasksError:
    """What the server has refused, as the error that the facade would have raised."""
    said = _problem(response)
    if said is None:
        return _foreign(response, url)
    code, message, facts, errors = said
    if code == "no_such_path":
        return _no_api(url)
    kind = _KINDS.get(code) or _by_status(response.status_code)
    if kind is Closed:  # the server's affair: this client is open
        kind = ServerUnavailable
    if kind is InvalidOutput:
        facts["errors"] = [{name: one[name] for name in ("pointer", "code", "message")} for one in errors]
    return kind(message, **{**facts, "url": url} if kind is ServerUnavailable else facts)


def may_pass(response: httpx.Response, error: DurableTasksError) -> bool:
    """Whether the same call may be answered otherwise in a while."""
    if isinstance(error, QuotaExceeded) and error.facts.get("retry_after") is None:
        return False
    return response.status_code in _PASSING and not isinstance(error, ConfigurationError)


def asked_to_wait(response: httpx.Response) -> float:
    """Seconds that the server wants a caller to wait who asks too often; 0: it does not say."""
    said = response.headers.get("Retry-After", "")
    return float(said) if response.status_code == httpx.codes.TOO_MANY_REQUESTS and _SECONDS.fullmatch(said) else 0.0


def _problem(response: httpx.Response) -> tuple[str, str, dict[str, Any], list[dict[str, Any]]] | None:
    try:
        said = response.json()
        return str(said["code"]), str(said["detail"]), dict(said["facts"]), list(said.get("errors", ()))
    except (ValueError, KeyError, TypeError):
        return None


def _by_status(status: int) -> type[DurableTasksError]:
    if status == httpx.codes.REQUEST_ENTITY_TOO_LARGE:
        return PayloadTooLarge
    if status == httpx.codes.NOT_FOUND:
        return NotFound
    return ServerUnavailable if status >= 500 or status == httpx.codes.TOO_MANY_REQUESTS else InvalidInput


def _foreign(response: httpx.Response, url: str) -> DurableTasksError:
    """Something answered that is not durable_tasks: a proxy whose server is away, or another program."""
    if response.status_code in _PASSING:
        return ServerUnavailable(f"{url} answers {response.status_code}: its server is away", url=url)
    return _no_api(url)


def _no_api(url: str) -> ConfigurationError:
    return ConfigurationError(
        f"nothing of durable_tasks is served at {url}; give the address where it is, such as http://127.0.0.1:8000 or,"
        " mounted in an application, http://127.0.0.1:8000/tasks",
        setting="url",
        value=url,
    )
