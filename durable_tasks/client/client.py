"""The client itself: every verb of `Org`, each as a call of the API's operations.

It must not know HTTP: what is sent, when it is sent again and how streams go on is elsewhere.
"""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Any, Literal, Self, Unpack

import httpx

from durable_tasks.checks import check_batch, one_or_more, task_filter
from durable_tasks.client.calls import Calls, path_part
from durable_tasks.client.stream import Stream
from durable_tasks.clock import SystemClock, SystemIds
from durable_tasks.durations import DurationLike, parse_duration
from durable_tasks.errors import InvalidInput, WaitTimeout
from durable_tasks.models import (
    DEFAULT_LEASE,
    DEFAULT_SPACE,
    LARGEST_PAGE,
    MAX_MEMBERS,
    Attempt,
    Changed,
    Claim,
    Event,
    FilterFields,
    Heartbeat,
    NewTask,
    Node,
    Page,
    Task,
    TaskCounts,
    TaskError,
    TaskFields,
    Workflow,
    WorkflowKind,
    WorkflowState,
)
from durable_tasks.operations import answers
from durable_tasks.operations.requests import LONGEST_WAIT
from durable_tasks.operations.table import OPERATIONS
from durable_tasks.ports import Clock, Ids
from durable_tasks.standing import Activity, Explanation, Queues

PATIENCE = 30.0
_FENCED = frozenset({"progress_task", "complete_task", "fail_task"})
"""Repeated with the same token they are done once anyhow; a command id would have the server keep each answer."""


class Client:
    """The tasks of one organisation, that of the token, as a server has them: `async with Client(url, token) as org:`.

    It has the verbs of `Org`, with their arguments, answers and errors, but for `by` and `create_in`. What got no
    answer is asked again for `patience` seconds, and done once: every call has a key or a command id, which is made up
    when you give none. Then ServerUnavailable is raised."""

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        patience: DurationLike = PATIENCE,
        http: httpx.AsyncClient | None = None,
        clock: Clock | None = None,
        ids: Ids | None = None,
    ) -> None:
        """`url`: where the API is served, without /v1. `http`: a client of your own, with its proxies, certificates
        and limits; you close it. Raises ConfigurationError."""
        self._clock: Clock = SystemClock() if clock is None else clock
        self._ids: Ids = SystemIds() if ids is None else ids
        self._open = AsyncExitStack()
        if http is None:
            # No limit to connections: many waits and watches must not keep a heartbeat from being sent.
            http = httpx.AsyncClient(limits=httpx.Limits(max_keepalive_connections=20))
            self._open.push_async_callback(http.aclose)
        self._calls = Calls(http, url, token, self._clock, parse_duration(patience))

    def __repr__(self) -> str:
        return f"Client({self._calls.url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. Idempotent."""
        await self._open.aclose()

    async def call(self, operation: str, **fields: Any) -> Any:
        """Any operation of the API by its name, for those that `Org` does not have (docs/reference/http.md lists
        them). Raises InvalidInput for another name."""
        if operation not in OPERATIONS:
            raise InvalidInput(f"there is no operation {operation!r}", operation=operation)
        return await self._calls.call(OPERATIONS[operation], fields)

    # ----- creating and reading tasks

    async def create(self, title: str | None = None, **fields: Unpack[TaskFields]) -> Task:
        """As Org.create."""
        given: dict[str, Any] = {**fields} if title is None else {"title": title, **fields}
        task: Task = await self.call("create_task", **self._keyed(given))
        return task

    async def create_many(self, tasks: Sequence[NewTask]) -> list[Task]:
        """As Org.create_many, for at most 1,000 tasks."""
        check_batch(tasks)
        keyed = [
            new if new.idempotency_key else new.model_copy(update={"idempotency_key": self._key()}) for new in tasks
        ]
        made: answers.Tasks = await self.call("create_tasks", tasks=keyed)
        return list(made.items)

    async def get(self, task_id: str) -> Task:
        """As Org.get."""
        task: Task = await self.call("get_task", task_id=task_id)
        return task

    async def list(
        self, *, limit: int = 100, cursor: str | None = None, full: bool = False, **filters: Unpack[FilterFields]
    ) -> Page[Task]:
        """As Org.list."""
        found: answers.Listed[Task] = await self.call(
            "list_tasks", limit=limit, cursor=cursor, full=full, **_said(filters)
        )
        return Page([*found.items], found.next_cursor)

    async def count(self, **filters: Unpack[FilterFields]) -> TaskCounts:
        """As Org.count."""
        counted: TaskCounts = await self.call("count_tasks", **_said(filters))
        return counted

    async def update(
        self, task_id: str, *, version: int | None = None, command_id: str | None = None, **fields: Any
    ) -> Task:
        """As Org.update."""
        return await self._task("update_task", task_id, command_id, version=version, **fields)

    async def comment(
        self, task_id: str, text: str, *, author: str | None = None, command_id: str | None = None
    ) -> Event:
        """As Org.comment, but for the author, which is the subject of the token."""
        if author is not None:
            raise InvalidInput("over HTTP the author is whom the token stands for; leave it out", author=author)
        event: Event = await self.call("comment_task", task_id=task_id, text=text, command_id=command_id or self._key())
        return event

    async def attempts(self, task_id: str) -> Sequence[Attempt]:
        """As Org.attempts."""
        found: answers.Attempts = await self.call("list_attempts", task_id=task_id)
        return found.items

    async def has_active_task(self, agent_id: str) -> bool:
        """As Org.has_active_task."""
        page = await self.list(state=("claimed", "running"), assigned_to=agent_id, limit=1)
        return bool(page.items)

    # ----- claiming

    async def next(
        self,
        *,
        agent_id: str,
        space_id: str = DEFAULT_SPACE,
        capabilities: Sequence[str] | None = None,
        groups: Collection[str] = (),
        lease: DurationLike | None = DEFAULT_LEASE,
        command_id: str | None = None,
    ) -> Claim | None:
        """As Org.next, but for the groups, which are those of the token."""
        _refuse_groups(groups)
        claimed: answers.Claimed | None = await self.call(
            "next_task",
            agent_id=agent_id,
            space_id=space_id,
            capabilities=capabilities,
            lease=lease,
            command_id=command_id or self._key(),
        )
        return None if claimed is None else _claim(claimed)

    async def next_many(
        self,
        limit: int,
        *,
        agent_id: str,
        space_id: str = DEFAULT_SPACE,
        capabilities: Sequence[str] | None = None,
        groups: Collection[str] = (),
        lease: DurationLike | None = DEFAULT_LEASE,
    ) -> Sequence[Claim]:
        """As Org.next_many, one request for each task."""
        claims: list[Claim] = []
        while len(claims) < limit:
            claim = await self.next(
                agent_id=agent_id, space_id=space_id, capabilities=capabilities, groups=groups, lease=lease
            )
            if claim is None:
                break
            claims.append(claim)
        return claims

    async def complete_and_next(
        self,
        task_id: str,
        output: Any = None,
        *,
        token: str,
        agent_id: str,
        space_id: str = DEFAULT_SPACE,
        capabilities: Sequence[str] | None = None,
        groups: Collection[str] = (),
        lease: DurationLike | None = DEFAULT_LEASE,
    ) -> tuple[Task, Claim | None]:
        """As Org.complete_and_next, in two requests."""
        done = await self.complete(task_id, output, token=token)
        return done, await self.next(
            agent_id=agent_id, space_id=space_id, capabilities=capabilities, groups=groups, lease=lease
        )

    async def claim(
        self,
        task_id: str,
        *,
        agent_id: str,
        groups: Collection[str] = (),
        lease: DurationLike | None = DEFAULT_LEASE,
        command_id: str | None = None,
    ) -> Claim:
        """As Org.claim, but for the groups, which are those of the token."""
        _refuse_groups(groups)
        return _claim(
            await self.call(
                "claim_task", task_id=task_id, agent_id=agent_id, lease=lease, command_id=command_id or self._key()
            )
        )

    async def start(self, task_id: str, *, token: str, command_id: str | None = None) -> Task:
        """As Org.start."""
        return await self._task("start_task", task_id, command_id, token=token)

    async def heartbeat(self, task_id: str, *, token: str) -> Heartbeat:
        """As Org.heartbeat."""
        beat: answers.Beat = await self.call("heartbeat_task", task_id=task_id, token=token)
        return Heartbeat(beat.lease_expires_at, beat.cancel_requested)

    async def progress(
        self, task_id: str, percent: float, *, token: str, message: str | None = None, command_id: str | None = None
    ) -> Task:
        """As Org.progress."""
        return await self._task("progress_task", task_id, command_id, percent=percent, token=token, message=message)

    async def complete(self, task_id: str, output: Any = None, *, token: str, command_id: str | None = None) -> Task:
        """As Org.complete."""
        return await self._task("complete_task", task_id, command_id, output=output, token=token)

    async def fail(
        self,
        task_id: str,
        error: str | TaskError,
        *,
        token: str,
        retryable: bool = True,
        retry_after: DurationLike | None = None,
        command_id: str | None = None,
    ) -> Task:
        """As Org.fail."""
        return await self._task(
            "fail_task", task_id, command_id, error=error, token=token, retryable=retryable, retry_after=retry_after
        )

    async def release(self, task_id: str, *, token: str, command_id: str | None = None) -> Task:
        """As Org.release."""
        return await self._task("release_task", task_id, command_id, token=token)

    async def cancel(self, task_id: str, *, reason: str | None = None, command_id: str | None = None) -> Task:
        """As Org.cancel."""
        return await self._task("cancel_task", task_id, command_id, reason=reason)

    async def retry(self, task_id: str, *, command_id: str | None = None) -> Task:
        """As Org.retry."""
        return await self._task("retry_task", task_id, command_id)

    async def cancel_many(
        self,
        *,
        dry_run: bool = False,
        limit: int = 1000,
        cursor: str | None = None,
        reason: str | None = None,
        **filters: Unpack[FilterFields],
    ) -> Changed:
        """As Org.cancel_many. It is not asked again when it got no answer: it would cancel `limit` more."""
        how = {"dry_run": dry_run, "limit": limit, "cursor": cursor, "reason": reason}
        changed: Changed = await self.call("cancel_tasks", **how, **_said(filters))
        return changed

    async def retry_many(
        self, *, dry_run: bool = False, limit: int = 1000, cursor: str | None = None, **filters: Unpack[FilterFields]
    ) -> Changed:
        """As Org.retry_many. It is not asked again when it got no answer: what failed since would run again too."""
        how = {"dry_run": dry_run, "limit": limit, "cursor": cursor}
        changed: Changed = await self.call("retry_tasks", **how, **_said(filters))
        return changed

    # ----- waiting and watching

    async def wait(self, task_id: str, *, timeout: DurationLike | None = None) -> Task:
        """As Org.wait."""
        ended: Task = (await self._wait_for("wait_task", task_id, timeout, task_id=task_id)).task
        return ended

    async def wait_workflow(self, workflow_id: str, *, timeout: DurationLike | None = None) -> Workflow:
        """As Org.wait_workflow."""
        ended: Workflow = (
            await self._wait_for("wait_workflow", workflow_id, timeout, workflow_id=workflow_id)
        ).workflow
        return ended

    async def _wait_for(self, operation: str, key: str, timeout: DurationLike | None, **fields: str) -> Any:
        """One request after the other: a server keeps none open for longer than a minute."""
        until = None if timeout is None else self._clock.steady() + parse_duration(timeout)
        while True:
            left = LONGEST_WAIT if until is None else max(0.0, until - self._clock.steady())
            asked = {**fields, "timeout": min(left, LONGEST_WAIT)}
            patience = None if until is None else left
            answer = await self._calls.call(OPERATIONS[operation], asked, patience)
            if answer.ended:
                return answer
            if left <= 0:
                raise WaitTimeout(f"{key} had not ended after {timeout} s", id=key, timeout=timeout)

    async def events(
        self, *, task_id: str | None = None, workflow_id: str | None = None, after: int = 0, limit: int = 100
    ) -> Sequence[Event]:
        """As Org.events."""
        found: answers.Events = await self.call(
            "list_events", task_id=task_id, workflow_id=workflow_id, after=after, limit=limit
        )
        return found.items

    async def watch(
        self, *, task_id: str | None = None, workflow_id: str | None = None, after: int | None = None
    ) -> AsyncGenerator[Event, None]:
        """As Org.watch; it goes on by itself after the server was away for less than the client's patience."""
        if task_id is not None and workflow_id is not None:
            raise InvalidInput("watch a task or a workflow, not both", task_id=task_id, workflow_id=workflow_id)
        path = "/events/stream"
        if task_id is not None:
            path = f"/tasks/{path_part(task_id)}{path}"
        elif workflow_id is not None:
            path = f"/workflows/{path_part(workflow_id)}{path}"
        async with aclosing(Stream(self._calls, self._clock, path, after).follow()) as events:
            async for event in events:
                yield event

    # ----- workflows

    async def pipeline(self, name: str, steps: Sequence[NewTask], **options: Any) -> Workflow:
        """As Org.pipeline."""
        return await self._group("pipeline", name, steps, options)

    async def fan_out(
        self,
        name: str,
        tasks: Sequence[NewTask],
        *,
        join: Literal["all", "any"] | int = "all",
        max_parallel: int | None = None,
        **options: Any,
    ) -> Workflow:
        """As Org.fan_out."""
        return await self._group("fan_out", name, tasks, {"join": join, "max_parallel": max_parallel, **options})

    async def dag(self, name: str, tasks: Sequence[NewTask], **options: Any) -> Workflow:
        """As Org.dag."""
        return await self._group("dag", name, tasks, options)

    async def get_workflow(self, workflow_id: str) -> Workflow:
        """As Org.get_workflow."""
        # The operation of that name brings all its tasks along.
        found: answers.WaitedWorkflow = await self.call("wait_workflow", workflow_id=workflow_id, timeout=0)
        return found.workflow

    async def workflow_tasks(self, workflow_id: str, *, full: bool = True) -> Sequence[Task]:
        """As Org.workflow_tasks."""
        found = await self.workflow_page(workflow_id, full=full)
        tasks = [*found.items]
        while found.next_cursor is not None:
            found = await self.workflow_page(workflow_id, cursor=found.next_cursor, full=full)
            tasks += found.items
        return tasks

    async def workflow_page(
        self, workflow_id: str, *, limit: int = LARGEST_PAGE, cursor: str | None = None, full: bool = False
    ) -> Page[Task]:
        """As Org.workflow_page."""
        found: answers.WorkflowWithTasks = await self.call(
            "get_workflow", workflow_id=workflow_id, limit=limit, cursor=cursor, full=full
        )
        return Page([*found.tasks], found.next_cursor)

    async def workflow_nodes(
        self, workflow_id: str, *, limit: int = MAX_MEMBERS, cursor: str | None = None
    ) -> Page[Node]:
        """As Org.workflow_nodes."""
        found: answers.Graph = await self.call("graph_workflow", workflow_id=workflow_id, limit=limit, cursor=cursor)
        return Page([*found.nodes], found.next_cursor)

    async def workflow_attempts(
        self, workflow_id: str, *, limit: int = 100, cursor: str | None = None
    ) -> Page[Attempt]:
        """As Org.workflow_attempts."""
        found: answers.Listed[Attempt] = await self.call(
            "list_workflow_attempts", workflow_id=workflow_id, limit=limit, cursor=cursor
        )
        return Page([*found.items], found.next_cursor)

    async def list_workflows(
        self,
        *,
        state: WorkflowState | str | Sequence[WorkflowState | str] | None = None,
        space_id: str | None = None,
        text: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[Workflow]:
        """As Org.list_workflows."""
        found: answers.Listed[Workflow] = await self.call(
            "list_workflows", state=one_or_more(state), space_id=space_id, text=text, limit=limit, cursor=cursor
        )
        return Page([*found.items], found.next_cursor)

    async def add_tasks(
        self, workflow_id: str, tasks: Sequence[NewTask], *, command_id: str | None = None
    ) -> Sequence[Task]:
        """As Org.add_tasks, for at most 1,000 tasks."""
        check_batch(tasks)
        added: answers.Tasks = await self.call(
            "add_tasks", workflow_id=workflow_id, tasks=tasks, command_id=command_id or self._key()
        )
        return added.items

    async def cancel_workflow(
        self, workflow_id: str, *, reason: str | None = None, command_id: str | None = None
    ) -> Workflow:
        """As Org.cancel_workflow."""
        workflow: Workflow = await self.call(
            "cancel_workflow", workflow_id=workflow_id, reason=reason, command_id=command_id or self._key()
        )
        return workflow

    async def retry_workflow(self, workflow_id: str, *, command_id: str | None = None) -> Workflow:
        """As Org.retry_workflow."""
        workflow: Workflow = await self.call(
            "retry_workflow", workflow_id=workflow_id, command_id=command_id or self._key()
        )
        return workflow

    # ----- how things stand

    async def explain(self, task_id: str) -> Explanation:
        """As Org.explain."""
        explanation: Explanation = await self.call("explain_task", task_id=task_id)
        return explanation

    async def list_queues(self) -> Queues:
        """As Org.list_queues."""
        queues: Queues = await self.call("list_queues")
        return queues

    async def measure(self) -> Activity:
        """As Org.measure."""
        activity: Activity = await self.call("measure_org")
        return activity

    async def _group(
        self, kind: WorkflowKind, name: str, tasks: Sequence[NewTask], options: dict[str, Any]
    ) -> Workflow:
        check_batch(tasks)
        workflow: Workflow = await self.call(
            "create_workflow", kind=kind, name=name, tasks=tasks, **self._keyed(options)
        )
        return workflow

    async def _task(self, operation: str, task_id: str, command_id: str | None, **fields: Any) -> Task:
        if command_id is None and operation not in _FENCED:
            command_id = self._key()
        task: Task = await self.call(operation, task_id=task_id, command_id=command_id, **fields)
        return task

    def _key(self) -> str:
        return self._ids.token()

    def _keyed(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {**fields, "idempotency_key": fields.get("idempotency_key") or self._key()}


def _refuse_groups(groups: Collection[str]) -> None:
    if groups:
        raise InvalidInput("over HTTP an agent has the groups of its token; leave them out", groups=sorted(groups))


def _claim(claimed: answers.Claimed) -> Claim:
    return Claim(claimed.task, claimed.token, claimed.lease_expires_at)


def _said(filters: Mapping[str, Any]) -> dict[str, Any]:
    return task_filter(filters).model_dump(exclude_defaults=True)
