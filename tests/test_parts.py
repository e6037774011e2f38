"""Parts: which of them count as failing, and who says so.

It must not know what makes them fail.
"""

from pathlib import Path

from durable_tasks.parts import Parts
from durable_tasks.testing import ManualClock
from tests.store.support import opened, spin_until


async def test_three_failures_in_a_row_within_a_minute_each_are_failing() -> None:
    clock = ManualClock()
    parts = Parts(clock)
    for _ in range(2):
        parts.note_failure("engine")
    assert len(parts.failing) == 0
    parts.note_failure("engine")
    parts.note_failure("clock")
    assert list(parts.failing) == ["engine"]
    await clock.advance(61)
    assert len(parts.failing) == 0
    parts.note_failure("engine")
    assert len(parts.failing) == 0


async def test_a_part_that_keeps_dying_is_seen_by_who_asks_how_things_stand(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path / "app.db", clock) as tasks:
        assert (await tasks.diagnose()).healthy

        async def die() -> None:
            raise ValueError("year 10000 is out of range")

        assert tasks._running is not None
        tasks._keep(tasks._running, "engine", die)
        for failures in (1, 2, 3):
            await spin_until(lambda failures=failures: tasks.parts._failures.get("engine", (0, 0))[0] >= failures)  # type: ignore[misc]
            if failures < 3:
                await clock.advance(2)
        found = await tasks.diagnose()
        assert not found.healthy
        assert "engine" in found.warnings[0]
