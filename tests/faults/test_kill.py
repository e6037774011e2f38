"""`kill -9` at random instants under load, with and without Temporal: nothing acknowledged is lost or done twice.
It must not know how the file is written; the checker looks at what is left.
"""

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

from tests.faults.checker import Snapshot, faults, journal, moves_since, snapshot
from tests.faults.figures import count, keep, spread
from tests.faults.processes import App

CLIENTS = 6
KILLS_PER_FILE = 10
WINDOWS = (0.5, 2.0, 5.0)
"""Seconds within which a process is killed: while it recovers, while Temporal connects, and in full swing."""
MEDIAN_RECOVERY = 5.0


class Story:
    """One file, one process after the other, each killed; then one that works off what is left."""

    def __init__(self, db: Path, seed: int, settings: dict[str, Any]) -> None:
        self.db, self.settings = db, settings
        self._rng = random.Random(seed)
        self._kills = 0
        self._killed: Snapshot | None = None
        self.startups: list[float] = []
        self.recoveries: list[float] = []
        """Seconds from ready until the first open task moved."""
        self.full_recoveries: list[float] = []
        """Seconds from ready until every interrupted handler had begun anew."""
        self.recoveries_from_spawn: list[float] = []
        """Seconds from the start of the interpreter until every interrupted handler had begun anew."""

    async def kill_one(self) -> None:
        self._kills += 1
        load: dict[str, Any] = {"name": f"round-{self._kills}", "seed": self._rng.random(), "clients": CLIENTS}
        started = time.time()
        async with App(self.db, "load", settings=self.settings, **load) as app:
            ready = await app.ready()
            await app.lives_for(self._rng.uniform(0.05, self._rng.choice(WINDOWS)))
        self.startups.append(ready - started)
        assert faults(self.db) == []
        self._note_recovery(started, ready)
        self._killed = snapshot(self.db)

    async def finish(self) -> None:
        started = time.time()
        async with App(self.db, "drain", name="drain", settings=self.settings) as app:
            ready = await app.ready()
            assert json.loads(await app.line("DRAINED")) == {"stuck": [], "drift": [], "audit": []}
            assert await app.ends() == 0, app.stderr
        assert faults(self.db) == []
        self._note_recovery(started, ready)

    def _note_recovery(self, started: float, ready: float) -> None:
        if self._killed is None:
            return
        first, last = moves_since(self.db, self._killed)
        if first is not None:
            self.recoveries.append(max(0.0, first - ready))
        if last is not None:
            self.full_recoveries.append(max(0.0, last - ready))
            self.recoveries_from_spawn.append(last - started)


async def storm(folder: Path, kills: int, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    """So many kills, ten to a file. Raises AssertionError on the first broken promise; the answer are figures."""
    print(f"\nseed {seed}")
    stories: list[Story] = []
    acknowledged = began = 0
    for first in range(0, kills, KILLS_PER_FILE):
        place = folder / f"story-{first}"
        place.mkdir()
        story = Story(place / "tasks.db", seed + first, settings)
        for _ in range(min(KILLS_PER_FILE, kills - first)):
            await story.kill_one()
        await story.finish()
        stories.append(story)
        acknowledged += sum(fact["op"] != "creating" for fact in journal(place / "acknowledged"))
        began += sum(fact["op"] == "began" for fact in journal(place / "effects"))
    return {
        "seed": seed,
        "kills": kills,
        "acknowledged": acknowledged,
        "lost": 0,
        "done_twice": 0,
        "handlers_begun": began,
        "recovery": spread([seconds for story in stories for seconds in story.recoveries]),
        "recovery_of_all_interrupted": spread([seconds for story in stories for seconds in story.full_recoveries]),
        "recovery_from_spawn": spread([seconds for story in stories for seconds in story.recoveries_from_spawn]),
        "process_start": spread([seconds for story in stories for seconds in story.startups]),
    }


async def test_killed_twice_under_load(tmp_path: Path, settings: dict[str, Any]) -> None:
    figures = await storm(tmp_path, 2, random.randrange(10**9), settings)
    keep(f"kills-smoke-{'temporal' if settings else 'local'}", figures)
    assert figures["acknowledged"] > 0
    assert figures["recovery"]["samples"]
    assert figures["recovery"]["median"] <= MEDIAN_RECOVERY


@pytest.mark.acceptance
async def test_killed_a_hundred_times_under_load(tmp_path: Path, settings: dict[str, Any]) -> None:
    seed = count("TASKS_ACCEPTANCE_SEED", random.randrange(10**9))
    figures = await storm(tmp_path, count("TASKS_ACCEPTANCE_KILLS", 100), seed, settings)
    keep(f"kills-{'temporal' if settings else 'local'}", figures)
    assert figures["recovery"]["samples"]
    assert figures["recovery"]["median"] <= MEDIAN_RECOVERY
