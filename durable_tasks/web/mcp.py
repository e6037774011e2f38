"""MCP as an ASGI application: it asks who calls, refuses who does not say, and lets the MCP endpoint answer the rest.

It must not know tools, nor how somebody proves who they are.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from mcp import types
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from durable_tasks.access import Authenticate
from durable_tasks.errors import DurableTasksError, Forbidden, RateLimited, Unauthenticated
from durable_tasks.mcp_server.http import LOOPBACK, HttpEndpoint
from durable_tasks.operations.operation import Host
from durable_tasks.web import refusals
from durable_tasks.web.callers import Proving
from durable_tasks.web.leaving import nobody
from durable_tasks.web.problems import when_to_retry


def mcp_app(
    tasks: Host,
    authenticate: Authenticate,
    *,
    hosts: Sequence[str] | None = LOOPBACK,
    origins: Sequence[str] | None = None,
) -> tuple[ASGIApp, Callable[[], AbstractAsyncContextManager[None]]]:
    """The application, to be mounted as `Route("/mcp", app)`, and what its host enters while it runs: for a host of
    your own. The HTTP API (`create_app`, `install`, `durable-tasks serve`) has MCP at /mcp already.

    `hosts`: the names under which it is reached; others are refused, for they may be those of a web page that
    rebinds its name to this machine. None: any, when `authenticate` believes nothing that such a page could send.
    `origins`: of web pages that may call it; without them those of `hosts`. Raises ConfigurationError."""
    endpoint = HttpEndpoint(tasks, hosts=hosts, origins=origins)
    return Guarded(endpoint, authenticate), endpoint.running


class Guarded:
    """An endpoint behind the question who calls. A class, so that Starlette takes it for an application and not for a
    function that answers a request."""

    def __init__(self, endpoint: HttpEndpoint, authenticate: Proving) -> None:
        self._endpoint = endpoint
        self._authenticate = authenticate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if request.method != "POST":  # a stream that a GET opened would stay empty and open
            answer = Response(status_code=405, headers={"Allow": "POST"})
            return await answer(scope, receive, send)
        try:
            principal = await self._authenticate(request)
        except Unauthenticated as error:
            return await _refused(error, 401, {"WWW-Authenticate": "Bearer"})(scope, receive, send)
        except Forbidden as error:
            return await _refused(error, 403)(scope, receive, send)
        except RateLimited as error:
            return await _refused(error, 429, when_to_retry(error))(scope, receive, send)
        try:
            await self._endpoint.serve(principal, scope, receive, send)
        except ClientDisconnect:
            await nobody()(scope, receive, send)


def _refused(error: DurableTasksError, status: int, headers: dict[str, str] | None = None) -> Response:
    refusals.note(error=error.code, said=error.message)
    said = types.ErrorData(code=types.INVALID_REQUEST, message=error.message, data={"code": error.code})
    body = types.JSONRPCError(jsonrpc="2.0", id=None, error=said)
    return Response(body.model_dump_json(), status, headers, "application/json")
