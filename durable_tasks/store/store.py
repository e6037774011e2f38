"""The store's front: every operation of the package as one method, one pass of the writer or one read.

It must not know who calls, nor what an operation writes.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from durable_tasks.access import Principal
from durable_tasks.errors import InvalidOutput
from durable_tasks.forms import FormDue, check_output
from durable_tasks.lifecycle import Verb
from durable_tasks.models import (
    Attempt,
    Claim,
    Event,
    Heartbeat,
    Mode,
    Node,
    Page,
    Task,
    TaskCounts,
    TaskError,
    TaskFilter,
    Workflow,
    WorkflowState,
)
from durable_tasks.ports import Appetite, Assignment, Ids, Outcome, Peer
from durable_tasks.standing import Activity, Explanation, Queues
from durable_tasks.store import (
    audit,
    claims,
    commands,
    comments,
    dispatch,
    due,
    events,
    group_listing,
    groups,
    identity,
    listing,
    many,
    prior,
    processes,
    standing,
    tasks,
    tokens,
)
from durable_tasks.store.claims import Wanted
from durable_tasks.store.commands import Command, command
from durable_tasks.store.drafts import Draft
from durable_tasks.store.file import settled
from durable_tasks.store.handover import HandoverStore
from durable_tasks.store.identity import Witness
from durable_tasks.store.moves import get
from durable_tasks.store.rows import Row, dump_payload, to_task
from durable_tasks.store.timekeeping import reckon
from durable_tasks.store.tokens import ApiToken
from durable_tasks.store.transaction import STEP, Transaction

T = TypeVar("T")
# The Temporal side (async def tenants and the like) is in handover.py.
EXPIRE_BATCH = 100
_FEW = 100
"""Rows that are made models of on the event loop."""


class Store(HandoverStore):
    """The verbs of people and agents, workflows, events, executors and processes."""

    # ----- tasks

    async def create(self, org_id: str, drafted: Draft) -> Task:
        return await self._write(lambda tx: tasks.create(tx, org_id, drafted), org_id=org_id)

    async def create_many(self, org_id: str, drafts: Sequence[Draft]) -> list[Task]:
        return await _models(await self._write(lambda tx: tasks.create_many(tx, org_id, drafts), org_id=org_id))

    def create_on(self, conn: sqlite3.Connection, org_id: str, drafted: Draft, ids: Ids) -> Task:
        """Insert inside somebody else's transaction, on their connection."""
        tx = Transaction(conn, reckon(conn, self._clock), ids, self._rules, actor=self._actor, names=self._names)
        return settled(tx, lambda tx: tasks.create(tx, org_id, drafted))

    async def get(self, org_id: str, task_id: str) -> Task:
        return await self.read(lambda conn: tasks.read(conn, org_id, task_id), org_id)

    async def get_ended(self, org_id: str, task_id: str) -> Task | None:
        """The task once it is terminal; None before."""
        return await self.read(lambda conn: tasks.read_ended(conn, org_id, task_id), org_id)

    async def page(
        self, org_id: str, wanted: TaskFilter, *, limit: int, cursor: str | None, full: bool = False
    ) -> Page[Task]:
        now = self._clock.now()
        return await self.search(
            lambda conn: listing.page(conn, org_id, wanted, now=now, limit=limit, cursor=cursor, full=full), org_id
        )

    async def page_ids(self, org_id: str, wanted: TaskFilter, *, limit: int, cursor: str | None) -> Page[str]:
        now = self._clock.now()
        return await self.search(
            lambda conn: listing.ids(conn, org_id, wanted, now=now, limit=limit, cursor=cursor), org_id
        )

    async def change_many(self, org_id: str, verb: Verb, wanted: TaskFilter, reason: str | None) -> int:
        """Cancel or retry those of `wanted.ids` that fit, in one operation; how many were."""
        return await self._write(lambda tx: many.change(tx, org_id, verb, wanted, reason), org_id=org_id)

    async def count(self, org_id: str, wanted: TaskFilter) -> TaskCounts:
        now = self._clock.now()
        return await self.search(lambda conn: listing.count(conn, org_id, wanted, now=now), org_id)

    async def update(self, org_id: str, task_id: str, fields: Row, version: int | None, command_id: str | None) -> Task:
        return await self._command(
            org_id,
            task_id,
            command(command_id, "update", fields, version),
            lambda tx: tasks.update(tx, org_id, task_id, fields, version),
        )

    async def comment(self, org_id: str, task_id: str, text: str, author: str | None, command_id: str | None) -> Event:
        asked = command(command_id, "comment", text, author)
        return await self._write(lambda tx: comments.comment(tx, org_id, task_id, text, author, asked), org_id=org_id)

    async def count_comments(self, org_id: str, task_id: str) -> int:
        return await self.search(lambda conn: comments.count(conn, org_id, task_id), org_id)

    async def history(self, org_id: str, task_id: str) -> list[Attempt]:
        def query(conn: sqlite3.Connection) -> list[Attempt]:
            tasks.read(conn, org_id, task_id)
            return claims.history(conn, org_id, task_id)

        return await self.read(query, org_id)

    async def has_active(self, org_id: str, agent_id: str) -> bool:
        return await self.read(lambda conn: tasks.has_active(conn, org_id, agent_id), org_id)

    # ----- verbs of people and agents

    async def next_claims(self, org_id: str, wanted: Wanted, limit: int) -> list[Claim]:
        """In as many transactions as it takes for none to be long."""
        made: list[Claim] = []
        try:
            while (missing := limit - len(made)) > 0:
                step = min(missing, wanted.at_once)
                found = await self._next_step(org_id, wanted, step)
                made += found
                if len(found) < step:
                    break
        except BaseException:
            if made:
                self._take_back(claims.undo_claims, made, org_id)
            raise
        return made

    async def _next_step(self, org_id: str, wanted: Wanted, limit: int) -> list[Claim]:
        return await self._write(
            lambda tx: claims.next_claims(tx, org_id, wanted, limit), claims.undo_claims, org_id=org_id
        )

    async def next_once(self, org_id: str, wanted: Wanted, command_id: str) -> list[Claim]:
        def undo(tx: Transaction, answer: tuple[list[Claim], bool]) -> None:
            made, are_new = answer
            if are_new:
                claims.undo_next(tx, made, command_id)

        made, _ = await self._write(lambda tx: claims.next_once(tx, org_id, wanted, command_id), undo, org_id=org_id)
        return made

    async def claim(
        self,
        org_id: str,
        task_id: str,
        agent_id: str,
        lease: float | None,
        command_id: str | None,
        *,
        groups: tuple[str, ...] = (),
    ) -> Claim:
        asked = command(command_id, "claim", agent_id, lease)

        def undo(tx: Transaction, answer: tuple[Claim, bool]) -> None:
            made, is_new = answer
            if is_new:
                claims.undo_claim(tx, made, command_id)

        made, _ = await self._write(
            lambda tx: claims.claim(tx, org_id, task_id, agent_id, lease, asked, groups=groups), undo, org_id=org_id
        )
        return made

    async def held_token(self, org_id: str, task_id: str, agent_id: str, modes: tuple[Mode, ...] = tuple(Mode)) -> str:
        """The token of the attempt that the agent holds, or has still to stop; empty when there is none."""
        return await self.read(lambda conn: claims.held_token(conn, org_id, task_id, agent_id, modes), org_id)

    async def start(self, org_id: str, task_id: str, token: str, command_id: str | None) -> Task:
        return await self._command(
            org_id, task_id, command(command_id, "start"), lambda tx: claims.start(tx, org_id, task_id, token)
        )

    async def heartbeat(self, org_id: str, task_id: str, token: str) -> Heartbeat:
        return await self._write(lambda tx: claims.heartbeat(tx, org_id, task_id, token), org_id=org_id)

    async def progress(
        self, org_id: str, task_id: str, percent: float, token: str, message: str | None, command_id: str | None
    ) -> Task:
        return await self._command(
            org_id,
            task_id,
            command(command_id, "progress", percent, message),
            lambda tx: claims.progress(tx, org_id, task_id, percent, token, message),
        )

    async def complete(self, org_id: str, task_id: str, output: str | None, token: str, command_id: str | None) -> Task:
        asked = command(command_id, "complete", output)

        async def ask(fits: bool) -> Task:
            return await self._command(
                org_id,
                task_id,
                asked,
                lambda tx: claims.complete(tx, org_id, task_id, output, token, fits=fits),
            )

        return await _fitting(ask, task_id, output)

    async def complete_and_next(
        self, org_id: str, task_id: str, output: str | None, token: str, wanted: Wanted
    ) -> tuple[Task, list[Claim]]:
        """Complete one task and claim the next, in one operation."""

        def op(tx: Transaction, fits: bool) -> tuple[Task, list[Claim]]:
            done = settled(tx, lambda tx: claims.complete(tx, org_id, task_id, output, token, fits=fits))
            tx.steps = STEP
            return done, claims.next_claims(tx, org_id, wanted, 1)

        async def ask(fits: bool) -> tuple[Task, list[Claim]]:
            return await self._write(
                lambda tx: op(tx, fits), lambda tx, answer: claims.undo_claims(tx, answer[1]), org_id=org_id
            )

        return await _fitting(ask, task_id, output)

    async def fail(
        self,
        org_id: str,
        task_id: str,
        error: TaskError,
        token: str,
        retryable: bool,
        after: float | None,
        command_id: str | None,
    ) -> Task:
        return await self._command(
            org_id,
            task_id,
            command(command_id, "fail", error.model_dump(mode="json"), retryable, after),
            lambda tx: claims.fail(tx, org_id, task_id, error, token, retryable, after),
        )

    async def release(self, org_id: str, task_id: str, token: str, command_id: str | None) -> Task:
        return await self._command(
            org_id, task_id, command(command_id, "release"), lambda tx: claims.release(tx, org_id, task_id, token)
        )

    async def cancel(self, org_id: str, task_id: str, reason: str | None, command_id: str | None) -> Task:
        return await self._command(
            org_id,
            task_id,
            command(command_id, "cancel", reason),
            lambda tx: claims.cancel(tx, org_id, task_id, reason),
        )

    async def retry(self, org_id: str, task_id: str, command_id: str | None) -> Task:
        return await self._command(
            org_id, task_id, command(command_id, "retry"), lambda tx: claims.retry(tx, org_id, task_id)
        )

    async def _command(
        self, org_id: str, task_id: str, asked: Command | None, op: Callable[[Transaction], Task]
    ) -> Task:
        if asked is None:
            return await self._write(op, org_id=org_id)

        def once(tx: Transaction) -> Task:
            row = get(tx, org_id, task_id)  # another organisation's commands are nobody's to repeat
            said = commands.first_answer(tx, task_id, asked)
            if said is not None:
                return claims.again(row, said)
            answer = settled(tx, op)
            commands.remember_answer(tx, task_id, asked, claims.kept(answer))
            return answer

        return await self._write(once, org_id=org_id)

    async def _group_command(
        self,
        org_id: str,
        workflow_id: str,
        asked: Command | None,
        op: Callable[[Transaction], Workflow],
    ) -> Workflow:
        if asked is None:
            return await self._write(op, org_id=org_id)

        def once(tx: Transaction) -> Workflow:
            groups.state_of(tx.conn, org_id, workflow_id)
            said = commands.first_answer(tx, workflow_id, asked)
            if said is not None:
                return Workflow.model_validate(said)
            answer = settled(tx, op)
            commands.remember_answer(tx, workflow_id, asked, answer)
            return answer

        return await self._write(once, org_id=org_id)

    # ----- workflows

    async def create_group(self, org_id: str, drafted: groups.GroupDraft) -> Workflow:
        return await self._write(lambda tx: groups.create(tx, org_id, drafted), org_id=org_id)

    async def add_members(
        self, org_id: str, workflow_id: str, drafts: Sequence[Draft], command_id: str | None = None
    ) -> list[Task]:
        said = [] if command_id is None else [one.new.model_dump(mode="json", exclude_unset=True) for one in drafts]
        asked = command(command_id, "add", said)
        added = await self._write(lambda tx: groups.add(tx, org_id, workflow_id, drafts, asked), org_id=org_id)
        return await _models(added)

    async def cancel_group(
        self, org_id: str, workflow_id: str, reason: str | None, command_id: str | None = None
    ) -> Workflow:
        return await self._group_command(
            org_id,
            workflow_id,
            command(command_id, "cancel", reason),
            lambda tx: groups.cancel(tx, org_id, workflow_id, reason),
        )

    async def retry_group(self, org_id: str, workflow_id: str, command_id: str | None = None) -> Workflow:
        return await self._group_command(
            org_id, workflow_id, command(command_id, "retry"), lambda tx: groups.retry(tx, org_id, workflow_id)
        )

    async def get_group(self, org_id: str, workflow_id: str) -> Workflow:
        return await self.read(lambda conn: groups.read(conn, org_id, workflow_id), org_id)

    async def group_state(self, org_id: str, workflow_id: str) -> WorkflowState:
        return await self.read(lambda conn: groups.state_of(conn, org_id, workflow_id), org_id)

    async def members(
        self, org_id: str, workflow_id: str, *, limit: int = 1000, cursor: str | None = None, full: bool = False
    ) -> Page[Task]:
        return await self.search(
            lambda conn: group_listing.members(conn, org_id, workflow_id, limit=limit, cursor=cursor, full=full), org_id
        )

    async def nodes(self, org_id: str, workflow_id: str, *, limit: int, cursor: str | None) -> Page[Node]:
        return await self.search(
            lambda conn: group_listing.nodes(conn, org_id, workflow_id, limit=limit, cursor=cursor), org_id
        )

    async def page_groups(
        self,
        org_id: str,
        *,
        states: Sequence[WorkflowState],
        space_id: str | None,
        text: str | None,
        limit: int,
        cursor: str | None,
    ) -> Page[Workflow]:
        wanted: dict[str, Any] = {"states": states, "space_id": space_id, "text": text}
        return await self.search(
            lambda conn: group_listing.page(conn, org_id, **wanted, limit=limit, cursor=cursor), org_id
        )

    async def group_attempts(self, org_id: str, workflow_id: str, *, limit: int, cursor: str | None) -> Page[Attempt]:
        return await self.search(
            lambda conn: group_listing.attempts(conn, org_id, workflow_id, limit=limit, cursor=cursor), org_id
        )

    # ----- events

    async def events(
        self, org_id: str, *, after: int, limit: int, task_id: str | None = None, workflow_id: str | None = None
    ) -> list[Event]:
        ask = self.read if workflow_id is None else self.search  # those of a workflow are looked for among all
        return await ask(
            lambda conn: events.page(conn, org_id, after=after, limit=limit, task_id=task_id, workflow_id=workflow_id),
            org_id,
        )

    async def last_seq(self, org_id: str) -> int:
        return await self.read(lambda conn: events.last_seq(conn, org_id), org_id)

    async def audit(self, *, deep: bool = False) -> list[str]:
        """What is not what it was when it was stored: the first 1,000 disagreements between events, their hashes and
        the rows, in words. `deep`: also what SQLite finds damaged. See audit.py. Raises StoreError."""
        found = await self.read_apart(audit.structure) if deep else []
        place: audit.Place | None = audit.Place()
        while place is not None and len(found) < audit.MOST:
            more, place = await self.read_apart(partial(audit.page, place=place))
            found += more
        return found[: audit.MOST]

    # ----- API tokens

    async def create_token(self, principal: Principal, digest: bytes, lifetime: float | None) -> ApiToken:
        return await self._write(lambda tx: tokens.create(tx, principal, digest, lifetime))

    async def find_token(self, token_id: str) -> ApiToken | None:
        return await self.admit(lambda conn: tokens.find(conn, token_id))

    async def list_tokens(self, org_id: str | None) -> list[ApiToken]:
        return await self.search(lambda conn: tokens.every(conn, org_id))

    async def revoke_token(self, token_id: str) -> ApiToken:
        return await self._write(lambda tx: tokens.revoke(tx, token_id))

    # ----- how things stand

    async def explain(self, org_id: str, task_id: str) -> Explanation:
        return await self.read(lambda conn: standing.explain(conn, org_id, task_id), org_id)

    async def queues(self, org_id: str) -> Queues:
        return await self.search(lambda conn: standing.queues(conn, org_id), org_id)

    async def measure(self, org_id: str) -> Activity:
        now = self._clock.now()
        return await self.search(lambda conn: standing.measure(conn, org_id, now), org_id)

    # ----- executors and the clock

    async def take(self, appetite: Appetite, after_org: str) -> tuple[list[Assignment], str]:
        return await self._write(lambda tx: dispatch.take(tx, appetite, after_org, lent=self.displaced is not None))

    async def finish(
        self, assignment: Assignment, outcome: Outcome, appetite: Appetite | None, after_org: str
    ) -> tuple[bool, list[Assignment], str]:
        """Record one end and begin what follows, in one operation. False: the row had already ended it."""
        output = dump_payload(outcome.output, "output")

        def op(tx: Transaction) -> tuple[bool, list[Assignment], str]:
            done = settled(tx, lambda tx: dispatch.finish(tx, assignment, outcome, output))
            if appetite is None or appetite.limit < 1:
                return done, [], after_org
            tx.steps = STEP
            taken, last = dispatch.take(tx, appetite, after_org, lent=self.displaced is not None)
            return done, taken, last

        return await self._write(op)

    async def prior(self, assignment: Assignment) -> Mapping[str, Any]:
        """What the attempt's handler sees of the tasks before it; see prior.read."""
        task = assignment.task
        return await self.read(lambda conn: prior.read(conn, self.path, task.id), task.org_id)

    async def report(self, assignment: Assignment, percent: float, message: str | None) -> None:
        """Progress of an executor's attempt."""
        task = assignment.task
        await self._write(lambda tx: claims.progress(tx, task.org_id, task.id, percent, assignment.token, message))

    async def expire(self) -> tuple[int, float | None]:
        return await self._write(lambda tx: due.expire(tx, EXPIRE_BATCH), yields=True)

    async def stopping(self) -> list[tuple[str, str]]:
        """(task id, token) of this process's attempts that somebody, perhaps another process, has ended."""
        instance = self._rules.instance
        return await self.read(lambda conn: dispatch.stopping(conn, instance))

    async def held_here(self) -> list[str]:
        """The tokens of the attempts that this process runs, as the file has it."""
        instance = self._rules.instance
        return await self.read(lambda conn: dispatch.held(conn, instance))

    async def give_back(self, tokens: Collection[str]) -> None:
        await self._write(lambda tx: dispatch.give_back(tx, tokens))

    # ----- processes

    async def probe(self) -> None:
        """Whether the file takes a write now, and gives it back. Raises StoreError, Closed."""
        await self._probe()

    async def register(self, lease: float, handles: processes.Handles) -> None:
        await self._write(lambda tx: processes.register(tx, lease, handles))

    async def renew(self, lease: float, handles: processes.Handles) -> bool:
        return await self._write(lambda tx: processes.renew(tx, lease, handles))

    async def stand(self, *, relays: bool) -> bool:
        """Take or keep the duties that are free: checkpoints, and relaying if this process `relays`.
        Answers whether it has the latter."""

        def op(tx: Transaction) -> tuple[bool, bool, Witness | None]:
            leads = processes.lead(tx, "leader")
            return leads, relays and processes.lead(tx, "relay"), identity.beat(tx.conn) if leads else None

        self._writer.owns_checkpoints, relaying, seen = await self._write(op)
        await self._testify(seen)
        return relaying

    async def retire(self, instance: str) -> int:
        """Forget a process and end its attempts: as lost, or as released when this very process leaves.
        Answers how many it had."""

        def op(tx: Transaction) -> tuple[int, Witness | None]:
            lost = dispatch.end_process(tx, instance)
            processes.remove(tx, instance)
            return lost, identity.beat(tx.conn) if instance == self._rules.instance else None

        lost, seen = await self._write(op)
        await self._testify(seen)
        return lost

    def keep(self, lease: float) -> None:
        """Renew this process's lease from another thread than the event loop's; see processes.keep."""
        instance, until = self._rules.instance, self._clock.now() + lease
        self._writer.post(lambda conn: processes.keep(conn, instance, until))

    async def peers(self) -> list[Peer]:
        return await self.read(lambda conn: processes.peers(conn, self._rules.instance))


async def _models(rows: Sequence[Row]) -> list[Task]:
    """What is answered of many rows: made while others write, and beside the event loop."""
    if len(rows) <= _FEW:
        return [to_task(row) for row in rows]
    return await asyncio.to_thread(lambda: [to_task(row) for row in rows])


async def _fitting(ask: Callable[[bool], Awaitable[T]], task_id: str, output: str | None) -> T:
    """Ask; where the task has a form, hold the output against it in a thread, and ask again. A form never changes."""
    try:
        return await ask(False)
    except FormDue as due:
        form = due.form
    try:
        await asyncio.to_thread(check_output, form, output)
    except InvalidOutput as refusal:
        refusal.facts["task_id"] = task_id
        raise
    return await ask(True)
