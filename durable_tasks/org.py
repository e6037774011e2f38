"""One organisation's tasks: every verb that users, agents and surfaces call, checked and handed to the store.

It must not know SQL, Temporal or other organisations.
"""

import logging
import math
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from typing import Any, TypeVar, Unpack

import aiosqlite

from durable_tasks.bulk import Bulk
from durable_tasks.checks import (
    ERROR_LIMIT,
    capability_list,
    check_agent,
    check_batch,
    check_groups,
    check_reason,
    check_text,
    edited_columns,
    event_number,
    lease_seconds,
    new_task,
    page_limit,
    task_filter,
    task_version,
)
from durable_tasks.durations import DurationLike, parse_duration
from durable_tasks.engine.waiters import org_key
from durable_tasks.errors import InvalidInput, WaitTimeout
from durable_tasks.handlers import current_task
from durable_tasks.lifecycle import Verb, is_terminal
from durable_tasks.models import (
    DEFAULT_LEASE,
    DEFAULT_SPACE,
    LARGEST_PAGE,
    Attempt,
    Changed,
    Claim,
    Event,
    FilterFields,
    Heartbeat,
    Mode,
    NewTask,
    Page,
    Task,
    TaskCounts,
    TaskError,
    TaskFields,
    Workflow,
)
from durable_tasks.standing import Activity, Explanation, Queues
from durable_tasks.store import joining
from durable_tasks.store.claims import Wanted
from durable_tasks.store.rows import DETAIL_LIMIT, dump_payload
from durable_tasks.store.store import Store
from durable_tasks.store.tasks import EDITABLE
from durable_tasks.wording import shown
from durable_tasks.workflow_verbs import Workflows

T = TypeVar("T")
log = logging.getLogger("durable_tasks")


class Org(Workflows):
    """Get one from `tasks.org("acme")`. Every method sees this organisation only; others' ids are not found.

    Verbs take `command_id`: repeated with the same id they give the first answer again."""

    # ----- creating and reading tasks

    async def create(self, title: str | None = None, **fields: Unpack[TaskFields]) -> Task:
        """Create one task; see NewTask for the fields. With an `idempotency_key` used before: the task it made.

        Raises InvalidInput, PayloadTooLarge, UnknownDependency, NotFound (parent), IdempotencyConflict."""
        (drafted,) = await self._drafts([new_task(title, fields)])
        is_new = drafted.new.idempotency_key is None
        return await self._open(1, lambda store: store.create(self.id, drafted), sure=is_new)

    async def create_many(self, tasks: Sequence[NewTask]) -> list[Task]:
        """Create all or none, in one transaction. They may depend on each other by name."""
        check_batch(tasks)
        drafts = await self._drafts(tasks)
        are_new = all(one.new.idempotency_key is None for one in drafts)
        return await self._open(len(drafts), lambda store: store.create_many(self.id, drafts), sure=are_new)

    async def create_in(
        self,
        connection: sqlite3.Connection | aiosqlite.Connection,
        title: str | None = None,
        **fields: Unpack[TaskFields],
    ) -> Task:
        """Create one task in the caller's own transaction: it exists when, and only if, that commits.

        The connection must be to the same file, inside BEGIN IMMEDIATE, with synchronous FULL; else
        ForeignTransaction."""
        host = self._host
        (drafted,) = await self._drafts([new_task(title, fields)])
        store = self._store
        return await joining.insert(store, connection, self.id, drafted, host.ids)

    async def get(self, task_id: str) -> Task:
        """The task. Raises NotFound."""
        return await self._host.store.get(self.id, task_id)

    async def list(
        self, *, limit: int = 100, cursor: str | None = None, full: bool = False, **filters: Unpack[FilterFields]
    ) -> Page[Task]:
        """A page of tasks, priority descending, then oldest first; see TaskFilter for the filters. Pass `next_cursor`
        for the next page. A page may hold fewer than `limit`, even none, before the last: so many were looked at, or
        there was no more room.

        Unless `full`, inputs, outputs, forms and the details of errors are left out: they are None, and named in
        `omitted`. Raises InvalidInput, QueryTooCostly."""
        wanted = task_filter(filters)
        return await self._host.store.page(self.id, wanted, limit=page_limit(limit), cursor=cursor, full=full)

    async def count(self, **filters: Unpack[FilterFields]) -> TaskCounts:
        """How many tasks fit, by state; the filters are those of `list`."""
        return await self._host.store.count(self.id, task_filter(filters))

    async def update(
        self, task_id: str, *, version: int | None = None, command_id: str | None = None, **fields: Any
    ) -> Task:
        """Edit an open task's title, description, priority, labels, metadata, assigned_to, deadline,
        max_retries or timeout. With `version`: only if nobody edited it since. Raises VersionConflict.

        Assigned to another than its holder, a manual task is taken from the holder, whose token is refused from then
        on; assigned to None, anybody may take it."""
        unknown = sorted(set(fields) - EDITABLE)
        if unknown or not fields:
            raise InvalidInput(
                f"update takes {', '.join(sorted(EDITABLE))}; not {', '.join(unknown) or 'nothing'}", fields=unknown
            )
        return await self._store.update(self.id, task_id, edited_columns(fields), task_version(version), command_id)

    async def comment(
        self, task_id: str, text: str, *, author: str | None = None, command_id: str | None = None
    ) -> Event:
        """Say something about a task, also after its end: the event `task.commented` keeps it. Raises NotFound."""
        said = check_text(text, "text", ERROR_LIMIT)
        by = None if author is None else check_text(author, "author", 256)

        async def write(store: Store) -> Event:
            return await store.comment(self.id, task_id, said, by, command_id)

        if not self._limited:
            return await write(self._store)
        return await self._within(await self._host.quotas.comments.allow(self.id, task_id), write)

    async def attempts(self, task_id: str) -> Sequence[Attempt]:
        """Every execution of the task, oldest first."""
        return await self._host.store.history(self.id, task_id)

    async def has_active_task(self, agent_id: str) -> bool:
        """Whether the agent holds a claimed or running task."""
        return await self._host.store.has_active(self.id, agent_id)

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
        """Claim the most urgent, then oldest, ready manual task of the space; None when there is none.

        `capabilities`: only tasks that name one of them or none. `groups`: those of the agent, who may take what is
        assigned to one of them. `lease`: how long it is held without a heartbeat; None: until release. A call
        cancelled at any instant leaves no claim behind. Raises IdempotencyConflict for a `command_id` that asked
        for something else."""
        wanted, store = _wanted(agent_id, space_id, capabilities, groups, lease), self._store
        if command_id is None:
            claims = await store.next_claims(self.id, wanted, 1)
        else:
            claims = await store.next_once(self.id, wanted, command_id)
        return claims[0] if claims else None

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
        """Claim up to `limit` tasks in one operation, in the order of `next`."""
        wanted = _wanted(agent_id, space_id, capabilities, groups, lease)
        return await self._store.next_claims(self.id, wanted, page_limit(limit))

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
        """Complete one task and claim the next, in one operation and one commit."""
        wanted = _wanted(agent_id, space_id, capabilities, groups, lease)
        done, claims = await self._store.complete_and_next(
            self.id, task_id, dump_payload(output, "output"), token, wanted
        )
        return done, (claims[0] if claims else None)

    async def claim(
        self,
        task_id: str,
        *,
        agent_id: str,
        groups: Collection[str] = (),
        lease: DurationLike | None = DEFAULT_LEASE,
        command_id: str | None = None,
    ) -> Claim:
        """Claim this very task, also one that is assigned to one of the agent's `groups`.
        Raises AlreadyClaimed, IllegalMove (also for a task that a handler runs)."""
        by, named = check_agent(agent_id), check_groups(groups)
        return await self._store.claim(self.id, task_id, by, lease_seconds(lease), command_id, groups=named)

    async def held_token(self, task_id: str, *, agent_id: str) -> str:
        """The token of the attempt that the agent has claimed, or has still to stop; empty when there is none. For
        surfaces whose callers are known by name; every verb refuses an empty one. What handlers run is nobody's, also
        not of somebody who is called as a queue's workers are."""
        return await self._host.store.held_token(self.id, task_id, check_agent(agent_id), (Mode.MANUAL,))

    async def start(self, task_id: str, *, token: str, command_id: str | None = None) -> Task:
        """Say that the work has begun: claimed → running, and the timeout starts."""
        return await self._store.start(self.id, task_id, token, command_id)

    async def heartbeat(self, task_id: str, *, token: str) -> Heartbeat:
        """Renew the lease; learn whether the task was cancelled. Raises StaleToken when it was lost."""
        return await self._store.heartbeat(self.id, task_id, token)

    async def progress(
        self, task_id: str, percent: float, *, token: str, message: str | None = None, command_id: str | None = None
    ) -> Task:
        """Report progress, 0 to 100; renews the lease."""
        if isinstance(percent, bool) or not isinstance(percent, int | float) or not 0 <= percent <= 100:
            raise InvalidInput(f"progress is a number from 0 to 100, not {shown(percent)}", percent=percent)
        said = None if message is None else check_text(message, "message", ERROR_LIMIT, empty=True)
        return await self._store.progress(self.id, task_id, float(percent), token, said, command_id)

    async def complete(self, task_id: str, output: Any = None, *, token: str, command_id: str | None = None) -> Task:
        """End the attempt well. Repeated with the same token and output it returns the task again.

        Raises InvalidOutput when the task has a form and the output does not fit it."""
        return await self._store.complete(self.id, task_id, dump_payload(output, "output"), token, command_id)

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
        """End the attempt badly: retried while retries remain and `retryable`, else failed."""
        failure = error if isinstance(error, TaskError) else TaskError(type="failed", message=str(error)[:ERROR_LIMIT])
        check_text(failure.type, "error.type", 256)
        check_text(failure.message, "error.message", ERROR_LIMIT, empty=True)
        dump_payload(failure.details, "error.details", DETAIL_LIMIT)
        after = None if retry_after is None else parse_duration(retry_after)
        return await self._store.fail(self.id, task_id, failure, token, retryable, after, command_id)

    async def release(self, task_id: str, *, token: str, command_id: str | None = None) -> Task:
        """Give the task back without using a retry; also how to say that a cancelled attempt has stopped."""
        return await self._store.release(self.id, task_id, token, command_id)

    async def cancel(self, task_id: str, *, reason: str | None = None, command_id: str | None = None) -> Task:
        """Cancel at once; its attempt is told to stop and its result refused."""
        return await self._store.cancel(self.id, task_id, check_reason(reason), command_id)

    async def retry(self, task_id: str, *, command_id: str | None = None) -> Task:
        """Run a failed or cancelled task again, with fresh counters."""
        return await self._open(1, lambda store: store.retry(self.id, task_id, command_id))

    async def cancel_many(
        self,
        *,
        dry_run: bool = False,
        limit: int = 1000,
        cursor: str | None = None,
        reason: str | None = None,
        **filters: Unpack[FilterFields],
    ) -> Changed:
        """Cancel the open ones among the tasks that fit, at most `limit` of them, in small transactions; the filters
        are those of `list`, and one is needed. With `dry_run`: only say how many there are."""
        bulk = Bulk(Verb.CANCEL, task_filter(filters), page_limit(limit), cursor, check_reason(reason))
        if dry_run:
            return await bulk.foresee(self._store, self.id)
        found = await bulk.find(self._store, self.id)
        return await bulk.change(self._store, self.id, found)

    async def retry_many(
        self, *, dry_run: bool = False, limit: int = 1000, cursor: str | None = None, **filters: Unpack[FilterFields]
    ) -> Changed:
        """Run again the failed and cancelled ones among the tasks that fit, as `cancel_many` cancels."""
        bulk = Bulk(Verb.RETRY, task_filter(filters), page_limit(limit), cursor)
        if dry_run:
            return await bulk.foresee(self._store, self.id)
        found = await bulk.find(self._store, self.id)
        return await self._open(len(found.items), lambda store: bulk.change(store, self.id, found), sure=True)

    # ----- waiting and watching

    async def wait(self, task_id: str, *, timeout: DurationLike | None = None) -> Task:
        """The task once it is terminal. Raises WaitTimeout, NotFound."""

        return await self._wait_for(task_id, lambda: self._host.store.get_ended(self.id, task_id), timeout)

    async def wait_workflow(self, workflow_id: str, *, timeout: DurationLike | None = None) -> Workflow:
        """The workflow once it is terminal. Raises WaitTimeout, NotFound."""

        async def look() -> Workflow | None:
            state = await self._host.store.group_state(self.id, workflow_id)
            return await self.get_workflow(workflow_id) if is_terminal(state) else None

        return await self._wait_for(workflow_id, look, timeout)

    async def _wait_for(self, key: str, look: Callable[[], Awaitable[T | None]], timeout: DurationLike | None) -> T:
        clock = self._host.clock
        until = math.inf if timeout is None else clock.steady() + parse_duration(timeout)
        told = False
        with self._host.waiters.waiting(key) as happened:
            while True:
                happened.clear()
                found = await look()
                if found is not None:
                    return found
                told = told or self._warns_of_full_slots(key)
                if not await clock.wait_for(happened, until - clock.steady()):
                    raise WaitTimeout(f"{key} had not ended after {timeout} s", id=key, timeout=timeout)

    def _warns_of_full_slots(self, key: str) -> bool:
        """Whether a handler waits while nothing can begin here: for good, if what it waits for is to run here too."""
        task = current_task()
        if task is None or self._host.has_free_slot:
            return False
        log.warning(
            "a handler waits for %s, and no slot of this process is free to run it; if every slot comes to wait so,"
            " none ever ends: raise max_concurrent, or let the work follow by depends_on instead of waiting",
            key,
            extra={"task_id": task.id, "capability": task.capability, "waits_for": key},
        )
        return True

    async def events(
        self, *, task_id: str | None = None, workflow_id: str | None = None, after: int = 0, limit: int = 100
    ) -> Sequence[Event]:
        """A page of events in order, numbered above `after`."""
        return await self._host.store.events(
            self.id, after=event_number(after), limit=page_limit(limit), task_id=task_id, workflow_id=workflow_id
        )

    async def watch(
        self, *, task_id: str | None = None, workflow_id: str | None = None, after: int | None = None
    ) -> AsyncGenerator[Event, None]:
        """Every event above `after` (None: from now on), then live, without gaps: of the organisation, of a task, or
        of a workflow with its tasks. Raises NotFound."""
        if task_id is not None and workflow_id is not None:
            raise InvalidInput("watch a task or a workflow, not both", task_id=task_id, workflow_id=workflow_id)
        store = self._host.store
        if task_id is not None:
            await store.get(self.id, task_id)
        if workflow_id is not None:
            await store.group_state(self.id, workflow_id)
        last = await store.last_seq(self.id) if after is None else event_number(after)
        with self._host.waiters.waiting(org_key(self.id)) as happened:
            while True:
                happened.clear()
                newest = last if workflow_id is None else await store.last_seq(self.id)
                page = await store.events(
                    self.id, after=last, limit=LARGEST_PAGE, task_id=task_id, workflow_id=workflow_id
                )
                for event in page:
                    last = event.seq
                    yield event
                if not page:
                    last = max(last, newest)  # events of a workflow are searched among all: never twice
                    await happened.wait()

    # ----- how things stand

    async def explain(self, task_id: str) -> Explanation:
        """Why the task is not running. Raises NotFound."""
        return await self._host.store.explain(self.id, task_id)

    async def list_queues(self) -> Queues:
        """Where open work waits: how much of each sort, since when, and how much of it runs."""
        return await self._host.store.queues(self.id)

    async def measure(self) -> Activity:
        """What happened in the last hour, minute by minute, and how long tasks waited and ran."""
        return await self._host.store.measure(self.id)


def _wanted(
    agent_id: str,
    space_id: str,
    capabilities: Sequence[str] | None,
    groups: Collection[str],
    lease: DurationLike | None,
) -> Wanted:
    return Wanted(
        agent_id=check_agent(agent_id),
        space_id=space_id,
        capabilities=capability_list(capabilities),
        lease=lease_seconds(lease),
        groups=check_groups(groups),
    )
