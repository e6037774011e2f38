"""The wall clock is set an hour forward or back, under load: nothing is lost, nobody fails for it, failover goes on.
It must not know how time is kept; the checker looks at what is left.
"""

import random
import time
from pathlib import Path
from typing import Any

import pytest

from tests.faults.checker import copied, faults, journal
from tests.faults.figures import count, keep, spread
from tests.faults.preload import built
from tests.faults.processes import App

HOUR = 3600
CLIENTS = 4


class WallClock:
    """That of all processes started with its environment; the test's own stays as it is, and so do servers."""

    def __init__(self, folder: Path) -> None:
        self._setting = folder / "setting"
        self._ahead = 0
        self.set(0)
        self.environment = {"LD_PRELOAD": str(built("setting", folder)), "SETTING": str(self._setting)}

    def set(self, by: int) -> None:
        self._ahead += by
        with self._setting.open("r+b" if self._setting.exists() else "wb") as setting:
            setting.write(self._ahead.to_bytes(8, "little", signed=True))


class Story:
    """One file, two processes at a time: the clock is set while both work, one is killed, the other goes on."""

    def __init__(self, folder: Path, seed: int, settings: dict[str, Any]) -> None:
        self.db = folder / "tasks.db"
        self._clock = WallClock(folder)
        self._rng = random.Random(seed)
        self._settings = settings
        self._rounds = 0
        self.takeovers: list[float] = []
        """Seconds from the kill until the handler that it interrupted had begun anew."""

    async def step(self, by: int) -> None:
        self._rounds += 1
        async with self._app("hold", "holder") as holder:
            await holder.line("HOLDING")
            async with self._app("load", "other", keeps=True) as other:
                await other.ready()
                await other.lives_for(self._rng.uniform(0.1, 1.0))
                self._clock.set(by)
                await other.lives_for(self._rng.uniform(0.05, 1.0))
                killed = time.monotonic()
                await holder.kill()
                await other.line("HOLDING")
                self.takeovers.append(time.monotonic() - killed)
                other.tell("settle")
                await other.settled()
        assert faults(self.db) == []
        assert self._failed() == []

    def _app(self, mode: str, name: str, **config: Any) -> App:
        config |= {"seed": self._rng.random(), "clients": CLIENTS, "settings": self._settings}
        return App(self.db, mode, name=f"{name}-{self._rounds}", environment=self._clock.environment, **config)

    def _failed(self) -> list[tuple[str, str]]:
        """What ended otherwise than well without being cancelled by its caller: the clock would be to blame."""
        with copied(self.db) as conn:
            return conn.execute("SELECT id, error FROM dt_tasks WHERE state = 'failed' AND mode = 'auto'").fetchall()


async def storm(folder: Path, each_way: int, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    """So many steps forward and as many back. Raises AssertionError on the first broken promise."""
    print(f"\nseed {seed}")
    story, steps = Story(folder, seed, settings), [HOUR, -HOUR] * each_way
    random.Random(seed).shuffle(steps)
    for by in steps:
        await story.step(by)
    acknowledged = sum(fact["op"] != "creating" for fact in journal(folder / "acknowledged"))
    return {
        "seed": seed,
        "steps_each_way": each_way,
        "acknowledged": acknowledged,
        "lost": 0,
        "done_twice": 0,
        "takeover": spread(story.takeovers),
    }


async def test_the_clock_is_set_forward_and_back_under_load(tmp_path: Path) -> None:
    keep("clock-steps-smoke", await storm(tmp_path, 1, random.randrange(10**9), {}))


@pytest.mark.acceptance
async def test_the_clock_is_set_twenty_times_each_way(tmp_path: Path, settings: dict[str, Any]) -> None:
    seed = count("TASKS_ACCEPTANCE_SEED", random.randrange(10**9))
    figures = await storm(tmp_path, count("TASKS_ACCEPTANCE_CLOCK_STEPS", 20), seed, settings)
    keep(f"clock-steps-{'temporal' if settings else 'local'}", figures)
    assert figures["takeover"]["p99"] <= 10.0
