"""Applications that die time and again with many tasks at work: who kills is condemned, who only ran beside it is not.
It must not reach into the processes: what became of each task is in the file.
"""

import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from durable_tasks.app import DurableTasks
from durable_tasks.models import NewTask
from durable_tasks.settings import Settings
from tests.faults.checker import faults
from tests.faults.figures import count, keep
from tests.faults.processes import App


async def test_a_task_that_kills_is_condemned_and_its_companions_are_not(tmp_path: Path) -> None:
    """It takes down whatever runs it, as one that uses up the memory would."""
    await condemn(tmp_path / "tasks.db", innocents=6, max_lost=1)


@pytest.mark.acceptance
async def test_a_killer_among_many_is_condemned_alone(tmp_path: Path) -> None:
    keep("killer", await condemn(tmp_path / "tasks.db", innocents=40, max_lost=5))


async def condemn(db: Path, *, innocents: int, max_lost: int) -> dict[str, Any]:
    async with DurableTasks(Settings(db=db, worker=False)) as tasks:
        org = tasks.org()
        killer = await org.create("killer", capability="kill")
        made = await org.create_many([NewTask(title="innocent", capability="slow") for _ in range(innocents)])
    deaths = await live_and_die(db, max_lost)
    async with DurableTasks(Settings(db=db, worker=False)) as tasks:
        found = await tasks.org().get(killer.id)
        states = [(await tasks.org().get(task.id)).state for task in made]
    assert found.error is not None
    assert (found.state, found.error.type) == ("failed", "poison")
    assert states == ["completed"] * innocents
    assert deaths == found.lost_count == 2 + max_lost
    assert faults(db) == []
    return {"innocents": innocents, "condemned": 0, "deaths": deaths}


async def live_and_die(db: Path, max_lost: int) -> int:
    """One application after another, until one has worked off everything. How many died before."""
    for number in range(50):
        async with App(db, "drain", name=f"app-{number}", settings={"max_lost": max_lost}) as app:
            if await app.ends() == 0:
                return number
    raise AssertionError("it never came to an end")


@pytest.mark.acceptance
async def test_a_storm_of_kills_condemns_nobody(tmp_path: Path, settings: dict[str, Any]) -> None:
    """Handlers of up to two seconds in processes that somebody kills at any time: each death takes several with it."""
    db, rng = tmp_path / "tasks.db", random.Random(count("TASKS_ACCEPTANCE_SEED", 7))
    kills = count("TASKS_ACCEPTANCE_STORM", 100)
    for number in range(kills):
        load: dict[str, Any] = {"name": f"round-{number}", "seed": rng.random(), "clients": 6}
        async with App(db, "load", settings=settings, **load) as app:
            await app.ready()
            await app.lives_for(rng.uniform(0.2, 4.0))
    async with App(db, "drain", name="drain", settings=settings) as app:
        await app.settled()
    with closing(sqlite3.connect(db)) as conn:
        condemned = conn.execute(
            "SELECT COUNT(*) FROM dt_tasks WHERE json_extract(error, '$.type') = 'poison'"
        ).fetchone()
        lost = conn.execute("SELECT SUM(lost_count), MAX(lost_count) FROM dt_tasks").fetchone()
    keep(f"innocents-{'temporal' if settings else 'local'}", {"kills": kills, "condemned": condemned[0], "lost": lost})
    assert condemned == (0,)
    assert faults(db) == []
