"""Replies: an operation's answer as an HTTP response, with the headers that follow from it.

It must not know how the answer came about.
"""

from typing import Any
from urllib.parse import quote

from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from durable_tasks.models import Task
from durable_tasks.operations.operation import Operation

_FRESH = {"Cache-Control": "no-store"}


class Replies:
    """The replies of one operation."""

    def __init__(self, operation: Operation) -> None:
        self._operation = operation
        self._adapter: TypeAdapter[Any] = TypeAdapter(operation.answer)

    def of(self, answer: Any, request: Request) -> Response:
        if answer is None:
            return Response(status_code=204, headers=_FRESH)
        return Response(
            self._adapter.dump_json(answer),
            status_code=self._operation.status,
            media_type="application/json",
            headers={**_FRESH, **self._headers(answer, request)},
        )

    def text(self, text: str, media_type: str) -> Response:
        return Response(text, status_code=self._operation.status, media_type=media_type, headers=_FRESH)

    def _headers(self, answer: Any, request: Request) -> dict[str, str]:
        headers = {}
        if isinstance(answer, Task):
            headers["ETag"] = f'"{answer.version}"'
        if self._operation.status == 201 and hasattr(answer, "id"):
            headers["Location"] = f"{_public_path(request)}/{answer.id}"
        if getattr(answer, "next_cursor", None) is not None:
            query = request.url.include_query_params(cursor=answer.next_cursor).query
            headers["Link"] = f'<{_public_path(request)}?{query}>; rel="next"'
        return headers


def _public_path(request: Request) -> str:
    """The path that the client asked for. Some servers leave out of `path` what a proxy has cut off."""
    root, path = request.scope.get("root_path", ""), request.scope["path"]
    return quote(root + path.removeprefix(root))
