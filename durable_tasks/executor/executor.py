"""The executor: a fixed number of slots that runs of both engines share.

It must not know where assignments come from beyond its ports, nor what their ends lead to.
"""

import asyncio
import heapq
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

from durable_tasks.contracts import Ref, TaskRef, TaskStatus, Verdict, is_embedded
from durable_tasks.errors import InvalidInput, NonRetryable, NotFound, StoreError
from durable_tasks.executor.progress import ProgressReport
from durable_tasks.executor.run import Run, to_outcome
from durable_tasks.handlers import Handlers
from durable_tasks.lifecycle import HELD
from durable_tasks.ports import Appetite, Asked, Assignment, Clock, Ending, Errand, Outcome

log = logging.getLogger("durable_tasks.executor")

AFTER_ERROR = 1.0
LONGEST_REST = 60.0


class WorkStore(Protocol):
    """What the executor needs of SQLite."""

    async def take(self, appetite: Appetite, after_org: str) -> tuple[list[Assignment], str]: ...

    async def finish(
        self, assignment: Assignment, outcome: Outcome, appetite: Appetite | None, after_org: str
    ) -> tuple[bool, list[Assignment], str]: ...

    async def begin(self, asked: Asked, can_run: Callable[[str | None], bool]) -> Assignment | TaskStatus: ...

    async def status(self, ref: TaskRef) -> TaskStatus: ...

    async def acknowledge(self, errand: Errand, *, run_id: str | None = None) -> None: ...

    async def acknowledge_and_begin(
        self, errand: Errand, run_id: str, can_run: Callable[[str | None], bool]
    ) -> Assignment | TaskStatus: ...

    async def prior(self, assignment: Assignment) -> Mapping[str, Any]: ...

    async def report(self, assignment: Assignment, percent: float, message: str | None) -> None: ...


class Executor:
    """Runs handlers, at most `slots` at once. A handler that ignores its cancellation loses its slot after
    `cancel_grace` seconds and runs on unheeded."""

    def __init__(self, handlers: Handlers, store: WorkStore, clock: Clock, *, slots: int, cancel_grace: float) -> None:
        self._handlers = handlers
        self._loop = asyncio.get_running_loop()
        self._store = store
        self._clock = clock
        self._slots = slots
        self._cancel_grace = cancel_grace
        self._runs: dict[str, Run] = {}
        self._reserved = 0
        self._reservations: set[object] = set()
        self._unrecorded: set[str] = set()
        self._lone: Run | None = None
        """What nothing else may begin beside, while it is on probation."""
        self._admitted: list[tuple[int, int, Asked]] = []
        self._admissions = 0
        self._waiting: set[TaskRef] = set()
        self._room_listeners: list[Callable[[], None]] = []
        self._stopped_early: set[str] = set()
        self._after_org = ""
        self._closing = False
        self._abandoned = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._background: set[asyncio.Task[Any]] = set()
        self.temporal_before: Callable[[], float | None] = lambda: None
        """Ready tasks of the Temporal engine from before this instant are taken too; see LocalEngine."""
        self.unfilled: Callable[[], None] = lambda: None
        """Called when free slots could not be filled: somebody has to try again."""

    @property
    def free(self) -> int:
        return 0 if self._closing or self._lone is not None else self._slots - len(self._runs) - self._reserved

    @property
    def running(self) -> int:
        return len(self._runs)

    def has(self, token: str) -> bool:
        """Whether the attempt is run here, or its end still to be recorded."""
        return token in self._runs or token in self._unrecorded

    def under_way(self) -> set[object]:
        """What may have begun attempts, and not have them yet."""
        return {*self._reservations, *(run for run in self._runs.values() if run.ended.done())}

    def can_run(self, capability: str | None) -> bool:
        return self._handlers.find(capability) is not None

    def on_loop(self) -> str | None:
        """The handler whose code the event loop runs at this moment, for another thread to ask while it is blocked."""
        current = asyncio.current_task(self._loop)
        for run in list(self._runs.values()):
            if run.is_run_by(current):
                task = run.assignment.task
                return f"the handler of {task.capability!r} (task {task.id}, attempt {task.attempt})"
        return None

    # ----- taking work

    async def fill(self) -> int:
        """Begin as much ready work as there are free slots, in one operation. Answers how much it was."""
        count = self.free
        if count < 1:
            return 0
        appetite = self._appetite(count, rests=not self._runs and not self._reserved)
        with self._reserving(count):
            taken, self._after_org = await self._store.take(appetite, self._after_org)
            self._start(taken)
        await self._begin_admitted()
        return len(taken)

    async def admit(self, asked: Asked) -> TaskStatus | None:
        """Begin the task that a Temporal workflow asks for: now, or when a slot is free, urgent ones first.
        Answers how it stands when it cannot be begun, None when it was begun or waits for a slot."""
        # Read first: mostly it was begun when Temporal was told of it, and has ended, and a read needs no transaction.
        status = await self._store.status(asked.ref)
        if status.verdict is not Verdict.LIVE or status.state in HELD:
            return status  # it has ended, or goes on without us: who waits for a slot would not be told
        if self.free > 0 and not self._admitted:
            return await self._begin(asked)
        if asked.ref not in self._waiting:
            self._waiting.add(asked.ref)
            self._admissions += 1
            heapq.heappush(self._admitted, (-asked.ref.priority, self._admissions, asked))
        await self._begin_admitted()  # a slot may have become free while we looked
        return None

    # ----- ports.Intake

    def waiting(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for _, _, asked in self._admitted:
            found.setdefault(asked.ref.org_id, set()).add(asked.ref.task_id)
        return found

    def on_room(self, listener: Callable[[], None]) -> Callable[[], None]:
        self._room_listeners.append(listener)
        return lambda: self._room_listeners.remove(listener)

    async def begin_ahead(self, errand: Errand) -> bool:
        return self._has_room_for(errand.ref) and await self._begin(_asked(errand)) is None

    async def begin_started(self, errand: Errand, run_id: str) -> None:
        if self._has_room_for(errand.ref):
            await self._begin_on_slot(self._store.acknowledge_and_begin(errand, run_id, self.can_run))
            return
        await self._store.acknowledge(errand, run_id=run_id)
        if is_embedded(errand.ref):
            # It waits for a slot here, and not until a worker has time for its Temporal workflow.
            await self.admit(_asked(errand))

    def _has_room_for(self, ref: Ref) -> bool:
        return is_embedded(ref) and self.free > 0 and not self._admitted

    async def _begin(self, asked: Asked) -> TaskStatus | None:
        return await self._begin_on_slot(self._store.begin(asked, self.can_run))

    async def _begin_on_slot(self, beginning: Awaitable[Assignment | TaskStatus]) -> TaskStatus | None:
        """In a task of our own: if the caller is cancelled after the commit, the attempt must still be run."""
        reserved = ExitStack()
        reserved.enter_context(self._reserving(1))  # now: others look at `free` before the task takes its first step

        async def begin() -> TaskStatus | None:
            with reserved:
                answer = await beginning
                if isinstance(answer, Assignment):
                    self._start([answer])
                    return None
                return answer

        beginner = asyncio.create_task(begin(), name="durable_tasks begin")
        self._background.add(beginner)
        beginner.add_done_callback(self._begun)
        return await asyncio.shield(beginner)

    def _begun(self, beginner: asyncio.Task[TaskStatus | None]) -> None:
        self._background.discard(beginner)
        error = None if beginner.cancelled() else beginner.exception()
        if error is not None:  # whoever waits for it hears of it; but he may have been cancelled
            log.info("a task could not be begun", extra={"said": str(error)})

    @contextmanager
    def _reserving(self, slots: int) -> Iterator[None]:
        reservation = object()
        self._reservations.add(reservation)
        self._reserved += slots
        try:
            yield
        finally:
            self._reservations.discard(reservation)
            self._reserved -= slots
            if not self._reserved:
                self._stopped_early.clear()

    async def _begin_admitted(self) -> None:
        while self._admitted and self.free > 0:
            wanted = heapq.heappop(self._admitted)
            asked = wanted[-1]
            self._waiting.discard(asked.ref)
            try:
                await self._begin(asked)
            except StoreError:
                self._waiting.add(asked.ref)
                heapq.heappush(self._admitted, wanted)
                raise
            except NotFound:
                log.warning(
                    "a Temporal workflow asked for a task that is not here", extra={"task_id": asked.ref.task_id}
                )
            for listener in self._room_listeners:
                listener()

    def _appetite(self, limit: int, *, rests: bool) -> Appetite:
        return Appetite(
            self._handlers.capabilities, self._handlers.has_default, limit, self.temporal_before(), rests=rests
        )

    # ----- running

    def _start(self, assignments: list[Assignment]) -> None:
        if self._closing:
            return  # taken while stop() began: this process gives them back when it leaves
        for assignment in assignments:
            handler = self._handlers.find(assignment.task.capability)
            if handler is None:  # a handler cannot be unregistered; a row's capability cannot change
                raise AssertionError(f"no handler for {assignment.task.capability!r}")
            report = ProgressReport(assignment, self._store, self._spawn)
            run = Run(assignment, handler, report)
            self._runs[assignment.token] = run
            if assignment.alone_for is not None:
                self._lone = run
                self._spawn(self._acquit(run, assignment.alone_for), "durable_tasks probation")
            self._idle.clear()
            self._spawn(self._supervise(run), f"durable_tasks run {assignment.task.id}")
            if assignment.token in self._stopped_early:
                run.refuse()
            elif assignment.prior is None:
                self._spawn(self._read_and_start(run), f"durable_tasks prior outputs {assignment.task.id}")
            else:
                run.start()

    async def _read_and_start(self, run: Run) -> None:
        """Prior outputs are read outside the transaction that began the attempt: they may be many."""
        try:
            prior = await self._store.prior(run.assignment)
        except Exception as error:  # whatever it was: an attempt that never starts would hold its slot for ever
            run.fail(error)
            return
        if run.stopping:
            run.refuse()
        else:
            run.start(prior)

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _supervise(self, run: Run) -> None:
        outcome = await run.ended
        # Where no end was recorded nothing was taken for the slot with it; beside a lone one all slots were empty.
        fill = outcome is None or run.assignment.alone_for is not None
        if outcome is None:
            log.warning(
                "a handler ignored its cancellation and was given up", extra={"task_id": run.assignment.task.id}
            )
            self._drop(run)
        else:
            try:
                fill |= not await self._record(run, outcome)
            finally:
                self._drop(run)
        await self._go_on(fill=fill)

    async def _go_on(self, *, fill: bool) -> None:
        try:
            await self._begin_admitted()
            if fill:
                await self.fill()
        except Exception as error:
            unforeseen = None if isinstance(error, StoreError) else error
            log.warning("free slots could not be filled yet", extra={"said": str(error)}, exc_info=unforeseen)
            self.unfilled()

    async def _record(self, run: Run, outcome: Outcome) -> bool:
        """Write the end and, in the same operation, begin what follows on the slot that becomes free. False when it
        could not be written like that, and nothing was begun."""
        task = run.assignment.task
        try:
            done, taken, self._after_org = await self._finish(run.assignment, outcome, follows=True)
        except Exception as error:
            if isinstance(error, InvalidInput):  # what the handler has answered is no JSON, or too large
                outcome = to_outcome(NonRetryable(error.message))
            else:
                log.exception("an attempt's end could not be recorded yet", extra={"task_id": task.id})
            if not await self._recorded(run.assignment, outcome):
                self._spawn(self._insist(run.assignment, outcome), f"durable_tasks end of {task.id}")
            return False
        if not done:
            log.info("a late result was refused", extra={"task_id": task.id, "attempt": task.attempt})
        self._start(taken)
        return True

    async def _finish(
        self, assignment: Assignment, outcome: Outcome, *, follows: bool
    ) -> tuple[bool, list[Assignment], str]:
        """Record until it is recorded: while the file is busy or full, a finished result must not be lost."""
        while True:
            follow = self._appetite_after(assignment) if follows and not self._closing and not self._admitted else None
            try:
                return await self._store.finish(assignment, outcome, follow, self._after_org)
            except StoreError as error:
                facts = {"task_id": assignment.task.id, "error": error.code, "said": error.message}
                if self._abandoned:
                    log.error("an attempt's end cannot be recorded any more", extra=facts)
                    return False, [], self._after_org
                log.error("an attempt's end could not be recorded yet", extra=facts)
                await self._clock.wait_for(asyncio.Event(), AFTER_ERROR)

    async def _insist(self, assignment: Assignment, outcome: Outcome) -> None:
        """Nobody foresaw that the end cannot be recorded: what was done must not be lost for it. It is tried ever more
        slowly, without a slot; what is not recorded when this process leaves is released then."""
        rest = AFTER_ERROR
        self._unrecorded.add(assignment.token)
        while True:
            await self._clock.wait_for(asyncio.Event(), rest)
            if await self._recorded(assignment, outcome):
                self._unrecorded.discard(assignment.token)
                return
            rest = min(2 * rest, LONGEST_REST)

    async def _recorded(self, assignment: Assignment, outcome: Outcome) -> bool:
        try:
            await self._finish(assignment, outcome, follows=False)
        except Exception:
            log.exception("an attempt's end could not be recorded yet", extra={"task_id": assignment.task.id})
            return False
        return True

    def _appetite_after(self, ended: Assignment) -> Appetite | None:
        """What may follow on the slot of an attempt that ends. After one that ran alone others come first."""
        was_lone = ended.alone_for is not None
        if self._lone is not None and not was_lone:
            return None
        return self._appetite(1, rests=len(self._runs) == 1 and not self._reserved and not was_lone)

    async def _acquit(self, run: Run, probation: float) -> None:
        """Let others begin once the run has ended, or has been harmless for so long."""
        ended = asyncio.Event()
        run.ended.add_done_callback(lambda _: ended.set())
        if not await self._clock.wait_for(ended, probation) and self._lone is run:
            self._lone = None
            await self._go_on(fill=True)

    def _drop(self, run: Run) -> None:
        self._runs.pop(run.assignment.token, None)
        if self._lone is run:
            self._lone = None
        if not self._runs:
            self._idle.set()

    # ----- stopping

    def stop(self, attempts: Iterable[tuple[str, str]]) -> None:
        """Stop the runs among these (task id, token) whose attempts a commit has ended."""
        for _, token in attempts:
            run = self._runs.get(token)
            if run is not None:
                self.stop_run(run)
            elif self._reserved:
                self._stopped_early.add(token)  # begun and ended in one commit, before we heard of the beginning

    def stop_run(self, run: Run) -> None:
        if not run.stopping:
            run.stop()
            self._spawn(self._give_up_later(run), "durable_tasks cancel grace")

    async def _give_up_later(self, run: Run) -> None:
        stopped = asyncio.Event()
        run.ended.add_done_callback(lambda _: stopped.set())
        if not await self._clock.wait_for(stopped, self._cancel_grace):
            run.give_up()

    async def stop_all(self) -> None:
        """This process was declared dead and its attempts given away: stop them all, and wait until they have ended
        or were given up; their results are refused."""
        while self._runs:
            for run in list(self._runs.values()):
                self.stop_run(run)
            await self._idle.wait()

    def abandon(self) -> None:
        """Nothing can be recorded any more: take nothing, and stop all that runs."""
        self._closing = self._abandoned = True
        self._admitted.clear()
        self._spawn(self.stop_all(), "durable_tasks abandon")

    async def close(self, grace: float) -> None:
        """Take nothing more, let runs finish for `grace` seconds, then release what is left so that it runs
        elsewhere at once."""
        self._closing = True
        self._admitted.clear()
        if self._runs and not await self._clock.wait_for(self._idle, grace):
            await self._release_all()
        for task in list(self._background):
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    async def _release_all(self) -> None:
        for token, run in list(self._runs.items()):
            run.stop()
            log.warning(
                "a handler outlived the shutdown grace and was released", extra={"task_id": run.assignment.task.id}
            )
            self._runs.pop(token, None)
            try:
                await self._store.finish(run.assignment, Outcome(Ending.RELEASED), None, self._after_org)
            except Exception as error:  # what is not released now is released when the process leaves
                log.warning("a handler could not be released yet", exc_info=error)
            run.give_up()


def _asked(errand: Errand) -> Asked:
    assert isinstance(errand.ref, TaskRef)
    return Asked(errand.ref, errand.request_id, errand.namespace, errand.workflow_id)
