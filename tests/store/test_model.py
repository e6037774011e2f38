"""The store against a small model of itself: random sequences of verbs by agents, and of time passing.

The model must not read the store: it says beforehand what each call answers and where each task stands.
"""

import asyncio
import os
import tempfile
from collections.abc import Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from durable_tasks import Claim, RetryPolicy, errors
from durable_tasks.testing import ManualClock
from tests.store.support import make

GRACE, MAX_LOST, BACKOFF = 30.0, 1, RetryPolicy(initial=10, coefficient=2, maximum=60)
ENDED = {"completed", "failed", "cancelled"}
HELD = {"claimed", "running"}
Refusal = type[errors.DurableTasksError]
MEMBERS = {"bob"}


def groups_of(agent: str) -> tuple[str, ...]:
    return ("legal",) if agent in MEMBERS else ()


@dataclass
class Modelled:
    """What the model knows of one task."""

    seq: int
    id: str = ""
    state: str = "pending"
    priority: int = 1
    reserved: str | None = None
    assigned: str | None = None
    policy: str = "cancel"
    unmet: set[int] = field(default_factory=set)
    parents: list[int] = field(default_factory=list)
    max_retries: int = 0
    retry_count: int = 0
    lost_count: int = 0
    attempt: int = 0
    generation: int = 1
    token: str | None = None
    endings: dict[str, str] = field(default_factory=dict)
    not_before: float | None = None
    deadline: float | None = None
    wake: float | None = None
    timeout: float | None = None
    timeout_at: float | None = None
    lease: float | None = None
    lease_until: float | None = None
    stop_by: float | None = None
    form: bool = False

    def due(self, now: float) -> bool:
        instants = [self.stop_by]
        instants += [self.deadline] if self.state not in ENDED else []
        instants += [self.wake] if self.state in ("scheduled", "retrying") else []
        instants += [self.lease_until, self.timeout_at] if self.state in HELD else []
        return any(instant is not None and instant <= now for instant in instants)

    def free(self, ending: str) -> None:
        if self.token is not None:
            self.endings[self.token] = ending
        self.token = self.timeout_at = self.lease = self.lease_until = self.stop_by = None


class Model:
    """The design's rules in the plainest words; time is given."""

    def __init__(self) -> None:
        self.tasks: list[Modelled] = []
        self.ended: list[Modelled] = []
        self.now = 0.0

    # ----- what follows

    def end(self, task: Modelled, state: str) -> None:
        task.state = state
        self.ended.append(task)

    def settle(self) -> None:
        while self.ended:
            parent = self.ended.pop()
            for child in self.tasks:
                if child.state == "blocked" and parent.seq in child.unmet:
                    self.tell(child, parent)

    def tell(self, child: Modelled, parent: Modelled) -> None:
        if parent.state == "completed" or child.policy == "run":
            child.unmet.discard(parent.seq)
            if not child.unmet:
                self.place(child)
        elif child.policy == "cancel":
            self.end(child, "cancelled")

    def place(self, task: Modelled) -> None:
        if task.unmet:
            task.state = "blocked"
        elif task.not_before is not None and task.not_before > self.now:
            task.state, task.wake = "scheduled", task.not_before
        else:
            task.state = "pending"

    def meets(self, task: Modelled, parent: int) -> bool:
        state = self.tasks[parent].state
        return state == "completed" or (task.policy == "run" and state in ENDED)

    # ----- verbs: each answers the error to expect, or None after it changed the model

    def create(self, task: Modelled) -> None:
        task.unmet = {parent for parent in task.parents if not self.meets(task, parent)}
        self.place(task)
        if task.policy == "cancel" and any(self.tasks[p].state in ("failed", "cancelled") for p in task.parents):
            task.state = "cancelled"
        self.tasks.append(task)

    def claim(self, task: Modelled, agent: str) -> Refusal | None:
        holder = task.assigned or task.reserved
        free = (agent, "group:legal") if agent in MEMBERS else (agent,)
        if holder is not None and task.state not in ENDED and (holder not in free or task.state in HELD):
            return errors.AlreadyClaimed
        if task.state != "pending":
            return errors.IllegalMove
        return errors.Conflict if task.stop_by is not None else None

    def claimed(self, task: Modelled, agent: str, token: str, lease: float | None) -> None:
        task.state, task.assigned, task.token, task.lease = "claimed", agent, token, lease
        task.attempt += 1
        task.lease_until = None if lease is None else self.now + lease

    def next(self, agent: str) -> Modelled | None:
        free = (None, agent, "group:legal") if agent in MEMBERS else (None, agent)
        ready = [t for t in self.tasks if t.state == "pending" and t.stop_by is None and t.reserved in free]
        return min(ready, key=lambda task: (-task.priority, task.seq), default=None)

    def refusal(self, task: Modelled, token: str, allowed: set[str]) -> Refusal | None:
        if task.state not in ENDED and task.attempt and task.token != token:
            return errors.StaleToken
        return None if task.state in allowed else errors.IllegalMove

    def start(self, task: Modelled, token: str) -> Refusal | None:
        if refusal := self.refusal(task, token, {"claimed"}):
            return refusal
        task.state = "running"
        task.timeout_at = None if task.timeout is None else self.now + task.timeout
        return None

    def complete(self, task: Modelled, token: str, output: str) -> Refusal | None:
        if task.endings.get(token) == f"completed {output}":
            return None
        if refusal := self.refusal(task, token, HELD):
            return refusal
        if task.form and output != "out":
            return errors.InvalidOutput
        task.free(f"completed {output}")
        self.end(task, "completed")
        return None

    def fail(self, task: Modelled, token: str, retryable: bool) -> Refusal | None:
        if task.endings.get(token) == "failed":
            return None
        if refusal := self.refusal(task, token, HELD):
            return refusal
        self.failed(task, retryable, "failed")
        return None

    def failed(self, task: Modelled, retryable: bool, ending: str) -> None:
        task.free(ending)
        if retryable and task.retry_count < task.max_retries:
            task.state, task.assigned = "retrying", None
            task.wake = self.now + min(60, 10 * 2**task.retry_count)
            task.retry_count += 1
        else:
            self.end(task, "failed")

    def release(self, task: Modelled, token: str) -> Refusal | None:
        if task.token == token and task.stop_by is not None:
            task.free("stopped")
            return None
        if refusal := self.refusal(task, token, HELD):
            return refusal
        self.give_back(task)
        return None

    def give_back(self, task: Modelled) -> None:
        task.free("released")
        task.state, task.assigned = "pending", None

    def heartbeat(self, task: Modelled, token: str) -> Refusal | None:
        if task.token == token and task.stop_by is not None:
            return None
        if refusal := self.refusal(task, token, HELD):
            return refusal
        task.lease_until = None if task.lease is None else self.now + task.lease
        return None

    def stop(self, task: Modelled) -> None:
        if task.state in HELD:
            task.stop_by, task.lease_until, task.timeout_at = self.now + GRACE, None, None

    def cancel(self, task: Modelled) -> Refusal | None:
        if task.state in ("completed", "failed"):
            return errors.IllegalMove
        if task.state != "cancelled":
            self.stop(task)
            self.end(task, "cancelled")
        return None

    def retry(self, task: Modelled) -> Refusal | None:
        if task.state not in ("failed", "cancelled"):
            return errors.IllegalMove
        lost = {p for p in task.unmet if self.tasks[p].state in ("failed", "cancelled")}
        if lost and task.policy == "cancel":
            return errors.Conflict
        task.unmet = {parent for parent in task.unmet if not self.meets(task, parent)}
        task.state = "blocked" if task.unmet else "pending"
        task.retry_count = task.lost_count = 0
        task.generation, task.assigned = task.generation + 1, None
        if task.deadline is not None and task.deadline <= self.now:
            task.deadline = None
        return None

    # ----- time

    def advance(self, seconds: float) -> None:
        self.now += seconds
        while due := [task for task in self.tasks if task.due(self.now)]:
            for task in due:
                self.expire(task)
            self.settle()

    def expire(self, task: Modelled) -> None:
        def passed(instant: float | None) -> bool:
            return instant is not None and instant <= self.now

        if passed(task.stop_by):
            task.free("stopped")
        elif task.state not in ENDED and passed(task.deadline):
            self.stop(task)
            self.end(task, "failed")
        elif task.state in HELD and passed(task.timeout_at):
            self.failed(task, True, "timeout")
        elif task.state in HELD and passed(task.lease_until):
            self.lose(task)
        else:
            task.state = "pending"

    def lose(self, task: Modelled) -> None:
        task.free("lost")
        task.lost_count += 1
        task.state, task.assigned = "pending", None


AGENTS = st.sampled_from(["ann", "bob"])
PLACES = st.integers(0, 1000)
LEASES = st.sampled_from([None, 5.0, 60.0])


class Machine(RuleBasedStateMachine):
    """Calls the Python API and the model alike, and compares."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.runner = asyncio.Runner()
        self.clock = ManualClock()
        self.model.now = self.clock.now()
        self.folder = tempfile.TemporaryDirectory()

    def run(self, call: Awaitable[Any]) -> Any:
        async def awaited() -> Any:
            return await call

        return self.runner.run(awaited())

    def expect(self, call: Awaitable[Any], refusal: Refusal | None) -> Any:
        self.model.settle()
        if refusal is None:
            return self.run(call)
        with pytest.raises(errors.DurableTasksError) as caught:
            self.run(call)
        assert type(caught.value) is refusal
        return None

    def pick(self, place: int) -> Modelled:
        """Mostly the newest: random choice would rarely meet a task twice."""
        tasks = self.model.tasks
        return tasks[-1 - place % min(4, len(tasks))] if place % 3 else tasks[place % len(tasks)]

    def token(self, task: Modelled, old: bool) -> str:
        known = list(task.endings)
        return known[-1] if old and known else task.token or (known[-1] if known else "none")

    @initialize()
    def open(self) -> None:
        self.tasks = make(Path(self.folder.name) / "app.db", self.clock, max_lost=MAX_LOST, cancel_grace=GRACE)
        self.run(self.tasks.start())
        self.org = self.tasks.org()

    def teardown(self) -> None:
        self.run(self.tasks.stop())
        self.runner.close()
        self.folder.cleanup()

    @rule(
        parents=st.lists(PLACES, max_size=2), policy=st.sampled_from(["cancel", "run", "wait"]),
        priority=st.integers(0, 3), max_retries=st.integers(0, 2), delay=st.sampled_from([None, None, 20.0]),
        deadline=st.sampled_from([None, None, None, 50.0]), timeout=st.sampled_from([None, 15.0]),
        reserved=st.sampled_from([None, None, "bob", "group:legal"]), form=st.booleans(),
    )  # fmt: skip
    def create(
        self, parents: list[int], policy: Any, priority: int, max_retries: int, delay: float | None,
        deadline: float | None, timeout: float | None, reserved: str | None, form: bool,
    ) -> None:  # fmt: skip
        seqs = sorted({self.pick(place).seq for place in parents}) if self.model.tasks else []
        made = Modelled(
            len(self.model.tasks), parents=seqs, policy=policy, priority=priority, max_retries=max_retries,
            timeout=timeout, reserved=reserved, not_before=None if delay is None else self.model.now + delay,
            deadline=None if deadline is None else self.model.now + deadline, form=form,
        )  # fmt: skip
        self.model.create(made)
        depends_on = [self.model.tasks[seq].id for seq in seqs]
        task = self.run(
            self.org.create(
                f"t{made.seq}", depends_on=depends_on, on_dependency_failure=policy, priority=priority,
                max_retries=max_retries, delay=delay, deadline=deadline, timeout=timeout, assigned_to=reserved,
                retry=BACKOFF, form={"const": "out"} if form else None,
            )
        )  # fmt: skip
        made.id = task.id

    @precondition(lambda self: self.model.tasks)
    @rule(place=PLACES, agent=AGENTS, lease=LEASES)
    def claim(self, place: int, agent: str, lease: float | None) -> None:
        task = self.pick(place)
        claim = self.expect(
            self.org.claim(task.id, agent_id=agent, groups=groups_of(agent), lease=lease), self.model.claim(task, agent)
        )
        if claim is not None:
            self.model.claimed(task, agent, claim.token, lease)

    @rule(agent=AGENTS, lease=LEASES)
    def next(self, agent: str, lease: float | None) -> None:
        expected = self.model.next(agent)
        claim: Claim | None = self.run(self.org.next(agent_id=agent, groups=groups_of(agent), lease=lease))
        assert (claim and claim.task.id) == (expected and expected.id)
        if claim is not None and expected is not None:
            self.model.claimed(expected, agent, claim.token, lease)

    @rule(agent=AGENTS, lease=LEASES)
    def next_and_start(self, agent: str, lease: float | None) -> None:
        """Running tasks are rare when every step is drawn alone."""
        task = self.model.next(agent)
        self.next(agent, lease)
        if task is not None and task.token is not None:
            self.expect(self.org.start(task.id, token=task.token), self.model.start(task, task.token))

    @precondition(lambda self: self.model.tasks)
    @rule(place=PLACES, old=st.sampled_from([False, False, False, True]))
    def start(self, place: int, old: bool) -> None:
        task = self.pick(place)
        token = self.token(task, old)
        self.expect(self.org.start(task.id, token=token), self.model.start(task, token))

    @precondition(lambda self: self.model.tasks)
    @rule(place=PLACES, old=st.sampled_from([False, False, False, True]), output=st.sampled_from(["out", "of form"]))
    def complete(self, place: int, old: bool, output: str) -> None:
        task = self.pick(place)
        token = self.token(task, old)
        self.expect(self.org.complete(task.id, output, token=token), self.model.complete(task, token, output))

    @precondition(lambda self: self.model.tasks)
    @rule(place=PLACES, old=st.sampled_from([False, False, False, True]), retryable=st.booleans())
    def fail(self, place: int, old: bool, retryable: bool) -> None:
        task = self.pick(place)
        token = self.token(task, old)
        call = self.org.fail(task.id, "broken", token=token, retryable=retryable)
        self.expect(call, self.model.fail(task, token, retryable))

    @precondition(lambda self: self.model.tasks)
    @rule(place=PLACES, old=st.sampled_from([False, False, False, True]))
    def release(self, place: int, old: bool) -> None:
        task = self.pick(place)
        token = self.token(task, old)
        self.expect(self.org.release(task.id, token=token), self.model.release(task, token))

    @precondition(lambda self: self.model.tasks)
    @rule(place=PLACES, old=st.sampled_from([False, False, False, True]))
    def heartbeat(self, place: int, old: bool) -> None:
        task = self.pick(place)
        token = self.token(task, old)
        told = task.stop_by is not None
        beat = self.expect(self.org.heartbeat(task.id, token=token), self.model.heartbeat(task, token))
        assert beat is None or beat.cancel_requested is told

    @precondition(lambda self: self.model.tasks)
    @rule(place=PLACES)
    def cancel(self, place: int) -> None:
        task = self.pick(place)
        self.expect(self.org.cancel(task.id), self.model.cancel(task))

    @precondition(lambda self: self.model.tasks)
    @rule(place=PLACES)
    def retry(self, place: int) -> None:
        task = self.pick(place)
        self.expect(self.org.retry(task.id), self.model.retry(task))

    @precondition(lambda self: self.model.tasks)
    @rule(place=PLACES, priority=st.integers(0, 3), reserved=st.sampled_from([None, "ann"]), extra=st.integers(0, 2))
    def update(self, place: int, priority: int, reserved: str | None, extra: int) -> None:
        task = self.pick(place)
        refusal = errors.IllegalMove if task.state in ENDED else None
        call = self.org.update(task.id, priority=priority, assigned_to=reserved, max_retries=extra, deadline="1h")
        self.expect(call, refusal)
        if refusal is None:
            if task.state in HELD and task.assigned != reserved:
                self.model.give_back(task)
            task.priority, task.reserved, task.max_retries = priority, reserved, extra
            task.deadline = self.model.now + 3600

    @rule(seconds=st.sampled_from([1.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 4000.0]))
    def advance(self, seconds: float) -> None:
        self.model.advance(seconds)
        self.run(self.clock.advance(seconds))

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "org") or not self.model.tasks:
            return
        found = {task.id: task for task in self.run(self.org.list(limit=1000, full=True)).items}
        assert len(found) == len(self.model.tasks)
        for task in self.model.tasks:
            row = found[task.id]
            stored = (
                row.state,
                row.retry_count,
                row.lost_count,
                row.attempt,
                row.generation,
                row.priority,
                row.assigned_to,
            )
            assert stored == (
                task.state, task.retry_count, task.lost_count, task.attempt, task.generation, task.priority,
                task.assigned or task.reserved,
            )  # fmt: skip
        assert self.run(self.audit()) == []

    async def audit(self) -> list[str]:
        return await self.tasks.store.audit()


def check(sequences: int, length: int) -> None:
    run_state_machine_as_test(
        Machine, settings=settings(max_examples=sequences, stateful_step_count=length, deadline=None, database=None)
    )


def test_short_sequences() -> None:
    check(60, 40)


@pytest.mark.acceptance
@pytest.mark.timeout(7200)
def test_ten_thousand_sequences() -> None:
    check(int(os.environ.get("TASKS_ACCEPTANCE_SEQUENCES", "10000")), 50)
