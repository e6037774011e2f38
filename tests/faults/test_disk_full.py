"""A disk that somebody else fills up under load: what does not fit is refused, and what was acknowledged is there.
It must not know how the file is written; the checker looks at what is left.
"""

import asyncio
import random
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.faults.checker import faults, journal, most_at_once
from tests.faults.disks import FailingDisk, SmallDisk, small_disk
from tests.faults.figures import count, keep, spread
from tests.faults.processes import App

PROCESSES = 2
CLIENTS = 4
FILLS_PER_LIFE = 5
LEFT = (0, 4096, 65536)
"""Bytes that are left: sometimes some of it fits."""
SECONDS = 60.0
POLL = 0.05


class Story:
    """One file under several processes, on a disk that is filled and freed; of each life the last time is the end."""

    def __init__(self, folder: Path, disk: SmallDisk | FailingDisk, seed: int, settings: dict[str, Any]) -> None:
        self.db = folder / "house" / "tasks.db"
        self._journals, self._disk, self._settings = folder, disk, settings
        self._rng = random.Random(seed)
        self._lives = 0
        self.refusals: list[float] = []
        """Seconds until each process had refused a call."""

    async def live(self, fills: int) -> None:
        self._lives += 1
        before = len(self._noted("effects"))
        async with AsyncExitStack() as running:
            names = [f"life-{self._lives}-{number}" for number in range(PROCESSES)]
            apps = [await running.enter_async_context(self._app("load", name)) for name in names]
            for app in apps:
                await app.ready()
            for _ in range(fills - 1):
                await self._fill(apps)
                self._disk.free()
                for app in apps:
                    await app.notes_more(self._journals / "acknowledged")
            await self._fill(apps)
            assert most_at_once(self._noted("effects")[before:]) <= 1
            for app in apps:
                await app.kill()
        self._disk.free()
        assert faults(self.db, self._journals) == []

    async def finish(self) -> None:
        async with self._app("drain", "drain") as app:
            await app.settled()
        assert faults(self.db, self._journals) == []

    def _app(self, mode: str, name: str) -> App:
        load: dict[str, Any] = {"seed": self._rng.random(), "clients": CLIENTS, "stubborn": True, "pause": 0.05}
        config: dict[str, Any] = {"journals": str(self._journals), "settings": self._settings, **load}
        return App(self.db, mode, name=name, environment=self._disk.environment, **config)

    def _noted(self, name: str) -> list[dict[str, Any]]:
        return journal(self._journals / name)

    async def _fill(self, apps: list[App]) -> None:
        """Some time later; until each has refused a call, and a little longer."""
        await apps[0].lives_for(self._rng.uniform(0.1, 1.0))
        before, names, since = len(self._noted("refused")), {app.name for app in apps}, time.monotonic()
        self._disk.fill(self._rng.choice(LEFT))
        async with asyncio.timeout(SECONDS):
            while not names <= {fact["by"] for fact in self._noted("refused")[before:]}:
                for app in apps:
                    await app.lives_for(POLL)
        self.refusals.append(time.monotonic() - since)
        await apps[0].lives_for(self._rng.uniform(0.0, 0.5))


async def storm(folder: Path, times: int, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Filled so many times. Raises AssertionError on the first broken promise."""
    print(f"\nseed {seed}")
    (folder / "house").mkdir()
    with small_disk(folder / "house", folder) as disk:
        story = Story(folder, disk, seed, settings)
        for first in range(0, times, FILLS_PER_LIFE):
            await story.live(min(FILLS_PER_LIFE, times - first))
        await story.finish()
    refused = Counter(fact["op"] for fact in journal(folder / "refused"))
    assert set(refused) == {"store_full"}
    return {
        "seed": seed,
        "disk": type(disk).__name__,
        "filled": times,
        "acknowledged": sum(fact["op"] != "creating" for fact in journal(folder / "acknowledged")),
        "refused": dict(refused),
        "lost": 0,
        "twice_at_once": 0,
        "refused_by_all_after": spread(story.refusals),
    }


async def test_a_disk_is_filled_under_load(tmp_path: Path) -> None:
    keep("disks-full-smoke", await storm(tmp_path, 2, random.randrange(10**9), {}))


@pytest.mark.acceptance
async def test_disks_are_filled_under_load(tmp_path: Path, settings: dict[str, Any]) -> None:
    seed = count("TASKS_ACCEPTANCE_SEED", random.randrange(10**9))
    figures = await storm(tmp_path, count("TASKS_ACCEPTANCE_DISKS", 20), seed, settings)
    keep(f"disks-full-{'temporal' if settings else 'local'}", figures)
