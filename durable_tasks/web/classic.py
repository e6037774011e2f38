"""The classic routes: `/api/tasks` as clients of an older system call it, done by the same operations as everything.

It must not know a rule of its own about tasks, but for what those clients may leave out. See the reference page.
"""

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic_core import from_json, to_json
from starlette.exceptions import HTTPException

from durable_tasks.app import DurableTasks
from durable_tasks.checks import build, task_filter
from durable_tasks.errors import AlreadyClaimed, DurableTasksError, IllegalMove, InvalidInput
from durable_tasks.models import LARGEST_PAGE, Mode, Node, Task, TaskState
from durable_tasks.operations.operation import Caller
from durable_tasks.operations.table import OPERATIONS
from durable_tasks.web import classic_bodies as bodies
from durable_tasks.web import refusals
from durable_tasks.web.classic_bodies import CLASSIC_STATES, classic_state, task_body, workflow_body
from durable_tasks.web.problems import CHALLENGE, told, when_to_retry

BodyT = TypeVar("BodyT", bound=bodies.Body)

DEFAULT_LIMIT = 100
LARGEST_OFFSET = 10_000
SIGNALS = ("claim", "complete", "fail", "progress", "update", "cancel")
_BY_HOLDER = ("complete", "fail", "progress")

FROM: Mapping[str, tuple[str, ...]] = {
    "start": ("pending", "claimed"),
    "complete": ("running",),
    "fail": ("running",),
    "progress": ("running",),
    "cancel": ("pending", "claimed", "running"),
}
"""In which of the classic states the older system allowed what ours allows in more, or answers without a change."""


class ClassicRoute(APIRoute):
    """Answers every refusal with `{"error": …}`, authentication included."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except DurableTasksError as error:
                status, said = told(error)
                return refusal(400 if isinstance(error, InvalidInput) else status, said, when_to_retry(error))
            except HTTPException as error:
                refusals.note(said=error.detail)
                return refusal(error.status_code, error.detail, error.headers)

        return answer


def refusal(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """Old clients read `error` on a conflict, else `message`."""
    challenge = {"WWW-Authenticate": CHALLENGE} if status == 401 else {}
    said = {"error": text, "message": text, "status": status}
    return JSONResponse(said, status_code=status, headers={**challenge, **(headers or {})})


async def read(request: Request, model: type[BodyT]) -> BodyT:
    """The request's body. None at all is an empty one; its content type never mattered. Raises InvalidInput."""
    text = await request.body()
    try:
        values = from_json(text, allow_inf_nan=False) if text else {}
    except ValueError as error:
        raise InvalidInput(f"the body is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise InvalidInput("the body is not a JSON object")
    return build(model, **values)


async def run(caller: Caller, operation: str, **fields: Any) -> Any:
    """One operation of the table, with its role and its checks."""
    row = OPERATIONS[operation]
    return await row.run(caller, build(row.request, **fields))


class Classic:
    """One method per route, and what the operations do not offer: acting for whoever holds a task, paging by offset."""

    def __init__(self, tasks: DurableTasks) -> None:
        self._tasks = tasks

    # ----- tasks

    async def list_tasks(self, caller: Caller, request: Request) -> Response:
        wanted = _filters(request)
        limit = _number(request.query_params.get("limit"), DEFAULT_LIMIT)
        limit = min(limit, LARGEST_PAGE) if limit > 0 else DEFAULT_LIMIT
        offset = max(_number(request.query_params.get("offset"), 0), 0)
        found = [] if wanted is None else await self._listed(caller, wanted, limit, offset)
        return _json({"items": [task_body(task) for task in found], "count": len(found)})

    async def create_task(self, caller: Caller, request: Request) -> Response:
        new = await read(request, bodies.NewClassicTask)
        _require(new.heading, "title (or name)")
        fields = new.new(caller.principal.subject)
        if new.workflow_id:
            added = await run(caller, "add_tasks", workflow_id=new.workflow_id, tasks=[fields])
            return _answer(added.items[0], status=201)
        return _answer(await run(caller, "create_task", **fields), status=201)

    async def next_task(self, caller: Caller, request: Request) -> Response:
        wanted = await read(request, bodies.NextWanted)
        claimed = await run(caller, "next_task", space_id=wanted.space, **_claiming(wanted.agent_id))
        return Response(status_code=204) if claimed is None else _answer(claimed.task, token=claimed.token)

    async def get_task(self, caller: Caller, request: Request) -> Response:
        return _answer(await run(caller, "get_task", **request.path_params))

    async def update_task(self, caller: Caller, request: Request) -> Response:
        edit = await read(request, bodies.Edit)
        fields = edit.model_dump(exclude_unset=True)
        return _answer(await run(caller, "update_task" if fields else "get_task", **request.path_params, **fields))

    async def claim_task(self, caller: Caller, request: Request) -> Response:
        holder = await read(request, bodies.Holder)
        claimed = await run(caller, "claim_task", **request.path_params, **_claiming(holder.agent_id))
        return _answer(claimed.task, token=claimed.token)

    async def start_task(self, caller: Caller, request: Request) -> Response:
        holder = await read(request, bodies.Holder)
        task = await self._admitted(caller, request, "start")
        if classic_state(task.state) == "pending":
            claimed = await run(caller, "claim_task", task_id=task.id, **_claiming(holder.agent_id))
            token = claimed.token
        else:
            token = await self._token(caller, task, holder)
        return _answer(await run(caller, "start_task", task_id=task.id, token=token))

    async def complete_task(self, caller: Caller, request: Request) -> Response:
        body = await read(request, bodies.Completion)
        task = await self._admitted(caller, request, "complete")
        token = await self._token(caller, task, body)
        return _answer(await run(caller, "complete_task", task_id=task.id, token=token, output=body.output))

    async def fail_task(self, caller: Caller, request: Request) -> Response:
        body = await read(request, bodies.Failure)
        _require(body.error, "error")
        task = await self._admitted(caller, request, "fail")
        token = await self._token(caller, task, body)
        failed = await run(caller, "fail_task", task_id=task.id, token=token, error=body.error)
        if failed.state is TaskState.RETRYING:
            # Old clients ask for the next task at once: a pause of no length must be over by then.
            await self._tasks.store.expire()
            failed = await run(caller, "get_task", task_id=task.id)
        return _answer(failed)

    async def progress_task(self, caller: Caller, request: Request) -> Response:
        body = await read(request, bodies.Progress)
        task = await self._admitted(caller, request, "progress")
        token = await self._token(caller, task, body)
        return _answer(await run(caller, "progress_task", task_id=task.id, token=token, percent=body.percent))

    async def cancel_task(self, caller: Caller, request: Request) -> Response:
        task = await self._admitted(caller, request, "cancel")
        return _answer(await run(caller, "cancel_task", task_id=task.id))

    async def signal_task(self, caller: Caller, request: Request) -> Response:
        signal = await read(request, bodies.Signal)
        _require(signal.name, "name")
        if signal.name not in SIGNALS:
            raise InvalidInput(f"the signals are {', '.join(SIGNALS)}; not {signal.name!r:.100}")
        task = await run(caller, "get_task", **request.path_params)
        await run(caller, "signal_task", task_id=task.id, signal=signal.name, payload=_payload(task, signal))
        return _json({"signaled": True, "task_id": task.id, "signal": signal.name})

    async def query_task(self, caller: Caller, request: Request) -> Response:
        """Whatever the query is called, the older system gave this answer."""
        task = await run(caller, "get_task", task_id=request.path_params["task_id"])
        return _json({"task_id": task.id, "state": classic_state(task.state), "output": task.output})

    # ----- workflows

    async def list_workflows(self, caller: Caller, request: Request) -> Response:
        space = request.query_params.get("space_id") or request.query_params.get("queue") or None
        page = await run(caller, "list_workflows", space_id=space, limit=LARGEST_PAGE)
        items: list[dict[str, Any]] = []
        left = LARGEST_PAGE * 10
        for one in page.items:
            left -= one.total
            if left < 0 and items:
                break
            items.append(workflow_body(one, [node.id for node in await self._members(caller, one.id)]))
        items.reverse()  # the oldest first
        return _json({"items": items, "count": len(items)})

    async def create_workflow(self, caller: Caller, request: Request) -> Response:
        new = await read(request, bodies.NewClassicWorkflow)
        _require(new.name, "name")
        _require(new.members, "tasks (or steps)")
        _require(all(member.heading for member in new.members), "the title (or name) of every task")
        made = await run(caller, "create_workflow", **new.new(caller.principal.subject))
        return await self._workflow(caller, made.id, status=201)

    async def get_workflow(self, caller: Caller, request: Request) -> Response:
        return await self._workflow(caller, request.path_params["workflow_id"])

    # ----- inside

    async def _workflow(self, caller: Caller, workflow_id: str, status: int = 200) -> Response:
        """Inputs and outputs are there as far as one page has room for them."""
        seen = await run(caller, "get_workflow", workflow_id=workflow_id, full=True)
        tasks, cursor = list(seen.tasks), seen.next_cursor
        while cursor is not None:
            page = await run(caller, "get_workflow", workflow_id=workflow_id, cursor=cursor)
            tasks += page.tasks
            cursor = page.next_cursor if len(page.tasks) == LARGEST_PAGE else None  # no more room
        workflow = workflow_body(seen.workflow, [node.id for node in await self._members(caller, workflow_id)])
        return _json({"workflow": workflow, "tasks": [task_body(task) for task in tasks]}, status_code=status)

    async def _members(self, caller: Caller, workflow_id: str) -> list[Node]:
        page = await caller.org.workflow_nodes(workflow_id)
        nodes = page.items
        while page.next_cursor is not None:
            page = await caller.org.workflow_nodes(workflow_id, cursor=page.next_cursor)
            nodes += page.items
        return nodes

    async def _admitted(self, caller: Caller, request: Request, verb: str) -> Task:
        """The task, in a state from which the older system allowed the verb. Raises NotFound, IllegalMove."""
        task: Task = await run(caller, "get_task", **request.path_params)
        state, legal = classic_state(task.state), FROM[verb]
        if state not in legal:
            raise IllegalMove(
                f"task {task.id} is {state}; {verb} needs {' or '.join(legal)}", task_id=task.id, state=state, verb=verb
            )
        return task

    async def _token(self, caller: Caller, task: Task, holder: bodies.Holder) -> str:
        """The token that the client shows; else of the attempt that the agent it names has; else of whoever has
        one, for an operator.

        Nothing is remembered here: SQLite knows who holds what. Raises IllegalMove, AlreadyClaimed."""
        if task.mode is Mode.AUTO:
            raise IllegalMove(f"task {task.id} is run by a handler; nobody else ends it", task_id=task.id)
        if holder.token:
            return holder.token
        agent_id = caller.named(holder.agent_id or task.assigned_to)
        token = await self._tasks.store.held_token(caller.principal.org, task.id, agent_id)
        if not token:
            raise AlreadyClaimed(
                f"task {task.id} belongs to {task.assigned_to!r}, not to {agent_id!r}", task_id=task.id
            )
        return token

    async def _listed(self, caller: Caller, wanted: Mapping[str, Any], limit: int, offset: int) -> list[Task]:
        """`limit` tasks after the first `offset`, of which only the ids are read: one page with inputs and outputs, and
        one without, as far as there is room. Raises InvalidInput."""
        if offset > LARGEST_OFFSET:
            raise InvalidInput(
                f"offset is at most {LARGEST_OFFSET}, not {offset}; ask for fewer by state or space_id, or page through"
                " /v1/tasks with its cursor"
            )
        cursor, more = await self._skipped(caller, wanted, offset)
        if not more:
            return []
        page = await run(caller, "list_tasks", limit=limit, cursor=cursor, full=True, **wanted)
        found = list(page.items)
        if page.next_cursor is not None and len(found) < limit:
            page = await run(caller, "list_tasks", limit=limit - len(found), cursor=page.next_cursor, **wanted)
            found += page.items
        return found

    async def _skipped(self, caller: Caller, wanted: Mapping[str, Any], offset: int) -> tuple[str | None, bool]:
        """The cursor behind the first `offset` tasks, and whether there are more."""
        cursor, left = None, offset
        while left:
            page = await self._tasks.store.page_ids(
                caller.principal.org, task_filter(wanted), limit=min(left, LARGEST_PAGE), cursor=cursor
            )
            left, cursor = left - len(page.items), page.next_cursor
            if cursor is None:
                return None, False
        return cursor, True


_TASK = "/{task_id}"
ROUTES = (
    ("GET", "", Classic.list_tasks),
    ("POST", "", Classic.create_task),
    ("POST", "/next", Classic.next_task),
    ("GET", "/workflows", Classic.list_workflows),
    ("POST", "/workflows", Classic.create_workflow),
    ("GET", "/workflows/{workflow_id}", Classic.get_workflow),
    ("GET", _TASK, Classic.get_task),
    ("PUT", _TASK, Classic.update_task),
    ("POST", f"{_TASK}/claim", Classic.claim_task),
    ("POST", f"{_TASK}/start", Classic.start_task),
    ("POST", f"{_TASK}/complete", Classic.complete_task),
    ("POST", f"{_TASK}/fail", Classic.fail_task),
    ("POST", f"{_TASK}/cancel", Classic.cancel_task),
    ("POST", f"{_TASK}/progress", Classic.progress_task),
    ("POST", f"{_TASK}/signal", Classic.signal_task),
    ("GET", f"{_TASK}/query/{{query}}", Classic.query_task),
)

Method = Callable[[Classic, Caller, Request], Awaitable[Response]]


def classic_routes(tasks: DurableTasks, caller_of: Callable[..., Awaitable[Caller]]) -> APIRouter:
    """`caller_of`: a FastAPI dependency that says who asks."""
    classic = Classic(tasks)
    router = APIRouter(prefix="/api/tasks", route_class=ClassicRoute, include_in_schema=False)

    def endpoint(method: Method) -> Callable[..., Awaitable[Response]]:
        async def answer(caller: Annotated[Caller, Depends(caller_of)], request: Request) -> Response:
            return await method(classic, caller, request)

        return answer

    for verb, path, method in ROUTES:
        router.add_api_route(path, endpoint(method), methods=[verb], name=f"classic {method.__name__}")
    return router


def _answer(task: Task, *, status: int = 200, **more: Any) -> Response:
    return _json(task_body(task, **more), status_code=status)


def _json(said: dict[str, Any], status_code: int = 200) -> Response:
    """A page may have megabytes, and nothing else runs while it is put into words: what takes a sixth of the time."""
    return Response(to_json(said), status_code, media_type="application/json")


def _claiming(agent_id: str) -> dict[str, Any]:
    """Old clients send no heartbeats: a task is theirs until they end it. Without a name the caller's own is meant."""
    return {"lease": None, **({"agent_id": agent_id} if agent_id else {})}


def _number(text: str | None, otherwise: int) -> int:
    """What is no number was always ignored."""
    try:
        return int(text or "")
    except ValueError:
        return otherwise


def _require(value: Any, what: str) -> None:
    if not value:
        raise InvalidInput(f"{what} is required")


def _filters(request: Request) -> dict[str, Any] | None:
    """The filters of a list as `list_tasks` takes them; None when nothing can match. Raises InvalidInput."""
    given = request.query_params
    wanted: dict[str, Any] = {name: given[name] for name in ("assigned_to", "workflow_id") if given.get(name)}
    if space := given.get("space_id") or given.get("queue"):
        wanted["space_id"] = space
    priority = _number(given.get("priority"), -1)
    if priority >= 0:
        wanted["priority"] = (priority,)
    if state := given.get("state"):
        if state not in CLASSIC_STATES:
            raise InvalidInput(f"the states are {', '.join(CLASSIC_STATES)}; not {state!r:.100}")
        wanted["state"] = CLASSIC_STATES[state]
        return wanted if wanted["state"] else None
    return wanted


def _payload(task: Task, signal: bodies.Signal) -> dict[str, Any]:
    """What our workflows read: who ends a task by a signal without saying who he is means its holder."""
    data = {} if signal.data is None else signal.data
    if not isinstance(data, dict):
        raise InvalidInput("the data of a signal is an object")
    if signal.name == "update" and "fields" not in data:
        return {"fields": data}
    unsaid = signal.name in _BY_HOLDER and not {"token", "agent_id"} & set(data)
    return {**data, "agent_id": task.assigned_to} if unsaid and task.assigned_to else data
