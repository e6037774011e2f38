"""The state machine as data: its table against the design's, backoff, loss, roll-up and cycles.

It must not touch a store.
"""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_tasks import RetryPolicy, TaskState, WorkflowState, can_transition
from durable_tasks.lifecycle import (
    FROM,
    HELD,
    OPEN,
    TERMINAL,
    TRANSITIONS,
    WAITING,
    Loss,
    Tally,
    Verb,
    after_failure,
    after_loss,
    allows,
    backoff,
    find_cycle,
    is_terminal,
    roll_up,
)

# The design's table, copied as text: the code must not be compared with itself.
DESIGN = {
    "blocked": "pending scheduled cancelled failed",
    "scheduled": "pending cancelled failed",
    "pending": "claimed running cancelled failed",
    "claimed": "running pending completed failed retrying cancelled",
    "running": "completed failed retrying pending waiting paused cancelled",
    "waiting": "pending running cancelled failed",
    "paused": "pending running cancelled failed",
    "retrying": "pending running cancelled failed",
    "completed": "",
    "failed": "pending blocked",
    "cancelled": "pending blocked",
}
TARGETS = {
    Verb.CLAIM: {"claimed"},
    Verb.BEGIN: {"running"},
    Verb.START: {"running"},
    Verb.COMPLETE: {"completed"},
    Verb.FAIL: {"failed", "retrying"},
    Verb.RELEASE: {"pending"},
    Verb.LOSE: {"pending", "failed"},
    Verb.CANCEL: {"cancelled"},
    Verb.RETRY: {"pending", "blocked"},
    Verb.UNBLOCK: {"pending", "scheduled"},
    Verb.WAKE: {"pending"},
    Verb.REJECT: {"failed"},
    Verb.EXPIRE: {"failed"},
}


@pytest.mark.parametrize("source", list(TaskState))
def test_the_table_is_the_designs(source: TaskState) -> None:
    legal = {target.value for target in TaskState if can_transition(source, target)}
    assert legal == set(DESIGN[source.value].split())


def test_unknown_states_are_refused() -> None:
    with pytest.raises(ValueError):
        can_transition("pending", "done")
    with pytest.raises(ValueError):
        can_transition("new", "pending")


def test_every_verb_is_told_from_where_and_leads_along_the_table() -> None:
    assert set(FROM) == set(Verb)
    for verb, targets in TARGETS.items():
        for source in FROM[verb]:
            assert targets <= set(DESIGN[source.value].split()) | {source.value}, (verb, source)


def test_verbs_are_allowed_in_their_states_only() -> None:
    for verb in Verb:
        assert {state for state in TaskState if allows(verb, state)} == FROM[verb]


def test_the_sets_of_states_divide_them() -> None:
    assert set(TaskState) == TERMINAL | OPEN
    assert not TERMINAL & OPEN
    assert {"completed", "failed", "cancelled"} == {state.value for state in TERMINAL}
    assert HELD | WAITING | {TaskState.WAITING, TaskState.PAUSED} == OPEN
    assert all(is_terminal(state) == (state in TERMINAL) for state in TaskState)
    assert all(TRANSITIONS[state] <= OPEN for state in TERMINAL)


@pytest.mark.parametrize(("retry", "seconds"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (1_000_000, 60)])
def test_backoff_doubles_up_to_its_maximum(retry: int, seconds: float) -> None:
    assert backoff(RetryPolicy(), retry) == seconds


@given(
    initial=st.floats(0, 1e6), coefficient=st.floats(1, 1000), extra=st.floats(0, 1e6), retry=st.integers(1, 1_000_000)
)
def test_backoff_is_what_its_formula_says(initial: float, coefficient: float, extra: float, retry: int) -> None:
    policy = RetryPolicy(initial=initial, coefficient=coefficient, maximum=initial + extra)
    found = backoff(policy, retry)
    assert 0 <= found <= policy.maximum
    if initial > 0:
        exponent = math.log(initial) + (retry - 1) * math.log(coefficient)
        if exponent < 300:
            assert found == pytest.approx(min(policy.maximum, math.exp(exponent)), rel=1e-6)


def test_a_policy_refuses_a_maximum_below_its_initial() -> None:
    with pytest.raises(ValueError, match="below its initial"):
        RetryPolicy(initial=10, maximum=5)


@pytest.mark.parametrize("max_retries", [0, 1, 3])
def test_a_task_is_tried_once_more_than_its_retries(max_retries: int) -> None:
    attempts, count, state = 0, 0, TaskState.RETRYING
    while state is TaskState.RETRYING:
        attempts += 1
        onward = after_failure(
            retry_count=count, max_retries=max_retries, lost_count=2, policy=RetryPolicy(), retryable=True
        )
        count, state = onward.retry_count, onward.state
        assert onward.lost_count == 2
    assert (attempts, count, state) == (max_retries + 1, max_retries, TaskState.FAILED)


def test_a_failure_may_be_final_or_name_its_delay() -> None:
    def fail(retryable: bool, after: float | None) -> tuple[TaskState, float]:
        onward = after_failure(
            retry_count=0, max_retries=5, lost_count=0, policy=RetryPolicy(), retryable=retryable, after=after
        )
        return onward.state, onward.delay

    assert fail(False, None) == (TaskState.FAILED, 0.0)
    assert fail(True, None) == (TaskState.RETRYING, 1.0)
    assert fail(True, 123.0) == (TaskState.RETRYING, 123.0)
    assert fail(True, 0.0) == (TaskState.RETRYING, 0.0)


# lost before, of these alone, how → state, pause, alone now, poison; with max_lost 3
LOSSES: list[tuple[int, int, Loss, str, float, int, bool]] = [
    (0, 0, Loss.TOGETHER, "pending", 0.0, 0, False),
    (1, 0, Loss.TOGETHER, "retrying", 1.0, 0, False),
    (2, 0, Loss.TOGETHER, "retrying", 2.0, 0, False),
    (7, 0, Loss.TOGETHER, "retrying", 60.0, 0, False),
    (5000, 2, Loss.TOGETHER, "retrying", 60.0, 2, False),  # however often: others were there
    (0, 0, Loss.ALONE, "pending", 0.0, 0, False),  # not suspected yet: it only happened to be alone
    (1, 0, Loss.ALONE, "retrying", 1.0, 0, False),
    (2, 0, Loss.ALONE, "retrying", 2.0, 1, False),
    (3, 1, Loss.ALONE, "retrying", 4.0, 2, False),
    (4, 2, Loss.ALONE, "failed", 0.0, 3, True),
    (0, 0, Loss.BLAMELESS, "pending", 0.0, 0, False),
    (5000, 0, Loss.BLAMELESS, "pending", 0.0, 0, False),
    (0, 0, Loss.ELSEWHERE, "pending", 0.0, 0, False),
    (10, 0, Loss.ELSEWHERE, "retrying", 60.0, 0, False),
    (11, 0, Loss.ELSEWHERE, "failed", 0.0, 0, True),
]


@pytest.mark.parametrize("case", LOSSES)
def test_losses_use_no_retry_and_only_what_is_lost_alone_is_poison(
    case: tuple[int, int, Loss, str, float, int, bool],
) -> None:
    lost, alone, loss, *expected = case
    onward = after_loss(retry_count=1, lost_count=lost, alone=alone, loss=loss, max_lost=3)
    assert (onward.retry_count, onward.lost_count) == (1, lost + 1)
    assert [onward.state, onward.delay, onward.alone, onward.poison] == expected


# total, completed, failed, cancelled, moved, required, policy → state, cancel the rest
ROLL_UPS = [
    (3, 0, 0, 0, False, 3, "continue", WorkflowState.PENDING, False),
    (3, 0, 0, 0, True, 3, "continue", WorkflowState.RUNNING, False),
    (3, 1, 0, 0, False, 3, "continue", WorkflowState.RUNNING, False),
    (3, 3, 0, 0, True, 3, "continue", WorkflowState.COMPLETED, False),
    (3, 2, 1, 0, True, 3, "continue", WorkflowState.FAILED, False),
    (3, 1, 1, 0, True, 3, "continue", WorkflowState.RUNNING, False),
    (3, 1, 1, 0, True, 3, "fail_fast", WorkflowState.FAILED, True),
    (3, 1, 0, 1, True, 3, "fail_fast", WorkflowState.FAILED, True),
    (3, 1, 0, 0, True, 1, "continue", WorkflowState.COMPLETED, True),
    (3, 0, 2, 0, True, 2, "continue", WorkflowState.FAILED, True),
    (3, 0, 1, 0, True, 2, "continue", WorkflowState.RUNNING, False),
    (3, 0, 3, 0, True, 1, "continue", WorkflowState.FAILED, False),
]


@pytest.mark.parametrize("case", ROLL_UPS)
def test_roll_up(case: tuple[int, int, int, int, bool, int, str, WorkflowState, bool]) -> None:
    total, completed, failed, cancelled, moved, required, policy, state, cancel_rest = case
    tally = Tally(total, completed, failed, cancelled, moved)
    assert roll_up(tally, required=required, failure_policy=policy, cancelling=False) == (state, cancel_rest)  # type: ignore[arg-type]


def test_roll_up_of_a_cancelled_workflow() -> None:
    still_open, all_ended = Tally(3, 1, 0, 0, True), Tally(3, 3, 0, 0, True)
    assert roll_up(still_open, required=3, failure_policy="continue", cancelling=True) == ("cancelled", True)
    assert roll_up(all_ended, required=3, failure_policy="continue", cancelling=True) == ("cancelled", False)


def test_a_cycle_is_found_as_a_path() -> None:
    assert find_cycle({"a": ["b"], "b": ["c"], "c": []}) is None
    assert find_cycle({"a": ["a"]}) == ["a", "a"]
    assert find_cycle({"x": ["a"], "a": ["b"], "b": ["c"], "c": ["a"]}) == ["a", "b", "c", "a"]
    assert find_cycle({"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": []}) is None


def test_a_chain_of_ten_thousand_meets_no_recursion_limit() -> None:
    chain = {str(n): [str(n + 1)] for n in range(10_000)}
    assert find_cycle(chain) is None
    cycle = find_cycle({**chain, "10000": ["0"]})
    assert cycle is not None
    assert len(cycle) == 10_002


@given(st.dictionaries(st.integers(0, 8), st.lists(st.integers(0, 8), max_size=3), max_size=9))
def test_cycles_are_found_exactly_when_there_are_any(numbers: dict[int, list[int]]) -> None:
    edges = {str(node): [str(parent) for parent in parents] for node, parents in numbers.items()}
    cycle = find_cycle(edges)
    rest = {node: set(parents) for node, parents in edges.items()}
    while free := [node for node, parents in rest.items() if not parents & rest.keys()]:
        for node in free:
            del rest[node]
    assert (cycle is not None) == bool(rest)
    if cycle is not None:
        assert cycle[0] == cycle[-1]
        assert all(after in edges[before] for before, after in pairwise(cycle))
