"""The handover: what the Temporal side asks of SQLite, each question or report one pass of the writer or one read.

It must not know Temporal's client, nor the verbs of people and agents.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from durable_tasks.contracts import (
    AttemptEnd,
    Batch,
    Begun,
    GroupRef,
    GroupStatus,
    MembersRequest,
    Ref,
    RunRequest,
    TaskRef,
    TaskStatus,
    Verdict,
)
from durable_tasks.lifecycle import HELD, is_terminal
from durable_tasks.models import Engine, TaskError, WorkflowState
from durable_tasks.ports import (
    TEMPORAL,
    Asked,
    Assignment,
    DeadLetter,
    Due,
    Errand,
    OutboxKind,
    RemoteAttempt,
    Room,
    Submission,
    Tenant,
)
from durable_tasks.store import (
    claims,
    dispatch,
    groups,
    health,
    identity,
    levels,
    orgs,
    outbox,
    processes,
    remote,
    submissions,
    suspects,
    switching,
)
from durable_tasks.store.containment import apart, set_aside
from durable_tasks.store.endings import end_refused
from durable_tasks.store.file import StoreFile, asked_by, settled
from durable_tasks.store.health import OrgHealth
from durable_tasks.store.moves import get
from durable_tasks.store.settlement import cancel_members, finish
from durable_tasks.store.status import group_of, read_group_status, read_task_status, task_of
from durable_tasks.store.transaction import Transaction

T = TypeVar("T")


REJECTED = "submit_rejected"
"""The error of what Temporal will never take."""


class HandoverStore(StoreFile):
    """Implements ports.SubmissionStore, and answers what bridges ask for Temporal's workflows."""

    # ----- the engine and the file

    @property
    def file_uuid(self) -> str:
        return self._file_uuid

    async def settle_engine(self, wanted: Engine | None) -> Engine:
        """The engine that drives this file's tasks from now on: `wanted`, or what the file has. Open tasks of
        the other one go on with it as their next generation."""
        return await self._write(lambda tx: switching.settle_engine(tx, wanted))

    async def adopt(self, *, replaces: bool) -> int:
        """Make a copied or restored file one that may speak to Temporal; see switching.adopt. Answers how many tasks
        start again."""

        def op(tx: Transaction) -> int:
            identity.renew(tx.conn, self.path, replaces=replaces)
            return switching.adopt(tx, replaces=replaces)

        return await self._write(op)

    async def health(self, *, quiet_for: float, limit: int) -> health.StoreHealth:
        """What waits and why, of tasks that have not moved for `quiet_for` seconds; see health.examine."""
        before = self._clock.now() - quiet_for
        return await self.read_apart(lambda conn: health.examine(conn, before=before, limit=limit))

    async def org_health(self, org_id: str, *, quiet_for: float, limit: int) -> OrgHealth:
        """The same of one organisation, which learns nothing of the others; see health.examine_org."""
        now = self._clock.now()
        return await self.search(
            lambda conn: health.examine_org(conn, org_id, now=now, before=now - quiet_for, limit=limit), org_id
        )

    async def levels(self) -> levels.Levels:
        """How much waits, and since when."""
        return await self.search(levels.read)

    async def count_open(self, org_id: str, most: int) -> int:
        """An organisation's open tasks, as far as `most`."""
        return await self.search(lambda conn: levels.count_open(conn, org_id, most), org_id)

    # ----- what a Temporal workflow asks for its task

    async def status(self, ref: TaskRef) -> TaskStatus:
        return await self.read(lambda conn: read_task_status(conn, ref, self._clock.now()))

    async def begin(self, asked: Asked, can_run: Callable[[str | None], bool]) -> Assignment | TaskStatus:
        """Start the attempt that a Temporal workflow asks for, or say why not."""

        def op(tx: Transaction) -> Assignment | TaskStatus:
            if not submissions.drives(tx.conn, task_of(tx.conn, asked.ref), asked.namespace, asked.workflow_id):
                return _superseded(read_task_status(tx.conn, asked.ref, tx.now))
            return _begin(tx, asked.ref, asked.request, can_run)

        return await self._write(op)

    async def acknowledge_and_begin(
        self, errand: Errand, run_id: str, can_run: Callable[[str | None], bool]
    ) -> Assignment | TaskStatus:
        """Note that Temporal has taken the start of a task, and start the attempt at once."""
        ref = errand.ref
        assert isinstance(ref, TaskRef)

        def op(tx: Transaction) -> Assignment | TaskStatus:
            submissions.acknowledge(tx, errand, run_id)
            return _begin(tx, ref, errand.request_id, can_run)

        return await self._write(op)

    async def require_asker(self, ref: Ref, *, namespace: str, workflow_id: str) -> None:
        """Raise NotFound unless that Temporal workflow was started for this very task or group; see submissions."""
        await self.read(lambda conn: submissions.require_asker(conn, ref, namespace, workflow_id))

    async def cancel_by_driver(self, asked: Asked, reason: str) -> TaskStatus:
        """Cancel for the Temporal workflow that drives the task's newest generation; nobody else's cancels anything.
        Answers how that generation stands."""

        def op(tx: Transaction) -> TaskStatus:
            ref = asked.ref
            row = task_of(tx.conn, ref)
            current = row["generation"] == ref.generation
            if (
                current
                and submissions.drives(tx.conn, row, asked.namespace, asked.workflow_id)
                and not is_terminal(row["state"])
            ):
                tx.actor = TEMPORAL
                claims.cancel(tx, ref.org_id, ref.task_id, reason)
            return read_task_status(tx.conn, ref, tx.now)

        return await self._write(op)

    async def begin_remote(self, request: RunRequest, *, namespace: str, workflow_id: str) -> Begun:
        """Begin an attempt for the work queue, or say why not; see remote.begin."""

        def op(tx: Transaction) -> Begun:
            tx.asking = request.ref.task_id
            return remote.begin(tx, request, namespace, workflow_id)

        return await self._write_asked(op)

    async def record(self, end: AttemptEnd, *, namespace: str, workflow_id: str) -> TaskStatus:
        """Write down how an external attempt ended; see remote.record."""

        def op(tx: Transaction) -> TaskStatus:
            # A member's end is asked for by its group, which asks what is ready after it.
            tx.asking = submissions.driven_by(task_of(tx.conn, end.ref))
            return remote.record(tx, end, namespace, workflow_id)

        return await self._write_asked(op)

    async def drives(self, org_id: str, task_id: str, *, namespace: str, workflow_id: str) -> bool:
        """Whether that Temporal workflow drives the task, itself or as a member of its group. Raises NotFound."""
        return await self._write(
            lambda tx: submissions.drives(tx.conn, get(tx, org_id, task_id), namespace, workflow_id)
        )

    @contextmanager
    def obeying(self, workflow_id: str) -> Iterator[None]:
        """What this task writes meanwhile, that Temporal workflow has asked for and hears the answer: to a sync about
        it, on its way when the workflow is about to end, Temporal would have the sender of the command pay."""
        before = asked_by.set(submissions.subject_of(workflow_id))
        try:
            yield
        finally:
            asked_by.reset(before)

    async def _write_asked(self, op: Callable[[Transaction], T]) -> T:
        """An operation that a Temporal workflow asked for, as `op` notes: it needs no sync about it."""

        def asked(tx: Transaction) -> T:
            try:
                return settled(tx, op)
            finally:
                tx.asking = None

        return await self._write(asked)

    # ----- what a Temporal workflow asks for its group

    async def group_status(self, ref: GroupRef) -> GroupStatus:
        return await self.read(lambda conn: read_group_status(conn, ref))

    async def cancel_group_by_driver(
        self, ref: GroupRef, *, namespace: str, workflow_id: str, reason: str
    ) -> GroupStatus:
        """As cancel_by_driver, for a group."""

        def op(tx: Transaction) -> GroupStatus:
            group = group_of(tx.conn, ref)
            current = group["generation"] == ref.generation
            if (
                current
                and submissions.drives_group(tx.conn, group, namespace, workflow_id)
                and not is_terminal(group["state"])
            ):
                tx.actor = TEMPORAL
                groups.cancel(tx, ref.org_id, ref.workflow_id, reason)
            return read_group_status(tx.conn, ref)

        return await self._write(op)

    async def begin_members(self, request: MembersRequest, *, namespace: str, workflow_id: str) -> Batch:
        """Begin external members; see remote.begin_members."""

        def op(tx: Transaction) -> Batch:
            tx.asking = request.ref.workflow_id
            return remote.begin_members(tx, request, namespace, workflow_id)

        return await self._write_asked(op)

    # ----- SubmissionStore: the outbox

    async def errands(
        self,
        now: float,
        *,
        limit: int,
        room: Room,
        skip: frozenset[int],
        parked: frozenset[str],
    ) -> Due:
        due = await self.read(lambda conn: outbox.errands(conn, now, limit=limit, room=room, skip=skip, parked=parked))
        if due.unreadable:  # they would be met again at every look, before all others
            await self._write(lambda tx: _set_aside(tx, due.unreadable))
        return due

    async def acknowledge(self, errand: Errand, *, run_id: str | None = None) -> None:
        # If it is lost, the errand is sent again under the same request id: nobody needs to wait for it.
        await self._writer.run(lambda tx: submissions.acknowledge(tx, errand, run_id), rides=True)

    async def moot(self, errand: Errand) -> None:
        await self._write(lambda tx: submissions.moot(tx, errand))

    async def defer(self, errand: Errand, *, until: float, error: str) -> None:
        await self._write(lambda tx: outbox.defer(tx, errand, until=until, error=error))

    async def reject(self, errand: Errand, *, error: str) -> None:
        await self._write(lambda tx: _reject(tx, errand, error))

    async def dead_letters(self, org_id: str | None = None, limit: int | None = None) -> list[DeadLetter]:
        """What Temporal refuses for ever, oldest first."""
        return await self.search(lambda conn: outbox.dead_letters(conn, org_id, limit))

    async def redrive(self, letter_id: str, org_id: str | None = None) -> DeadLetter:
        """Send a dead letter again, of one organisation or (None) of any. A refused start had failed its task or
        group: it is retried as its next generation, unless that was done before. Raises NotFound, Conflict."""

        def op(tx: Transaction) -> DeadLetter:
            letter = outbox.dead_letter(tx, letter_id, org_id)
            switching.redrive(tx, letter)
            if letter.kind is OutboxKind.START:
                _retry(tx, letter)
            return letter

        return await self._write(op)

    # ----- SubmissionStore: what was handed over

    async def tenants(self) -> list[Tenant]:
        return await self.read(orgs.tenants)

    async def submissions(
        self, *, states: tuple[str, ...], after: str, limit: int, parked: frozenset[str] = frozenset()
    ) -> list[Submission]:
        now = self._clock.now()
        return await self.search(
            lambda conn: submissions.page(conn, now, states=states, after=after, limit=limit, parked=parked)
        )

    async def settled(self, org_id: str, *, before: float, limit: int) -> list[Submission]:
        now = self._clock.now()
        return await self.search(lambda conn: submissions.settled(conn, now, org_id, before=before, limit=limit))

    async def find(self, workflow_ids: Sequence[str]) -> dict[str, Submission]:
        now = self._clock.now()
        return await self.read(lambda conn: submissions.find(conn, now, workflow_ids))

    async def resubmit(self, submission: Submission) -> bool:
        return await self._write(lambda tx: switching.resubmit(tx, submission))

    async def close_submission(self, submission: Submission) -> None:
        await self._write(lambda tx: submissions.close(tx, submission.ref))

    async def nudge(self, submission: Submission, kind: OutboxKind) -> None:
        await self._write(lambda tx: submissions.nudge(tx, submission, kind))

    async def remote_attempts(self, *, after: str, limit: int) -> list[RemoteAttempt]:
        return await self.search(lambda conn: remote.attempts(conn, after=after, limit=limit))

    async def observe(self, attempt: RemoteAttempt, percent: float | None, message: str | None) -> None:
        await self._write(lambda tx: remote.observe(tx, attempt, percent, message))


def _begin(
    tx: Transaction, ref: TaskRef, request: str, can_run: Callable[[str | None], bool]
) -> Assignment | TaskStatus:
    """Begin what is ready, of the newest generation, and has a handler here; else say how it stands."""
    status = read_task_status(tx.conn, ref, tx.now)
    if status.verdict is not Verdict.LIVE or status.state in HELD:
        return status
    if not processes.stands(tx):
        return status
    row = get(tx, ref.org_id, ref.task_id)
    if suspects.must_wait(tx, row):
        return status  # an executor takes it when nothing else runs there
    if not can_run(row["capability"]):
        return status.model_copy(update={"verdict": Verdict.NOT_HERE})
    begun = apart(tx, row["seq"], lambda: dispatch.begin(tx, row, request=request))
    return begun or read_task_status(tx.conn, ref, tx.now)


def _superseded(status: TaskStatus) -> TaskStatus:
    return status if status.verdict is Verdict.ENDED else status.model_copy(update={"verdict": Verdict.SUPERSEDED})


def _reject(tx: Transaction, errand: Errand, error: str) -> None:
    """Keep the errand as a dead letter. A refused start fails its task or group, so that people see it."""
    ref = errand.ref
    outbox.bury(tx, errand, error)
    if errand.kind is not OutboxKind.START:
        return
    submissions.close(tx, ref)
    failure = TaskError(type=REJECTED, message=f"Temporal refuses it: {error[:1000]}")
    if isinstance(ref, TaskRef):
        row = get(tx, ref.org_id, ref.task_id)
        if row["generation"] == ref.generation and not is_terminal(row["state"]):
            end_refused(tx, row, failure)
        return
    group = group_of(tx.conn, ref)
    if not is_terminal(group["state"]) and group["generation"] == ref.generation:
        finish(tx, group, WorkflowState.FAILED, failure)
        cancel_members(tx, group["id"], failure.type)


def _set_aside(tx: Transaction, numbers: Sequence[int]) -> None:
    """Keep errands that cannot be read as dead letters. A task that would never be started fails, so that people see
    it; a group is seen by its letter alone."""
    for number in numbers:
        found = outbox.bury_unreadable(tx, number)
        if found is not None and found[2] == OutboxKind.START:
            for (seq,) in tx.all("SELECT seq FROM dt_tasks WHERE id = ? AND generation = ?", found[:2]):
                set_aside(tx, seq, ValueError("its hand-over to Temporal cannot be read"))


def _retry(tx: Transaction, letter: DeadLetter) -> None:
    """Start again what the refusal has ended; a member with its group, when that has ended too. What had ended by
    itself before the refusal came, or was started again since, needs nothing."""
    sql = (
        "SELECT workflow_id, generation = ? AND state = 'failed' AND json_extract(error, '$.type') = ?"
        " FROM dt_tasks WHERE id = ?"
    )
    found = tx.one(sql, (letter.generation, REJECTED, letter.subject_id))
    if found is None:
        _retry_group(tx, letter.org_id, letter.subject_id, letter.generation)
    elif found[1] and not _retry_group(tx, letter.org_id, found[0], None):
        claims.retry(tx, letter.org_id, letter.subject_id)


def _retry_group(tx: Transaction, org_id: str, workflow_id: str | None, generation: int | None) -> bool:
    """False when there is no such group that has failed or was cancelled, in this generation or (None) in any."""
    sql = "SELECT 1 FROM dt_workflows WHERE id = ? AND state IN ('failed', 'cancelled') AND COALESCE(?, generation)"
    if tx.one(f"{sql} = generation", (workflow_id, generation)) is None:
        return False
    groups.retry(tx, org_id, str(workflow_id))
    return True
