"""The state machine: which moves are legal, and what failure, loss and the members' ends lead to.

It must not know storage or engines: data and pure functions. Nobody else names a legal move.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from durable_tasks.models import FailurePolicy, Mode, Placement, RetryPolicy, TaskState, WorkflowState

S = TaskState

TERMINAL = frozenset({S.COMPLETED, S.FAILED, S.CANCELLED})
OPEN = frozenset(TaskState) - TERMINAL
HELD = frozenset({S.CLAIMED, S.RUNNING})
"""States with a current attempt."""
WAITING = frozenset({S.BLOCKED, S.SCHEDULED, S.PENDING, S.RETRYING})
"""Open states without an attempt."""

TRANSITIONS: Mapping[TaskState, frozenset[TaskState]] = {
    S.BLOCKED: frozenset({S.PENDING, S.SCHEDULED, S.CANCELLED, S.FAILED}),
    S.SCHEDULED: frozenset({S.PENDING, S.CANCELLED, S.FAILED}),
    S.PENDING: frozenset({S.CLAIMED, S.RUNNING, S.CANCELLED, S.FAILED}),
    S.CLAIMED: frozenset({S.RUNNING, S.PENDING, S.COMPLETED, S.FAILED, S.RETRYING, S.CANCELLED}),
    S.RUNNING: frozenset({S.COMPLETED, S.FAILED, S.RETRYING, S.PENDING, S.WAITING, S.PAUSED, S.CANCELLED}),
    S.WAITING: frozenset({S.PENDING, S.RUNNING, S.CANCELLED, S.FAILED}),
    S.PAUSED: frozenset({S.PENDING, S.RUNNING, S.CANCELLED, S.FAILED}),
    S.RETRYING: frozenset({S.PENDING, S.RUNNING, S.CANCELLED, S.FAILED}),
    S.COMPLETED: frozenset(),
    S.FAILED: frozenset({S.PENDING, S.BLOCKED}),
    S.CANCELLED: frozenset({S.PENDING, S.BLOCKED}),
}


class Verb(StrEnum):
    """What can be done to a task by a caller, an executor or the clock."""

    CLAIM = "claim"
    BEGIN = "begin"
    START = "start"
    HEARTBEAT = "heartbeat"
    PROGRESS = "progress"
    COMPLETE = "complete"
    FAIL = "fail"
    RELEASE = "release"
    LOSE = "lose"
    CANCEL = "cancel"
    RETRY = "retry"
    UPDATE = "update"
    UNBLOCK = "unblock"
    WAKE = "wake"
    REJECT = "reject"
    EXPIRE = "expire"


FROM: Mapping[Verb, frozenset[TaskState]] = {
    Verb.CLAIM: frozenset({S.PENDING}),
    Verb.BEGIN: frozenset({S.PENDING, S.RETRYING}),
    Verb.START: frozenset({S.CLAIMED}),
    Verb.HEARTBEAT: HELD,
    Verb.PROGRESS: HELD,
    Verb.COMPLETE: HELD,
    Verb.FAIL: HELD,
    Verb.RELEASE: HELD,
    Verb.LOSE: HELD,
    Verb.CANCEL: OPEN,
    Verb.RETRY: frozenset({S.FAILED, S.CANCELLED}),
    Verb.UPDATE: OPEN,
    Verb.UNBLOCK: frozenset({S.BLOCKED}),
    Verb.WAKE: frozenset({S.SCHEDULED, S.RETRYING}),
    Verb.REJECT: frozenset(OPEN - {S.WAITING, S.PAUSED}),
    Verb.EXPIRE: frozenset(OPEN - {S.WAITING, S.PAUSED}),
}
"""The states in which each verb is allowed."""

MAX_LOST = 5
SUSPECT_AFTER = 2
"""Losses with its process after which a task runs alone until an attempt ends by itself."""
LOSSES_ELSEWHERE = 4
"""External workers cannot be made to run a task alone: it takes so many times `max_lost` losses there."""
LONGEST_PAUSE = 60.0


def can_transition(source: TaskState | str, target: TaskState | str) -> bool:
    """Whether a task may move from `source` to `target`. Raises ValueError for an unknown state."""
    return TaskState(target) in TRANSITIONS[TaskState(source)]


def allows(verb: Verb, state: TaskState) -> bool:
    return state in FROM[verb]


def is_terminal(state: TaskState | WorkflowState | str) -> bool:
    return str(state) in {"completed", "failed", "cancelled"}


def placement_of(mode: Mode, queue: str | None, *, own_queue: str, runs_here: bool) -> Placement:
    """Where a task runs. External: for the workers of another queue than the processes' own, or for any worker when
    these run no handlers."""
    if mode is Mode.MANUAL:
        return Placement.MANUAL
    elsewhere = queue is not None and queue != own_queue
    return Placement.EXTERNAL if elsewhere or not runs_here else Placement.EMBEDDED


@dataclass(frozen=True, slots=True)
class Next:
    """Where a task goes after its attempt ended without completing."""

    state: TaskState
    retry_count: int
    lost_count: int
    delay: float = 0.0
    """Seconds until it is ready again; only with `retrying`."""
    poison: bool = False
    alone: int = 0
    """How often it was lost while it ran alone."""


def backoff(policy: RetryPolicy, retry: int) -> float:
    """Seconds before retry number `retry` (1-based). The power is capped before it can overflow."""
    if policy.coefficient == 1 or policy.initial == 0:
        return policy.initial
    delay = policy.initial
    for _ in range(retry - 1):
        delay *= policy.coefficient
        if delay >= policy.maximum:
            return policy.maximum
    return min(delay, policy.maximum)


def after_failure(
    *,
    retry_count: int,
    max_retries: int,
    lost_count: int,
    policy: RetryPolicy,
    retryable: bool,
    after: float | None = None,
) -> Next:
    """A failed attempt: retrying while retries remain, else failed. `after` overrides the backoff."""
    if not retryable or retry_count >= max_retries:
        return Next(S.FAILED, retry_count, lost_count)
    retry = retry_count + 1
    delay = backoff(policy, retry) if after is None else after
    return Next(S.RETRYING, retry, lost_count, delay)


class Loss(StrEnum):
    """How an attempt was lost, as far as that tells whether its task is to blame."""

    BLAMELESS = "blameless"
    """Whoever held it went silent, or its Temporal workflow went away: nothing died of it."""
    TOGETHER = "together"
    """Its process died and had others too."""
    ALONE = "alone"
    """Its process died and had nothing else."""
    ELSEWHERE = "elsewhere"
    """Its external worker died; what else that had is not known here."""


def after_loss(*, retry_count: int, lost_count: int, alone: int, loss: Loss, max_lost: int = MAX_LOST) -> Next:
    """A lost attempt: no retry is used. It is ready again at once the first time, then after a pause that doubles.

    `alone`: how often it was lost as a suspect that ran alone; the answer says how often now. Only that makes it
    poison, or so many losses elsewhere that chance is ruled out."""
    lost = lost_count + 1
    if loss is Loss.BLAMELESS:
        return Next(S.PENDING, retry_count, lost, alone=alone)
    if loss is Loss.ALONE and lost_count >= SUSPECT_AFTER:
        alone += 1
    if alone >= max_lost or (loss is Loss.ELSEWHERE and lost >= max_lost * LOSSES_ELSEWHERE):
        return Next(S.FAILED, retry_count, lost, alone=alone, poison=True)
    pause = loss_pause(lost)
    return Next(S.RETRYING if pause else S.PENDING, retry_count, lost, pause, alone=alone)


def loss_pause(lost_count: int) -> float:
    """Seconds between a loss and the next attempt: none after the first (most often the task had no part in it), then
    1, 2, 4 … up to a minute."""
    return 0.0 if lost_count <= 1 else min(2.0 ** min(lost_count - 2, 16), LONGEST_PAUSE)


@dataclass(frozen=True, slots=True)
class Tally:
    """How many members of a workflow stand where."""

    total: int
    completed: int
    failed: int
    cancelled: int
    moved: int
    """Members that ever left blocked, scheduled and pending."""

    @property
    def ended(self) -> int:
        return self.completed + self.failed + self.cancelled

    @property
    def open(self) -> int:
        return self.total - self.ended


def roll_up(
    tally: Tally, *, required: int, failure_policy: FailurePolicy, cancelling: bool
) -> tuple[WorkflowState, bool]:
    """The workflow's state after its members, and whether its open members must now be cancelled.

    `required` members must complete; the workflow fails when that can no longer be: at once under fail_fast
    or when only some were wanted, after the last member under continue. `cancelling`: it was cancelled itself."""
    if cancelling:
        return WorkflowState.CANCELLED, tally.open > 0
    if tally.completed >= required:
        return WorkflowState.COMPLETED, tally.open > 0
    lost = tally.failed + tally.cancelled
    hopeless = tally.total - lost < required
    partial = required < tally.total
    if hopeless and (failure_policy == "fail_fast" or partial or tally.open == 0):
        return WorkflowState.FAILED, tally.open > 0
    return (WorkflowState.RUNNING if tally.moved or tally.ended else WorkflowState.PENDING), False


def find_cycle(edges: Mapping[str, Iterable[str]]) -> list[str] | None:
    """A cycle in `edges` (node → what it depends on) as a list that starts and ends with one node, or None.

    Iterative depth-first search: 10,000 members in a chain must not meet the recursion limit."""
    done: set[str] = set()
    for root in edges:
        if root in done:
            continue
        path: list[str] = [root]
        on_path = {root}
        stack = [iter(edges.get(root, ()))]
        while stack:
            step = next(stack[-1], None)
            if step is None:
                stack.pop()
                finished = path.pop()
                on_path.discard(finished)
                done.add(finished)
            elif step in on_path:
                return [*path[path.index(step) :], step]
            elif step not in done:
                path.append(step)
                on_path.add(step)
                stack.append(iter(edges.get(step, ())))
    return None
