"""The system's ids: they ascend, they are UUIDs, and others cannot be counted by them.

It must not know what the ids are for.
"""

import uuid
from itertools import pairwise

import pytest

from durable_tasks.clock import SystemIds


@pytest.fixture
def one_instant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 1_750_000_000_123_456_789)


@pytest.mark.usefixtures("one_instant")
def test_ids_of_one_process_ascend_also_when_many_are_made_at_once() -> None:
    ids = SystemIds()
    made = [ids.task() for _ in range(10_000)]
    assert made == sorted(set(made))
    assert {uuid.UUID(one).version for one in made} == {7}


@pytest.mark.usefixtures("one_instant")
def test_the_first_id_in_a_millisecond_may_be_anywhere() -> None:
    """From 0 on, it would tell how many ids this process had made in the same millisecond: perhaps for others."""
    begun = {SystemIds().task()[15:18] for _ in range(64)}
    assert len(begun) > 32


@pytest.mark.usefixtures("one_instant")
def test_two_ids_do_not_count_those_between_them() -> None:
    """Some that follow each other are farther apart than others with three between them."""
    ids = SystemIds()
    places = [place(ids.task()) for _ in range(5_000)][3_000:]  # once they follow each other by steps alone
    neighbours = [later - earlier for earlier, later in pairwise(places)]
    with_three_between = [later - earlier for earlier, later in zip(places, places[4:], strict=False)]
    assert max(neighbours) > min(with_three_between)


def place(one: str) -> int:
    """The id as a number, without the bits that are the same in all."""
    value = uuid.UUID(one).int
    return (value >> 80) << 74 | (value >> 64 & 0xFFF) << 62 | value & (1 << 62) - 1
