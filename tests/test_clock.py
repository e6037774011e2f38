"""The system's ids: they ascend, they are UUIDs, and what one of them says of others is nothing.

It must not know what the ids are for.
"""

import uuid

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
def test_the_counter_in_an_id_begins_anywhere() -> None:
    """From 0 on, it would tell how many ids this process had made in the same millisecond: perhaps for others."""
    counters = {SystemIds().task()[15:18] for _ in range(64)}
    assert len(counters) > 32
