"""Quotas by themselves: how seldom they count, and that nothing between two counts exceeds them.

It must not need a file.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from durable_tasks import Settings, quotas
from durable_tasks.errors import InvalidInput, QuotaExceeded
from durable_tasks.quotas import AGAIN, Limit, Quota, Quotas
from durable_tasks.testing import ManualClock


class File:
    """What the owners have, and how often that was counted."""

    def __init__(self, most: int) -> None:
        self.clock = ManualClock()
        self.has: dict[str, int] = {}
        self.counted = 0
        self.quota = Quota(Limit("org_open_tasks", most, "{} has {} tasks", "wait"), self.count, self.clock)

    async def count(self, owner: str) -> int:
        self.counted += 1
        await asyncio.sleep(0)
        return self.has.get(owner, 0)

    async def store(self, wanted: int = 1, owner: str = "acme", error: Exception | None = None) -> None:
        with await self.quota.allow(owner, wanted=wanted, sure=True):
            await asyncio.sleep(0)
            if error is not None:
                raise error
            self.has[owner] = self.has.get(owner, 0) + wanted

    async def is_refused(self, wanted: int = 1) -> bool:
        try:
            await self.store(wanted)
        except QuotaExceeded:
            return True
        return False


async def test_it_counts_once_for_each_hundredth_part() -> None:
    file = File(1000)
    for _ in range(1000):
        await file.store()
    assert await file.is_refused()
    assert (file.has["acme"], file.counted) == (1000, 100)


async def test_who_is_refused_again_and_again_has_nothing_counted() -> None:
    file = File(10)
    file.has["acme"] = 10
    assert [await file.is_refused() for _ in range(100)] == [True] * 100
    assert file.counted == 1
    await file.clock.advance(AGAIN)
    assert await file.is_refused()
    file.has["acme"] = 9
    await file.clock.advance(AGAIN)
    assert [await file.is_refused() for _ in range(2)] == [False, True]


async def test_calls_at_the_same_time_do_not_exceed_it_together() -> None:
    file = File(1000)
    await asyncio.gather(*(file.is_refused(30) for _ in range(100)))
    assert 900 <= file.has["acme"] <= 1000, "what is on its way may be counted twice, and never not at all"


async def test_what_was_refused_for_another_reason_takes_no_room() -> None:
    file = File(2)
    for _ in range(10):
        with pytest.raises(InvalidInput):
            await file.store(error=InvalidInput("wrong"))
    await file.store(2)


async def test_what_broke_may_be_stored_all_the_same() -> None:
    file = File(2)
    with pytest.raises(RuntimeError):
        await file.store(2, error=RuntimeError("who knows"))
    assert await file.is_refused()
    await file.clock.advance(AGAIN)
    assert not await file.is_refused(), "until it was counted"


async def test_a_count_that_breaks_breaks_its_call_only() -> None:
    file = File(2)
    count, file.quota._count = file.quota._count, broken
    with pytest.raises(RuntimeError):
        await file.store()
    file.quota._count = count
    await file.store()


async def broken(*_: Any) -> int:
    raise RuntimeError("no file")


async def test_those_who_are_forgotten_are_counted_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas, "_REMEMBERED", 2)
    file = File(1000)
    for owner in ("a", "b", "a", "c", "a", "b"):
        await file.store(owner=owner)
    assert file.counted == 4


@pytest.mark.parametrize("given", [{"limits": False}, {"org_open_tasks": 0, "task_comments": 0}])
async def test_without_a_limit_nothing_is_counted(tmp_path: Path, given: dict[str, Any]) -> None:
    class Nothing:
        count_open = count_comments = broken

    none = Quotas(Settings(db=tmp_path / "tasks.db", **given), Nothing(), ManualClock())
    for quota in (none.open_tasks, none.comments):
        with await quota.allow("acme", wanted=10**9, sure=True) as allowance:
            allowance.take(10**9)
