"""A disk that fails for a while, under load: reads, writes and syncs are refused, or the disk is full.
It must not know how the file is written; the checker looks at what is left.
"""

import errno
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.faults.checker import faults, journal
from tests.faults.disks import FailingDisk
from tests.faults.figures import count, keep
from tests.faults.processes import App

FAULTS = {
    "a sync fails": f"fsync {errno.EIO}",
    "a write fails": f"write {errno.EIO}",
    "half of a write arrives": f"half {errno.EIO}",
    "a read fails": f"read {errno.EIO}",
    "the disk is full": f"write {errno.ENOSPC}",
    "the disk is full after half of a write": f"half {errno.ENOSPC}",
}
WINDOWS_PER_KILL = 6
CLIENTS = 6
LONGEST = 0.5
"""Seconds of one window."""


async def storm(folder: Path, windows: int, seed: int) -> dict[str, Any]:
    """So many windows in which the disk fails; after every few the process is killed. Raises AssertionError at the
    first broken promise."""
    print(f"\nseed {seed}")
    rng, disk, db, seen = random.Random(seed), FailingDisk(folder), folder / "tasks.db", Counter[str]()
    for first in range(0, windows, WINDOWS_PER_KILL):
        load: dict[str, Any] = {"seed": rng.random(), "clients": CLIENTS, "stubborn": True}
        async with App(db, "load", name=f"life-{first}", environment=disk.environment, **load) as app:
            await app.ready()
            for _ in range(min(WINDOWS_PER_KILL, windows - first)):
                await app.lives_for(rng.uniform(0.1, LONGEST))
                fault = rng.choice(sorted(FAULTS))
                disk.order(FAULTS[fault])
                await app.lives_for(rng.uniform(0.05, LONGEST))
                disk.order("")
                seen[fault] += 1
            await app.notes_more(folder / "acknowledged")
        assert faults(db) == []
    async with App(db, "drain", name="drain") as app:
        await app.settled()
    assert faults(db) == []
    return {"seed": seed, "windows": dict(seen), "acknowledged": len(journal(folder / "acknowledged")), "lost": 0}


async def test_nothing_acknowledged_is_lost_while_the_disk_fails_and_work_goes_on_after_it(tmp_path: Path) -> None:
    keep("io-errors-smoke", await storm(tmp_path, 6, random.randrange(10**9)))


@pytest.mark.acceptance
async def test_the_disk_fails_72_times(tmp_path: Path) -> None:
    seed = count("TASKS_ACCEPTANCE_SEED", random.randrange(10**9))
    keep("io-errors", await storm(tmp_path, count("TASKS_ACCEPTANCE_WINDOWS", 72), seed))
