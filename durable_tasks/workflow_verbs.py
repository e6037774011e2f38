"""One organisation's workflows: the verbs that concern a group of tasks, checked and handed to the store.

It must not know SQL, Temporal or other organisations, nor the verbs of one task.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Literal, Protocol, Self, TypeVar

from durable_tasks.checks import build, check_batch, check_reason, check_text, one_or_more, page_limit
from durable_tasks.engine.waiters import Waiters
from durable_tasks.errors import InvalidInput
from durable_tasks.grouping import group_draft
from durable_tasks.models import (
    LARGEST_PAGE,
    MAX_MEMBERS,
    Actor,
    Attempt,
    Engine,
    FailurePolicy,
    Join,
    Mode,
    NewTask,
    Node,
    Page,
    Placement,
    Task,
    TaskState,
    Workflow,
    WorkflowKind,
    WorkflowState,
)
from durable_tasks.ports import Clock, Ids
from durable_tasks.quotas import Allowance, Quotas
from durable_tasks.store.drafts import Draft, draft
from durable_tasks.store.store import Store

T = TypeVar("T")
_ALL = Join("all")
_FEW = 100
"""Tasks of one call that are checked on the event loop."""


class Host(Protocol):
    """What an Org needs of the DurableTasks it belongs to."""

    clock: Clock
    ids: Ids
    waiters: Waiters

    @property
    def quotas(self) -> Quotas: ...

    @property
    def store(self) -> Store:
        """The open store. Raises Closed when there is none here."""
        ...

    @property
    def has_free_slot(self) -> bool:
        """Whether this process could begin another handler now."""
        ...

    def place(self, new: NewTask) -> tuple[Mode, Placement, Engine]:
        """How a new task is to run. Raises InvalidInput."""
        ...


class Workflows:
    """Half of an Org: what it can do with workflows."""

    def __init__(
        self,
        host: Host,
        org_id: str,
        actor: Actor | None = None,
        names: frozenset[str] | None = None,
        *,
        limited: bool = False,
    ) -> None:
        self._host = host
        self.id = org_id
        self._actor = actor
        self._names = names
        self._limited = limited

    def by(self, actor: str | Actor, *, names: Iterable[str] | None = None, limited: bool = False) -> Self:
        """The same organisation as `actor` acts in it: events and attempts record him, and `created_by` is he where
        nothing else is given. A text is a name that is only said; an application that knows its users gives
        `Actor(name=…, proved=True)`.

        `names`: only what is reserved for one of these, or held by one, may he give to somebody else (Forbidden);
        without them everything, for this program has full authority. `limited`: the quotas of the settings hold for
        what he stores (QuotaExceeded). Raises InvalidInput."""
        known = actor if isinstance(actor, Actor) else build(Actor, name=actor)
        return type(self)(self._host, self.id, known, None if names is None else frozenset(names), limited=limited)

    @property
    def _store(self) -> Store:
        """The store as whoever acts here uses it."""
        store = self._host.store
        return store if self._actor is None else store.by(self._actor, self._names)

    async def _open(self, tasks: int, act: Callable[[Store], Awaitable[T]], *, sure: bool = False) -> T:
        """Do what opens so many tasks, `sure`: unless it is refused. Raises QuotaExceeded."""
        if not self._limited:
            return await act(self._store)
        return await self._within(await self._host.quotas.open_tasks.allow(self.id, wanted=tasks, sure=sure), act)

    async def _within(self, allowance: Allowance, act: Callable[[Store], Awaitable[T]]) -> T:
        with allowance:
            return await act(self._host.store.by(self._actor, self._names, allowance))

    async def pipeline(self, name: str, steps: Sequence[NewTask], **options: Any) -> Workflow:
        """Steps one after the other; each handler sees the outputs before it as `ctx.prior`.

        Options of all three: description, metadata, space_id, created_by, idempotency_key, failure_policy."""
        return await self._group("pipeline", name, steps, options, default_policy="fail_fast")

    async def fan_out(
        self,
        name: str,
        tasks: Sequence[NewTask],
        *,
        join: Literal["all", "any"] | int = "all",
        max_parallel: int | None = None,
        **options: Any,
    ) -> Workflow:
        """Tasks side by side, at most `max_parallel` at once; done when all, any or `join` of them completed."""
        return await self._group("fan_out", name, tasks, options, join=Join(join), max_parallel=max_parallel)

    async def dag(self, name: str, tasks: Sequence[NewTask], **options: Any) -> Workflow:
        """Tasks that depend on each other by name."""
        return await self._group("dag", name, tasks, options)

    async def get_workflow(self, workflow_id: str) -> Workflow:
        """The workflow and how many members stand where. Raises NotFound."""
        return await self._host.store.get_group(self.id, workflow_id)

    async def workflow_tasks(self, workflow_id: str, *, full: bool = True) -> Sequence[Task]:
        """All its members in input order, read a page at a time. Without `full` as `list` has them. Raises NotFound."""
        found = await self.workflow_page(workflow_id, full=full)
        tasks = list(found.items)
        while found.next_cursor is not None:
            found = await self.workflow_page(workflow_id, cursor=found.next_cursor, full=full)
            tasks += found.items
        return tasks

    async def workflow_page(
        self, workflow_id: str, *, limit: int = LARGEST_PAGE, cursor: str | None = None, full: bool = False
    ) -> Page[Task]:
        """A page of its members in input order, as `list` has them. Raises NotFound."""
        return await self._host.store.members(self.id, workflow_id, limit=page_limit(limit), cursor=cursor, full=full)

    async def workflow_nodes(
        self, workflow_id: str, *, limit: int = MAX_MEMBERS, cursor: str | None = None
    ) -> Page[Node]:
        """A page of its members in input order: who they are, where they stand and what they wait for. Raises
        NotFound."""
        return await self._host.store.nodes(self.id, workflow_id, limit=page_limit(limit, MAX_MEMBERS), cursor=cursor)

    async def workflow_attempts(
        self, workflow_id: str, *, limit: int = 100, cursor: str | None = None
    ) -> Page[Attempt]:
        """A page of the executions of all its members, oldest first. Raises NotFound."""
        return await self._host.store.group_attempts(self.id, workflow_id, limit=page_limit(limit), cursor=cursor)

    async def list_workflows(
        self,
        *,
        state: WorkflowState | str | Sequence[WorkflowState | str] | None = None,
        space_id: str | None = None,
        text: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[Workflow]:
        """A page of workflows, newest first. `text`: a part of the name or the description."""
        try:
            states = [WorkflowState(one) for one in one_or_more(state)]
        except ValueError as error:
            raise InvalidInput(f"{error}; use {', '.join(WorkflowState)}", state=state) from error
        part = None if text is None else check_text(text, "text", 256)
        return await self._host.store.page_groups(
            self.id, states=states, space_id=space_id, text=part, limit=page_limit(limit), cursor=cursor
        )

    async def add_tasks(
        self, workflow_id: str, tasks: Sequence[NewTask], *, command_id: str | None = None
    ) -> Sequence[Task]:
        """Add members to an open workflow; a pipeline grows at its end."""
        check_batch(tasks)
        drafts = await self._drafts(tasks)
        return await self._open(len(drafts), lambda store: store.add_members(self.id, workflow_id, drafts, command_id))

    async def cancel_workflow(
        self, workflow_id: str, *, reason: str | None = None, command_id: str | None = None
    ) -> Workflow:
        """Cancel the workflow and its open members."""
        return await self._store.cancel_group(self.id, workflow_id, check_reason(reason), command_id)

    async def retry_workflow(self, workflow_id: str, *, command_id: str | None = None) -> Workflow:
        """Reopen a failed or cancelled workflow: its failed and cancelled members run again."""
        members = await self._count_retried(workflow_id) if self._limited else 0
        return await self._open(members, lambda store: store.retry_group(self.id, workflow_id, command_id))

    async def _count_retried(self, workflow_id: str) -> int:
        counts = (await self.get_workflow(workflow_id)).counts
        return counts.get(TaskState.FAILED, 0) + counts.get(TaskState.CANCELLED, 0)

    async def _group(
        self,
        kind: WorkflowKind,
        name: str,
        tasks: Sequence[NewTask],
        options: dict[str, Any],
        *,
        join: Join = _ALL,
        max_parallel: int | None = None,
        default_policy: FailurePolicy = "continue",
    ) -> Workflow:
        drafted = await _aside(
            tasks,
            lambda: group_draft(
                kind,
                name,
                tasks,
                options,
                join=join,
                max_parallel=max_parallel,
                default_policy=default_policy,
                draft=self._draft,
            ),
        )
        is_new = drafted.idempotency_key is None
        return await self._open(len(tasks), lambda store: store.create_group(self.id, drafted), sure=is_new)

    async def _drafts(self, tasks: Sequence[NewTask]) -> list[Draft]:
        return await _aside(tasks, lambda: [self._draft(new) for new in tasks])

    def _draft(self, new: NewTask) -> Draft:
        mode, placement, engine = self._host.place(new)
        return draft(new, mode=mode, placement=placement, engine=engine)


async def _aside(tasks: Sequence[NewTask], make: Callable[[], T]) -> T:
    """What `make` makes of the tasks; in a thread when there are many, or they have forms, each of which may take a
    tenth of a second."""
    if len(tasks) > _FEW or any(isinstance(new, NewTask) and new.form is not None for new in tasks):
        return await asyncio.to_thread(make)
    return make()
