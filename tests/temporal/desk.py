"""A real SQLite store and what the tests of relay, reconciler and engine do with it.
It must not know Temporal; its bridge asks the store, and runs nothing unless the test completes it.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from durable_tasks.clock import SystemClock, SystemIds
from durable_tasks.contracts import (
    AttemptEnd,
    Batch,
    Begun,
    Command,
    CommandAnswer,
    GroupRef,
    GroupStatus,
    MembersRequest,
    RunRequest,
    TaskRef,
    TaskStatus,
    Verdict,
    is_embedded,
)
from durable_tasks.errors import IllegalMove
from durable_tasks.models import Engine, Mode, NewTask, Placement, Task, Workflow
from durable_tasks.ports import Asked, Assignment, Ending, Errand, Notice, Outcome, Room
from durable_tasks.store.drafts import Draft, draft
from durable_tasks.store.groups import GroupDraft
from durable_tasks.store.store import Store
from durable_tasks.store.transaction import Rules

DEADLINE = 30.0
ORG = "default"


class Desk:
    """Holds a store; waits for what a test expects by looking again after each commit."""

    def __init__(self, path: Path, *, namespace: str = "default") -> None:
        # The default organisation has the test's namespace; every other one has a namespace of its own name.
        rules = Rules(namespace_of=lambda org: namespace if org == ORG else f"{org}-of-{namespace}")
        self.clock = SystemClock()
        self.store = Store(path, clock=self.clock, ids=SystemIds(), rules=rules, patience=5.0)
        self.begun: dict[str, Assignment] = {}
        self.started: dict[str, Errand] = {}
        """Of tasks that wait for a slot."""
        self.finish_at_once = True

    async def open(self) -> None:
        await self.store.open()
        await self.store.register(60.0, None)  # who has no row is given no work

    async def add(self, placement: Placement = Placement.EMBEDDED, *, org: str = ORG, **fields: Any) -> Task:
        return await self.store.create(org, _draft(placement, NewTask(**{"title": "a task", **fields})))

    async def add_group(self, members: int, placement: Placement = Placement.EMBEDDED, *, org: str = ORG) -> Workflow:
        drafts = tuple(_draft(placement, NewTask(title=f"member {number}")) for number in range(members))
        group = GroupDraft(
            kind="fan_out", name="a group", description="", space_id="default", metadata="{}", created_by=None,
            required=None, max_parallel=None, failure_policy="continue", idempotency_key=None, content="",
            members=drafts,
        )  # fmt: skip
        return await self.store.create_group(org, group)

    async def errands(self) -> list[Errand]:
        """What a relay would be given."""
        room = Room(most=99, waiting={}, can_run=self.can_run)
        due = await self.store.errands(self.clock.now(), limit=99, room=room, skip=frozenset(), parked=frozenset())
        return due.errands

    async def submission_state(self, subject: Task | Workflow) -> str:
        """The newest generation's: none, outbox, open or closed."""
        found = await self.store.submissions(states=("outbox", "open", "closed"), after="", limit=1000)
        return next((one.state for one in found if one.ref.subject_id == subject.id), "none")

    async def generation(self, task: Task) -> int:
        return (await self.store.get(task.org_id, task.id)).generation

    async def reaches(self, look: Callable[[], Any], wanted: Any) -> None:
        """Await `look()` after every commit until it answers `wanted`."""
        committed = asyncio.Event()
        unsubscribe = self.store.subscribe(lambda notice: committed.set())
        seen = None
        try:
            async with asyncio.timeout(DEADLINE):
                while (seen := await look()) != wanted:
                    await committed.wait()
                    committed.clear()
        except TimeoutError:
            raise AssertionError(f"still {seen!r} instead of {wanted!r}") from None
        finally:
            unsubscribe()

    # ----- Intake: an executor without a free slot

    def can_run(self, capability: str | None) -> bool:
        return capability != "foreign"

    def waiting(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for errand in self.started.values():
            found.setdefault(errand.ref.org_id, set()).add(errand.ref.subject_id)
        return found

    def on_room(self, listener: Callable[[], None]) -> Callable[[], None]:
        return self.store.subscribe(lambda notice: listener())  # here a task ceases to wait in a commit

    async def begin_ahead(self, errand: Errand) -> bool:
        return False

    async def begin_started(self, errand: Errand, run_id: str) -> None:
        if is_embedded(errand.ref) and self.can_run(
            (await self.store.get(errand.ref.org_id, errand.ref.subject_id)).capability
        ):
            self.started[errand.ref.subject_id] = errand
        await self.store.acknowledge(errand, run_id=run_id)

    async def run_waiting(self, task: Task) -> None:
        """A slot has become free for it, and it ends at once."""
        errand = self.started.pop(task.id)
        assert isinstance(errand.ref, TaskRef)
        asked = Asked(errand.ref, errand.request_id, errand.namespace, errand.workflow_id)
        begun = await self.store.begin(asked, self.can_run)
        assert isinstance(begun, Assignment)
        await self.store.finish(begun, Outcome(Ending.COMPLETED), None, "")

    # ----- TaskBridge

    async def run(self, request: RunRequest, *, namespace: str, workflow_id: str, run_id: str) -> TaskStatus:
        asked = Asked(request.ref, request.request, namespace, workflow_id)
        begun = await self.store.begin(asked, lambda capability: True)
        self.started.pop(request.ref.task_id, None)
        if isinstance(begun, Assignment):
            self.begun[request.ref.task_id] = begun
            if self.finish_at_once:
                await self.complete(request.ref.task_id, begun.task.input)
        return await self.store.status(request.ref)

    async def complete(self, task_id: str, output: Any) -> None:
        outcome = Outcome(Ending.COMPLETED, output=output)
        await self.store.finish(self.begun[task_id], outcome, None, "")

    async def join(self, ref: TaskRef, *, namespace: str, workflow_id: str, patience: float) -> TaskStatus:
        ended = asyncio.Event()

        def heard(notice: Notice) -> None:
            if ref.task_id in notice.ended:
                ended.set()

        unsubscribe = self.store.subscribe(heard)
        try:
            status = await self.store.status(ref)
            if status.verdict is Verdict.LIVE:
                async with asyncio.timeout(patience):
                    await ended.wait()
        except TimeoutError:
            return status
        finally:
            unsubscribe()
        return await self.store.status(ref)

    async def read(self, ref: TaskRef, *, namespace: str = "", workflow_id: str = "") -> TaskStatus:
        return await self.store.status(ref)

    async def cancel(self, ref: TaskRef, *, namespace: str, workflow_id: str, reason: str) -> TaskStatus:
        with suppress(IllegalMove):
            await self.store.cancel(ref.org_id, ref.task_id, reason, None)
        return await self.store.status(ref)

    async def begin(self, request: RunRequest, *, namespace: str, workflow_id: str) -> Begun:
        return await self.store.begin_remote(request, namespace=namespace, workflow_id=workflow_id)

    async def record(self, end: AttemptEnd, *, namespace: str, workflow_id: str) -> TaskStatus:
        return await self.store.record(end, namespace=namespace, workflow_id=workflow_id)

    async def command(self, command: Command, *, namespace: str, workflow_id: str) -> CommandAnswer:
        raise AssertionError("nobody sends commands in these tests")

    # ----- TaskBridge: groups, whose embedded members nobody runs here

    async def run_group(self, ref: GroupRef, *, namespace: str, workflow_id: str) -> GroupStatus:
        return await self.store.group_status(ref)

    async def read_group(self, ref: GroupRef, *, namespace: str, workflow_id: str) -> GroupStatus:
        return await self.store.group_status(ref)

    async def cancel_group(self, ref: GroupRef, *, namespace: str, workflow_id: str, reason: str) -> GroupStatus:
        return await self.store.cancel_group_by_driver(ref, namespace=namespace, workflow_id=workflow_id, reason=reason)

    async def begin_members(self, request: MembersRequest, *, namespace: str, workflow_id: str) -> Batch:
        return await self.store.begin_members(request, namespace=namespace, workflow_id=workflow_id)


def _draft(placement: Placement, new: NewTask) -> Draft:
    mode = Mode.MANUAL if placement is Placement.MANUAL else Mode.AUTO
    return draft(new, mode=mode, placement=placement, engine=Engine.TEMPORAL)
