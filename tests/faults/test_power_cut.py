"""Power cuts, simulated: all that is done to the file is recorded, and what a cut could leave is looked at.
It must not know how the file is written; the checker looks at what is left.
"""

import asyncio
import fcntl
import os
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.faults.checker import faults, journal
from tests.faults.figures import count, keep
from tests.faults.preload import built
from tests.faults.processes import App
from tests.faults.recording import WAYS, Act, Disk, What, acts

FILES = ("tasks.db", "tasks.db-wal", "acknowledged", "effects")
HEARD = (2, 3)
"""The journals: what was heard outside before the cut, whatever reached this disk."""
CUTS_PER_RECORDING = 50
CLIENTS = 6
LIVES = 3


async def record(folder: Path, library: Path, rng: random.Random, processes: int) -> Path:
    """Several lives of so many processes under load, each ended by a kill."""
    recording = folder / "recording"
    environment = {"LD_PRELOAD": str(library), "RECORDING": str(recording), "RECORDED": ":".join(FILES)}
    for life in range(LIVES):
        async with AsyncExitStack() as running:
            apps: list[App] = []
            for number in range(processes):
                name = f"life-{life}-{number}"
                load: dict[str, Any] = {"seed": rng.random(), "clients": CLIENTS, "environment": environment}
                app = App(folder / "tasks.db", "load", name=name, **load)
                await running.enter_async_context(app)
                await app.ready()
                apps.append(app)
            await apps[-1].lives_for(rng.uniform(0.3, 1.5))
            with at_rest(recording):
                await asyncio.gather(*(app.kill() for app in apps))
    return recording


@contextmanager
def at_rest(recording: Path) -> Iterator[None]:
    """While nobody writes there: who is killed in the middle of an entry leaves half of one."""
    with recording.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Cuts:
    """What was seen over all cuts."""

    def __init__(self) -> None:
        self.ways: Counter[str] = Counter()
        self.checked = 0
        """Acknowledgements looked at, each once per cut."""

    def look(self, recording: Path, folder: Path, rng: random.Random, cuts: int) -> None:
        """Cut the power at random instants of the recording. Raises AssertionError at a broken promise."""
        total = sum(1 for _ in acts(recording))
        begun = next(number for number, act in enumerate(acts(recording)) if act.file == HEARD[0])
        instants = Counter(rng.randrange(begun, total + 1) for _ in range(cuts))
        disk = Disk(len(FILES))
        for number, act in enumerate(acts(recording)):
            for _ in range(instants.pop(number, 0)):
                self._cut(disk, folder, rng)
            _do(disk, act)
        for _ in range(instants.pop(total, 0)):
            self._cut(disk, folder, rng)

    def _cut(self, disk: Disk, folder: Path, rng: random.Random) -> None:
        way = rng.choice(WAYS)
        for name, content in zip(FILES, disk.after_a_cut(way, rng), strict=True):
            (folder / name).write_bytes(content)
        found = faults(folder / FILES[0])
        assert found == [], (way, found[:10])
        self.ways[way] += 1
        self.checked += sum(fact["op"] != "creating" for fact in journal(folder / "acknowledged"))


def _do(disk: Disk, act: Act) -> None:
    disk.do(act)
    if act.file in HEARD:
        disk.do(Act(What.SYNC, act.file, 0, 0, b""))


async def cut_power(folder: Path, cuts: int, seed: int, processes: int) -> dict[str, Any]:
    print(f"\nseed {seed}")
    rng, library, seen = random.Random(seed), built("recorder", folder), Cuts()
    for first in range(0, cuts, CUTS_PER_RECORDING):
        place, left = folder / f"recording-{first}", folder / f"left-{first}"
        place.mkdir()
        left.mkdir()
        recording = await record(place, library, rng, processes)
        seen.look(recording, left, rng, min(CUTS_PER_RECORDING, cuts - first))
        os.unlink(recording)
    return {
        "seed": seed,
        "processes": processes,
        "cuts": dict(seen.ways),
        "acknowledged_checked": seen.checked,
        "lost": 0,
    }


@pytest.mark.parametrize("processes", [1, 3])
async def test_a_power_cut_loses_nothing_that_was_acknowledged(tmp_path: Path, processes: int) -> None:
    figures = await cut_power(tmp_path, 10, random.randrange(10**9), processes)
    keep(f"power-cuts-smoke-{processes}", figures)
    assert figures["acknowledged_checked"] > 0


@pytest.mark.acceptance
@pytest.mark.parametrize("processes", [1, 3])
async def test_250_power_cuts(tmp_path: Path, processes: int) -> None:
    seed = count("TASKS_ACCEPTANCE_SEED", random.randrange(10**9))
    figures = await cut_power(tmp_path, count("TASKS_ACCEPTANCE_CUTS", 250), seed, processes)
    keep(f"power-cuts-{processes}", figures)
    assert figures["acknowledged_checked"] > 0
