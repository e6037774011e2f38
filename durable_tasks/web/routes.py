"""Routes: every operation of the table at its place under /v1.

It must not know any operation by name, but for those whose answer has a second form.
"""

import re
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from inspect import Parameter, Signature
from types import NoneType
from typing import Annotated, Any, Literal, get_args

from fastapi import APIRouter, Body, Header, Path, Query
from fastapi.routing import APIRoute
from pydantic import Field, create_model
from starlette.requests import Request
from starlette.responses import Response

from durable_tasks.errors import VersionConflict
from durable_tasks.models import Key
from durable_tasks.operations import mermaid
from durable_tasks.operations.operation import Caller, Operation
from durable_tasks.operations.table import OPERATIONS
from durable_tasks.web.document import responses_of
from durable_tasks.web.examples import BODIES
from durable_tasks.web.heads import head_of
from durable_tasks.web.inputs import Inputs
from durable_tasks.web.leaving import Leaving, Looks, nobody
from durable_tasks.web.problems import not_json, precondition_failed
from durable_tasks.web.replies import Replies
from durable_tasks.web.waits import Waits

PREFIX = "/v1"

CallerOf = Callable[[Request], Awaitable[Caller]]
Handler = Callable[[Request], Coroutine[Any, Any, Response]]
IdempotencyKey = Annotated[
    Key, Header(alias="Idempotency-Key", description="Repeated with the same key, the first answer comes again.")
]
IfMatch = Annotated[
    str,
    Header(alias="If-Match", max_length=256, description="Change nothing unless the task still has this ETag."),
]
FormatChoice = Annotated[Literal["json", "mermaid"] | None, Field(description="Instead of the header Accept.")]


@dataclass(frozen=True, slots=True)
class Form:
    """Another way to say an answer."""

    name: str
    media_type: str
    render: Callable[[Any], str]


FORMS = {"graph_workflow": Form("mermaid", mermaid.MEDIA_TYPE, mermaid.flowchart)}

_TAG = re.compile(r'"(\d{1,18})"')
_JSON = re.compile(r"application/(?:[\w.-]+\+)?json\s*(?:;.*)?", re.IGNORECASE)


def operation_routes(caller_of: CallerOf, waits: Waits) -> APIRouter:
    """A router with every operation."""
    router = APIRouter(prefix=PREFIX, route_class=_guarded(caller_of))
    looks = Looks()
    for operation in OPERATIONS.values():
        _add(router, _Endpoint(operation, waits, looks))
    return router


def _add(router: APIRouter, endpoint: "_Endpoint") -> None:
    operation = endpoint.operation
    call = endpoint.function()
    router.add_api_route(
        operation.path,
        call,
        methods=[operation.method],
        operation_id=operation.name,
        summary=operation.summary,
        description=endpoint.description,
        tags=[operation.path.split("/")[1]],
        status_code=operation.status,
        response_model=_answered(operation.answer),
        responses=responses_of(operation, FORMS[operation.name].media_type if operation.name in FORMS else None),
    )
    if operation.reads:
        router.add_api_route(operation.path, call, methods=["HEAD"], include_in_schema=False, response_model=None)


def _answered(answer: Any) -> Any:
    """What the answer is when there is one."""
    kinds = [kind for kind in get_args(answer) if kind is not NoneType]
    return kinds[0] if NoneType in get_args(answer) else answer


def _guarded(caller_of: CallerOf) -> type[APIRoute]:
    class Guarded(APIRoute):
        """Finds the caller first: nobody's body is read before it is known whose it is, and that he may do it."""

        def get_route_handler(self) -> Handler:
            handle = super().get_route_handler()

            async def guarded(request: Request) -> Response:
                request.state.durable_tasks_caller = caller = await caller_of(request)
                OPERATIONS[self.name].admit(caller)
                _require_json(request)
                return await handle(request)

            return guarded

    return Guarded


def _require_json(request: Request) -> None:
    head = head_of(request.scope)
    if head.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in head:
        return
    said = head.get(b"content-type")
    kind = None if said is None else said.decode("latin-1")
    if kind is None or not _JSON.fullmatch(kind):
        raise not_json(kind)


class _Endpoint:
    """One operation as a function whose signature tells FastAPI, and thereby the document, what it takes."""

    def __init__(self, operation: Operation, waits: Waits, looks: Looks) -> None:
        self.operation = operation
        self._looks = looks
        self._inputs = Inputs.of(operation)
        self._replies = Replies(operation)
        self._waits = waits if operation.waits else None
        self._form = FORMS.get(operation.name)

    @property
    def description(self) -> str:
        needs = f"Needs the role `{self.operation.role.name.lower()}`"
        return f"{needs}, and durable mode." if self.operation.temporal else f"{needs}."

    def function(self) -> Callable[..., Awaitable[Response]]:
        async def endpoint(request: Request, **given: Any) -> Response:
            return await self._answer(request, given)

        endpoint.__name__ = self.operation.name
        endpoint.__signature__ = Signature(self._parameters())  # type: ignore[attr-defined]
        return endpoint

    def _parameters(self) -> list[Parameter]:
        inputs, found = self._inputs, [_parameter("request", Request)]
        for name in inputs.path:
            field = inputs.request.model_fields[name]
            found.append(_parameter(name, _annotated(field.annotation, *field.metadata, Path())))
        if inputs.rest is not None:
            found.append(self._rest_parameter(inputs.rest))
        if inputs.key is not None:
            found.append(_parameter("idempotency_key", IdempotencyKey, None))
        if inputs.versioned:
            found.append(_parameter("if_match", IfMatch, None))
        return found

    def _rest_parameter(self, rest: Any) -> Parameter:
        if self.operation.reads:
            if self._form is not None:
                rest = create_model(rest.__name__, __base__=rest, __doc__=rest.__doc__, format=(FormatChoice, None))
            return _parameter("arguments", _annotated(rest, Query()))
        examples = BODIES.get(self.operation.name)
        body = Body(examples=None if examples is None else [examples])
        if self._inputs.may_be_empty:
            return _parameter("body", _annotated(rest | None, body), None)
        return _parameter("body", _annotated(rest, body))

    async def _answer(self, request: Request, given: dict[str, Any]) -> Response:
        caller: Caller = request.state.durable_tasks_caller
        async with self._patience(caller):
            if not self.operation.reads:
                answer = await self._run(caller, given)
            else:
                with Leaving(request, self._looks) as leaving:
                    answer = await self._run(caller, given)
                if leaving.gone:
                    return nobody()
        if self._form is not None and _wants(self._form, given["arguments"].format, request):
            return self._replies.text(self._form.render(answer), self._form.media_type)
        return self._replies.of(answer, request)

    def _patience(self, caller: Caller) -> AbstractAsyncContextManager[None]:
        return nullcontext() if self._waits is None else self._waits.waiting(caller.principal)

    async def _run(self, caller: Caller, given: dict[str, Any]) -> Any:
        inputs, headers = self._inputs, {}
        if given.get("idempotency_key") is not None:
            headers[str(inputs.key)] = given["idempotency_key"]
        version = _version(given.get("if_match"))
        if version is not None:
            headers["version"] = version
        path = {name: given[name] for name in inputs.path}
        filled = inputs.filled(path, given.get("arguments") or given.get("body"), **headers)
        try:
            return await self.operation.run(caller, filled)
        except VersionConflict as error:
            if version is None:
                raise
            raise precondition_failed(error.message) from error


def _version(if_match: str | None) -> int | None:
    """The version that the header asks for. Raises Refusal: what is no ETag of ours matches no task."""
    if if_match is None or if_match.strip() == "*":
        return None
    tag = _TAG.fullmatch(if_match.strip())
    if tag is None:
        raise precondition_failed(f"{if_match!r} is not the ETag of a task; it is one version in quotes")
    return int(tag[1])


def _wants(form: Form, chosen: str | None, request: Request) -> bool:
    if chosen is not None:
        return chosen == form.name
    return form.media_type in request.headers.get("accept", "")


def _parameter(name: str, annotation: Any, default: Any = Parameter.empty) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _annotated(kind: Any, *metadata: Any) -> Any:
    return Annotated[(kind, *metadata)]
