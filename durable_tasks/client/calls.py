"""Calls: one operation as one HTTP request, which is sent again where that is safe, and its answer.

It must not know the verbs of the client, nor what an answer is for.
"""

import asyncio
import json
import random
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError, to_jsonable_python

from durable_tasks.checks import validated
from durable_tasks.client.refusals import asked_to_wait, error_of, may_pass
from durable_tasks.errors import (
    Closed,
    ConfigurationError,
    DurableTasksError,
    InvalidInput,
    NotFound,
    ServerUnavailable,
)
from durable_tasks.operations.operation import Operation
from durable_tasks.operations.requests import Request
from durable_tasks.ports import Clock

CONNECT = 5.0
ANSWER = 30.0
"""Seconds that one answer may take beyond what the call itself waits for."""
_FIRST_REST = 0.1
_LONGEST_REST = 5.0
_ID = re.compile(r"[A-Za-z0-9_.:-]+")
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
"""After these the server has not even heard of the call."""
_HOPELESS = (httpx.LocalProtocolError, httpx.UnsupportedProtocol, httpx.DecodingError)
"""These come again however often it is sent."""


class Calls:
    """The calls of one client."""

    def __init__(self, http: httpx.AsyncClient, url: str, token: str | None, clock: Clock, patience: float) -> None:
        self.http = http
        self.url = base_of(url)
        self.patience = patience
        self._clock = clock
        self._headers = {} if token is None else {"Authorization": f"Bearer {_checked(token)}"}
        self._answers: dict[str, TypeAdapter[Any]] = {}

    def headers(self, **more: str) -> dict[str, str]:
        return {**self._headers, **more}

    def backoff(self, patience: float | None = None) -> "Backoff":
        return Backoff(self._clock, self.patience if patience is None else min(patience, self.patience))

    def require_open(self) -> None:
        """Raises Closed."""
        if self.http.is_closed:
            raise Closed(f"the client of {self.url} is closed; make a new one")

    async def call(self, operation: Operation, fields: Mapping[str, Any], patience: float | None = None) -> Any:
        """The operation's answer. `patience`: less than the client's. Raises InvalidInput before anything is sent, what
        the server refuses, ServerUnavailable, and Closed."""
        self.require_open()
        request = validated(operation.request, fields)
        sending = self._written(operation, request)
        again = operation.repeatable or request.is_keyed
        backoff = self.backoff(patience)
        while True:
            try:
                response = await self.http.send(sending)
                await response.aread()
            except httpx.RequestError as error:
                failed = self._unreachable(error, operation.name)
                possible = (again or isinstance(error, _UNSENT)) and not isinstance(error, _HOPELESS)
                at_least = 0.0
            else:
                if response.is_success:
                    return self._read(operation, response)
                at_least = asked_to_wait(response)
                failed = error_of(response, self.url)
                possible = again and may_pass(response, failed)
            if not possible or not await backoff.rest(at_least):
                raise failed
            sending = self._written(operation, request)  # a body is a stream, which is sent once

    def _written(self, operation: Operation, request: Request) -> httpx.Request:
        values = _plain(request)
        path = operation.path
        for name in operation.request.model_fields:
            if f"{{{name}}}" in path:
                path = path.replace(f"{{{name}}}", path_part(str(values.pop(name))))
        url, wait = f"{self.url}/v1{path}", float(getattr(request, "timeout", 0.0)) if operation.reads else 0.0
        timeout = httpx.Timeout(ANSWER + wait, connect=CONNECT)
        if operation.reads:
            given = {name: value for name, value in values.items() if value is not None}
            return self.http.build_request("GET", url, params=given, headers=self.headers(), timeout=timeout)
        body = _encoded(values)
        headers = self.headers(**{"Content-Type": "application/json"})
        return self.http.build_request(operation.method, url, content=body, headers=headers, timeout=timeout)

    def _read(self, operation: Operation, response: httpx.Response) -> Any:
        if response.status_code == httpx.codes.NO_CONTENT:
            return None
        adapter = self._answers.setdefault(operation.name, TypeAdapter(operation.answer))
        try:
            return adapter.validate_json(response.content, extra="ignore")  # a newer server may say more
        except ValueError as error:
            raise ServerUnavailable(
                f"{self.url} answered {operation.name} with something else than durable_tasks does; is the address"
                " right, and the server not older than this client?",
                url=self.url,
                operation=operation.name,
            ) from error

    def _unreachable(self, error: httpx.RequestError, operation: str) -> DurableTasksError:
        done = "it was not sent" if isinstance(error, _UNSENT) else "whether it was done is not known"
        why = reason(error)
        return ServerUnavailable(
            f"{self.url} did not answer {operation}: {why}; {done}", url=self.url, operation=operation
        )


class Backoff:
    """Rests between attempts, longer each time, until the patience is over. It counts from the first failure: a call
    may have waited long before."""

    def __init__(self, clock: Clock, patience: float) -> None:
        self._clock = clock
        self._patience = patience
        self._until: float | None = None
        self._rest = _FIRST_REST

    async def rest(self, at_least: float = 0.0) -> bool:
        """Wait, `at_least` as many seconds as the server asks for. False when it is not worth another attempt."""
        now = self._clock.steady()
        if self._until is None:
            self._until = now + self._patience
        seconds = max(jittered(self._rest), at_least)
        if now + seconds > self._until:
            return False
        self._rest = min(2 * self._rest, _LONGEST_REST)
        await self._clock.wait_for(asyncio.Event(), seconds)
        return True


def base_of(url: str) -> str:
    """Where the API is served, without /v1. Raises ConfigurationError."""
    try:
        parts = httpx.URL(url)
        right = parts.scheme in ("http", "https") and parts.host and (parts.port or 80) in range(1, 65536)
        right = right and not (parts.userinfo or parts.query or parts.fragment)
    except (httpx.InvalidURL, ValueError, TypeError):
        right = False
    if not right:  # it is not shown: there may be a password in it
        raise ConfigurationError(
            "that is no address of a server; give one like https://tasks.example.com, without a user, a query or a"
            " fragment",
            setting="url",
            value=None,
        )
    return url.rstrip("/").removesuffix("/v1")


def reason(error: httpx.RequestError) -> str:
    """Why nobody answered. Not what a broken protocol says: it quotes headers, and the token is one."""
    return type(error).__name__ if isinstance(error, httpx.ProtocolError) else str(error) or type(error).__name__


def jittered(seconds: float) -> float:
    """Somewhat less: many clients that lost the same server must not come back in step."""
    return seconds * random.uniform(0.5, 1.0)


def _checked(token: str) -> str:
    if not token or not all("!" <= character <= "~" for character in token):
        raise ConfigurationError(
            "a token has only visible ASCII characters; look for a line break", setting="token", value=None
        )
    return token


def path_part(value: str) -> str:
    """An id as a part of a path. Raises NotFound for what would be another path: no id looks like that."""
    if not _ID.fullmatch(value) or set(value) <= {"."}:
        raise NotFound(f"there is no {value!r}", id=value)
    return quote(value, safe="")


def _encoded(values: dict[str, Any]) -> bytes:
    return json.dumps(values, ensure_ascii=False, allow_nan=False).encode()


def _plain(request: Request) -> dict[str, Any]:
    """What the caller said, in JSON's terms."""
    try:
        # Not in one step: that would make null of what is no number.
        values: dict[str, Any] = to_jsonable_python(request.model_dump(exclude_unset=True), inf_nan_mode="constants")
        _encoded(values)
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        raise InvalidInput(f"the values cannot be said in JSON: {error}") from error
    return values
