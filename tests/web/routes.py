"""Every route of the application: how it is asked for what is another organisation's, and the role that it needs.

It must not know what answers are right.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from fastapi.routing import iter_route_contexts

from durable_tasks.access import Role
from durable_tasks.operations.operation import Operation
from durable_tasks.operations.table import OPERATIONS
from durable_tasks.web.app import Api
from tests.foreign import CALLS, Arguments, Foreign

Route = tuple[str, str]
"""Method and path, with names in braces."""


class Ask(NamedTuple):
    """One request."""

    method: str
    path: str
    query: Mapping[str, Any] = {}
    body: Any = None
    headers: Mapping[str, str] = {}


class Way(NamedTuple):
    """A way to ask a route."""

    route: Route
    ask: Callable[[Foreign], Ask]
    role: Role | None = None
    """The least that may. None: it is not by role that one is answered."""
    tells: bool = True
    """Whether those to whom it belongs are told something else than of what nobody has."""

    def __str__(self) -> str:
        return " ".join(self.route)


def routes_of(app: Api) -> set[Route]:
    """Those that the application has."""
    return {
        (method, str(context.path))
        for context in iter_route_contexts(app.routes)
        for method in context.methods or ("anything",)
    }


# ----- operations

_TELLING_NOTHING = ("get_me", "list_queues", "measure_org", "list_orgs", "diagnose_org", "redrive_dead_letter")


def _operation_ways(operation: Operation) -> list[Way]:
    path = f"/v1{operation.path}"
    # Some take no names; and without durable mode there is nothing that those of Temporal could tell.
    tells = operation.name not in _TELLING_NOTHING and not operation.temporal
    ways = [
        Way((method, path), _asking(operation, arguments, method), operation.role, tells)
        for method in ([operation.method, "HEAD"] if operation.reads else [operation.method])
        for arguments in CALLS[operation.name]
    ]
    return ways if operation.reads else [*ways, ways[0]._replace(ask=_with_headers(operation, ways[0].ask))]


def _asking(operation: Operation, arguments: Arguments, method: str) -> Callable[[Foreign], Ask]:
    def ask(its: Foreign) -> Ask:
        given = arguments(its)
        rest = {name: value for name, value in given.items() if f"{{{name}}}" not in operation.path}
        path = f"/v1{operation.path.format_map(given)}"
        return Ask(method, path, query=rest) if operation.reads else Ask(method, path, body=rest)

    return ask


def _with_headers(operation: Operation, ask: Callable[[Foreign], Ask]) -> Callable[[Foreign], Ask]:
    """With what an answer to the other organisation bore, or its request."""

    def asking(its: Foreign) -> Ask:
        headers = {"Idempotency-Key": its.command}
        if operation.name == "update_task":
            headers["If-Match"] = '"2"'
        return ask(its)._replace(headers=headers)

    return asking


# ----- streams


def _stream(path: str, ask: Callable[[Foreign], Ask]) -> Way:
    return Way(("GET", path), ask, Role.VIEWER)


STREAMS = (
    _stream("/v1/events/stream", lambda its: Ask("GET", "/v1/events/stream", query={"after": its.event})),
    _stream(
        "/v1/events/stream", lambda its: Ask("GET", "/v1/events/stream", headers={"Last-Event-ID": str(its.event)})
    ),
    _stream("/v1/tasks/{task_id}/events/stream", lambda its: Ask("GET", f"/v1/tasks/{its.task}/events/stream")),
    _stream(
        "/v1/tasks/{task_id}/events/stream",
        lambda its: Ask("GET", f"/v1/tasks/{its.done}/events/stream", headers={"Last-Event-ID": str(its.event)}),
    ),
    _stream(
        "/v1/workflows/{workflow_id}/events/stream",
        lambda its: Ask("GET", f"/v1/workflows/{its.workflow}/events/stream", query={"after": 0}),
    ),
)


# ----- classic routes


class _Classic(NamedTuple):
    operation: str
    """Whose role it needs."""
    asks: Sequence[Callable[[Foreign], dict[str, Any]]]
    """The query of a GET, the body of anything else."""


_CLASSIC: Mapping[tuple[str, str], _Classic] = {
    ("GET", ""): _Classic(
        "list_tasks",
        (
            lambda its: {"workflow_id": its.workflow},
            lambda its: {"assigned_to": its.agent},
            lambda its: {"space_id": its.space},
            lambda its: {"queue": its.space, "state": "pending", "offset": 0},
        ),
    ),
    ("POST", ""): _Classic(
        "create_task",
        (
            lambda its: {"title": "x", "depends_on": [its.task]},
            lambda its: {"title": "x", "parent_task_id": its.done},
            lambda its: {"title": "x", "workflow_id": its.workflow},
        ),
    ),
    ("POST", "/next"): _Classic("next_task", (lambda its: {"space_id": its.space, "agent_id": its.agent},)),
    ("GET", "/workflows"): _Classic("list_workflows", (lambda its: {"space_id": its.space},)),
    ("POST", "/workflows"): _Classic(
        "create_workflow", (lambda its: {"name": "x", "steps": [{"name": "x", "depends_on": [its.task]}]},)
    ),
    ("GET", "/workflows/{workflow_id}"): _Classic("get_workflow", (lambda its: {},)),
    ("GET", "/{task_id}"): _Classic("get_task", (lambda its: {},)),
    ("PUT", "/{task_id}"): _Classic("update_task", (lambda its: {"title": "x"},)),
    ("POST", "/{task_id}/claim"): _Classic("claim_task", (lambda its: {"agent_id": its.agent},)),
    ("POST", "/{task_id}/start"): _Classic(
        "start_task", (lambda its: {"token": its.token}, lambda its: {"agent_id": its.agent}, lambda its: {})
    ),
    ("POST", "/{task_id}/complete"): _Classic("complete_task", (lambda its: {"token": its.token, "output": "x"},)),
    ("POST", "/{task_id}/fail"): _Classic("fail_task", (lambda its: {"token": its.token, "error": "x"},)),
    ("POST", "/{task_id}/cancel"): _Classic("cancel_task", (lambda its: {},)),
    ("POST", "/{task_id}/progress"): _Classic("progress_task", (lambda its: {"agent_id": its.agent, "progress": 1},)),
    ("POST", "/{task_id}/signal"): _Classic("signal_task", (lambda its: {"name": "cancel"},)),
    ("GET", "/{task_id}/query/{query}"): _Classic("get_task", (lambda its: {},)),
}


def _classic_ways() -> list[Way]:
    return [
        Way((method, f"/api/tasks{path}"), _asking_classic(method, path, fields), OPERATIONS[row.operation].role)
        for (method, path), row in _CLASSIC.items()
        for fields in row.asks
    ]


def _asking_classic(method: str, path: str, fields: Callable[[Foreign], dict[str, Any]]) -> Callable[[Foreign], Ask]:
    def ask(its: Foreign) -> Ask:
        address = "/api/tasks" + path.format(task_id=its.task, workflow_id=its.workflow, query="status")
        return Ask(method, address, query=fields(its)) if method == "GET" else Ask(method, address, body=fields(its))

    return ask


# ----- MCP


def _tool_way(name: str) -> Way:
    arguments = CALLS[name][0]

    def ask(its: Foreign) -> Ask:
        asked = {"name": name, "arguments": arguments(its)}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": asked}
        return Ask("POST", "/mcp", body=body, headers={"Accept": "application/json, text/event-stream"})

    return Way(("POST", "/mcp"), ask, OPERATIONS[name].role)


TOOLS = (_tool_way("get_task"), _tool_way("update_task"))
"""One that reads and one that writes; tests/mcp_server asks all."""


# ----- what is no organisation's


def _open(path: str, *methods: str) -> list[Way]:
    return [Way((method, path), _always(Ask(method, path)), tells=False) for method in methods]


def _always(ask: Ask) -> Callable[[Foreign], Ask]:
    return lambda its: ask


OPEN = (
    *_open("/healthz", "GET", "HEAD"),
    *_open("/readyz", "GET", "HEAD"),
    *_open("/metrics", "GET"),
    *_open("/dashboard", "GET", "HEAD"),
    *_open("/dashboard/", "GET", "HEAD"),
    *_open("/dashboard/{name}", "GET", "HEAD"),
    *_open("/openapi.json", "GET", "HEAD"),
    *_open("/docs", "GET", "HEAD"),
)

WAYS: Sequence[Way] = (
    *(way for operation in OPERATIONS.values() if operation.name in CALLS for way in _operation_ways(operation)),
    *STREAMS,
    *_classic_ways(),
    *TOOLS,
    *OPEN,
)
